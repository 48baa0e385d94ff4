//! The functions of an instruction set, and the one loop around them.
//!
//! An instruction set's convolution is two small functions: one sums a tile of pixels and outputs in registers and
//! leaves the sums in a buffer, the other converts these sums to outputs. The order of tiles and their positions in
//! memory are the same for all and are implemented here, once.
//!
//! A tile is finished after the next one was summed. Its outputs then depend on nothing that is still being computed,
//! and the core works on them while it multiplies.

use super::conv::{Addend, BLOCK, ConvF32, ConvU8, OutputU8, Target, Window, blocks};
use super::tiles::TileGrid;

/// The most sums of a tile.
pub(crate) const TILE_SUMS: usize = 14 * 2 * BLOCK;

/// A tile's sums, as `[pixels][blocks * BLOCK]`.
#[repr(C, align(64))]
pub(crate) struct Sums<S>(pub [S; TILE_SUMS]);

/// The operands of a tile's sums.
pub(crate) struct Operands<'a, X, W, S> {
    /// A pointer to the first pixel's first tap.
    pub x: *const X,
    /// Elements from one pixel to the next.
    pub column_stride: usize,
    /// Elements from a pixel's first tap to each of its taps.
    pub taps: &'a [usize],
    /// The number of taps that follow each other without a gap and are read as one run.
    pub taps_per_run: usize,
    /// The number of elements of a run.
    pub run_len: usize,
    /// A pointer to the first block's weights.
    pub weights: *const W,
    /// The number of weights of a block.
    pub block_len: usize,
    /// The initial sums: one value for each output of the tile's blocks.
    pub bias: *const S,
}

/// The epilogue of a tile's sums. Absent addends are null.
pub(crate) struct Finish<S, R, Y> {
    pub sums: *mut S,
    pub pixels: usize,
    /// The number of existing outputs of the tile's blocks.
    pub outputs: usize,
    pub blocks: usize,
    /// The multiplier of each output of the tile's blocks, in int8 only.
    pub multiplier: *const f32,
    pub map: *const f32,
    pub map_stride: usize,
    pub residual: *const R,
    pub residual_stride: usize,
    pub y: *mut Y,
    pub y_stride: usize,
    pub scalars: Scalars,
}

/// The numbers of an epilogue; see [`super::conv::EpilogueU8`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Scalars {
    pub residual_scale: f32,
    pub offset: f32,
    pub zero_point: i32,
    pub lowest: i32,
    pub relu: bool,
}

pub(crate) type SumTile<X, W, S> = unsafe fn(&Operands<X, W, S>, *mut S);
pub(crate) type FinishTile<S, R, Y> = unsafe fn(&Finish<S, R, Y>);

/// An instruction set's functions for one kind of convolution.
pub(crate) struct Microkernel<X: 'static, W: 'static, S: 'static, R, Y> {
    /// The functions by blocks less one, then by pixels less one.
    pub sum: &'static [&'static [SumTile<X, W, S>]],
    pub finish: FinishTile<S, R, Y>,
}

/// The number of taps of a run: input channels of taps that follow each other without a gap are one longer run.
fn taps_per_run(taps: &[usize], depth: usize) -> usize {
    let continues = |pair: &[usize]| pair[1] == pair[0].wrapping_add(depth);
    let first = 1 + taps.windows(2).take_while(|pair| continues(pair)).count();
    let uniform = taps.len().is_multiple_of(first) && taps.chunks_exact(first).all(|run| run.windows(2).all(continues));
    if uniform { first } else { 1 }
}

/// A convolution of either kind.
struct Problem<'a, X, S, R, Y> {
    window: Window<'a>,
    x: &'a [X],
    out_channels: usize,
    bias: &'a [S],
    multiplier: &'a [f32],
    map: Option<Addend<'a, f32>>,
    residual: Option<Addend<'a, R>>,
    scalars: Scalars,
    target: Target,
    y: &'a mut [Y],
}

