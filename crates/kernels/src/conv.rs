//! A convolution as a kernel runs it: a window that moves over channels-last pixels, packed weights, and an epilogue on
//! the sums before they are stored. A matrix product is a convolution of one tap over one row.
//!
//! # Packing
//! Weights are stored in blocks of [`BLOCK`] output channels, the last one padded with zeros. Within a block, for each
//! tap: in int8 for each four input channels `[16 outputs][4 inputs]`, in f32 for each input channel `[16 outputs]`.
//! One packing serves every instruction set: 64 bytes are one AVX-512 vector, two of AVX2, four of NEON, and two
//! neighbouring groups of four inputs interleave into the operand of `usmmla`.

/// The number of output channels of a block of packed weights.
pub const BLOCK: usize = 16;

/// The number of input channels that int8 kernels take at a time; a window's depth is a multiple of it.
pub const GROUP: usize = 4;

/// The inputs that the outputs read: `rows` x `columns` pixels, each a sum over the taps and the channels of each tap.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The number of rows of outputs.
    pub rows: usize,
    /// The number of columns of outputs.
    pub columns: usize,
    /// Elements from the input of one output row to that of the next.
    pub row_stride: usize,
    /// Elements from the input of one output pixel to that of its right neighbour.
    pub column_stride: usize,
    /// Elements from a pixel's first tap to each of its taps, in the order of the packed weights.
    pub taps: &'a [usize],
    /// The number of channels that each tap reads.
    pub depth: usize,
}

impl Window<'_> {
    /// The required length of a slice of inputs; `None` if no slice can be so long.
    pub(super) fn reach(&self) -> Option<usize> {
        let furthest_tap = self.taps.iter().max().copied().unwrap_or(0);
        reach(self, self.row_stride, self.column_stride, furthest_tap.checked_add(self.depth)?)
    }

    /// The number of weights of `out_channels` outputs, in complete blocks.
    fn weights(&self, out_channels: usize) -> Option<usize> {
        padded(out_channels)?.checked_mul(self.taps.len())?.checked_mul(self.depth)
    }

    /// The number of weights of a block.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn block_len(&self) -> usize {
        self.taps.len() * self.depth * BLOCK
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 || self.columns == 0
    }
}

/// The positions of the outputs. Strides are in elements.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one pixel to its right neighbour.
    pub column_stride: usize,
}

impl Target {
    /// Whether a slice of this length can hold the outputs.
    fn fits(&self, window: &Window, out_channels: usize, length: usize) -> bool {
        reach(window, self.row_stride, self.column_stride, out_channels).is_some_and(|reach| reach <= length)
    }
}

/// The number of elements from the first one of a window's first pixel to behind the last one of its last pixel.
fn reach(window: &Window, row_stride: usize, column_stride: usize, pixel: usize) -> Option<usize> {
    let rows = window.rows.checked_sub(1)?.checked_mul(row_stride)?;
    let columns = window.columns.checked_sub(1)?.checked_mul(column_stride)?;
    rows.checked_add(columns)?.checked_add(pixel)
}

/// A map that is added to the outputs, element by element, with its own strides.
#[derive(Clone, Copy, Debug)]
pub struct Addend<'a, T> {
    /// The values, starting at the first output's.
    pub values: &'a [T],
    /// The positions of the values.
    pub layout: Target,
}

/// The epilogue of an int8 convolution's sums:
///
/// v = f32(sum + bias) * multiplier \[+ map\] \[+ residual * residual_scale\] + offset, channel by channel, each
/// operation rounded separately. In u8 the output is clamp(round_half_even(v) + zero_point, lowest, 255), and `lowest`
/// where v is NaN; in f32 it is v, or max(v, 0) if `relu`.
#[derive(Clone, Copy, Debug)]
pub struct EpilogueU8<'a> {
    /// The bias of each output channel, padded to complete blocks.
    pub bias: &'a [i32],
    /// The multiplier of each output channel, padded to complete blocks.
    pub multiplier: &'a [f32],
    /// A constant map, in units of the output.
    pub map: Option<Addend<'a, f32>>,
    /// Bytes that are added, multiplied by `residual_scale`.
    pub residual: Option<Addend<'a, u8>>,
    /// The scale of the residual's bytes.
    pub residual_scale: f32,
    /// A number that is added last.
    pub offset: f32,
}

/// The outputs of an int8 convolution.
#[derive(Debug)]
pub enum OutputU8<'a> {
    /// Rounded to bytes.
    U8 {
        /// The bytes, starting at the first output.
        y: &'a mut [u8],
        /// The zero point, from 0 to 255.
        zero_point: i32,
        /// The lowest byte that is stored, from 0 to 255: the zero point where a ReLU follows.
        lowest: i32,
    },
    /// Outputs in f32, unchanged.
    F32 {
        /// The values, starting at the first output.
        y: &'a mut [f32],
        /// Whether negative outputs become zero.
        relu: bool,
    },
}

