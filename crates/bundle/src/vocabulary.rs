//! The words in a model's training, so that a result can say when a prompt has others.

use std::collections::BTreeSet;

/// The key of a bundle's provenance for the words of its training sentences, separated by spaces.
pub const WORDS_KEY: &str = "words";

/// The words of a model's training sentences, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownWords(BTreeSet<String>);

impl KnownWords {
    /// The words of a bundle's provenance, in lower case; `None` where there are none.
    pub fn new(words: BTreeSet<String>) -> Option<Self> {
        (!words.is_empty()).then_some(Self(words))
    }

    /// The words of a prompt that are not among them, in its order.
    pub fn unknown_in(&self, prompt: &str) -> Vec<String> {
        words(prompt).filter(|word| !self.0.contains(word)).collect()
    }
}

/// A sentence's words in lower case: runs of letters and digits. Punctuation and case are ignored.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_training_never_showed() {
        let known = KnownWords::new(words("a benign Tumor located upper left").collect()).unwrap();
        assert_eq!(known.unknown_in("A benign tumor, upper-left."), Vec::<String>::new());
        assert_eq!(known.unknown_in("a GALLSTONE left"), ["gallstone"]);
        assert_eq!(KnownWords::new(words(" ").collect()), None);
    }
}
