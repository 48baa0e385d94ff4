//! Token ids against those of OpenAI's own tokenizer: through the `tokenizers` crate, and through the table of tokens in a bundle.

use causalclipseg::bundle::{Bundle, BundleBuilder};
use causalclipseg::prompt::{PromptError, Tokenizer};
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(&clip_tokenizer_json()).unwrap()
}

/// The table that the writer derives from the converter's tokenizer.json.
fn packed_table() -> Tokenizer {
    let shipped = Bundle::open(&repository("models/tiny.ccs")).unwrap();
    let builder = BundleBuilder::from_bundle(&shipped).unwrap().tokenizer_json(clip_tokenizer_json());
    Tokenizer::from_table(&Arc::new(builder.open().unwrap())).expect("the bundle has a table")
}

fn shipped_table() -> Tokenizer {
    let shipped = Bundle::open(&repository("models/tiny.ccs")).unwrap();
    Tokenizer::from_table(&Arc::new(shipped)).expect("the shipped bundle has a table")
}

fn check_golden_ids(tokenizer: &Tokenizer) {
    let cases: Vec<Case> =
        serde_json::from_slice(&std::fs::read(repository("tests/golden/clip_tokens.json")).unwrap()).unwrap();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let mut failures = Vec::new();
    for Case { text, ids } in &cases {
        // A few cases are longer than CLIP's context; the file does not cut them.
        let found = tokenizer.encode(text, 200).unwrap();
        if found.ids() != ids {
            failures.push(format!("{text:?}\n  expected {ids:?}\n  found    {:?}", found.ids()));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_golden_id_is_equal() {
    check_golden_ids(&tokenizer());
}

#[test]
fn every_golden_id_is_equal_through_a_bundles_table() {
    check_golden_ids(&packed_table());
    check_golden_ids(&shipped_table());
}

#[test]
fn special_tokens_have_clips_ids() {
    for tokenizer in [tokenizer(), packed_table()] {
        assert_eq!((tokenizer.start_of_text(), tokenizer.end_of_text()), (49_406, 49_407));
        assert_eq!(tokenizer.encode_prompt(" \n", 77), Err(PromptError::Empty));
    }
}

#[test]
fn the_context_is_kept() {
    let tokenizer = tokenizer();
    let fits = "cyst ".repeat(37);
    let tokens = tokenizer.encode_prompt(&fits, 77).unwrap();
    assert!(tokens.len() <= 77);
    let error = tokenizer.encode_prompt(&"cyst ".repeat(100), 77).unwrap_err();
    assert!(matches!(error, PromptError::TooLong { tokens, limit: 77 } if tokens > 100), "{error}");
}
