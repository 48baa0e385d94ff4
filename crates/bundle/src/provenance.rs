//! The origin of a model: the free text in checkpoints and bundles, read by one parser.

use crate::familiarity::{FamiliarInputs, INPUTS_KEY};
use crate::input::Fit;
use crate::manifest::is_threshold;
use crate::reliability::{RELIABILITY_KEY, Reliability};
use crate::vocabulary::{WORDS_KEY, words};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const TRAINED_KEY: &str = "trained";
const THRESHOLD_KEY: &str = "threshold";
const SEED_KEY: &str = "seed";
const STRUCTURES_KEY: &str = "structures";
const FIT_KEY: &str = "fit";

/// The probability above which a pixel belongs to the lesion, where a model states no other.
pub const DEFAULT_THRESHOLD: f32 = 0.5;

/// The known origin of a model, by key. Texts pass unchanged from a checkpoint to a bundle and back; keys that programs
/// act on are checked when they are set, and have a getter each:
///
/// | key | text |
/// |---|---|
/// | `trained` | `true` or `false` |
/// | `threshold` | a number between 0 and 1, both excluded |
/// | `seed` | an integer from 0 to 2^64 - 1 |
/// | `words` | the words of the training prompts, separated by spaces |
/// | `reliability` | how reliable results were on other images, the JSON of [`Reliability`] |
/// | `structures` | what prompts can describe besides lesions, separated by commas |
/// | `inputs` | the statistics of the training images, the JSON of [`FamiliarInputs`] |
/// | `fit` | how the training images filled the input, the JSON of [`Fit`] |
///
/// Any other key has a text for people; [`Note`] names those that this project writes.
///
/// ```
/// # mod causalclipseg { pub use causalclipseg_bundle as bundle; }
/// use causalclipseg::bundle::Provenance;
///
/// let mut provenance = Provenance::default();
/// provenance.set("seed", "7")?;
/// assert_eq!(provenance.seed(), Some(7));
/// assert!(provenance.set("threshold", "abc").is_err());
/// # Ok::<(), causalclipseg::bundle::ProvenanceError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Provenance {
    texts: BTreeMap<String, String>,
    trained: Option<bool>,
    threshold: Option<f32>,
    seed: Option<u64>,
    words: BTreeSet<String>,
    inputs: Option<FamiliarInputs>,
    reliability: Option<Reliability>,
    fit: Option<Fit>,
}

/// Keys whose texts are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The data sets of the training.
    Data,
    /// The commit of the program that wrote the weights.
    Commit,
    /// The names of the files that weights were imported from, or another origin.
    Source,
    /// The SHA-256 sums of these files.
    SourceSha256,
    /// The data sets that a quantiser calibrated on.
    QuantisedFrom,
    /// Epochs of the training.
    Epochs,
    /// The best Dice score on validation images.
    BestValidationDice,
}

impl Note {
    /// The key in a file.
    pub fn key(self) -> &'static str {
        match self {
            Note::Data => "data",
            Note::Commit => "commit",
            Note::Source => "source",
            Note::SourceSha256 => "source_sha256",
            Note::QuantisedFrom => "quantised_from",
            Note::Epochs => "epochs",
            Note::BestValidationDice => "best_validation_dice",
        }
    }
}

/// A text that is not allowed for its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is `{}`, not {expected}", shortened(value))]
pub struct ProvenanceError {
    /// The key whose text is refused.
    pub key: &'static str,
    /// The text as it was given.
    pub value: String,
    /// The allowed texts.
    pub expected: &'static str,
}

/// As much of a text as fits into a line, without control characters.
fn shortened(value: &str) -> String {
    const MOST: usize = 60;
    let line: String = value.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if value.chars().nth(MOST).is_some() { line + "..." } else { line }
}

impl Provenance {
    /// Sets one key, replacing an earlier text.
    ///
    /// # Errors
    /// The key does not allow the text; nothing has changed then.
    pub fn set(&mut self, key: &str, text: impl Into<String>) -> Result<(), ProvenanceError> {
        let text = text.into();
        match key {
            TRAINED_KEY => self.trained = Some(parse(TRAINED_KEY, "`true` or `false`", &text, |_| true)?),
            THRESHOLD_KEY => {
                self.threshold =
                    Some(parse(THRESHOLD_KEY, "a number between 0 and 1", &text, |value| is_threshold(*value))?);
            }
            SEED_KEY => self.seed = Some(parse(SEED_KEY, "an integer from 0 to 2^64 - 1", &text, |_| true)?),
            WORDS_KEY => self.words = words(&text).collect(),
            INPUTS_KEY => {
                let inputs = FamiliarInputs::from_json(&text);
                self.inputs = Some(inputs.ok_or_else(|| refuse(INPUTS_KEY, "the statistics of images", &text))?);
            }
            RELIABILITY_KEY => {
                let found = Reliability::from_json(&text);
                self.reliability =
                    Some(found.ok_or_else(|| refuse(RELIABILITY_KEY, "a calibration and a threshold", &text))?);
            }
            FIT_KEY => {
                let found = serde_json::from_str(&text).ok().filter(Fit::is_valid);
                self.fit =
                    Some(found.ok_or_else(|| refuse(FIT_KEY, "`stretch` or a letterbox with its padding", &text))?);
            }
            _ => {}
        }
        self.texts.insert(key.to_string(), text);
        Ok(())
    }

