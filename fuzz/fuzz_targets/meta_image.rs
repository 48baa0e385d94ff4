//! Reads any bytes as a MetaImage: header, and the first frames.
#![no_main]

use causalclipseg::io::metaimage;
use causalclipseg_fuzz::read_some;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sequence) = metaimage::from_bytes(Path::new("x.mha"), bytes.to_vec()) {
        read_some(sequence);
    }
});
