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

/// The steps whose result only the next step reads, both of them products and the next one pointwise.
pub(super) fn neighbours(list: &StepList) -> Vec<usize> {
    let readers = |id: TensorId| list.steps.iter().flat_map(|step| &step.reads).filter(|read| **read == id).count();
    let is_product = |step: &Step| matches!(step.kind, StepKind::Convolution { .. });
    let is_pointwise = |step: &Step| matches!(&step.kind, StepKind::Convolution { filters, stride: 1, padding: 0, .. } if filters.kernel == 1);
    let joins = |pair: &[Step]| {
        let Some(written) = pair[0].writes.map(|written| written.tensor) else { return false };
        is_product(&pair[0])
            && is_pointwise(&pair[1])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::steps::{Element, Filters, WeightLayout};

    fn product(kernel: usize, reads: &[usize], written: usize) -> Step {
        let filters = Filters {
            weight: "w".into(),
            layout: WeightLayout::Convolution,
            bias: None,
            out_channels: 8,
            kernel,
            in_channels: 8,
        };
        let padding = kernel / 2;
        Step {
            name: "step".into(),
            kind: StepKind::Convolution {
                filters,
                stride: 1,
                padding,
                map: None,
                residual: reads.len() > 1,
                relu: true,
            },
            reads: reads.iter().map(|id| TensorId(*id)).collect(),
            writes: Some(Destination { tensor: TensorId(written), first_channel: 0 }),
            multiply_accumulates: 0,
        }
    }

    /// Pointwise, 3 x 3, pointwise with a shortcut, twice: the last two of each can be joined.
    #[test]
    fn the_second_half_of_a_bottleneck_is_a_pair() {
        let tensor = Tensor {
            name: "t".into(),
            height: 4,
            width: 4,
            channels: 8,
            border: 0,
            element: Element::F32,
            per_token: false,
        };
        let steps = vec![
            product(1, &[0], 1),
            product(3, &[1], 2),
            product(1, &[2, 0], 3),
            product(1, &[3], 4),
            product(3, &[4], 5),
            product(1, &[5, 3], 6),
        ];
        let list = StepList { tensors: vec![tensor; 7], steps, outputs: vec![TensorId(6)] };
        assert_eq!(neighbours(&list), [1, 4]);
        // What is an output, or read again, is stored.
        let outputs = vec![TensorId(2), TensorId(6)];
        assert_eq!(neighbours(&StepList { outputs, ..list.clone() }), [4]);
        let mut again = list;
        again.steps[5].reads.push(TensorId(2));
        assert_eq!(neighbours(&again), [4]);
    }
}
