//! The sentences of a frame, as the tail's shaders read their kernels: up to four at a time.

use super::error::GpuError;
use crate::engine::EngineError;
use crate::graph::TAPS;

/// The number of sentences of one run of the tail.
pub(super) const CHUNK: usize = 4;

/// How the kernels of one head's sentences lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelLayout {
    pub count: usize,
    /// The channels of the features.
    channels: usize,
}

impl KernelLayout {
    pub(crate) fn new(count: usize, channels: usize) -> Self {
        Self { count, channels }
    }

    /// The number of groups of four outputs: nine taps for each sentence, padded with zeros.
    pub(crate) fn groups(self) -> usize {
        if self.count <= 1 { TAPS.div_ceil(4) } else { TAPS * CHUNK / 4 }
    }

    pub(crate) fn chunks(self) -> usize {
        self.count.div_ceil(CHUNK)
    }

    /// The number of sentences in a chunk.
    pub(crate) fn in_chunk(self, chunk: usize) -> usize {
        (self.count - chunk * CHUNK).min(CHUNK)
    }

    /// The offset of the biases in a chunk, in floats: behind the weights and each output's constant.
    pub(crate) fn biases(self) -> usize {
        (self.channels + 1) * self.groups() * 4
    }

    /// The number of floats of a chunk, rounded up so that chunks begin where a binding may.
    pub(crate) fn chunk_floats(self) -> usize {
        const ALIGNMENT: usize = 64;
        (self.biases() + CHUNK).next_multiple_of(ALIGNMENT)
    }

    /// Writes the kernels (9 x channels weights, nine constants, a bias) into `floats`.
    pub(crate) fn place<'k>(
        self,
        kernels: impl Iterator<Item = &'k [f32]>,
        floats: &mut Vec<f32>,
    ) -> Result<(), GpuError> {
        let stride = 4 * self.groups();
        floats.clear();
        floats.resize(self.chunks() * self.chunk_floats(), 0.0);
        for (sentence, kernel) in kernels.enumerate() {
            if kernel.len() != TAPS * self.channels + TAPS + 1 {
                let reason = format!("a prompt's kernel has {} numbers", kernel.len());
                return Err(EngineError::Internal(reason).into());
            }
            let (weights, rest) = kernel.split_at(TAPS * self.channels);
            let chunk = &mut floats[sentence / CHUNK * self.chunk_floats()..][..self.chunk_floats()];
            let first = sentence % CHUNK * TAPS;
            for (tap, weights) in weights.chunks_exact(self.channels).enumerate() {
                for (channel, weight) in weights.iter().enumerate() {
                    chunk[channel * stride + first + tap] = *weight;
                }
                chunk[self.channels * stride + first + tap] = rest[tap];
            }
            chunk[self.biases() + sentence % CHUNK] = rest[TAPS];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_lie_where_the_shaders_read_them() {
        let channels = 4;
        let kernel = |sentence: usize| -> Vec<f32> {
            (0..TAPS * channels + TAPS + 1).map(|index| (1000 * sentence + index) as f32).collect()
        };
        let kernels: Vec<Vec<f32>> = (0..6).map(kernel).collect();
        let mut floats = Vec::new();
        let layout = KernelLayout::new(6, channels);
        layout.place(kernels.iter().map(Vec::as_slice), &mut floats).unwrap();
        assert_eq!((layout.chunks(), layout.groups(), layout.in_chunk(1)), (2, 9, 2));
        let chunk = &floats[layout.chunk_floats()..];
        // Sentence 5 is the second of its chunk; tap 3 of channel 2, the constant of tap 8, the bias.
        assert_eq!(chunk[2 * 36 + 9 + 3], 5000.0 + (3 * channels + 2) as f32);
        assert_eq!(chunk[4 * 36 + 9 + 8], 5000.0 + (TAPS * channels + 8) as f32);
        assert_eq!(chunk[layout.biases() + 1], 5000.0 + (TAPS * channels + TAPS) as f32);
        assert_eq!(chunk[layout.biases() + 2], 0.0);
        let alone = KernelLayout::new(1, channels);
        assert_eq!((alone.groups(), alone.chunks()), (3, 1));
        assert!(alone.place([&kernels[0][1..]].into_iter(), &mut floats).is_err());
    }
}
