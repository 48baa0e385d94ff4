//! A probability map at the frame's size, made with the frame or on first use.

use crate::frame::{FrameError, Placement};
use crate::kernels::Crew;
use crate::mask::{MaskError, Probability};
use ndarray::{Array2, ArrayView2};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The map of one frame after the other, in the same memory.
#[derive(Debug, Default)]
pub(super) struct FrameMap {
    map: OnceLock<Probability>,
    /// What a map that was not made yet is made from.
    logits: Array2<f32>,
    placement: Option<Placement>,
    /// An earlier frame's map, whose memory the next one gets.
    spare: Mutex<Probability>,
}

impl Clone for FrameMap {
    fn clone(&self) -> Self {
        Self { map: self.map.clone(), logits: self.logits.clone(), placement: self.placement, spare: Mutex::default() }
    }
}

impl FrameMap {
    /// The map, in which each pixel has its probability.
    pub(crate) fn get(&self) -> &Probability {
        self.map.get_or_init(|| {
            let mut map = std::mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(placement) = &self.placement
                && let Err(error) = map.update(self.logits.view(), placement)
            {
                // Both were checked when they were kept.
                log::error!("a probability map can't be made: {error}");
            }
            map
        })
    }

    /// Makes the map of new logits. The threads of a crew share the work.
    pub(crate) fn update(
        &mut self,
        crew: Option<&mut Crew>,
        logits: ArrayView2<'_, f32>,
        placement: &Placement,
    ) -> Result<(), MaskError> {
        self.placement = None;
        let mut map = self.free();
        let outcome = map.update_on(crew, logits, placement);
        let _ = self.map.set(map);
        outcome
    }

    /// Keeps new logits, from which the map is made when it is needed.
    ///
    /// # Errors
    /// As those of [`Self::update`], at once.
    pub(crate) fn keep(&mut self, logits: ArrayView2<'_, f32>, placement: &Placement) -> Result<(), MaskError> {
        let map = self.free();
        *self.spare.get_mut().unwrap_or_else(PoisonError::into_inner) = map;
        self.placement = None;
        let size = placement.input_size();
        if logits.dim() != (size, size) {
            return Err(FrameError::Map { shape: [logits.nrows(), logits.ncols()], size }.into());
        }
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(MaskError::NotFinite);
        }
        if self.logits.dim() == logits.dim() {
            self.logits.assign(&logits);
        } else {
            self.logits = logits.to_owned();
        }
        self.placement = Some(*placement);
        Ok(())
    }

    /// Exponential smoothing over frames, of a map that was made: see [`Probability::smooth`].
    pub(crate) fn smooth(&mut self, memory: &mut Probability, share: f32) {
        if let Some(map) = self.map.get_mut() {
            map.smooth(memory, share);
        }
    }

    /// The memory of the last map.
    fn free(&mut self) -> Probability {
        let spare = self.spare.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.map.take().unwrap_or_else(|| std::mem::take(spare))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fit, Frame, Normalisation, PixelFormat, Preprocessor};
    use ndarray::array;

    fn placement(width: usize, height: usize) -> Placement {
        let pixels = vec![0; width * height];
        let frame = Frame::packed(&pixels, PixelFormat::Gray8, width, height).unwrap();
        let mut preprocessor = Preprocessor::new(2, Normalisation::CLIP, Fit::Stretch).unwrap();
        preprocessor.prepare(&frame, &mut [0.0; 12]).unwrap()
    }

    #[test]
    fn a_map_is_the_same_now_or_later() {
        let (mut now, mut later) = (FrameMap::default(), FrameMap::default());
        let frames =
            [(array![[1.0, -2.0], [0.5, 3.0]], placement(5, 3)), (array![[4.0, 0.0], [0.0, -1.0]], placement(2, 7))];
        for (logits, placement) in &frames {
            now.update(None, logits.view(), placement).unwrap();
            later.keep(logits.view(), placement).unwrap();
            // A copy has what it needs, made before or after.
            let copy = later.clone();
            assert_eq!(later.get(), now.get());
            assert_eq!((copy.get(), later.clone().get()), (now.get(), now.get()));
        }
        // And each may follow the other.
        let (logits, placement) = &frames[0];
        later.update(None, logits.view(), placement).unwrap();
        now.keep(logits.view(), placement).unwrap();
        assert_eq!(later.get(), now.get());
    }

    #[test]
    fn memory_is_used_again() {
        let mut map = FrameMap::default();
        let (logits, placement) = (array![[1.0, -2.0], [0.5, 3.0]], placement(5, 3));
        map.keep(logits.view(), &placement).unwrap();
        let before = map.get().values().as_ptr();
        map.keep(logits.view(), &placement).unwrap();
        // This frame's map was never asked for.
        map.keep(logits.view(), &placement).unwrap();
        assert_eq!(map.get().values().as_ptr(), before);
        map.update(None, logits.view(), &placement).unwrap();
        assert_eq!(map.get().values().as_ptr(), before);
    }

    #[test]
    fn damaged_logits_are_refused_at_once() {
        let mut map = FrameMap::default();
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            let refused = map.keep(array![[1.0, bad], [0.5, 3.0]].view(), &placement(5, 3));
            assert_eq!(refused, Err(MaskError::NotFinite));
        }
        let refused = map.keep(array![[1.0]].view(), &placement(5, 3));
        assert!(matches!(refused, Err(MaskError::Frame(FrameError::Map { .. }))));
        // What is left is an empty map.
        assert_eq!(map.get(), &Probability::default());
    }
}
