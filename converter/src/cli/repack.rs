//! `repack`: writes a bundle again in the present form of the format.

use super::Failure;
use super::pack::read_signing_key;
use causalclipseg::bundle::{Bundle, BundleBuilder};
use std::path::PathBuf;

/// Write a bundle again in the present form of the format, for example with the table of tokens that makes it open faster
///
/// The network, its weights, its description and its self-test stay the same. A signature is not kept, since the file is another:
/// sign again with --sign.
#[derive(Debug, clap::Args)]
pub struct Repack {
    /// Bundle to read
    #[arg(value_name = "BUNDLE")]
    input: PathBuf,
    /// Sign with this Ed25519 private key: a file of 32 bytes
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Bundle to write; may be the one that is read
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
}

impl Repack {
    pub fn run(self) -> Result<(), Failure> {
        let signing_key = self.sign.as_deref().map(read_signing_key).transpose()?;
        let bundle = Bundle::open(&self.input)?;
        if bundle.manifest().signed_by.is_some() && signing_key.is_none() {
            let input = self.input.display();
            return Err(format!("{input} is signed and the new file would not be; pass a key with --sign").into());
        }
        let mut builder = BundleBuilder::from_bundle(&bundle)?;
        drop(bundle);
        if let Some(key) = signing_key {
            builder = builder.sign_with(key);
        }
        builder.write(&self.output)?;
        let bytes = std::fs::metadata(&self.output).map_or(0, |file| file.len());
        super::say(format!("{} written, {:.1} MB", self.output.display(), bytes as f64 / 1e6))
    }
}
