//! Segments instances of the queue.

use super::super::segment::ObjectWriter;
use causalclipseg::io::WriteError;
use causalclipseg::io::dicom::DicomClip;
use causalclipseg_dicom_net::{Handler, HandlerError};
use std::path::{Path, PathBuf};

/// The handler of a node.
pub(super) struct Segmenter(pub ObjectWriter);

impl Handler for Segmenter {
    fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
        match self.0.write(instance, out) {
            Ok(Some(written)) => Ok(written),
            Ok(None) => Err(HandlerError::Later("this node is ending".into())),
            Err(failure) => {
                let reason = super::super::one_line(failure.as_ref());
                // A disk that is full now may have room later; the instance is not at fault.
                let passes = failure.downcast_ref::<WriteError>().is_some();
                Err(if passes { HandlerError::Later(reason) } else { HandlerError::Refused(reason) })
            }
        }
    }
}

/// The SOP Instance UID of a file, which is read as far as its pixels.
pub(super) fn identify(path: &Path) -> Result<String, String> {
    let clip = DicomClip::open(path).map_err(|error| error.to_string())?;
    clip.reference().instance_uid().ok_or_else(|| "it has no SOP Instance UID; export it again".into())
}
