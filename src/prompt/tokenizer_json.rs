//! Reads a tokenizer.json with a BPE model, in a fraction of the time that the library's own reader takes: that one keeps the
//! complete table of tokens and merges in an intermediate form twice, since a file's model may be of several kinds.

use super::merges::{MergeTable, Vocabulary};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, AddedVocabulary, DecoderWrapper, Error, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

/// A tokenizer of the library around a model.
type Around<M> = TokenizerImpl<M, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A file's tokenizer, around our table or, where the file has settings that the table lacks, around the library's model.
#[derive(Clone)]
pub(super) enum Encoder {
    Table(Box<Around<MergeTable>>),
    Library(Box<Around<BPE>>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoder::Table(_) => "Encoder::Table",
            Encoder::Library(_) => "Encoder::Library",
        })
    }
}

impl Encoder {
    pub(super) fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Encoder::Table(inner) => inner.token_to_id(token),
            Encoder::Library(inner) => inner.token_to_id(token),
        }
    }

    /// The ids of a text, without those that start and end it.
    pub(super) fn encode(&self, text: String) -> Result<Vec<u32>, Error> {
        let encoding = match self {
            Encoder::Table(inner) => inner.encode_fast(text, false)?,
            Encoder::Library(inner) => inner.encode_fast(text, false)?,
        };
        Ok(encoding.get_ids().to_vec())
    }

    /// The number of tokens of the model alone.
    pub(super) fn model_size(&self) -> usize {
        match self {
            Encoder::Table(inner) => inner.get_vocab_size(false),
            Encoder::Library(inner) => inner.get_vocab_size(false),
        }
    }

    pub(super) fn added(&self) -> &AddedVocabulary {
        match self {
            Encoder::Table(inner) => inner.get_added_vocabulary(),
            Encoder::Library(inner) => inner.get_added_vocabulary(),
        }
    }
}

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
    #[serde(deserialize_with = "vocabulary")]
    vocab: Vocabulary,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
}

fn bpe() -> Cow<'static, str> {
    "BPE".into()
}

/// A string that is copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct VocabularyVisitor;

impl<'de> serde::de::Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("ids by token")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let mut vocabulary = Vocabulary::default();
        while let Some((Text(token), id)) = map.next_entry::<Text<'de>, u32>()? {
            vocabulary.insert(&token, id).map_err(serde::de::Error::custom)?;
        }
        Ok(vocabulary)
    }
}

fn vocabulary<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vocabulary, D::Error> {
    deserializer.deserialize_map(VocabularyVisitor)
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

/// Makes the tokenizer. What a file says of truncation and padding is left out.
pub(super) fn read(json: &[u8]) -> Result<Encoder, Error> {
    let file = parse(json)?;
    match file.model.fits_the_table() {
        true => file.into_table(),
        false => file.into_library(),
    }
}

fn parse(json: &[u8]) -> Result<File<'_>, Error> {
    // Checked as text once, and not string by string.
    let file: File = serde_json::from_str(std::str::from_utf8(json)?)?;
    if file.version != "1.0" {
        return Err(format!("its version is {}, and 1.0 is read", file.version).into());
    }
    if file.model.kind != "BPE" {
        return Err(format!("its model is {}, and BPE is read", file.model.kind).into());
    }
    Ok(file)
}

impl Model<'_> {
    /// Whether the settings are those of CLIP's tokenizer; where two texts have one id, the library's model is not ours.
    fn fits_the_table(&self) -> bool {
        let is_empty = |text: &Option<Cow<str>>| text.as_ref().is_none_or(|text| text.is_empty());
        self.dropout.is_none()
            && self.unk_token.is_none()
            && is_empty(&self.continuing_subword_prefix)
            && !self.byte_fallback
            && !self.ignore_merges
            && self.vocab.has_distinct_ids()
    }
}

