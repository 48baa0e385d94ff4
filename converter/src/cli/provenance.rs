//! `provenance`: records the words and the image statistics that a checkpoint was trained on.

use super::Failure;
use causalclipseg::bundle::RELIABILITY_KEY;
use causalclipseg::frame::{Appearance, FamiliarInputs, Fit, INPUTS_KEY, Normalisation, Preprocessor};
use causalclipseg::io::Image;
use causalclipseg_convert::checkpoint::{read_description, write_provenance};
use causalclipseg_convert::data::{LoadOptions, Sample, Split, load_samples, prompt_words};
use causalclipseg_convert::model::Architecture;
use causalclipseg_convert::train::TrainingConfig;
use clap::Args;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Record what a checkpoint was trained on: the words of its prompts, and statistics of its images
///
/// `import`, `quantize` and `pack` pass both on. The runtime flags a bundle's results with `unknown_words` if the prompt has
/// other words, and with `unfamiliar_frame` if the image differs from the training images in brightness, contrast, grain, or
/// shares of black and white. Images and sentences cannot be reconstructed from the record.
#[derive(Debug, Args)]
pub struct Provenance {
    /// Checkpoint of this program, quantised or not; its tensors are not changed
    #[arg(value_name = "CKPT")]
    checkpoint: PathBuf,
    /// A data set that it was trained on. May be given several times: the record uses the training prompts of all of them, the
    /// words that `train` recorded, and the training images of the first
    #[arg(long, required = true, value_name = "DIR")]
    data: Vec<PathBuf>,
    /// The configuration it was trained with, for prompts that the recipe adds to the data sets' own [default: the recipe's
    /// defaults, which add all of them]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Output of `evaluate --requests --format json` on images that it was not trained on: calibrates the scores, and sets the
    /// value above which the prompted lesion counts as present. May be given several times: later files take precedence
    #[arg(long, value_name = "JSON")]
    evaluation: Vec<PathBuf>,
    /// Where to write the checkpoint [default: overwrite the old one]
    #[arg(short, long, value_name = "CKPT")]
    output: Option<PathBuf>,
}

impl Provenance {
    pub fn run(self) -> Result<(), Failure> {
        let (architecture, mut provenance) = read_description(&self.checkpoint)?;
        let config = self.config.as_deref().map(TrainingConfig::load).transpose()?.unwrap_or_default();
        let load = |folder: &PathBuf| load_samples(folder, Split::Train, &LoadOptions::default());
        let sets = self.data.iter().map(load).collect::<Result<Vec<Vec<Sample>>, _>>()?;
        let progress = super::spinner("reading the images");
        let looks = sets
            .first()
            .map(|samples| appearances(samples, &architecture, provenance.fit()))
            .transpose()?
            .unwrap_or_default();
        progress.finish_and_clear();
        let mut words = provenance.words().clone();
        sets.iter().for_each(|samples| words.extend(prompt_words(samples, &config.recipe)));
        let word_count = words.len();
        provenance.set_words(words);
        let structures: BTreeSet<&str> =
            sets.iter().flatten().filter_map(|sample| sample.structure.as_deref()).collect();
        provenance.set_structures(structures);
        for path in &self.evaluation {
            provenance.set(RELIABILITY_KEY, reliability(path)?)?;
        }
        let inputs = match FamiliarInputs::of(&looks).and_then(|familiar| familiar.to_json()) {
            Some(inputs) => {
                provenance.set(INPUTS_KEY, inputs)?;
                format!("the looks of {} images", looks.len())
            }
            None => {
                // Statistics of another set would be wrong.
                provenance.remove(INPUTS_KEY);
                format!("no looks: {} images that vary are fewer than {}", looks.len(), FamiliarInputs::LEAST)
            }
        };
        let output = self.output.as_ref().unwrap_or(&self.checkpoint);
        write_provenance(&self.checkpoint, output, &provenance)?;
        super::say(format!("{}: {word_count} words, {inputs}", output.display()))
    }
}

/// Prepares images as the network sees them with the frames' default in `pack`.
fn appearances(samples: &[Sample], architecture: &Architecture, fit: Option<Fit>) -> Result<Vec<Appearance>, Failure> {
    let size = architecture.input_size;
    let mut preprocessor = Preprocessor::new(size, Normalisation::CLIP, fit.unwrap_or(Fit::Stretch))?;
    let mut pixels = vec![0.0; 3 * size * size];
    let mut look = |sample: &Sample| -> Result<Appearance, Failure> {
        preprocessor.prepare(&Image::open(&sample.image)?.frame(), &mut pixels)?;
        Ok(Appearance::of(&pixels, size, Normalisation::CLIP))
    };
    // An image with several prompts counts once.
    let mut seen = HashSet::new();
    samples.iter().filter(|sample| seen.insert(&sample.image)).map(&mut look).collect()
}

/// The part of an evaluation that a checkpoint stores.
fn reliability(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let found: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", path.display()))?;
    let requests = &found["requests"];
    let curve = &requests["presence"]["by_max_probability"];
    let points = &requests["calibration"]["points"];
    if !curve["threshold"].is_number() || !points.is_array() {
        return Err(format!(
            "{} has no requests with and without a lesion; make it with `evaluate --requests --format json`",
            path.display()
        )
        .into());
    }
    Ok(serde_json::json!({
        "calibration": points,
        "presence_threshold": curve["threshold"],
        "sensitivity": curve["sensitivity"],
        "specificity": curve["specificity"],
        "images": found["images"],
    })
    .to_string())
}
