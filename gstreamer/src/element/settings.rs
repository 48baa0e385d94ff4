//! The element's properties.

use super::OverlayMode;
use super::imp::{CausalClipSeg, lock};
use crate::engine::{self, ModelChoice, SettingsError};
use causalclipseg::SessionOptions;
use causalclipseg::frame::Region;
use gst::glib::{self, ParamSpec, Value};
use gst::prelude::*;
use gst::subclass::prelude::*;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What people ask for where no prompt is given.
const DEFAULT_PROMPT: &str = "the lesion";
/// Between the sentences of the property `prompt`.
const SEPARATOR: char = ';';

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub model: Option<PathBuf>,
    pub prompts: Vec<String>,
    /// 0 is the model's.
    pub threshold: f32,
    pub smoothing: f32,
    pub threads: u32,
    pub allow_untrained: bool,
    pub overlay: OverlayMode,
    pub qos: bool,
    pub post_messages: bool,
    /// `X,Y,WIDTH,HEIGHT` as it was given; empty for the complete frame.
    pub region: String,
    /// 0 where it is unknown.
    pub mm_per_pixel_x: f32,
    pub mm_per_pixel_y: f32,
    /// Added to the pipeline's latency.
    pub latency_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            prompts: vec![DEFAULT_PROMPT.into()],
            threshold: 0.0,
            smoothing: 0.0,
            threads: 1,
            allow_untrained: false,
            overlay: OverlayMode::None,
            qos: true,
            post_messages: true,
            region: String::new(),
            mm_per_pixel_x: 0.0,
            mm_per_pixel_y: 0.0,
            latency_ms: 0,
        }
    }
}

impl Settings {
    pub(crate) fn model_choice(&self) -> ModelChoice {
        ModelChoice { path: self.model.clone(), threads: self.threads, allow_untrained: self.allow_untrained }
    }

    pub(crate) fn session_options(&self) -> SessionOptions {
        let threshold = (self.threshold != 0.0).then_some(self.threshold);
        SessionOptions::default().with_threshold(threshold).with_smoothing(self.smoothing)
    }

    pub(crate) fn mm_per_pixel(&self) -> Option<[f32; 2]> {
        let sides = [self.mm_per_pixel_x, self.mm_per_pixel_y];
        (sides != [0.0, 0.0]).then_some(sides)
    }

    pub(crate) fn region(&self) -> Result<Option<Region>, SettingsError> {
        if self.region.trim().is_empty() {
            return Ok(None);
        }
        let refused = || SettingsError::Region(self.region.clone());
        let numbers: Result<Vec<usize>, _> = self.region.split(',').map(|number| number.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x, y, width, height]) => Ok(Some(Region { x, y, width, height })),
            _ => Err(refused()),
        }
    }

    fn set_prompt(&mut self, text: &str) {
        self.prompts = text.split(SEPARATOR).map(|prompt| prompt.trim().to_string()).collect();
    }

    /// Sets one property; returns false for one that there is not.
    fn set(&mut self, name: &str, value: &Value) -> bool {
        // GObject has checked the types.
        let text = || value.get::<Option<String>>().ok().flatten();
        match name {
            "model" => self.model = text().filter(|path| !path.is_empty()).map(PathBuf::from),
            "prompt" => self.set_prompt(&text().unwrap_or_default()),
            "prompts" => {
                let prompt = |value: &glib::SendValue| value.get::<Option<String>>().ok().flatten().unwrap_or_default();
                self.prompts =
                    value.get::<gst::Array>().map_or_else(|_| Vec::new(), |array| array.iter().map(prompt).collect());
            }
            "threshold" => get(value, &mut self.threshold),
            "smoothing" => get(value, &mut self.smoothing),
            "threads" => get(value, &mut self.threads),
            "allow-untrained" => get(value, &mut self.allow_untrained),
            "overlay" => get(value, &mut self.overlay),
            "qos" => get(value, &mut self.qos),
            "post-messages" => get(value, &mut self.post_messages),
            "region" => self.region = text().unwrap_or_default(),
            "mm-per-pixel-x" => get(value, &mut self.mm_per_pixel_x),
            "mm-per-pixel-y" => get(value, &mut self.mm_per_pixel_y),
            "latency-ms" => get(value, &mut self.latency_ms),
            _ => return false,
        }
        true
    }

    fn get(&self, name: &str) -> Option<Value> {
        Some(match name {
            "model" => self.model.as_ref().map(|path| path.to_string_lossy().into_owned()).to_value(),
            "prompt" => self.prompts.join("; ").to_value(),
            "prompts" => gst::Array::new(self.prompts.iter().map(String::as_str)).to_value(),
            "threshold" => self.threshold.to_value(),
            "smoothing" => self.smoothing.to_value(),
            "threads" => self.threads.to_value(),
            "allow-untrained" => self.allow_untrained.to_value(),
            "overlay" => self.overlay.to_value(),
            "qos" => self.qos.to_value(),
            "post-messages" => self.post_messages.to_value(),
            "region" => self.region.to_value(),
            "mm-per-pixel-x" => self.mm_per_pixel_x.to_value(),
            "mm-per-pixel-y" => self.mm_per_pixel_y.to_value(),
            "latency-ms" => self.latency_ms.to_value(),
            _ => return None,
        })
    }
}

