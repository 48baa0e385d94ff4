//! Any bytes as a picture: PNG, JPEG, BMP or TIFF, as the bytes say; and as a JPEG that may be cut short.
#![no_main]

use causalclipseg::io::{Image, check_complete};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = check_complete(bytes);
    if let Ok(image) = Image::from_bytes("x", bytes) {
        assert!(image.frame().width() > 0);
    }
});
