//! What makes opening fast changes nothing of what is checked: the table of tokens, and the sums of stretches of the weights.

use causalclipseg_bundle::{Bundle, BundleBuilder, BundleError, Check, FORMAT_VERSION, MAGIC, Sha256, SigningKey};
use serde_json::{Value, json};
use std::path::Path;

const TOKENIZER: usize = 1;
const WEIGHTS: usize = 2;

fn shipped() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny.ccs")).unwrap()
}

/// The manifest as JSON, and the bytes that follow it from the first part on.
fn take_apart(file: &[u8]) -> (Value, Vec<u8>) {
    let length = u64::from_le_bytes(file[16..24].try_into().unwrap()) as usize;
    let manifest = serde_json::from_slice(&file[56..56 + length]).unwrap();
    (manifest, file[(56 + length).next_multiple_of(64)..].to_vec())
}

/// A file with this manifest and its correct sum.
fn put_together(manifest: &Value, data: &[u8]) -> Vec<u8> {
    let manifest = manifest.to_string().into_bytes();
    let mut file = MAGIC.to_vec();
    file.extend(FORMAT_VERSION.to_le_bytes());
    file.extend([0; 4]);
    file.extend((manifest.len() as u64).to_le_bytes());
    file.extend(Sha256::of(&manifest).0);
    file.extend(manifest);
    file.resize(file.len().next_multiple_of(64), 0);
    file.extend(data);
    file
}

/// The shipped file with another manifest.
fn forged(forge: impl FnOnce(&mut Value)) -> Result<Bundle, BundleError> {
    let (mut manifest, data) = take_apart(&shipped());
    forge(&mut manifest);
    Bundle::from_bytes(put_together(&manifest, &data))
}

fn range(manifest: &Value, part: usize) -> std::ops::Range<usize> {
    let part = &manifest["parts"][part];
    let start = part["offset"].as_u64().unwrap() as usize;
    start..start + part["bytes"].as_u64().unwrap() as usize
}

/// Bundles are opened from a file with a check, so a changed one is written first.
fn open(file: &[u8], check: Check) -> Result<Bundle, BundleError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.ccs");
    std::fs::write(&path, file).unwrap();
    Bundle::open_with(&path, check)
}

#[test]
fn the_shipped_bundle_has_both() {
    for check in [Check::Everything, Check::EverythingOnTwoThreads, Check::Structure] {
        let bundle = open(&shipped(), check).unwrap();
        let table = bundle.token_table().unwrap();
        assert_eq!((table.start_of_text(), table.end_of_text()), (49_406, 49_407));
        assert!(bundle.manifest().parts[WEIGHTS].stretches.is_some());
        bundle.verify_integrity().unwrap();
    }
}

/// A reader of an earlier version knows neither field, and expands what it finds in the part.
#[test]
fn files_open_without_either() {
    let bundle = forged(|manifest| {
        manifest["parts"][TOKENIZER].as_object_mut().unwrap().remove("token_table").unwrap();
        manifest["parts"][WEIGHTS].as_object_mut().unwrap().remove("stretches").unwrap();
    })
    .unwrap();
    assert!(bundle.token_table().is_none());
    bundle.verify_integrity().unwrap();
    assert_eq!(bundle.tokenizer_json().unwrap(), Bundle::from_bytes(shipped()).unwrap().tokenizer_json().unwrap());
}

#[test]
fn positions_are_checked() {
    let (manifest, _) = take_apart(&shipped());
    let bytes = manifest["parts"][TOKENIZER]["bytes"].as_u64().unwrap();
    for (what, part, field, value) in [
        ("at byte 1 of", TOKENIZER, "token_table", json!(1)),
        ("at byte 18446744073709551552", TOKENIZER, "token_table", json!(u64::MAX - 63)),
        ("table of tokens cannot be", TOKENIZER, "token_table", json!(bytes.next_multiple_of(64))),
        ("table of tokens cannot be", TOKENIZER, "token_table", json!((bytes - 1000) / 64 * 64)),
        ("at byte 0 of", TOKENIZER, "token_table", json!(0)),
        ("only a compressed tokenizer", WEIGHTS, "token_table", json!(0)),
        ("only a compressed tokenizer", TOKENIZER, "compression", Value::Null),
        ("only the weights", TOKENIZER, "stretches", json!({"bytes": 1 << 30, "sha256": ["0".repeat(64)]})),
        ("do not cover", WEIGHTS, "stretches", json!({"bytes": 0, "sha256": ["0".repeat(64)]})),
        ("do not cover", WEIGHTS, "stretches", json!({"bytes": 1 << 20, "sha256": []})),
        ("do not cover", WEIGHTS, "stretches", json!({"bytes": u64::MAX, "sha256": ["0".repeat(64), "0".repeat(64)]})),
    ] {
        let opened = forged(|manifest| manifest["parts"][part][field] = value.clone());
        let error = opened.expect_err(what).to_string();
        assert!(error.contains(what) && !error.contains('\n'), "{field} {value}: `{what}` is not in: {error}");
    }
}

