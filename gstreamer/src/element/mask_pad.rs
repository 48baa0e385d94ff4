//! The request pad with the masks: its events, and memory for its buffers.

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo};

/// The pad `mask`, and what was announced on it.
#[derive(Clone)]
pub(super) struct MaskPad {
    pad: gst::Pad,
    /// The frames' stream, caps and segment that the pad's own follow.
    announced: [Option<gst::Event>; 3],
}

impl MaskPad {
    pub(crate) fn new(pad: gst::Pad) -> Self {
        Self { pad, announced: [None, None, None] }
    }

    pub(crate) fn pad(&self) -> &gst::Pad {
        &self.pad
    }

    /// After a stop everything is announced anew.
    pub(crate) fn forget(&mut self) {
        self.announced = [None, None, None];
    }

    /// After a flush the segment is announced anew.
    pub(crate) fn forget_segment(&mut self) {
        self.announced[2] = None;
    }

    /// The events that the pad has to send before its next buffer, by what the sink pad received.
    pub(crate) fn due(&mut self, sink: &gst::Pad, element: &gst::Element) -> Vec<gst::Event> {
        let mut due = Vec::new();
        let received = [
            sink.sticky_event::<gst::event::StreamStart>(0).map(gst::Event::from),
            sink.sticky_event::<gst::event::Caps>(0).map(gst::Event::from),
            sink.sticky_event::<gst::event::Segment>(0).map(gst::Event::from),
        ];
        for (announced, received) in self.announced.iter_mut().zip(received) {
            let Some(received) = received else { break };
            if announced.as_ref().is_some_and(|announced| announced.as_ptr() == received.as_ptr()) {
                continue;
            }
            let event = match received.view() {
                gst::EventView::StreamStart(start) => {
                    let id = self.pad.create_stream_id(element, Some("mask"));
                    gst::event::StreamStart::builder(&id).group_id_if_some(start.group_id()).build()
                }
                gst::EventView::Caps(caps) => {
                    let info = VideoInfo::from_caps(caps.caps()).ok().and_then(|info| of_frames(&info));
                    let Some(caps) = info.and_then(|info| info.to_caps().ok()) else { break };
                    gst::event::Caps::new(&caps)
                }
                _ => received.clone(),
            };
            due.push(event);
            *announced = Some(received);
        }
        due
    }
}

/// What the masks of such frames look like.
pub(super) fn of_frames(info: &VideoInfo) -> Option<VideoInfo> {
    VideoInfo::builder(VideoFormat::Gray8, info.width(), info.height()).fps(info.fps()).par(info.par()).build().ok()
}

/// Memory for masks of one size, used again.
pub(super) struct MaskBuffers {
    pool: gst::BufferPool,
    info: VideoInfo,
}

impl MaskBuffers {
    pub(crate) fn new(frames: &VideoInfo) -> Option<Self> {
        let info = of_frames(frames)?;
        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        config.set_params(info.to_caps().ok().as_ref(), u32::try_from(info.size()).ok()?, 2, 0);
        pool.set_config(config).ok()?;
        pool.set_active(true).ok()?;
        Some(Self { pool, info })
    }

    /// A buffer with the time stamps of a frame, in which `fill` writes a row from the mask's row of that number.
    pub(crate) fn buffer(&self, frame: &gst::BufferRef, fill: impl Fn(usize, &mut [u8])) -> Option<gst::Buffer> {
        let mut buffer = self.pool.acquire_buffer(None).ok()?;
        let writable = buffer.get_mut()?;
        frame.copy_into(writable, gst::BufferCopyFlags::TIMESTAMPS, ..).ok()?;
        let mut map = writable.map_writable().ok()?;
        let stride = usize::try_from(*self.info.stride().first()?).ok()?;
        for (y, row) in map.chunks_mut(stride).take(self.info.height() as usize).enumerate() {
            let (pixels, padding) = row.split_at_mut_checked(self.info.width() as usize)?;
            fill(y, pixels);
            padding.fill(0);
        }
        drop(map);
        Some(buffer)
    }
}

impl Drop for MaskBuffers {
    fn drop(&mut self) {
        // Buffers that are still in use return to the pool and are freed there.
        let _ = self.pool.set_active(false);
    }
}
