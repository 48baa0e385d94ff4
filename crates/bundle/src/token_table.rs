//! CLIP's tokenizer as numbers that are used where they lie in the file: nothing is built when a model is opened.
//!
//! It follows the compressed tokenizer.json in the part `tokenizer`, at the next multiple of 64 bytes with zeros between. Readers
//! that do not know it expand the JSON and ignore the bytes after it. All integers are little-endian:
//!
//! | byte | what |
//! |---|---|
//! | 0 | u32 layout, 1 |
//! | 4 | u32 number of tokens N, at most 65,536 |
//! | 8 | u32 id of `<|startoftext|>` |
//! | 12 | u32 id of `<|endoftext|>`, N - 1 |
//! | 16 | u32 number of merges M |
//! | 20 | 256 x u16: the token of each byte inside a word |
//! | 532 | 256 x u16: the token of each byte at the end of a word |
//! | 1044 | M x 3 u16: first token, second token, what they merge into; ascending by the first two |
//!
//! Of two possible merges the one into the lower id comes first: tokens are numbered in the order of their merges. A
//! tokenizer.json of which that is not true, or with another definition of words, has no table.

use crate::error::Problem;
use serde_json::{Value, json};
use std::collections::HashMap;

const LAYOUT: u32 = 1;
/// Layout, tokens, start of text, end of text, merges.
const HEADER_BYTES: usize = 20;
const BYTE_TOKENS_BYTES: usize = 2 * 256 * 2;
const MERGE_BYTES: usize = 6;
const MAX_TOKENS: usize = 1 << 16;
/// The smallest part with a table.
pub(super) const MIN_BYTES: u64 = (HEADER_BYTES + BYTE_TOKENS_BYTES) as u64;

const START_OF_TEXT: &str = "<|startoftext|>";
const END_OF_TEXT: &str = "<|endoftext|>";
/// CLIP's definition of a word.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A checked table in a bundle.
#[derive(Clone, Copy, Debug)]
pub struct TokenTable<'a> {
    bytes: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first two tokens of a merge as one number, which orders merges as the pair does.
fn key(first: u16, second: u16) -> u32 {
    u32::from(first) << 16 | u32::from(second)
}

impl<'a> TokenTable<'a> {
    /// Checks the table in one pass. `None` for a later layout, whose reader is a newer program.
    pub(super) fn check(bytes: &'a [u8]) -> Result<Option<Self>, Problem> {
        let wrong = |reason: String| Err(Problem::layout("table of tokens", reason));
        if bytes.len() < HEADER_BYTES + BYTE_TOKENS_BYTES {
            return wrong(format!("it has {} bytes", bytes.len()));
        }
        match u32_at(bytes, 0) {
            LAYOUT => {}
            0 => return wrong("layout 0 does not exist".into()),
            _ => return Ok(None),
        }
        let [tokens, start, end, merges] = [4, 8, 12, 16].map(|at| u32_at(bytes, at) as usize);
        if tokens > MAX_TOKENS {
            return wrong(format!("it has {tokens} tokens, at most {MAX_TOKENS} are read"));
        }
        if end.checked_add(1) != Some(tokens) || start >= end {
            return wrong(format!("of {tokens} tokens, {start} starts and {end} ends a text"));
        }
        let table = &bytes[HEADER_BYTES + BYTE_TOKENS_BYTES..];
        if merges.checked_mul(MERGE_BYTES) != Some(table.len()) {
            return wrong(format!("{} bytes do not hold {merges} merges", table.len()));
        }
        let largest = end as u16;
        let numbers = bytes[HEADER_BYTES..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        if let Some(id) = numbers.clone().find(|id| *id > largest) {
            return wrong(format!("it names token {id} of {tokens}"));
        }
        let pair = |merge: &[u8]| key(u16_at(merge, 0), u16_at(merge, 2));
        let mut last = None;
        for (number, merge) in table.chunks_exact(MERGE_BYTES).enumerate() {
            let pair = Some(pair(merge));
            if last >= pair {
                return wrong(format!("merge {number} is out of order"));
            }
            last = pair;
        }
        Ok(Some(Self { bytes }))
    }

    /// The table of bytes that [`Self::check`] accepted.
    pub(super) fn checked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The id that starts a text.
    pub fn start_of_text(&self) -> u32 {
        u32_at(self.bytes, 8)
    }

    /// The id that ends a text, the largest of all.
    pub fn end_of_text(&self) -> u32 {
        u32_at(self.bytes, 12)
    }

    /// The token of a byte inside a word or at its end.
    pub fn byte(&self, byte: u8, ends_word: bool) -> u16 {
        u16_at(self.bytes, HEADER_BYTES + 2 * (usize::from(byte) + 256 * usize::from(ends_word)))
    }

    /// What two neighbouring tokens merge into. The lowest of a word's possible results is merged first.
    pub fn merge(&self, first: u16, second: u16) -> Option<u16> {
        let merges = &self.bytes[HEADER_BYTES + BYTE_TOKENS_BYTES..];
        let wanted = key(first, second);
        let (mut low, mut high) = (0, merges.len() / MERGE_BYTES);
        while low < high {
            let middle = low.midpoint(high);
            let at = middle * MERGE_BYTES;
            match key(u16_at(merges, at), u16_at(merges, at + 2)).cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(u16_at(merges, at + 4)),
            }
        }
        None
    }
}

