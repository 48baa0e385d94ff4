//! Everything that an evaluation finds, as JSON has it.

use super::{
    AbsentStudy, Group, ImageScores, Intervals, InterventionScores, PairStudy, PromptStudy, Reliability, RequestStudy,
    Scores,
};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    pub images: usize,
    pub patients: usize,
    /// Over images.
    #[serde(flatten)]
    pub means: Scores,
    /// Means of the patients' means.
    pub dice_by_patient: f64,
    pub iou_by_patient: f64,
    pub nsd_by_patient: f64,
    pub hd95_by_patient: f64,
    /// `None` of fewer than two patients.
    pub intervals: Option<Intervals>,
    /// Empty where the data does not tell.
    pub by_pathology: BTreeMap<String, Group>,
    /// Empty where the data does not tell.
    pub by_device: BTreeMap<String, Group>,
    /// The answers' own scores beside their Dice.
    pub reliability: Option<Reliability>,
    /// `None` where no study was asked for, here and in the two below.
    pub prompts: Option<PromptStudy>,
    /// `None` also where fewer than two images have a lesion.
    pub pairs: Option<PairStudy>,
    pub absent: Option<AbsentStudy>,
    /// What changes to the images that must not matter do; `None` where this was not asked for.
    pub interventions: Option<Vec<InterventionScores>>,
    /// Requests in many words, and frames without a lesion; `None` where this was not asked for.
    pub requests: Option<RequestStudy>,
    pub model: String,
    /// Of the bundle that was run; of the one packed from it for a checkpoint.
    pub model_sha256: String,
    /// Whether the model's weights were ever trained; the figures of one that was not are those of chance.
    pub trained: bool,
    /// Width and height of the network's input, in pixels.
    pub input_size: usize,
    /// The probability above which a pixel is lesion.
    pub threshold: f32,
    pub seed: u64,
    /// Wall time of all of it.
    pub seconds: f64,
    /// In the split's order.
    pub per_image: Vec<ImageScores>,
}