/// Bytes of the first and the last stretch, and at the border of the threads' halves.
#[test]
fn damage_is_noticed_on_any_number_of_threads() {
    let (manifest, data) = take_apart(&shipped());
    let start = shipped().len() - data.len();
    let weights = range(&manifest, WEIGHTS);
    let places = [weights.start, weights.start + (3 << 20) - 1, weights.start + (3 << 20), weights.end - 1];
    for (name, place) in
        places.map(|place| ("weights", place)).into_iter().chain([("tokenizer", range(&manifest, TOKENIZER).end - 1)])
    {
        let mut file = shipped();
        file[start + place] ^= 0x10;
        for check in [Check::Everything, Check::EverythingOnTwoThreads] {
            let error = open(&file, check).unwrap_err().to_string();
            assert!(error.contains(&format!("is damaged: the part `{name}`")), "{check:?} at {place}: {error}");
        }
    }
}

/// Wrong sums are noticed by whoever compares them, and all of them by `verify_integrity`.
#[test]
fn each_sum_counts() {
    let (manifest, data) = take_apart(&shipped());
    for number in 0..manifest["parts"][WEIGHTS]["stretches"]["sha256"].as_array().unwrap().len() {
        let mut manifest = manifest.clone();
        manifest["parts"][WEIGHTS]["stretches"]["sha256"][number] = "0".repeat(64).into();
        let file = put_together(&manifest, &data);
        assert!(open(&file, Check::EverythingOnTwoThreads).is_err(), "{number}");
        let error = open(&file, Check::Everything).unwrap().verify_integrity().unwrap_err().to_string();
        assert!(error.contains("is damaged: the part `weights`"), "{error}");
    }
}

#[test]
fn a_table_of_another_tokenizer_is_noticed() {
    let (mut manifest, mut data) = take_apart(&shipped());
    let part = range(&manifest, TOKENIZER);
    let table = part.start + manifest["parts"][TOKENIZER]["token_table"].as_u64().unwrap() as usize;
    // The token of the byte `a`, in the alphabet of the table.
    data[table + 20 + 2 * usize::from(b'a')] ^= 1;
    manifest["parts"][TOKENIZER]["sha256"] = Sha256::of(&data[part]).to_string().into();
    let bundle = Bundle::from_bytes(put_together(&manifest, &data)).unwrap();
    let error = bundle.verify_integrity().unwrap_err().to_string();
    assert!(error.contains("table of tokens") && error.contains("tokenizer.json"), "{error}");
}

#[test]
fn a_bundle_is_written_again_as_it_was() {
    let old = Bundle::from_bytes(shipped()).unwrap();
    let builder = BundleBuilder::from_bundle(&old).unwrap();
    let new = Bundle::from_bytes(builder.to_bytes().unwrap()).unwrap();
    assert_eq!((new.graph(), new.self_test()), (old.graph(), old.self_test()));
    let (old_manifest, new_manifest) = (old.manifest(), new.manifest());
    assert_eq!((&old_manifest.model, &old_manifest.tensors), (&new_manifest.model, &new_manifest.tensors));
    // Two builds of zlib compress the tokenizer.json differently.
    assert_eq!(old.tokenizer_json().unwrap(), new.tokenizer_json().unwrap());
    assert_eq!(old_manifest.parts[WEIGHTS].stretches, new_manifest.parts[WEIGHTS].stretches);
    let key = SigningKey::from_bytes(&[7; 32]);
    let signed = Bundle::from_bytes(builder.sign_with(key.clone()).to_bytes().unwrap()).unwrap();
    signed.verify_signature(&key.verifying_key()).unwrap();
    assert_eq!(signed.weight_bytes(), old.weight_bytes());
}
