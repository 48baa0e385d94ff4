//! Reads any bytes as a TIFF file: directories, and the first pages.
#![no_main]

use causalclipseg::io::TiffPages;
use causalclipseg::io::source::FrameBuffer;
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut pages) = TiffPages::new(Path::new("x.tif"), Cursor::new(bytes)) else { return };
    let mut buffer = FrameBuffer::default();
    for _ in 0..4 {
        match pages.read_page(&mut buffer) {
            Ok(true) => drop(buffer.frame().expect("a page that was read can be lent")),
            Ok(false) | Err(_) => return,
        }
    }
});