/// Stores a property's value.
fn get<'a, T: glib::value::FromValue<'a>>(value: &'a Value, setting: &mut T) {
    if let Ok(value) = value.get::<T>() {
        *setting = value;
    }
}

/// What GObject knows of the properties. Ranges are as wide as the types: the runtime's own checks refuse values, with a reason.
pub(super) fn specifications() -> &'static [ParamSpec] {
    static SPECIFICATIONS: OnceLock<Vec<ParamSpec>> = OnceLock::new();
    SPECIFICATIONS.get_or_init(|| {
        let defaults = Settings::default();
        let number = |name: &'static str, blurb: &'static str| {
            glib::ParamSpecFloat::builder(name).blurb(blurb).minimum(f32::MIN).maximum(f32::MAX).default_value(0.0)
        };
        vec![
            glib::ParamSpecString::builder("model")
                .nick("Model")
                .blurb(
                    "Bundle (.ccs) to run; unset: the file that the environment variable CAUSALCLIPSEG_MODEL names, else the \
                     model inside this plugin. Read when the element leaves NULL or READY",
                )
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("prompt")
                .nick("Prompt")
                .blurb(
                    "Sentence that describes the lesion; several are separated by ';'. While playing, one that is refused \
                     gives a warning, and the prompts stay as they were",
                )
                .default_value(Some(DEFAULT_PROMPT))
                .mutable_playing()
                .build(),
            gst::ParamSpecArray::builder("prompts")
                .nick("Prompts")
                .blurb("The same prompts, one sentence an entry")
                .element_spec(&glib::ParamSpecString::builder("prompt").nick("Prompt").blurb("A sentence").build())
                .mutable_playing()
                .build(),
            number("threshold", "Probability above which a pixel is lesion, above 0 and below 1; 0: the model's")
                .nick("Threshold")
                .mutable_playing()
                .build(),
            number("smoothing", "Share of each pixel's probability that comes from the frames before, 0 to below 1")
                .nick("Smoothing")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("threads")
                .nick("Threads")
                .blurb("Threads that share the work on one frame; results do not depend on it")
                .minimum(1)
                .maximum(256)
                .default_value(defaults.threads)
                .mutable_ready()
                .build(),
            glib::ParamSpecBoolean::builder("allow-untrained")
                .nick("Allow untrained")
                .blurb("Run a model whose weights were never trained: its masks mean nothing")
                .default_value(defaults.allow_untrained)
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("overlay", defaults.overlay)
                .nick("Overlay")
                .blurb("What is drawn on the frames")
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("qos")
                .nick("Quality of service")
                .blurb("Pass frames through without segmenting them where the sink reports that they are late")
                .default_value(defaults.qos)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("post-messages")
                .nick("Post messages")
                .blurb("Post an element message for each frame and prompt")
                .default_value(defaults.post_messages)
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("region")
                .nick("Region")
                .blurb("Part of the frame that the network sees, X,Y,WIDTH,HEIGHT in pixels; empty: all of it")
                .default_value(Some(""))
                .mutable_playing()
                .build(),
            number("mm-per-pixel-x", "Width of a pixel in millimetres, for areas and lengths; 0: unknown")
                .nick("Pixel width")
                .mutable_playing()
                .build(),
            number("mm-per-pixel-y", "Height of a pixel in millimetres; 0: unknown")
                .nick("Pixel height")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("latency-ms")
                .nick("Latency")
                .blurb("Added to the latency of a live pipeline: the time that a frame takes here")
                .maximum(60_000)
                .default_value(defaults.latency_ms)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("Frames that arrived, were segmented, were late; the last frame's times")
                .read_only()
                .build(),
        ]
    })
}

impl CausalClipSeg {
    /// Sets a property. Once a model is open, a value that the runtime refuses is reported in a warning and has no effect.
    pub(super) fn change(&self, name: &str, value: &Value) {
        let mut settings = lock(&self.settings).clone();
        if !settings.set(name, value) {
            return gst::warning!(super::imp::CATEGORY, imp = self, "there is no property {name}");
        }
        let model = lock(&self.opened).as_ref().map(|opened| opened.model.clone());
        if let Some(model) = model {
            // Here and not in the streaming thread, which would be late with a frame: a sentence takes milliseconds.
            let prompts = match name {
                "prompt" | "prompts" => engine::encode(&model, &settings.prompts).map(Some),
                _ => engine::check(&model, &settings)
                    .and_then(|()| lock(&self.work).check_region(&settings))
                    .map(|()| None),
            };
            match prompts {
                Ok(None) => {}
                Ok(Some(prompts)) => {
                    if let Some(opened) =
                        lock(&self.opened).as_mut().filter(|o| std::sync::Arc::ptr_eq(&o.model, &model))
                    {
                        opened.prompts = prompts;
                    }
                }
                Err(error) => {
                    lock(&self.statistics).refused_settings += 1;
                    return gst::element_imp_warning!(self, gst::LibraryError::Settings, ("{error}"));
                }
            }
        }
        // Again, in case another thread has set another property.
        lock(&self.settings).set(name, value);
        if name == "latency-ms" {
            let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
        }
    }

    pub(super) fn read(&self, spec: &ParamSpec) -> Value {
        match spec.name() {
            "stats" => lock(&self.statistics).structure().to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| spec.default_value().clone()),
        }
    }
}
