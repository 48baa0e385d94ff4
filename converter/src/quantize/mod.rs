//! Post-training quantisation: converts a trained network to 8-bit weights and values with the same masks.
//!
//! The steps, each kept only where it reduces the error of the logits on unseen images:
//! 1. The graph is rewritten (or, of the published form, its batch norms folded).
//! 2. Channels between convolutions are equalised ([`equalise`]).
//! 3. Every value is observed on calibration images and prompts; four observers propose a scale and zero point, and the
//!    one with the least error on held-out images is used.
//! 4. Weights are rounded, with a scale for each output ([`QuantisedTensor`]), so that AVX2's 16-bit sums hold them in all layers
//!    where that costs no accuracy ([`PairLimit`]), and biases compensate the shift of the means.
//! 5. A scan keeps single layers in f32, one by one, and reports what that gains. Where masks would not agree well
//!    enough, the few worst layers stay f32.
//!
//! The result is a [`QuantisedCheckpoint`], which `pack` and `export` read, and a [`Report`].

mod bias_correction;
mod calibration;
mod checkpoint;
mod comparison;
mod equalisation;
mod histogram;
mod inputs;
mod measure;
mod network;
mod observe;
mod observer;
mod pairs;
mod report;
mod sensitivity;
mod weights;

pub use calibration::Policy;
pub use causalclipseg::network::{Rounding, roundings, strip_before_relu, strip_fused};
pub use checkpoint::QuantisedCheckpoint;
pub use comparison::{CompareOptions, Comparison, Pair, compare};
pub use equalisation::equalise;
pub use inputs::{CalibrationItem, CalibrationReader, CalibrationSet};
pub use measure::{Deviation, logits};
pub use observer::Observer;
pub use pairs::PairLimit;
pub use report::{LOW_SQNR_DB, LayerReport, Report, Sensitivity, Trial};
use weights::{Integers, quantise_weights};
pub use weights::{QuantisedTensor, WeightBits};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::data::DataError;
use crate::model::Form;
use bias_correction::correct_biases;
use calibration::RangeCalibration;
use causalclipseg::engine::EngineError;
use causalclipseg::frame::FrameError;
use causalclipseg::graph::{Graph, GraphError, ScaleZeroPoint, Weights};
use causalclipseg::io::{ReadError, WriteError};
use causalclipseg::lower::{self, LowerError};
use causalclipseg::mask::MaskError;
use causalclipseg::prompt::PromptError;
use ndarray::Array2;
pub(crate) use network::layer_weight;
use network::{QuantisedNetwork, Wide, wide_layer};
use sensitivity::{Scan, layer_reports, layer_sqnr};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The number of images for equalisation and bias correction, and of those that choices are measured on.
const FEW: usize = 8;
const JUDGES: usize = 16;
/// The agreement of masks of held-out images below which layers stay f32: slightly above what is promised.
const LEAST_AGREEMENT: f64 = 0.992;
/// The gain for which a layer that depends on the sentence alone stays f32: it costs nothing on a frame.
const PROMPT_LAYER_GAIN: f64 = 0.1;

