//! Convolutions in plain Rust: for any CPU, and the reference that every other kernel is tested against.

use super::conv::{BLOCK, ConvF32, ConvU8, GROUP, OutputU8};
use super::peak::plain_multiply_add;
use super::{Routines, Vectors};

/// The kernels of every CPU.
pub(crate) const ROUTINES: Routines = Routines {
    conv_u8,
    conv_f32,
    multiply_add: plain_multiply_add,
    vectors: Vectors::Baseline,
    gains_from_narrow_pairs: false,
};

/// See [`super::Kernels::conv_u8`].
pub fn conv_u8(conv: &mut ConvU8<'_>) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    let (window, epilogue) = (conv.window, conv.epilogue);
    let depth = window.depth;
    for row in 0..window.rows {
        for column in 0..window.columns {
            let start = row * window.row_stride + column * window.column_stride;
            for out in 0..conv.out_channels {
                let filter = &conv.weights[out / BLOCK * BLOCK * window.taps.len() * depth..];
                let mut sum = 0i32;
                for (tap, offset) in window.taps.iter().enumerate() {
                    for channel in 0..depth {
                        let vector = tap * (depth / GROUP) + channel / GROUP;
                        let weight = filter[(vector * BLOCK + out % BLOCK) * GROUP + channel % GROUP];
                        sum = sum.wrapping_add(i32::from(conv.x[start + offset + channel]) * i32::from(weight));
                    }
                }
                let mut value = sum.wrapping_add(epilogue.bias[out]) as f32 * epilogue.multiplier[out];
                if let Some(map) = epilogue.map {
                    value += map.values[row * map.layout.row_stride + column * map.layout.column_stride + out];
                }
                if let Some(residual) = epilogue.residual {
                    let at = row * residual.layout.row_stride + column * residual.layout.column_stride + out;
                    value += f32::from(residual.values[at]) * epilogue.residual_scale;
                }
                value += epilogue.offset;
                let at = row * conv.target.row_stride + column * conv.target.column_stride + out;
                match &mut conv.output {
                    OutputU8::U8 { y, zero_point, lowest } => {
                        // `max` turns NaN into the lowest output.
                        let value = value.max((*lowest - *zero_point) as f32).min((255 - *zero_point) as f32);
                        y[at] = (value.round_ties_even() as i32 + *zero_point) as u8;
                    }
                    OutputU8::F32 { y, relu } => y[at] = if *relu { value.max(0.0) } else { value },
                }
            }
        }
    }
}

/// See [`super::Kernels::conv_f32`].
pub fn conv_f32(conv: &mut ConvF32<'_>) {
    assert!(conv.is_valid(), "a convolution reaches beyond its slices");
    let window = conv.window;
    let depth = window.depth;
    for row in 0..window.rows {
        for column in 0..window.columns {
            let start = row * window.row_stride + column * window.column_stride;
            for out in 0..conv.out_channels {
                let filter = &conv.weights[out / BLOCK * BLOCK * window.taps.len() * depth..];
                let mut value = 0.0f32;
                for (tap, offset) in window.taps.iter().enumerate() {
                    for channel in 0..depth {
                        let weight = filter[(tap * depth + channel) * BLOCK + out % BLOCK];
                        value += conv.x[start + offset + channel] * weight;
                    }
                }
                value += conv.bias[out];
                for addend in [conv.map, conv.residual].into_iter().flatten() {
                    value += addend.values[row * addend.layout.row_stride + column * addend.layout.column_stride + out];
                }
                let at = row * conv.target.row_stride + column * conv.target.column_stride + out;
                conv.y[at] = if conv.relu { value.max(0.0) } else { value };
            }
        }
    }
}
