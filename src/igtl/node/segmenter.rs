//! The node's only access to the stream: frames and prompts in, results out.

use super::delivery::Delivery;
use super::hub::Hub;
use crate::Model;
use crate::frame::Frame;
use crate::mask::{Measurements, Quality};
use crate::stream::{
    Backlog, FrameResult, Level, Statistics, Stream, StreamError, StreamEvent, StreamOptions, Submission,
};
use serde::Serialize;
use std::sync::Arc;

/// One frame under one prompt, as the STRING message of a report holds it: the keys are those of
/// `causalclipseg stream --format jsonl`.
#[derive(Serialize)]
pub struct ReportLine<'a> {
    /// The number of the image among those that the node accepted, from 0.
    pub sequence: u64,
    /// The image's timestamp in microseconds since 1970; where it has none, its time of arrival.
    pub timestamp_us: u64,
    pub prompt: &'a str,
    /// Measurements in pixels of the image, and in millimetres where it has a pixel size.
    #[serde(flatten)]
    pub measurements: &'a Measurements,
    pub quality: Option<&'a Quality>,
    /// Time from the stream's input to its result.
    pub latency_ms: f64,
    /// Whether that exceeds the deadline.
    pub late: bool,
    pub level: Level,
}

/// A callback that receives every report as a line of JSON.
pub(super) type Observer = Box<dyn FnMut(&str) + Send>;

pub(super) struct Segmenter(Stream);

impl Segmenter {
    pub(crate) fn start(
        models: Vec<Arc<Model>>,
        prompts: &[&str],
        options: StreamOptions,
        hub: Arc<Hub>,
        mut observe: Observer,
    ) -> Result<Self, StreamError> {
        let max_frame_bytes = usize::try_from(hub.options.limits.frame_bytes).unwrap_or(usize::MAX);
        let options = options.with_backlog(Backlog::LatestWins).with_max_frame_bytes(max_frame_bytes);
        let receive = move |event: StreamEvent<'_>| match event {
            StreamEvent::Frame(result) => deliver(&hub, &result, &mut observe),
            StreamEvent::Failed { timestamp_us: ticket, reason, .. } => {
                if let Some(delivery) = Delivery::new(&hub, ticket) {
                    delivery.failure(reason);
                }
            }
            StreamEvent::Stopped { reason } => hub.give_up(reason),
            _ => {}
        };
        Ok(Self(Stream::start(models, prompts, options, receive)?))
    }

    /// Passes a frame on; never waits. `ticket` identifies its result.
    ///
    /// # Errors
    /// The stream refuses the frame, or has stopped.
    pub(crate) fn submit(&self, frame: &Frame<'_>, ticket: u64) -> Result<(), StreamError> {
        // The stream passes a number of the caller's from frame to result, in place of a time.
        match self.0.submit(frame, ticket)? {
            Submission::Queued { .. } | Submission::Skipped { .. } | Submission::Dropped { .. } | Submission::Full => {
                Ok(())
            }
        }
    }

    /// Replaces the prompts from the next frame on; takes as long as encoding does.
    ///
    /// # Errors
    /// A prompt cannot be encoded; the old ones stay.
    pub(crate) fn set_prompts(&self, prompts: &[&str]) -> Result<(), StreamError> {
        self.0.set_prompts(prompts).map(drop)
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.0.statistics()
    }

    /// Segments the waiting frames, and ends.
    pub(crate) fn finish(&self) {
        self.0.end(true);
    }
}

/// Delivers the masks of all prompts first: peers wait for them.
fn deliver(hub: &Hub, result: &FrameResult<'_>, observe: &mut Observer) {
    let Some(delivery) = Delivery::new(hub, result.timestamp_us) else { return };
    let found = || result.report.findings.iter().zip(result.prompts).enumerate();
    for (index, (finding, prompt)) in found() {
        delivery.mask(index, prompt.text(), finding.mask().pixels());
    }
    for (index, (finding, prompt)) in found() {
        delivery.contours(index, prompt.text(), finding.contours());
        let line = ReportLine {
            sequence: result.sequence,
            timestamp_us: delivery.timestamp_us(),
            prompt: prompt.text(),
            measurements: finding.measurements(),
            quality: finding.quality(),
            latency_ms: result.latency.as_secs_f64() * 1e3,
            late: result.late,
            level: result.level,
        };
        match serde_json::to_string(&line) {
            Ok(line) => {
                delivery.report(index, &line);
                observe(&line);
            }
            Err(error) => log::error!("a report can't be written: {error}"),
        }
    }
}
