//! Reads any bytes as an NRRD file: header, and the first frames.
#![no_main]

use causalclipseg::io::nrrd;
use causalclipseg_fuzz::read_some;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sequence) = nrrd::from_bytes(Path::new("x.nrrd"), bytes.to_vec()) {
        read_some(sequence);
    }
});
