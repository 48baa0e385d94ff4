//! Files: pictures, clips and pipes in; masks, probabilities, overlays, JSON, DICOM SEG and SR, MetaImage and NRRD out.
//!
//! Nothing is half-written: every file is completed under a temporary name before it takes its name.

mod description;
#[cfg(feature = "dicom")]
pub mod dicom;
mod frame_fields;
mod geometry;
mod jpeg;
mod levels;
mod mark;
pub mod metaimage;
mod names;
pub mod nifti;
pub mod nrrd;
mod raster;
mod read;
pub mod source;
mod write;

pub use causalclipseg_bundle::{WriteError, replace_file};
pub use description::Description;
pub use geometry::Geometry;
pub use jpeg::{JpegFault, check_complete};
pub use mark::is_own_result;
pub use names::{NameError, OutputNames};
pub use raster::{RasterError, RasterSequence};
pub use read::{Image, MAX_DECODED_BYTES, ReadError, TiffPages};
pub use write::{Depth, write_frame, write_json, write_mask, write_overlay, write_probability, write_result_json};
