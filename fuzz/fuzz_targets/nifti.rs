//! Reads any bytes as a NIfTI file, compressed or not: header, and the first frames.
#![no_main]

use causalclipseg::io::nifti;
use causalclipseg_fuzz::read_some;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sequence) = nifti::from_bytes(Path::new("x.nii"), bytes.to_vec()) {
        read_some(sequence);
    }
});
