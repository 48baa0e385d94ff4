//! Pipelines with the element between an appsrc and appsinks, and frames for them.

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo, VideoMeta};
use std::sync::Once;
use std::time::Duration;

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// All formats that the element promises, listed apart from its own list.
pub(crate) const FORMATS: [VideoFormat; 11] = [
    VideoFormat::Gray8,
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Yuy2,
    VideoFormat::Uyvy,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Bgra,
    VideoFormat::Bgrx,
    VideoFormat::Rgba,
    VideoFormat::Rgbx,
];

/// Initialises GStreamer with the element.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstcausalclipseg::plugin_register_static().unwrap();
    });
}

/// A grey picture with speckle and a dark ellipse; `step` moves it.
pub(crate) fn phantom(width: usize, height: usize, step: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32 ^ step as u32;
    let (centre_x, centre_y) = (width as f32 * (0.45 + 0.02 * step as f32), height as f32 * 0.55);
    let (radius_x, radius_y) = (width as f32 * 0.17, height as f32 * 0.14);
    let mut shade = |x: usize, y: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let speckle = (state >> 24) as f32 / 255.0;
        let away = ((x as f32 - centre_x) / radius_x).hypot((y as f32 - centre_y) / radius_y);
        let tissue = if away < 1.0 { 22.0 } else { 105.0 - 50.0 * y as f32 / height as f32 };
        (tissue * (0.55 + 0.9 * speckle)) as u8
    };
    (0..width * height).map(|at| shade(at % width, at / width)).collect()
}

/// The same picture in another format, in BT.601's limited range where it has luma; with `padding` bytes after each row, and as
/// many before the first plane.
pub(crate) fn frame(format: VideoFormat, width: usize, height: usize, gray: &[u8], padding: usize) -> gst::Buffer {
    let half = [width.div_ceil(2), height.div_ceil(2)];
    let luma = |gray: &u8| (16.0 + f32::from(*gray) * 219.0 / 255.0).round() as u8;
    let rows = |row: &dyn Fn(&[u8]) -> Vec<u8>| gray.chunks_exact(width).map(row).collect::<Vec<_>>();
    let neutral = |bytes: usize| vec![vec![128; bytes]; half[1]];
    let paired = |row: &[u8], luma_first: bool| -> Vec<u8> {
        let pair = |pair: &[u8]| {
            let [first, second] = [luma(&pair[0]), luma(pair.last().unwrap())];
            if luma_first { [first, 128, second, 128] } else { [128, first, 128, second] }
        };
        row.chunks(2).flat_map(pair).collect()
    };
    let planes = match format {
        VideoFormat::Gray8 => vec![rows(&|row| row.to_vec())],
        VideoFormat::Rgb | VideoFormat::Bgr => vec![rows(&|row| row.iter().flat_map(|gray| [*gray; 3]).collect())],
        VideoFormat::Rgba | VideoFormat::Rgbx | VideoFormat::Bgra | VideoFormat::Bgrx => {
            vec![rows(&|row| row.iter().flat_map(|gray| [*gray, *gray, *gray, 7]).collect())]
        }
        VideoFormat::Nv12 => vec![rows(&|row| row.iter().map(luma).collect()), neutral(2 * half[0])],
        VideoFormat::I420 => vec![rows(&|row| row.iter().map(luma).collect()), neutral(half[0]), neutral(half[0])],
        VideoFormat::Yuy2 => vec![rows(&|row| paired(row, true))],
        VideoFormat::Uyvy => vec![rows(&|row| paired(row, false))],
        other => panic!("{other:?}"),
    };
    let (mut bytes, mut offsets, mut strides) = (vec![0xa5; padding], Vec::new(), Vec::new());
    for plane in &planes {
        offsets.push(bytes.len());
        strides.push((plane[0].len() + padding) as i32);
        for row in plane {
            bytes.extend(row);
            bytes.extend(std::iter::repeat_n(0xa5, padding));
        }
    }
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let flags = gst_video::VideoFrameFlags::empty();
    let writable = buffer.get_mut().unwrap();
    VideoMeta::add_full(writable, flags, format, width as u32, height as u32, &offsets, &strides).unwrap();
    buffer
}

/// A pipeline `appsrc ! causalclipseg ! appsink`, with an appsink at the mask pad.
pub(crate) struct Bench {
    pub pipeline: gst::Pipeline,
    pub element: gst::Element,
    pub source: gst_app::AppSrc,
    pub frames: gst_app::AppSink,
    pub masks: Option<gst_app::AppSink>,
    sent: u64,
}

