//! The prompts of two composed images, and their masks.

use super::{Recipe, chance, tell_apart};
use crate::data::{
    Arrangement, Example, Pathology, Picture, Place, Sample, compose_pair, image_prompt, plain_request, wrong_request,
};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The factor of the probability of a frame without a lesion for each half of a pair: most pairs must show two lesions.
pub(super) const LESION_FREE_SHARE: f64 = 0.5;
/// The factor of the probabilities of plain requests and of empty prompts for a pair: their mask has both lesions, and
/// pairs are meant for prompts that name one.
const PLAIN_SHARE: f64 = 0.3;

impl Recipe {
    /// Two pictures in one and prompts for one lesion of them, by place, by pathology, or both. The lesions take turns.
    /// A half without a lesion has none to name.
    pub(super) fn ask_pair(
        &self,
        samples: [&Sample; 2],
        pictures: [Picture; 2],
        by_pathology: bool,
        rng: &mut impl Rng,
    ) -> Vec<Example> {
        let arrangement = *[Arrangement::SideBySide, Arrangement::Stacked].choose(rng).unwrap_or(&Arrangement::Stacked);
        let arrangement = arrangement.within(&pictures[0]);
        let shows = [0, 1].map(|half: usize| pictures[half].lesion_box().is_some());
        let composed = compose_pair(&pictures[0], &pictures[1], arrangement, rng);
        let first = rng.random_range(0..2);
        let places = arrangement.places();
        let pathologies = samples.map(|sample| sample.pathology);
        let present: Vec<Option<Pathology>> =
            (0..2).filter(|half| shows[*half]).map(|half| pathologies[half]).collect();
        let by_pathology = by_pathology && shows == [true; 2] && tell_apart(pathologies);
        let mut ask = |prompted: usize| {
            let named = (first + prompted) % 2;
            let mut picture = composed[named].clone();
            if self.plain > 0.0 && chance(PLAIN_SHARE * (self.plain + self.empty_prompt), rng) {
                picture.mask.iter_mut().zip(&composed[1 - named].mask).for_each(|(one, other)| *one |= other);
                let is_empty = chance(self.empty_prompt / (self.plain + self.empty_prompt), rng);
                let prompt = if is_empty { String::new() } else { plain_request(rng) };
                return Example { picture, prompt };
            }
            if chance(self.absent, rng) {
                picture.mask.fill(0);
                let prompt = match shows {
                    [true, true] => absent_in_pair(&picture, pathologies, places, rng),
                    _ => wrong_request(&picture, &present, rng).1,
                };
                return Example { picture, prompt };
            }
            let adjective = pathologies[named].map(Pathology::adjective);
            let (adjectives, place) = match adjective {
                Some(adjective) if by_pathology => (vec![adjective], None),
                Some(adjective) if rng.random_bool(1.0 / 3.0) => (vec![adjective], Some(places[named])),
                _ => (Vec::new(), Some(places[named])),
            };
            Example { picture, prompt: image_prompt(&adjectives, place, rng) }
        };
        (0..self.prompts.max(1)).map(&mut ask).collect()
    }
}

/// A prompt for a target that neither half shows: the one's pathology in the other's place, where they differ.
fn absent_in_pair(
    picture: &Picture,
    pathologies: [Option<Pathology>; 2],
    places: [Place; 2],
    rng: &mut impl Rng,
) -> String {
    match pathologies {
        [Some(first), Some(second)] if first != second && rng.random_bool(0.6) => {
            image_prompt(&[second.adjective()], Some(places[0]), rng)
        }
        // The mask is empty by now, so no half counts as free of a lesion: only pathologies and organs are requested.
        _ => wrong_request(picture, &pathologies, rng).1,
    }
}