impl<X, S: Copy + Default, R: Copy, Y> Problem<'_, X, S, R, Y> {
    /// Whether rows follow each other as columns do, so that all of them are one long row.
    fn is_one_row(&self) -> bool {
        let Window { rows, columns, row_stride, column_stride, .. } = self.window;
        let joins = |layout: &Target| layout.row_stride == columns * layout.column_stride;
        rows > 1
            && row_stride == columns * column_stride
            && joins(&self.target)
            && self.map.is_none_or(|map| joins(&map.layout))
            && self.residual.is_none_or(|residual| joins(&residual.layout))
    }

    /// Runs the problem. `weights_of` is asked for the weights of a tile's first block, and those of its other blocks follow.
    ///
    /// # Safety
    /// The CPU must have the microkernel's instructions, every element that the problem names must be inside its slices, and so
    /// must the weights be that `weights_of` returns, until it is called again.
    unsafe fn run<W>(mut self, kernel: &Microkernel<X, W, S, R, Y>, mut weights_of: impl FnMut(usize) -> *const W) {
        if self.is_one_row() {
            self.window.columns *= self.window.rows;
            self.window.rows = 1;
        }
        let window = self.window;
        let taps_per_run = taps_per_run(window.taps, window.depth);
        let block_len = window.block_len();
        let grid = TileGrid {
            rows: window.rows,
            columns: window.columns,
            blocks: blocks(self.out_channels),
            blocks_at_once: kernel.sum.len(),
            pixels_at_once: kernel.sum[0].len(),
            bytes_per_pixel: window.column_stride * size_of::<X>(),
            bytes_per_block: block_len * size_of::<W>(),
        };
        let mut buffers = [Sums([S::default(); TILE_SUMS]), Sums([S::default(); TILE_SUMS])];
        let blank = |sums: &mut Sums<S>| Finish {
            sums: sums.0.as_mut_ptr(),
            pixels: 0,
            outputs: 0,
            blocks: 0,
            multiplier: std::ptr::null(),
            map: std::ptr::null(),
            map_stride: self.map.map_or(0, |map| map.layout.column_stride),
            residual: std::ptr::null(),
            residual_stride: self.residual.map_or(0, |residual| residual.layout.column_stride),
            y: std::ptr::null_mut(),
            y_stride: self.target.column_stride,
            scalars: self.scalars,
        };
        let mut finishes = buffers.each_mut().map(blank);
        let mut operands = Operands {
            x: self.x.as_ptr(),
            column_stride: window.column_stride,
            taps: window.taps,
            taps_per_run,
            run_len: taps_per_run * window.depth,
            weights: std::ptr::null(),
            block_len,
            bias: self.bias.as_ptr(),
        };
        let y = self.y.as_mut_ptr();
        let mut turn = 0;
        grid.for_each(|tile| {
            let output = tile.block * BLOCK;
            let at = |layout: &Target| tile.row * layout.row_stride + tile.column * layout.column_stride + output;
            // SAFETY: the tile's pixels and blocks are part of the problem, whose elements are inside its slices. The
            // tile that is finished is an earlier one, whose sums no other tile has replaced.
            unsafe {
                operands.x = self.x.as_ptr().add(tile.row * window.row_stride + tile.column * window.column_stride);
                operands.weights = weights_of(tile.block);
                operands.bias = self.bias.as_ptr().add(output);
                let finish = &mut finishes[turn];
                finish.pixels = tile.pixels;
                finish.outputs = (tile.blocks * BLOCK).min(self.out_channels - output);
                finish.blocks = tile.blocks;
                finish.multiplier = self.multiplier.as_ptr().wrapping_add(output);
                finish.y = y.add(at(&self.target));
                if let Some(map) = &self.map {
                    finish.map = map.values.as_ptr().add(at(&map.layout));
                }
                if let Some(residual) = &self.residual {
                    finish.residual = residual.values.as_ptr().add(at(&residual.layout));
                }
                kernel.sum[tile.blocks - 1][tile.pixels - 1](&operands, finish.sums);
                turn = 1 - turn;
                if finishes[turn].pixels > 0 {
                    (kernel.finish)(&finishes[turn]);
                }
            }
        });
        let last = &finishes[1 - turn];
        if last.pixels > 0 {
            // SAFETY: as above.
            unsafe { (kernel.finish)(last) };
        }
    }
}

/// The microkernels of an instruction set for one int8 convolution.
pub(crate) struct MicrokernelsU8 {
    pub sum: &'static [&'static [SumTile<u8, i8, i32>]],
    pub to_u8: FinishTile<i32, u8, u8>,
    pub to_f32: FinishTile<i32, u8, f32>,
}

