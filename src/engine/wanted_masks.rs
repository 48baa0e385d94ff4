//! The masks that a caller wants beside logits, and what a device that draws them reports.

use crate::frame::Placement;

/// The number of thresholds whose areas are counted beside the mask's own.
pub(crate) const LEVELS: usize = 3;

/// A mask at the frame's size for each prompt of an image pass. A GPU draws it from its own logits; the CPU's engines
/// leave it to the caller, who needs the logits for it anyway.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WantedMasks {
    /// The position of the frame's region in the logits.
    pub placement: Placement,
    /// A pixel is in the mask where its probability is above this.
    pub threshold: f32,
    /// Further thresholds: only the number of pixels above each is counted.
    pub levels: [f32; LEVELS],
}

/// The mask of one prompt, as a device drew it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct DrawnMask<'w> {
    /// One bit for each pixel of the frame's region, the lowest first; each row begins with a new word.
    pub bits: &'w [u32],
    /// Counts and sums over the region.
    pub statistics: MaskStatistics,
}

/// Counts and sums over the pixels of a frame's region.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskStatistics {
    /// The number of pixels in the mask.
    pub inside: usize,
    /// The number of pixels above each of [`WantedMasks::levels`].
    pub above: [usize; LEVELS],
    /// The sum of the probabilities in the mask.
    pub sum: f64,
    /// The smallest probability in the mask; 1 where it is empty.
    pub least: f32,
    /// The largest probability of all pixels.
    pub most: f32,
}
