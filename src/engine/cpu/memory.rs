//! Plans one block of memory for all tensors of a step list: tensors that are not needed at the same time share memory.

use crate::lower::steps::{StepList, Tensor, TensorId};
use std::ops::Range;

/// Places start at multiples of a cache line, which is also the widest vector.
const ALIGNMENT: usize = 64;

/// The places of a step list's tensors.
#[derive(Clone, Debug)]
pub(super) struct Places {
    ranges: Vec<Range<usize>>,
    bytes: usize,
}

/// Bytes of a tensor, its border included.
pub(super) fn tensor_bytes(tensor: &Tensor) -> usize {
    (tensor.height + 2 * tensor.border) * (tensor.width + 2 * tensor.border) * tensor.channels * tensor.element.bytes()
}

impl Places {
    /// Places the largest tensors first, each at the lowest offset that is free during its lifetime (Pisarchyk and Lee,
    /// "Efficient Memory Management for Deep Neural Net Inference", 2020: greedy by size).
    pub(crate) fn plan(list: &StepList) -> Self {
        let lives = list.lifetimes();
        let mut order: Vec<usize> = (0..list.tensors.len()).filter(|index| lives[*index].is_some()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(tensor_bytes(&list.tensors[*index])));
        let mut ranges = vec![0..0; list.tensors.len()];
        let mut placed: Vec<usize> = Vec::new();
        let mut bytes = 0;
        for index in order {
            let Some((first, last)) = lives[index] else { continue };
            let length = tensor_bytes(&list.tensors[index]).next_multiple_of(ALIGNMENT);
            let mut taken: Vec<&Range<usize>> = placed
                .iter()
                .filter(|other| lives[**other].is_some_and(|(start, end)| start <= last && first <= end))
                .map(|other| &ranges[*other])
                .collect();
            taken.sort_by_key(|range| range.start);
            let mut start = 0;
            for range in taken {
                if range.start >= start + length {
                    break;
                }
                start = start.max(range.end);
            }
            bytes = bytes.max(start + length);
            ranges[index] = start..start + length;
            placed.push(index);
        }
        Self { ranges, bytes }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn range(&self, id: TensorId) -> Range<usize> {
        self.ranges[id.0].clone()
    }
}

/// Bytes that start at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Arena {
    /// The allocated bytes of an arena of this length.
    pub(crate) fn bytes_of(length: usize) -> usize {
        length + ALIGNMENT
    }

    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0; Self::bytes_of(length)];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, length }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::steps::{Destination, Element, Step, StepKind};

    fn list(sizes: &[usize], steps: &[(&[usize], usize)], outputs: &[usize]) -> StepList {
        let tensor = |width: &usize| Tensor {
            name: "t".into(),
            height: 1,
            width: *width,
            channels: 64,
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
        StepList {
            tensors: sizes.iter().map(tensor).collect(),
            steps: steps.iter().map(step).collect(),
            outputs: outputs.iter().copied().map(TensorId).collect(),
        }
    }

    #[test]
    fn tensors_that_live_together_lie_apart_and_places_are_reused() {
        // A chain with a shortcut from 0 to 3.
        let list = list(&[4, 9, 2, 9, 4], &[(&[], 0), (&[0], 1), (&[1], 2), (&[2, 0], 3), (&[3], 4)], &[4]);
        let places = Places::plan(&list);
        let lives = list.lifetimes();
        let overlap = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        for a in 0..5 {
            assert_eq!(places.ranges[a].start % ALIGNMENT, 0);
            assert_eq!(places.ranges[a].len(), list.tensors[a].width * 256);
            for b in 0..a {
                let ((a1, a2), (b1, b2)) = (lives[a].unwrap(), lives[b].unwrap());
                let together = a1 <= b2 && b1 <= a2;
                assert!(!together || !overlap(&places.ranges[a], &places.ranges[b]), "{a} and {b}");
            }
        }
        assert!(places.bytes() < 28 * 256, "{}", places.bytes());
    }

    #[test]
    fn an_arena_is_aligned() {
        for length in [0, 1, 64, 1000] {
            let mut arena = Arena::new(length);
            assert_eq!(arena.bytes().as_ptr() as usize % ALIGNMENT, 0);
            assert_eq!(arena.bytes().len(), length);
        }
    }
}
