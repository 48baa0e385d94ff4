//! The order in which a convolution's outputs are computed: in tiles of a few pixels and one or two blocks of outputs,
//! which an inner loop keeps in registers.
//!
//! Outputs are the outer loop and pixels the inner one, so that the weights of a tile's outputs stay in the
//! second-level cache while all pixels pass. Where there are too many pixels to stay there as well, they pass in
//! chunks. Where weights are few, four blocks pass together: 64 bytes of output fill a cache line at once, and the
//! inputs are still near. A row's pixels are distributed evenly: 26 columns in tiles of at most 14 are 13 and 13, since
//! a tile of 12 leaves the arithmetic waiting more than one of 13 does.

use std::ops::Range;

/// The bytes of input that a chunk of pixels may read: a part of the second-level cache even of small cores, since
/// weights and outputs pass through it too. Larger and smaller ones were slower.
const CHUNK_BYTES: usize = 128 << 10;

/// The bytes of weights up to which blocks pass together.
const STRIPE_BYTES: usize = 256 << 10;

/// The most blocks that pass together.
const STRIPE: usize = 4;

/// The outputs to compute, and the limits of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileGrid {
    pub rows: usize,
    pub columns: usize,
    pub blocks: usize,
    /// The most blocks of a tile.
    pub blocks_at_once: usize,
    /// The most pixels of a tile.
    pub pixels_at_once: usize,
    /// The bytes of input that a pixel adds to those of its left neighbour.
    pub bytes_per_pixel: usize,
    /// The bytes of a block's weights.
    pub bytes_per_block: usize,
}

/// Some pixels of one row, and some blocks of their outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub row: usize,
    pub column: usize,
    pub pixels: usize,
    pub block: usize,
    pub blocks: usize,
}

impl TileGrid {
    /// Calls `run` with tiles that cover each pixel and block once.
    #[inline]
    pub(crate) fn for_each(&self, mut run: impl FnMut(Tile)) {
        let across = self.columns.div_ceil(self.pixels_at_once.max(1)).max(1);
        let (least, wider) = (self.columns / across, self.columns % across);
        let tile_bytes = (self.bytes_per_pixel * self.pixels_at_once).max(1);
        let chunk = (CHUNK_BYTES / tile_bytes).max(1);
        let at_once = self.blocks_at_once.max(1);
        let together = if self.bytes_per_block * STRIPE <= STRIPE_BYTES { STRIPE.max(at_once) } else { at_once };
        let total = self.rows * across;
        let mut first = 0;
        while first < total {
            let tiles = first..total.min(first + chunk);
            for stripe in (0..self.blocks).step_by(together) {
                let stripe = stripe..self.blocks.min(stripe + together);
                for_each_tile(tiles.clone(), across, |row, index| {
                    let column = index * least + index.min(wider);
                    let pixels = least + usize::from(index < wider);
                    for block in stripe.clone().step_by(at_once) {
                        run(Tile { row, column, pixels, block, blocks: at_once.min(stripe.end - block) });
                    }
                });
            }
            first = tiles.end;
        }
    }
}

#[inline]
fn for_each_tile(tiles: Range<usize>, across: usize, mut run: impl FnMut(usize, usize)) {
    let (mut row, mut index) = (tiles.start / across, tiles.start % across);
    for _ in tiles {
        run(row, index);
        index += 1;
        if index == across {
            (row, index) = (row + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_every_output_once() {
        for (rows, columns, blocks, blocks_at_once, pixels_at_once, bytes_per_pixel) in [
            (1, 1, 1, 2, 14, 4),
            (3, 26, 5, 2, 14, 512),
            (9, 31, 2, 1, 4, 64),
            (2, 1000, 3, 2, 6, 4096),
            (5, 7, 4, 2, 14, 1 << 20),
        ] {
            let grid = TileGrid {
                rows,
                columns,
                blocks,
                blocks_at_once,
                pixels_at_once,
                bytes_per_pixel,
                bytes_per_block: 1024,
            };
            let mut seen = vec![0; rows * columns * blocks];
            grid.for_each(|tile| {
                assert!((1..=pixels_at_once).contains(&tile.pixels) && (1..=blocks_at_once).contains(&tile.blocks));
                for column in tile.column..tile.column + tile.pixels {
                    for block in tile.block..tile.block + tile.blocks {
                        seen[(tile.row * columns + column) * blocks + block] += 1;
                    }
                }
            });
            assert!(seen.iter().all(|count| *count == 1), "{grid:?}");
        }
    }

    #[test]
    fn pixels_are_dealt_out_evenly() {
        let grid = TileGrid {
            rows: 1,
            columns: 26,
            blocks: 1,
            blocks_at_once: 2,
            pixels_at_once: 14,
            bytes_per_pixel: 64,
            bytes_per_block: 1 << 20,
        };
        let mut widths = vec![];
        grid.for_each(|tile| widths.push(tile.pixels));
        assert_eq!(widths, [13, 13]);
    }

    #[test]
    fn nothing_to_compute_is_no_tile() {
        for (rows, columns, blocks) in [(0, 5, 1), (5, 5, 0)] {
            let grid = TileGrid {
                rows,
                columns,
                blocks,
                blocks_at_once: 2,
                pixels_at_once: 14,
                bytes_per_pixel: 64,
                bytes_per_block: 1 << 20,
            };
            grid.for_each(|tile| panic!("{tile:?}"));
        }
    }
}
