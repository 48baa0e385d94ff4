//! A product with weights, a convolution or a linear layer, and its dispatches for a tile.

use super::plan::{Binding, Dispatch, spread, words};
use super::shader::{Shader, Variant, VariantConstant, WeightForm};
use super::tile::{Arithmetic, ProductSize, Tile};

/// What integer weights are divided by where they are multiplied in f16.
const INTEGER_UNIT: u32 = 128;

/// The most channels of the first of two products in one dispatch.
const MOST_PAIR_CHANNELS: usize = 64;

/// A product as the shaders read it. Sizes are in pixels or in groups of four channels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    pub in_height: usize,
    pub in_width: usize,
    pub in_quads: usize,
    pub out_width: usize,
    pub pixels: usize,
    pub out_quads: usize,
    pub y_quads: usize,
    pub y_first: usize,
    pub residual_quads: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub form: WeightForm,
    pub has_map: bool,
    pub has_residual: bool,
    pub relu: bool,
    pub x: Binding,
    pub weights: Binding,
    /// Biases, and the scales of integer weights.
    pub channels: Binding,
    pub y: Binding,
    /// Any buffer where there is none.
    pub map: Binding,
    /// Any buffer where there is none.
    pub residual: Binding,
}

impl Product {
    pub(crate) fn inner_quads(&self) -> usize {
        self.kernel * self.kernel * self.in_quads
    }

    pub(crate) fn size(&self) -> ProductSize {
        ProductSize { pixels: self.pixels, channels: 4 * self.out_quads, inner: 4 * self.inner_quads() }
    }

    /// Everything that decides how fast a tile is.
    pub(crate) fn key(&self) -> String {
        let Self { in_height, in_width, in_quads, pixels, out_quads, kernel, stride, form, .. } = self;
        let mut key = format!(
            "{in_height}x{in_width}x{} to {pixels}x{}, kernel {kernel}, stride {stride}, {form:?}",
            4 * in_quads,
            4 * out_quads
        );
        for (flag, name) in [(self.has_map, ", map"), (self.has_residual, ", residual")] {
            key += if flag { name } else { "" };
        }
        key
    }

    /// The parts that the inner dimension can be divided into: none is empty.
    fn parts(&self, tile: Tile) -> (usize, usize) {
        let share = self.inner_quads().div_ceil(tile.parts.max(1)).max(1);
        (self.inner_quads().div_ceil(share), share)
    }

    /// Bytes of the sums of all parts, in f32; zero where there is one part.
    pub(crate) fn partial_bytes(&self, tile: Tile) -> u64 {
        match self.parts(tile).0 {
            1 => 0,
            parts => 16 * (parts * self.pixels * self.out_quads) as u64,
        }
    }

    /// The dispatches for a tile: one, or one for the parts and one that adds them.
    pub(crate) fn dispatches(&self, tile: Tile) -> Vec<Dispatch> {
        let (parts, share) = self.parts(tile);
        let shape = self.shape_words(share, parts, self.out_quads);
        let integer_unit = if tile.arithmetic == Arithmetic::F32 { 1 } else { INTEGER_UNIT };
        let unit = ("INTEGER_UNIT", VariantConstant::Number(integer_unit));
        let ending: Vec<_> = [unit].into_iter().chain(self.ending()).collect();
        let outputs = [self.channels, self.y, self.map, self.residual];
        let is_split = parts > 1;
        let mut constants = self.tile_constants(tile);
        let mut bindings = vec![self.x, self.weights];
        if is_split {
            constants.push(unit);
            bindings.push(Binding::Partials);
        } else {
            constants.extend(ending.iter().copied());
            bindings.extend(outputs);
        }
        let shader = match (tile.arithmetic, is_split) {
            (Arithmetic::Matrix, false) => Shader::MatrixConvolution,
            (Arithmetic::Matrix, true) => Shader::SplitMatrixConvolution,
            (_, false) => Shader::Convolution,
            (_, true) => Shader::SplitConvolution,
        };
        let [across, down, _] = tile.groups(self.size());
        let mut dispatches = vec![Dispatch {
            variant: Variant { shader, weights: self.form, constants },
            shape: shape.clone(),
            bindings,
            groups: [across as u32, down as u32, parts as u32],
        }];
        if is_split {
            dispatches.push(Dispatch {
                variant: Variant::new(Shader::Reduce, ending),
                shape,
                bindings: [Binding::Partials].into_iter().chain(outputs).collect(),
                groups: spread(self.pixels * self.out_quads),
            });
        }
        dispatches
    }

    /// The `Shape` of the shaders.
    fn shape_words(&self, share: usize, parts: usize, final_quads: usize) -> Vec<u32> {
        words(&[
            self.in_height,
            self.in_width,
            self.in_quads,
            self.out_width,
            self.pixels,
            self.out_quads,
            self.y_quads,
            self.y_first,
            self.residual_quads,
            self.kernel,
            self.stride,
            self.padding,
            self.inner_quads(),
            share,
            parts,
            final_quads,
        ])
    }

