//! The results of quantisation, for people and for the bundle's manifest.

use super::comparison::Comparison;
use super::measure::Deviation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The signal-to-noise ratio below which layers are named, in dB.
pub const LOW_SQNR_DB: f64 = 20.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The form, `published` or `rewritten`.
    pub form: String,
    pub weight_bits: u32,
    /// The weights whose neighbours are not limited (see [`super::PairLimit`]); absent if none of eight bits are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlimited_pairs: Option<Vec<String>>,
    /// The number of images that scales were chosen on, and of those that choices were measured on.
    pub calibration_images: usize,
    pub held_out_images: usize,
    /// The number of different sentences among both.
    pub prompts: usize,
    /// The number of pairs of convolutions that were equalised; zero where it did not help.
    pub equalised_pairs: usize,
    pub bias_correction: bool,
    /// How the observer of each value was chosen.
    pub policy: String,
    /// The number of values for which each observer was chosen.
    pub observers: BTreeMap<String, usize>,
    /// Every choice that was measured end to end.
    pub trials: Vec<Trial>,
    /// Layers and values that stayed f32 because rounding them cost most.
    pub wide: Vec<String>,
    /// The gain of keeping each single layer in f32, the most first.
    pub sensitivity: Vec<Sensitivity>,
    pub layers: Vec<LayerReport>,
    /// Layers below 20 dB.
    pub low_sqnr: Vec<String>,
    /// Bytes of all weights, in f32 and as they are stored.
    pub weight_bytes_f32: u64,
    pub weight_bytes: u64,
    /// The deviation of the complete network on the held-out images.
    pub deviation: Deviation,
    /// The comparison on a data split, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    pub seconds: f64,
}

/// One way to quantise and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub name: String,
    #[serde(flatten)]
    pub deviation: Deviation,
}

/// The effect of keeping one layer or value in f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    pub layer: String,
    /// The share of the squared error that it removes.
    pub gain: f64,
}

/// One layer under quantisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    pub name: String,
    pub weight: String,
    /// The ratio of the layer's signal to its noise and that of all layers before it, in dB.
    pub sqnr_db: f64,
    pub bytes_f32: u64,
    pub bytes: u64,
    pub wide: bool,
}

impl Report {
    /// The part for a bundle's manifest: everything except the table of layers.
    pub fn summary(&self) -> serde_json::Value {
        let mut summary = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = summary.as_object_mut() {
            for field in ["layers", "sensitivity", "trials", "seconds"] {
                fields.remove(field);
            }
            let worst = self.layers.iter().map(|layer| layer.sqnr_db).fold(f64::INFINITY, f64::min);
            if worst.is_finite() {
                fields.insert("worst_layer_sqnr_db".into(), worst.into());
            }
        }
        summary
    }
}