    /// Records a text for people.
    pub fn note(&mut self, note: Note, text: impl Into<String>) {
        self.texts.insert(note.key().to_string(), text.into());
    }

    /// Removes one key; returns whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        match key {
            TRAINED_KEY => self.trained = None,
            THRESHOLD_KEY => self.threshold = None,
            SEED_KEY => self.seed = None,
            WORDS_KEY => self.words.clear(),
            INPUTS_KEY => self.inputs = None,
            RELIABILITY_KEY => self.reliability = None,
            FIT_KEY => self.fit = None,
            _ => {}
        }
        self.texts.remove(key).is_some()
    }

    /// The text of a key as it was set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    /// Every key and its text, by key.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// Whether the weights were trained; `None` where that is not stated.
    pub fn trained(&self) -> Option<bool> {
        self.trained
    }

    /// States whether the weights were trained.
    pub fn set_trained(&mut self, trained: bool) {
        self.trained = Some(trained);
        self.texts.insert(TRAINED_KEY.into(), trained.to_string());
    }

    /// The probability above which a pixel belongs to the lesion, in (0, 1); `None` where it is not stated.
    pub fn threshold(&self) -> Option<f32> {
        self.threshold
    }

    /// As [`Self::threshold`], with [`DEFAULT_THRESHOLD`] where it is not stated.
    pub fn threshold_or_default(&self) -> f32 {
        self.threshold.unwrap_or(DEFAULT_THRESHOLD)
    }

    /// The seed of the random numbers of training, or of untrained weights.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Records the seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = Some(seed);
        self.texts.insert(SEED_KEY.into(), seed.to_string());
    }

    /// The words of the training prompts, in lower case; empty where they are not stated.
    pub fn words(&self) -> &BTreeSet<String> {
        &self.words
    }

    /// Records the words of the training prompts. An empty set removes them.
    pub fn set_words(&mut self, words: BTreeSet<String>) {
        match words.is_empty() {
            true => self.texts.remove(WORDS_KEY),
            false => {
                self.texts.insert(WORDS_KEY.into(), words.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
            }
        };
        self.words = words;
    }

    /// The statistics of the training images; `None` where they are not stated.
    pub fn inputs(&self) -> Option<&FamiliarInputs> {
        self.inputs.as_ref()
    }

    /// How the training images filled the network's square input; `None` where it is not stated.
    pub fn fit(&self) -> Option<Fit> {
        self.fit
    }

    /// Records how the training images filled the input.
    ///
    /// # Errors
    /// A padding is not between 0 and 1; nothing has changed then.
    pub fn set_fit(&mut self, fit: Fit) -> Result<(), ProvenanceError> {
        self.set(FIT_KEY, serde_json::to_string(&fit).unwrap_or_default())
    }

    /// The reliability of results on images that the model was not trained on; `None` where it is not stated.
    pub fn reliability(&self) -> Option<&Reliability> {
        self.reliability.as_ref()
    }

    /// The names of what prompts can describe besides lesions; empty where they are not stated.
    pub fn structures(&self) -> impl Iterator<Item = &str> {
        let text = self.get(STRUCTURES_KEY).unwrap_or_default();
        text.split(',').map(str::trim).filter(|name| !name.is_empty())
    }

    /// Records the names of what prompts can describe besides lesions. An empty list removes them.
    pub fn set_structures<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        match names.into_iter().collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => self.texts.remove(STRUCTURES_KEY),
            names => self.texts.insert(STRUCTURES_KEY.into(), names),
        };
    }

    /// Copies the statistics of the training images from another provenance, if it has them.
    pub fn take_inputs_of(&mut self, other: &Self) {
        if let (Some(inputs), Some(text)) = (other.inputs(), other.get(INPUTS_KEY)) {
            self.inputs = Some(inputs.clone());
            self.texts.insert(INPUTS_KEY.into(), text.into());
        }
    }
}

fn refuse(key: &'static str, expected: &'static str, value: &str) -> ProvenanceError {
    ProvenanceError { key, value: value.to_string(), expected }
}

fn parse<T: std::str::FromStr>(
    key: &'static str,
    expected: &'static str,
    text: &str,
    is_allowed: impl Fn(&T) -> bool,
) -> Result<T, ProvenanceError> {
    text.parse().ok().filter(is_allowed).ok_or_else(|| refuse(key, expected, text))
}

impl TryFrom<BTreeMap<String, String>> for Provenance {
    type Error = ProvenanceError;

    /// Reads a file's texts.
    fn try_from(texts: BTreeMap<String, String>) -> Result<Self, ProvenanceError> {
        let mut provenance = Self::default();
        texts.into_iter().try_for_each(|(key, text)| provenance.set(&key, text))?;
        Ok(provenance)
    }
}

