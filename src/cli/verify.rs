//! `causalclipseg verify`: checks that a bundle is complete, who signed it, and that this CPU computes it correctly.

use super::{Failure, model_source, say};
use causalclipseg::bundle::VerifyingKey;
use causalclipseg::{Model, ModelOptions};
#[cfg(feature = "onnx")]
use causalclipseg::{
    ModelFile,
    onnx::{OnnxFile, OnnxNetwork},
};
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
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = model_source::open(arguments.bundle.as_deref())?;
    #[cfg(feature = "onnx")]
    if let ModelFile::Onnx(onnx) = &file {
        return verify_interchange(onnx, arguments);
    }
    let Some(bundle) = file.bundle() else { return Ok(()) };
    bundle.verify_integrity()?;
    say(format!("integrity   ok, sha256 {}", bundle.sha256()))?;
    match (&arguments.public_key, &bundle.manifest().signed_by) {
        (Some(path), _) => {
            bundle.verify_signature(&read_key(path)?)?;
            say("signature   ok")?;
        }
        (None, Some(key)) => say(format!("signature   by {key}, not checked: pass --public-key"))?,
        (None, None) => say("signature   none")?,
    }
    let model = Model::from_file(file.clone(), ModelOptions::default())?;
    match model.self_test()? {
        Some(deviation) => say(format!("self-test   ok, logits within {deviation:.1e} of the packing machine's"))?,
        None => say("self-test   the bundle has none")?,
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
