//! Weights in the kernels' order: mapped from a bundle that stores them in this order, or packed here.

use super::EngineError;
use crate::bundle::{Bundle, Dtype};
use crate::graph::Weights;
use crate::kernels::Kernels;
use crate::kernels::conv::has_narrow_pairs;
use crate::kernels::packing::pack_f32;
use crate::lower::steps::{Filters, WeightLayout};
use ndarray::{ArrayD, ArrayView2, Axis, Ix2, Ix4};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// The source of a network's weights.
#[derive(Clone, Copy)]
pub enum WeightSource<'a> {
    /// In f32, by name.
    Memory(&'a Weights),
    /// An open bundle, which the engine keeps open: weights stored there in the kernels' order are not copied.
    Bundle(&'a Arc<Bundle>),
}

impl<'a> From<&'a Weights> for WeightSource<'a> {
    fn from(weights: &'a Weights) -> Self {
        WeightSource::Memory(weights)
    }
}

impl<'a> From<&'a Arc<Bundle>> for WeightSource<'a> {
    fn from(bundle: &'a Arc<Bundle>) -> Self {
        WeightSource::Bundle(bundle)
    }
}

/// Packed weights: the engine's own, or a part of a bundle that stays open while they are used.
pub(super) enum Packed<T> {
    Owned(Vec<T>),
    Mapped { bundle: Arc<Bundle>, range: Range<usize> },
}

impl<T: bytemuck::Pod> Packed<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Packed::Owned(values) => values,
            // The range was read off a tensor of this type, whose start is a multiple of 64.
            Packed::Mapped { bundle, range } => bytemuck::cast_slice(&bundle.weight_bytes()[range.clone()]),
        }
    }

    pub(crate) fn owned_bytes(&self) -> usize {
        match self {
            Packed::Owned(values) => std::mem::size_of_val(values.as_slice()),
            Packed::Mapped { .. } => 0,
        }
    }
}

/// Int8 weights: blocks of the kernels, and for each output channel its scale and the sum of its stored weights.
pub(super) struct Int8Filters {
    pub packed: Packed<i8>,
    /// The result of `has_narrow_pairs`; computed only for kernels that use it, since that reads all weights.
    pub narrow_pairs: bool,
    pub scales: Vec<f32>,
    pub sums: Vec<i32>,
}

