//! The tract model under construction, with the basic steps that every operator consists of.

use crate::graph::Weights;
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use std::sync::Arc;
use tract_core::internal::*;
use tract_core::ops::array::Slice;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::konst::Const;

/// Maps are wired as channels x height x width, sequences as length x width, vectors as one row.
pub(super) struct Wiring<'a> {
    pub model: TypedModel,
    pub weights: &'a Weights,
    /// The number of tokens of the prompt.
    pub length: TDim,
    /// The node of our graph that is being wired; tract nodes get their names from it.
    pub node: String,
    /// The most tokens of any prompt, where the graph reads tokens.
    pub context: Option<usize>,
    wired: usize,
}

impl<'a> Wiring<'a> {
    pub(crate) fn new(weights: &'a Weights, context: Option<usize>) -> Self {
        let model = TypedModel::default();
        let length = model.symbols.sym("tokens").to_dim();
        Self { model, weights, length, node: String::new(), context, wired: 0 }
    }

    pub(crate) fn wire(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        self.wired += 1;
        let name = format!("{}/{}", self.node, self.wired);
        self.model.wire_node(name, op, inputs)?.pop().context("the operator yields nothing")
    }

    pub(crate) fn constant(&mut self, value: ArrayD<f32>) -> TractResult<OutletId> {
        let tensor = Tensor::from(value);
        self.wire(Const::new(Arc::new(tensor))?, &[])
    }

    /// A constant of `rank` axes of one element, which broadcasts against anything of that rank.
    pub(crate) fn scalar(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        self.constant(ArrayD::from_elem(IxDyn(&vec![1; rank]), value))
    }

    pub(crate) fn weight(&self, name: &str) -> TractResult<ArrayViewD<'a, f32>> {
        self.weights.get(name).map(|value| value.view()).with_context(|| format!("weight `{name}` is missing"))
    }

    /// A weight of one axis as a constant of `shape`.
    pub(crate) fn shaped_weight(&mut self, name: &str, shape: &[usize]) -> TractResult<OutletId> {
        let value = self.weight(name)?.to_owned().into_shape_with_order(shape)?;
        self.constant(value)
    }

    pub(crate) fn einsum(&mut self, axes: &str, inputs: &[OutletId]) -> TractResult<OutletId> {
        self.wire(EinSum::new(axes.parse()?, f32::datum_type()), inputs)
    }

    pub(crate) fn reshape(&mut self, x: OutletId, at: usize, from: &[usize], to: &[usize]) -> TractResult<OutletId> {
        let dims = |sizes: &[usize]| sizes.iter().map(|size| size.to_dim()).collect::<TVec<TDim>>();
        self.wire(AxisOp::Reshape(at, dims(from), dims(to)), &[x])
    }

    pub(crate) fn move_axis(&mut self, x: OutletId, from: usize, to: usize) -> TractResult<OutletId> {
        self.wire(AxisOp::Move(from, to), &[x])
    }

    pub(crate) fn slice(
        &mut self,
        x: OutletId,
        axis: usize,
        start: impl ToDim,
        end: impl ToDim,
    ) -> TractResult<OutletId> {
        self.wire(Slice::new(axis, start, end), &[x])
    }
}
