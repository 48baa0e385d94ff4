//! Reads any bytes as a DICOM file: attributes, fragments, and the first frames.
#![no_main]

use causalclipseg::io::dicom::DicomClip;
use causalclipseg_fuzz::read_some;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(clip) = DicomClip::from_bytes(Path::new("x.dcm"), bytes.to_vec()) {
        read_some(clip);
    }
});