/// The table of a tokenizer.json; `None` where it is not of CLIP's kind, or not numbered in the order of its merges.
pub(super) fn from_json(json: &[u8]) -> Option<Vec<u8>> {
    let file: Value = serde_json::from_slice(json).ok()?;
    let model = file.get("model")?.as_object()?;
    let suffix = model.get("end_of_word_suffix")?.as_str()?;
    let vocabulary: HashMap<&str, u16> = model
        .get("vocab")?
        .as_object()?
        .iter()
        .map(|(token, id)| Some((token.as_str(), u16::try_from(id.as_u64()?).ok()?)))
        .collect::<Option<_>>()?;
    let id = |token: &str| vocabulary.get(token).copied();
    let (start, end) = (id(START_OF_TEXT)?, id(END_OF_TEXT)?);
    let mut seen = vec![false; vocabulary.len()];
    let are_dense =
        vocabulary.values().all(|id| seen.get_mut(usize::from(*id)).is_some_and(|seen| !std::mem::replace(seen, true)));
    let is_clips = file.get("version") == Some(&json!("1.0"))
        && has_clips_words(&file)
        && has_clips_special_tokens(&file, start, end)
        && has_plain_settings(model);
    if !is_clips || !are_dense || usize::from(end) + 1 != vocabulary.len() {
        return None;
    }
    let mut table = Vec::new();
    let merges = model.get("merges")?.as_array()?;
    for number in [LAYOUT, vocabulary.len() as u32, start.into(), end.into(), u32::try_from(merges.len()).ok()?] {
        table.extend(number.to_le_bytes());
    }
    for suffix in ["", suffix] {
        for character in byte_characters() {
            table.extend(id(&format!("{character}{suffix}"))?.to_le_bytes());
        }
    }
    let mut sorted = Vec::with_capacity(merges.len());
    let mut last = None;
    for merge in merges {
        let (first, second) = two_tokens(merge)?;
        let result = id(&format!("{first}{second}"))?;
        if last.replace(result) >= Some(result) {
            return None;
        }
        sorted.push([id(first)?, id(second)?, result]);
    }
    sorted.sort_unstable();
    table.extend(sorted.into_iter().flatten().flat_map(u16::to_le_bytes));
    // Refuses a pair with two merges.
    TokenTable::check(&table).ok()??;
    Some(table)
}

fn two_tokens(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(pair) if pair.len() == 2 => Some((pair[0].as_str()?, pair[1].as_str()?)),
        _ => None,
    }
}

/// Composition to NFC, white space, lower case; then words; then bytes.
fn has_clips_words(file: &Value) -> bool {
    let normalizer = json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        {"type": "Lowercase"},
    ]});
    let pre_tokenizer = |trims| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trims, "use_regex": false},
        ]})
    };
    let found = file.get("pre_tokenizer");
    file.get("normalizer") == Some(&normalizer)
        && [true, false].into_iter().any(|trims| found == Some(&pre_tokenizer(trims)))
}

fn has_clips_special_tokens(file: &Value, start: u16, end: u16) -> bool {
    let special = |id: u16, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    file.get("added_tokens") == Some(&json!([special(start, START_OF_TEXT), special(end, END_OF_TEXT)]))
}

/// Whether the model has the settings of CLIP's, and none that this program does not know.
fn has_plain_settings(model: &serde_json::Map<String, Value>) -> bool {
    model.iter().all(|(key, value)| match key.as_str() {
        "type" => value == "BPE",
        "dropout" | "unk_token" => value.is_null(),
        "continuing_subword_prefix" => value.is_null() || value == "",
        "byte_fallback" | "ignore_merges" => value == false,
        "end_of_word_suffix" | "fuse_unk" | "vocab" | "merges" => true,
        _ => false,
    })
}

