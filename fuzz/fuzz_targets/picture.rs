//! Reads any bytes as a picture: PNG, JPEG, BMP or TIFF, by its signature; and as a JPEG that may be truncated.
#![no_main]

use causalclipseg::io::{Image, check_complete};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = check_complete(bytes);
    if let Ok(image) = Image::from_bytes("x", bytes) {
        assert!(image.frame().width() > 0);
    }
});