impl WeightSource<'_> {
    /// A tensor in f32.
    pub fn values(&self, name: &str) -> Result<Cow<'_, ArrayD<f32>>, EngineError> {
        match self {
            WeightSource::Memory(weights) => weights.get(name).map(Cow::Borrowed).ok_or_else(|| missing(name)),
            WeightSource::Bundle(bundle) => Ok(Cow::Owned(bundle.values(name)?)),
        }
    }

    /// A vector of one number for each output channel, padded with zeros.
    pub fn bias(&self, filters: &Filters) -> Result<Option<Vec<f32>>, EngineError> {
        let Some(name) = &filters.bias else { return Ok(None) };
        let values = self.values(name)?;
        let first = first_row(filters);
        let rows = values.as_slice().and_then(|all| all.get(first..first + filters.out_channels));
        rows.map(|rows| Some(rows.to_vec())).ok_or_else(|| missing(name))
    }

    /// Whether a product's weights are stored as int8.
    pub fn is_int8(&self, filters: &Filters) -> bool {
        match self {
            WeightSource::Memory(_) => false,
            WeightSource::Bundle(bundle) => {
                bundle.tensor(&filters.weight).is_ok_and(|tensor| tensor.dtype == Dtype::I8 && tensor.packing.is_some())
            }
        }
    }

    /// A product's int8 weights.
    pub(super) fn int8(&self, filters: &Filters, kernels: Kernels) -> Result<Int8Filters, EngineError> {
        let WeightSource::Bundle(bundle) = self else { return Err(missing(&filters.weight)) };
        let name = &filters.weight;
        let depth = filters.in_channels.next_multiple_of(crate::kernels::conv::GROUP);
        let range = self.packed_range(bundle, filters, depth)?;
        let first = first_row(filters);
        let scales = bundle.values(&format!("{name}.scale"))?;
        let scales: Vec<f32> = scales.iter().copied().collect();
        let scales = match scales.len() {
            1 => vec![scales[0]; filters.out_channels],
            _ => scales.get(first..first + filters.out_channels).ok_or_else(|| missing(name))?.to_vec(),
        };
        let sums = bundle.tensor(&format!("{name}.sums"))?.as_i32().unwrap_or_default();
        let sums = sums.get(first..first + filters.out_channels).ok_or_else(|| missing(name))?.to_vec();
        let packed = Packed::Mapped { bundle: (*bundle).clone(), range };
        let narrow_pairs = kernels.gains_from_narrow_pairs() && has_narrow_pairs(packed.as_slice());
        Ok(Int8Filters { packed, narrow_pairs, scales, sums })
    }

    /// A product's weights in f32, each tap's inputs padded to `depth` with zeros.
    pub(super) fn f32(&self, filters: &Filters, depth: usize) -> Result<Packed<f32>, EngineError> {
        if let WeightSource::Bundle(bundle) = self {
            let tensor = bundle.tensor(&filters.weight)?;
            if tensor.dtype == Dtype::F32 && tensor.packing.is_some() && depth == filters.in_channels {
                let range = self.packed_range(bundle, filters, 4 * filters.in_channels)?;
                return Ok(Packed::Mapped { bundle: (*bundle).clone(), range });
            }
        }
        let values = self.values(&filters.weight)?;
        let taps = filters.kernel * filters.kernel;
        let rows = match filters.layout {
            WeightLayout::Convolution => {
                let kernel = values.view().into_dimensionality::<Ix4>().map_err(|_| missing(&filters.weight))?;
                // out x in x ky x kx becomes out x ky x kx x in.
                kernel.permuted_axes([0, 2, 3, 1]).iter().copied().collect::<Vec<f32>>()
            }
            WeightLayout::Rows { first_row } => {
                let matrix = self.matrix(&values, filters)?;
                matrix
                    .slice_axis(Axis(0), (first_row..first_row + filters.out_channels).into())
                    .iter()
                    .copied()
                    .collect()
            }
            WeightLayout::Columns => self.matrix(&values, filters)?.t().iter().copied().collect(),
        };
        if depth == filters.in_channels {
            return Ok(Packed::Owned(pack_f32(&rows, filters.out_channels, taps, depth)));
        }
        let mut filled = Vec::with_capacity(filters.out_channels * taps * depth);
        for tap in rows.chunks_exact(filters.in_channels) {
            filled.extend_from_slice(tap);
            filled.resize(filled.len() + depth - filters.in_channels, 0.0);
        }
        Ok(Packed::Owned(pack_f32(&filled, filters.out_channels, taps, depth)))
    }

    fn matrix<'v>(&self, values: &'v ArrayD<f32>, filters: &Filters) -> Result<ArrayView2<'v, f32>, EngineError> {
        values.view().into_dimensionality::<Ix2>().map_err(|_| missing(&filters.weight))
    }

    /// The range of a product's blocks in a bundle's weights; `channel_bytes` are the bytes of one output channel at one tap.
    fn packed_range(
        &self,
        bundle: &Bundle,
        filters: &Filters,
        channel_bytes: usize,
    ) -> Result<Range<usize>, EngineError> {
        use crate::kernels::conv::{BLOCK, blocks};
        let range = bundle.weight_range(&filters.weight)?;
        let block_bytes = BLOCK * filters.kernel * filters.kernel * channel_bytes;
        let first = first_row(filters);
        if !first.is_multiple_of(BLOCK) {
            let reason = format!("rows from {first} on do not begin a block");
            return Err(EngineError::Unsupported { node: filters.weight.clone(), reason });
        }
        let start = range.start + first / BLOCK * block_bytes;
        let end = start + blocks(filters.out_channels) * block_bytes;
        if end > range.end {
            return Err(missing(&filters.weight));
        }
        Ok(start..end)
    }
}

fn first_row(filters: &Filters) -> usize {
    match filters.layout {
        WeightLayout::Rows { first_row } => first_row,
        _ => 0,
    }
}

fn missing(name: &str) -> EngineError {
    EngineError::Internal(format!("weight `{name}` is missing, or has another shape than its step needs"))
}
