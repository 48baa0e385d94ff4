//! Int8 as every engine reads it: `QuantizeLinear` and `DequantizeLinear` around each rounded value, `DequantizeLinear`
//! after each integer weight. Engines with int8 kernels join them to the operators between.

use super::proto::{int, int8_tensor, int32_tensor, uint8_scalar};
use super::writer::{OnnxWriter, Site, WriteError};
use crate::quantize::QuantisedTensor;
use causalclipseg::graph::Grid;
use tract_onnx::pb::tensor_proto::DataType;

impl OnnxWriter<'_> {
    /// Rounds the tensor `from` to a grid; `to` is what its readers read.
    pub(super) fn round(&mut self, node: &str, from: &str, grid: Grid, to: String) {
        let scale = self.scalar(&format!("{node}/scale"), grid.scale);
        let zero_point = self.tensor(uint8_scalar(&format!("{node}/zero_point"), grid.zero_point));
        let stored = format!("{node}/quantised");
        self.push(
            "QuantizeLinear",
            format!("{node}/quantise"),
            &[from, &scale, &zero_point],
            vec![stored.clone()],
            vec![],
        );
        self.push("DequantizeLinear", format!("{node}/dequantise"), &[&stored, &scale, &zero_point], vec![to], vec![]);
    }

    /// A weight of integers with a scale for each index of the first axis, as a tensor of numbers.
    pub(super) fn int8_weight(&mut self, name: &str, tensor: &QuantisedTensor) -> String {
        let values: Vec<i8> = tensor.stored.iter().copied().collect();
        self.dequantised(name, tensor.stored.shape(), values, &tensor.scales, 0)
    }

    /// The same of a matrix, transposed.
    pub(super) fn int8_columns(&mut self, name: &str, tensor: &QuantisedTensor) -> String {
        let transposed = tensor.stored.t();
        let values: Vec<i8> = transposed.iter().copied().collect();
        self.dequantised(name, transposed.shape(), values, &tensor.scales, 1)
    }

    fn dequantised(&mut self, name: &str, dims: &[usize], values: Vec<i8>, scales: &[f32], axis: i64) -> String {
        let output = format!("{name}/dequantised");
        let stored = format!("{name}.int8");
        if self.is_known(&stored) {
            return output;
        }
        let stored = self.tensor(int8_tensor(&stored, dims, &values));
        let scale = self.floats(format!("{name}.scale"), &[scales.len()], || scales.to_vec());
        let zeros = self.tensor(int8_tensor(&format!("{name}.zero_point"), &[scales.len()], &vec![0; scales.len()]));
        let inputs = [stored.as_str(), &scale, &zeros];
        let attributes = vec![int("axis", axis)];
        self.push("DequantizeLinear", format!("{name}/dequantise"), &inputs, vec![output.clone()], attributes);
        output
    }

    /// A convolution's bias in the steps of its sums: the input's times each output's weight's.
    pub(super) fn int32_bias(
        &mut self,
        site: &Site,
        bias: &str,
        input: Grid,
        weight: &QuantisedTensor,
    ) -> Result<String, WriteError> {
        let scales: Vec<f32> = weight.scales.iter().map(|scale| (scale * input.scale).max(f32::MIN_POSITIVE)).collect();
        // A float becomes an integer by saturation.
        let values = self.values(site, bias)?.iter().zip(&scales);
        let values: Vec<i32> = values.map(|(value, scale)| (value / scale).round_ties_even() as i32).collect();
        let name = site.part("bias");
        let stored = self.tensor(int32_tensor(&format!("{name}.int32"), &values));
        let scale = self.floats(format!("{name}.scale"), &[scales.len()], || scales);
        let zeros = self.tensor(int32_tensor(&format!("{name}.zero_point"), &vec![0; values.len()]));
        let inputs = [stored.as_str(), &scale, &zeros];
        let dequantised = format!("{name}/dequantised");
        let attributes = vec![int("axis", 0)];
        self.push("DequantizeLinear", format!("{name}/dequantise"), &inputs, vec![dequantised.clone()], attributes);
        Ok(dequantised)
    }

    /// Rows of a table of integers, each times its own scale: the whole table is never dequantised.
    pub(super) fn int8_embed(&mut self, site: &Site, table: &str, tensor: &QuantisedTensor) {
        let values: Vec<i8> = tensor.stored.iter().copied().collect();
        let stored = self.tensor(int8_tensor(&format!("{table}.int8"), tensor.stored.shape(), &values));
        let rows = tensor.scales.len();
        let scales = self.floats(format!("{table}.scale"), &[rows, 1], || tensor.scales.clone());
        let tokens = &site.inputs[0];
        let rows = self.step(site, "int8_rows", "Gather", &[&stored, tokens], vec![int("axis", 0)]);
        let rows = self.step(site, "rows", "Cast", &[&rows], vec![int("to", DataType::Float as i64)]);
        let scales = self.step(site, "row_scales", "Gather", &[&scales, tokens], vec![int("axis", 0)]);
        self.finish(site, "Mul", &[&rows, &scales], vec![]);
    }
}
