//! Each file is refused with one line of what, why and what to do.

use super::fixtures::*;
use crate::import::{ImportOptions, import};
use causalclipseg::graph::Weights;
use ndarray::{ArrayD, IxDyn};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zip::CompressionMethod;

fn refusal_of(path: PathBuf) -> String {
    let message = import(&[path], &ImportOptions::default()).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn refusal(bytes: &[u8]) -> String {
    let started = Instant::now();
    let message = refusal_of(file_of(bytes).path().into());
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}: {message}", started.elapsed());
    message
}

fn assert_refused(bytes: &[u8], why: &str) {
    let message = refusal(bytes);
    assert!(message.contains(why), "expected `{why}` in: {message}");
}

fn refusal_of_weights(change: impl FnOnce(&mut Weights)) -> String {
    let mut weights = mini_weights();
    change(&mut weights);
    let message = refusal(&state_dict(&weights));
    assert_eq!(message, refusal(&safetensors_of(weights.iter().map(|(name, value)| (name.clone(), value)))));
    message
}

#[test]
fn missing_files_and_folders() {
    assert!(refusal_of("no/such/file.pt".into()).starts_with("no/such/file.pt cannot be read: No such file"));
    assert!(refusal_of(std::env::temp_dir()).contains("cannot be read"));
    let message = import(&[], &ImportOptions::default()).unwrap_err().to_string();
    assert!(message.contains("no file is given"), "{message}");
}

#[test]
fn files_of_other_kinds() {
    assert_refused(b"", "is empty");
    assert_refused(b"these are weights, in words\n", "neither a torch archive");
    assert_refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither a torch archive");
    assert_refused(&Pickle::new().dict().stop(), "bare pickle");
    assert_refused(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "before 1.6");
    assert_refused(&zip_of(&[("a.txt", b"text")], CompressionMethod::Stored), "no `data.pkl`");
    assert_refused(&zip_of(&[], CompressionMethod::Stored), "no `data.pkl`");
    assert_refused(&archive(&Pickle::new().dict(), &[]), "contains no tensors");
    assert_refused(&safetensors_of([]), "contains no tensors");
}

/// Random bytes behind each format's first bytes.
#[test]
fn noise() {
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    for start in [&b""[..], b"PK\x03\x04", b"PK\x05\x06", b"\x10\0\0\0\0\0\0\0{"] {
        for _ in 0..50 {
            let bytes: Vec<u8> = start.iter().copied().chain((0..2000).map(|_| noise())).collect();
            refusal(&bytes);
        }
    }
}

#[test]
fn truncated_files() {
    for name in ["mini_state_dict.pt", "mini_clip_torchscript_fp16.pt", "mini_clip_openai_names_fp16.safetensors"] {
        let bytes = std::fs::read(golden(name)).unwrap();
        let places = (1..40).map(|part| bytes.len() * part / 40);
        for place in places.chain([1, 4, 7, 8, 9, 30, 64, bytes.len() - 1]) {
            let message = refusal(&bytes[..place]);
            assert!(message.contains("intact") || message.contains("neither"), "{name} up to {place}: {message}");
        }
    }
}

/// The zip directory is complete, but the pickle inside ends early.
#[test]
fn truncated_pickles() {
    let pickle = Pickle::new().dict().text("w").tensor("FloatStorage", "0", 0, &[1], &[1]).set().stop();
    for place in 0..pickle.len() {
        assert_refused(&archive_of(&pickle[..place], &[("0", &[0; 4])]), "damaged or hostile pickle");
    }
}

#[test]
fn flipped_bytes_fail_their_checksum() {
    let mut bytes = archive(
        &Pickle::new().dict().text("w").tensor("FloatStorage", "0", 0, &[4], &[1]).set(),
        &[("0", b"0123456789abcdef")],
    );
    let place = bytes.windows(4).position(|window| window == b"4567").unwrap();
    bytes[place] ^= 1;
    assert_refused(&bytes, "not an intact zip archive");
}

