//! How a product with weights is divided among workgroups.

use super::product::Product;
use serde::{Deserialize, Serialize};

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Arithmetic {
    /// Products and sums in f32.
    F32,
    /// Products, and sums of up to sixteen of them, in f16; these sums are added in f32.
    F16,
    /// The GPU's matrix units: products in f16, sums in f32.
    Matrix,
}

/// The part of a product that a workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tile {
    /// Output pixels, a multiple of 32.
    pub pixels: usize,
    /// Output channels, a multiple of 32.
    pub channels: usize,
    /// The number of parts that the inner dimension is divided into.
    pub parts: usize,
    pub arithmetic: Arithmetic,
}

/// What a device can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// Maps and weights are in f16, and the device computes in f16.
    pub f16: bool,
    /// The device has matrix units that multiply 16 x 16 matrices in f16 and add in f32.
    pub matrix: bool,
    /// The number of workgroups that keep the whole device busy.
    pub busy_groups: usize,
    /// The most invocations of a workgroup, and the bytes of its shared memory.
    pub most_invocations: usize,
    pub most_shared_bytes: usize,
}

/// The pixels and channels of tiles, the largest first. Eight by eight for each invocation.
const SIZES: [[usize; 2]; 6] = [[128, 128], [128, 64], [64, 128], [64, 64], [64, 32], [32, 64]];
/// Those of tiles for matrix units: each subgroup computes 32 x 32.
const MATRIX_SIZES: [[usize; 2]; 2] = [[64, 64], [32, 32]];
const PARTS: [usize; 5] = [1, 2, 4, 8, 16];
/// The fewest inner steps of a part: with fewer, writing and adding its sums takes longer than computing them.
const LEAST_PART: usize = 64;

/// The sizes of a product that a choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProductSize {
    pub pixels: usize,
    pub channels: usize,
    /// Multiplications for each output.
    pub inner: usize,
}

impl Tile {
    /// Inner steps in shared memory at a time. With f16 twice as many fit.
    pub(crate) fn depth(self) -> usize {
        match self.arithmetic {
            Arithmetic::F32 => 8,
            Arithmetic::F16 => 16,
            Arithmetic::Matrix => 32,
        }
    }

    pub(crate) fn invocations(self) -> usize {
        match self.arithmetic {
            Arithmetic::F32 | Arithmetic::F16 => self.pixels * self.channels / 64,
            Arithmetic::Matrix => self.pixels * self.channels / 32,
        }
    }

    /// Bytes of a group's shared memory.
    pub(crate) fn shared_bytes(self) -> usize {
        let Self { pixels, channels, arithmetic, .. } = self;
        match arithmetic {
            Arithmetic::F32 => 2 * 4 * self.depth() * (pixels + channels),
            Arithmetic::F16 => 2 * 2 * self.depth() * (pixels + channels),
            Arithmetic::Matrix => {
                2 * (pixels * (self.depth() + 8) + self.depth() * (channels + 8)) + 4 * pixels * channels
            }
        }
    }

    /// The workgroups along pixels, channels and parts.
    pub(crate) fn groups(self, of: ProductSize) -> [usize; 3] {
        [of.pixels.div_ceil(self.pixels), of.channels.div_ceil(self.channels), self.parts]
    }

    /// All tiles that make sense for a product, the best guess without measuring first.
    pub(crate) fn candidates(of: ProductSize, abilities: Abilities) -> Vec<Self> {
        let guess = Self::guess(of, abilities);
        let mut all = vec![guess];
        all.extend(Self::all(abilities).filter(|tile| tile.makes_sense(of, abilities) && *tile != guess));
        all
    }

    /// All tiles that a device can run.
    pub(crate) fn all(abilities: Abilities) -> impl Iterator<Item = Self> {
        let plain = [Arithmetic::F32, Arithmetic::F16].map(|arithmetic| (arithmetic, SIZES.as_slice()));
        let kinds = plain.into_iter().chain([(Arithmetic::Matrix, MATRIX_SIZES.as_slice())]);
        let kinds = kinds.filter(move |(arithmetic, _)| match arithmetic {
            Arithmetic::F32 => true,
            Arithmetic::F16 => abilities.f16,
            Arithmetic::Matrix => abilities.f16 && abilities.matrix,
        });
        let sized = kinds.flat_map(|(arithmetic, sizes)| sizes.iter().map(move |size| (arithmetic, *size)));
        sized
            .flat_map(|(arithmetic, [pixels, channels])| {
                PARTS.map(|parts| Self { pixels, channels, parts, arithmetic })
            })
            .filter(move |tile| {
                tile.invocations() <= abilities.most_invocations && tile.shared_bytes() <= abilities.most_shared_bytes
            })
    }

