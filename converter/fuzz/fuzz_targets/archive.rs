//! Reads any bytes as a file: torch archive, safetensors or neither.
#![no_main]

use causalclipseg_convert_fuzz::{limits, read::read};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let _ = read(Cursor::new(bytes), &limits());
});
