//! An open file: its samples as frames, and the content of its header.

use super::{Place, Raster, RasterError, RasterReader};
use crate::frame::Orientation;
use crate::io::Description;
use crate::io::frame_fields::FrameFields;
use crate::io::geometry::Geometry;
use crate::io::source::{Bytes, FrameBuffer, FrameSource, SourceError};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A MetaImage, NRRD or NIfTI file. Frames are read on demand; a clip needs the memory of one frame, except for 3D
/// Slicer's sequences, whose frames are interleaved.
pub struct RasterSequence {
    path: PathBuf,
    pixels: RasterReader,
    about: About,
}

/// The contents of a header besides the layout of its samples.
#[derive(Default)]
pub(in crate::io) struct About {
    /// The format's name, and the compression of samples, for people.
    pub format: String,
    pub compression: &'static str,
    pub geometry: Geometry,
    pub orientation: Orientation,
    /// Fields of the complete sequence, as `key, value` in the file's order.
    pub fields: Vec<(String, String)>,
    pub frame_fields: FrameFields,
    /// Whether several frames are the slices of a volume, where there are no fields of single frames.
    pub is_volume: bool,
    pub seconds_per_frame: Option<f64>,
    pub character_set: Option<&'static str>,
    /// Content that is not used.
    pub ignored: Vec<String>,
}

impl RasterSequence {
    /// Checks that the file has exactly the bytes that its header announces.
    pub(in crate::io) fn new(
        path: &Path,
        raster: Raster,
        source: Box<dyn Bytes>,
        place: Place,
        mut about: About,
    ) -> Result<Self, RasterError> {
        if raster.channels == 4 {
            about.ignored.push("the fourth channel, treated as transparency".into());
        }
        Ok(Self { path: path.into(), pixels: RasterReader::new(raster, source, place)?, about })
    }

    /// The header's fields about the complete sequence besides the layout of its pixels, as `key, value` in the file's
    /// order, for MetaImage and NRRD; among them PLUS's `UltrasoundImageOrientation`, such as `MFA`.
    pub fn fields(&self) -> &[(String, String)] {
        &self.about.fields
    }

    /// The position of the pixels in space.
    pub fn geometry(&self) -> &Geometry {
        &self.about.geometry
    }

    /// How stored pixels are turned to be upright.
    pub fn orientation(&self) -> Orientation {
        self.about.orientation
    }

    /// Width and height of every frame, in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.pixels.size()
    }

    /// Whether this is one picture, not a sequence or a volume.
    pub fn is_still(&self) -> bool {
        self.pixels.frames() == 1
    }

    /// Whether frames are the slices of a volume.
    pub fn is_volume(&self) -> bool {
        !self.is_still() && self.about.is_volume && self.about.frame_fields.is_empty()
    }

    /// The contents of the file that are not used, a line each.
    pub fn ignored(&self) -> &[String] {
        &self.about.ignored
    }

    /// The description of the file.
    pub fn description(&self) -> Description {
        let [width, height] = self.size();
        let About { geometry, .. } = &self.about;
        Description {
            format: self.about.format.clone(),
            width,
            height,
            frames: Some(self.pixels.frames()),
            pixels: self.pixels.describe_pixels(),
            compression: self.about.compression.into(),
            mm_per_pixel: geometry.mm_per_pixel(),
            slice_spacing_mm: self.is_volume().then_some(geometry.spacing_mm[2] as f32),
            seconds_per_frame: self.about.seconds_per_frame,
            orientation: self.about.orientation,
            character_set: self.about.character_set.map(String::from),
            ignored: self.about.ignored.clone(),
            ..Description::default()
        }
    }
}

impl FrameSource for RasterSequence {
    fn frame_count(&self) -> Option<usize> {
        usize::try_from(self.pixels.frames()).ok()
    }

    fn read_frame(&mut self, into: &mut FrameBuffer) -> Result<bool, SourceError> {
        let frame = self.pixels.next();
        let read = self.pixels.read_frame(into);
        if !read.map_err(|problem| SourceError::Raster { path: self.path.clone(), problem })? {
            return Ok(false);
        }
        if let Some(mm_per_pixel) = self.about.geometry.mm_per_pixel() {
            into.set_mm_per_pixel(mm_per_pixel)?;
        }
        into.orientation = self.about.orientation;
        into.timestamp_s = self.about.seconds_per_frame.map(|seconds| frame as f64 * seconds);
        self.about.frame_fields.note(frame, into);
        Ok(true)
    }
}

/// The pixels of a header: behind it, or in the file that it names, beside the header's own path, which is `None` for
/// data that are not a file. Errors say why not.
pub(in crate::io) fn pixels_of(
    header: impl Bytes + 'static,
    data_file: Option<&str>,
    path: Option<&Path>,
) -> Result<Box<dyn Bytes>, &'static str> {
    let Some(name) = data_file else { return Ok(Box::new(header)) };
    let path = path.ok_or("its pixels are in another file")?.with_file_name(name);
    let file = File::open(path).map_err(|_| "the file with its pixels is not beside the header")?;
    Ok(Box::new(BufReader::new(file)))
}
