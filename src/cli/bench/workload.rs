//! The interface of what is measured: something that runs frames and reports where their time went.

use super::super::Failure;
use serde::{Deserialize, Serialize};
use std::ops::{AddAssign, Div};

pub(super) trait Workload {
    /// Runs one frame. The first one also encodes its prompts; later ones keep them, as a host does.
    fn run_frame(&mut self) -> Result<FrameRecord, Failure>;
    /// Encodes a sentence that is not in the cache.
    fn encode_new_prompt(&mut self) -> Result<(), Failure>;
    /// Looks up a sentence that is in the cache.
    fn look_up_prompt(&mut self) -> Result<(), Failure>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct FrameRecord {
    /// Times of the stages, in seconds.
    pub stages: Stages,
    /// The number of heap allocations, by all threads; `None` where they are not counted.
    pub allocations: Option<u64>,
}

/// A time for each stage of a frame, in a unit that the owner defines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stages {
    pub preprocess: f64,
    pub image: f64,
    /// For all prompts together; so are `head` and `postprocess`.
    pub prompt: f64,
    pub head: f64,
    pub postprocess: f64,
}

impl Stages {
    pub(crate) const NAMES: [&str; 5] = ["preprocess", "image", "prompt", "head", "postprocess"];

    pub(crate) fn values(&self) -> [f64; 5] {
        [self.preprocess, self.image, self.prompt, self.head, self.postprocess]
    }

    fn from_values([preprocess, image, prompt, head, postprocess]: [f64; 5]) -> Self {
        Self { preprocess, image, prompt, head, postprocess }
    }
}

impl AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        let (mine, theirs) = (self.values(), other.values());
        *self = Self::from_values(std::array::from_fn(|stage| mine[stage] + theirs[stage]));
    }
}

impl Div<f64> for Stages {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self::from_values(self.values().map(|value| value / by))
    }
}

/// A workload whose stages take the times that a test sets, on a clock that it drives.
#[cfg(test)]
pub(super) mod synthetic {
    use super::super::clock::manual::ManualClock;
    use super::*;
    use std::time::Duration;

    pub(crate) struct Synthetic<'c, F: FnMut(u64) -> Stages> {
        pub clock: &'c ManualClock,
        /// Stages of the frame with this number, in seconds.
        pub stages_of: F,
        pub frames: u64,
        pub allocations: Option<u64>,
    }

    impl<'c, F: FnMut(u64) -> Stages> Synthetic<'c, F> {
        pub(crate) fn new(clock: &'c ManualClock, stages_of: F) -> Self {
            Self { clock, stages_of, frames: 0, allocations: None }
        }
    }

    impl<F: FnMut(u64) -> Stages> Workload for Synthetic<'_, F> {
        fn run_frame(&mut self) -> Result<FrameRecord, Failure> {
            let stages = (self.stages_of)(self.frames);
            self.frames += 1;
            stages.values().iter().for_each(|seconds| self.clock.pass(Duration::from_secs_f64(*seconds)));
            Ok(FrameRecord { stages, allocations: self.allocations })
        }

        fn encode_new_prompt(&mut self) -> Result<(), Failure> {
            self.clock.pass(Duration::from_millis(7));
            Ok(())
        }

        fn look_up_prompt(&mut self) -> Result<(), Failure> {
            self.clock.pass(Duration::from_micros(30));
            Ok(())
        }
    }

    /// A frame whose image pass alone takes time.
    pub(crate) fn image(ms: f64) -> Stages {
        Stages { image: ms / 1e3, ..Stages::default() }
    }
}
