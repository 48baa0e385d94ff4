//! The convolution whose kernel the sentence generates, for any number of prompts over one map.
//!
//! It is written as nine products a prompt (one MatMul over the channels) and a constant convolution that shifts each
//! to its tap's position and sums them. A plain `Conv` with a computed weight expresses the same in the same number of
//! operations, but OpenVINO refuses a weight whose first dimension is dynamic, and ONNX Runtime needs 71 ms instead of
//! 18 ms for one prompt and 97 ms instead of 63 ms for eight (256 channels at 224 pixels, f32, one thread).

use super::maps::one_hot_kernels;
use super::proto::{int, ints};
use super::writer::{GraphWriteError, OnnxWriter, Site};
use causalclipseg::graph::TAPS;

impl OnnxWriter<'_> {
    pub(super) fn prompt_conv(&mut self, site: &Site, folded: bool) -> Result<(), GraphWriteError> {
        let [channels, height, width] = site.map(0)?;
        let parts = self.split_vector(site, channels, folded);
        let kernels = self.kernels_by_tap(site, &parts[0], channels, folded);
        let columns = self.integers(site.part("columns_shape"), &[channels as i64, (height * width) as i64]);
        let pixels = self.step(site, "pixels", "Reshape", &[&site.inputs[0], &columns], vec![]);
        let products = self.step(site, "products", "MatMul", &[&kernels, &pixels], vec![]);
        let maps = self.integers(site.part("product_shape"), &[-1, TAPS as i64, height as i64, width as i64]);
        let mut products = self.step(site, "product_maps", "Reshape", &[&products, &maps], vec![]);
        if let [_, constants, _] = &parts[..] {
            // A tap's constant is added before the shift: the shift's zero padding then drops it outside the frame.
            let one_each = self.integers("one_for_each_tap".to_string(), &[-1, TAPS as i64, 1, 1]);
            let constants = self.step(site, "constant_maps", "Reshape", &[constants, &one_each], vec![]);
            products = self.step(site, "shifted_products", "Add", &[&products, &constants], vec![]);
        }
        let shifts = self.floats("shift_and_sum_3x3".to_string(), &[1, TAPS, 3, 3], || one_hot_kernels(TAPS));
        let sums = self.step(site, "sums", "Conv", &[&products, &shifts], vec![ints("pads", &[1; 4])]);
        let one_each = self.integers("one_for_each_prompt".to_string(), &[-1, 1, 1, 1]);
        let bias = self.step(site, "bias_map", "Reshape", &[&parts[parts.len() - 1], &one_each], vec![]);
        self.finish(site, "Add", &[&sums, &bias], vec![]);
        Ok(())
    }

    /// Splits the prompt's vector into its kernels, the taps' constants where it has them, and the bias.
    fn split_vector(&mut self, site: &Site, channels: usize, folded: bool) -> Vec<String> {
        let weights = (channels * TAPS) as i64;
        let (names, lengths): (&[&str], Vec<i64>) = match folded {
            true => (&["weights", "constants", "bias"], vec![weights, TAPS as i64, 1]),
            false => (&["weights", "bias"], vec![weights, 1]),
        };
        let lengths = self.integers(site.part("lengths"), &lengths);
        let outputs: Vec<String> = names.iter().map(|name| site.part(name)).collect();
        self.step_of_many(site, "split", "Split", &[&site.inputs[1], &lengths], outputs.clone(), vec![int("axis", 1)]);
        outputs
    }

    /// The kernels as a matrix, a row for each prompt and tap.
    fn kernels_by_tap(&mut self, site: &Site, weights: &str, channels: usize, folded: bool) -> String {
        let rows = self.integers(site.part("rows_shape"), &[-1, channels as i64]);
        if folded {
            return self.step(site, "kernel_rows", "Reshape", &[weights, &rows], vec![]);
        }
        // The authors' order is channel by channel.
        let by_channel = self.integers(site.part("by_channel"), &[-1, channels as i64, TAPS as i64]);
        let kernels = self.step(site, "kernels", "Reshape", &[weights, &by_channel], vec![]);
        let by_tap = self.step(site, "kernels_by_tap", "Transpose", &[&kernels], vec![ints("perm", &[0, 2, 1])]);
        self.step(site, "kernel_rows", "Reshape", &[&by_tap, &rows], vec![])
    }
}
