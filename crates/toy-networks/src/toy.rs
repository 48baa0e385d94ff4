//! A model whose results are known: pixels brighter than one half are lesion, and under a prompt with the word `dark`
//! those that are darker.

use causalclipseg::bundle::{Bundle, BundleBuilder, ModelDescription, Precision, Sha256};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, GraphBuilder, Op, Shape, TAPS, Weights};
use causalclipseg::prompt::Tokenizer;
use ndarray::ArrayD;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The side of the network's input, in pixels.
pub const SIZE: usize = 32;
/// The logit of white; that of black is its negative.
pub const WHITE_LOGIT: f32 = 10.0;
const CONTEXT: usize = 77;
const VOCABULARY: usize = 49_408;
const KERNEL: usize = 3 * TAPS + 1;
/// The name of the file that [`write()`] writes.
pub const FILE_NAME: &str = "toy.ccs";

/// Writes the model into a folder.
pub fn write(folder: &Path) -> PathBuf {
    let path = folder.join(FILE_NAME);
    builder().write(&path).unwrap();
    path
}

/// The bundle of the model, marked as trained.
pub fn builder() -> BundleBuilder {
    builder_of(true)
}

/// The bundle of the model.
pub fn builder_of(trained: bool) -> BundleBuilder {
    let description = ModelDescription {
        name: "toy".into(),
        edition: "tiny".into(),
        input_size: SIZE,
        normalisation: Normalisation { mean: [0.0; 3], std: [1.0; 3] },
        fit: Fit::Stretch,
        threshold: 0.5,
        trained,
        gmac: 0.0,
        provenance: BTreeMap::from([("data".to_string(), "none".to_string())]).try_into().unwrap(),
        calibration: None,
    };
    let tokenizer = tokenizer_json();
    let builder = BundleBuilder::new(description, graph(), &weights(&tokenizer), Precision::F32).unwrap();
    builder.tokenizer_json(tokenizer)
}

fn tokenizer_json() -> Vec<u8> {
    Bundle::open(&crate::shipped()).unwrap().tokenizer_json().unwrap().into_owned()
}

fn graph() -> Graph {
    let mut g = GraphBuilder::new();
    let image = g.input("image", Shape::Map { channels: 3, height: SIZE, width: SIZE }).unwrap();
    let tokens = g.input("tokens", Shape::Tokens { context: CONTEXT }).unwrap();
    let words = Op::Embed { table: "words".into(), vocabulary: VOCABULARY, width: 1 };
    let words = g.add(words, &[tokens]).unwrap();
    // The end of text has an embedding of zero, so it attends to all words alike: its state is their mean.
    let mean = g.add(Op::Attention { heads: 1, causal: true }, &[words; 3]).unwrap();
    let state = g.add(Op::EndOfText, &[mean, tokens]).unwrap();
    let linear = Op::Linear {
        weight: "kernel.weight".into(),
        bias: Some("kernel.bias".into()),
        weight_rows: KERNEL,
        first_row: 0,
        out: KERNEL,
    };
    let kernel = g.add(linear, &[state]).unwrap();
    let bright = g.add(Op::Relu, &[image]).unwrap();
    let rest = g.add(Op::Complement, &[image]).unwrap();
    let pred = g.named("pred", Op::PromptConv { folded: false }, &[bright, kernel]).unwrap();
    let pred_ad = g.named("pred_ad", Op::PromptConv { folded: false }, &[rest, kernel]).unwrap();
    g.finish(&[pred, pred_ad])
}

fn weights(tokenizer_json: &[u8]) -> Weights {
    let dark = Tokenizer::from_json(tokenizer_json).unwrap().encode_prompt("dark", CONTEXT).unwrap();
    let &[_, dark, _] = dark.ids() else { panic!("`dark` is one token") };
    let mut words = ArrayD::zeros(vec![VOCABULARY, 1]);
    // One word of three tokens gives a state of 1.
    words[[dark as usize, 0]] = 3.0;
    let (mut weight, mut bias) = (ArrayD::zeros(vec![KERNEL, 1]), ArrayD::zeros(vec![KERNEL]));
    for channel in 0..3 {
        let centre = channel * TAPS + TAPS / 2;
        bias[[centre]] = 2.0 * WHITE_LOGIT / 3.0;
        // `dark` changes the sign of everything.
        weight[[centre, 0]] = -4.0 * WHITE_LOGIT / 3.0;
    }
    bias[[KERNEL - 1]] = -WHITE_LOGIT;
    weight[[KERNEL - 1, 0]] = 2.0 * WHITE_LOGIT;
    [("words", words), ("kernel.weight", weight), ("kernel.bias", bias)]
        .map(|(name, value)| (name.to_string(), value))
        .into()
}

/// A bundle with another manifest and a correct sum.
pub fn forged(bundle: &[u8], forge: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bundle[16..24].try_into().unwrap()) as usize;
    let mut manifest: serde_json::Value = serde_json::from_slice(&bundle[56..56 + length]).unwrap();
    forge(&mut manifest);
    let manifest = manifest.to_string().into_bytes();
    let mut file = bundle[..16].to_vec();
    file.extend((manifest.len() as u64).to_le_bytes());
    file.extend(Sha256::of(&manifest).0);
    file.extend(manifest);
    file.resize(file.len().next_multiple_of(64), 0);
    file.extend(&bundle[(56 + length).next_multiple_of(64)..]);
    file
}
