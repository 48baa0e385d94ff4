//! Counters of a run, as the property `stats` shows them.

/// What happened since the element left READY.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    /// Frames that arrived.
    pub frames: u64,
    /// Frames with a result.
    pub segmented: u64,
    /// Frames that passed through without a result because they were late.
    pub late: u64,
    /// Prompts and other settings that were refused while running.
    pub refused_settings: u64,
    /// The engine's time for the last result, and from the frame's arrival to its result; milliseconds.
    pub engine_ms: f64,
    pub latency_ms: f64,
}

impl Statistics {
    pub(crate) fn structure(&self) -> gst::Structure {
        gst::Structure::builder("causalclipseg-stats")
            .field("frames", self.frames)
            .field("segmented", self.segmented)
            .field("late", self.late)
            .field("refused_settings", self.refused_settings)
            .field("engine_ms", self.engine_ms)
            .field("latency_ms", self.latency_ms)
            .build()
    }
}