/// Why a network cannot be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantiseError {
    #[error("no image to calibrate on; name a data set with --calibrate, or use --phantoms")]
    NoImages,
    #[error(
        "all {images} calibration images are of one constant value, from which no range can be measured; use pictures"
    )]
    Constant { images: usize },
    #[error(
        "the calibration images span only {percent:.2} % of the grey range, as 8 bits stored in 16 do; stretch them to the \
         whole range first"
    )]
    Contrast { percent: f32 },
    #[error("node `{node}` yields {value} on a calibration image; train or import the checkpoint again")]
    NotFinite { node: String, value: f32 },
    #[error("a calibration image does not have the network's size: {0}")]
    Shape(String),
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a quantised checkpoint; make one with `causalclipseg-convert quantize`")]
    NotQuantised { path: PathBuf },
    #[error("{path} is not a valid quantised checkpoint: {reason}; quantise it again")]
    Format { path: PathBuf, reason: String },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Image(#[from] ReadError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Mask(#[from] MaskError),
    #[error("a prompt cannot be encoded: {0}")]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// How a network is quantised.
#[derive(Clone, Copy, Debug)]
pub struct QuantiseOptions {
    /// The form to quantise. Bundles have the rewritten network. Of the published one, for other engines, only the
    /// causal head is kept.
    pub form: Form,
    /// [`WeightBits::Seven`] or [`WeightBits::Eight`].
    pub weight_bits: WeightBits,
    /// Of weights of eight bits.
    pub pairs: PairLimit,
    /// The number of the worst layers that the scan tries.
    pub scan: usize,
    /// The most layers that may stay f32.
    pub most_wide: usize,
    /// Whether every choice is measured end to end. Otherwise each value only gets the scale and zero point with the
    /// least error: for networks that are expensive to run.
    pub thorough: bool,
}

impl Default for QuantiseOptions {
    fn default() -> Self {
        Self {
            form: Form::Rewritten,
            weight_bits: WeightBits::Eight,
            pairs: PairLimit::Auto,
            scan: 12,
            most_wide: 4,
            thorough: true,
        }
    }
}

impl QuantiseOptions {
    /// The integers to begin with.
    fn bits(&self) -> WeightBits {
        match (self.weight_bits, self.pairs) {
            (WeightBits::Seven, _) => WeightBits::Seven,
            (_, PairLimit::Never) => WeightBits::Eight,
            _ => WeightBits::EightInPairs,
        }
    }
}

/// The network in the form to be quantised, without batch norms after convolutions.
pub fn prepare(checkpoint: &Checkpoint, form: Form) -> Result<(Graph, Weights), QuantiseError> {
    let graph = checkpoint.architecture.describe()?;
    match form {
        Form::Rewritten => Ok(lower::rewrite(graph, checkpoint.weights.clone())?),
        Form::Published => {
            let graph = graph.with_heads(false)?;
            let mut weights = checkpoint.weights.clone();
            let graph = lower::fold_batch_norm(graph, &mut weights)?;
            let graph = lower::project_as_linear(graph, &mut weights)?;
            lower::drop_unread(&graph, &mut weights);
            Ok((graph, weights))
        }
    }
}

/// Quantises a checkpoint's network by its values on a set. `on_step` receives a description of each step.
///
/// # Errors
/// NaN or infinite values anywhere in the network, named by their node.
pub fn quantise(
    checkpoint: &Checkpoint,
    set: CalibrationSet,
    options: &QuantiseOptions,
    mut on_step: impl FnMut(&str),
) -> Result<(QuantisedCheckpoint, Report), QuantiseError> {
    let begun = Instant::now();
    if set.items.is_empty() {
        return Err(QuantiseError::NoImages);
    }
    on_step("rewriting the network");
    let (graph, weights) = prepare(checkpoint, options.form)?;
    let prompts = set.prompts().len();
    let (kept, held_out) = set.split();
    let (few, judges) = (kept.spread(FEW), held_out.spread(JUDGES));
    let expected = logits(&graph, &weights, &judges)?;
    let integers = quantise_weights(&graph, &weights, options.bits());
    let mut work = Work { graph, weights, integers, options, few, judges, expected, trials: Vec::new() };

    on_step("equalising channels");
    let equalised_pairs = if options.thorough { work.equalise()? } else { 0 };
    let mut runs = 0;
    let calibration = RangeCalibration::gather(&work.graph, &work.weights, &kept, &held_out, || {
        runs += 1;
        on_step(&format!("observing values, run {runs}"));
    })?;
    let (mut policy, mut quantisations) = (Policy::LeastError, calibration.quantisations(Policy::LeastError));
    let (mut bias_correction, mut wide) = (false, Wide::default());
    let mut unlimited = BTreeSet::new();
    if options.thorough {
        on_step("choosing observers");
        (policy, quantisations) = work.choose_policy(&calibration)?;
        if options.pairs == PairLimit::Auto && options.bits() == WeightBits::EightInPairs {
            on_step("limiting neighbouring weights");
            unlimited = work.release_pairs(&quantisations)?;
        }
        on_step("correcting biases");
        bias_correction = work.correct_biases(&quantisations)?;
        wide = work.prompt_layers(&quantisations)?;
    }
    let network = work.network(&quantisations, &wide);
    let scanned = match options.scan {
        0 => Vec::new(),
        count => {
            work.scan(&network, &quantisations, &wide, count, |layer| on_step(&format!("trying {layer} in f32")))?
        }
    };
    let mut deviation = work.deviation(&network)?;
    let mut names: Vec<String> = Vec::new();
    for (sensitivity, more) in &scanned {
        let is_enough = deviation.mask_agreement >= LEAST_AGREEMENT || sensitivity.gain <= 0.0;
        if is_enough || names.len() >= options.most_wide {
            break;
        }
        let wider = wide.with(more);
        let tried = work.try_out(&format!("{} in f32", sensitivity.layer), &work.network(&quantisations, &wider))?;
        if tried.relative_error < deviation.relative_error {
            names.push(sensitivity.layer.clone());
            (wide, deviation) = (wider, tried);
        }
    }
    let network = work.network(&quantisations, &wide);
    on_step("measuring layers");
    let sqnr = layer_sqnr(&work.graph, &work.weights, &work.stripped(&network), &work.judges.spread(FEW))?;
    let layers = layer_reports(&network, &sqnr);
    names.extend(layers.iter().filter(|layer| layer.wide).map(|layer| layer.name.clone()));
    names.sort();
    names.dedup();
    let weight_bytes_f32 = network.weights.values().map(|value| 4 * value.len() as u64).sum();
    let weight_bytes = network.weights.iter().map(|(name, value)| match network.quantised.get(name) {
        Some(tensor) => (tensor.stored.len() + 4 * tensor.scales.len()) as u64,
        None => 4 * value.len() as u64,
    });
    let report = Report {
        form: options.form.name().into(),
        weight_bits: options.weight_bits.count(),
        unlimited_pairs: (options.bits() == WeightBits::EightInPairs).then(|| unlimited.into_iter().collect()),
        calibration_images: kept.items.len(),
        held_out_images: held_out.items.len(),
        prompts,
        equalised_pairs,
        bias_correction,
        policy: policy_name(policy),
        observers: calibration.counts().into_iter().map(|(name, count)| (name.to_string(), count)).collect(),
        trials: std::mem::take(&mut work.trials),
        wide: names,
        sensitivity: scanned.into_iter().map(|(sensitivity, _)| sensitivity).collect(),
        low_sqnr: layers.iter().filter(|layer| layer.sqnr_db < LOW_SQNR_DB).map(|layer| layer.name.clone()).collect(),
        layers,
        weight_bytes_f32,
        weight_bytes: weight_bytes.sum(),
        deviation,
        comparison: None,
        seconds: begun.elapsed().as_secs_f64(),
    };
    let QuantisedNetwork { graph, mut weights, quantised } = network;
    drop(work);
    weights.retain(|name, _| !quantised.contains_key(name));
    let quantised = quantised.into_iter().map(|(name, tensor)| (name, Arc::unwrap_or_clone(tensor))).collect();
    let quantised = QuantisedCheckpoint {
        architecture: checkpoint.architecture.clone(),
        form: options.form,
        graph,
        weights,
        quantised,
        calibration: report.summary(),
        provenance: checkpoint.provenance.clone(),
    };
    Ok((quantised, report))
}

fn policy_name(policy: Policy) -> String {
    match policy {
        Policy::Only(observer) => format!("{} everywhere", observer.name()),
        Policy::LeastError => "least error on held-out images".into(),
    }
}

/// The network while its quantisation is decided.
struct Work<'a> {
    graph: Graph,
    weights: Weights,
    /// The integers of all weights that could be quantised.
    integers: Integers,
    options: &'a QuantiseOptions,
    few: CalibrationSet,
    judges: CalibrationSet,
    /// The original network's logits on the judges.
    expected: Vec<Array2<f32>>,
    trials: Vec<Trial>,
}

