//! The sizes of a network.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The editions of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edition {
    /// The paper's edition: CLIP RN101.
    Rn101,
    /// CLIP RN50, with CARAFE's last convolution widened to take its 1,024 channels.
    Rn50,
    /// An edition for a device with a processor of some 10 W: at most 16 million weights and 2.5 GMAC an image of 224 x
    /// 224 pixels. It is the tiny edition with twice the channels in its image encoder.
    Small,
    /// An edition small enough for one core of a device; the command ships it.
    Tiny,
}

impl Edition {
    /// Every edition.
    pub const ALL: [Edition; 4] = [Edition::Rn101, Edition::Rn50, Edition::Small, Edition::Tiny];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Edition::Rn101 => "rn101",
            Edition::Rn50 => "rn50",
            Edition::Small => "small",
            Edition::Tiny => "tiny",
        }
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unknown edition name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown edition `{name}`; known are {}", Edition::ALL.map(Edition::name).join(", "))]
pub struct UnknownEdition {
    /// The name as it was given.
    pub name: String,
}

impl FromStr for Edition {
    type Err = UnknownEdition;

    fn from_str(name: &str) -> Result<Self, UnknownEdition> {
        Edition::ALL
            .into_iter()
            .find(|edition| edition.name() == name)
            .ok_or_else(|| UnknownEdition { name: name.into() })
    }
}

/// CLIP's ModifiedResNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEncoder {
    /// Bottleneck blocks in each of the four stages.
    pub layers: [usize; 4],
    /// Channels after the stem; the four stages end in 4, 8, 16 and 32 times as many.
    pub width: usize,
}

/// CLIP's text transformer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextEncoder {
    /// The number of token ids.
    pub vocabulary: usize,
    /// The number of positions, start and end of text included.
    pub context: usize,
    /// The number of elements of a token's row.
    pub width: usize,
    /// The number of blocks of attention and a two-layer perceptron.
    pub layers: usize,
    /// The number of heads of each attention.
    pub heads: usize,
}

/// Whether the network has its maskers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Masks {
    /// Three maskers, which separate the causal features from the confounders, and the head that reads the confounders.
    #[default]
    Learned,
    /// Every mask is one: no maskers, all features are causal, and no confounders for a second head.
    Open,
}

/// Everything that determines the network's graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// The edition that it is, or is derived from.
    pub edition: Edition,
    /// Height and width of the input in pixels, a multiple of 32.
    pub input_size: usize,
    /// The image encoder.
    pub image: ImageEncoder,
    /// The text encoder.
    pub text: TextEncoder,
    /// The width of the embedding that CLIP's two encoders share.
    pub embed: usize,
    /// The channels of the decoder: of fq4 and fq5, of the aggregated features and of the projectors.
    pub decoder: usize,
    /// Whether the network has its maskers. Older files do not state it and have them.
    #[serde(default)]
    pub masks: Masks,
}

/// Sizes that are not possible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// An input size that the five halvings of the encoder do not divide, or one out of range.
    #[error("the input size {0} is not a multiple of 32 from 32 to 4096")]
    InputSize(usize),
    /// A size out of range.
    #[error("{what} is {value}, outside 1 to {most}")]
    Range {
        /// The name of the size.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The largest value.
        most: usize,
    },
    /// A size that another one does not divide.
    #[error("{what} is {value}, not a multiple of {of}")]
    Multiple {
        /// The name of the size.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The required divisor.
        of: usize,
    },
}

impl Architecture {
    /// A published edition, or one of this project's, at the given input size.
    pub fn of(edition: Edition, input_size: usize) -> Self {
        let clip_text = TextEncoder { vocabulary: 49408, context: 77, width: 512, layers: 12, heads: 8 };
        match edition {
            Edition::Rn101 => Self {
                edition,
                input_size,
                image: ImageEncoder { layers: [3, 4, 23, 3], width: 64 },
                text: clip_text,
                embed: 512,
                decoder: 512,
                masks: Masks::Learned,
            },
            Edition::Rn50 => Self {
                edition,
                input_size,
                image: ImageEncoder { layers: [3, 4, 6, 3], width: 64 },
                text: clip_text,
                embed: 1024,
                decoder: 512,
                masks: Masks::Learned,
            },
            Edition::Small => Self {
                edition,
                input_size,
                image: ImageEncoder { layers: [2, 4, 6, 3], width: 32 },
                text: TextEncoder { width: 64, layers: 2, heads: 2, ..clip_text },
                embed: 64,
                decoder: 64,
                masks: Masks::Learned,
            },
            Edition::Tiny => Self {
                edition,
                input_size,
                image: ImageEncoder { layers: [2, 4, 6, 3], width: 16 },
                text: TextEncoder { width: 64, layers: 2, heads: 2, ..clip_text },
                embed: 64,
                decoder: 64,
                masks: Masks::Learned,
            },
        }
    }

    /// The smallest network of the family, which the reference vectors name `mini`: it has every part, with few
    /// channels.
    pub fn mini() -> Self {
        Self {
            edition: Edition::Tiny,
            input_size: 64,
            image: ImageEncoder { layers: [1; 4], width: 8 },
            text: TextEncoder { vocabulary: 512, context: 77, width: 64, layers: 2, heads: 1 },
            embed: 32,
            decoder: 32,
            masks: Masks::Learned,
        }
    }

    /// Refuses sizes that do not fit together, which an untrusted checkpoint may have.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        if !self.input_size.is_multiple_of(32) || !(32..=4096).contains(&self.input_size) {
            return Err(ArchitectureError::InputSize(self.input_size));
        }
        let range = |what, value, most| match value {
            0 => Err(ArchitectureError::Range { what, value, most }),
            value if value > most => Err(ArchitectureError::Range { what, value, most }),
            _ => Ok(()),
        };
        for layers in self.image.layers {
            range("a stage's number of blocks", layers, 256)?;
        }
        range("the image width", self.image.width, 1024)?;
        range("the vocabulary", self.text.vocabulary, 1 << 20)?;
        range("the context", self.text.context, 4096)?;
        range("the text width", self.text.width, 8192)?;
        range("the text depth", self.text.layers, 256)?;
        range("the embedding", self.embed, 8192)?;
        range("the decoder's width", self.decoder, 8192)?;
        let multiple = |what, value: usize, of: usize| match of {
            0 => Err(ArchitectureError::Multiple { what, value, of }),
            of if !value.is_multiple_of(of) => Err(ArchitectureError::Multiple { what, value, of }),
            _ => Ok(()),
        };
        multiple("the image width", self.image.width, 2)?;
        multiple("the text width", self.text.width, self.text.heads)?;
        multiple("the embedding", self.embed, 4)?;
        multiple("the decoder's width", self.decoder, 2)
    }

    /// Height and width of the deepest map, which the attention pool sees.
    pub fn grid(&self) -> usize {
        self.input_size / 32
    }
}
