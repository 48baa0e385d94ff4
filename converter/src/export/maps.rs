//! Operators on feature maps, `[1, channels, height, width]` in ONNX.

use super::proto::{float, int, ints, string};
use super::qdq::int32_part;
use super::writer::{GraphWriteError, OnnxWriter, Site};
use causalclipseg::graph::{NORM_EPSILON, TAPS};

impl OnnxWriter<'_> {
    pub(super) fn conv(
        &mut self,
        site: &Site,
        weight: &str,
        bias: Option<&str>,
        [kernel, stride, padding]: [usize; 3],
    ) -> Result<(), GraphWriteError> {
        let mut inputs = vec![site.inputs[0].clone(), self.weight(site, weight)?];
        if let Some(bias) = bias {
            let integers = self.quantised.get(weight).zip(site.quantisations.first().copied().flatten());
            inputs.push(match integers {
                Some((weight, input)) => {
                    let values: Vec<f32> = self.values(site, bias)?.iter().copied().collect();
                    self.note(bias, int32_part(site, 0, values.len()));
                    self.int32_bias(site, &values, input, weight)
                }
                None => self.weight(site, bias)?,
            });
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = vec![
            ints("kernel_shape", &[kernel as i64; 2]),
            ints("strides", &[stride as i64; 2]),
            ints("pads", &[padding as i64; 4]),
        ];
        self.finish(site, "Conv", &inputs, attributes);
        Ok(())
    }

    pub(super) fn batch_norm(&mut self, site: &Site, prefix: &str) -> Result<(), GraphWriteError> {
        let mut inputs = vec![site.inputs[0].clone()];
        for field in ["weight", "bias", "running_mean", "running_var"] {
            inputs.push(self.weight(site, &format!("{prefix}.{field}"))?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.finish(site, "BatchNormalization", &inputs, vec![float("epsilon", NORM_EPSILON)]);
        Ok(())
    }

    pub(super) fn complement(&mut self, site: &Site) {
        let one = self.scalar("one", 1.0);
        self.finish(site, "Sub", &[&one, &site.inputs[0]], vec![]);
    }

    pub(super) fn average_pool(&mut self, site: &Site, size: usize) {
        let attributes = vec![ints("kernel_shape", &[size as i64; 2]), ints("strides", &[size as i64; 2])];
        self.finish(site, "AveragePool", &[&site.inputs[0]], attributes);
    }

    pub(super) fn upsample(&mut self, site: &Site, scale: usize) {
        let scales = self.floats(format!("upsample_x{scale}"), &[4], || vec![1.0, 1.0, scale as f32, scale as f32]);
        let attributes = vec![string("mode", "linear"), string("coordinate_transformation_mode", "half_pixel")];
        // The empty name means no region of interest, which only another mode reads.
        self.finish(site, "Resize", &[&site.inputs[0], "", &scales], attributes);
    }

    pub(super) fn append_coordinates(&mut self, site: &Site) -> Result<(), GraphWriteError> {
        let [_, height, width] = site.map(0)?;
        let coordinates = self.floats(format!("coordinates_{height}x{width}"), &[1, 2, height, width], || {
            let x = (0..height).flat_map(|_| (0..width).map(|x| linspace(x, width)));
            let y = (0..height).flat_map(|y| (0..width).map(move |_| linspace(y, height)));
            x.chain(y).collect()
        });
        self.finish(site, "Concat", &[&site.inputs[0], &coordinates], vec![int("axis", 1)]);
        Ok(())
    }

    pub(super) fn add_map(&mut self, site: &Site, map: &str) -> Result<(), GraphWriteError> {
        let map = self.weight(site, map)?;
        self.finish(site, "Add", &[&site.inputs[0], &map], vec![]);
        Ok(())
    }

    /// CARAFE's reassembly. ONNX has no unfold, so a convolution with nine one-hot kernels extracts each channel's
    /// neighbourhood; the rest stays at the low resolution until the pixels of a cell are placed at the end.
    pub(super) fn carafe(&mut self, site: &Site, scale: usize) -> Result<(), GraphWriteError> {
        let [channels, height, width] = site.map(0)?.map(|size| size as i64);
        let (taps, cell) = (TAPS as i64, (scale * scale) as i64);
        let one_channel = self.integers(site.part("one_channel"), &[channels, 1, height, width]);
        let map = self.step(site, "channels_as_batch", "Reshape", &[&site.inputs[0], &one_channel], vec![]);
        let one_hot = self.floats("unfold_3x3".to_string(), &[TAPS, 1, 3, 3], || one_hot_kernels(TAPS));
        let patches = self.step(site, "unfold", "Conv", &[&map, &one_hot], vec![ints("pads", &[1; 4])]);
        let patch_shape = self.integers(site.part("patch_shape"), &[channels, taps, 1, height, width]);
        let patches = self.step(site, "patches", "Reshape", &[&patches, &patch_shape], vec![]);

        let logit_shape = self.integers(site.part("logit_shape"), &[1, taps, cell, height, width]);
        let logits = self.step(site, "logits", "Reshape", &[&site.inputs[1], &logit_shape], vec![]);
        let kernels = self.step(site, "kernels", "Softmax", &[&logits], vec![int("axis", 1)]);

        let weighted = self.step(site, "weighted", "Mul", &[&patches, &kernels], vec![]);
        let tap_axis = self.integers("axis_1".to_string(), &[1]);
        let sums = self.step(site, "sums", "ReduceSum", &[&weighted, &tap_axis], vec![int("keepdims", 0)]);
        let cell_shape = self.integers(site.part("cell_shape"), &[1, channels * cell, height, width]);
        let cells = self.step(site, "cells", "Reshape", &[&sums, &cell_shape], vec![]);
        let spread = vec![int("blocksize", scale as i64), string("mode", "CRD")];
        self.finish(site, "DepthToSpace", &[&cells], spread);
        Ok(())
    }
}

/// `count` kernels of 3 x 3, the k-th of which reads tap k alone.
pub(super) fn one_hot_kernels(count: usize) -> Vec<f32> {
    (0..count * TAPS).map(|index| if index / TAPS == index % TAPS { 1.0 } else { 0.0 }).collect()
}

/// The `index`-th of `count` points from -1 to 1.
fn linspace(index: usize, count: usize) -> f32 {
    if count < 2 { -1.0 } else { (2.0 * index as f64 / (count - 1) as f64 - 1.0) as f32 }
}
