//! Evaluates a trained network on the sets, run as users run it.

use super::StudyError;
use crate::checkpoint::Checkpoint;
use crate::confound::Set;
use crate::data::{LoadOptions, Sample, Split, load_samples};
use crate::evaluate::answer_lesions;
use crate::model::MeanMasks;
use crate::pack::{PackOptions, pack_network};
use crate::quantize::CalibrationReader;
use crate::tokenizer::clip_tokenizer_json;
use causalclipseg::bundle::{Bundle, Precision};
use causalclipseg::{Model, ModelOptions};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Images over which the mean masks are taken.
const IMAGES_OF_A_MEAN: usize = 64;

/// The masks that a network runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum MaskUse {
    /// As trained
    Learned,
    /// All ones: no feature is set aside
    Open,
    /// Each mask's mean over images of the training split: the features set aside do not depend on the image
    Mean,
}

impl MaskUse {
    pub const ALL: [Self; 3] = [Self::Learned, Self::Open, Self::Mean];
}

/// One prompt of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    pub image: String,
    pub patient: String,
    /// Dice of the result with the lesion that the prompt names.
    pub dice: f64,
    /// Dice of the result with the other lesions, if there are any.
    pub other: Option<f64>,
}

/// The test split of one set under one kind of masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetResults {
    pub set: Set,
    pub masks: MaskUse,
    pub cases: Vec<CaseResult>,
}

/// Evaluates a checkpoint on the test split of every set below `data`, with learned, open and mean masks.
pub fn judge(checkpoint: &Checkpoint, data: &Path) -> Result<Vec<SetResults>, StudyError> {
    let options = LoadOptions::default();
    let training = load_samples(&data.join(Set::Confounded.name()), Split::Train, &options)?;
    let mut results = Vec::new();
    for masks in MaskUse::ALL {
        let model = model(checkpoint, masks, &training)?;
        for set in Set::ALL {
            let samples = load_samples(&data.join(set.name()), Split::Test, &options)?;
            let answers = answer_lesions(&model, &samples, 1)?;
            let cases = samples.iter().zip(answers).map(|(sample, [dice, other])| CaseResult {
                image: sample.case_id.clone(),
                patient: sample.group().to_string(),
                dice: dice.unwrap_or(0.0),
                other,
            });
            results.push(SetResults { set, masks, cases: cases.collect() });
        }
    }
    Ok(results)
}

fn model(checkpoint: &Checkpoint, masks: MaskUse, training: &[Sample]) -> Result<Model, StudyError> {
    let mut checkpoint = checkpoint.clone();
    let mut graph = checkpoint.architecture.describe()?;
    match masks {
        MaskUse::Learned => {}
        MaskUse::Open => {
            checkpoint = checkpoint.with_open_masks()?;
            graph = checkpoint.architecture.describe()?;
        }
        MaskUse::Mean => {
            let (size, context) = (checkpoint.architecture.input_size, checkpoint.architecture.text.context);
            let mut reader = CalibrationReader::new(size, checkpoint.fit(), context, &clip_tokenizer_json())?;
            let step = (training.len() / IMAGES_OF_A_MEAN).max(1);
            for sample in training.iter().step_by(step).take(IMAGES_OF_A_MEAN) {
                reader.add_sample(sample)?;
            }
            let mut means = MeanMasks::new(&checkpoint.architecture, &checkpoint.weights)?;
            for item in &reader.finish()?.items {
                means.add(&item.image)?;
            }
            (graph, checkpoint.weights) = means.hold(&checkpoint.architecture, checkpoint.weights)?;
        }
    }
    let options = PackOptions {
        name: "study".into(),
        precision: Precision::F32,
        fit: checkpoint.fit(),
        threshold: checkpoint.provenance.threshold_or_default(),
        tokenizer_json: None,
    };
    let bytes = pack_network(graph, checkpoint, options, None)?.to_bytes()?;
    Ok(Model::from_bundle(Arc::new(Bundle::from_bytes(bytes)?), ModelOptions::default())?)
}
