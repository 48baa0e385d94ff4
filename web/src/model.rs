//! The model, and the session that runs frames on it.

use crate::picture::to_rgba;
use crate::report::{Found, Report};
use crate::source::Opened;
use crate::{failure, limits};
use causalclipseg::bundle::Bundle;
use causalclipseg::engine::EngineOptions;
use causalclipseg::frame::PixelFormat;
use causalclipseg::io::source::FrameBuffer;
use causalclipseg::kernels::Kernels;
use causalclipseg::{FrameReport, Model, ModelOptions, Prompt, Session, SessionOptions};
use js_sys::Uint8Array;
use std::path::Path;
use wasm_bindgen::prelude::*;

/// A bundle that begins at a multiple of this is read in place.
const ALIGNMENT: usize = 64;

/// The page's model, source and session.
#[wasm_bindgen]
pub struct Runtime {
    model: Model,
    session: Session,
    prompts: Vec<Prompt>,
    source: Option<Opened>,
    frame: FrameBuffer,
    report: FrameReport,
}

#[wasm_bindgen]
impl Runtime {
    /// Opens a bundle. The module keeps the bytes until the page drops it: a page has one model.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: &Uint8Array) -> Result<Runtime, JsError> {
        let file = Bundle::from_static(keep(bytes)?).map_err(failure)?;
        if !file.manifest().model.trained {
            return Err(failure("the model's weights were never trained, so its masks would mean nothing"));
        }
        let engine = EngineOptions::default().with_threads(1);
        let model = Model::from_file(file.into(), ModelOptions::default().with_engine(engine)).map_err(failure)?;
        let session = Session::new(&model, SessionOptions::default()).map_err(failure)?;
        Ok(Self {
            model,
            session,
            prompts: Vec::new(),
            source: None,
            frame: FrameBuffer::default(),
            report: FrameReport::default(),
        })
    }

    /// The model's name and input size, the instruction set, and the limits, as JSON.
    pub fn description(&self) -> Result<String, JsError> {
        let description = self.model.description();
        let isa = Kernels::detect().map_err(failure)?.isa().name();
        let described = serde_json::json!({
            "name": description.name,
            "input_size": description.input_size,
            "threshold": description.threshold,
            "isa": isa,
            "max_pixels": limits::MAX_PIXELS,
            "max_prompts": limits::MAX_PROMPTS,
        });
        Ok(described.to_string())
    }

    /// Encodes sentences, for all frames that follow.
    pub fn set_prompts(&mut self, texts: Vec<String>) -> Result<(), JsError> {
        if texts.is_empty() {
            return Err(failure(
                "there is no prompt; say what to look for, for example `a dark mass in the upper left`",
            ));
        }
        if texts.len() > limits::MAX_PROMPTS {
            let most = limits::MAX_PROMPTS;
            return Err(failure(format!("{} prompts are more than the page's {most}: remove some lines", texts.len())));
        }
        self.prompts = texts.iter().map(|text| self.model.prompt(text)).collect::<Result<_, _>>().map_err(failure)?;
        Ok(())
    }

    /// Opens a file, of which `name` is the name in messages. Its description, as JSON.
    pub fn open(&mut self, name: &str, bytes: Vec<u8>) -> Result<String, JsError> {
        self.source = None;
        let opened = Opened::from_bytes(Path::new(name), bytes).map_err(failure)?;
        let described = serde_json::json!({
            "format": opened.format(),
            "frames": opened.frames(),
            "still": opened.is_still(),
            "seconds_per_frame": opened.seconds_per_frame(),
        });
        self.source = Some(opened);
        self.session.restart();
        Ok(described.to_string())
    }

    /// Reads the source's next frame; false after the last one.
    pub fn read(&mut self) -> Result<bool, JsError> {
        let source = self.source.as_mut().ok_or_else(|| failure("no file is open"))?;
        source.read(&mut self.frame).map_err(failure)
    }

    /// Takes a camera's picture: red, green, blue and alpha, row by row.
    pub fn take_picture(&mut self, rgba: &[u8], width: usize, height: usize) -> Result<(), JsError> {
        limits::check_pixels(width, height).map_err(failure)?;
        if rgba.len() != width * height * 4 {
            return Err(failure(format!("{} bytes are not a picture of {width} x {height}", rgba.len())));
        }
        let pixels = self.frame.reset(PixelFormat::Rgb8, width, height).map_err(failure)?;
        for (to, from) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(rgba.as_chunks::<4>().0) {
            to.copy_from_slice(&from[..3]);
        }
        Ok(())
    }

    /// Forgets the sequence of frames so far.
    pub fn restart(&mut self) {
        self.session.restart();
    }

    /// Segments the frame under each prompt. The result as JSON, without masks.
    pub fn run(&mut self) -> Result<String, JsError> {
        let frame = self.frame.frame().map_err(failure)?;
        self.session.run_into(&frame, &self.prompts, &mut self.report).map_err(failure)?;
        let found = self.prompts.iter().zip(&self.report.findings).map(|(prompt, finding)| Found {
            prompt: prompt.text(),
            measurements: finding.measurements(),
            contours: finding.contours(),
            quality: finding.quality(),
        });
        let report = Report {
            width: frame.width(),
            height: frame.height(),
            region: frame.region(),
            mm_per_pixel: frame.mm_per_pixel(),
            orientation: frame.orientation().to_exif(),
            timestamp_s: self.frame.timestamp_s,
            threshold: self.report.threshold,
            seconds: self.report.seconds,
            total_seconds: self.report.seconds.total(),
            findings: found.collect(),
        };
        serde_json::to_string(&report).map_err(failure)
    }

    /// A prompt's mask in the last frame: 255 or 0 for each pixel, row by row.
    pub fn mask(&self, prompt: usize) -> Result<Vec<u8>, JsError> {
        let finding = self.report.findings.get(prompt).ok_or_else(|| failure("there is no such prompt"))?;
        Ok(finding.mask().pixels().iter().copied().collect())
    }

    /// The frame's pixels for a canvas: red, green, blue and alpha.
    pub fn pixels(&self) -> Result<Vec<u8>, JsError> {
        let frame = self.frame.frame().map_err(failure)?;
        Ok(to_rgba(frame.format(), self.frame.pixels()))
    }

    /// The time of each step of the network in one run on the last frame, as JSON: for measurements.
    pub fn time_steps(&mut self) -> Result<String, JsError> {
        let frame = self.frame.frame().map_err(failure)?;
        let times = self.session.time_steps(&frame, &self.prompts).map_err(failure)?;
        let rows = times.iter().map(|step| serde_json::json!([step.name, step.kind, step.gmac, step.nanoseconds]));
        Ok(serde_json::Value::from(rows.collect::<Vec<_>>()).to_string())
    }
}

/// Copies a bundle into memory that is never freed, to where tensors are aligned.
fn keep(bytes: &Uint8Array) -> Result<&'static [u8], JsError> {
    let length = bytes.length() as usize;
    let mut memory: Vec<u8> = Vec::new();
    let reserved = memory.try_reserve_exact(length + ALIGNMENT);
    reserved.map_err(|_| failure("the browser gives the page too little memory for the model"))?;
    memory.resize(length + ALIGNMENT, 0);
    let first = memory.as_ptr().align_offset(ALIGNMENT);
    let kept = &mut Vec::leak(memory)[first..][..length];
    bytes.copy_to(kept);
    Ok(kept)
}
