//! A step list as a GPU runs it: products of its own for what the CPU does in one step, and the pairs that a GPU may join.

use super::error::GpuError;
use crate::lower::steps::{Destination, Step, StepKind, StepList, Tensor, TensorId};

/// The list with each tail's tap products as a separate step, and for each step whether it belongs to a head.
pub(super) fn with_products(list: &StepList) -> Result<(StepList, Vec<bool>), GpuError> {
    let StepList { mut tensors, steps, outputs } = list.clone();
    let mut split = Vec::with_capacity(steps.len() + 2);
    let mut heads = Vec::with_capacity(steps.len() + 2);
    for mut step in steps {
        if let (StepKind::PromptTail { filters, .. }, Some(x)) = (&step.kind, step.reads.first().copied()) {
            let low = &tensors[x.0];
            let name = format!("{}/products", step.name);
            let tensor = Tensor { name: name.clone(), channels: filters.out_channels, ..low.clone() };
            let products = (low.height * low.width * filters.out_channels * filters.in_channels) as u64;
            tensors.push(tensor);
            let made = TensorId(tensors.len() - 1);
            split.push(Step {
                name,
                kind: StepKind::Convolution {
                    filters: filters.clone(),
                    stride: 1,
                    padding: 0,
                    map: None,
                    residual: false,
                    relu: false,
                },
                reads: vec![x],
                writes: Some(Destination { tensor: made, first_channel: 0 }),
                multiply_accumulates: products,
            });
            heads.push(true);
            step.multiply_accumulates = step.multiply_accumulates.saturating_sub(products);
            step.reads = vec![made];
            heads.push(true);
        } else {
            heads.push(false);
        }
        split.push(step);
    }
    Ok((StepList { tensors, steps: split, outputs }, heads))
}

/// The steps whose result only the next step reads, both of them products.
pub(super) fn neighbours(list: &StepList) -> Vec<usize> {
    let readers = |id: TensorId| list.steps.iter().flat_map(|step| &step.reads).filter(|read| **read == id).count();
    let is_product = |step: &Step| matches!(step.kind, StepKind::Convolution { .. });
    let joins = |pair: &[Step]| {
        let Some(written) = pair[0].writes.map(|written| written.tensor) else { return false };
        pair.iter().all(is_product)
            && pair[1].reads.first() == Some(&written)
            && readers(written) == 1
            && !list.outputs.contains(&written)
    };
    let pairs = list.steps.windows(2).enumerate().filter(|(_, pair)| joins(pair));
    // A step is in one pair at most.
    let mut found: Vec<usize> = Vec::new();
    for (index, _) in pairs {
        if found.last().is_none_or(|last| last + 1 < index) {
            found.push(index);
        }
    }
    found
}
