//! Operators on sequences: linear layers, norms, attention, and the projections into and out of token space.

use super::wiring::Wiring;
use crate::graph::NORM_EPSILON;
use ndarray::{Array3, Axis, Slice};
use tract_core::internal::*;
use tract_core::ops::array::Gather;
use tract_core::ops::math::{add, mul, rsqrt, sub};
use tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind, sigmoid};

/// Rows `first_row .. first_row + out` of a weight that several layers may share.
pub(super) struct Linear<'a> {
    pub weight: &'a str,
    pub bias: Option<&'a str>,
    pub first_row: usize,
    pub out: usize,
}

pub(super) fn linear(w: &mut Wiring, op: Linear, x: OutletId) -> TractResult<OutletId> {
    let rows = Slice::from(op.first_row..op.first_row + op.out);
    let weight = w.weight(op.weight)?.slice_axis(Axis(0), rows).to_owned();
    let weight = w.constant(weight)?;
    let product = w.einsum("li,oi->lo", &[x, weight])?;
    let Some(bias) = op.bias else { return Ok(product) };
    let bias = w.weight(bias)?.slice_axis(Axis(0), rows).to_owned();
    let bias = w.constant(bias.insert_axis(Axis(0)))?;
    w.wire(add(), &[product, bias])
}

pub(super) fn project(w: &mut Wiring, matrix: &str, x: OutletId) -> TractResult<OutletId> {
    let matrix = w.weight(matrix)?.to_owned();
    let matrix = w.constant(matrix)?;
    w.einsum("li,io->lo", &[x, matrix])
}

pub(super) fn layer_norm(w: &mut Wiring, prefix: &str, width: usize, x: OutletId) -> TractResult<OutletId> {
    let sum = w.wire(Reduce::new(tvec!(1), Reducer::Sum), &[x])?;
    let share = w.scalar(1.0 / width as f32, 2)?;
    let mean = w.wire(mul(), &[sum, share])?;
    let centred = w.wire(sub(), &[x, mean])?;
    let variance = w.wire(Reduce::new(tvec!(1), Reducer::MeanOfSquares), &[centred])?;
    let epsilon = w.scalar(NORM_EPSILON, 2)?;
    let variance = w.wire(add(), &[variance, epsilon])?;
    let inverse = w.wire(rsqrt(), &[variance])?;
    let normed = w.wire(mul(), &[centred, inverse])?;
    let scale = w.shaped_weight(&format!("{prefix}.weight"), &[1, width])?;
    let shift = w.shaped_weight(&format!("{prefix}.bias"), &[1, width])?;
    let scaled = w.wire(mul(), &[normed, scale])?;
    w.wire(add(), &[scaled, shift])
}

pub(super) fn quick_gelu(w: &mut Wiring, x: OutletId) -> TractResult<OutletId> {
    let slope = w.scalar(1.702, 2)?;
    let steep = w.wire(mul(), &[x, slope])?;
    let gate = w.wire(sigmoid(), &[steep])?;
    w.wire(mul(), &[x, gate])
}

pub(super) fn attention(
    w: &mut Wiring,
    heads: usize,
    causal: bool,
    (length, width): (Option<usize>, usize),
    [q, k, v]: [OutletId; 3],
) -> TractResult<OutletId> {
    let head_width = width / heads;
    let scale = w.scalar(1.0 / (head_width as f32).sqrt(), 2)?;
    let q = w.wire(mul(), &[q, scale])?;
    let mut split = |x| {
        let x = w.reshape(x, 1, &[width], &[heads, head_width])?;
        w.move_axis(x, 1, 0)
    };
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let mut scores = w.einsum("hqd,hkd->hqk", &[q, k])?;
    if causal {
        let mask = causal_mask(w, length)?;
        scores = w.wire(add(), &[scores, mask])?;
    }
    let weights = w.wire(Softmax::new(tvec!(2), None, SoftmaxKind::Softmax), &[scores])?;
    let mixed = w.einsum("hqk,hkd->hqd", &[weights, v])?;
    let mixed = w.move_axis(mixed, 0, 1)?;
    w.reshape(mixed, 1, &[heads, head_width], &[width])
}

/// Zero where a row may attend, far below any score where it may not (an infinity would make fast exponentials fail).
fn causal_mask(w: &mut Wiring, length: Option<usize>) -> TractResult<OutletId> {
    const NEVER: f32 = -1e9;
    let most = length.or(w.context).context("causal attention over a sequence of unknown length")?;
    let mask = Array3::from_shape_fn((1, most, most), |(_, row, column)| if column > row { NEVER } else { 0.0 });
    let mask = w.constant(mask.into_dyn())?;
    if length.is_some() {
        return Ok(mask);
    }
    let tokens = w.length.clone();
    let rows = w.slice(mask, 1, 0, tokens.clone())?;
    w.slice(rows, 2, 0, tokens)
}

pub(super) fn add_positions(
    w: &mut Wiring,
    table: &str,
    skip: usize,
    length: Option<usize>,
    x: OutletId,
) -> TractResult<OutletId> {
    let table = w.weight(table)?.to_owned();
    let table = w.constant(table)?;
    let length = length.map_or(w.length.clone(), |length| length.to_dim());
    let rows = w.slice(table, 0, skip, length + skip)?;
    w.wire(add(), &[x, rows])
}

pub(super) fn embed(w: &mut Wiring, table: &str, tokens: OutletId) -> TractResult<OutletId> {
    let table = w.weight(table)?.to_owned();
    let table = w.constant(table)?;
    w.wire(Gather::new(0), &[table, tokens])
}

/// The row of the largest id; of several the first, so padding by repetition does no harm.
pub(super) fn end_of_text(w: &mut Wiring, sequence: OutletId, tokens: OutletId) -> TractResult<OutletId> {
    let end = w.wire(Reduce::new(tvec!(0), Reducer::ArgMax(false)), &[tokens])?;
    w.wire(Gather::new(0), &[sequence, end])
}
