//! `causalclipseg verify`: checks that a bundle is complete, who signed it, and that this CPU computes it correctly.

mod report;

use super::{Failure, model_source, say};
use causalclipseg::bundle::VerifyingKey;
#[cfg(feature = "onnx")]
use causalclipseg::onnx::{OnnxFile, OnnxNetwork};
use causalclipseg::{Model, ModelFile, ModelOptions};
use report::Report;
use std::path::{Path, PathBuf};
#[cfg(feature = "onnx")]
use std::sync::Arc;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Bundle, or exported model.onnx, to check [default: the model inside this command]
    bundle: Option<PathBuf>,
    /// Require a signature by this Ed25519 public key: a file of 32 bytes, or of 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Write what was found to a JSON file, with this machine, versions and latency; also where a check fails
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = model_source::open(arguments.bundle.as_deref())?;
    #[cfg(feature = "onnx")]
    if let ModelFile::Onnx(onnx) = &file {
        if arguments.report.is_some() {
            return Err("a report is of a bundle: pack the interchange file first".into());
        }
        return verify_interchange(onnx, arguments);
    }
    if arguments.report.is_none() {
        return check(&file, arguments, &mut Report::default());
    }
    let mut report = Report::default();
    let outcome = check(&file, arguments, &mut report);
    let outcome = outcome.and_then(|()| report.measure(&file));
    report.write(arguments.report.as_deref(), outcome.as_ref().err())?;
    outcome
}

/// Checks a bundle, prints the results, and records them.
fn check(file: &ModelFile, arguments: &Arguments, report: &mut Report) -> Result<(), Failure> {
    let Some(bundle) = file.bundle() else { return Ok(()) };
    report.model(file.description(), bundle.sha256());
    bundle.verify_integrity()?;
    report.integrity = Some("ok");
    say(format!("integrity   ok, sha256 {}", bundle.sha256()))?;
    match (&arguments.public_key, &bundle.manifest().signed_by) {
        (Some(path), _) => {
            bundle.verify_signature(&read_key(path)?)?;
            report.signature = Some("ok".into());
            say("signature   ok")?;
        }
        (None, Some(key)) => {
            report.signature = Some(format!("by {key}, not checked"));
            say(format!("signature   by {key}, not checked: pass --public-key"))?;
        }
        (None, None) => {
            report.signature = Some("none".into());
            say("signature   none")?;
        }
    }
    let model = Model::from_file(file.clone(), ModelOptions::default())?;
    match model.self_test()? {
        Some(deviation) => {
            report.self_test = Some(format!("ok, logits within {deviation:.1e} of the packing machine's"));
            say(format!("self-test   ok, logits within {deviation:.1e} of the packing machine's"))?;
        }
        None => {
            report.self_test = Some("the bundle has none".into());
            say("self-test   the bundle has none")?;
        }
    }
    Ok(())
}

/// Interchange files record no checksums and no signature. Opening one compared the engine's results with plain
/// tract's.
#[cfg(feature = "onnx")]
fn verify_interchange(file: &Arc<OnnxFile>, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.public_key.is_some() {
        return Err("interchange files have no signature; pack the checkpoint with --sign for one".into());
    }
    say(format!("integrity   an interchange file records no checksums; sha256 {}", file.sha256()))?;
    say("signature   none")?;
    Model::from_file(ModelFile::Onnx(file.clone()), ModelOptions::default())?;
    match file.network() {
        OnnxNetwork::Known { deviation, .. } => {
            say(format!("self-test   ok, logits within {deviation:.1e} of plain tract's"))
        }
        OnnxNetwork::AsItIs { reason, .. } => {
            say(format!("self-test   none, plain tract runs the file itself: {reason}"))
        }
    }
}

fn read_key(path: &Path) -> Result<VerifyingKey, Failure> {
    let refuse = |reason: String| format!("cannot read the public key {}: {reason}", path.display());
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let key =
        <[u8; 32]>::try_from(bytes.as_slice()).ok().or_else(|| from_hex(std::str::from_utf8(&bytes).ok()?.trim()));
    let key = key.ok_or_else(|| refuse("it holds neither 32 bytes nor 64 hexadecimal digits".into()))?;
    Ok(VerifyingKey::from_bytes(&key).map_err(|error| refuse(error.to_string()))?)
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}
