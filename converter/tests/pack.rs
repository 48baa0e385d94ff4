//! From a checkpoint to a mask: the packed model in the runtime yields what the published network computes.

use causalclipseg::bundle::{Bundle, Precision, Provenance, SigningKey};
use causalclipseg::engine::{Engine, EngineOptions};
use causalclipseg::frame::{Fit, Frame, Normalisation, PixelFormat, Preprocessor};
use causalclipseg::mask::Probability;
use causalclipseg::prompt::Tokenizer;
use causalclipseg::{Finding, Model, ModelOptions, Session};
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::model::{Architecture, TextEncoder};
use causalclipseg_convert::pack::{PackOptions, pack};
use causalclipseg_convert::phantom::Phantom;
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const PROMPTS: [&str; 3] = ["lesion", "The small bright mass on the left.", "a dark cyst in the lower right"];
const GREY: Fit = Fit::Letterbox { padding: [0.5; 3] };
/// Tolerance in probability for the rewritten network in f32, which sums in another order.
const F32_TOLERANCE: f32 = 1e-4;
/// Tolerance in probability for weights rounded to f16 (2^-11 each).
const F16_TOLERANCE: f32 = 5e-3;

/// The smallest network of the family, with CLIP's vocabulary.
fn checkpoint() -> Checkpoint {
    let mini = Architecture::mini();
    let text = TextEncoder { vocabulary: 49_408, ..mini.text.clone() };
    let architecture = Architecture { text, ..mini };
    let weights = architecture.golden_weights().unwrap();
    Checkpoint {
        architecture,
        weights,
        provenance: BTreeMap::from([("trained".to_string(), "false".to_string())]).try_into().unwrap(),
    }
}

fn options(precision: Precision, fit: Fit) -> PackOptions {
    PackOptions { name: "mini".into(), precision, fit, threshold: 0.5, tokenizer_json: None }
}

fn phantom() -> Phantom {
    Phantom::generate(3, 1, Some((150, 110)))
}

fn frame(phantom: &Phantom) -> Frame<'_> {
    Frame::packed(&phantom.pixels, PixelFormat::Gray8, phantom.width, phantom.height).unwrap()
}

/// Pred and confounders of the published network, mapped back to the frame.
fn published(frame: &Frame, fit: Fit, prompt: &str) -> [Probability; 2] {
    let Checkpoint { architecture, weights, .. } = checkpoint();
    let options = EngineOptions::default().with_confounders(true);
    let engine = Engine::new(&architecture.describe().unwrap(), &weights, options).unwrap();
    let tokens = Tokenizer::from_json(&clip_tokenizer_json()).unwrap().encode_prompt(prompt, 77).unwrap();
    let mut preprocessor = Preprocessor::new(architecture.input_size, Normalisation::CLIP, fit).unwrap();
    let mut pixels = vec![0.0; 3 * architecture.input_size * architecture.input_size];
    let placement = preprocessor.prepare(frame, &mut pixels).unwrap();
    let kernel = engine.encode_prompt(tokens.ids()).unwrap();
    let (logits, confounders) = engine.segment(&pixels, &kernel).unwrap();
    [logits, confounders.unwrap()].map(|logits| Probability::from_logits(logits.view(), &placement).unwrap())
}

fn open(precision: Precision, fit: Fit, options_of_model: ModelOptions) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mini.ccs");
    pack(checkpoint(), options(precision, fit), None).unwrap().write(&path).unwrap();
    Model::open(&path, options_of_model).unwrap()
}

fn segment(model: &Model, frame: &Frame, prompts: &[&str]) -> Vec<Finding> {
    let prompts: Vec<_> = prompts.iter().map(|text| model.prompt(text).unwrap()).collect();
    Session::new(model, Default::default()).unwrap().run(frame, &prompts).unwrap().findings.clone()
}

