//! Reads any bytes as what a DICOM peer sends: the first byte sets the size of the pieces, the rest are protocol data units.
#![no_main]

use causalclipseg_dicom_net::fuzz_acceptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(fuzz_acceptor(bytes) <= bytes.len() as u64, "more data than was sent");
});