impl Work<'_> {
    fn network(&self, quantisations: &[Option<ScaleZeroPoint>], wide: &Wide) -> QuantisedNetwork {
        QuantisedNetwork::new(&self.graph, &self.weights, &self.integers, quantisations, wide)
    }

    /// The network as engines run it: without rounding inside fused steps.
    fn stripped(&self, network: &QuantisedNetwork) -> QuantisedNetwork {
        QuantisedNetwork { graph: strip_fused(&network.graph), ..network.clone() }
    }

    fn deviation(&self, network: &QuantisedNetwork) -> Result<Deviation, QuantiseError> {
        let found = logits(&strip_fused(&network.graph), &network.computed_weights(), &self.judges)?;
        Ok(Deviation::between(&found, &self.expected))
    }

    fn try_out(&mut self, name: &str, network: &QuantisedNetwork) -> Result<Deviation, QuantiseError> {
        let deviation = self.deviation(network)?;
        log::info!(
            "{name}: relative error {:.2e}, agreement {:.4}",
            deviation.relative_error,
            deviation.mask_agreement
        );
        self.trials.push(Trial { name: name.into(), deviation });
        Ok(deviation)
    }

    /// Equalises where that reduces the logits' error, with scales from a few images. Yields the number of pairs.
    fn equalise(&mut self) -> Result<usize, QuantiseError> {
        let rough = |work: &mut Self, name: &str| -> Result<Deviation, QuantiseError> {
            let calibration = RangeCalibration::gather(&work.graph, &work.weights, &work.few, &work.few, || {})?;
            let network = work.network(&calibration.quantisations(Policy::LeastError), &Wide::default());
            work.try_out(name, &network)
        };
        let before = rough(self, "roughly, as it is")?;
        let untouched = (self.weights.clone(), self.integers.clone());
        let pairs = equalise(&self.graph, &mut self.weights, &self.few)?;
        self.integers = quantise_weights(&self.graph, &self.weights, self.options.bits());
        let after = rough(self, "roughly, equalised")?;
        if after.relative_error < before.relative_error {
            return Ok(pairs);
        }
        (self.weights, self.integers) = untouched;
        Ok(0)
    }

    fn choose_policy(
        &mut self,
        calibration: &RangeCalibration,
    ) -> Result<(Policy, Vec<Option<ScaleZeroPoint>>), QuantiseError> {
        let policies = [Policy::LeastError].into_iter().chain(Observer::ALL.map(Policy::Only));
        let mut best: Option<(f64, Policy, Vec<Option<ScaleZeroPoint>>)> = None;
        for policy in policies {
            let quantisations = calibration.quantisations(policy);
            let network = self.network(&quantisations, &Wide::default());
            let error = self.try_out(&policy_name(policy), &network)?.relative_error;
            if best.as_ref().is_none_or(|(least, ..)| error < *least) {
                best = Some((error, policy, quantisations));
            }
        }
        best.map(|(_, policy, quantisations)| (policy, quantisations)).ok_or(QuantiseError::NoImages)
    }

    /// Keeps the worst layers in f32 one by one.
    fn scan(
        &self,
        network: &QuantisedNetwork,
        quantisations: &[Option<ScaleZeroPoint>],
        wide: &Wide,
        count: usize,
        on_try: impl FnMut(&str),
    ) -> Result<Vec<(Sensitivity, Wide)>, QuantiseError> {
        let set = self.judges.spread(FEW);
        let sqnr = layer_sqnr(&self.graph, &self.weights, &self.stripped(network), &set)?;
        let expected = logits(&self.graph, &self.weights, &set)?;
        let scan = Scan {
            graph: &self.graph,
            weights: &self.weights,
            quantisations,
            integers: &self.integers,
            wide,
            set: &set,
            expected: &expected,
        };
        scan.run(network, &sqnr, count, on_try)
    }

    /// Whether corrected biases reduced the logits' error; otherwise they are unchanged.
    fn correct_biases(&mut self, quantisations: &[Option<ScaleZeroPoint>]) -> Result<bool, QuantiseError> {
        let network = self.network(quantisations, &Wide::default());
        let before = self.deviation(&network)?;
        let untouched = self.weights.clone();
        correct_biases(&self.graph, &mut self.weights, &network.quantised, &self.few)?;
        let corrected = QuantisedNetwork { weights: self.weights.clone(), ..network };
        let after = self.try_out("biases corrected", &corrected)?;
        let is_better = after.relative_error < before.relative_error;
        if !is_better {
            self.weights = untouched;
        }
        Ok(is_better)
    }

    /// The layers that generate the prompts' kernels, in f32 where that gains much.
    fn prompt_layers(&mut self, quantisations: &[Option<ScaleZeroPoint>]) -> Result<Wide, QuantiseError> {
        let kernels = self.graph.nodes.iter().filter_map(|node| match node.op {
            causalclipseg::graph::Op::PromptConv { .. } => node.inputs.last().copied(),
            _ => None,
        });
        let mut wide = Wide::default();
        for kernel in kernels.map(|kernel| self.graph.node(kernel)) {
            let Some(weight) = layer_weight(&kernel.op) else { continue };
            wide = wide.with(&wide_layer(&self.graph, weight));
            // Both heads read the sentence's state, and nothing else does.
            wide.values.extend(&kernel.inputs);
        }
        let narrow = self.deviation(&self.network(quantisations, &Wide::default()))?.relative_error.powi(2);
        let network = self.network(quantisations, &wide);
        let tried = self.try_out("prompt kernels in f32", &network)?.relative_error.powi(2);
        Ok(if tried < (1.0 - PROMPT_LAYER_GAIN) * narrow { wide } else { Wide::default() })
    }
}
