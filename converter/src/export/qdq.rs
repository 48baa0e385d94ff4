//! Int8 in the form that every engine reads: `QuantizeLinear` and `DequantizeLinear` around each rounded value,
//! `DequantizeLinear` after each integer weight. Engines with int8 kernels fuse them with the operators between.

use super::proto::{int, int8_tensor, int32_tensor, uint8_scalar};
use super::writer::{GraphWriteError, OnnxWriter, Site, int8_part};
use crate::quantize::QuantisedTensor;
use causalclipseg::graph::ScaleZeroPoint;
use causalclipseg::onnx::WeightPart;
use std::ops::Range;
use tract_onnx::pb::tensor_proto::DataType;

/// Rows of a linear layer whose weights are integers.
pub(super) struct Int8Layer<'a> {
    pub weight: &'a str,
    pub tensor: &'a QuantisedTensor,
    pub bias: Option<&'a str>,
    pub rows: Range<usize>,
    /// The scale and zero point of the input.
    pub quantisation: ScaleZeroPoint,
}

/// Rows of a bias as [`OnnxWriter::int32_bias`] writes them.
pub(super) fn int32_part(site: &Site, first_row: usize, rows: usize) -> WeightPart {
    let name = site.part("bias");
    let scale = Some(format!("{name}.scale"));
    WeightPart { scale, ..WeightPart::rows(format!("{name}.int32"), first_row, rows) }
}

impl OnnxWriter<'_> {
    /// Rounds the tensor `from` to a scale and zero point; `to` is the tensor for its readers.
    pub(super) fn round(&mut self, node: &str, from: &str, quantisation: ScaleZeroPoint, to: String) {
        let scale = self.scalar(&format!("{node}/scale"), quantisation.scale);
        let zero_point = self.tensor(uint8_scalar(&format!("{node}/zero_point"), quantisation.zero_point));
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

    /// As [`Self::int8_weight`], for a transposed matrix.
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

    /// A linear layer over the rows of a map's pixels as one `Gemm`. ONNX Runtime fuses a `MatMul` and an `Add` to a
    /// `Gemm` in f32 before it looks for integers.
    pub(super) fn int8_linear(
        &mut self,
        site: &Site,
        layer: &Int8Layer,
        [length, width]: [usize; 2],
    ) -> Result<(), GraphWriteError> {
        let Int8Layer { weight, tensor, bias, rows, quantisation } = layer;
        let part = tensor.rows(rows.start, rows.len());
        let matrix = self.weight_rows(site, weight, rows.clone())?;
        let bias = match bias {
            Some(bias) => {
                let values: Vec<f32> =
                    self.values(site, bias)?.iter().skip(rows.start).take(rows.len()).copied().collect();
                self.note(bias, int32_part(site, rows.start, rows.len()));
                Some(self.int32_bias(site, &values, *quantisation, &part))
            }
            None => None,
        };
        let flat = self.integers(site.part("rows_shape"), &[length as i64, width as i64]);
        let x = self.step(site, "rows", "Reshape", &[&site.inputs[0], &flat], vec![]);
        let inputs: Vec<&str> = [&x, &matrix].into_iter().chain(&bias).map(String::as_str).collect();
        let product = self.step(site, "product", "Gemm", &inputs, vec![int("transB", 1)]);
        let shape = self.integers(site.part("shape"), &[1, length as i64, rows.len() as i64]);
        self.finish(site, "Reshape", &[&product, &shape], vec![]);
        Ok(())
    }

    /// A bias in units of a layer's sums: the scale of the input times that of each output's weights.
    pub(super) fn int32_bias(
        &mut self,
        site: &Site,
        bias: &[f32],
        input: ScaleZeroPoint,
        weight: &QuantisedTensor,
    ) -> String {
        let scales: Vec<f32> = weight.scales.iter().map(|scale| (scale * input.scale).max(f32::MIN_POSITIVE)).collect();
        // A float to integer cast saturates.
        let values = bias.iter().zip(&scales);
        let values: Vec<i32> = values.map(|(value, scale)| (value / scale).round_ties_even() as i32).collect();
        let name = site.part("bias");
        let stored = self.tensor(int32_tensor(&format!("{name}.int32"), &values));
        let scale = self.floats(format!("{name}.scale"), &[scales.len()], || scales);
        let zeros = self.tensor(int32_tensor(&format!("{name}.zero_point"), &vec![0; values.len()]));
        let inputs = [stored.as_str(), &scale, &zeros];
        let dequantised = format!("{name}/dequantised");
        let attributes = vec![int("axis", 0)];
        self.push("DequantizeLinear", format!("{name}/dequantise"), &inputs, vec![dequantised.clone()], attributes);
        dequantised
    }

    /// Rows of a table of integers, each times its own scale: the complete table is never dequantised.
    pub(super) fn int8_embed(&mut self, site: &Site, table: &str, tensor: &QuantisedTensor) {
        let values: Vec<i8> = tensor.stored.iter().copied().collect();
        self.note(table, int8_part(table, 0, tensor.scales.len()));
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
