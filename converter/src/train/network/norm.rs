//! Batch norm with few passes over the map: on a CPU its cost is memory traffic, not arithmetic.

use crate::train::device::is_gpu;
use burn::tensor::Tensor;
use causalclipseg::graph::NORM_EPSILON;

/// The share of a batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// Scale and shift after the normalisation, per channel.
pub(super) struct ScaleShift {
    pub scale: Tensor<1>,
    pub shift: Tensor<1>,
}

/// Statistics of the data seen, per channel.
pub(super) struct Running {
    pub mean: Tensor<1>,
    pub variance: Tensor<1>,
}

/// Statistics of one batch, per channel.
pub(super) struct Batch {
    mean: Tensor<1>,
    /// The variance with n in the denominator.
    variance: Tensor<1>,
    count: usize,
}

impl Running {
    /// Running statistics after one more batch; the variance enters with n - 1 in its denominator, as in PyTorch.
    pub fn moved(self, batch: Batch) -> Self {
        let unbiased = batch.count as f32 / (batch.count.max(2) - 1) as f32;
        let mix = |old: Tensor<1>, new: Tensor<1>| old.mul_scalar(1.0 - MOMENTUM).add(new.mul_scalar(MOMENTUM));
        Self { mean: mix(self.mean, batch.mean), variance: mix(self.variance, batch.variance.mul_scalar(unbiased)) }
    }
}

pub(super) fn by_running_statistics(x: Tensor<4>, affine: ScaleShift, running: Running) -> Tensor<4> {
    scale_and_shift(x, affine, running.mean, running.variance)
}

/// Normalises by the batch's own statistics, through which the gradient flows.
pub(super) fn by_batch_statistics(x: Tensor<4>, affine: ScaleShift) -> (Tensor<4>, Batch) {
    let [batch, channels, height, width] = x.dims();
    let count = batch * height * width;
    let per_channel = |sums: Tensor<3>| -> Tensor<1> {
        sums.reshape([batch, channels]).sum_dim(0).reshape([channels]).div_scalar(count as f32)
    };
    let rows = x.clone().reshape([batch * channels, 1, height * width]);
    let mean = per_channel(rows.clone().sum_dim(2));
    let square = per_channel(sum_of_squares(rows));
    // Rounding may leave a constant channel a variance just below zero.
    let variance = square.sub(mean.clone().mul(mean.clone())).clamp_min(0.0);
    let statistics = Batch { mean: mean.clone().inner(), variance: variance.clone().inner(), count };
    (scale_and_shift(x, affine, mean, variance), statistics)
}

/// Row-wise sum of squares, as a product of each row with a detached copy of itself: value and gradient read the map once, and
/// only the gradient's result has the map's size. The detached factor halves the gradient, which is corrected without changing
/// the value.
///
/// A GPU has the bandwidth for the plain form, and is slow at products of one row.
fn sum_of_squares(rows: Tensor<3>) -> Tensor<3> {
    if is_gpu(&rows.device()) {
        return rows.clone().mul(rows).sum_dim(2);
    }
    let fixed = rows.clone().inner().swap_dims(1, 2);
    let is_tracked = rows.is_tracked();
    let sums = rows.matmul(fixed);
    if is_tracked { sums.clone().mul_scalar(2.0).sub(sums.detach()) } else { sums }
}

fn scale_and_shift(x: Tensor<4>, affine: ScaleShift, mean: Tensor<1>, variance: Tensor<1>) -> Tensor<4> {
    let [_, channels, _, _] = x.dims();
    let scale = affine.scale.div(variance.add_scalar(NORM_EPSILON).sqrt());
    let shift = affine.shift.sub(mean.mul(scale.clone()));
    x.mul(scale.reshape([1, channels, 1, 1])).add(shift.reshape([1, channels, 1, 1]))
}