/// Runs an int8 convolution.
///
/// # Safety
/// The CPU must have the instructions of the functions that `choose` returns.
pub(crate) unsafe fn conv_u8(conv: &mut ConvU8<'_>, choose: impl FnOnce(&ConvU8<'_>) -> MicrokernelsU8) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    if conv.window.is_empty() || conv.out_channels == 0 {
        return;
    }
    let MicrokernelsU8 { sum, to_u8, to_f32 } = choose(conv);
    let (x, weights, block_len) = (conv.x, conv.weights.as_ptr(), conv.window.block_len());
    // SAFETY: the caller guarantees the instructions. The convolution is valid, so each block's weights are inside the slice.
    unsafe {
        let weights_of = |block: usize| weights.add(block * block_len);
        conv_u8_of(conv, x, weights_of, &SumsU8 { sum, to_u8, to_f32 });
    }
}

/// [`MicrokernelsU8`] for inputs and weights in other number formats.
pub(crate) struct SumsU8<X: 'static, W: 'static> {
    pub sum: &'static [&'static [SumTile<X, W, i32>]],
    pub to_u8: FinishTile<i32, u8, u8>,
    pub to_f32: FinishTile<i32, u8, f32>,
}

/// Runs a valid int8 convolution with some outputs, whose inputs are `x` and whose weights `weights_of` returns, block by block.
///
/// # Safety
/// The CPU must have the instructions of the microkernels. `x` has to be as long as the convolution's inputs, and a block's weights
/// must stay as they are until `weights_of` is called again.
pub(crate) unsafe fn conv_u8_of<X, W>(
    conv: &mut ConvU8<'_>,
    x: &[X],
    weights_of: impl FnMut(usize) -> *const W,
    kernels: &SumsU8<X, W>,
) {
    let (window, epilogue) = (conv.window, conv.epilogue);
    macro_rules! run {
        ($y:expr, $finish:expr, $scalars:expr) => {{
            let problem = Problem {
                window,
                x,
                out_channels: conv.out_channels,
                bias: epilogue.bias,
                multiplier: epilogue.multiplier,
                map: epilogue.map,
                residual: epilogue.residual,
                scalars: $scalars,
                target: conv.target,
                y: $y,
            };
            // SAFETY: the caller guarantees the instructions and the weights, and the convolution is valid.
            unsafe { problem.run(&Microkernel { sum: kernels.sum, finish: $finish }, weights_of) }
        }};
    }
    let scalars = Scalars { residual_scale: epilogue.residual_scale, offset: epilogue.offset, ..Scalars::default() };
    match &mut conv.output {
        OutputU8::U8 { y, zero_point, lowest } => {
            run!(y, kernels.to_u8, Scalars { zero_point: *zero_point, lowest: *lowest, ..scalars });
        }
        OutputU8::F32 { y, relu } => run!(y, kernels.to_f32, Scalars { relu: *relu, ..scalars }),
    }
}

/// The microkernels of an instruction set for one convolution in f32.
pub(crate) type MicrokernelF32 = Microkernel<f32, f32, f32, f32, f32>;

/// Runs a convolution in f32.
///
/// # Safety
/// The CPU must have the instructions of the functions that `choose` returns.
pub(crate) unsafe fn conv_f32(conv: &mut ConvF32<'_>, choose: impl FnOnce(&ConvF32<'_>) -> MicrokernelF32) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    if conv.window.is_empty() || conv.out_channels == 0 {
        return;
    }
    let kernel = choose(conv);
    let problem = Problem {
        window: conv.window,
        x: conv.x,
        out_channels: conv.out_channels,
        bias: conv.bias,
        multiplier: &[],
        map: conv.map,
        residual: conv.residual,
        scalars: Scalars { relu: conv.relu, ..Scalars::default() },
        target: conv.target,
        y: conv.y,
    };
    let (weights, block_len) = (conv.weights.as_ptr(), conv.window.block_len());
    // SAFETY: the caller guarantees the instructions. The convolution is valid, so each block's weights are inside the slice.
    unsafe { problem.run(&kernel, |block| weights.add(block * block_len)) }
}
