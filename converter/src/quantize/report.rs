//! What quantisation did to a network, for people and for the bundle's manifest.

use super::measure::Deviation;
use super::comparison::Comparison;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Layers whose noise is less than this much below their signal are named, in dB.
pub const LOW_SQNR_DB: f64 = 20.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `published` or `rewritten`.
    pub form: String,
    pub weight_bits: u32,
    /// Images that grids were chosen on, and those that choices were measured on.
    pub calibration_images: usize,
    pub held_out_images: usize,
    /// Different sentences among both.
    pub prompts: usize,
    /// Pairs of convolutions that were equalised; zero where it did not help.
    pub equalised_pairs: usize,
    pub bias_correction: bool,
    /// How the observer of each value was chosen.
    pub policy: String,
    /// How many values each observer decided.
    pub observers: BTreeMap<String, usize>,
    /// Every choice that was measured end to end.
    pub trials: Vec<Trial>,
    /// Layers and values that were left f32 because rounding them hurt most.
    pub wide: Vec<String>,
    /// What leaving one layer wide would gain, the most first.
    pub sensitivity: Vec<Sensitivity>,
    pub layers: Vec<LayerReport>,
    /// Layers below 20 dB.
    pub low_sqnr: Vec<String>,
    /// Bytes of all weights, in f32 and as they are stored.
    pub weight_bytes_f32: u64,
    pub weight_bytes: u64,
    /// Of the whole network on the held-out images.
    pub deviation: Deviation,
    /// On a data split, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    pub seconds: f64,
}

/// One way to quantise and how it fared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub name: String,
    #[serde(flatten)]
    pub deviation: Deviation,
}

/// What leaving one layer or value wide does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    pub layer: String,
    /// The share of the squared error that goes away.
    pub gain: f64,
}

/// One layer under quantisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    pub name: String,
    pub weight: String,
    /// The layer's signal over the noise that it and all before it make, in dB.
    pub sqnr_db: f64,
    pub bytes_f32: u64,
    pub bytes: u64,
    pub wide: bool,
}

impl Report {
    /// What a bundle's manifest carries: all but the table of layers.
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
