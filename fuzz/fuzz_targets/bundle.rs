//! Reads any bytes as a bundle: a file or its parts, with the sums put right, so that the code behind the sums is reached. What
//! opens is used: its tensors, its tokenizer, its network.
#![no_main]

use causalclipseg_fuzz::bundle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(file) = bundle::file_of(bytes) {
        bundle::open_and_use(file);
    }
});
