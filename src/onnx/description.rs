//! The description that our exporter writes into a file beside its ONNX graph: the network as this program knows it.

use crate::bundle::ModelDescription;
use crate::graph::Graph;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key of the file's metadata (`metadata_props`) whose value is the description, as JSON.
pub const NETWORK_KEY: &str = "causalclipseg_network";
/// The version of [`NetworkDescription`]; another one is not read.
pub const DESCRIPTION_VERSION: u32 = 1;

/// The network that a file's graph computes, and where in the file its weights are.
///
/// It is a claim: a loader compares it with the file's own graph before it uses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkDescription {
    pub version: u32,
    pub model: ModelDescription,
    /// The graph from `image` and `tokens` to `pred`, with the scales and zero points that the file rounds to.
    pub graph: Graph,
    /// The parts of each weight, by the names of the graph's parameters.
    pub weights: BTreeMap<String, Vec<WeightPart>>,
}

/// Rows of a parameter (along its first axis), and the file's initializer that holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightPart {
    /// The name of an f32 initializer, or of one of i8 or i32, which then has a scale.
    pub tensor: String,
    /// The f32 initializer of one scale for each row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_row: usize,
    pub rows: usize,
    /// Whether the initializer, a matrix, holds the rows as columns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transposed: bool,
    /// Elements of the initializer that precede the rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: usize,
}

impl WeightPart {
    /// The first `rows` rows of a parameter, unchanged.
    pub fn rows(tensor: impl Into<String>, first_row: usize, rows: usize) -> Self {
        Self { tensor: tensor.into(), scale: None, first_row, rows, transposed: false, skip: 0 }
    }
}

// The signature is serde's.
fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl NetworkDescription {
    /// Reads the value in the metadata.
    ///
    /// # Errors
    /// Why it cannot be used; the rest of the file may be good.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let invalid = |error: serde_json::Error| format!("its description of the network is not valid ({error})");
        let Version { version } = serde_json::from_str(json).map_err(invalid)?;
        if version != DESCRIPTION_VERSION {
            return Err(format!(
                "its description of the network has version {version}, and this program reads {DESCRIPTION_VERSION}"
            ));
        }
        serde_json::from_str(json).map_err(invalid)
    }
}
