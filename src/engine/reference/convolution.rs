//! Convolutions, pools and operators on a map's channels.

use super::wiring::Wiring;
use crate::graph::{NORM_EPSILON, coordinate};
use ndarray::{Array3, ArrayD, Axis};
use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec, SumPool};
use tract_core::ops::math::{add, mul};
use tract_core::ops::nn::DataFormat;

/// A square convolution's geometry.
pub(super) struct Convolution<'a> {
    pub weight: &'a str,
    pub bias: Option<&'a str>,
    pub stride: usize,
    pub padding: usize,
}

pub(super) fn convolve(w: &mut Wiring, op: Convolution, x: OutletId) -> TractResult<OutletId> {
    let kernel = w.weight(op.weight)?.to_owned();
    let &[out_channels, input_channels, height, width] = kernel.shape() else {
        bail!("`{}` does not have four axes", op.weight)
    };
    let pool_spec = PoolSpec {
        data_format: DataFormat::CHW,
        kernel_shape: tvec!(height, width),
        padding: PaddingSpec::Explicit(tvec!(op.padding; 2), tvec!(op.padding; 2)),
        dilations: None,
        strides: Some(tvec!(op.stride; 2)),
        input_channels,
        output_channels: out_channels,
    };
    let kernel = w.constant(kernel)?;
    let bias = match op.bias {
        Some(name) => w.shaped_weight(name, &[out_channels])?,
        None => w.constant(ArrayD::zeros(vec![out_channels]))?,
    };
    w.wire(Conv::new(pool_spec, KernelFormat::OIHW, 1, None), &[x, kernel, bias])
}

/// x * g / sqrt(v + e) + (b - m * g / sqrt(v + e)), channel by channel.
pub(super) fn batch_norm(w: &mut Wiring, prefix: &str, x: OutletId) -> TractResult<OutletId> {
    let field = |name: &str| -> TractResult<ArrayD<f32>> { Ok(w.weight(&format!("{prefix}.{name}"))?.to_owned()) };
    let scale = field("weight")? / (field("running_var")? + NORM_EPSILON).mapv(f32::sqrt);
    let shift = field("bias")? - field("running_mean")? * &scale;
    let scale = w.constant(scale.insert_axis(Axis(1)).insert_axis(Axis(2)))?;
    let shift = w.constant(shift.insert_axis(Axis(1)).insert_axis(Axis(2)))?;
    let scaled = w.wire(mul(), &[x, scale])?;
    w.wire(add(), &[scaled, shift])
}

pub(super) fn average_pool(w: &mut Wiring, size: usize, channels: usize, x: OutletId) -> TractResult<OutletId> {
    let pool_spec = PoolSpec {
        data_format: DataFormat::CHW,
        kernel_shape: tvec!(size; 2),
        padding: PaddingSpec::Valid,
        dilations: None,
        strides: Some(tvec!(size; 2)),
        input_channels: channels,
        output_channels: channels,
    };
    w.wire(SumPool { pool_spec, count_include_pad: false, normalize: true }, &[x])
}

/// Two more channels: x along the width, then y along the height, each from -1 to 1 over the frame.
pub(super) fn append_coordinates(w: &mut Wiring, height: usize, width: usize, x: OutletId) -> TractResult<OutletId> {
    let coordinates = Array3::from_shape_fn((2, height, width), |(channel, y, x)| match channel {
        0 => coordinate(x, width),
        _ => coordinate(y, height),
    });
    let coordinates = w.constant(coordinates.into_dyn())?;
    w.wire(TypedConcat { axis: 0 }, &[x, coordinates])
}
