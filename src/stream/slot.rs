//! A frame's own memory, reused for frame after frame.

use crate::frame::{Frame, FrameError, Orientation, PixelFormat, Region};
use std::time::{Duration, Instant};

/// Pixels on their way to the worker.
pub(super) struct Slot {
    pixels: Vec<u8>,
    shape: Shape,
    mm_per_pixel: Option<[f32; 2]>,
    valid: bool,
    pub sequence: u64,
    /// The caller's timestamp.
    pub timestamp_us: u64,
    pub submitted: Instant,
    /// The time of submitting, without its last step.
    pub handling: Duration,
    /// When it was put into the queue.
    pub queued: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    format: PixelFormat,
    width: usize,
    height: usize,
    region: Region,
    orientation: Orientation,
}

impl Shape {
    fn of(frame: &Frame<'_>) -> Self {
        Self {
            format: frame.format(),
            width: frame.width(),
            height: frame.height(),
            region: frame.region(),
            orientation: frame.orientation(),
        }
    }
}

/// The memory that a frame takes in a stream, in bytes.
pub(super) fn packed_bytes(frame: &Frame<'_>) -> usize {
    frame.width() * frame.height() * frame.format().bytes_per_pixel()
}

impl Slot {
    pub(crate) fn new() -> Self {
        let (region, orientation) = (Region::default(), Orientation::Upright);
        let shape = Shape { format: PixelFormat::Gray8, width: 0, height: 0, region, orientation };
        let now = Instant::now();
        Self {
            pixels: Vec::new(),
            shape,
            mm_per_pixel: None,
            valid: true,
            sequence: 0,
            timestamp_us: 0,
            submitted: now,
            handling: Duration::ZERO,
            queued: now,
        }
    }

    /// Copies the region of interest to its place in a frame of the same size. The rest is zero: only overlays read it, and
    /// copying a screen around a scan would cost more than copying the scan.
    pub(crate) fn fill(&mut self, frame: &Frame<'_>) {
        let shape = Shape::of(frame);
        if self.shape != shape {
            // An earlier frame's pixels would show outside the new region.
            self.pixels.clear();
            self.pixels.resize(packed_bytes(frame), 0);
            self.shape = shape;
        }
        (self.mm_per_pixel, self.valid) = (frame.mm_per_pixel(), frame.is_valid());
        let pixel = shape.format.bytes_per_pixel();
        let (row_bytes, left) = (shape.width * pixel, shape.region.x * pixel);
        let rows = self.pixels.chunks_exact_mut(row_bytes).skip(shape.region.y).take(shape.region.height);
        for (y, row) in rows.enumerate() {
            let source = frame.region_row(y);
            if let Some(target) = row.get_mut(left..left + source.len()) {
                target.copy_from_slice(source);
            }
        }
    }

    pub(crate) fn frame(&self) -> Result<Frame<'_>, FrameError> {
        let Shape { format, width, height, region, orientation } = self.shape;
        let frame = Frame::packed(&self.pixels, format, width, height)?
            .with_region(region)?
            .with_orientation(orientation)
            .with_valid(self.valid);
        match self.mm_per_pixel {
            Some(mm_per_pixel) => frame.with_mm_per_pixel(mm_per_pixel),
            None => Ok(frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(slot: &Slot) -> Vec<u8> {
        slot.pixels.clone()
    }

    #[test]
    fn the_region_is_copied_to_its_place() {
        let data: Vec<u8> = (1..=40).collect();
        let region = Region { x: 1, y: 1, width: 2, height: 2 };
        let frame = Frame::new(&data, PixelFormat::Gray16Le, 3, 4, 10).unwrap();
        let frame = frame.with_region(region).unwrap().with_mm_per_pixel([0.5, 0.25]).unwrap().with_valid(false);
        let frame = frame.with_orientation(Orientation::Rotated90);
        let mut slot = Slot::new();
        slot.fill(&frame);
        let expected = [0, 0, 0, 0, 0, 0, 0, 0, 13, 14, 15, 16, 0, 0, 23, 24, 25, 26, 0, 0, 0, 0, 0, 0];
        assert_eq!(pixels(&slot), expected);
        let back = slot.frame().unwrap();
        assert_eq!((back.region(), back.mm_per_pixel(), back.height()), (region, Some([0.5, 0.25]), 4));
        assert!(!back.is_valid());
        assert_eq!(back.orientation(), Orientation::Rotated90);
    }

    #[test]
    fn nothing_of_an_earlier_frame_shows() {
        let mut slot = Slot::new();
        slot.fill(&Frame::packed(&[9; 12], PixelFormat::Rgb8, 2, 2).unwrap());
        let small = Frame::packed(&[7; 4], PixelFormat::Gray8, 2, 2).unwrap();
        slot.fill(&small.with_region(Region { x: 0, y: 0, width: 1, height: 2 }).unwrap());
        assert_eq!(pixels(&slot), [7, 0, 7, 0]);
        slot.fill(&small.with_region(Region { x: 1, y: 1, width: 1, height: 1 }).unwrap());
        assert_eq!(pixels(&slot), [0, 0, 0, 7]);
        let back = slot.frame().unwrap();
        assert_eq!((back.mm_per_pixel(), back.is_valid(), back.orientation()), (None, true, Orientation::Upright));
    }

    #[test]
    fn an_empty_slot_is_no_frame() {
        assert!(Slot::new().frame().is_err());
    }
}