#[test]
fn huge_claims() {
    let tensor = |shape: &[usize], strides: &[usize], offset| {
        archive(
            &Pickle::new().dict().text("w").tensor("FloatStorage", "0", offset, shape, strides).set(),
            &[("0", &[0; 64])],
        )
    };
    assert_refused(&tensor(&[1 << 40], &[1], 0), "number of elements");
    assert_refused(&tensor(&[1 << 40, 1 << 40], &[0, 0], 0), "number of elements");
    assert_refused(&tensor(&[17], &[1], 0), "reaches past its storage of 16 elements");
    assert_refused(&tensor(&[1], &[1], i64::MAX), "reaches past");
    assert_refused(&tensor(&[1], &[1], -1), "not negative");
    assert_refused(&tensor(&[1 << 20], &[0], 0), "overlap");
    assert_refused(&tensor(&[1; 9], &[1; 9], 0), "more than 8 dimensions");
    let text = Pickle::new().raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_refused(&archive(&text, &[]), "ends too early");
    let mut header = (1u64 << 60).to_le_bytes().to_vec();
    header.extend_from_slice(b"{}");
    assert_refused(&header, "safetensors");
    let past_the_end = br#"{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let mut file = (past_the_end.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(past_the_end);
    assert_refused(&file, "safetensors");
}

#[test]
fn zip_bombs() {
    let zeros = vec![0; 64 << 20];
    let pickle = Pickle::new().dict().text("w").tensor("FloatStorage", "0", 0, &[1 << 24], &[1]).set().stop();
    let entries = [("net/data.pkl", pickle.as_slice()), ("net/data/0", &zeros)];
    assert_refused(&zip_of(&entries, CompressionMethod::Deflated), "zip bomb");
    let entries = [("net/data.pkl", zeros.as_slice())];
    assert_refused(&zip_of(&entries, CompressionMethod::Deflated), "over a limit");
}

#[test]
fn cycles() {
    let with_tensor = Pickle::new().dict().raw(b"q\x00").text("w").tensor("FloatStorage", "0", 0, &[1], &[1]).set();
    let dict = with_tensor.text("self").raw(b"h\x00").set();
    assert_refused(&archive(&dict, &[("0", &[0; 4])]), "contains itself, under `self`");
    let object = Pickle::new().global("a", "B").raw(b")\x81q\x00").dict().text("me").raw(b"h\x00").set().raw(b"b");
    assert_refused(&archive(&object, &[]), "contains itself");
    // Lists and tuples have no tensors by name, so a cycle of them is harmless.
    assert_refused(&archive(&Pickle::new().raw(b"]q\x00h\x00a"), &[]), "contains no tensors");
}

#[test]
fn deep_and_wide_nesting() {
    let deep = (0..100_000).fold(Pickle::new(), |pickle, _| pickle.dict().text("a"));
    let deep = (0..99_999).fold(deep.dict().set(), |pickle, _| pickle.set());
    assert_refused(&archive(&deep, &[]), "the nesting is");
    assert_refused(&archive(&Pickle::new().raw(&vec![b']'; 2 << 20]), &[]), "values on the stack");
    // Forty dictionaries, each with the one before twice: 2^40 names.
    let laughs = (1..40u8).fold(Pickle::new().dict().raw(b"q\x00"), |pickle, level| {
        let below = [b'h', level - 1];
        pickle.dict().raw(&[b'q', level]).text("a").raw(&below).set().text("b").raw(&below).set()
    });
    assert_refused(&archive(&laughs, &[]), "the number of values");
    // One list of pairs, copied into a new dictionary by every three bytes.
    let pairs = (0..1000).fold(Pickle::new().raw(b"("), |pickle, _| pickle.raw(b"K\x00K\x00\x86")).raw(b"t\x85q\x00");
    let pairs = pairs.global("collections", "OrderedDict").raw(b"q\x01");
    let copies = (0..10_000).fold(pairs, |pickle, _| pickle.raw(b"h\x01h\x00R0"));
    assert_refused(&archive(&copies, &[]), "entries in containers");
}

