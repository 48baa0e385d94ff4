//! Encodes from a bundle's table of tokens, which needs no building: CLIP's kind of tokenizer without the library around it.
//!
//! The library's own tokenizer of the same tokenizer.json is what this is tested against.

use super::merges::{Merge, merge_all};
use super::{END_OF_TEXT, START_OF_TEXT};
use crate::bundle::{Bundle, TokenTable};
use regex_syntax::hir::{ClassUnicode, HirKind};
use std::sync::{Arc, LazyLock};
use tokenizers::NormalizedString;

/// A bundle with a table.
#[derive(Clone, Debug)]
pub(super) struct TableEncoder {
    bundle: Arc<Bundle>,
    start_of_text: u32,
    end_of_text: u32,
}

impl TableEncoder {
    /// `None` where the bundle has no table.
    pub(super) fn new(bundle: &Arc<Bundle>) -> Option<Self> {
        let table = bundle.token_table()?;
        let (start_of_text, end_of_text) = (table.start_of_text(), table.end_of_text());
        Some(Self { bundle: bundle.clone(), start_of_text, end_of_text })
    }

    pub(super) fn start_of_text(&self) -> u32 {
        self.start_of_text
    }

    pub(super) fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// The ids of a text, without those that start and end it.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        // `new` found it, and a bundle does not change.
        let Some(table) = self.bundle.token_table() else { return ids };
        let mut rest = text;
        // The two special tokens neither overlap nor start alike beyond `<|`.
        while let Some((at, token, id)) = [(START_OF_TEXT, self.start_of_text), (END_OF_TEXT, self.end_of_text)]
            .into_iter()
            .filter_map(|(token, id)| Some((rest.find(token)?, token, id)))
            .min()
        {
            encode_plain(table, &rest[..at], &mut ids);
            ids.push(id);
            rest = &rest[at + token.len()..];
        }
        encode_plain(table, rest, &mut ids);
        ids
    }
}

/// Text without special tokens.
fn encode_plain(table: TokenTable, text: &str, ids: &mut Vec<u32>) {
    let text = match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        // By character, as the library does: a final sigma is an ordinary one.
        false => NormalizedString::from(text).nfc().get().chars().flat_map(char::to_lowercase).collect(),
    };
    for word in Words(&text) {
        let last = word.len() - 1;
        let bytes = word.bytes().enumerate();
        let mut tokens: Vec<u16> = bytes.map(|(at, byte)| table.byte(byte, at == last)).collect();
        merge_all(
            &mut tokens,
            |first, second| {
                table.merge(*first, *second).map(|token| Merge { rank: token.into(), becomes: token.into() })
            },
            // A result of the table is a u16.
            |token, _, merge| *token = merge.becomes as u16,
        );
        ids.extend(tokens.into_iter().map(u32::from));
    }
}

/// What a definition of words distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Space,
    Letter,
    Number,
    Other,
}

/// The character classes of CLIP's expression, of the same release of Unicode that the library's expressions use.
struct Classes {
    letters: ClassUnicode,
    numbers: ClassUnicode,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(|| Classes { letters: class(r"\p{L}"), numbers: class(r"\p{N}") });

fn class(expression: &str) -> ClassUnicode {
    match regex_syntax::parse(expression).map(|parsed| parsed.into_kind()) {
        Ok(HirKind::Class(regex_syntax::hir::Class::Unicode(class))) => class,
        // Not for these two expressions, as a test shows.
        _ => ClassUnicode::empty(),
    }
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    let ranges = class.ranges();
    let after = ranges.partition_point(|range| range.start() <= c);
    after.checked_sub(1).is_some_and(|at| c <= ranges[at].end())
}

fn kind(c: char) -> Kind {
    match c {
        'a'..='z' | 'A'..='Z' => Kind::Letter,
        '0'..='9' => Kind::Number,
        _ if c.is_whitespace() => Kind::Space,
        _ if c.is_ascii() => Kind::Other,
        _ if contains(&CLASSES.letters, c) => Kind::Letter,
        _ if contains(&CLASSES.numbers, c) => Kind::Number,
        _ => Kind::Other,
    }
}

/// CLIP's words, `'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`: never empty.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // The first alternative that matches counts, so a contraction's tail precedes a run of punctuation.
        const TAILS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
        let text = self.0.trim_start_matches(|c| kind(c) == Kind::Space);
        let first = kind(text.chars().next()?);
        let length = match TAILS.into_iter().find(|tail| text.starts_with(tail)) {
            Some(tail) => tail.len(),
            None if first == Kind::Number => text.chars().next().map_or(0, char::len_utf8),
            None => text.find(|c| kind(c) != first).unwrap_or(text.len()),
        };
        let (word, rest) = text.split_at(length);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::utils::SysRegex;

    fn words(text: &str) -> Vec<&str> {
        Words(text).collect()
    }

    #[test]
    fn words_are_clips() {
        assert_eq!(
            words("it's 12mm, isn't 'it''s?!"),
            ["it", "'s", "1", "2", "mm", ",", "isn", "'t", "'", "it", "''", "s", "?!"]
        );
        assert_eq!(words(" \t\u{a0}\u{2003}"), [""; 0]);
        assert_eq!(words("é́ a²Ⅷ 病变。x"), ["é", "\u{301}", "a", "²", "Ⅷ", "病变", "。", "x"]);
        assert_eq!(words("'llama 'real 'Sx"), ["'ll", "ama", "'re", "al", "'", "Sx"]);
    }

    /// For every character.
    #[test]
    fn kinds_are_those_of_the_expressions() {
        let all: String = ('\0'..=char::MAX).collect();
        let mut expected = vec![Kind::Other; all.len()];
        for (kind, expression) in [(Kind::Space, r"\s"), (Kind::Letter, r"\p{L}"), (Kind::Number, r"\p{N}")] {
            for (start, _) in SysRegex::new(expression).unwrap().find_iter(&all) {
                expected[start] = kind;
            }
        }
        assert!(expected.iter().filter(|kind| **kind == Kind::Letter).count() > 100_000);
        for (at, c) in all.char_indices() {
            assert_eq!(kind(c), expected[at], "{:x}", u32::from(c));
        }
    }
}
