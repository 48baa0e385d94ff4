//! Which frames are too late to be segmented, by what the sink reports.

use gst::ClockTime;

/// What the newest quality-of-service event implies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QualityOfService {
    /// Frames before this running time arrive late at the sink.
    earliest: Option<ClockTime>,
    /// How much too slow the pipeline is: 1 is in time, 2 is half as fast as needed.
    proportion: f64,
    /// A frame's duration.
    frame: ClockTime,
}

impl Default for QualityOfService {
    fn default() -> Self {
        Self { earliest: None, proportion: 1.0, frame: ClockTime::ZERO }
    }
}

impl QualityOfService {
    /// Begins anew with frames of a duration.
    pub(crate) fn with_frame(frame: Option<ClockTime>) -> Self {
        Self { frame: frame.unwrap_or(ClockTime::ZERO), ..Self::default() }
    }

    /// Forgets what sinks reported.
    pub(crate) fn reset(&mut self) {
        *self = Self::with_frame(Some(self.frame));
    }

    /// Takes an event: at `timestamp` (running time) the sink was `late_ns` late, or early where it is negative.
    pub(crate) fn update(&mut self, proportion: f64, late_ns: i64, timestamp: Option<ClockTime>) {
        self.proportion = proportion;
        self.earliest = timestamp.map(|timestamp| {
            let late = ClockTime::from_nseconds(late_ns.unsigned_abs());
            if late_ns > 0 {
                // Skipping only until the present leaves the next frame late again.
                timestamp.saturating_add(late).saturating_add(late).saturating_add(self.frame)
            } else {
                timestamp.saturating_sub(late)
            }
        });
    }

    /// How late a frame will be, in nanoseconds; `None` where it is in time.
    pub(crate) fn lateness(&self, running_time: Option<ClockTime>) -> Option<i64> {
        let (earliest, running_time) = (self.earliest?, running_time?);
        (running_time < earliest).then(|| i64::try_from((earliest - running_time).nseconds()).unwrap_or(i64::MAX))
    }

    pub(crate) fn proportion(&self) -> f64 {
        self.proportion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_sink_skips_frames_until_it_has_caught_up() {
        let ms = ClockTime::from_mseconds;
        let mut quality = QualityOfService::with_frame(Some(ms(5)));
        assert_eq!(quality.lateness(Some(ms(0))), None);
        quality.update(2.0, 10_000_000, Some(ms(100)));
        assert_eq!(quality.lateness(Some(ms(105))), Some(20_000_000));
        assert_eq!(quality.lateness(Some(ms(125))), None);
        assert_eq!(quality.lateness(None), None);
        quality.update(0.5, -10_000_000, Some(ms(100)));
        assert_eq!(quality.lateness(Some(ms(95))), None);
        quality.update(1.0, i64::MIN, Some(ms(1)));
        assert_eq!(quality.lateness(Some(ms(0))), None);
    }
}
