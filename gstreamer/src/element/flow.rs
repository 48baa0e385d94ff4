//! Frames, events and queries.

use super::OverlayMode;
use super::imp::{CATEGORY, CausalClipSeg, lock};
use super::mask_pad::MaskBuffers;
use super::settings::Settings;
use crate::engine::SettingsError;
use crate::overlay::{Canvas, Ink};
use crate::picture::{Picture, Pixels};
use crate::planes::{Planes, PlanesError};
use crate::quality_of_service::QualityOfService;
use crate::results::{self, FrameFacts};
use causalclipseg::frame::{FrameError, Region};
use causalclipseg::{FrameReport, Prompt, Session, SessionError, SessionOptions};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;
use std::sync::Arc;
use std::time::Instant;

/// What the streaming thread keeps from frame to frame.
#[derive(Default)]
pub(super) struct Work {
    input: Option<Input>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// With the options that it was made with, which may change.
    session: Option<(SessionOptions, Session)>,
    picture: Picture,
    report: FrameReport,
    sequence: u64,
}

/// The frames' format, and memory that depends on it.
struct Input {
    info: VideoInfo,
    pixels: Pixels,
    masks: Option<MaskBuffers>,
}

/// Why the stream ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum FlowFailure {
    #[error("frames arrive without caps: put an element before this one that says what they are")]
    NoCaps,
    #[error("the caps {0} are not supported: put videoconvert before this element")]
    Caps(gst::Caps),
    #[error("no model is open")]
    NotOpen,
    #[error("the frame's memory is not accessible: {0}")]
    Map(glib::BoolError),
    #[error("no memory for the mask")]
    MaskMemory,
    #[error("the frame does not fit its caps: {0}")]
    Planes(#[from] PlanesError),
    #[error("the frame is refused: {0}")]
    Frame(#[from] FrameError),
    #[error("the frame has no result: {0}")]
    Session(#[from] SessionError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// A frame on its way through.
enum Passing {
    Late,
    /// With the mask, where the mask pad is linked.
    Segmented(Option<gst::Buffer>),
}

impl CausalClipSeg {
    pub(super) fn chain(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let begun = Instant::now();
        #[cfg(test)]
        super::tests::panic_if_told();
        let mask_pad = lock(&self.mask).as_ref().map(|mask| mask.pad().clone()).filter(|pad| pad.is_linked());
        let passing = self.process(&mut lock(&self.work), &mut buffer, mask_pad.is_some(), begun);
        let passing = passing.map_err(|failure| {
            self.stop_with(&failure);
            match failure {
                FlowFailure::NoCaps | FlowFailure::Caps(_) => gst::FlowError::NotNegotiated,
                _ => gst::FlowError::Error,
            }
        })?;
        let (pts, duration) = (buffer.pts(), buffer.duration());
        let mut flow = self.combine(&self.src, self.src.push(buffer));
        if let Some(pad) = mask_pad {
            self.announce_mask();
            match passing {
                Passing::Segmented(Some(mask)) => flow = self.combine(&pad, pad.push(mask)),
                // Elements that wait for a mask go on without one.
                _ => {
                    if let Some(pts) = pts {
                        pad.push_event(gst::event::Gap::builder(pts).duration(duration).build());
                    }
                }
            }
        }
        flow
    }

    /// The stream goes on as long as one of the pads is linked.
    fn combine(
        &self,
        pad: &gst::Pad,
        flow: Result<gst::FlowSuccess, gst::FlowError>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        lock(&self.flows).update_pad_flow(pad, flow)
    }

    fn stop_with(&self, failure: &FlowFailure) {
        match failure {
            FlowFailure::NoCaps | FlowFailure::Caps(_) | FlowFailure::Planes(_) | FlowFailure::Frame(_) => {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{failure}"));
            }
            FlowFailure::Settings(_) => gst::element_imp_error!(self, gst::LibraryError::Settings, ("{failure}")),
            _ => gst::element_imp_error!(self, gst::StreamError::Failed, ("{failure}")),
        }
    }

    fn process(
        &self,
        work: &mut Work,
        buffer: &mut gst::Buffer,
        mask_wanted: bool,
        begun: Instant,
    ) -> Result<Passing, FlowFailure> {
        let Work { input, segment, session, picture, report, sequence } = work;
        let input = input.as_mut().ok_or(FlowFailure::NoCaps)?;
        let settings = lock(&self.settings).clone();
        lock(&self.statistics).frames += 1;
        let running_time = segment.as_ref().and_then(|segment| segment.to_running_time(buffer.pts()));
        let number = *sequence;
        *sequence += 1;
        if settings.qos {
            let lateness = lock(&self.quality).lateness(running_time);
            if let Some(late_ns) = lateness {
                self.skip(buffer, segment.as_ref(), running_time, late_ns);
                return Ok(Passing::Late);
            }
        }

        let prompts = self.segment(input, session, picture, report, buffer, &settings)?;
        let findings = || prompts.iter().zip(&report.findings).enumerate();
        if settings.overlay != OverlayMode::None
            && report.findings.iter().any(|finding| finding.measurements().area_px > 0)
        {
            draw(input, buffer, settings.overlay, report)?;
        }
        let mask = match mask_wanted {
            true => Some(self.mask_buffer(input, buffer, report)?),
            false => None,
        };
        let engine_ms = report.seconds.total() * 1e3;
        let facts = FrameFacts {
            sequence: number,
            pts: buffer.pts(),
            running_time,
            threshold: report.threshold,
            engine_ms,
            latency_ms: begun.elapsed().as_secs_f64() * 1e3,
        };
        for (index, (prompt, finding)) in findings() {
            let structure = results::structure(&facts, index, prompt.text(), finding);
            results::attach(buffer.make_mut(), finding, structure.clone());
            if settings.post_messages {
                let message = gst::message::Element::builder(structure).src(&*self.obj()).build();
                let _ = self.obj().post_message(message);
            }
        }
        let mut statistics = lock(&self.statistics);
        statistics.segmented += 1;
        statistics.engine_ms = engine_ms;
        statistics.latency_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok(Passing::Segmented(mask))
    }

    /// Runs the network; returns the prompts of the report's findings.
    fn segment(
        &self,
        input: &Input,
        session: &mut Option<(SessionOptions, Session)>,
        picture: &mut Picture,
        report: &mut FrameReport,
        buffer: &gst::Buffer,
        settings: &Settings,
    ) -> Result<Arc<[Prompt]>, FlowFailure> {
        let opened = lock(&self.opened).as_ref().map(|opened| (opened.model.clone(), opened.prompts.clone()));
        let (model, prompts) = opened.ok_or(FlowFailure::NotOpen)?;
        let options = settings.session_options();
        let session = match session {
            Some((made_with, session)) if *made_with == options => session,
            other => &mut other.insert((options.clone(), Session::new(&model, options)?)).1,
        };
        let planes = Planes::of(buffer, &input.info)?;
        let map = buffer.map_readable().map_err(FlowFailure::Map)?;
        let mut frame = picture.frame(&map, &planes, input.pixels, &input.info, settings.region()?)?;
        if let Some(mm) = settings.mm_per_pixel() {
            frame = frame.with_mm_per_pixel(mm)?;
        }
        let frame = frame.with_valid(!buffer.flags().contains(gst::BufferFlags::CORRUPTED));
        session.run_into(&frame, &prompts, report)?;
        Ok(prompts)
    }

    /// The pixels that any of the prompts found.
    fn mask_buffer(
        &self,
        input: &mut Input,
        frame: &gst::Buffer,
        report: &FrameReport,
    ) -> Result<gst::Buffer, FlowFailure> {
        if input.masks.is_none() {
            input.masks = MaskBuffers::new(&input.info);
        }
        let masks: Vec<_> = report.findings.iter().map(|finding| finding.mask().pixels()).collect();
        let fill = |y: usize, out: &mut [u8]| {
            out.fill(0);
            for mask in &masks {
                for (out, pixel) in out.iter_mut().zip(mask.row(y)) {
                    *out |= *pixel;
                }
            }
        };
        input.masks.as_ref().and_then(|buffers| buffers.buffer(frame, fill)).ok_or(FlowFailure::MaskMemory)
    }

    /// Counts a late frame, and tells the application.
    fn skip(
        &self,
        buffer: &gst::BufferRef,
        segment: Option<&gst::FormattedSegment<gst::ClockTime>>,
        running_time: Option<gst::ClockTime>,
        late_ns: i64,
    ) {
        let (segmented, late) = {
            let mut statistics = lock(&self.statistics);
            statistics.late += 1;
            (statistics.segmented, statistics.late)
        };
        let buffers = |count: u64| gst::GenericFormattedValue::from(gst::format::Buffers::from_u64(count));
        let message = gst::message::Qos::builder(false)
            .running_time(running_time)
            .stream_time(segment.and_then(|segment| segment.to_stream_time(buffer.pts())))
            .timestamp(buffer.pts())
            .duration(buffer.duration())
            .values(late_ns, lock(&self.quality).proportion(), 1_000_000)
            .stats(buffers(segmented), buffers(late))
            .src(&*self.obj())
            .build();
        let _ = self.obj().post_message(message);
    }

    pub(super) fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Caps(caps) => {
                if let Err(failure) = self.configure(caps.caps()) {
                    self.stop_with(&failure);
                    return false;
                }
            }
            gst::EventView::Segment(segment) => {
                lock(&self.work).segment = segment.segment().downcast_ref().cloned();
                lock(&self.quality).reset();
            }
            gst::EventView::StreamStart(_) => self.restart(),
            gst::EventView::FlushStop(_) => {
                self.restart();
                lock(&self.flows).reset();
                lock(&self.quality).reset();
                if let Some(mask) = &mut *lock(&self.mask) {
                    mask.forget_segment();
                }
            }
            _ => {}
        }
        // The mask pad's own follow from these: see announce_mask.
        let own = matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Caps | gst::EventType::Segment);
        let mask = lock(&self.mask).as_ref().map(|mask| mask.pad().clone());
        if let Some(pad) = mask.filter(|_| !own) {
            if event.is_serialized() && event.type_() != gst::EventType::FlushStop {
                self.announce_mask();
            }
            pad.push_event(event.clone());
        }
        self.src.push_event(event)
    }

    /// Takes the frames' format; another sequence begins.
    fn configure(&self, caps: &gst::CapsRef) -> Result<(), FlowFailure> {
        let refused = || FlowFailure::Caps(caps.to_owned());
        let info = VideoInfo::from_caps(caps).map_err(|_| refused())?;
        let pixels = Pixels::of(info.format()).ok_or_else(refused)?;
        if info.format_info().is_yuv() && info.colorimetry().range() == gst_video::VideoColorRange::Range0_255 {
            gst::warning!(
                CATEGORY,
                imp = self,
                "{caps}: luma is read in its limited range, 16 to 235; convert to RGB first"
            );
        }
        *lock(&self.quality) = QualityOfService::with_frame(frame_duration(&info));
        lock(&self.work).input = Some(Input { info, pixels, masks: None });
        self.restart();
        Ok(())
    }

    fn restart(&self) {
        if let Some((_, session)) = &mut lock(&self.work).session {
            session.restart();
        }
    }

    /// Sends what has to come before the mask pad's next buffer or event.
    fn announce_mask(&self) {
        let due =
            lock(&self.mask).as_mut().map(|mask| (mask.pad().clone(), mask.due(&self.sink, self.obj().upcast_ref())));
        if let Some((pad, events)) = due {
            events.into_iter().for_each(|event| {
                pad.push_event(event);
            });
        }
    }

    /// Caps go through to the frames' source pad alone.
    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let result = through(pad, &self.src, caps.filter_owned());
                caps.set_result(&result);
                true
            }
            // What the next element offers, its memory included, suits this one: frames go through as they are.
            gst::QueryViewMut::Allocation(_) | gst::QueryViewMut::Drain(_) => self.src.peer_query(query),
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    pub(super) fn source_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        let is_mask = *pad != self.src;
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) if is_mask => {
                let own = pad.current_caps().unwrap_or_else(|| pad.pad_template_caps());
                let filter = caps.filter_owned();
                let result = filter
                    .map_or(own.clone(), |filter| filter.intersect_with_mode(&own, gst::CapsIntersectMode::First));
                caps.set_result(&result);
                true
            }
            gst::QueryViewMut::Caps(caps) => {
                let result = through(pad, &self.sink, caps.filter_owned());
                caps.set_result(&result);
                true
            }
            gst::QueryViewMut::Latency(_) => {
                if !self.sink.peer_query(query) {
                    return false;
                }
                if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
                    let (live, least, most) = latency.result();
                    let own = gst::ClockTime::from_mseconds(lock(&self.settings).latency_ms.into());
                    latency.set(live, least + own, most.map(|most| most + own));
                }
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    pub(super) fn source_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        let is_mask = *pad != self.src;
        match event.view() {
            // One sink decides what is late: that of the frames, where there is one.
            gst::EventView::Qos(_) if is_mask && self.src.is_linked() => true,
            gst::EventView::Reconfigure(_) if is_mask => true,
            gst::EventView::Qos(quality) => {
                let (_, proportion, late_ns, timestamp) = quality.get();
                lock(&self.quality).update(proportion, late_ns, timestamp);
                self.sink.push_event(event)
            }
            _ => self.sink.push_event(event),
        }
    }
}

