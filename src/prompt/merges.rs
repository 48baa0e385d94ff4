//! Byte pair encoding (Sennrich et al., ACL 2016) from a table that is quick to build: all tokens in one text, pairs by number.
//!
//! The `tokenizers` crate does everything around it. Its own model keeps two maps of strings, which take most of the time that
//! opening a bundle takes; it stays what this one is tested against, and serves files with settings that this one lacks.

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Error, Model, Result, Token};

/// A token's number in the table, in order of insertion.
type Index = u32;

/// The position of a token's text in the table's text, and its id.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    id: u32,
}

/// Tokens by text.
#[derive(Clone, Default)]
pub(super) struct Vocabulary {
    text: String,
    entries: Vec<Entry>,
    by_text: HashTable<Index>,
    hashing: DefaultHashBuilder,
}

impl Vocabulary {
    /// Adds a token; of two with one text the later counts.
    ///
    /// # Errors
    /// More text than 32-bit positions reach.
    pub(super) fn insert(&mut self, token: &str, id: u32) -> std::result::Result<(), &'static str> {
        if let Some(index) = self.find(token) {
            self.entries[index as usize].id = id;
            return Ok(());
        }
        let start = self.text.len();
        let position = |at: usize| u32::try_from(at).map_err(|_| "its tokens have too much text");
        let entry = Entry { start: position(start)?, end: position(start + token.len())?, id };
        let index = position(self.entries.len())?;
        self.text.push_str(token);
        self.entries.push(entry);
        let Self { text, entries, by_text, hashing } = self;
        by_text.insert_unique(hashing.hash_one(token), index, |index| hashing.hash_one(text_of(text, entries, *index)));
        Ok(())
    }

    /// Each token with its id.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, u32)> {
        self.entries.iter().map(|entry| (self.text[entry.start as usize..entry.end as usize].to_string(), entry.id))
    }

    /// Whether no two tokens have one id, and ids count up from about zero.
    pub(super) fn has_distinct_ids(&self) -> bool {
        let most = 8 * self.entries.len() + 8;
        let mut seen = vec![false; most];
        self.entries
            .iter()
            .all(|entry| seen.get_mut(entry.id as usize).is_some_and(|seen| !std::mem::replace(seen, true)))
    }

    fn find(&self, token: &str) -> Option<Index> {
        let is_it = |index: &Index| self.text(*index) == token;
        self.by_text.find(self.hashing.hash_one(token), is_it).copied()
    }

    fn text(&self, index: Index) -> &str {
        text_of(&self.text, &self.entries, index)
    }

    fn id(&self, index: Index) -> u32 {
        self.entries[index as usize].id
    }
}

fn text_of<'a>(text: &'a str, entries: &[Entry], index: Index) -> &'a str {
    let Entry { start, end, .. } = entries[index as usize];
    &text[start as usize..end as usize]
}

/// The token that two neighbouring tokens merge into, and its rank.
#[derive(Clone, Copy)]
pub(super) struct Merge {
    pub rank: u32,
    pub becomes: Index,
}

/// Merges the pair of the lowest rank, the leftmost of equals, until none is left. `join` adds the second symbol to the first.
pub(super) fn merge_all<S>(
    symbols: &mut Vec<S>,
    find: impl Fn(&S, &S) -> Option<Merge>,
    join: impl Fn(&mut S, S, Merge),
) {
    // The merge of each symbol with the next one. A word has few symbols; one of thousands of letters takes milliseconds.
    let mut pairs: Vec<Option<Merge>> = symbols.windows(2).map(|pair| find(&pair[0], &pair[1])).collect();
    loop {
        let ranked = pairs.iter().enumerate().filter_map(|(place, pair)| pair.map(|merge| (merge.rank, place, merge)));
        let Some((_, place, merge)) = ranked.min_by_key(|(rank, place, _)| (*rank, *place)) else { return };
        let removed = symbols.remove(place + 1);
        join(&mut symbols[place], removed, merge);
        pairs.remove(place);
        let pair = |first: usize| Some(find(symbols.get(first)?, symbols.get(first + 1)?)).flatten();
        if let Some(after) = pairs.get_mut(place) {
            *after = pair(place);
        }
        if let Some(before) = place.checked_sub(1) {
            pairs[before] = pair(before);
        }
    }
}

/// The model: a vocabulary, merges in order of rank, and what ends a word.
#[derive(Clone)]
pub(super) struct MergeTable {
    vocabulary: Vocabulary,
    merges: HashMap<(Index, Index), Merge>,
    end_of_word: String,
}

/// A part of a word while it is merged.
struct Symbol {
    token: Index,
    /// Bytes of the word, its suffix not counted.
    bytes: usize,
}

impl MergeTable {
    /// If a pair has two merges, the later one is used.
    ///
    /// # Errors
    /// A merge of, or into, a token that the vocabulary lacks.
    pub(super) fn new<'a>(
        vocabulary: Vocabulary,
        merges: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        end_of_word: String,
    ) -> Result<Self> {
        let mut table = HashMap::with_capacity(merges.len());
        let mut joined = String::new();
        for (rank, (first, second)) in (0..).zip(merges) {
            joined.clear();
            joined.push_str(first);
            joined.push_str(second);
            let find = |token: &str| {
                vocabulary
                    .find(token)
                    .ok_or_else(|| Error::from(format!("its merges name `{token}`, which is not a token")))
            };
            table.insert((find(first)?, find(second)?), Merge { rank, becomes: find(&joined)? });
        }
        Ok(Self { vocabulary, merges: table, end_of_word })
    }

    /// The characters of a word as tokens; one that the vocabulary lacks is left out.
    fn characters(&self, word: &str) -> Vec<Symbol> {
        let mut symbols = Vec::with_capacity(word.len());
        let mut last = String::new();
        let mut rest = word.char_indices().peekable();
        while let Some((start, _)) = rest.next() {
            let end = rest.peek().map_or(word.len(), |(next, _)| *next);
            let character = &word[start..end];
            let token = if end == word.len() {
                last.push_str(character);
                last.push_str(&self.end_of_word);
                self.vocabulary.find(&last)
            } else {
                self.vocabulary.find(character)
            };
            symbols.extend(token.map(|token| Symbol { token, bytes: end - start }));
        }
        symbols
    }
}

impl Model for MergeTable {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> Result<Vec<Token>> {
        let mut symbols = self.characters(word);
        let find = |first: &Symbol, second: &Symbol| self.merges.get(&(first.token, second.token)).copied();
        merge_all(&mut symbols, find, |symbol, removed, merge| {
            symbol.token = merge.becomes;
            symbol.bytes += removed.bytes;
        });
        let mut start = 0;
        let tokens = symbols.into_iter().map(|Symbol { token, bytes }| {
            let offsets = (start, start + bytes);
            start = offsets.1;
            Token::new(self.vocabulary.id(token), self.vocabulary.text(token).to_string(), offsets)
        });
        Ok(tokens.collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.vocabulary.find(token).map(|index| self.vocabulary.id(index))
    }

    /// Looks through all tokens: encoding needs no such thing.
    fn id_to_token(&self, id: u32) -> Option<String> {
        let index = self.vocabulary.entries.iter().position(|entry| entry.id == id)?;
        Some(self.vocabulary.text(index as Index).to_string())
    }

    fn get_vocab(&self) -> std::collections::HashMap<String, u32> {
        self.vocabulary.entries().collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.vocabulary.entries.len()
    }

    fn save(&self, _folder: &Path, _prefix: Option<&str>) -> Result<Vec<PathBuf>> {
        Err("a table of merges is read, not written".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}
