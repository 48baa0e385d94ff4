//! Converts a sentence to token ids, and caches what was computed from them.

mod cache;
mod clean;
mod entities;
mod merges;
mod token_table;
mod tokenizer_json;

pub use cache::PromptCache;
pub use causalclipseg_bundle::{KnownWords, WORDS_KEY, words};

use crate::bundle::Bundle;
use std::borrow::Borrow;
use std::sync::Arc;

/// The longest prompt that is read, in bytes of UTF-8. 77 tokens of ordinary text are a tenth of that.
pub const MAX_PROMPT_BYTES: usize = 8192;

const START_OF_TEXT: &str = "<|startoftext|>";
const END_OF_TEXT: &str = "<|endoftext|>";

/// CLIP's tokenizer, of a bundle's table or read from a tokenizer.json.
#[derive(Debug)]
pub struct Tokenizer {
    inner: Inner,
    start_of_text: u32,
    end_of_text: u32,
}

#[derive(Debug)]
enum Inner {
    Table(token_table::TableEncoder),
    Json(tokenizer_json::Encoder),
}

/// Token ids of one prompt, start and end of text included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tokens(Box<[u32]>);

impl Tokens {
    /// Tokens from the caller's own ids; the start of text comes first, the end of text last.
    pub fn from_ids(ids: impl Into<Box<[u32]>>) -> Self {
        Self(ids.into())
    }

    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing between start and end of text.
    pub fn is_empty(&self) -> bool {
        self.0.len() <= 2
    }
}

// Lets a cache look up ids without building a key. Slices and boxes of slices hash and compare alike.
impl Borrow<[u32]> for Tokens {
    fn borrow(&self) -> &[u32] {
        &self.0
    }
}

/// Why a prompt, or a tokenizer, is refused.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum PromptError {
    #[error("the prompt is empty; say what to look for, for example `a dark mass in the upper left`")]
    Empty,
    #[error("the prompt has {tokens} tokens and the model reads {limit}; shorten it")]
    TooLong { tokens: usize, limit: usize },
    #[error("the prompt has {bytes} bytes, of which at most {MAX_PROMPT_BYTES} are read; shorten it to a sentence")]
    TooLarge { bytes: usize },
    #[error("the tokenizer.json is not usable ({0}); pack the model again")]
    Tokenizer(String),
    #[error("the prompt cannot be tokenized ({0}); write it in plain text")]
    Tokenize(String),
}

impl Tokenizer {
    /// The tokenizer of a bundle's table, which stays in the file; `None` where the bundle has no table.
    pub fn from_table(bundle: &Arc<Bundle>) -> Option<Self> {
        let inner = token_table::TableEncoder::new(bundle)?;
        let (start_of_text, end_of_text) = (inner.start_of_text(), inner.end_of_text());
        Some(Self { inner: Inner::Table(inner), start_of_text, end_of_text })
    }

