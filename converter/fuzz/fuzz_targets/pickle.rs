//! Reads any bytes as a pickle.
#![no_main]

use causalclipseg_convert_fuzz::{limits, read::pickle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = pickle::parse(bytes, &limits());
});
