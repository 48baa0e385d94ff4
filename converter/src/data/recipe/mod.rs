//! How training examples are drawn from a data set.

mod pair;
mod question;
#[cfg(test)]
mod tests;
mod view;

use super::looks::Looks;
use super::{Dataset, Example, Pathology};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Probabilities, 0..1, and strengths of the changes to an example. Zero everywhere ([`Recipe::PLAIN`]) changes
/// nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The number of prompts for each image, each with a mask of its own. The sentence enters the network last, so more
    /// of them cost little, and an image with two different masks in one batch cannot be learned without reading the
    /// prompt. At least 1.
    pub prompts: usize,
    /// Probability of composing two images into one, with prompts that name one lesion each, in turn.
    pub compose: f64,
    /// Probability of a prompt for an absent target, with an empty mask.
    pub absent: f64,
    /// Probability of prompts that name the pathology alone. A pair then has lesions that differ in it. A single image
    /// gets the right and the wrong one equally often, in those prompts that are not its own, so that only the image
    /// reveals which it is.
    pub by_pathology: f64,
    /// Probability of an empty prompt, for a single image.
    pub empty_prompt: f64,
    /// Probability of a request for any lesion, in many wordings, instead of one that describes it.
    pub plain: f64,
    /// Probability of new words for the sample's pathology and the lesion's place instead of its own prompt.
    pub rephrase: f64,
    /// Probability of a window beside the lesion instead of the image: a frame without one. It gets the same prompts as
    /// an image with a lesion, as often, and its masks are empty, so that no sentence reveals which it is.
    pub lesion_free: f64,
    /// The share of the frames without a lesion that are complete images with other tissue copied over the lesion,
    /// instead of windows; as many images with a lesion get a copy beside it.
    pub graft: f64,
    /// Probability of a window around the lesion, so that not only frames without a lesion are magnified.
    pub zoom: f64,
    pub flip: f64,
    /// Probability of rotation, magnification and shift together.
    pub affine: f64,
    pub rotation_degrees: f32,
    /// The largest change of size, as a share: 0.15 is 1/1.15 to 1.15.
    pub scale: f32,
    /// The largest shift, as a share of the side.
    pub shift: f32,
    /// Probability of a gamma and a gain.
    pub intensity: f64,
    /// The largest change of gamma and of gain, as a share.
    pub contrast: f32,
    pub speckle: f64,
    /// The largest standard deviation of the multiplicative noise.
    pub speckle_deviation: f32,
    /// Probabilities of the changes that simulate other scanners.
    pub looks: Looks,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            prompts: 1,
            compose: 0.4,
            absent: 0.1,
            by_pathology: 0.25,
            empty_prompt: 0.1,
            plain: 0.0,
            rephrase: 0.3,
            lesion_free: 0.0,
            graft: 0.0,
            zoom: 0.0,
            flip: 0.5,
            affine: 0.7,
            rotation_degrees: 10.0,
            scale: 0.15,
            shift: 0.06,
            intensity: 0.6,
            contrast: 0.35,
            speckle: 0.3,
            speckle_deviation: 0.15,
            looks: Looks::NONE,
        }
    }
}

impl Recipe {
    /// Leaves every example unchanged, for validation.
    pub const PLAIN: Self = Self {
        prompts: 1,
        compose: 0.0,
        absent: 0.0,
        // Changes only validation's composed pairs: by pathology as often as `evaluate`.
        by_pathology: 0.12,
        empty_prompt: 0.0,
        plain: 0.0,
        rephrase: 0.0,
        lesion_free: 0.0,
        graft: 0.0,
        zoom: 0.0,
        flip: 0.0,
        affine: 0.0,
        rotation_degrees: 0.0,
        scale: 0.0,
        shift: 0.0,
        intensity: 0.0,
        contrast: 0.0,
        speckle: 0.0,
        speckle_deviation: 0.0,
        looks: Looks::NONE,
    };

    /// The factor of the network's size at which pictures are best stored for this recipe: windows need more pixels
    /// than the network's input.
    pub fn detail(&self) -> usize {
        if self.lesion_free > 0.0 || self.zoom > 0.0 || self.looks != Looks::NONE { 2 } else { 1 }
    }

    /// Draws the examples for index `index` of the data set in an epoch, the same at every call: one image, with
    /// [`Self::prompts`] prompts and masks. `None` where the data set has no such index.
    pub fn draw(&self, dataset: &Dataset, index: usize, epoch: usize, seed: u64) -> Option<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Streams of one seed never overlap; the order of an epoch's indices uses those below 2^32.
        rng.set_stream(((epoch as u64 + 1) << 32) | index as u64);
        let rng = &mut rng;
        let (sample, picture) = dataset.get(index)?;
        if chance(self.compose, rng) && dataset.len() > 1 && sample.structure.is_none() {
            let by_pathology = chance(self.by_pathology, rng);
            let (partner, other) = dataset.get(partner_of(index, dataset, by_pathology, rng))?;
            // "The lesion on the left" must name one, and a pair of frames without one would teach little.
            let is_usable =
                [picture, other].iter().all(|picture| picture.other_lesions.is_none()) && partner.structure.is_none();
            if is_usable {
                let free = pair::LESION_FREE_SHARE * self.lesion_free;
                let pictures = [(sample, picture), (partner, other)]
                    .map(|(sample, picture)| self.view(dataset, sample, picture, free, rng).picture);
                return Some(self.ask_pair([sample, partner], pictures, by_pathology, rng));
            }
        }
        let mut example = self.view(dataset, sample, picture, self.lesion_free, rng);
        let facts = question::PromptFacts::new(sample, &mut example, dataset, rng);
        Some((0..self.prompts.max(1)).map(|index| self.prompt_for(&facts, &example, index, rng)).collect())
    }
}

/// The index of a second image for a pair; one with another pathology, if requested and soon found.
fn partner_of(index: usize, dataset: &Dataset, differs: bool, rng: &mut impl Rng) -> usize {
    const TRIES: usize = 8;
    let pathology = |index| dataset.get(index).and_then(|(sample, _)| sample.pathology);
    let own = pathology(index);
    let mut draw = || (index + rng.random_range(1..dataset.len())) % dataset.len();
    let first = draw();
    if !differs || tell_apart([own, pathology(first)]) {
        return first;
    }
    (1..TRIES).map(|_| draw()).find(|other| tell_apart([own, pathology(*other)])).unwrap_or(first)
}

/// Whether each lesion has a pathology that the other does not have.
fn tell_apart(pathologies: [Option<Pathology>; 2]) -> bool {
    matches!(pathologies, [Some(one), Some(other)] if one != other)
}

/// True with this probability; values outside 0..1 count as the nearest probability.
fn chance(probability: f64, rng: &mut impl Rng) -> bool {
    rng.random::<f64>() < probability
}

/// A uniform number from `-limit` to `limit`.
fn symmetric(limit: f32, rng: &mut impl Rng) -> f32 {
    (rng.random::<f32>() * 2.0 - 1.0) * limit
}

/// A factor from 1 / (1 + change) to 1 + change, as often below 1 as above.
fn factor(change: f32, rng: &mut impl Rng) -> f32 {
    (symmetric(1.0, rng) * change.max(0.0).ln_1p()).exp()
}
