//! Tests of aarch64 beyond those of all instruction sets.

use crate::conv::{BLOCK, ConvF32, ConvU8, EpilogueU8, OutputU8, Target, Window};
use crate::packing::pack_f32;
use crate::{Isa, Kernels};

fn arm_kernels() -> Vec<Kernels> {
    Kernels::available().into_iter().filter(|kernels| kernels.isa() != Isa::Generic).collect()
}

#[test]
fn plain_neon_is_always_there() {
    assert!(arm_kernels().iter().any(|kernels| kernels.isa() == Isa::Neon));
}

/// The sums that come nearest to the limits of 16 bits: all pixels alike and all weights alike.
#[test]
fn the_largest_products_do_not_overflow() {
    let (depth, pixels) = (64, 7);
    for x in [0u8, 127, 128, 255] {
        for weight in [-128i8, -127, 127] {
            for kernels in arm_kernels() {
                let mut y = vec![0.0; pixels * BLOCK];
                kernels.conv_u8(&mut ConvU8 {
                    window: Window { rows: 1, columns: pixels, row_stride: 0, column_stride: depth, taps: &[0], depth },
                    x: &vec![x; pixels * depth],
                    weights: &vec![weight; depth * BLOCK],
                    narrow_pairs: false,
                    out_channels: BLOCK,
                    epilogue: EpilogueU8 {
                        bias: &[0; BLOCK],
                        multiplier: &[1.0; BLOCK],
                        map: None,
                        residual: None,
                        residual_scale: 0.0,
                        offset: 0.0,
                    },
                    target: Target { row_stride: 0, column_stride: BLOCK },
                    output: OutputU8::F32 { y: &mut y, relu: false },
                });
                let expected = f32::from(x) * f32::from(weight) * depth as f32;
                assert!(y.iter().all(|value| *value == expected), "{}: {x} times {weight}", kernels.isa());
            }
        }
    }
}

/// Threads get some rows each; the outputs must not depend on how many.
#[test]
fn f32_outputs_do_not_depend_on_how_rows_are_cut_into_calls() {
    let (rows, columns, depth, out_channels) = (5, 11, 39, 20);
    let wave = |count: usize| -> Vec<f32> { (0..count).map(|index| (index as f32 * 0.7).sin()).collect() };
    let (x, bias) = (wave(rows * columns * depth), wave(2 * BLOCK));
    let weights = pack_f32(&wave(out_channels * depth), out_channels, 1, depth);
    let (row_stride, target) =
        (columns * depth, Target { row_stride: columns * out_channels, column_stride: out_channels });
    for kernels in arm_kernels() {
        let outputs = |rows_of_a_call: usize| {
            let mut y = vec![0.0; rows * target.row_stride];
            for row in (0..rows).step_by(rows_of_a_call) {
                let rows = rows_of_a_call.min(rows - row);
                kernels.conv_f32(&mut ConvF32 {
                    window: Window { rows, columns, row_stride, column_stride: depth, taps: &[0], depth },
                    x: &x[row * row_stride..],
                    weights: &weights,
                    out_channels,
                    bias: &bias,
                    map: None,
                    residual: None,
                    relu: false,
                    target,
                    y: &mut y[row * target.row_stride..],
                });
            }
            y
        };
        let whole = outputs(rows);
        assert!(outputs(1) == whole && outputs(2) == whole, "{}", kernels.isa());
    }
}
