//! The words of all training prompts, so that a result can say when a prompt has others.

use super::prompts::absent_thing_prompt;
use super::{Pathology, Place, Recipe, Sample, image_prompt, mirror_horizontal, plain_request, structure_request};
use causalclipseg::prompt::words;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// The number of prompts that are worded for each place and pathology. The rarest choice of words comes once in a
/// hundred of them, and most words come from many places: a thousand miss none.
const DRAWS: usize = 1000;

const PLACES: [Place; 9] = [
    Place::Left,
    Place::Right,
    Place::Upper,
    Place::Lower,
    Place::Center,
    Place::UpperLeft,
    Place::UpperRight,
    Place::LowerLeft,
    Place::LowerRight,
];

/// The words in lower case: those of the samples' own prompts, mirrored where the recipe flips, and those of the
/// prompts that the recipe words itself. Targets that no image shows count: their empty masks were taught as well.
pub fn prompt_words(samples: &[Sample], recipe: &Recipe) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for prompt in samples.iter().flat_map(|sample| &sample.prompts) {
        known.extend(words(prompt));
        if recipe.flip > 0.0 {
            known.extend(words(&mirror_horizontal(prompt)));
        }
    }
    // The result does not depend on the seed: every choice of words comes many times.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    if recipe.rephrase > 0.0 || recipe.compose > 0.0 || recipe.absent > 0.0 || recipe.prompts > 1 {
        // A pathology other than the lesion's is requested as an absent target.
        let named = samples.iter().any(|sample| sample.pathology.is_some());
        let adjectives = [Pathology::Benign, Pathology::Malignant].map(|pathology| Some(pathology.adjective()));
        let adjectives = [None].into_iter().chain(adjectives.into_iter().filter(|_| named));
        for adjective in adjectives {
            for place in PLACES.into_iter().map(Some).chain([None]) {
                (0..DRAWS).for_each(|_| known.extend(words(&image_prompt(adjective.as_slice(), place, &mut rng))));
            }
        }
    }
    if recipe.absent > 0.0 {
        (0..4 * DRAWS).for_each(|_| known.extend(words(&absent_thing_prompt(&mut rng))));
    }
    if recipe.plain > 0.0 {
        (0..4 * DRAWS).for_each(|_| known.extend(words(&plain_request(&mut rng))));
    }
    for structure in samples.iter().filter_map(|sample| sample.structure.as_deref()).collect::<BTreeSet<_>>() {
        (0..DRAWS).for_each(|_| known.extend(words(&structure_request(structure, &mut rng))));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;

    fn sample(prompt: &str) -> Sample {
        let mut sample = Sample::new("1".into(), "1.png".into(), MaskRule::AboveHalf);
        sample.prompts.push(prompt.into());
        sample.pathology = Pathology::named_in(prompt);
        sample
    }

    #[test]
    fn a_plain_recipe_has_the_prompts_own_words() {
        let known = prompt_words(&[sample("A Benign mass, left."), sample("A mass")], &Recipe::PLAIN);
        assert_eq!(known.into_iter().collect::<Vec<_>>(), ["a", "benign", "left", "mass"]);
    }

    #[test]
    fn mirrored_and_absent_things_count() {
        let flipped = prompt_words(&[sample("left")], &Recipe { flip: 0.5, ..Recipe::PLAIN });
        assert_eq!(flipped.into_iter().collect::<Vec<_>>(), ["left", "right"]);
        let known = prompt_words(&[sample("left")], &Recipe::default());
        assert!(
            ["gallbladder", "tumour", "delineate", "rightmost"].map(|word| known.contains(word))
                == [true, true, true, false]
        );
        // No sample states what its lesion is, so no prompt does.
        assert!(!known.contains("benign"));
    }

    /// All words of a recipe are included, whatever it draws.
    #[test]
    fn no_word_is_missed() {
        let known = prompt_words(&[sample("a malignant mass")], &Recipe::default());
        let mut rng = ChaCha8Rng::seed_from_u64(99);
        for round in 0..20_000 {
            let adjective = [Pathology::Benign, Pathology::Malignant][round % 2].adjective();
            let place = PLACES[round % PLACES.len()];
            let prompts = [
                image_prompt(&[adjective], Some(place), &mut rng),
                image_prompt(&[], None, &mut rng),
                absent_thing_prompt(&mut rng),
            ];
            for word in prompts.iter().flat_map(|prompt| words(prompt)) {
                assert!(known.contains(&word), "{word}");
            }
        }
    }
}
