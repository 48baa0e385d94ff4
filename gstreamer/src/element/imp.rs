//! The element's class: pads, state changes.

use super::flow::Work;
use super::mask_pad::MaskPad;
use super::settings::{Settings, specifications};
use crate::engine::{Opened, SettingsError};
use crate::picture::FORMATS;
use crate::quality_of_service::QualityOfService;
use crate::statistics::Statistics;
use causalclipseg::frame::MAX_SIDE;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::UniqueFlowCombiner;
use gst_video::{VideoCapsBuilder, VideoFormat};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

pub(super) static CATEGORY: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("causalclipseg", gst::DebugColorFlags::empty(), Some("Text-prompted lesion segmentation"))
});

/// After a panic elsewhere the element posts an error and does no more; what it holds is still sound.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No lock is held while a buffer or an event is passed on.
pub struct CausalClipSeg {
    pub(super) sink: gst::Pad,
    pub(super) src: gst::Pad,
    pub(super) mask: Mutex<Option<MaskPad>>,
    pub(super) settings: Mutex<Settings>,
    /// `None` in the state NULL.
    pub(super) opened: Mutex<Option<Opened>>,
    /// The streaming thread's.
    pub(super) work: Mutex<Work>,
    pub(super) flows: Mutex<UniqueFlowCombiner>,
    pub(super) quality: Mutex<QualityOfService>,
    pub(super) statistics: Mutex<Statistics>,
}

impl CausalClipSeg {
    /// Opens the model, where none is open or the settings name another.
    fn open(&self) -> Result<(), SettingsError> {
        let settings = lock(&self.settings).clone();
        if lock(&self.opened).as_ref().is_some_and(|opened| opened.choice == settings.model_choice()) {
            return Ok(());
        }
        let opened = Opened::new(&settings)?;
        let name = &opened.model.description().name;
        gst::info!(CATEGORY, imp = self, "opened the model {name}, prompts {:?}", settings.prompts);
        *lock(&self.opened) = Some(opened);
        Ok(())
    }

    fn fail(&self, error: &SettingsError) {
        match error {
            SettingsError::File { .. } => gst::element_imp_error!(self, gst::ResourceError::OpenRead, ("{error}")),
            SettingsError::Embedded(_) | SettingsError::Model(_) | SettingsError::Untrained { .. } => {
                gst::element_imp_error!(self, gst::LibraryError::Init, ("{error}"));
            }
            _ => gst::element_imp_error!(self, gst::LibraryError::Settings, ("{error}")),
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for CausalClipSeg {
    const NAME: &'static str = "GstCausalClipSeg";
    type Type = super::CausalClipSeg;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let template = |name: &str| class.pad_template(name).expect("the class has this template");
        let sink = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(parent, || Err(gst::FlowError::Error), |this| this.chain(buffer))
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(pad, query))
            })
            .build();
        let src = gst::Pad::builder_from_template(&template("src"))
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.source_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.source_query(pad, query))
            })
            .build();
        let mut flows = UniqueFlowCombiner::new();
        flows.add_pad(&src);
        Self {
            sink,
            src,
            mask: Mutex::default(),
            settings: Mutex::default(),
            opened: Mutex::default(),
            work: Mutex::default(),
            flows: Mutex::new(flows),
            quality: Mutex::default(),
            statistics: Mutex::default(),
        }
    }
}

impl ObjectImpl for CausalClipSeg {
    fn properties() -> &'static [glib::ParamSpec] {
        specifications()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        self.catch_panic(|| (), |this| this.change(spec.name(), value));
    }

    fn property(&self, _id: usize, spec: &glib::ParamSpec) -> glib::Value {
        self.read(spec)
    }

    fn constructed(&self) {
        self.parent_constructed();
        for pad in [&self.sink, &self.src] {
            if let Err(error) = self.obj().add_pad(pad) {
                gst::error!(CATEGORY, imp = self, "{error}");
            }
        }
    }
}

impl GstObjectImpl for CausalClipSeg {}

impl ElementImpl for CausalClipSeg {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
        Some(METADATA.get_or_init(|| {
            gst::subclass::ElementMetadata::new(
                "Text-prompted lesion segmentation",
                "Filter/Analyzer/Effect/Video",
                "Segments the lesion that a sentence describes in ultrasound video; research software, not a medical device",
                "The causalclipseg project",
            )
        }))
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
        TEMPLATES.get_or_init(|| {
            let sides = 1..=MAX_SIDE as i32;
            let caps = |formats: &[VideoFormat]| {
                VideoCapsBuilder::new()
                    .format_list(formats.iter().copied())
                    .width_range(sides.clone())
                    .height_range(sides.clone())
                    .build()
            };
            let (frames, masks) = (caps(&FORMATS), caps(&[VideoFormat::Gray8]));
            let pads = [
                ("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &frames),
                ("src", gst::PadDirection::Src, gst::PadPresence::Always, &frames),
                ("mask", gst::PadDirection::Src, gst::PadPresence::Request, &masks),
            ];
            pads.into_iter()
                .filter_map(|(name, direction, presence, caps)| {
                    gst::PadTemplate::new(name, direction, presence, caps).ok()
                })
                .collect()
        })
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if matches!(transition, gst::StateChange::NullToReady | gst::StateChange::ReadyToPaused)
            && let Err(error) = self.open()
        {
            self.fail(&error);
            return Err(gst::StateChangeError);
        }
        if transition == gst::StateChange::ReadyToPaused {
            *lock(&self.statistics) = Statistics::default();
            *lock(&self.quality) = QualityOfService::default();
            lock(&self.flows).reset();
        }
        let success = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToReady => {
                *lock(&self.work) = Work::default();
                if let Some(mask) = &mut *lock(&self.mask) {
                    mask.forget();
                }
            }
            gst::StateChange::ReadyToNull => *lock(&self.opened) = None,
            _ => {}
        }
        Ok(success)
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        if lock(&self.mask).is_some() {
            gst::warning!(CATEGORY, imp = self, "there is a mask pad already");
            return None;
        }
        let pad = gst::Pad::builder_from_template(template)
            .name("mask")
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.source_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.source_query(pad, query))
            })
            .build();
        *lock(&self.mask) = Some(MaskPad::new(pad.clone()));
        lock(&self.flows).add_pad(&pad);
        if self.obj().current_state() >= gst::State::Paused {
            let _ = pad.set_active(true);
        }
        if let Err(error) = self.obj().add_pad(&pad) {
            gst::error!(CATEGORY, imp = self, "{error}");
            *lock(&self.mask) = None;
            return None;
        }
        Some(pad)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        lock(&self.mask).take_if(|mask| mask.pad() == pad);
        lock(&self.flows).remove_pad(pad);
        let _ = pad.set_active(false);
        if let Err(error) = self.obj().remove_pad(pad) {
            gst::error!(CATEGORY, imp = self, "{error}");
        }
    }
}
