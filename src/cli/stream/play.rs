//! Frames from a source to a stream: in order, at a rate, or at the source's own pace.

use super::super::one_line;
use super::Arguments;
use super::ending::{Ended, Endings};
use super::reader::{Next, Reader};
use super::soak::Soak;
use causalclipseg::io::source::FrameBuffer;
use causalclipseg::stream::{Stream, Submission};
use std::time::{Duration, Instant};

/// How long the command waits for a frame, or until one is due, before it checks whether to end.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Submits frames until the source, or something else, ends.
pub(super) struct Play<'a> {
    pub arguments: &'a Arguments,
    pub stream: &'a Stream,
    pub soak: &'a Soak,
    pub endings: &'a Endings,
    /// Whether frames arrive at the source's own pace; those of a file are available at once.
    pub has_own_pace: bool,
    pub begun: Instant,
}

impl Play<'_> {
    pub(super) fn run(&self, reader: &Reader) -> Ended {
        let limit = self.arguments.frames.unwrap_or(u64::MAX);
        let mut first_s = None;
        for number in 0..limit {
            let buffer = match self.next(reader) {
                Ok(buffer) => buffer,
                Err(ended) => return ended,
            };
            let submitted = self.due(number, &buffer, &mut first_s).and_then(|due| {
                self.wait(due)?;
                self.submit(&buffer)
            });
            if let Err(ended) = submitted {
                return ended;
            }
            reader.give_back(buffer);
            self.soak.observe();
        }
        Ended::Limit
    }

    fn look_around(&self) -> Result<(), Ended> {
        match self.endings.found() {
            Some(ended) => Err(ended),
            None if self.soak.is_over() => Err(Ended::Limit),
            None => Ok(()),
        }
    }

    fn next(&self, reader: &Reader) -> Result<FrameBuffer, Ended> {
        loop {
            self.look_around()?;
            match reader.next(LOOK_AROUND) {
                Next::Frame(buffer) => return Ok(buffer),
                Next::End => return Err(Ended::Source),
                Next::Failed(reason) => return Err(Ended::Failed(reason)),
                Next::Nothing => {}
            }
        }
    }

    /// When a frame is to be submitted, relative to the first.
    fn due(&self, number: u64, buffer: &FrameBuffer, first_s: &mut Option<f64>) -> Result<Duration, Ended> {
        match self.arguments.rate {
            Some(hz) => Ok(Duration::from_secs_f64(number as f64 / hz)),
            None if self.arguments.live && !self.has_own_pace => {
                let untimed = "the source does not say when its frames were taken; play it with --rate";
                let now_s = buffer.timestamp_s.ok_or_else(|| Ended::Failed(untimed.into()))?;
                let after_s = now_s - *first_s.get_or_insert(now_s);
                Ok(Duration::try_from_secs_f64(after_s.max(0.0)).unwrap_or_default())
            }
            None => Ok(Duration::ZERO),
        }
    }

    fn wait(&self, due: Duration) -> Result<(), Ended> {
        loop {
            let left = due.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            self.look_around()?;
            std::thread::sleep(left.min(LOOK_AROUND));
        }
    }

    fn submit(&self, buffer: &FrameBuffer) -> Result<(), Ended> {
        let failed = |error: &dyn std::error::Error| Ended::Failed(one_line(error));
        let mut frame = buffer.frame().map_err(|error| failed(&error))?;
        if let Some(region) = self.arguments.region {
            frame = frame.with_region(region).map_err(|error| failed(&error))?;
        }
        // A frame without a timestamp gets the time at which it was played.
        let timestamp_us = match buffer.timestamp_s {
            Some(seconds) => (seconds.max(0.0) * 1e6) as u64,
            None => self.begun.elapsed().as_micros() as u64,
        };
        if self.arguments.newest_wins() {
            return self.stream.submit(&frame, timestamp_us).map(drop).map_err(|error| failed(&error));
        }
        loop {
            let submission = self.stream.submit_wait(&frame, timestamp_us, LOOK_AROUND);
            if submission.map_err(|error| failed(&error))? != Submission::Full {
                return Ok(());
            }
            self.look_around()?;
        }
    }
}
