//! Names of the nodes that every network of this kind has. The first two are the inputs, the others the paper's stages.

/// The normalised image, channels x height x width.
pub const IMAGE: &str = "image";
/// The prompt's token ids.
pub const TOKENS: &str = "tokens";
/// The image encoder's maps at 1/8, 1/16 and 1/32 of the input.
pub const V3: &str = "v3";
/// The map at 1/16.
pub const V4: &str = "v4";
/// The map at 1/32.
pub const V5: &str = "v5";
/// The text transformer's output, one row for each token.
pub const WORDS: &str = "words";
/// The sentence's embedding, the text encoder's output.
pub const STATE: &str = "state";
/// The neck's three maps, before they are masked.
pub const QUERIES: [&str; 3] = ["fq3", "fq4", "fq5"];
/// The outputs of the three maskers, in (0, 1).
pub const MASKS: [&str; 3] = ["mask3", "mask4", "mask5"];
/// The aggregated causal features, the output of image encoder and neck.
pub const FEATURES: &str = "fq_sup";
/// The aggregated confounding features.
pub const CONFOUNDERS: &str = "fq_inf";
/// Logits of the lesion.
pub const PRED: &str = "pred";
/// Logits of the adversarial head, which sees only the confounders.
pub const PRED_AD: &str = "pred_ad";
