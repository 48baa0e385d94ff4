//! Packs weights in the order that kernels read them, which [`super::conv`] describes.

use super::conv::{BLOCK, GROUP, blocks};

/// Packs int8 weights of out x taps x depth (taps outermost after the outputs, as in row-major OHWI), padding the depth
/// to a multiple of [`GROUP`] and the outputs to complete blocks with zeros.
pub fn pack_i8(weights: &[i8], out_channels: usize, taps: usize, depth: usize) -> Vec<i8> {
    let groups = depth.div_ceil(GROUP);
    let mut packed = vec![0; blocks(out_channels) * BLOCK * taps * groups * GROUP];
    for (out, filter) in weights.chunks_exact((taps * depth).max(1)).take(out_channels).enumerate() {
        for (tap, channels) in filter.chunks_exact(depth).enumerate() {
            for (channel, weight) in channels.iter().enumerate() {
                let (group, lane) = (channel / GROUP, channel % GROUP);
                let vector = ((out / BLOCK) * taps + tap) * groups + group;
                packed[(vector * BLOCK + out % BLOCK) * GROUP + lane] = *weight;
            }
        }
    }
    packed
}

/// Undoes [`pack_i8`].
pub fn unpack_i8(packed: &[i8], out_channels: usize, taps: usize, depth: usize) -> Vec<i8> {
    let groups = depth.div_ceil(GROUP);
    let mut weights = Vec::with_capacity(out_channels * taps * depth);
    for out in 0..out_channels {
        for tap in 0..taps {
            for channel in 0..depth {
                let vector = ((out / BLOCK) * taps + tap) * groups + channel / GROUP;
                weights.push(packed[(vector * BLOCK + out % BLOCK) * GROUP + channel % GROUP]);
            }
        }
    }
    weights
}

/// Packs f32 weights of out x taps x depth, padding the outputs to complete blocks with zeros.
pub fn pack_f32(weights: &[f32], out_channels: usize, taps: usize, depth: usize) -> Vec<f32> {
    let mut packed = vec![0.0; blocks(out_channels) * BLOCK * taps * depth];
    for (out, filter) in weights.chunks_exact((taps * depth).max(1)).take(out_channels).enumerate() {
        for (position, weight) in filter.iter().enumerate() {
            packed[((out / BLOCK) * taps * depth + position) * BLOCK + out % BLOCK] = *weight;
        }
    }
    packed
}

/// Undoes [`pack_f32`].
pub fn unpack_f32(packed: &[f32], out_channels: usize, taps: usize, depth: usize) -> Vec<f32> {
    let filter = taps * depth;
    let of_output =
        |out: usize| (0..filter).map(move |position| packed[(out / BLOCK * filter + position) * BLOCK + out % BLOCK]);
    (0..out_channels).flat_map(of_output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_undoes_packing() {
        for (out, taps, depth) in [(1, 1, 1), (16, 9, 4), (17, 9, 6), (33, 1, 12), (5, 9, 3)] {
            let weights: Vec<i8> = (0..out * taps * depth).map(|index| (index * 37 % 255) as i8).collect();
            let packed = pack_i8(&weights, out, taps, depth);
            assert_eq!(packed.len(), out.div_ceil(16) * 16 * taps * depth.div_ceil(4) * 4);
            assert_eq!(unpack_i8(&packed, out, taps, depth), weights);
            let weights: Vec<f32> = weights.into_iter().map(f32::from).collect();
            let packed = pack_f32(&weights, out, taps, depth);
            assert_eq!(packed.len(), out.div_ceil(16) * 16 * taps * depth);
            assert_eq!(unpack_f32(&packed, out, taps, depth), weights);
        }
    }

    /// Output 17 is the second one in the second block; its tap 1 and channel 5 are the second lane of the second
    /// group.
    #[test]
    fn a_weight_lies_where_the_layout_says() {
        let (out, taps, depth) = (18, 2, 8);
        let mut weights = vec![0i8; out * taps * depth];
        weights[(17 * taps + 1) * depth + 5] = 7;
        let packed = pack_i8(&weights, out, taps, depth);
        let position = (((taps + 1) * 2 + 1) * 16 + 1) * 4 + 1;
        assert_eq!(packed[position], 7);
        let weights: Vec<f32> = weights.iter().map(|weight| f32::from(*weight)).collect();
        assert_eq!(pack_f32(&weights, out, taps, depth)[((taps + 1) * depth + 5) * 16 + 1], 7.0);
    }
}