impl Bench {
    pub(crate) fn new(element: gst::Element, caps: Option<&gst::Caps>, with_masks: bool) -> Self {
        init();
        let pipeline = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder().format(gst::Format::Time).build();
        if caps.is_some() {
            source.set_caps(caps);
        }
        let sink = || gst_app::AppSink::builder().sync(false).build();
        let frames = sink();
        let queue = gst::ElementFactory::make("queue").build().unwrap();
        pipeline.add_many([source.upcast_ref(), &element, &queue, frames.upcast_ref()]).unwrap();
        gst::Element::link_many([source.upcast_ref(), &element, &queue, frames.upcast_ref()]).unwrap();
        let masks = with_masks.then(|| {
            let masks = sink();
            let queue = gst::ElementFactory::make("queue").build().unwrap();
            pipeline.add_many([&queue, masks.upcast_ref()]).unwrap();
            element.link_pads(Some("mask"), &queue, None).unwrap();
            queue.link(&masks).unwrap();
            masks
        });
        Self { pipeline, element, source, frames, masks, sent: 0 }
    }

    /// With frames of one format at 25 Hz.
    pub(crate) fn of(format: VideoFormat, width: usize, height: usize, with_masks: bool) -> Self {
        init();
        let element = gst::ElementFactory::make("causalclipseg").build().unwrap();
        Self::new(element, Some(&caps(format, width, height)), with_masks)
    }

    pub(crate) fn play(self) -> Self {
        self.pipeline.set_state(gst::State::Playing).unwrap();
        self
    }

    /// Sends a frame with the next time stamp, and returns what comes out; with the mask where there is a pad for it.
    pub(crate) fn pass(&mut self, mut buffer: gst::Buffer) -> (gst::Buffer, Option<gst::Buffer>) {
        let duration = gst::ClockTime::from_mseconds(40);
        let writable = buffer.make_mut();
        writable.set_pts(duration * self.sent);
        writable.set_duration(duration);
        self.sent += 1;
        self.source.push_buffer(buffer).unwrap();
        let pull = |sink: &gst_app::AppSink| {
            let sample = sink.try_pull_sample(PATIENCE).unwrap_or_else(|| panic!("no frame: {:?}", self.errors()));
            sample.buffer_owned().unwrap()
        };
        (pull(&self.frames), self.masks.as_ref().map(pull))
    }

    /// The element's messages on the bus since the last call.
    pub(crate) fn results(&self) -> Vec<gst::Structure> {
        let bus = self.pipeline.bus().unwrap();
        std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Element]))
            .filter_map(|message| message.structure().map(|structure| structure.to_owned()))
            .filter(|structure| structure.name() == "causalclipseg")
            .collect()
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        let bus = self.pipeline.bus().unwrap();
        std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]))
            .map(|message| match message.view() {
                gst::MessageView::Error(error) => error.error().to_string(),
                gst::MessageView::Warning(warning) => warning.error().to_string(),
                _ => String::new(),
            })
            .collect()
    }

    /// The first warning or error, after at most [`PATIENCE`].
    pub(crate) fn complaint(&self) -> String {
        let bus = self.pipeline.bus().unwrap();
        let kinds = [gst::MessageType::Error, gst::MessageType::Warning];
        let message = bus.timed_pop_filtered(PATIENCE, &kinds).expect("a complaint");
        match message.view() {
            gst::MessageView::Error(error) => error.error().to_string(),
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            _ => String::new(),
        }
    }

    pub(crate) fn statistic<T: for<'a> gst::glib::value::FromValue<'a>>(&self, name: &str) -> T {
        let stats: gst::Structure = self.element.property("stats");
        stats.value(name).unwrap().get::<T>().unwrap_or_else(|_| panic!("{stats:?}"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

pub(crate) fn caps(format: VideoFormat, width: usize, height: usize) -> gst::Caps {
    let info = VideoInfo::builder(format, width as u32, height as u32).fps(gst::Fraction::new(25, 1)).build().unwrap();
    info.to_caps().unwrap()
}

/// A mask buffer's pixels without its padding.
pub(crate) fn pixels(mask: &gst::Buffer, width: usize, height: usize) -> Vec<u8> {
    let map = mask.map_readable().unwrap();
    let stride = map.len() / height;
    map.chunks_exact(stride).take(height).flat_map(|row| row[..width].to_vec()).collect()
}

/// The runtime's own mask of a grey frame, with the shipped model.
pub(crate) fn reference(gray: &[u8], width: usize, height: usize, prompt: &str) -> Vec<u8> {
    use causalclipseg::frame::{Frame, PixelFormat};
    use causalclipseg::{Model, ModelOptions, Session, SessionOptions};
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.ccs");
    let model = Model::open(bundle.as_ref(), ModelOptions::default()).unwrap();
    let prompts = [model.prompt(prompt).unwrap()];
    let mut session = Session::new(&model, SessionOptions::default()).unwrap();
    let frame = Frame::packed(gray, PixelFormat::Gray8, width, height).unwrap();
    let report = session.run(&frame, &prompts).unwrap();
    report.findings[0].mask().pixels().iter().copied().collect()
}

/// Waits until something holds, for at most [`PATIENCE`].
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(PATIENCE.seconds()), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
