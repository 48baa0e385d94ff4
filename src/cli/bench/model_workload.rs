//! The real workload: frames through a [`Model`].

use super::super::Failure;
use super::allocations;
use super::gpu::GpuTimes;
use super::workload::{FrameRecord, Stages, Workload};
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::{Model, Prompt, Session, SessionOptions};
use std::hint::black_box;
use std::time::Instant;

/// Sentences as people write them, eight to twenty tokens long.
const SENTENCES: [&str; 8] = [
    "There is a dark nodule.",
    "an irregular hypoechoic mass with indistinct margins",
    "a small round cyst in the upper left region of the image",
    "the malignant lesion near the bottom of the image",
    "a benign oval mass, wider than tall, with smooth edges",
    "One large lesion is visible in the center right of the scan.",
    "the lesion on the left",
    "a lobulated solid mass with acoustic shadowing behind it",
];

pub(super) struct ModelWorkload<'m> {
    model: &'m Model,
    session: Session,
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    sentences: Vec<String>,
    /// Prompts that the first frame encoded.
    prompts: Vec<Prompt>,
    new_sentences: u32,
    /// GPU times of each frame since the last reset, where a GPU ran it.
    pub gpu_times: GpuTimes,
}

impl<'m> ModelWorkload<'m> {
    pub(crate) fn new(model: &'m Model, [width, height]: [usize; 2], prompts: usize) -> Result<Self, Failure> {
        // Times the network and its masks only; judging the masks is part of the stream's figures.
        let session = Session::new(model, SessionOptions::default().with_quality(false))?;
        let pixels = a_frame(width, height);
        let sentences = sentences(prompts);
        Ok(Self {
            model,
            session,
            pixels,
            width,
            height,
            sentences,
            prompts: Vec::new(),
            new_sentences: 0,
            gpu_times: GpuTimes::default(),
        })
    }
}

impl Workload for ModelWorkload<'_> {
    fn run_frame(&mut self) -> Result<FrameRecord, Failure> {
        let begun = Instant::now();
        if self.prompts.len() < self.sentences.len() {
            self.prompts = self.sentences.iter().map(|text| self.model.prompt(text)).collect::<Result<_, _>>()?;
        }
        let prompt = begun.elapsed().as_secs_f64();
        let allocated = allocations::counted();
        let frame = Frame::packed(&self.pixels, PixelFormat::Gray8, self.width, self.height)?;
        let report = black_box(self.session.run(&frame, &self.prompts)?);
        self.gpu_times.note(report);
        let allocations = Some(allocations::counted() - allocated);
        let causalclipseg::StageSeconds { preprocess, image, head, postprocess, .. } = report.seconds;
        Ok(FrameRecord { stages: Stages { preprocess, image, prompt, head, postprocess }, allocations })
    }

    fn encode_new_prompt(&mut self) -> Result<(), Failure> {
        // Each digit is one token, so all these sentences have the same length.
        let sentence = format!("a hypoechoic mass, case {:06}", self.new_sentences);
        self.new_sentences += 1;
        black_box(self.model.prompt(&sentence)?);
        Ok(())
    }

    fn look_up_prompt(&mut self) -> Result<(), Failure> {
        let sentence = self.sentences.first().map_or(SENTENCES[0], String::as_str);
        black_box(self.model.prompt(sentence)?);
        Ok(())
    }
}

/// `count` different sentences.
pub(super) fn sentences(count: usize) -> Vec<String> {
    let numbered = SENTENCES.into_iter().cycle().take(count).enumerate();
    numbered.map(|(i, text)| if i < SENTENCES.len() { text.into() } else { format!("{text} Number {i}") }).collect()
}

/// A grey frame of noise that darkens with depth, the same on every machine. The content does not change what a frame
/// costs.
pub(super) fn a_frame(width: usize, height: usize) -> Vec<u8> {
    let mut state = 1u64;
    let pixel = |index: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let brightness = 220 - 160 * (index / width.max(1)) / height.max(1);
        ((state >> 56) as usize * brightness / 255) as u8
    };
    (0..width * height).map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_all_different() {
        for count in [0, 1, 8, 9, 256] {
            let set: std::collections::BTreeSet<String> = sentences(count).into_iter().collect();
            assert_eq!(set.len(), count);
        }
    }

    #[test]
    fn a_frame_is_neither_flat_nor_endless() {
        let pixels = a_frame(64, 48);
        assert_eq!(pixels.len(), 64 * 48);
        assert!(pixels.iter().any(|p| *p > 150) && pixels.iter().any(|p| *p < 20));
        assert!(a_frame(0, 0).is_empty());
    }
}
