//! An opened file, frame by frame.

use crate::limits::check_pixels;
use causalclipseg::io::source::{FrameBuffer, FrameSource, Source};
use std::path::Path;

/// A file in memory whose frames are read in order.
pub(crate) struct Opened {
    source: Source,
    format: String,
    seconds_per_frame: Option<f64>,
}

impl Opened {
    /// # Errors
    /// The bytes are no image that the runtime reads, are damaged, or have frames that are too large.
    pub(crate) fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err(format!("{}: is empty; choose an image or a DICOM file", name.display()));
        }
        // Pictures of the formats that it knows; others say their size when they are opened.
        if let Ok(size) = imagesize::blob_size(&bytes) {
            check_pixels(size.width, size.height)?;
        }
        let source = Source::from_bytes(name, bytes).map_err(|error| error.to_string())?;
        // A picture would be decoded for its description.
        let (format, seconds_per_frame) = match &source {
            Source::Pictures(_) => ("picture".to_string(), None),
            other => {
                let description = other.description().map_err(|error| error.to_string())?;
                check_pixels(description.width, description.height)?;
                (description.format, description.seconds_per_frame)
            }
        };
        Ok(Self { source, format, seconds_per_frame })
    }

    pub(crate) fn format(&self) -> &str {
        &self.format
    }

    pub(crate) fn frames(&self) -> Option<usize> {
        self.source.frame_count()
    }

    pub(crate) fn is_still(&self) -> bool {
        self.source.is_still()
    }

    pub(crate) fn seconds_per_frame(&self) -> Option<f64> {
        self.seconds_per_frame
    }

    /// Reads the next frame; false after the last one.
    pub(crate) fn read(&mut self, into: &mut FrameBuffer) -> Result<bool, String> {
        let read = self.source.read_frame(into).map_err(|error| error.to_string())?;
        if read {
            let frame = into.frame().map_err(|error| error.to_string())?;
            check_pixels(frame.width(), frame.height())?;
        }
        Ok(read)
    }
}
