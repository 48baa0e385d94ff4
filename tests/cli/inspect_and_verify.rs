//! `inspect` and `verify`: their output for valid bundles, and for bundles signed with any key.

use super::{causalclipseg, shipped, text, toy};
use causalclipseg::bundle::{SelfTest, SelfTestVector, SigningKey};
use std::fs;
use std::path::Path;

fn printed(arguments: &[&str], path: &Path) -> String {
    let assert = causalclipseg().args(arguments).arg(path).assert().success();
    assert_eq!(text(&assert.get_output().stderr), "");
    text(&assert.get_output().stdout)
}

fn refused(arguments: &[&str], path: &Path) -> String {
    let assert = causalclipseg().args(arguments).arg(path).assert().code(1);
    let error = text(&assert.get_output().stderr);
    assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
    error
}

#[test]
fn inspect_shows_what_the_bundle_holds() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = toy::write(folder.path());
    let table = printed(&["inspect"], &bundle);
    for part in ["toy", "32 x 32", "0.5", "nobody", "sha256", "data"] {
        assert!(table.contains(part), "`{part}` is not in {table}");
    }
    assert!(!table.contains("prompt_conv"));
    let layers = printed(&["inspect", "--layers"], &bundle);
    assert!(layers.contains("prompt_conv") && layers.contains("end_of_text"), "{layers}");

    let json: serde_json::Value = serde_json::from_str(&printed(&["inspect", "--format", "json"], &bundle)).unwrap();
    assert_eq!(json["bytes"], fs::metadata(&bundle).unwrap().len());
    assert_eq!((&json["manifest"]["model"]["name"], &json["layers"]), (&"toy".into(), &serde_json::Value::Null));
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    let layers = printed(&["inspect", "--format", "json", "--layers"], &bundle);
    let layers: serde_json::Value = serde_json::from_str(&layers).unwrap();
    let names: Vec<&str> = layers["layers"].as_array().unwrap().iter().filter_map(|l| l["name"].as_str()).collect();
    assert!(names.contains(&"image") && names.contains(&"pred"), "{names:?}");
}

#[test]
fn the_embedded_model_is_inspected_and_verified_by_default() {
    let output = causalclipseg().args(["inspect", "--format", "json"]).assert().success();
    let embedded = text(&output.get_output().stdout);
    assert_eq!(embedded, printed(&["inspect", "--format", "json"], &shipped()));
    let output = causalclipseg().arg("verify").assert().success();
    let lines = text(&output.get_output().stdout);
    assert!(lines.contains("integrity   ok") && lines.contains("self-test   ok, logits within"), "{lines}");
}

#[test]
fn signatures_are_good_absent_or_another_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let key = SigningKey::from_bytes(&[7; 32]);
    let (public, hexadecimal, other, short) = (path("key"), path("key.hex"), path("other"), path("short"));
    let digits: String = key.verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&public, key.verifying_key().to_bytes()).unwrap();
    fs::write(&hexadecimal, format!("{digits}\n")).unwrap();
    fs::write(&other, SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes()).unwrap();
    fs::write(&short, "1234").unwrap();
    let (plain, signed) = (toy::write(folder.path()), path("signed.ccs"));
    toy::builder().sign_with(key).write(&signed).unwrap();

    assert!(printed(&["verify"], &plain).contains("signature   none"));
    let unchecked = printed(&["verify"], &signed);
    assert!(unchecked.contains(&format!("signature   by {digits}, not checked")), "{unchecked}");
    for key in [&public, &hexadecimal] {
        let lines = printed(&["verify", "--public-key", key.to_str().unwrap()], &signed);
        assert!(lines.contains("signature   ok") && lines.contains("self-test"), "{lines}");
    }
    let with = |key: &Path, bundle: &Path| refused(&["verify", "--public-key", key.to_str().unwrap()], bundle);
    assert!(with(&other, &signed).contains("signed by another key"));
    assert!(with(&public, &plain).contains("is not signed"));
    assert!(with(&short, &signed).contains("neither 32 bytes nor 64 hexadecimal digits"));
    assert!(with(&path("none"), &signed).contains("cannot read the public key"));

    // Changed after signing, with every checksum correct.
    let changed = toy::forged(&fs::read(&signed).unwrap(), |manifest| manifest["model"]["threshold"] = 0.25.into());
    fs::write(&signed, changed).unwrap();
    assert!(with(&public, &signed).contains("wrong signature"));
}

#[test]
fn a_self_test_that_fails_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("wrong.ccs");
    let vector = SelfTestVector::record(1, toy::SIZE, "dark", 97, &[1.0; toy::SIZE * toy::SIZE], 1e-3);
    toy::builder().self_test(SelfTest { vectors: vec![vector] }).write(&bundle).unwrap();
    assert!(refused(&["verify"], &bundle).contains("do not use this model on this machine"));
    let vector = SelfTestVector::record(1, toy::SIZE, " ", 97, &[1.0; toy::SIZE * toy::SIZE], 1e-3);
    toy::builder().self_test(SelfTest { vectors: vec![vector] }).write(&bundle).unwrap();
    assert!(refused(&["verify"], &bundle).contains("the prompt is empty"));
}

#[test]
fn a_report_of_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let read = || -> serde_json::Value { serde_json::from_slice(&fs::read(&report).unwrap()).unwrap() };
    let words = ["verify", "--report", report.to_str().unwrap()];
    let said = printed(&words, &shipped());
    assert!(said.contains("self-test   ok"), "{said}");
    let found = read();
    assert_eq!((&found["result"], &found["reason"]), (&"passed".into(), &serde_json::Value::Null));
    assert_eq!((&found["integrity"], &found["signature"]), (&"ok".into(), &"none".into()));
    assert!(found["self_test"].as_str().unwrap().starts_with("ok, logits within"), "{found}");
    let latency = &found["latency_ms"];
    let [p50, p99, max] = ["p50", "p99", "max"].map(|name| latency[name].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max && latency["frames"] == 50, "{found}");
    assert_eq!(found["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(found["machine"]["architecture"], std::env::consts::ARCH);
    assert!(found["isa"].is_string() && found["written_at_unix_s"].as_u64().unwrap() > 1_700_000_000, "{found}");

    // A device that fails has its report, too.
    let bundle = folder.path().join("wrong.ccs");
    let vector = SelfTestVector::record(1, toy::SIZE, "dark", 97, &[1.0; toy::SIZE * toy::SIZE], 1e-3);
    toy::builder().self_test(SelfTest { vectors: vec![vector] }).write(&bundle).unwrap();
    refused(&words, &bundle);
    let found = read();
    assert_eq!(
        (&found["result"], &found["integrity"], &found["self_test"]),
        (&"failed".into(), &"ok".into(), &serde_json::Value::Null)
    );
    assert!(found["reason"].as_str().unwrap().contains("do not use this model"), "{found}");
    let nowhere = folder.path().join("no/such/report.json");
    assert!(refused(&["verify", "--report", nowhere.to_str().unwrap()], &shipped()).contains("no/such"));
}