    /// Reads a tokenizer.json with CLIP's two special tokens; their ids are the file's. The end of text must have the
    /// largest id, because the network finds it by that.
    pub fn from_json(json: &[u8]) -> Result<Self, PromptError> {
        let unusable = |error: tokenizers::Error| PromptError::Tokenizer(error.to_string());
        // Without the file's own truncation and padding, which would hide a prompt that is too long.
        let inner = tokenizer_json::read(json).map_err(unusable)?;
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| PromptError::Tokenizer(format!("it has no token `{token}`")))
        };
        let (start_of_text, end_of_text) = (id(START_OF_TEXT)?, id(END_OF_TEXT)?);
        // Ids count up from zero, so the largest is one less than their number.
        let added = inner.added().get_vocab();
        let largest = added.values().copied().max().unwrap_or(0).max((inner.model_size() as u32).saturating_sub(1));
        if end_of_text != largest {
            let reason = format!("`{END_OF_TEXT}` is token {end_of_text}, but the largest is {largest}");
            return Err(PromptError::Tokenizer(reason));
        }
        Ok(Self { inner: Inner::Json(inner), start_of_text, end_of_text })
    }

    pub fn start_of_text(&self) -> u32 {
        self.start_of_text
    }

    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// The ids of a user's prompt: as [`Self::encode`], but a prompt without words is an error.
    pub fn encode_prompt(&self, prompt: &str, context: usize) -> Result<Tokens, PromptError> {
        let tokens = self.encode(prompt, context)?;
        if tokens.is_empty() { Err(PromptError::Empty) } else { Ok(tokens) }
    }

    /// The ids of OpenAI's tokenizer, start and end of text included, without padding: at most `context` (CLIP reads
    /// 77). Empty text gives the start and the end.
    pub fn encode(&self, text: &str, context: usize) -> Result<Tokens, PromptError> {
        // Before any work: a very long prompt must not cost the time to tokenize it.
        if text.len() > MAX_PROMPT_BYTES {
            return Err(PromptError::TooLarge { bytes: text.len() });
        }
        let text = clean::clean(text);
        let words = match &self.inner {
            Inner::Table(inner) => inner.encode(&text),
            Inner::Json(inner) => inner.encode(text).map_err(|error| PromptError::Tokenize(error.to_string()))?,
        };
        let tokens = words.len() + 2;
        if tokens > context {
            return Err(PromptError::TooLong { tokens, limit: context });
        }
        let mut ids = Vec::with_capacity(tokens);
        ids.push(self.start_of_text);
        ids.extend(words);
        ids.push(self.end_of_text);
        Ok(Tokens::from_ids(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Letters and digits, each alone and at a word's end, one merge, and the special tokens.
    fn small_tokenizer_json() -> Value {
        let mut vocabulary = serde_json::Map::new();
        for c in ('a'..='z').chain('0'..='9').chain(['.']) {
            for token in [c.to_string(), format!("{c}</w>")] {
                let id = vocabulary.len();
                vocabulary.insert(token, id.into());
            }
        }
        let size = vocabulary.len();
        for (number, token) in ["ma</w>", START_OF_TEXT, END_OF_TEXT].into_iter().enumerate() {
            vocabulary.insert(token.to_string(), (size + number).into());
        }
        let special = |id: usize, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(size + 1, START_OF_TEXT), special(size + 2, END_OF_TEXT)],
            "normalizer": null,
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                      "end_of_word_suffix": "</w>", "fuse_unk": false, "vocab": vocabulary, "merges": ["m a</w>"]}
        })
    }

    fn small_tokenizer() -> Tokenizer {
        Tokenizer::from_json(small_tokenizer_json().to_string().as_bytes()).unwrap()
    }

    #[test]
    fn special_ids_come_from_the_file() {
        let tokenizer = small_tokenizer();
        assert_eq!((tokenizer.start_of_text(), tokenizer.end_of_text()), (75, 76));
        assert_eq!(tokenizer.encode("MA", 77).unwrap().ids(), [75, 74, 76]);
        assert_eq!(tokenizer.encode(" &#97; b", 77).unwrap().ids(), [75, 1, 3, 76]);
    }

    #[test]
    fn prompts_without_words_are_refused_but_encode() {
        let tokenizer = small_tokenizer();
        for text in ["", " ", "\t\n", "&nbsp;"] {
            assert_eq!(tokenizer.encode(text, 77).unwrap().ids(), [75, 76], "{text:?}");
            assert_eq!(tokenizer.encode_prompt(text, 77), Err(PromptError::Empty));
        }
        assert_eq!(tokenizer.encode_prompt("a", 77).unwrap().len(), 3);
    }

    #[test]
    fn a_files_own_truncation_and_padding_are_off() {
        let mut json = small_tokenizer_json();
        json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                                 "pad_id": 0, "pad_type_id": 0, "pad_token": "a"});
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("a a a", 77).unwrap().ids(), [75, 1, 1, 1, 76]);
    }

    #[test]
    fn long_prompts_say_how_long_they_are() {
        let tokenizer = small_tokenizer();
        assert_eq!(tokenizer.encode(&"a ".repeat(75), 77).unwrap().len(), 77);
        let error = tokenizer.encode(&"a ".repeat(76), 77).unwrap_err();
        assert_eq!(error, PromptError::TooLong { tokens: 78, limit: 77 });
        assert_eq!(error.to_string(), "the prompt has 78 tokens and the model reads 77; shorten it");
    }

    #[test]
    fn a_book_is_refused_at_once() {
        let book = "lesion ".repeat(10_000);
        let start = std::time::Instant::now();
        assert_eq!(small_tokenizer().encode(&book, 77), Err(PromptError::TooLarge { bytes: book.len() }));
        assert!(start.elapsed().as_millis() < 200, "{:?}", start.elapsed());
    }

    #[test]
    fn unusable_tokenizers_are_refused() {
        let refused = |json: &[u8]| match Tokenizer::from_json(json) {
            Err(PromptError::Tokenizer(reason)) => reason,
            other => panic!("{other:?}"),
        };
        for json in [&b""[..], b"{}", b"[1]", b"\xff\xfe", b"{\"version\":"] {
            refused(json);
        }
        let mut json = small_tokenizer_json();
        json["added_tokens"] = json!([]);
        json["model"]["vocab"].as_object_mut().unwrap().remove(END_OF_TEXT);
        assert!(refused(json.to_string().as_bytes()).contains("<|endoftext|>"));
        let mut json = small_tokenizer_json();
        json["model"]["vocab"] = json!({});
        json["model"]["merges"] = json!([]);
        Tokenizer::from_json(json.to_string().as_bytes()).expect("two special tokens are a vocabulary");
        let mut json = small_tokenizer_json();
        json["added_tokens"][0]["id"] = 76.into();
        json["added_tokens"][1]["id"] = 75.into();
        json["model"]["vocab"][START_OF_TEXT] = 76.into();
        json["model"]["vocab"][END_OF_TEXT] = 75.into();
        assert!(refused(json.to_string().as_bytes()).contains("largest"));
    }
}