/// The characters that represent bytes in byte-level BPE (Radford et al., 2019): printable bytes of Latin-1 as themselves, the
/// others by characters from U+0100 on.
fn byte_characters() -> impl Iterator<Item = char> {
    let mut others = 0x100..;
    (0..=255u8).filter_map(move |byte| match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => Some(char::from(byte)),
        _ => others.next().and_then(char::from_u32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes, two merges, the special tokens.
    fn small() -> Value {
        let tokens = byte_characters().map(String::from).chain(byte_characters().map(|c| format!("{c}</w>")));
        let tokens = tokens.chain(["ma", "mas</w>", START_OF_TEXT, END_OF_TEXT].map(String::from));
        let vocabulary: serde_json::Map<String, Value> =
            tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
        let special = |id: usize, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        json!({
            "version": "1.0", "added_tokens": [special(514, START_OF_TEXT), special(515, END_OF_TEXT)],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
                {"type": "Lowercase"},
            ]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Removed", "invert": true},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            ]},
            "model": {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": vocabulary,
                      "merges": ["m a", ["ma", "s</w>"]]}
        })
    }

    fn table(json: &Value) -> Option<Vec<u8>> {
        from_json(json.to_string().as_bytes())
    }

    #[test]
    fn a_table_has_the_files_numbers() {
        let bytes = table(&small()).unwrap();
        assert_eq!(bytes.len(), 20 + 1024 + 12);
        let table = TokenTable::check(&bytes).unwrap().unwrap();
        assert_eq!((table.start_of_text(), table.end_of_text()), (514, 515));
        let (m, a, s) = (table.byte(b'm', false), table.byte(b'a', false), table.byte(b's', true));
        // A byte's token is that of its character.
        assert_eq!((m, a, s), (109, 97, 256 + 115));
        assert_eq!((table.merge(m, a), table.merge(512, s), table.merge(a, m)), (Some(512), Some(513), None));
        assert_eq!((table.merge(0, 0), table.merge(515, 515)), (None, None));
    }

    #[test]
    fn only_clips_kind_has_a_table() {
        assert!(table(&small()).is_some());
        for (pointer, value) in [
            ("/version", json!("2.0")),
            ("/normalizer", Value::Null),
            ("/normalizer/normalizers/0/type", json!("NFD")),
            ("/pre_tokenizer/pretokenizers/0/invert", json!(false)),
            ("/pre_tokenizer/pretokenizers/1/use_regex", json!(true)),
            ("/added_tokens/0/normalized", json!(true)),
            ("/added_tokens", json!([])),
            ("/model/type", json!("Unigram")),
            ("/model/end_of_word_suffix", Value::Null),
            ("/model/end_of_word_suffix", json!("</word>")),
            // Numbered in another order, a pair twice, a token that is missing, numbers with a gap.
            ("/model/merges", json!([["ma", "s</w>"], "m a"])),
            ("/model/merges", json!(["m a", "m a"])),
            ("/model/merges", json!(["m x"])),
            ("/model/merges/0", json!(7)),
            ("/model/vocab/ma", json!(70_000)),
            ("/model/vocab/ma", json!(600)),
            ("/model/vocab/ma", json!(513)),
        ] {
            let mut changed = small();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            assert!(table(&changed).is_none(), "{pointer} {value}");
        }
        for (key, value) in
            [("dropout", json!(0.1)), ("unk_token", json!("a")), ("byte_fallback", json!(true)), ("new", json!(1))]
        {
            let mut changed = small();
            changed["model"][key] = value;
            assert!(table(&changed).is_none(), "{key}");
        }
        assert!(from_json(b"{").is_none() && from_json(b"[]").is_none());
    }

    #[test]
    fn damaged_tables_are_refused() {
        let good = table(&small()).unwrap();
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            TokenTable::check(&bytes).expect_err("a damaged table").to_string()
        };
        let word = |at: usize, value: u32| refused(&|bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()));
        for length in 0..good.len() {
            assert!(TokenTable::check(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(refused(&|bytes| bytes.push(0)).contains("do not hold"));
        assert!(word(0, 0).contains("layout 0"));
        assert!(word(4, u32::MAX).contains("at most 65536"));
        assert!(word(4, 517).contains("ends a text"));
        assert!(word(8, 515).contains("starts"));
        assert!(word(12, u32::MAX).contains("ends a text"));
        assert!(word(16, u32::MAX).contains("do not hold"));
        assert!(refused(&|bytes| bytes[20..22].fill(0xFF)).contains("token 65535 of 516"));
        assert!(refused(&|bytes| bytes[1048..1050].fill(0xFF)).contains("token 65535"));
        assert!(refused(&|bytes| bytes[1044..].rotate_left(6)).contains("merge 1 is out of order"));
        let mut later = good.clone();
        later[0] = 2;
        assert!(TokenTable::check(&later).unwrap().is_none());
    }
}