impl From<Provenance> for BTreeMap<String, String> {
    fn from(provenance: Provenance) -> Self {
        provenance.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: &str =
        r#"{"mean":[1,2,3,4,5],"factor":[[1,0,0,0,0],[0,1,0,0,0],[0,0,1,0,0],[0,0,0,1,0],[0,0,0,0,1]],"limit":3.5}"#;

    fn read(texts: &[(&str, &str)]) -> Result<Provenance, ProvenanceError> {
        let texts: BTreeMap<_, _> = texts.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
        Provenance::try_from(texts)
    }

    #[test]
    fn what_is_known_is_typed_and_texts_stay() {
        let texts = [
            ("trained", "true"),
            ("threshold", "0.450"),
            ("seed", "18446744073709551615"),
            ("words", "left A mass, left"),
            ("inputs", INPUTS),
            ("fit", r#"{"letterbox":{"padding":[0.5,0.25,0.0]}}"#),
            ("commit", "0123abc"),
        ];
        let provenance = read(&texts).unwrap();
        assert_eq!(provenance.trained(), Some(true));
        assert_eq!(provenance.threshold(), Some(0.45));
        assert_eq!(provenance.seed(), Some(u64::MAX));
        assert_eq!(provenance.words().iter().map(String::as_str).collect::<Vec<_>>(), ["a", "left", "mass"]);
        assert_eq!(provenance.inputs(), FamiliarInputs::from_json(INPUTS).as_ref());
        let letterbox = Fit::Letterbox { padding: [0.5, 0.25, 0.0] };
        assert_eq!(provenance.fit(), Some(letterbox));
        let mut recorded = Provenance::default();
        recorded.set_fit(letterbox).unwrap();
        assert_eq!(recorded.get("fit"), provenance.get("fit"));
        assert!(recorded.set_fit(Fit::Letterbox { padding: [f32::NAN; 3] }).is_err() && recorded.fit().is_some());
        assert!(recorded.remove("fit") && recorded.fit().is_none());
        assert_eq!(provenance.get("commit"), Some("0123abc"));
        for (key, text) in texts {
            assert_eq!(provenance.get(key), Some(text));
        }
        let json = serde_json::to_string(&provenance).unwrap();
        assert_eq!(serde_json::from_str::<Provenance>(&json).unwrap(), provenance);
        assert_eq!(serde_json::from_str::<BTreeMap<String, String>>(&json).unwrap(), *provenance.texts());
    }

    #[test]
    fn nonsense_is_refused_wherever_it_is_read() {
        for (key, text) in [
            ("trained", "yes"),
            ("trained", ""),
            ("trained", "True"),
            ("threshold", "abc"),
            ("threshold", "NaN"),
            ("threshold", "0"),
            ("threshold", "1"),
            ("threshold", "-0.5"),
            ("seed", "-1"),
            ("seed", "1.5"),
            ("seed", "18446744073709551616"),
            ("inputs", "{}"),
            ("fit", "stretch"),
            ("fit", r#"{"letterbox":{"padding":[0.5,0.5,1.5]}}"#),
            ("fit", r#"{"letterbox":{}}"#),
            ("reliability", "{}"),
            ("reliability", "0.9"),
            ("inputs", "none"),
        ] {
            let error = read(&[("data", "a set"), (key, text)]).unwrap_err();
            assert_eq!((error.key, error.value.as_str()), (key, text));
            let json = serde_json::json!({ key: text }).to_string();
            let message = serde_json::from_str::<Provenance>(&json).unwrap_err().to_string();
            assert!(message.starts_with(&error.to_string()), "{message}");
            let mut provenance = read(&[("trained", "true"), ("seed", "3")]).unwrap();
            let before = provenance.clone();
            assert_eq!(provenance.set(key, text), Err(error));
            assert_eq!(provenance, before);
        }
        let long = format!("{}\n", "x".repeat(100));
        let message = read(&[("seed", &long)]).unwrap_err().to_string();
        assert!(message.lines().count() == 1 && message.len() < 130 && message.contains("..."), "{message}");
    }

    #[test]
    fn what_is_set_is_what_is_read() {
        let mut provenance = Provenance::default();
        assert_eq!((provenance.trained(), provenance.threshold_or_default()), (None, DEFAULT_THRESHOLD));
        provenance.set_trained(false);
        provenance.set_seed(7);
        provenance.set_words(["mass".to_string(), "a".to_string()].into());
        provenance.set("inputs", INPUTS).unwrap();
        let expected = [("trained", "false"), ("seed", "7"), ("words", "a mass"), ("inputs", INPUTS)];
        assert_eq!(provenance, read(&expected).unwrap());
        let mut heir = Provenance::default();
        heir.take_inputs_of(&provenance);
        heir.take_inputs_of(&Provenance::default());
        assert_eq!(heir, read(&[("inputs", INPUTS)]).unwrap());
        heir.note(Note::Data, "a set");
        assert_eq!(heir, read(&[("inputs", INPUTS), ("data", "a set")]).unwrap());
        for (key, _) in expected {
            assert!(provenance.remove(key));
            assert!(!provenance.remove(key));
        }
        provenance.set_words(BTreeSet::new());
        assert_eq!(provenance, Provenance::default());
    }
}
