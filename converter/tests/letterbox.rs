//! Training, the trainer's own prediction and the runtime fit an image to the network's input alike, with padding too.

use assert_cmd::Command;
use burn::tensor::Device;
use causalclipseg::bundle::{Bundle, Precision, Provenance};
use causalclipseg::frame::{Fit, Normalisation, Preprocessor};
use causalclipseg::io::Image;
use causalclipseg::mask::Probability;
use causalclipseg::prompt::Tokenizer;
use causalclipseg::{Model, ModelOptions, Session};
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::data::{LoadOptions, Recipe, Split, load_samples};
use causalclipseg_convert::model::{Architecture, TextEncoder, stage};
use causalclipseg_convert::pack::{PackOptions, pack};
use causalclipseg_convert::phantom::{WriteOptions, write_folder};
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use causalclipseg_convert::train::network::{
    Leaves, MaskMode, Mode, Network, NodeTensor, PassPlan, TokenBatch, UpsampledConv,
};
use causalclipseg_convert::train::{Batch, DataSetSource, prepare_sizes};
use ndarray::Array2;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Complete grey levels, as training images have.
const FIT: Fit = Fit::Letterbox { padding: [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0] };

/// The smallest network of the family, with CLIP's vocabulary, trained on padded images.
fn checkpoint() -> Checkpoint {
    let mini = Architecture::mini();
    let text = TextEncoder { vocabulary: 49_408, ..mini.text.clone() };
    let architecture = Architecture { text, ..mini };
    let mut provenance = Provenance::default();
    provenance.set_trained(true);
    provenance.set_fit(FIT).unwrap();
    Checkpoint { weights: architecture.golden_weights().unwrap(), architecture, provenance }
}

fn phantoms(folder: &Path, size: (usize, usize)) -> PathBuf {
    let data = folder.join(format!("phantoms-{}x{}", size.0, size.1));
    let options = WriteOptions { count: 3, seed: 3, val_fraction: 1.0, size: Some(size), lesion_free: 0.0 };
    write_folder(&data, &options, || ()).unwrap();
    data
}

/// The probabilities that the trainer's network computes for the first image of a folder, mapped back to the image.
fn trained_probability(data: &Path, fit: Fit) -> (Probability, String, PathBuf) {
    let Checkpoint { architecture, weights, .. } = checkpoint();
    let size = architecture.input_size;
    let samples = load_samples(data, Split::Val, &LoadOptions::default()).unwrap();
    let sizes = Arc::new(prepare_sizes(&samples, &[size], &fit, 1, || ()).unwrap());
    let tokenizer = Arc::new(Tokenizer::from_json(&clip_tokenizer_json()).unwrap());
    let source = DataSetSource::new(sizes, Recipe::PLAIN, 0, tokenizer, architecture.text.context);
    let batch = Batch::draw(&source, 0, &[0], size).unwrap();

    let device = Device::flex();
    let mut network = Network::new(architecture.describe().unwrap(), &weights, &device).unwrap();
    let plan = PassPlan::new(network.graph(), &[stage::PRED], MaskMode::Learned, UpsampledConv::Blend, false).unwrap();
    let tokens = TokenBatch::new(&batch.tokens, &device);
    let images = batch.normalised_images(&device);
    let values = network.forward(&plan, images, &tokens, Mode::Evaluation, &Leaves::none());
    let Some(NodeTensor::Map(logits)) = values.get(stage::PRED) else { panic!("no prediction") };
    let logits: Vec<f32> = logits.to_data().iter::<f32>().collect();
    let logits = Array2::from_shape_vec((size, size), logits).unwrap();

    let image = Image::open(&samples[0].image).unwrap();
    let mut pixels = vec![0.0; 3 * size * size];
    let mut preprocessor = Preprocessor::new(size, Normalisation::CLIP, fit).unwrap();
    let placement = preprocessor.prepare(&image.frame(), &mut pixels).unwrap();
    // What training sees is what the runtime sees, to half a grey level.
    let seen: Vec<f32> = batch.normalised_images(&device).to_data().iter::<f32>().collect();
    let half = 0.5 / 255.0 / 0.26 + 1e-4;
    assert!(seen.iter().zip(&pixels).all(|(a, b)| (a - b).abs() <= half));
    let probability = Probability::from_logits(logits.view(), &placement).unwrap();
    (probability, samples[0].prompts[0].clone(), samples[0].image.clone())
}