/// An int8 convolution: u8 pixels, i8 weights, sums in i32. The inputs' zero point is part of the bias, and pixels
/// outside the frame have that zero point as their value.
#[derive(Debug)]
pub struct ConvU8<'a> {
    /// The inputs that the outputs read.
    pub window: Window<'a>,
    /// The inputs, starting at the first output's first tap.
    pub x: &'a [u8],
    /// The weights in complete blocks, as [`crate::packing`] packs them.
    pub weights: &'a [i8],
    /// The result of [`has_narrow_pairs`] for the weights, where the instruction set gains from it; false is always
    /// correct.
    pub narrow_pairs: bool,
    /// The number of output channels.
    pub out_channels: usize,
    /// The epilogue of the sums.
    pub epilogue: EpilogueU8<'a>,
    /// The positions of the outputs.
    pub target: Target,
    /// The destination of the outputs.
    pub output: OutputU8<'a>,
}

/// A convolution in f32: y = sum + bias \[+ map\] \[+ residual\], then max(y, 0) if `relu`.
#[derive(Debug)]
pub struct ConvF32<'a> {
    /// The inputs that the outputs read.
    pub window: Window<'a>,
    /// The inputs, starting at the first output's first tap.
    pub x: &'a [f32],
    /// The weights in complete blocks, as [`crate::packing`] packs them.
    pub weights: &'a [f32],
    /// The number of output channels.
    pub out_channels: usize,
    /// The bias of each output channel, padded to complete blocks.
    pub bias: &'a [f32],
    /// A constant map that is added.
    pub map: Option<Addend<'a, f32>>,
    /// Values that are added.
    pub residual: Option<Addend<'a, f32>>,
    /// Whether negative outputs become zero.
    pub relu: bool,
    /// The positions of the outputs.
    pub target: Target,
    /// The outputs, starting at the first.
    pub y: &'a mut [f32],
}

/// Whether any two neighbouring weights of one output, multiplied by any two bytes, sum to a number within 16 signed
/// bits: the largest is 255 * (|a| + |b|). This is always so for weights of seven bits.
pub fn has_narrow_pairs(weights: &[i8]) -> bool {
    // A large network has 10⁸ weights, all read while it is opened. Without a branch for each pair, vectors compare them.
    const AT_ONCE: usize = 1024;
    let largest = |chunk: &[i8]| {
        let sums =
            chunk.chunks_exact(2).map(|pair| i16::from(pair[0].unsigned_abs()) + i16::from(pair[1].unsigned_abs()));
        sums.fold(0, i16::max)
    };
    weights.chunks(AT_ONCE).all(|chunk| largest(chunk) <= 128)
}

/// The number of blocks of `out_channels`.
pub fn blocks(out_channels: usize) -> usize {
    out_channels.div_ceil(BLOCK)
}

/// `out_channels` with the padding of the last block.
fn padded(out_channels: usize) -> Option<usize> {
    blocks(out_channels).checked_mul(BLOCK)
}

impl ConvU8<'_> {
    /// Whether every element that the convolution names is inside its slices. Kernels check this once a call, and rely
    /// on it.
    pub fn is_valid(&self) -> bool {
        let window = &self.window;
        if window.is_empty() || self.out_channels == 0 {
            return true;
        }
        let padded = padded(self.out_channels);
        let y_length = match &self.output {
            OutputU8::U8 { y, zero_point, lowest } => {
                if !(0..=255).contains(zero_point) || !(0..=255).contains(lowest) {
                    return false;
                }
                y.len()
            }
            OutputU8::F32 { y, .. } => y.len(),
        };
        let holds = |length: usize, layout: &Target| layout.fits(window, self.out_channels, length);
        window.depth.is_multiple_of(GROUP)
            && window.reach().is_some_and(|reach| reach <= self.x.len())
            && window.weights(self.out_channels) == Some(self.weights.len())
            && padded == Some(self.epilogue.bias.len())
            && padded == Some(self.epilogue.multiplier.len())
            && self.epilogue.map.is_none_or(|map| holds(map.values.len(), &map.layout))
            && self.epilogue.residual.is_none_or(|residual| holds(residual.values.len(), &residual.layout))
            && holds(y_length, &self.target)
    }
}

impl ConvF32<'_> {
    /// Whether every element that the convolution names is inside its slices. Kernels check this once a call, and rely
    /// on it.
    pub fn is_valid(&self) -> bool {
        let window = &self.window;
        if window.is_empty() || self.out_channels == 0 {
            return true;
        }
        let padded = padded(self.out_channels);
        let holds = |length: usize, layout: &Target| layout.fits(window, self.out_channels, length);
        window.reach().is_some_and(|reach| reach <= self.x.len())
            && window.weights(self.out_channels) == Some(self.weights.len())
            && padded == Some(self.bias.len())
            && self.map.is_none_or(|map| holds(map.values.len(), &map.layout))
            && self.residual.is_none_or(|residual| holds(residual.values.len(), &residual.layout))
            && holds(self.y.len(), &self.target)
    }
}
