//! The peak of a core: multiply-adds on registers alone, measured. Kernels are judged by the fraction of it that they
//! reach.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::Kernels;

/// The type of the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Bytes, summed in 32 bits.
    Int8,
    /// 32-bit floats.
    F32,
}

/// The number of steps of one short run: some ten microseconds.
const STEPS: u32 = 4096;

impl Kernels {
    /// Billions of multiply-adds a second that one core reaches with registers alone, by the instructions that these
    /// kernels use: the best of short runs over `time`, so that other work on the machine matters little.
    pub fn peak_gmacs(self, arithmetic: Arithmetic, time: Duration) -> f64 {
        let begin = Instant::now();
        let mut best = 0.0f64;
        loop {
            let start = Instant::now();
            let multiply_adds = self.multiply_add_registers(arithmetic);
            best = best.max(multiply_adds as f64 / start.elapsed().as_nanos().max(1) as f64);
            if begin.elapsed() >= time {
                return best;
            }
        }
    }

    /// Runs [`STEPS`] steps and returns the number of multiply-adds.
    fn multiply_add_registers(self, arithmetic: Arithmetic) -> u64 {
        // SAFETY: `new` made sure that the CPU has these instructions.
        unsafe { (self.isa.routines().multiply_add)(arithmetic, STEPS) }
    }
}

/// The same loop in plain Rust.
pub(crate) fn plain_multiply_add(arithmetic: Arithmetic, steps: u32) -> u64 {
    match arithmetic {
        Arithmetic::Int8 => plain(steps, 1i32, |sum| sum.wrapping_add(sum.wrapping_mul(black_box(3)))),
        Arithmetic::F32 => plain(steps, 1f32, |sum| sum + sum * black_box(0.5)),
    }
}

/// Runs the loop with enough sums to hide the latency of an addition.
fn plain<T: Copy>(steps: u32, start: T, multiply_add: impl Fn(T) -> T) -> u64 {
    let mut sums = [start; 8];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = multiply_add(*sum);
        }
    }
    black_box(sums);
    u64::from(steps) * sums.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_peak() {
        for kernels in Kernels::available() {
            for arithmetic in [Arithmetic::Int8, Arithmetic::F32] {
                let peak = kernels.peak_gmacs(arithmetic, Duration::from_millis(2));
                // Under emulation, on a busy machine, some millions a second.
                assert!(peak > 1e-4 && peak < 10_000.0, "{}: {peak}", kernels.isa());
            }
        }
    }
}
