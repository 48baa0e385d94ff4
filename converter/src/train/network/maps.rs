//! Operators on feature maps.

use super::{NodeTensor, Weigher};
use crate::train::device::is_gpu;
use burn::tensor::module::{avg_pool2d, conv2d, interpolate};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, InterpolateMode, InterpolateOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData, activation};
use causalclipseg::graph::{Op, TAPS};

pub(super) fn conv(op: &Op, x: Tensor<4>, weights: &Weigher) -> Tensor<4> {
    let Op::Conv { weight, bias, stride, padding, .. } = op else { unreachable!("only called for convolutions") };
    let bias = bias.as_ref().map(|name| weights.values(name));
    conv2d(x, weights.kernel(weight), bias, ConvOptions::new([*stride; 2], [*padding; 2], [1, 1], 1))
}

/// Computes the operators on maps without weights; `None` for other operators.
pub(super) fn apply(op: &Op, x: Tensor<4>, others: &[NodeTensor]) -> Option<NodeTensor> {
    let [batch, channels, height, width] = x.dims();
    Some(NodeTensor::Map(match (op, others) {
        (Op::Relu, []) => relu(x),
        (Op::Sigmoid, []) => activation::sigmoid(x),
        (Op::Complement, []) => x.neg().add_scalar(1.0),
        (Op::AveragePool { size }, []) => avg_pool2d(x, AvgPoolOptions::new([*size, *size])),
        (Op::Upsample { scale }, []) => interpolate(
            x,
            InterpolateOptions::new(InterpolateMode::Bilinear)
                .with_output_size([height * scale, width * scale])
                .with_align_corners(false),
        ),
        (Op::Add, [NodeTensor::Map(y)]) => x.add(y.clone()),
        (Op::Multiply, [NodeTensor::Map(y)]) => x.mul(y.clone()),
        (Op::Concat, others) => {
            let mut parts = vec![x];
            for other in others {
                let NodeTensor::Map(map) = other else { return None };
                parts.push(map.clone());
            }
            Tensor::cat(parts, 1)
        }
        (Op::AppendCoordinates, []) => {
            let coordinates = coordinates(height, width, &x.device()).expand([batch, 2, height, width]);
            Tensor::cat(vec![x, coordinates], 1)
        }
        (Op::Carafe { scale }, [NodeTensor::Map(logits)]) => carafe(x, logits.clone(), *scale),
        (Op::GridToSequence, []) => {
            return Some(NodeTensor::Sequence(x.reshape([batch, channels, height * width]).swap_dims(1, 2)));
        }
        _ => return None,
    }))
}

/// ReLU; on a CPU a product with a constant of zeros and ones, so that the gradient is one product too. The gradient of the
/// framework's own ReLU copies and fills under a mask, one number at a time, which took a seventh of a training step.
fn relu(x: Tensor<4>) -> Tensor<4> {
    if !x.is_tracked() || is_gpu(&x.device()) {
        return activation::relu(x);
    }
    let is_positive = x.clone().inner().sign().clamp_min(0.0);
    x.mul(Tensor::from_inner(is_positive))
}

/// 1 x 2 x height x width: x, then y, each from -1 to 1.
fn coordinates(height: usize, width: usize, device: &Device) -> Tensor<4> {
    let at = |index: usize, size: usize| if size > 1 { 2.0 * index as f32 / (size - 1) as f32 - 1.0 } else { -1.0 };
    let pixels = || (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)));
    let mut values: Vec<f32> = pixels().map(|(x, _)| at(x, width)).collect();
    values.extend(pixels().map(|(_, y)| at(y, height)));
    Tensor::from_data(TensorData::new(values, [1, 2, height, width]), device)
}

/// CARAFE's reassembly at the low resolution: each pixel's nine neighbours (C x 9) times its nine weights for each of the
/// `scale²` pixels above it.
fn carafe(x: Tensor<4>, logits: Tensor<4>, scale: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let above = scale * scale;
    let weights = activation::softmax(logits.reshape([batch, TAPS, above, height * width]), 1)
        .permute([0, 3, 1, 2])
        .reshape([batch * height * width, TAPS, above]);
    let neighbours = neighbourhoods(x).permute([0, 3, 1, 2]).reshape([batch * height * width, channels, TAPS]);
    neighbours
        .matmul(weights)
        .reshape([batch, height, width, channels, scale, scale])
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([batch, channels, height * scale, width * scale])
}

/// Batch x channels x 9 x pixels: the 3 x 3 neighbourhood of each pixel, zero outside.
fn neighbourhoods(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let padded = x.pad([(1, 1), (1, 1)], PadMode::Constant(0.0));
    let tap = |index: usize| {
        let (y, x) = (index / 3, index % 3);
        padded.clone().slice([0..batch, 0..channels, y..y + height, x..x + width]).reshape([
            batch,
            channels,
            1,
            height * width,
        ])
    };
    Tensor::cat((0..TAPS).map(tap).collect(), 2)
}

/// Convolves each prompt's image with the kernel that the prompt generates: images have equally many prompts, the first image's
/// first. Prompts x 1 x height x width.
///
/// A tap is a dot product over channels, so nine products come first (one matrix product per image) and are then shifted and
/// summed, which is a convolution with a constant kernel. A 1x1 convolution before it, given as `mix`, folds into the prompt's
/// kernel, since there is no non-linearity between them.
pub(super) fn prompt_conv(x: Tensor<4>, prompt: Tensor<2>, mix: Option<(Tensor<2>, Option<Tensor<1>>)>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let device = x.device();
    let [prompts, length] = prompt.dims();
    let generated = (length - 1) / TAPS;
    let bias = prompt.clone().slice([0..prompts, length - 1..length]).reshape([prompts, 1, 1, 1]);
    let kernel = prompt.slice([0..prompts, 0..length - 1]).reshape([prompts, generated, TAPS]).swap_dims(1, 2);
    // Stacks all kernels of an image, for one product with all its prompts.
    let taps = prompts / batch * TAPS;
    let mut kernel = kernel.reshape([batch, taps, generated]);
    let mut constant = None;
    if let Some((weight, shift)) = mix {
        constant = shift.map(|shift| kernel.clone().matmul(shift.reshape([1, generated, 1])));
        kernel = kernel.matmul(weight.unsqueeze::<3>());
    }
    let mut products = kernel.matmul(x.reshape([batch, channels, height * width]));
    if let Some(constant) = constant {
        products = products.add(constant);
    }
    let shifted = conv2d(
        products.reshape([prompts, TAPS, height, width]),
        shifting_kernel(&device.inner()),
        None,
        ConvOptions::new([1, 1], [1, 1], [1, 1], 1),
    );
    shifted.add(bias)
}

/// 1 x 9 x 3 x 3: channel k goes to where tap k reads.
fn shifting_kernel(device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..TAPS * TAPS).map(|i| if i / TAPS == i % TAPS { 1.0 } else { 0.0 }).collect();
    Tensor::from_data(TensorData::new(values, [1, TAPS, 3, 3]), device)
}