#[test]
fn weights_that_do_not_fit() {
    let message = refusal_of_weights(|weights| {
        weights.remove("neck_ad.aggr.1.bias");
        weights.remove("backbone.visual.layer2.0.conv2.weight");
        weights.insert("proj.vis.4.bias".into(), ArrayD::zeros(IxDyn(&[7])));
    });
    for part in [
        "2 tensors are missing",
        "neck_ad.aggr.1.bias",
        "backbone.visual.layer2.0.conv2.weight",
        "1 tensors have another shape: proj.vis.4.bias is [7], not [16]",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let message = refusal_of_weights(|weights| {
        let mut bias = ArrayD::zeros(IxDyn(&[16]));
        bias[[3]] = f32::NAN;
        weights.insert("proj.vis.4.bias".into(), bias);
        weights.insert("proj.vis.3.1.bias".into(), ArrayD::from_elem(IxDyn(&[16]), f32::INFINITY));
    });
    assert!(
        message.contains("2 tensors hold NaN or infinite numbers: proj.vis.3.1.bias, proj.vis.4.bias"),
        "{message}"
    );
    let message = refusal_of_weights(|weights| {
        weights.remove("backbone.visual.attnpool.positional_embedding");
    });
    assert!(message.contains("`backbone.visual.attnpool.positional_embedding` is missing"), "{message}");
    let message = refusal_of_weights(|weights| {
        weights.insert("backbone.visual.attnpool.positional_embedding".into(), ArrayD::zeros(IxDyn(&[7, 256])));
    });
    assert!(message.contains("position table has 7 rows"), "{message}");
    let message = refusal_of_weights(|weights| {
        weights.insert("backbone.visual.conv3.weight".into(), ArrayD::zeros(IxDyn(&[8])));
    });
    assert!(message.contains("4 dimensions are needed"), "{message}");
    let message = refusal_of_weights(|weights| {
        weights.insert("visual.class_embedding".into(), ArrayD::zeros(IxDyn(&[8])));
    });
    assert!(message.contains("vision transformer"), "{message}");
    let message = refusal_of_weights(|weights| *weights = [("w".to_string(), ArrayD::zeros(IxDyn(&[1])))].into());
    assert!(message.contains("no CLIP ResNet"), "{message}");
}

/// A block's number comes from the file; a huge one must not create a huge network.
#[test]
fn absurd_depths() {
    let message = refusal_of_weights(|weights| {
        let name = format!("backbone.transformer.resblocks.{}.ln_1.bias", usize::MAX);
        weights.insert(name, ArrayD::zeros(IxDyn(&[64])));
    });
    assert!(message.contains("the text depth"), "{message}");
}

#[test]
fn tensors_that_cannot_be_read() {
    let tensor = |class, key| Pickle::new().dict().text("w").tensor(class, key, 0, &[1], &[1]).set();
    assert_refused(
        &archive(&tensor("QInt8Storage", "0"), &[("0", &[0; 4])]),
        "`w` that cannot be read: its dtype is `torch.QInt8Storage`",
    );
    assert_refused(&archive(&tensor("FloatStorage", "1"), &[("0", &[0; 4])]), "no storage `1`");
    assert_refused(&archive(&tensor("FloatStorage", "0"), &[("0", &[0; 3])]), "storage of 0 elements");
    let pickle = tensor("FloatStorage", "0").stop();
    let entries: [(&str, &[u8]); 3] = [("net/data.pkl", &pickle), ("net/byteorder", b"big"), ("net/data/0", &[0; 4])];
    assert_refused(&zip_of(&entries, CompressionMethod::Stored), "big-endian");
    let header = br#"{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(&[0; 4]);
    assert_refused(&file, "its dtype is F8_E4M3");
}
