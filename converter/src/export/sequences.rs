//! Operators on sequences and vectors: `[batch, rows, width]` and `[batch, width]` in ONNX.

use super::proto::{float, int, ints};
use super::qdq::Int8Layer;
use super::writer::{GraphWriteError, OnnxWriter, Site, int8_part};
use causalclipseg::graph::{NORM_EPSILON, Shape};
use causalclipseg::onnx::WeightPart;
use ndarray::{Axis, Slice};
use std::ops::Range;

/// The number that the causal mask adds to a score: a softmax turns it into zero, and f16 into minus infinity.
const MASKED: f32 = -1e9;

impl OnnxWriter<'_> {
    pub(super) fn grid_to_sequence(&mut self, site: &Site) -> Result<(), GraphWriteError> {
        let [channels, height, width] = site.map(0)?;
        let shape = self.integers(site.part("shape"), &[1, channels as i64, (height * width) as i64]);
        let pixels = self.step(site, "pixels", "Reshape", &[&site.inputs[0], &shape], vec![]);
        self.finish(site, "Transpose", &[&pixels], vec![ints("perm", &[0, 2, 1])]);
        Ok(())
    }

    pub(super) fn sequence_to_grid(&mut self, site: &Site, height: usize, width: usize) -> Result<(), GraphWriteError> {
        let [Shape::Sequence { width: channels, .. }] = site.shapes[..] else {
            return Err(site.refuse("it needs a sequence"));
        };
        let channels_first =
            self.step(site, "channels_first", "Transpose", &[&site.inputs[0]], vec![ints("perm", &[0, 2, 1])]);
        let shape = self.integers(site.part("shape"), &[1, channels as i64, height as i64, width as i64]);
        self.finish(site, "Reshape", &[&channels_first, &shape], vec![]);
        Ok(())
    }

    pub(super) fn add_positions(
        &mut self,
        site: &Site,
        table: &str,
        rows: usize,
        skip: usize,
    ) -> Result<(), GraphWriteError> {
        let positions = match site.shapes[..] {
            // A prompt may be shorter than the table, but the padded one never is.
            [Shape::Sequence { length, .. }] => self.weight_rows(site, table, skip..skip + self.rows(site, length)?)?,
            _ => return Err(site.refuse(&format!("it needs a sequence for {rows} positions"))),
        };
        self.finish(site, "Add", &[&site.inputs[0], &positions], vec![]);
        Ok(())
    }

    /// A linear layer, x W^T + b: `Gemm` where the input is a row for each prompt, otherwise `MatMul`, which needs W
    /// transposed.
    pub(super) fn linear(
        &mut self,
        site: &Site,
        weight: &str,
        bias: Option<&str>,
        rows: Range<usize>,
    ) -> Result<(), GraphWriteError> {
        let x = &site.inputs[0];
        let (integers, quantisation) = (self.quantised.get(weight), site.quantisations.first().copied().flatten());
        if let (Some(tensor), Some(quantisation), [Shape::Sequence { length: Some(length), width }]) =
            (integers, quantisation, &site.shapes[..])
        {
            let layer = Int8Layer { weight, tensor, bias, rows, quantisation };
            return self.int8_linear(site, &layer, [*length, *width]);
        }
        let bias = bias.map(|bias| self.weight_rows(site, bias, rows.clone())).transpose()?;
        if matches!(site.shapes[..], [Shape::Vector { .. }]) {
            let weight = self.weight_rows(site, weight, rows)?;
            let inputs: Vec<&str> = [x, &weight].into_iter().chain(&bias).map(String::as_str).collect();
            self.finish(site, "Gemm", &inputs, vec![int("transB", 1)]);
            return Ok(());
        }
        let weight = self.transposed_rows(site, weight, rows)?;
        match bias {
            None => self.finish(site, "MatMul", &[x, &weight], vec![]),
            Some(bias) => {
                let product = self.step(site, "product", "MatMul", &[x, &weight], vec![]);
                self.finish(site, "Add", &[&product, &bias], vec![]);
            }
        }
        Ok(())
    }

    pub(super) fn project(&mut self, site: &Site, matrix: &str) -> Result<(), GraphWriteError> {
        let matrix = self.weight(site, matrix)?;
        self.finish(site, "MatMul", &[&site.inputs[0], &matrix], vec![]);
        Ok(())
    }

    pub(super) fn layer_norm(&mut self, site: &Site, prefix: &str) -> Result<(), GraphWriteError> {
        let weight = self.weight(site, &format!("{prefix}.weight"))?;
        let bias = self.weight(site, &format!("{prefix}.bias"))?;
        let attributes = vec![int("axis", -1), float("epsilon", NORM_EPSILON)];
        self.finish(site, "LayerNormalization", &[&site.inputs[0], &weight, &bias], attributes);
        Ok(())
    }

    pub(super) fn quick_gelu(&mut self, site: &Site) {
        let slope = self.scalar("quick_gelu_slope", 1.702);
        let scaled = self.step(site, "scaled", "Mul", &[&site.inputs[0], &slope], vec![]);
        let gate = self.step(site, "gate", "Sigmoid", &[&scaled], vec![]);
        self.finish(site, "Mul", &[&site.inputs[0], &gate], vec![]);
    }

    pub(super) fn attention(&mut self, site: &Site, heads: usize, causal: bool) -> Result<(), GraphWriteError> {
        let [Shape::Sequence { length, width }, ..] = site.shapes[..] else {
            return Err(site.refuse("it needs sequences"));
        };
        let rows = self.rows(site, length)?;
        let head_width = width / heads;
        let scale = self.scalar(&format!("attention_scale_{head_width}"), (1.0 / (head_width as f64).sqrt()) as f32);
        let query = self.step(site, "scaled_query", "Mul", &[&site.inputs[0], &scale], vec![]);
        // A zero keeps the batch, whatever the number of prompts.
        let split = self.integers(site.part("split"), &[0, rows as i64, heads as i64, head_width as i64]);
        let mut by_head = |part: &str, tensor: &str, order: [i64; 4]| {
            let split = self.step(site, &format!("split_{part}"), "Reshape", &[tensor, &split], vec![]);
            self.step(site, &format!("{part}_by_head"), "Transpose", &[&split], vec![ints("perm", &order)])
        };
        let query = by_head("query", &query, [0, 2, 1, 3]);
        let key = by_head("key", &site.inputs[1], [0, 2, 3, 1]);
        let value = by_head("value", &site.inputs[2], [0, 2, 1, 3]);
        let mut scores = self.step(site, "scores", "MatMul", &[&query, &key], vec![]);
        if causal {
            let mask = self.floats(format!("causal_mask_{rows}"), &[rows, rows], || causal_mask(rows));
            scores = self.step(site, "masked_scores", "Add", &[&scores, &mask], vec![]);
        }
        let shares = self.step(site, "shares", "Softmax", &[&scores], vec![int("axis", -1)]);
        let mixed = self.step(site, "mixed", "MatMul", &[&shares, &value], vec![]);
        let rows_first = self.step(site, "rows_first", "Transpose", &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
        let joined = self.integers(site.part("joined"), &[0, rows as i64, width as i64]);
        self.finish(site, "Reshape", &[&rows_first, &joined], vec![]);
        Ok(())
    }

    pub(super) fn embed(&mut self, site: &Site, table: &str) -> Result<(), GraphWriteError> {
        if let Some(tensor) = self.quantised.get(table) {
            self.int8_embed(site, table, tensor);
            return Ok(());
        }
        let table = self.weight(site, table)?;
        self.finish(site, "Gather", &[&table, &site.inputs[0]], vec![int("axis", 0)]);
        Ok(())
    }

    /// Takes each prompt's row at its largest id.
    pub(super) fn end_of_text(&mut self, site: &Site) {
        let attributes = vec![int("axis", 1), int("keepdims", 1)];
        let position = self.step(site, "position", "ArgMax", &[&site.inputs[1]], attributes);
        self.finish(site, "GatherND", &[&site.inputs[0], &position], vec![int("batch_dims", 1)]);
    }

    /// Rows of a weight, under its own name where they are all of it.
    pub(super) fn weight_rows(
        &mut self,
        site: &Site,
        weight: &str,
        rows: Range<usize>,
    ) -> Result<String, GraphWriteError> {
        let value = self.values(site, weight)?;
        let length = value.shape().first().copied().unwrap_or(0);
        if rows == (0..length) {
            return self.weight(site, weight);
        }
        if rows.end > length {
            return Err(site.refuse(&format!("`{weight}` has {length} rows, not {}", rows.end)));
        }
        let name = format!("{weight}[{}:{}]", rows.start, rows.end);
        if let Some(tensor) = self.quantised.get(weight) {
            let part = tensor.rows(rows.start, rows.len());
            self.note(weight, int8_part(&name, rows.start, rows.len()));
            return Ok(self.int8_weight(&name, &part));
        }
        let part = value.slice_axis(Axis(0), Slice::from(rows.clone()));
        let (dims, values) = (part.shape().to_vec(), part.iter().copied().collect());
        self.note(weight, WeightPart::rows(name.as_str(), rows.start, rows.len()));
        Ok(self.floats(name, &dims, || values))
    }

    /// Rows of a matrix as columns.
    fn transposed_rows(&mut self, site: &Site, weight: &str, rows: Range<usize>) -> Result<String, GraphWriteError> {
        let value = self.values(site, weight)?;
        let part = value.slice_axis(Axis(0), Slice::from(rows.clone())).reversed_axes();
        let (dims, values) = (part.shape().to_vec(), part.iter().copied().collect());
        let whole = rows.start == 0 && dims.last() == value.shape().first();
        let range = if whole { String::new() } else { format!("[{}:{}]", rows.start, rows.end) };
        let name = format!("{weight}{range}.transposed");
        if let Some(tensor) = self.quantised.get(weight) {
            let part = tensor.rows(rows.start, rows.len());
            self.note(weight, WeightPart { transposed: true, ..int8_part(&name, rows.start, rows.len()) });
            return Ok(self.int8_columns(&name, &part));
        }
        self.note(weight, WeightPart { transposed: true, ..WeightPart::rows(name.as_str(), rows.start, rows.len()) });
        Ok(self.floats(name, &dims, || values))
    }
}

/// Zero where a row may attend, and [`MASKED`] for later rows.
fn causal_mask(rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| (0..rows).map(move |column| if column > row { MASKED } else { 0.0 })).collect()
}
