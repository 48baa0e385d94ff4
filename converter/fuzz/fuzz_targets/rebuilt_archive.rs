//! Reads any bytes as the pickle of an otherwise valid archive: checksums are correct, so that what follows parsing is
//! reached too.
#![no_main]

use causalclipseg_convert_fuzz::{limits, read::read};
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Write};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fuzz_target!(|pickle: &[u8]| {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let storage: Vec<u8> = (0..=255).collect();
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &storage[..]), ("a/data/1", &storage[..64])] {
        zip.start_file(name, options).expect("writing to memory");
        zip.write_all(bytes).expect("writing to memory");
    }
    let file = zip.finish().expect("writing to memory");
    let _ = read(file, &limits());
});
