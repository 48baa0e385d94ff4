//! The reference files import to the reference weights.

use super::fixtures::*;
use crate::checkpoint::{Checkpoint, Storage};
use crate::import::{ImportOptions, import};
use crate::model::{Architecture, Edition, scale_new_heads};
use causalclipseg::bundle::Provenance;
use causalclipseg::graph::Weights;
use half::f16;

fn half(weights: Weights) -> Weights {
    weights.into_iter().map(|(name, value)| (name, value.mapv(|v| f16::from_f32(v).to_f32()))).collect()
}

/// The formula in f32 differs from f64 in the last bit.
fn assert_close(found: &Weights, expected: &Weights) {
    assert!(found.keys().eq(expected.keys()));
    for (name, expected) in expected {
        assert_eq!(found[name].shape(), expected.shape(), "{name}");
        for (found, expected) in found[name].iter().zip(expected) {
            assert!((found - expected).abs() <= 3e-7 * expected.abs(), "{name}: {found}, not {expected}");
        }
    }
}

/// The mini weights in f32 from the reference files, equal to `mini_weights` up to the last bit.
fn stored_weights() -> Weights {
    import(&[golden("mini_state_dict.pt")], &ImportOptions::default()).unwrap().weights
}

fn assert_same(found: &Weights, expected: &Weights) {
    assert!(found.keys().eq(expected.keys()));
    for (name, expected) in expected {
        assert_eq!(&found[name], expected, "{name}");
    }
}

#[test]
fn whole_checkpoints_import_to_the_golden_weights() {
    for name in ["mini_ddp_checkpoint.pth", "mini_state_dict.pt"] {
        let checkpoint = import(&[golden(name)], &ImportOptions::default()).unwrap();
        assert_eq!(checkpoint.architecture, mini(), "{name}");
        assert_close(&checkpoint.weights, &mini_weights());
        assert_eq!(checkpoint.provenance.trained(), Some(true));
        assert_eq!(checkpoint.provenance.get("source"), Some(name));
        assert_eq!(checkpoint.provenance.get("source_sha256").unwrap().len(), 64);
        assert_eq!(checkpoint.provenance.seed(), None);
    }
}

#[test]
fn clip_alone_imports_to_its_f16_rounding_and_seeded_new_layers() {
    let mut drawn = mini().random_weights(7).unwrap();
    scale_new_heads(&mini(), &mut drawn);
    let mut expected = half(stored_weights());
    for (name, value) in expected.iter_mut().filter(|(name, _)| !name.starts_with("backbone.")) {
        value.assign(&drawn[name]);
    }
    for name in ["mini_clip_torchscript_fp16.pt", "mini_clip_openai_names_fp16.safetensors"] {
        let options = ImportOptions { seed: 7, decoder: Some(32), ..ImportOptions::default() };
        let checkpoint = import(&[golden(name)], &options).unwrap();
        assert_eq!(checkpoint.architecture, mini(), "{name}");
        assert_same(&checkpoint.weights, &expected);
        assert_eq!(checkpoint.provenance.trained(), Some(false));
        assert_eq!(checkpoint.provenance.seed(), Some(7));
    }
}

/// OpenAI's files have no `connect`; the golden ones do.
#[test]
fn clip_without_the_shortcut_gets_one() {
    let weights = mini_weights();
    let is_clip = |name: &str| name.starts_with("backbone.") && !name.contains(".connect.");
    let clip = weights.iter().filter(|(name, _)| is_clip(name));
    let file = file_of(&safetensors_of(clip.map(|(name, value)| (name["backbone.".len()..].to_string(), value))));
    let options = ImportOptions { seed: 3, decoder: Some(32), ..ImportOptions::default() };
    let checkpoint = import(&[file.path().into()], &options).unwrap();
    let mut drawn = mini().random_weights(3).unwrap();
    scale_new_heads(&mini(), &mut drawn);
    for (name, value) in &checkpoint.weights {
        assert_eq!(value, if is_clip(name) { &weights[name] } else { &drawn[name] }, "{name}");
    }
}

#[test]
fn clip_and_a_head_merge() {
    let weights = stored_weights();
    let head = weights.iter().filter(|(name, _)| !name.starts_with("backbone."));
    let head = file_of(&safetensors_of(head.map(|(name, value)| (format!("module.{name}"), value))));
    let paths = [golden("mini_clip_torchscript_fp16.pt"), head.path().to_path_buf()];
    let checkpoint = import(&paths, &ImportOptions::default()).unwrap();
    assert_eq!(checkpoint.architecture, mini());
    let rounded = half(weights.clone());
    for (name, value) in &checkpoint.weights {
        assert_eq!(value, if name.starts_with("backbone.") { &rounded[name] } else { &weights[name] }, "{name}");
    }
    assert_eq!(checkpoint.provenance.trained(), Some(true));
    assert!(checkpoint.provenance.get("source").unwrap().starts_with("mini_clip_torchscript_fp16.pt, "));
}

#[test]
fn open_clip_names_import() {
    let weights = mini_weights();
    let renamed = weights.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("backbone.")?;
        let is_text = !name.starts_with("visual.");
        Some((if is_text { format!("text.{name}") } else { name.to_string() }, value))
    });
    let file = file_of(&safetensors_of(renamed));
    let options = ImportOptions { decoder: Some(32), ..ImportOptions::default() };
    let checkpoint = import(&[file.path().into()], &options).unwrap();
    for (name, value) in checkpoint.weights.iter().filter(|(name, _)| name.starts_with("backbone.")) {
        assert_eq!(value, &weights[name], "{name}");
    }
}

#[test]
fn another_input_size_resizes_the_positions() {
    let options = ImportOptions { input_size: Some(96), ..ImportOptions::default() };
    let checkpoint = import(&[golden("mini_state_dict.pt")], &options).unwrap();
    assert_eq!(checkpoint.architecture.input_size, 96);
    let positions = &checkpoint.weights["backbone.visual.attnpool.positional_embedding"];
    assert_eq!(positions.shape(), [10, 256]);
    let options = ImportOptions { input_size: Some(100), ..ImportOptions::default() };
    let error = import(&[golden("mini_state_dict.pt")], &options).unwrap_err();
    assert!(error.to_string().contains("multiple of 32"), "{error}");
}

/// Shapes do not show the tiny edition's number of heads, but its checkpoint does.
#[test]
fn our_own_checkpoints_import_unchanged() {
    let mut architecture = Architecture::of(Edition::Tiny, 64);
    architecture.text.vocabulary = 512;
    let weights = architecture.golden_weights().unwrap();
    let mut provenance = Provenance::default();
    provenance.set_trained(false);
    let own = Checkpoint { architecture, weights, provenance };
    let file = tempfile::NamedTempFile::new().unwrap();
    own.save(file.path(), Storage::F32).unwrap();
    let imported = import(&[file.path().into()], &ImportOptions::default()).unwrap();
    assert_eq!(imported.architecture, own.architecture);
    assert_same(&imported.weights, &own.weights);
    assert_eq!(imported.provenance.trained(), Some(false));
}