#[test]
fn a_packed_model_yields_the_trainers_mask() {
    let folder = tempfile::tempdir().unwrap();
    for size in [(256, 128), (128, 320), (200, 120)] {
        let data = phantoms(folder.path(), size);
        let (expected, prompt, path) = trained_probability(&data, FIT);
        // The median, so that half of the pixels are in the mask.
        let mut sorted: Vec<f32> = expected.values().iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let threshold = sorted[sorted.len() / 2];
        let checkpoint = checkpoint();
        let fit = checkpoint.fit();
        let options =
            PackOptions { name: "toy".into(), precision: Precision::F32, fit, threshold, tokenizer_json: None };
        let bytes = pack(checkpoint, options, None).unwrap().to_bytes().unwrap();
        let model = Model::from_bundle(Arc::new(Bundle::from_bytes(bytes).unwrap()), ModelOptions::default()).unwrap();
        let image = Image::open(&path).unwrap();
        let mut session = Session::new(&model, Default::default()).unwrap();
        let prompts = [model.prompt(&prompt).unwrap()];
        let found = session.run(&image.frame(), &prompts).unwrap().findings[0].clone();

        let (stretched, ..) = trained_probability(&data, Fit::Stretch);
        let [own, other] = [&expected, &stretched].map(|probability| {
            let pairs = probability.values().into_iter().zip(found.probability().values());
            let differences = pairs.map(|(a, b)| (a - b).abs());
            differences.fold(0f32, f32::max)
        });
        println!("{size:?}: probabilities differ by {own:.1e}, by {other:.1e} if the trainer stretches");
        // Another fit is recognised as wrong.
        assert!(own < other / 100.0, "{size:?}: {own} {other}");
        // Rounding decides only about pixels at the threshold.
        let mask = expected.mask(threshold).unwrap();
        for ((p, a), b) in expected.values().iter().zip(mask.pixels()).zip(found.mask().pixels()) {
            assert!(a == b || (p - threshold).abs() <= own, "{size:?}: {p}, threshold {threshold}");
        }
    }
}

fn converter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_causalclipseg-convert"))
}

/// `pack`, `export` and `evaluate` fit frames as the checkpoint was trained, and tell where they are told otherwise.
#[test]
fn commands_follow_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = phantoms(folder.path(), (256, 128));
    let mut toy = checkpoint();
    // A threshold that divides this untrained network's probabilities, so that masks depend on the input.
    let (probability, ..) = trained_probability(&data, FIT);
    let mut sorted: Vec<f32> = probability.values().iter().copied().collect();
    sorted.sort_by(f32::total_cmp);
    toy.provenance.set("threshold", sorted[sorted.len() / 2].to_string()).unwrap();
    toy.save(&path("toy.safetensors"), Storage::F32).unwrap();
    let pack = |name: &str, flags: &[&str]| -> (Fit, String) {
        let mut command = converter();
        command.arg("pack").arg("--checkpoint").arg(path("toy.safetensors")).args(flags).arg("-o").arg(path(name));
        let output = command.assert().success().get_output().clone();
        let told = String::from_utf8(output.stderr).unwrap();
        (Model::open(&path(name), ModelOptions::default()).unwrap().description().fit, told)
    };
    assert_eq!(pack("default.ccs", &[]), (FIT, String::new()));
    let (fit, told) = pack("stretched.ccs", &["--stretch"]);
    assert_eq!(fit, Fit::Stretch);
    assert!(told.lines().count() == 1 && told.contains("padded with red 123, green 117, blue 104"), "{told}");
    let (fit, told) = pack("grey.ccs", &["--letterbox", "51"]);
    assert_eq!(fit, Fit::Letterbox { padding: [0.2; 3] });
    assert!(told.lines().count() == 1 && told.contains("red 51"), "{told}");

    let export = |name: &str, flags: &[&str]| {
        let mut command = converter();
        command.arg("export").arg("--checkpoint").arg(path("toy.safetensors")).args(flags).arg("-o").arg(path(name));
        String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap()
    };
    assert_eq!(export("default", &[]), "");
    assert!(export("stretched", &["--stretch"]).contains("trained on images that were padded"));
    let described = |name: &str| {
        let bytes = std::fs::read(path(name).join("model.onnx")).unwrap();
        String::from_utf8_lossy(&bytes).contains("letterbox\":{\"padding\":[0.48235")
    };
    assert!(described("default"));

    let evaluate = |source: &str, file: &str| -> Value {
        let mut command = converter();
        command.args(["evaluate", "--split", "val", "--no-prompt-study", "--format", "json", "--data"]).arg(&data);
        let output = command.arg(source).arg(path(file)).assert().success().get_output().stdout.clone();
        let found: Value = serde_json::from_slice(&output).unwrap();
        found["per_image"].clone()
    };
    let own = evaluate("--checkpoint", "toy.safetensors");
    assert_eq!(own, evaluate("--model", "default.ccs"));
    assert_ne!(own, evaluate("--model", "stretched.ccs"));
}