impl Work {
    /// Refuses a region that leaves the frames, where their size is known.
    pub(crate) fn check_region(&self, settings: &Settings) -> Result<(), SettingsError> {
        match &self.input {
            Some(input) => Ok(check_region(settings.region()?, &input.info)?),
            None => Ok(()),
        }
    }
}

fn check_region(region: Option<Region>, info: &VideoInfo) -> Result<(), FrameError> {
    let Some(region) = region else { return Ok(()) };
    let inside = |start: usize, length: usize, limit: u32| {
        length > 0 && start.checked_add(length).is_some_and(|end| end <= limit as usize)
    };
    let (width, height) = (info.width() as usize, info.height() as usize);
    match inside(region.x, region.width, info.width()) && inside(region.y, region.height, info.height()) {
        true => Ok(()),
        false => Err(FrameError::Region { region, width, height }),
    }
}

/// `None` where the rate varies.
fn frame_duration(info: &VideoInfo) -> Option<gst::ClockTime> {
    let fps = info.fps();
    let (frames, seconds) = (u64::try_from(fps.numer()).ok()?, u64::try_from(fps.denom()).ok()?);
    if frames == 0 { None } else { gst::ClockTime::SECOND.mul_div_floor(seconds, frames) }
}

/// What the peer beyond the other pad can take or give, of what this pad can.
fn through(pad: &gst::Pad, other: &gst::Pad, filter: Option<gst::Caps>) -> gst::Caps {
    let own = pad.pad_template_caps();
    let own = filter.map_or(own.clone(), |filter| filter.intersect_with_mode(&own, gst::CapsIntersectMode::First));
    let theirs = other.peer_query_caps(Some(&own));
    theirs.intersect_with_mode(&own, gst::CapsIntersectMode::First)
}

/// Draws the findings into the frame; its memory is copied first where others use it too.
fn draw(input: &Input, buffer: &mut gst::Buffer, mode: OverlayMode, report: &FrameReport) -> Result<(), FlowFailure> {
    let planes = Planes::of(buffer, &input.info)?;
    let mut map = buffer.make_mut().map_writable().map_err(FlowFailure::Map)?;
    let (width, height) = (input.info.width() as usize, input.info.height() as usize);
    let mut canvas = Canvas { bytes: &mut map, planes, format: input.info.format(), width, height };
    for (index, finding) in report.findings.iter().enumerate() {
        match mode {
            OverlayMode::None => {}
            OverlayMode::Contour => canvas.outline(finding.contours(), Ink::of_prompt(index)),
            OverlayMode::Mask => canvas.tint(finding.mask().pixels().iter().copied(), Ink::of_prompt(index)),
        }
    }
    Ok(())
}
