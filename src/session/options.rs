//! The options of a session.

use super::SessionError;
use crate::mask::check_threshold;
use std::time::Duration;

/// How a [`Session`](super::Session) makes results: `SessionOptions::default().with_threshold(Some(0.4))`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// A pixel is lesion where its probability is above this, which is above 0 and below 1. `None`: the model's own.
    pub threshold: Option<f32>,
    /// How much of each pixel's probability comes from the frames before, 0 or more and less than 1 (exponential smoothing). 0,
    /// the default, turns smoothing off: it steadies an outline, but lags behind a moving one. It restarts when the frame's size
    /// or region or the prompt changes.
    pub smoothing: f32,
    /// Whether findings carry a [`Quality`](crate::mask::Quality), with the flags that make a result doubtful. True by default;
    /// it takes a pass over each frame and over each mask.
    pub quality: bool,
    /// How long a frame may take; one that takes longer ends with
    /// [`EngineError::TimeLimit`](crate::engine::EngineError::TimeLimit) before the network's next step. The work on all prompts
    /// together is one step, and so is a GPU's pass. `None`, the default: no limit.
    pub time_limit: Option<Duration>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { threshold: None, smoothing: 0.0, quality: true, time_limit: None }
    }
}

impl SessionOptions {
    /// See [`Self::threshold`].
    pub fn with_threshold(self, threshold: Option<f32>) -> Self {
        Self { threshold, ..self }
    }

    /// See [`Self::smoothing`].
    pub fn with_smoothing(self, smoothing: f32) -> Self {
        Self { smoothing, ..self }
    }

    /// See [`Self::quality`].
    pub fn with_quality(self, quality: bool) -> Self {
        Self { quality, ..self }
    }

    /// See [`Self::time_limit`].
    pub fn with_time_limit(self, time_limit: Option<Duration>) -> Self {
        Self { time_limit, ..self }
    }

    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<(), SessionError> {
        self.threshold.map_or(Ok(0.0), check_threshold)?;
        if (0.0..1.0).contains(&self.smoothing) { Ok(()) } else { Err(SessionError::Smoothing(self.smoothing)) }
    }
}
