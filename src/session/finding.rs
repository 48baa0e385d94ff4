//! The result of one prompt in one frame.

use super::frame_map::FrameMap;
use crate::engine::DrawnMask;
use crate::frame::Placement;
use crate::kernels::Crew;
use crate::mask::{Contour, Mask, MaskError, Measurements, Probability, Quality, Tally};
use ndarray::ArrayView2;
use std::sync::OnceLock;

/// The result of one prompt in one frame. All maps have the frame's height x width.
///
/// Contours and measurements are computed on first use, and cached.
///
/// ```
/// # use causalclipseg::{Model, ModelOptions, Session, SessionOptions, frame::{Frame, PixelFormat}};
/// # let model = Model::open("models/tiny.ccs".as_ref(), ModelOptions::default())?;
/// # let mut session = Session::new(&model, SessionOptions::default())?;
/// # let pixels = vec![90; 160 * 160];
/// # let frame = Frame::packed(&pixels, PixelFormat::Gray8, 160, 160)?;
/// # let prompts = [model.prompt("a dark nodule")?];
/// let report = session.run(&frame, &prompts)?;
/// for finding in &report.findings {
///     let lesion_px = finding.mask().pixels().iter().filter(|pixel| **pixel == 255).count();
///     assert_eq!(finding.measurements().area_px, lesion_px);
///     assert_eq!(finding.contours().is_empty(), lesion_px == 0);
///     if let Some(quality) = finding.quality() {
///         println!("score {:.2}, doubts {:?}", quality.score, quality.flags);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Finding {
    probability: FrameMap,
    mask: Mask,
    /// The statistics of a mask that came with them; otherwise they are those of the map.
    tally: Option<Tally>,
    confounders: Option<Probability>,
    quality: Option<Quality>,
    mm_per_pixel: Option<[f32; 2]>,
    contours: OnceLock<Vec<Contour>>,
    measurements: OnceLock<Measurements>,
}

impl Finding {
    /// The probability of lesion at each pixel, 0 to 1; 0 outside of the frame's region. Where a GPU drew the mask, the map is
    /// computed on first use, in about a millisecond, and cached.
    pub fn probability(&self) -> &Probability {
        self.probability.get()
    }

    /// Lesion or not at each pixel, 255 or 0: the pixels whose probability is above
    /// [`FrameReport::threshold`](super::FrameReport::threshold).
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The probability of lesion, 0 to 1, computed from the features that the model set aside as confounders; `None` unless the
    /// model was opened with [`EngineOptions::confounders`](crate::engine::EngineOptions::confounders).
    pub fn confounders(&self) -> Option<&Probability> {
        self.confounders.as_ref()
    }

    /// How far to trust this result; `None` if [`SessionOptions::quality`](super::SessionOptions::quality) is off.
    pub fn quality(&self) -> Option<&Quality> {
        self.quality.as_ref()
    }

    /// The mask's boundaries, outer and inner.
    pub fn contours(&self) -> &[Contour] {
        self.contours.get_or_init(|| self.mask.contours())
    }

    /// The mask's area, place and diameters, in millimetres too where the frame states the size of a pixel.
    pub fn measurements(&self) -> &Measurements {
        self.measurements.get_or_init(|| {
            let of = |map| Measurements::of_same_size(&self.mask, self.contours(), map, self.mm_per_pixel);
            match &self.tally {
                Some(tally) => Measurements { mean_probability: tally.mean(), ..of(None) },
                None => of(Some(self.probability.get())),
            }
        })
    }

    /// Replaces the maps by those of new logits, in the memory of an earlier frame, and drops what was derived from that frame. A crew's
    /// threads share the work.
    pub(super) fn take_logits(
        &mut self,
        mut crew: Option<&mut Crew>,
        logits: ArrayView2<'_, f32>,
        confounders: Option<ArrayView2<'_, f32>>,
        placement: &Placement,
        mm_per_pixel: Option<[f32; 2]>,
    ) -> Result<(), MaskError> {
        self.forget(mm_per_pixel);
        self.probability.update(crew.as_deref_mut(), logits, placement)?;
        match confounders {
            Some(logits) => self.confounders.get_or_insert_default().update_on(crew, logits, placement)?,
            None => self.confounders = None,
        }
        Ok(())
    }

    /// Replaces the mask by one that a device drew from new logits, which are kept for a map on request.
    pub(super) fn take_drawn(
        &mut self,
        drawn: &DrawnMask<'_>,
        logits: ArrayView2<'_, f32>,
        placement: &Placement,
        mm_per_pixel: Option<[f32; 2]>,
    ) -> Result<(), MaskError> {
        self.forget(mm_per_pixel);
        self.probability.keep(logits, placement)?;
        self.confounders = None;
        self.mask.take_bits(drawn.bits, placement);
        let statistics = drawn.statistics;
        self.tally = Some(Tally {
            area_px_at: statistics.above,
            inside: statistics.inside,
            sum: statistics.sum,
            least: statistics.least,
            most: statistics.most,
        });
        Ok(())
    }

    /// Drops what was derived from an earlier frame.
    fn forget(&mut self, mm_per_pixel: Option<[f32; 2]>) {
        self.contours.take();
        self.measurements.take();
        self.tally = None;
        self.mm_per_pixel = mm_per_pixel;
    }

    /// Smooths the map over frames; `memory` is the map of those before.
    pub(super) fn smooth(&mut self, memory: &mut Probability, share: f32) {
        self.probability.smooth(memory, share);
    }

    /// Makes the mask of the pixels above the threshold.
    pub(super) fn draw_mask(&mut self, threshold: f32) -> Result<(), MaskError> {
        self.mask.update(self.probability.get(), threshold)
    }

    /// Measures the quality, flags left out, in the memory of an earlier frame's.
    pub(super) fn measure_quality(&mut self) -> Result<&mut Quality, MaskError> {
        let quality = self.quality.get_or_insert_default();
        match &self.tally {
            Some(tally) => quality.set(tally, None),
            None => quality.measure(&self.mask, self.probability.get(), self.confounders.as_ref())?,
        }
        Ok(quality)
    }

    pub(super) fn without_quality(&mut self) {
        self.quality = None;
    }
}