    fn makes_sense(self, of: ProductSize, abilities: Abilities) -> bool {
        let Self { pixels, channels, parts, .. } = self;
        let [across, down, _] = self.groups(of);
        // A tile twice as large as the product wastes at least half of its work; for the smallest products even the smallest tile is.
        let is_small = (pixels <= 64 || pixels < 2 * of.pixels) && (channels <= 32 || channels < 2 * of.channels);
        // Parts are for products that do not fill the device.
        let is_whole = parts == 1
            || (of.inner >= parts * LEAST_PART && across * down * parts <= 4 * abilities.busy_groups.max(parts));
        is_small && is_whole
    }

    /// A tile that is right without measuring: the largest that fills the device, else the one with most workgroups.
    pub(crate) fn guess(of: ProductSize, abilities: Abilities) -> Self {
        let plain = || Self::all(abilities).filter(|tile| tile.arithmetic == Arithmetic::F32);
        let sensible = || plain().filter(|tile| tile.makes_sense(of, abilities));
        let count = |tile: &Self| tile.groups(of).into_iter().product::<usize>();
        // Fewer parts before larger tiles: adding parts is a second dispatch.
        let fills = sensible().filter(|tile| count(tile) >= abilities.busy_groups);
        let cost = |tile: &Self| (tile.parts, std::cmp::Reverse(tile.pixels * tile.channels));
        let smallest = Self { pixels: 64, channels: 32, parts: 1, arithmetic: Arithmetic::F32 };
        fills.min_by_key(cost).or_else(|| sensible().max_by_key(count)).unwrap_or(smallest)
    }
}

/// How products are divided and which are joined.
pub(super) trait Choose {
    fn tile(&self, product: &Product) -> Tile;

    /// Whether two products that can run in one dispatch do.
    fn is_pair(&self, first: &Product, second: &Product) -> bool;
}

/// The choice without measuring.
impl Choose for Abilities {
    fn tile(&self, product: &Product) -> Tile {
        Tile::guess(product.size(), *self)
    }

    fn is_pair(&self, first: &Product, _: &Product) -> bool {
        // In one dispatch there are fewer groups than in two.
        self.allows_pair(first) && 4 * first.pair_groups() >= self.busy_groups
    }
}

impl Abilities {
    /// Whether a group has the memory for a product and the next.
    pub(crate) fn allows_pair(&self, first: &Product) -> bool {
        first.pair_shared_bytes() <= self.most_shared_bytes
    }

    /// What is assumed of a device where only the size of its memory is asked for.
    pub(crate) const UNKNOWN: Self =
        Self { f16: false, matrix: false, busy_groups: 64, most_invocations: 256, most_shared_bytes: 32 << 10 };
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: Abilities =
        Abilities { f16: true, matrix: true, busy_groups: 256, most_invocations: 1024, most_shared_bytes: 32 << 10 };

    #[test]
    fn every_tile_fits_a_group() {
        for pixels in [1, 49, 196, 12544] {
            for channels in [1, 31, 64, 2048] {
                for inner in [4, 576, 4608] {
                    let of = ProductSize { pixels, channels, inner };
                    let all = Tile::candidates(of, CARD);
                    assert_eq!(all[0], Tile::guess(of, CARD));
                    for tile in all {
                        assert!((32..=256).contains(&tile.invocations()), "{tile:?}");
                        assert!(tile.shared_bytes() <= 32 << 10, "{tile:?}: {}", tile.shared_bytes());
                        assert!(inner >= tile.parts * LEAST_PART || tile.parts == 1, "{tile:?} for {of:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn small_maps_are_divided_along_the_inner_dimension() {
        let deep = ProductSize { pixels: 49, channels: 512, inner: 4608 };
        let tile = Tile::guess(deep, CARD);
        assert!(tile.parts > 1 && tile.groups(deep).into_iter().product::<usize>() >= 64, "{tile:?}");
        let wide = ProductSize { pixels: 12544, channels: 256, inner: 64 };
        assert_eq!(Tile::guess(wide, CARD).parts, 1);
        // A device that one group fills runs the largest tiles.
        let alone = Abilities { busy_groups: 1, ..CARD };
        assert_eq!(
            Tile::guess(wide, alone),
            Tile { pixels: 128, channels: 128, parts: 1, arithmetic: Arithmetic::F32 }
        );
    }

    #[test]
    fn only_what_a_device_has_is_tried() {
        let of = ProductSize { pixels: 784, channels: 128, inner: 1152 };
        let kinds = |abilities| {
            let mut kinds: Vec<Arithmetic> =
                Tile::candidates(of, abilities).into_iter().map(|tile| tile.arithmetic).collect();
            kinds.sort_unstable();
            kinds.dedup();
            kinds
        };
        assert_eq!(kinds(CARD), [Arithmetic::F32, Arithmetic::F16, Arithmetic::Matrix]);
        assert_eq!(kinds(Abilities { matrix: false, ..CARD }), [Arithmetic::F32, Arithmetic::F16]);
        assert_eq!(kinds(Abilities::UNKNOWN), [Arithmetic::F32]);
    }
}
