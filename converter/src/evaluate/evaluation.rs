//! All results of an evaluation, in the form of its JSON.

use super::{
    AbsentStudy, Group, ImageScores, Intervals, InterventionScores, PairStudy, PromptStudy, ReliabilityTable,
    RequestStudy, Scores,
};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    pub images: usize,
    pub patients: usize,
    /// Means over images.
    #[serde(flatten)]
    pub means: Scores,
    /// Means of the patients' means.
    pub dice_by_patient: f64,
    pub iou_by_patient: f64,
    pub nsd_by_patient: f64,
    pub hd95_by_patient: f64,
    /// `None` for fewer than two patients.
    pub intervals: Option<Intervals>,
    /// Empty if the data does not state it.
    pub by_pathology: BTreeMap<String, Group>,
    /// Empty if the data does not state it.
    pub by_device: BTreeMap<String, Group>,
    /// The results' scores compared with their Dice.
    pub reliability: Option<ReliabilityTable>,
    /// `None` if no prompt study was requested, like the two below.
    pub prompts: Option<PromptStudy>,
    /// Also `None` if fewer than two images have a lesion.
    pub pairs: Option<PairStudy>,
    pub absent: Option<AbsentStudy>,
    /// The effect of changes to the images that should not matter; `None` if not requested.
    pub interventions: Option<Vec<InterventionScores>>,
    /// Requests in many wordings, and frames without a lesion; `None` if not requested.
    pub requests: Option<RequestStudy>,
    pub model: String,
    /// The SHA-256 of the bundle that was run; for a checkpoint, of the bundle packed from it.
    pub model_sha256: String,
    /// Whether the model's weights were trained; an untrained model's figures are at chance level.
    pub trained: bool,
    /// Width and height of the network's input, in pixels.
    pub input_size: usize,
    /// The probability above which a pixel is lesion.
    pub threshold: f32,
    pub seed: u64,
    /// Wall time of the whole evaluation.
    pub seconds: f64,
    /// The images' results, in the split's order.
    pub per_image: Vec<ImageScores>,
}
