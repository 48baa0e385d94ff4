//! Where a frame's time on a GPU goes.

/// The time of one frame on a GPU, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GpuTimes {
    /// Until pixels, sentences and commands were handed over.
    pub upload: f64,
    /// On the device: the whole network. Without [`Self::by_timestamps`] it is how long the host waited.
    pub compute: f64,
    /// Of [`Self::compute`], what follows the last map at low resolution. Zero where the device tells no time.
    pub head: f64,
    /// Until the logits were in the host's memory.
    pub read_back: f64,
    /// Whether the device told its own time.
    pub by_timestamps: bool,
}
