//! Weights in the order of the kernels, so that a device runs them from the file unchanged.

use crate::error::Problem;
use crate::manifest::{Dtype, Packing, Quantisation};
use crate::tensor::StoredTensor;
use causalclipseg_graph::graph::{Graph, Op};
use causalclipseg_kernels::conv::{BLOCK, GROUP};
use causalclipseg_kernels::packing::{pack_f32, pack_i8, unpack_f32, unpack_i8};
use std::collections::HashSet;

/// A weight as a kernel reads it: outputs, taps, and the channels of each tap.
#[derive(Clone, Copy)]
struct Filters {
    out: usize,
    taps: usize,
    depth: usize,
}

impl Filters {
    /// Interprets a shape of out x in x kernel x kernel, or out x in.
    fn of(shape: &[usize]) -> Option<Self> {
        match *shape {
            [out, depth] => Some(Self { out, taps: 1, depth }),
            [out, depth, height, width] => Some(Self { out, taps: height.checked_mul(width)?, depth }),
            _ => None,
        }
    }
}

/// The bytes of a tensor of `shape` in the blocked packing; `None` where that does not exist or overflows.
pub(super) fn blocked_bytes(shape: &[usize], dtype: Dtype) -> Option<u64> {
    let Filters { out, taps, depth } = Filters::of(shape)?;
    let depth = match dtype {
        Dtype::I8 => depth.checked_next_multiple_of(GROUP)?,
        Dtype::F32 => depth,
        _ => return None,
    };
    let elements = out.checked_next_multiple_of(BLOCK)?.checked_mul(taps)?.checked_mul(depth)?;
    (elements as u64).checked_mul(dtype.bytes() as u64)
}

/// The row-major numbers of packed bytes, whose length is that of [`blocked_bytes`].
pub(super) fn unpack(bytes: &[u8], shape: &[usize], dtype: Dtype) -> Result<Vec<f32>, Problem> {
    let refuse = || Problem::layout("packing", format!("{dtype:?} of {shape:?} is not packed"));
    let Filters { out, taps, depth } = Filters::of(shape).ok_or_else(refuse)?;
    let by_tap: Vec<f32> = match dtype {
        Dtype::I8 => {
            let packed: Vec<i8> = bytes.iter().map(|byte| *byte as i8).collect();
            unpack_i8(&packed, out, taps, depth).into_iter().map(f32::from).collect()
        }
        Dtype::F32 => unpack_f32(&floats(bytes), out, taps, depth),
        _ => return Err(refuse()),
    };
    Ok(transpose_each(&by_tap, taps, depth))
}

impl StoredTensor {
    /// A weight in int8: its integers (row-major, `scales` one for each index of the first axis), the tensor of their
    /// scales and, if `for_kernels`, the integers in the kernels' order and the sum of each output's.
    pub fn int8(
        name: &str,
        shape: &[usize],
        integers: &[i8],
        scales: &[f32],
        for_kernels: bool,
    ) -> Result<Vec<Self>, Problem> {
        let scale_name = format!("{name}.scale");
        let scale_bytes = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let scale = Self::plain(&scale_name, Dtype::F32, &[scales.len()], scale_bytes);
        let mut stored = Self::plain(name, Dtype::I8, shape, integers.iter().map(|value| *value as u8).collect());
        stored.quantisation = Some(Quantisation { scale: scale_name, zero_point: 0 });
        if !for_kernels {
            return Ok(vec![stored, scale]);
        }
        let outputs = shape.first().copied().unwrap_or(1).max(1);
        let each = (integers.len() / outputs).max(1);
        let sums = integers.chunks(each).map(|output| output.iter().map(|value| i32::from(*value)).sum::<i32>());
        let sum_bytes = sums.flat_map(i32::to_le_bytes).collect();
        let sums = Self::plain(&format!("{name}.sums"), Dtype::I32, &[outputs], sum_bytes);
        Ok(vec![stored.pack()?, scale, sums])
    }