    /// The flags of the epilogue.
    fn ending(&self) -> [(&'static str, VariantConstant); 4] {
        [
            ("SCALED", VariantConstant::Flag(self.form == WeightForm::Int8)),
            ("MAP", VariantConstant::Flag(self.has_map)),
            ("RESIDUAL", VariantConstant::Flag(self.has_residual)),
            ("RELU", VariantConstant::Flag(self.relu)),
        ]
    }

    /// Whether `second` can follow in the same dispatch: it is pointwise, and this product's channels fit a group's
    /// shared memory.
    pub(crate) fn can_precede(&self, second: &Self) -> bool {
        let is_pointwise = second.kernel == 1 && second.stride == 1 && second.padding == 0;
        is_pointwise
            && second.x == self.y
            && second.form == self.form
            && second.in_quads == self.out_quads
            && second.pixels == self.pixels
            && (self.y_first, self.y_quads) == (0, self.out_quads)
            && 4 * self.out_quads <= MOST_PAIR_CHANNELS
            && !self.has_map
            && !self.has_residual
    }

    /// The tile of a pair's first product.
    fn pair_tile(&self) -> Tile {
        let channels = if 4 * self.out_quads <= 32 { 32 } else { MOST_PAIR_CHANNELS };
        Tile { pixels: 64, channels, parts: 1, arithmetic: Arithmetic::F32 }
    }

    /// Bytes of a group's shared memory for this product and the next.
    pub(crate) fn pair_shared_bytes(&self) -> usize {
        let tile = self.pair_tile();
        tile.shared_bytes() + 4 * tile.pixels * tile.channels
    }

    pub(crate) fn pair_groups(&self) -> usize {
        self.pixels.div_ceil(self.pair_tile().pixels)
    }

    /// This product and `second` in one dispatch.
    pub(crate) fn pair(&self, second: &Self) -> Dispatch {
        let tile = self.pair_tile();
        // What the first product writes is the second's to say.
        let Self { y_quads, y_first, residual_quads, .. } = *second;
        let whole = Self { y_quads, y_first, residual_quads, ..self.clone() };
        let mut constants = self.tile_constants(tile);
        constants.push(("INTEGER_UNIT", VariantConstant::Number(1)));
        constants.push(("FIRST_RELU", VariantConstant::Flag(self.relu)));
        constants.extend(second.ending());
        Dispatch {
            variant: Variant { shader: Shader::Pair, weights: self.form, constants },
            shape: whole.shape_words(self.inner_quads(), 1, second.out_quads),
            bindings: vec![
                self.x,
                self.weights,
                self.channels,
                second.weights,
                second.channels,
                second.y,
                second.map,
                second.residual,
            ],
            groups: [self.pair_groups() as u32, 1, 1],
        }
    }

    fn tile_constants(&self, tile: Tile) -> Vec<(&'static str, VariantConstant)> {
        let number = |value: usize| VariantConstant::Number(value as u32);
        let (depth, invocations) = (tile.depth(), tile.invocations());
        vec![
            ("PIXELS", number(tile.pixels)),
            ("QUADS", number(tile.channels / 4)),
            ("DEPTH", number(depth)),
            ("DEPTH_SIXTEENS", number(depth / 16)),
            ("X_LOADS", number(tile.pixels * depth / 4 / invocations)),
            ("W_LOADS", number(depth * tile.channels / 4 / invocations)),
            ("POINTWISE", VariantConstant::Flag(self.kernel == 1 && self.stride == 1 && self.padding == 0)),
            ("F16", VariantConstant::Flag(tile.arithmetic == Arithmetic::F16)),
            ("F32", VariantConstant::Flag(tile.arithmetic == Arithmetic::F32)),
        ]
    }

    pub(crate) fn weight_bytes(&self) -> u64 {
        (4 * self.inner_quads() * self.out_quads) as u64 * self.form.quad_bytes()
    }

    /// Bytes that the groups of a tile read and write, if no cache keeps what another group has read: each row of tiles
    /// reads the weights, and each column of tiles the pixels.
    pub(crate) fn traffic(&self, tile: Tile, quad_bytes: u64) -> u64 {
        let [across, down, _] = tile.groups(self.size());
        let inner = self.inner_quads() as u64;
        let pixels = self.pixels as u64 * inner * quad_bytes * down as u64;
        let weights = self.weight_bytes() * across as u64;
        let outputs = (self.pixels * self.out_quads) as u64 * quad_bytes;
        let added = u64::from(self.has_map) + u64::from(self.has_residual);
        pixels + weights + outputs * (1 + added) + 2 * self.partial_bytes(tile)
    }
}
