//! Ed25519 over the manifest's bytes.

use crate::digest::{from_hex, to_hex};
use crate::error::Problem;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

pub(super) fn sign(manifest: &[u8], key: &SigningKey) -> [u8; 64] {
    key.sign(manifest).to_bytes()
}

/// The key's public half, as the manifest names it.
pub(super) fn name(key: &SigningKey) -> String {
    to_hex(key.verifying_key().as_bytes())
}

pub(super) fn verify(manifest: &[u8], signature: &[u8], key: &VerifyingKey) -> Result<(), Problem> {
    let signature = Signature::from_slice(signature).map_err(|_| Problem::WrongSignature)?;
    // The strict rule refuses keys of small order, under which one signature fits many messages.
    key.verify_strict(manifest, &signature).map_err(|_| Problem::WrongSignature)
}

/// As [`verify`], with the key that the manifest itself names.
pub(super) fn verify_named(manifest: &[u8], signature: &[u8], key: &str) -> Result<(), Problem> {
    let key = from_hex(key).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).ok_or(Problem::WrongSignature)?;
    verify(manifest, signature, &key)
}
