//! The described network against the authors' own, stage by stage (tests/golden/README.md).

use causalclipseg::engine::{Engine, EngineOptions, InputValue, ReferencePlan};
use causalclipseg::graph::{Graph, Weights};
use causalclipseg::lower::rewrite;
use causalclipseg_convert::model::{Architecture, Edition, golden_image, stage};
use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensors};
use std::sync::Mutex;

/// Results of the authors' modules for one configuration.
struct Golden {
    name: &'static str,
    architecture: Architecture,
    /// Largest difference, as a share of a tensor's largest magnitude.
    tolerance: f32,
}

fn mini() -> Golden {
    Golden { name: "mini", architecture: Architecture::mini(), tolerance: 1e-4 }
}

fn rn50() -> Golden {
    Golden { name: "rn50", architecture: Architecture::of(Edition::Rn50, 224), tolerance: 1e-3 }
}

fn rn101() -> Golden {
    Golden { name: "rn101", architecture: Architecture::of(Edition::Rn101, 224), tolerance: 1e-3 }
}

impl Golden {
    fn bytes(&self) -> Vec<u8> {
        let path = format!("{}/../tests/golden/{}.safetensors", env!("CARGO_MANIFEST_DIR"), self.name);
        std::fs::read(path).expect("the reference vectors are in the repository")
    }

    /// Runs the graph with every stage that it still has as an output, and compares each with its reference.
    fn check(&self, graph: &Graph, weights: &Weights, stages: &[&str]) {
        let bytes = self.bytes();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tokens = tokens(&file);
        let image = golden_image(self.architecture.input_size);
        let mut graph = graph.clone();
        graph.outputs = stages.iter().map(|name| graph.find(name).unwrap()).collect();
        let outputs = ReferencePlan::new(&graph, weights)
            .unwrap()
            .run(&[InputValue::Array(&image), InputValue::Tokens(&tokens)])
            .unwrap();
        for (name, output) in stages.iter().zip(&outputs) {
            self.compare(&file, name, output);
        }
    }

    fn compare(&self, file: &SafeTensors, name: &str, output: &ArrayD<f32>) {
        let (expected, step) = match (file.tensor(name), file.tensor(&format!("{name}.every16th"))) {
            (Ok(whole), _) => (floats(&whole), 1),
            (_, Ok(sampled)) => (floats(&sampled), 16),
            _ => panic!("{}: the reference values of {name} are missing", self.name),
        };
        let found: Vec<f32> = output.iter().copied().step_by(step).collect();
        assert_eq!(found.len(), expected.len(), "{}: size of {name}", self.name);
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        let difference = found.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        println!("{} {name}: {:.1e} of {largest:.3}", self.name, difference / largest);
        assert!(difference <= self.tolerance * largest, "{} {name}: {difference} of {largest}", self.name);
    }
}

fn tokens(file: &SafeTensors) -> Vec<u32> {
    let view = file.tensor("tokens").unwrap();
    assert_eq!(view.dtype(), Dtype::I64);
    view.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as u32).collect()
}

fn floats(view: &safetensors::tensor::TensorView) -> Vec<f32> {
    assert_eq!(view.dtype(), Dtype::F32);
    view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Every stage in the reference files. fq3 is only a pooled v3 and is not among them.
const STAGES: [&str; 14] = [
    stage::V3,
    stage::V4,
    stage::V5,
    stage::WORDS,
    stage::STATE,
    stage::QUERIES[1],
    stage::QUERIES[2],
    stage::MASKS[0],
    stage::MASKS[1],
    stage::MASKS[2],
    stage::FEATURES,
    stage::CONFOUNDERS,
    stage::PRED,
    stage::PRED_AD,
];

/// The large networks take two gigabytes each, so they run one at a time.
static MEMORY: Mutex<()> = Mutex::new(());

/// Checks both forms of one configuration; the weights of one are freed before the next begins.
fn check_both_forms(golden: &Golden) {
    let _turn = MEMORY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let graph = golden.architecture.describe().unwrap();
    let weights = golden.architecture.golden_weights().unwrap();
    golden.check(&graph, &weights, &STAGES);
    let (graph, weights) = rewrite(graph, weights).unwrap();
    golden.check(&graph, &weights, &STAGES);
    check_fast_engine(golden, &graph, &weights);
}

/// Checks the rewritten network on the fast engine's f32 kernels.
fn check_fast_engine(golden: &Golden, graph: &Graph, weights: &Weights) {
    let bytes = golden.bytes();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let options = EngineOptions::default().with_confounders(true);
    let engine = Engine::new(graph, weights, options).unwrap();
    assert!(engine.cpu().is_some(), "it fell back to the reference engine");
    let kernel = engine.encode_prompt(&tokens(&file)).unwrap();
    let image = golden_image(golden.architecture.input_size);
    let (logits, confounders) = engine.segment(image.as_slice().unwrap(), &kernel).unwrap();
    golden.compare(&file, stage::PRED, &logits.into_dyn());
    golden.compare(&file, stage::PRED_AD, &confounders.unwrap().into_dyn());
}

#[test]
fn mini_equals_the_authors_network() {
    check_both_forms(&mini());
}

#[test]
fn rn50_equals_the_authors_network() {
    check_both_forms(&rn50());
}

#[test]
fn rn101_equals_the_authors_network() {
    check_both_forms(&rn101());
}

/// The reference image equals the formula's, bit by bit.
#[test]
fn regenerates_the_image() {
    let bytes = mini().bytes();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = floats(&file.tensor(stage::IMAGE).unwrap());
    assert_eq!(golden_image(64).iter().copied().collect::<Vec<f32>>(), stored);
}

/// The network in three parts, prompts padded or not, against the same reference.
#[test]
fn the_engine_splits_published_and_rewritten_networks() {
    let golden = mini();
    let bytes = golden.bytes();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let padded = tokens(&file);
    let end = padded.iter().position(|id| *id == 511).unwrap();
    let image = golden_image(64);
    let published = (golden.architecture.describe().unwrap(), golden.architecture.golden_weights().unwrap());
    let rewritten = rewrite(published.0.clone(), published.1.clone()).unwrap();
    for (graph, weights) in [published, rewritten] {
        let engine = Engine::new(&graph, &weights, EngineOptions::default().with_confounders(true)).unwrap();
        for prompt in [&padded[..], &padded[..=end]] {
            let kernel = engine.encode_prompt(prompt).unwrap();
            let (logits, confounders) = engine.segment(image.as_slice().unwrap(), &kernel).unwrap();
            golden.compare(&file, stage::PRED, &logits.into_dyn());
            golden.compare(&file, stage::PRED_AD, &confounders.unwrap().into_dyn());
        }
    }
}
