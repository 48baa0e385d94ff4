//! Thousands of damaged files: each is read or refused, in bounded time, and nothing panics.

use super::fixtures::*;
use crate::import::read::{Limits, pickle, read};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{Cursor, Read};
use std::time::{Duration, Instant};

/// Far longer than any of these takes on a loaded machine, far shorter than a hang.
const MOST_PER_CASE: Duration = Duration::from_secs(5);

fn mutated(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..5) {
        let place = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[place] ^= 1 << rng.random_range(0..8),
            1 => bytes[place] = rng.random(),
            // Opcodes that push, copy, recall and close.
            2 => bytes[place] = *b"(0122hqRtbsuae}].\x81\x85\x94".get(rng.random_range(0..20usize)).unwrap_or(&b'('),
            _ => {
                let length = rng.random_range(1..=16.min(bytes.len() - place));
                let piece = bytes[place..place + length].to_vec();
                bytes.splice(place..place, piece);
            }
        }
    }
    bytes
}

fn small_pickle() -> Vec<u8> {
    let pickle = Pickle::new().dict().raw(b"q\x00").text("state_dict").raw(b"q\x01").dict().raw(b"q\x02");
    let pickle = pickle.text("a").tensor("FloatStorage", "0", 0, &[2, 2], &[2, 1]).raw(b"q\x03").set();
    let pickle = pickle.text("b").tensor("HalfStorage", "1", 1, &[3], &[2]).raw(b"q\x04").set();
    pickle.text("inner").dict().text("c").raw(b"h\x03").set().set().set().stop()
}

#[test]
fn damaged_pickles_in_sound_archives() {
    let pickle = small_pickle();
    let storages: [(&str, &[u8]); 2] = [("0", &[7; 16]), ("1", &[3; 16])];
    assert_eq!(read(Cursor::new(archive_of(&pickle, &storages)), &Limits::default()).unwrap().tensors.len(), 3);
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut still_read = 0;
    for case in 0..6000 {
        let file = archive_of(&mutated(&pickle, &mut rng), &storages);
        let started = Instant::now();
        match read(Cursor::new(file), &Limits::default()) {
            Ok(contents) => still_read += usize::from(!contents.tensors.is_empty()),
            Err(error) => assert!(!error.to_string().contains('\n'), "case {case}: {error}"),
        }
        assert!(started.elapsed() < MOST_PER_CASE, "case {case} took {:?}", started.elapsed());
    }
    // Damage inside a name or a number leaves a readable file; at either end of the range the test would prove nothing.
    assert!((100..5000).contains(&still_read), "{still_read} of 6000 were still read");
}

#[test]
fn damaged_torchscript_pickles() {
    let archive = std::fs::File::open(golden("mini_clip_torchscript_fp16.pt")).unwrap();
    let mut zip = zip::ZipArchive::new(archive).unwrap();
    let mut bytes = Vec::new();
    zip.by_name("mini_clip_torchscript_fp16/data.pkl").unwrap().read_to_end(&mut bytes).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for case in 0..2000 {
        let started = Instant::now();
        let _ = pickle::parse(&mutated(&bytes, &mut rng), &Limits::default());
        assert!(started.elapsed() < MOST_PER_CASE, "case {case} took {:?}", started.elapsed());
    }
}

#[test]
fn damaged_archives_and_safetensors() {
    let safetensors = safetensors_of([("w".to_string(), &ndarray::ArrayD::zeros(ndarray::IxDyn(&[4])))]);
    for (seed, bytes) in [(13, archive_of(&small_pickle(), &[("0", &[7; 16]), ("1", &[3; 16])])), (14, safetensors)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for case in 0..4000 {
            let started = Instant::now();
            let _ = read(Cursor::new(mutated(&bytes, &mut rng)), &Limits::default());
            assert!(started.elapsed() < MOST_PER_CASE, "case {case} took {:?}", started.elapsed());
        }
    }
}
