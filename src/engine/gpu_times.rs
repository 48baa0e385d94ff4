//! The parts of a frame's time on a GPU.

/// The time of one frame on a GPU, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GpuTimes {
    /// Time until pixels, sentences and commands were handed over, one session after the other.
    pub upload: f64,
    /// Time of the complete network on the device. Without [`Self::by_timestamps`] it is how long the host waited.
    pub compute: f64,
    /// The part of [`Self::compute`] that follows the last map at low resolution, masks included. Zero where the device
    /// measures no times.
    pub head: f64,
    /// The part of [`Self::head`] that draws masks at the frame's size and measures them. Zero where the CPU does.
    pub masks: f64,
    /// Time until logits and masks were in the host's memory. Where several sessions run, it includes waiting for
    /// frames that the device ran before.
    pub read_back: f64,
    /// Whether the device measured its own time.
    pub by_timestamps: bool,
}
