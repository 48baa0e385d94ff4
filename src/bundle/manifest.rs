//! The manifest: what a bundle says about its model, and where its parts and tensors lie.

use super::digest::{Sha256, from_hex};
use super::error::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The largest edge of an input image, in pixels.
pub const MAX_INPUT_SIZE: usize = 4096;

/// A bundle's manifest, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub model: ModelDescription,
    pub precision: Precision,
    /// Numbers in the weights that the graph reads.
    pub parameters: u64,
    /// The Ed25519 public key, in hexadecimal, of the signature at the file's end; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    pub parts: Vec<Part>,
    pub tensors: Vec<TensorEntry>,
}

/// What the packer says of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelDescription {
    pub name: String,
    /// `rn101`, `rn50` or `tiny`.
    pub edition: String,
    /// Edge of the square input, in pixels; a multiple of 32.
    pub input_size: usize,
    pub normalisation: Normalisation,
    pub fit: Fit,
    /// The probability from which a pixel belongs to the lesion, in (0, 1).
    pub threshold: f32,
    /// Whether the weights were ever trained; an untrained model's masks mean nothing.
    pub trained: bool,
    /// Multiply-accumulates of one image with one cached prompt, in 10⁹.
    pub gmac: f64,
    /// Where the model comes from: `data`, `commit`, `seed` and the like.
    #[serde(default)]
    pub provenance: BTreeMap<String, String>,
    /// What the quantiser recorded of its calibration, if the model was quantised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<serde_json::Value>,
}

/// (x - mean) / std for each of red, green, blue, with x in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Normalisation {
    /// CLIP's own, which all published weights were trained with.
    pub const CLIP: Self =
        Self { mean: [0.481_454_66, 0.457_827_5, 0.408_210_73], std: [0.268_629_54, 0.261_302_6, 0.275_777_1] };
}

/// How an image of another shape becomes the square input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Each edge is scaled on its own.
    Stretch,
    /// Scaled by one factor and centred; the rest is filled with this colour (red, green, blue).
    Letterbox { padding: [u8; 3] },
}

/// How most of the weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    F32,
    F16,
    Int8,
}

/// A stretch of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// From the first aligned byte after the manifest.
    pub offset: u64,
    pub bytes: u64,
    pub sha256: Sha256,
}

/// A tensor of the `weights` part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// From the start of the `weights` part.
    pub offset: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Quantisation>,
}

/// How stored integers become numbers: (stored - zero_point) * scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantisation {
    /// The f32 tensor that holds the scale of each index of the first axis, or one for all.
    pub scale: String,
    #[serde(default)]
    pub zero_point: i32,
}

/// The type of a tensor's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    F32,
    F16,
    I8,
    U8,
    I32,
}

impl Dtype {
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 => 2,
            Dtype::I8 | Dtype::U8 => 1,
        }
    }

    pub fn is_integer(self) -> bool {
        matches!(self, Dtype::I8 | Dtype::U8 | Dtype::I32)
    }
}

impl Manifest {
    /// Checks what the manifest says of the model; where its parts lie is the layout's to check.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.model.check().map_err(Problem::Manifest)?;
        match &self.signed_by {
            Some(key) if from_hex(key).is_none() => {
                Err(Problem::Manifest(format!("`signed_by` is `{key}`, not a public key of 64 digits")))
            }
            _ => Ok(()),
        }
    }
}

impl ModelDescription {
    fn check(&self) -> Result<(), String> {
        let Normalisation { mean, std } = self.normalisation;
        if self.input_size == 0 || !self.input_size.is_multiple_of(32) || self.input_size > MAX_INPUT_SIZE {
            return Err(format!(
                "an input size of {} (a multiple of 32 up to {MAX_INPUT_SIZE} is needed)",
                self.input_size
            ));
        }
        // Not `threshold <= 0.0`: a NaN must be refused too.
        if !(self.threshold > 0.0 && self.threshold < 1.0) {
            return Err(format!("a threshold of {} (between 0 and 1 is needed)", self.threshold));
        }
        if !mean.iter().all(|value| value.is_finite()) || !std.iter().all(|value| value.is_finite() && *value > 0.0) {
            return Err(format!("a normalisation by mean {mean:?}, std {std:?}"));
        }
        if !(self.gmac >= 0.0 && self.gmac.is_finite()) {
            return Err(format!("{} GMAC", self.gmac));
        }
        Ok(())
    }
}