    /// Converts a row-major weight of a convolution or a linear layer (i8 or f32) to the kernels' order.
    pub fn pack(mut self) -> Result<Self, Problem> {
        let refuse = |reason: String| Problem::layout(format!("tensor `{}`", self.name), reason);
        let bytes = match self.packing {
            None => blocked_bytes(&self.shape, self.dtype),
            Some(_) => return Err(refuse("it is packed already".into())),
        };
        let (Some(bytes), Some(Filters { out, taps, depth })) = (bytes, Filters::of(&self.shape)) else {
            return Err(refuse(format!("no kernel reads {:?} of {:?}", self.dtype, self.shape)));
        };
        let elements = out * taps * depth;
        if elements * self.dtype.bytes() != self.bytes.len() {
            return Err(refuse(format!("{} bytes do not hold {:?}", self.bytes.len(), self.shape)));
        }
        // Kernels read tap by tap, the file's other tensors are channel by channel.
        let packed: Vec<u8> = match self.dtype {
            Dtype::I8 => {
                let weights: Vec<i8> = self.bytes.iter().map(|byte| *byte as i8).collect();
                let packed = pack_i8(&transpose_each(&weights, depth, taps), out, taps, depth);
                packed.into_iter().map(|weight| weight as u8).collect()
            }
            _ => {
                let packed = pack_f32(&transpose_each(&floats(&self.bytes), depth, taps), out, taps, depth);
                packed.into_iter().flat_map(f32::to_le_bytes).collect()
            }
        };
        debug_assert_eq!(packed.len() as u64, bytes);
        self.bytes = packed;
        self.packing = Some(Packing::Blocked);
        Ok(self)
    }
}

/// The weights that kernels read: those of convolutions and linear layers.
pub(super) fn kernel_weights(graph: &Graph) -> HashSet<String> {
    let weights = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Conv { weight, .. } | Op::Linear { weight, .. } => Some(weight.clone()),
        _ => None,
    });
    weights.collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// Transposes each `rows` x `columns` matrix of a run of them.
fn transpose_each<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    let matrices = values.chunks_exact((rows * columns).max(1));
    let transposed = matrices.flat_map(|matrix| {
        (0..columns).flat_map(move |column| (0..rows).map(move |row| matrix[row * columns + column]))
    });
    transposed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_undoes_packing() {
        for shape in [vec![1, 1], vec![17, 6], vec![16, 64], vec![18, 3, 3, 3], vec![5, 8, 1, 1], vec![33, 5, 3, 3]] {
            let length: usize = shape.iter().product();
            let values: Vec<f32> = (0..length).map(|index| (index * 37 % 255) as f32 - 127.0).collect();
            let int8: Vec<u8> = values.iter().map(|value| *value as i8 as u8).collect();
            let f32_bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            for (dtype, bytes) in [(Dtype::I8, int8), (Dtype::F32, f32_bytes)] {
                let tensor = StoredTensor::plain("w", dtype, &shape, bytes).pack().unwrap();
                assert_eq!(Some(tensor.bytes.len() as u64), blocked_bytes(&shape, dtype));
                assert_eq!(unpack(&tensor.bytes, &shape, dtype).unwrap(), values, "{dtype:?} {shape:?}");
                assert!(tensor.pack().is_err());
            }
        }
    }

    /// The position of output 1's weight of input 2 at the middle tap.
    #[test]
    fn a_weight_lies_where_the_kernels_read_it() {
        let mut bytes = vec![0; 2 * 3 * 9];
        bytes[27 + 2 * 9 + 4] = 7;
        let tensor = StoredTensor::plain("w", Dtype::I8, &[2, 3, 3, 3], bytes).pack().unwrap();
        assert_eq!(tensor.bytes[(4 * BLOCK + 1) * GROUP + 2], 7);
        assert_eq!(tensor.bytes.iter().filter(|byte| **byte != 0).count(), 1);
    }

    #[test]
    fn what_no_kernel_reads_is_not_packed() {
        for (dtype, shape, bytes) in [(Dtype::I32, vec![2, 2], 16), (Dtype::I8, vec![4], 4), (Dtype::I8, vec![2, 2], 3)]
        {
            assert!(StoredTensor::plain("w", dtype, &shape, vec![0; bytes]).pack().is_err());
        }
        assert_eq!(blocked_bytes(&[usize::MAX, 2], Dtype::I8), None);
        assert_eq!(blocked_bytes(&[2, usize::MAX], Dtype::I8), None);
        assert_eq!(blocked_bytes(&[2, 2, usize::MAX, 2], Dtype::F32), None);
    }
}