impl File<'_> {
    fn into_table(self) -> Result<Encoder, Error> {
        let Model { vocab, merges, end_of_word_suffix, .. } = self.model;
        let pairs = merges.iter().map(|Merge(first, second)| (first.as_ref(), second.as_ref()));
        let model = MergeTable::new(vocab, pairs, end_of_word_suffix.unwrap_or_default().into_owned())?;
        let mut tokenizer = Around::new(model);
        tokenizer
            .with_normalizer(self.normalizer)
            .with_pre_tokenizer(self.pre_tokenizer)
            .with_post_processor(self.post_processor)
            .with_decoder(self.decoder);
        tokenizer.add_tokens(&self.added_tokens);
        Ok(Encoder::Table(Box::new(tokenizer)))
    }

    fn into_library(self) -> Result<Encoder, Error> {
        let model = self.model;
        let merges = model.merges.into_iter().map(|Merge(first, second)| (first.into_owned(), second.into_owned()));
        let mut builder = BPE::builder()
            // Complete prompts are cached by us, so words need not be.
            .cache_capacity(0)
            .vocab_and_merges(model.vocab.entries().collect::<Vocab>(), merges.collect())
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
        let mut tokenizer = Around::new(builder.build()?);
        tokenizer
            .with_normalizer(self.normalizer)
            .with_pre_tokenizer(self.pre_tokenizer)
            .with_post_processor(self.post_processor)
            .with_decoder(self.decoder);
        tokenizer.add_tokens(&self.added_tokens);
        Ok(Encoder::Library(Box::new(tokenizer)))
    }
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
                let theirs = tokenizers::Tokenizer::from_bytes(&text).unwrap();
                let sentence = "AB <|endoftext|> ab";
                let parsed = || parse(text.as_bytes()).unwrap();
                assert!(matches!(read(text.as_bytes()).unwrap(), Encoder::Table(_)));
                for ours in [parsed().into_table().unwrap(), parsed().into_library().unwrap()] {
                    assert_eq!(ours.encode(sentence.into()).unwrap(), [2, 4, 2]);
                    assert_eq!(
                        ours.encode(sentence.into()).unwrap(),
                        theirs.encode(sentence, false).unwrap().get_ids()
                    );
                    assert_eq!((ours.token_to_id("ab</w>"), ours.token_to_id("c")), (Some(2), None));
                }
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

    /// Settings that the table lacks go to the library's model.
    #[test]
    fn unusual_settings_are_the_librarys() {
        let plain = json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "?": 3}, "merges": ["a b"]});
        let kind = |model: serde_json::Value| {
            let file = json!({"version": "1.0", "model": model}).to_string();
            let encoder = read(file.as_bytes()).unwrap();
            assert_eq!(encoder.encode("ab".into()).unwrap().last(), Some(&2));
            matches!(encoder, Encoder::Table(_))
        };
        assert!(kind(plain.clone()));
        for (key, value) in [
            ("unk_token", json!("?")),
            ("byte_fallback", json!(true)),
            ("ignore_merges", json!(true)),
            ("dropout", json!(0.0)),
            ("vocab", json!({"a": 0, "b": 1, "ab": 2, "?": 0})),
            ("vocab", json!({"a": 0, "b": 1, "ab": 2, "?": 4_000_000_000u32})),
        ] {
            let mut model = plain.clone();
            model[key] = value;
            assert!(!kind(model), "{key}");
        }
    }

    /// The number of strings in the environment's CCS_TOKENIZER_STRINGS, else a few thousand: a million took minutes.
    #[test]
    fn random_strings_have_the_librarys_ids() {
        use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny.ccs");
        let bundle = std::sync::Arc::new(crate::bundle::Bundle::open(path.as_ref()).unwrap());
        let json = bundle.tokenizer_json().unwrap();
        let stored = super::super::token_table::TableEncoder::new(&bundle).unwrap();
        let table = parse(&json).unwrap().into_table().unwrap();
        let library = parse(&json).unwrap().into_library().unwrap();
        let count = std::env::var("CCS_TOKENIZER_STRINGS").ok().and_then(|count| count.parse().ok()).unwrap_or(5000);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        let alphabets: Vec<Vec<char>> = [
            "abcdefghijklmnopqrstuvwxyz",
            "etaoinshr ",
            "aab ",
            "ABC xyz'sdtmrve ",
            "0123456789 mm.",
            "!?.,;:-_()[]<>|/ a",
            "äöüßéèçñåøæœ łžščř",
            "абвгдежзийклмн опрст",
            "αβγδε ζηθ",
            "病变 肿块 乳腺 左右上下",
            "한국어 결절",
            "مرحبا عقدة",
            "e\u{301}a\u{308}o\u{302} \u{200d}\u{fe0f}",
            "😀🩺👩‍⚕️ a",
            "\u{0}\u{7}\t\n\r \u{a0}\u{2003}x",
            "ΣσςİıßǅſKÅ\u{1e9e} \u{345}\u{2126}",
            "'stremvd'l ",
            "²½Ⅷ①٣๓〇 x",
        ]
        .map(|text| text.chars().collect())
        .into();
        for number in 0..count {
            let mut text = String::new();
            for _ in 0..rng.random_range(1..5) {
                let alphabet = alphabets.choose(&mut rng).unwrap();
                for _ in 0..rng.random_range(0..12) {
                    text.push(match rng.random_range(0..40) {
                        0 => char::from_u32(rng.next_u32() % 0x11_0000).unwrap_or('x'),
                        _ => *alphabet.choose(&mut rng).unwrap(),
                    });
                }
            }
            let expected = library.encode(text.clone()).unwrap();
            assert_eq!(table.encode(text.clone()).unwrap(), expected, "{number}: {text:?}");
            assert_eq!(stored.encode(&text), expected, "{number}: {text:?}");
        }
        // One word as long as a prompt may be.
        for word in ["a".repeat(8000), "abcdefgh".repeat(1000)] {
            let expected = library.encode(word.clone()).unwrap();
            assert_eq!(stored.encode(&word), expected);
            assert_eq!(table.encode(word).unwrap(), expected);
        }
    }
}
