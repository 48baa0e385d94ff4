//! The prompts of a single image, and their masks.

use super::view::middle;
use super::{Recipe, chance};
use crate::data::compose::Absence;
use crate::data::requests::absent_request;
use crate::data::{
    Dataset, Example, Pathology, Place, Sample, contradict_prompt, image_prompt, plain_request, structure_request,
    wrong_request,
};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The share of prompts for absent targets that contradict the sample's own sentence: otherwise a network learns that
/// sentences in a data set's own words are always true.
const CONTRADICTED: f64 = 0.4;
/// The share of prompts for an image of another structure that name a structure; the rest request a lesion.
const STRUCTURE_NAMED: f64 = 0.65;
/// The share of those that name a structure which the image does not show.
const WRONG_STRUCTURE: f64 = 0.25;
/// The share of the others that name the second structure of an image with masks of two: one image with two masks in a batch can
/// only be learned from the word.
const SECOND_STRUCTURE: f64 = 0.5;

/// An image and the facts for its prompts. A frame without a lesion uses the facts of another image's lesion, so that
/// the prompts are the same.
pub(super) struct PromptFacts<'a> {
    sample: &'a Sample,
    is_alone: bool,
    /// The pathology of the lesion; of the other image's where there is none.
    pathology: Option<Pathology>,
    place: Option<Place>,
    has_lesion: bool,
    /// Structures that other images of the data show.
    others: Vec<String>,
}

impl<'a> PromptFacts<'a> {
    pub fn new(sample: &'a Sample, example: &mut Example, dataset: &'a Dataset, rng: &mut impl Rng) -> Self {
        let is_alone = example.picture.other_lesions.is_none();
        let has_lesion = sample.structure.is_none() && example.picture.lesion_box().is_some();
        let mut pathology = sample.pathology;
        let mut place = place_of(example);
        if !has_lesion {
            place = Some(
                *[Place::Left, Place::Right, Place::Upper, Place::Upper, Place::Lower, Place::Center, Place::Center]
                    .choose(rng)
                    .unwrap_or(&Place::Center),
            );
            if sample.structure.is_some() || pathology.is_none() {
                let lender = borrow(dataset, rng);
                pathology = lender.and_then(|sample| sample.pathology);
                let own_words = lender.and_then(|sample| sample.prompts.first());
                if let (true, Some(words)) = (sample.structure.is_some(), own_words) {
                    example.prompt.clone_from(words);
                }
            }
        }
        let others = dataset.structures().iter().filter(|name| !shows(sample, name)).cloned().collect();
        Self { sample, is_alone, pathology, place, has_lesion, others }
    }
}

/// Whether the sample's image shows a structure, or may: in one data set's structures each image may show any.
fn shows(sample: &Sample, structure: &str) -> bool {
    sample.structure.as_deref() == Some(structure) || sample.shown_structures.iter().any(|shown| shown == structure)
}

/// Another sample with a lesion, if one is soon found.
fn borrow<'a>(dataset: &'a Dataset, rng: &mut impl Rng) -> Option<&'a Sample> {
    const TRIES: usize = 16;
    let mut draw = || dataset.get(rng.random_range(0..dataset.len().max(1))).map(|(sample, _)| sample);
    (0..TRIES).filter_map(|_| draw()).find(|sample| sample.structure.is_none() && sample.pathology.is_some())
}

fn place_of(example: &Example) -> Option<Place> {
    middle(&example.picture).map(|(x, y)| Place::of_point(x, y))
}

impl Recipe {
    /// One prompt for a single image; only one of them is its own.
    pub(super) fn prompt_for(&self, of: &PromptFacts, example: &Example, index: usize, rng: &mut impl Rng) -> Example {
        let mut example = example.clone();
        if let Some(structure) = &of.sample.structure {
            if chance(STRUCTURE_NAMED, rng) {
                if chance(WRONG_STRUCTURE, rng) {
                    example.prompt = absent_request(Some(structure), &of.others, rng);
                    example.picture.mask.fill(0);
                } else if let Some(second) = of.second_structure().filter(|_| chance(SECOND_STRUCTURE, rng)) {
                    example.prompt = structure_request(second, rng);
                    match example.picture.other_lesions.take() {
                        Some(shown) => example.picture.mask = shown,
                        None => example.picture.mask.fill(0),
                    }
                } else {
                    example.prompt = structure_request(structure, rng);
                }
                return example;
            }
            example.picture.mask.fill(0);
        } else if !of.is_alone {
            // Only its own prompt is known to fit this lesion and no other.
            if chance(self.absent, rng) {
                example.prompt = wrong_request(&example.picture, &[None], rng).1;
                example.picture.mask.fill(0);
            }
            return example;
        }
        let has_new_words = index > 0 || chance(self.rephrase, rng);
        if let Some(pathology) = of.pathology
            && has_new_words
            && chance(self.by_pathology, rng)
        {
            let is_right = rng.random_bool(0.5);
            let named = if is_right { pathology } else { pathology.opposite() };
            example.prompt = image_prompt(&[named.adjective()], None, rng);
            if !is_right {
                example.picture.mask.fill(0);
            }
        } else if chance(self.absent, rng) {
            let contradiction = contradict_prompt(&example.prompt).filter(|_| rng.random_bool(CONTRADICTED));
            example.prompt = contradiction.unwrap_or_else(|| of.wrong_request(&example, rng));
            example.picture.mask.fill(0);
        } else if chance(self.empty_prompt, rng) {
            example.prompt.clear();
        } else if has_new_words && chance(self.plain, rng) {
            example.prompt = plain_request(rng);
        } else if has_new_words {
            example.prompt = of.describe(rng).unwrap_or(example.prompt);
        }
        example
    }
}

impl PromptFacts<'_> {
    /// The other structure of a data set of two, whose mask is then the picture's of what the prompt does not name.
    fn second_structure(&self) -> Option<&str> {
        let own = self.sample.structure.as_deref()?;
        match self.sample.shown_structures.as_slice() {
            [first, second] if first == own => Some(second),
            [first, second] if second == own => Some(first),
            _ => None,
        }
    }

    /// A request for an absent target; for a frame without a lesion, in the words for an image with one.
    fn wrong_request(&self, example: &Example, rng: &mut impl Rng) -> String {
        if self.has_lesion {
            let (absence, prompt) = wrong_request(&example.picture, &[self.pathology], rng);
            return match absence {
                Absence::Organ => absent_request(None, &self.others, rng),
                _ => prompt,
            };
        }
        match rng.random_range(0..10) {
            0..=4 => image_prompt(&[], self.place, rng),
            5 | 6 if self.pathology.is_some() => {
                image_prompt(&[self.pathology.map_or("", Pathology::adjective)], None, rng)
            }
            _ => absent_request(self.sample.structure.as_deref(), &self.others, rng),
        }
    }

    /// New words for the lesion's pathology and its current place; `None` where there is no lesion to describe.
    fn describe(&self, rng: &mut impl Rng) -> Option<String> {
        let place = self.place?;
        let adjective = self.pathology.map(Pathology::adjective);
        let adjective = adjective.filter(|_| rng.random_bool(1.0 / 3.0));
        let place = rng.random_bool(2.0 / 3.0).then_some(place);
        Some(image_prompt(adjective.as_slice(), place, rng))
    }
}