fn largest_difference(found: &Probability, expected: &Probability) -> f32 {
    assert_eq!(found.values().dim(), expected.values().dim());
    found.values().iter().zip(expected.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The range of the values: probabilities that are all alike would agree whatever the network computed.
fn spread(probability: &Probability) -> f32 {
    let values = probability.values();
    values.iter().copied().fold(0.0, f32::max) - values.iter().copied().fold(1.0, f32::min)
}

#[test]
fn the_packed_model_computes_what_was_published() {
    let phantom = phantom();
    let frame = frame(&phantom);
    let confounders = ModelOptions::default().with_confounders(true);
    for fit in [Fit::Stretch, GREY] {
        let expected = published(&frame, fit, PROMPTS[1]);
        for (precision, tolerance) in [(Precision::F32, F32_TOLERANCE), (Precision::F16, F16_TOLERANCE)] {
            let model = open(precision, fit, confounders.clone());
            assert!(model.self_test().unwrap().unwrap() < 1e-4);
            let found = &segment(&model, &frame, &PROMPTS[1..2])[0];
            assert_eq!(found.probability().values().dim(), (110, 150));
            let difference = largest_difference(found.probability(), &expected[0]);
            let rest = largest_difference(found.confounders().unwrap(), &expected[1]);
            println!("{fit:?} {precision:?}: {difference:.1e}, confounders {rest:.1e}, of {}", spread(&expected[0]));
            assert!(difference < tolerance && rest < tolerance, "{fit:?} {precision:?}: {difference} {rest}");
            assert!(spread(&expected[0]) > 5.0 * tolerance, "{}", spread(&expected[0]));
            if precision == Precision::F32 {
                let mask = expected[0].mask(0.5).unwrap();
                let wrong = found.mask().pixels().iter().zip(mask.pixels()).filter(|(a, b)| a != b).count();
                assert!(wrong <= 5, "{wrong} pixels differ");
            }
        }
    }
}

#[test]
fn letterbox_and_stretch_differ() {
    let phantom = phantom();
    let [stretch, letterbox] = [Fit::Stretch, GREY].map(|fit| published(&frame(&phantom), fit, PROMPTS[0]));
    assert!(largest_difference(&stretch[0], &letterbox[0]) > 10.0 * F32_TOLERANCE);
}

#[test]
fn prompts_together_are_prompts_one_by_one() {
    let phantom = phantom();
    let frame = frame(&phantom);
    let model = open(Precision::F32, Fit::Stretch, ModelOptions::default());
    let together = segment(&model, &frame, &PROMPTS);
    assert_eq!(together.len(), PROMPTS.len());
    for (prompt, found) in PROMPTS.iter().zip(&together) {
        // The cache has the prompt by now; a model that never saw it must agree.
        for model in [&model, &open(Precision::F32, Fit::Stretch, ModelOptions::default())] {
            let alone = &segment(model, &frame, &[prompt])[0];
            assert_eq!(alone.probability().values(), found.probability().values(), "{prompt}");
            assert_eq!(alone.mask().pixels(), found.mask().pixels(), "{prompt}");
            assert!(alone.confounders().is_none());
        }
    }
    assert!(largest_difference(together[0].probability(), together[1].probability()) > 1e-4);
    // A prompt that had to leave the cache yields the same result.
    let forgetful = open(Precision::F32, Fit::Stretch, ModelOptions::default().with_cached_prompts(1));
    for (prompt, found) in PROMPTS.iter().zip(&together).chain(PROMPTS.iter().zip(&together)) {
        let alone = &segment(&forgetful, &frame, &[prompt])[0];
        assert_eq!(alone.probability().values(), found.probability().values(), "{prompt}");
    }
}

#[test]
fn neither_confounders_nor_threads_change_the_prediction() {
    let phantom = phantom();
    let frame = frame(&phantom);
    let plain = &segment(&open(Precision::F32, GREY, ModelOptions::default()), &frame, &PROMPTS[..1])[0];
    for options in [
        ModelOptions::default().with_confounders(true),
        ModelOptions::default().with_threads(2),
        ModelOptions::default().with_threads(3).with_confounders(true),
    ] {
        let found = &segment(&open(Precision::F32, GREY, options.clone()), &frame, &PROMPTS[..1])[0];
        assert_eq!(found.confounders().is_some(), options.engine.confounders);
        let difference = largest_difference(found.probability(), plain.probability());
        assert_eq!(difference, 0.0, "{options:?}");
    }
}

#[test]
fn a_signed_bundle_runs_and_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signed.ccs");
    let key = SigningKey::from_bytes(&[9; 32]);
    let options = options(Precision::F16, Fit::Stretch);
    pack(checkpoint(), options, Some(key.clone())).unwrap().write(&path).unwrap();
    let bundle = Arc::new(Bundle::open(&path).unwrap());
    bundle.verify_signature(&key.verifying_key()).unwrap();
    assert!(bundle.verify_signature(&SigningKey::from_bytes(&[1; 32]).verifying_key()).is_err());
    let model = Model::from_bundle(bundle.clone(), ModelOptions::default()).unwrap();
    assert_eq!(model.sha256(), bundle.sha256());
    assert!(!model.description().trained);
    let phantom = phantom();
    assert_eq!(segment(&model, &frame(&phantom), &PROMPTS).len(), 3);
}

#[test]
fn several_threads_share_one_model() {
    let phantom = phantom();
    let frame = frame(&phantom);
    let model = open(Precision::F32, Fit::Stretch, ModelOptions::default());
    let expected = segment(&model, &frame, &PROMPTS);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for (found, expected) in segment(&model, &frame, &PROMPTS).iter().zip(&expected) {
                    assert_eq!(found.probability().values(), expected.probability().values());
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_packed_is_told() {
    let message =
        |checkpoint: Checkpoint, options: PackOptions| pack(checkpoint, options, None).err().unwrap().to_string();
    assert!(message(checkpoint(), options(Precision::Int8, Fit::Stretch)).contains("pack f32 or f16"));
    let tokenizer = PackOptions { tokenizer_json: Some(b"{}".to_vec()), ..options(Precision::F32, Fit::Stretch) };
    assert!(message(checkpoint(), tokenizer).contains("tokenizer.json is not usable"));
    // A vocabulary that is smaller than the tokenizer's.
    let architecture = Architecture::mini();
    let weights = architecture.golden_weights().unwrap();
    let small = Checkpoint { architecture, weights, provenance: Provenance::default() };
    assert!(message(small, options(Precision::F32, Fit::Stretch)).contains("vocabulary of 512"));
    let folder = tempfile::tempdir().unwrap();
    let builder = pack(checkpoint(), options(Precision::F32, Fit::Stretch), None).unwrap();
    assert!(builder.write(Path::new("/dev/null/x.ccs")).is_err());
    assert!(builder.write(&folder.path().join("none/x.ccs")).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A bundle without maskers computes the network whose masks are constantly one, costs less, and has no confounders.
#[test]
fn open_masks_fold_away() {
    let (phantom, whole) = (phantom(), checkpoint());
    let frame = frame(&phantom);
    let mut held = checkpoint();
    for masker in ["masker3", "masker4", "masker5"] {
        // Sigmoids of 20 round to one.
        for (field, value) in [("weight", 0.0), ("bias", 20.0)] {
            held.weights.get_mut(&format!("neck_ad.{masker}.bn.{field}")).unwrap().fill(value);
        }
    }
    let bundle = |checkpoint: Checkpoint| {
        let builder = pack(checkpoint, options(Precision::F32, Fit::Stretch), None).unwrap();
        Arc::new(Bundle::from_bytes(builder.to_bytes().unwrap()).unwrap())
    };
    let [whole, held, open] = [whole, held, checkpoint().with_open_masks().unwrap()].map(bundle);
    let run = |bundle: &Arc<Bundle>| {
        let model = Model::from_bundle(Arc::clone(bundle), ModelOptions::default()).unwrap();
        segment(&model, &frame, &PROMPTS)
    };
    let (learned, expected, found) = (run(&whole), run(&held), run(&open));
    for ((found, expected), learned) in found.iter().zip(&expected).zip(&learned) {
        assert!(largest_difference(found.probability(), expected.probability()) <= F32_TOLERANCE);
        assert!(largest_difference(found.probability(), learned.probability()) > 10.0 * F32_TOLERANCE);
    }
    let gmac = |bundle: &Bundle| bundle.manifest().model.gmac;
    assert_eq!(gmac(&whole), gmac(&held));
    assert!(gmac(&open) < 0.9 * gmac(&whole), "{} of {}", gmac(&open), gmac(&whole));
    let confounders = ModelOptions::default().with_confounders(true);
    let error = Model::from_bundle(open, confounders.clone()).err().unwrap().to_string();
    assert!(error.contains("--open-masks"), "{error}");
    assert!(Model::from_bundle(whole, confounders).is_ok());
}
