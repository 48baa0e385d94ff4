//! The manifest: a bundle's description of its model, and the positions of its parts and tensors.

use crate::digest::{Sha256, from_hex};
use crate::error::Problem;
use crate::input::{Fit, Normalisation};
use crate::provenance::Provenance;
use serde::{Deserialize, Serialize};

/// The largest side of an input image, in pixels.
pub const MAX_INPUT_SIZE: usize = 4096;

/// The one range of a threshold, in files as in options: above 0 and below 1. At either limit, all pixels would be
/// lesion, or none.
pub fn is_threshold(value: f32) -> bool {
    // Not `!(value <= 0.0)`: NaN is refused too.
    value > 0.0 && value < 1.0
}

/// A bundle's manifest, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The packer's description of the model.
    pub model: ModelDescription,
    /// How most of the weights are stored.
    pub precision: Precision,
    /// The number of weights that the graph reads.
    pub parameters: u64,
    /// The Ed25519 public key, in hexadecimal, of the signature at the file's end; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The parts of the file, in their order.
    pub parts: Vec<Part>,
    /// The content of the part `weights`.
    pub tensors: Vec<TensorEntry>,
}

/// The packer's description of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelDescription {
    /// The name, for people, and in results.
    pub name: String,
    /// The edition: `rn101`, `rn50` or `tiny`.
    pub edition: String,
    /// The side of the square input, in pixels; a multiple of 32.
    pub input_size: usize,
    /// The normalisation of its input.
    pub normalisation: Normalisation,
    /// How a frame fills its input.
    pub fit: Fit,
    /// The probability above which a pixel belongs to the lesion, in (0, 1).
    pub threshold: f32,
    /// Whether the weights were ever trained; an untrained model's masks mean nothing.
    pub trained: bool,
    /// Multiply-accumulates of one image with one cached prompt, in 10⁹.
    pub gmac: f64,
    /// The origin of the model: `data`, `commit`, `seed` and the like.
    #[serde(default)]
    pub provenance: Provenance,
    /// The quantiser's record of its calibration, if the model was quantised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<serde_json::Value>,
}

/// How most of the weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, computed in 32 bits on a CPU.
    F16,
    /// 8-bit integers.
    Int8,
}

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The name: `graph`, `tokenizer`, `weights` or `self_test`.
    pub name: String,
    /// The offset from the first aligned byte after the manifest.
    pub offset: u64,
    /// Its length, in bytes.
    pub bytes: u64,
    /// The SHA-256 sum of the bytes as they are stored.
    pub sha256: Sha256,
    /// How the bytes are compressed; only the tokenizer's are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The offset of the table of tokens in the part `tokenizer`, a multiple of 64: what precedes it is the compressed
    /// tokenizer.json. Absent where there is none, and in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_table: Option<u64>,
    /// Sums of equal stretches of the part `weights`, which several threads compare. Absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretches: Option<Stretches>,
}

/// Sums of a part's stretches, which cover all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretches {
    /// The length of each, in bytes; the last one may be shorter.
    pub bytes: u64,
    /// The SHA-256 sum of each, in order.
    pub sha256: Vec<Sha256>,
}

/// How a part of the file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// zlib, RFC 1950.
    Zlib,
}

/// A tensor of the `weights` part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// The name in the graph, or in another tensor's quantisation.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The extents, outermost first.
    pub shape: Vec<usize>,
    /// The offset from the start of the `weights` part.
    pub offset: u64,
    /// Its length, in bytes.
    pub bytes: u64,
    /// The scale and zero point of its integers; absent for floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<Quantisation>,
    /// How the elements are ordered; row-major where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packing: Option<Packing>,
}

/// An order of a tensor's elements other than row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// The kernels' order (see [`causalclipseg_kernels::conv`]), for a weight of out x in or out x in x kernel x kernel
    /// in i8 or f32. Taps are row by row; in i8 the inputs of each tap are padded to a multiple of four, and the i32
    /// tensor `<name>.sums` has the sum of each output's stored weights.
    Blocked,
}

/// The value of stored integers: (stored - zero_point) * scale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantisation {
    /// The f32 tensor with the scale of each index of the first axis, or one for all.
    pub scale: String,
    /// The integer that represents zero.
    #[serde(default)]
    pub zero_point: i32,
}

/// The type of a tensor's elements, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit signed integers.
    I8,
    /// 8-bit unsigned integers.
    U8,
    /// 32-bit signed integers.
    I32,
}

impl Dtype {
    /// The number of bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 => 2,
            Dtype::I8 | Dtype::U8 => 1,
        }
    }

    /// Whether the elements are integers.
    pub fn is_integer(self) -> bool {
        matches!(self, Dtype::I8 | Dtype::U8 | Dtype::I32)
    }
}

impl Manifest {
    /// Checks the manifest's description of the model; the layout checks the positions of its parts.
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
    /// Checks the numbers; fails with the reason.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        let Normalisation { mean, std } = self.normalisation;
        if self.input_size == 0 || !self.input_size.is_multiple_of(32) || self.input_size > MAX_INPUT_SIZE {
            return Err(format!(
                "an input size of {} (a multiple of 32 up to {MAX_INPUT_SIZE} is needed)",
                self.input_size
            ));
        }
        if !is_threshold(self.threshold) {
            return Err(format!("a threshold of {} (between 0 and 1 is needed)", self.threshold));
        }
        if !mean.iter().all(|value| value.is_finite()) || !std.iter().all(|value| value.is_finite() && *value > 0.0) {
            return Err(format!("a normalisation by mean {mean:?}, std {std:?}"));
        }
        if let Fit::Letterbox { padding } = self.fit
            && !self.fit.is_valid()
        {
            return Err(format!("a padding of {padding:?} (red, green and blue from 0 to 1 are needed)"));
        }
        if !(self.gmac >= 0.0 && self.gmac.is_finite()) {
            return Err(format!("{} GMAC", self.gmac));
        }
        Ok(())
    }
}
