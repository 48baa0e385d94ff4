//! Buffers that tensors share: each tensor has one for as long as it is needed, and buffers are reused.
//!
//! A dispatch may not read and write one buffer, so tensors never share parts of one: they reuse complete buffers in
//! turn.

use crate::lower::steps::StepList;

/// The buffer of each tensor, and the buffers' sizes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slots {
    /// The index of each tensor's buffer; `None` for a tensor that no step touches.
    pub of_tensor: Vec<Option<usize>>,
    pub bytes: Vec<u64>,
}

impl Slots {
    /// Largest tensors first, each into the smallest buffer that is free while it lives (Pisarchyk and Lee, "Efficient
    /// Memory Management for Deep Neural Net Inference", 2020: greedy by size, for shared objects).
    ///
    /// What the first step of a pair reads lives as long as the second: both may run in one dispatch.
    pub(crate) fn plan(list: &StepList, tensor_bytes: &[u64], pairs: &[usize]) -> Self {
        let mut lives = list.lifetimes();
        for first in pairs {
            for read in list.steps.get(*first).into_iter().flat_map(|step| &step.reads) {
                if let Some(Some((_, last))) = lives.get_mut(read.0) {
                    *last = (*last).max(first + 1);
                }
            }
        }
        let mut order: Vec<usize> = (0..list.tensors.len()).filter(|index| lives[*index].is_some()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(tensor_bytes[*index]));
        let mut of_tensor: Vec<Option<usize>> = vec![None; list.tensors.len()];
        let mut bytes: Vec<u64> = Vec::new();
        let mut tenants: Vec<Vec<(usize, usize)>> = Vec::new();
        for index in order {
            let Some((first, last)) = lives[index] else { continue };
            let is_free = |slot: &usize| tenants[*slot].iter().all(|(start, end)| *start > last || first > *end);
            let slot = (0..bytes.len()).filter(is_free).min_by_key(|slot| bytes[*slot]).unwrap_or_else(|| {
                bytes.push(tensor_bytes[index]);
                tenants.push(Vec::new());
                bytes.len() - 1
            });
            tenants[slot].push((first, last));
            of_tensor[index] = Some(slot);
        }
        Self { of_tensor, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::steps::{Destination, Element, Step, StepKind, Tensor, TensorId};

    #[test]
    fn tensors_that_live_together_have_buffers_of_their_own() {
        // A chain with a shortcut from 0 to 3.
        let steps: [(&[usize], usize); 5] = [(&[], 0), (&[0], 1), (&[1], 2), (&[2, 0], 3), (&[3], 4)];
        let bytes = [400, 900, 200, 900, 400];
        let tensor = Tensor {
            name: "t".into(),
            height: 1,
            width: 1,
            channels: 4,
            border: 0,
            element: Element::F32,
            per_token: false,
        };
        let step = |(reads, writes): &(&[usize], usize)| Step {
            name: "s".into(),
            kind: StepKind::Convert,
            reads: reads.iter().copied().map(TensorId).collect(),
            writes: Some(Destination { tensor: TensorId(*writes), first_channel: 0 }),
            multiply_accumulates: 0,
        };
        let list =
            StepList { tensors: vec![tensor; 5], steps: steps.iter().map(step).collect(), outputs: vec![TensorId(4)] };
        let slots = Slots::plan(&list, &bytes, &[]);
        let lives = list.lifetimes();
        for a in 0..5 {
            assert!(slots.bytes[slots.of_tensor[a].unwrap()] >= bytes[a]);
            for b in 0..a {
                let ((a1, a2), (b1, b2)) = (lives[a].unwrap(), lives[b].unwrap());
                let together = a1 <= b2 && b1 <= a2;
                assert!(!together || slots.of_tensor[a] != slots.of_tensor[b], "{a} and {b}");
            }
        }
        assert!(slots.bytes.iter().sum::<u64>() < bytes.iter().sum::<u64>(), "{slots:?}");
    }
}
