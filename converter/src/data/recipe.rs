//! How training examples are drawn from a data set.

use super::augment::{Affine, add_speckle, apply_affine, apply_gain, apply_gamma, flip_horizontal};
use super::{
    Arrangement, Dataset, Example, Pathology, Picture, Place, Sample, compose_pair, contradict_prompt, image_prompt,
    wrong_request,
};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Of prompts for what is not there, those that turn the sample's own sentence around: else a network learns that sentences
/// in a data set's own words are always true.
const CONTRADICTED: f64 = 0.4;

/// Chances, 0..1, and strengths of what happens to an example. Zero everywhere ([`Recipe::PLAIN`]) changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Prompts asked of each image, each with a mask of its own. The sentence enters the network last, so more of them cost
    /// little, and an image that gets two answers in one batch can't be learned without reading. At least 1.
    pub prompts: usize,
    /// Of two images in one with the prompts naming one lesion each, in turn.
    pub compose: f64,
    /// Of a prompt for what is not there, and an empty mask.
    pub absent: f64,
    /// Of prompts that name the pathology alone. A pair is then made of lesions that differ in it. A single image is asked
    /// for the right and for the wrong one equally often, in those prompts that are not its own, so that only the image
    /// tells which it is.
    pub by_pathology: f64,
    /// Of no prompt at all, for a single image.
    pub empty_prompt: f64,
    /// Of new words for the sample's pathology and the lesion's place instead of its own prompt.
    pub rephrase: f64,
    pub flip: f64,
    /// Of rotation, magnification and shift together.
    pub affine: f64,
    pub rotation_degrees: f32,
    /// The largest change of size, as a part: 0.15 is 1/1.15 to 1.15.
    pub scale: f32,
    /// The largest shift, in parts of the side.
    pub shift: f32,
    /// Of a gamma and a gain.
    pub intensity: f64,
    /// The largest change of gamma and of gain, as a part.
    pub contrast: f32,
    pub speckle: f64,
    /// The largest standard deviation of the multiplicative noise.
    pub speckle_deviation: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            prompts: 1,
            compose: 0.4,
            absent: 0.1,
            by_pathology: 0.25,
            empty_prompt: 0.1,
            rephrase: 0.3,
            flip: 0.5,
            affine: 0.7,
            rotation_degrees: 10.0,
            scale: 0.15,
            shift: 0.06,
            intensity: 0.6,
            contrast: 0.35,
            speckle: 0.3,
            speckle_deviation: 0.15,
        }
    }
}

impl Recipe {
    /// Leaves every example as it is, for validation.
    pub const PLAIN: Self = Self {
        prompts: 1,
        compose: 0.0,
        absent: 0.0,
        // Alters nothing but validation's composed pairs: as many of them as `evaluate` asks by pathology.
        by_pathology: 0.12,
        empty_prompt: 0.0,
        rephrase: 0.0,
        flip: 0.0,
        affine: 0.0,
        rotation_degrees: 0.0,
        scale: 0.0,
        shift: 0.0,
        intensity: 0.0,
        contrast: 0.0,
        speckle: 0.0,
        speckle_deviation: 0.0,
    };

    /// The examples for place `index` of the data set in an epoch, the same whenever they are asked for: one image, with
    /// as many prompts and masks as [`Self::prompts`] says. `None` where the data set has no such index.
    pub fn draw(&self, dataset: &Dataset, index: usize, epoch: usize, seed: u64) -> Option<Vec<Example>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Streams of one seed never overlap; the order of an epoch's indices uses those below 2^32.
        rng.set_stream(((epoch as u64 + 1) << 32) | index as u64);
        let rng = &mut rng;
        let (sample, picture) = dataset.get(index)?;
        let example = self.alter(sample, picture, rng);
        if chance(self.compose, rng) && dataset.len() > 1 {
            let by_pathology = chance(self.by_pathology, rng);
            let (partner, other) = dataset.get(partner_of(index, dataset, by_pathology, rng))?;
            // "The lesion on the left" must name one.
            if [&example.picture, other].iter().all(|picture| picture.other_lesions.is_none()) {
                let pictures = [example.picture, self.alter(partner, other, rng).picture];
                return Some(self.ask_pair([sample, partner], pictures, by_pathology, rng));
            }
        }
        Some((0..self.prompts.max(1)).map(|asked| self.ask(sample, &example, asked, rng)).collect())
    }

    /// One question about a single image; its own prompt answers only one of them.
    fn ask(&self, sample: &Sample, example: &Example, asked: usize, rng: &mut impl Rng) -> Example {
        let mut example = example.clone();
        let is_alone = example.picture.other_lesions.is_none();
        let has_new_words = asked > 0 || chance(self.rephrase, rng);
        if let Some(pathology) = sample.pathology
            && is_alone
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
            let contradiction =
                contradict_prompt(&example.prompt).filter(|_| is_alone && rng.random_bool(CONTRADICTED));
            example.prompt = contradiction.unwrap_or_else(|| {
                let pathology = sample.pathology.filter(|_| is_alone);
                wrong_request(&example.picture, &[pathology], rng).1
            });
            example.picture.mask.fill(0);
        } else if !is_alone {
            // Only its own prompt is known to fit this lesion and no other.
        } else if chance(self.empty_prompt, rng) {
            example.prompt.clear();
        } else if has_new_words {
            example.prompt = self.rephrase(sample.pathology, &example.picture, rng).unwrap_or(example.prompt);
        }
        example
    }

    /// The sample with one of its prompts, flipped, moved and lit anew.
    fn alter(&self, sample: &Sample, picture: &Picture, rng: &mut impl Rng) -> Example {
        let prompt = sample.prompts.choose(rng).cloned().unwrap_or_default();
        let mut example = Example { picture: picture.clone(), prompt };
        if chance(self.flip, rng) {
            flip_horizontal(&mut example);
        }
        if chance(self.affine, rng) {
            let affine = Affine {
                rotation_radians: symmetric(self.rotation_degrees, rng).to_radians(),
                scale: factor(self.scale, rng),
                shift: [symmetric(self.shift, rng), symmetric(self.shift, rng)],
            };
            example.picture = apply_affine(&example.picture, affine);
        }
        if chance(self.intensity, rng) {
            apply_gamma(&mut example.picture, factor(self.contrast, rng));
            apply_gain(&mut example.picture, factor(self.contrast, rng), factor(self.contrast, rng));
        }
        if chance(self.speckle, rng) {
            let deviation = symmetric(self.speckle_deviation, rng).abs();
            add_speckle(&mut example.picture, deviation, rng);
        }
        example
    }

    /// Two pictures in one and prompts for one lesion of them, by place, by pathology, or both. The lesions take turns.
    fn ask_pair(
        &self,
        samples: [&Sample; 2],
        pictures: [Picture; 2],
        by_pathology: bool,
        rng: &mut impl Rng,
    ) -> Vec<Example> {
        let arrangement = *[Arrangement::SideBySide, Arrangement::Stacked].choose(rng).unwrap_or(&Arrangement::Stacked);
        let composed = compose_pair(&pictures[0], &pictures[1], arrangement, rng);
        let first = rng.random_range(0..2);
        let places = arrangement.places();
        let pathologies = samples.map(|sample| sample.pathology);
        let by_pathology = by_pathology && tell_apart(pathologies);
        let mut ask = |asked: usize| {
            let named = (first + asked) % 2;
            let mut picture = composed[named].clone();
            if chance(self.absent, rng) {
                picture.mask.fill(0);
                let prompt = absent_in_pair(&picture, pathologies, places, rng);
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

    /// New words for the lesion's pathology and for where it is now; `None` where there is no lesion.
    fn rephrase(&self, pathology: Option<Pathology>, picture: &Picture, rng: &mut impl Rng) -> Option<String> {
        let found = picture.lesion_box()?;
        let side = 2.0 * picture.size as f32;
        let place = Place::of_point((found.left + found.right) as f32 / side, (found.top + found.bottom) as f32 / side);
        let adjective = pathology.map(Pathology::adjective);
        let adjective = adjective.filter(|_| rng.random_bool(1.0 / 3.0));
        let place = rng.random_bool(2.0 / 3.0).then_some(place);
        Some(image_prompt(adjective.as_slice(), place, rng))
    }
}

/// The place in the data set of a second image for a pair; one whose pathology differs, if asked for and soon found.
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

/// Whether each lesion has a pathology that the other has not.
fn tell_apart(pathologies: [Option<Pathology>; 2]) -> bool {
    matches!(pathologies, [Some(one), Some(other)] if one != other)
}

/// A prompt for what neither half shows: the one's pathology in the other's place, where they differ.
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
        // The mask is empty by now, so no half counts as free of a lesion: only pathologies and organs are asked for.
        _ => wrong_request(picture, &pathologies, rng).1,
    }
}

/// True with this probability; nonsense counts as the nearest probability.
fn chance(probability: f64, rng: &mut impl Rng) -> bool {
    rng.random::<f64>() < probability
}

/// Uniform from `-limit` to `limit`.
fn symmetric(limit: f32, rng: &mut impl Rng) -> f32 {
    (rng.random::<f32>() * 2.0 - 1.0) * limit
}

/// From 1 / (1 + change) to 1 + change, as often below 1 as above.
fn factor(change: f32, rng: &mut impl Rng) -> f32 {
    (symmetric(1.0, rng) * change.max(0.0).ln_1p()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;
    use image::{GrayImage, Luma};

    /// Lesions alternate between benign on the left and malignant on the right.
    fn dataset(directory: &std::path::Path) -> Dataset {
        let save = |index: u32| {
            let (side, pathology) = if index.is_multiple_of(2) { ("left", "benign") } else { ("right", "malignant") };
            let inside = |x: u32, y: u32| (10..40).contains(&y) && if side == "left" { x < 30 } else { x >= 70 };
            let image = GrayImage::from_fn(100, 80, |x, y| Luma([if inside(x, y) { 50 } else { 120 + index as u8 }]));
            let mask = GrayImage::from_fn(100, 80, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
            let path = |kind: &str| directory.join(format!("{kind}{index}.png"));
            image.save(path("image")).unwrap();
            mask.save(path("mask")).unwrap();
            let mut sample = Sample::new(index.to_string(), path("image"), MaskRule::AboveHalf);
            sample.masks.push(path("mask"));
            sample.prompts.push(format!("A {pathology} mass on the {side}."));
            sample.pathology = Pathology::named_in(&sample.prompts[0]);
            sample
        };
        Dataset::prepare((0..6).map(save).collect(), 64, || ()).unwrap()
    }

    fn one(recipe: &Recipe, dataset: &Dataset, index: usize, epoch: usize) -> Example {
        let mut drawn = recipe.draw(dataset, index, epoch, 7).unwrap();
        assert_eq!(drawn.len(), 1);
        drawn.remove(0)
    }

    fn words(prompt: &str) -> Vec<String> {
        prompt.to_lowercase().split(|c: char| !c.is_alphabetic()).map(str::to_string).collect()
    }

    #[test]
    fn plain_is_the_data_set_itself() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        let example = one(&Recipe::PLAIN, &dataset, 3, 9);
        let (sample, picture) = dataset.get(3).unwrap();
        assert_eq!((&example.picture, &example.prompt), (picture, &sample.prompts[0]));
        assert!(Recipe::PLAIN.draw(&dataset, 6, 0, 1).is_none());
    }

    #[test]
    fn draws_repeat_and_differ_by_seed_epoch_and_index() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        let draw = |index, epoch, seed| Recipe::default().draw(&dataset, index, epoch, seed).unwrap();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(3, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }

    #[test]
    fn flipped_prompts_stay_true() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        let recipe = Recipe { flip: 0.5, rephrase: 0.5, by_pathology: 0.0, affine: 0.5, shift: 0.05, ..Recipe::PLAIN };
        for epoch in 0..50 {
            let example = one(&recipe, &dataset, 0, epoch);
            let found = example.picture.lesion_box().unwrap();
            let words = words(&example.prompt);
            let says = |word: &str| words.iter().any(|w| w == word);
            if says("left") || says("right") {
                assert_eq!(says("left"), found.right <= 40, "{}", example.prompt);
            }
            assert!(!says("malignant"), "{}", example.prompt);
        }
    }

    #[test]
    fn pairs_mask_the_lesion_that_the_prompt_names() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        let recipe = Recipe { compose: 1.0, ..Recipe::PLAIN };
        let mut by_pathology = 0;
        for epoch in 0..200 {
            let example = one(&recipe, &dataset, 1, epoch);
            let found = example.picture.lesion_box().unwrap();
            let words = words(&example.prompt);
            let says = |choices: &[&str]| choices.iter().any(|choice| words.iter().any(|word| word == choice));
            let mut told = 0;
            for (choices, is_there) in [
                (["left", "left"], found.right <= 32),
                (["right", "right"], found.left >= 32),
                (["upper", "top"], found.bottom <= 32),
                (["lower", "bottom"], found.top >= 32),
            ] {
                if says(&choices) {
                    assert!(is_there, "{} {found:?}", example.prompt);
                    told += 1;
                }
            }
            if told == 0 {
                by_pathology += 1;
                assert!(says(&["benign", "malignant"]), "{}", example.prompt);
            }
        }
        assert!((10..100).contains(&by_pathology), "{by_pathology}");
    }

    #[test]
    fn only_the_image_tells_which_pathology_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        let recipe = Recipe { by_pathology: 1.0, rephrase: 1.0, ..Recipe::PLAIN };
        let mut right = 0;
        for epoch in 0..200 {
            let example = one(&recipe, &dataset, 1, epoch);
            let named = Pathology::named_in(&example.prompt).unwrap();
            let is_right = named == Pathology::Malignant;
            assert_eq!(example.picture.lesion_fraction() > 0.0, is_right, "{}", example.prompt);
            right += usize::from(is_right);
        }
        assert!((70..130).contains(&right), "{right}");
        let pairs = Recipe { compose: 1.0, prompts: 2, ..recipe };
        for epoch in 0..50 {
            let drawn = pairs.draw(&dataset, 1, epoch, 3).unwrap();
            let [first, second] = [0, 1].map(|asked| Pathology::named_in(&drawn[asked].prompt).unwrap());
            assert_ne!(first, second);
        }
    }

    #[test]
    fn prompts_of_one_image_share_its_pixels_and_name_its_lesions_in_turn() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        let recipe = Recipe { prompts: 3, ..Recipe::default() };
        let pairs = Recipe { compose: 1.0, absent: 0.0, by_pathology: 0.0, ..recipe.clone() };
        for epoch in 0..40 {
            let drawn = pairs.draw(&dataset, 1, epoch, 3).unwrap();
            let [first, second, third] = drawn.as_slice() else { panic!("{} prompts", drawn.len()) };
            assert!(first.picture.pixels == second.picture.pixels && first.picture.pixels == third.picture.pixels);
            assert_ne!(first.picture.mask, second.picture.mask);
            assert_eq!(first.picture.mask, third.picture.mask);
            assert!(first.picture.mask.iter().zip(&second.picture.mask).all(|(a, b)| a + b < 2));
            assert_ne!(words(&first.prompt), words(&second.prompt));
        }
        let single = Recipe { compose: 0.0, absent: 0.5, ..recipe };
        let counts = |wanted: &dyn Fn(&[Example]) -> bool| {
            (0..60).filter(|epoch| wanted(&single.draw(&dataset, 1, *epoch, 3).unwrap())).count()
        };
        let is_mixed = |drawn: &[Example]| {
            let empty = drawn.iter().filter(|example| example.picture.lesion_fraction() == 0.0).count();
            empty > 0 && empty < drawn.len()
        };
        // 1 - 2 / 2³ of them.
        assert!((30..58).contains(&counts(&is_mixed)), "{}", counts(&is_mixed));
        assert_eq!(counts(&|drawn| drawn.iter().all(|e| e.picture.pixels == drawn[0].picture.pixels)), 60);
    }

    #[test]
    fn absent_requests_have_empty_masks() {
        let directory = tempfile::tempdir().unwrap();
        let dataset = dataset(directory.path());
        for compose in [0.0, 1.0] {
            let recipe = Recipe { absent: 1.0, compose, ..Recipe::PLAIN };
            for epoch in 0..50 {
                let example = one(&recipe, &dataset, 2, epoch);
                assert_eq!(example.picture.lesion_fraction(), 0.0);
                assert!(!example.prompt.is_empty());
            }
        }
        let recipe = Recipe { absent: 1.0, ..Recipe::PLAIN };
        let turned = contradict_prompt(&dataset.get(2).unwrap().0.prompts[0]).unwrap();
        let contradictions = (0..50).filter(|epoch| one(&recipe, &dataset, 2, *epoch).prompt == turned).count();
        assert!((10..30).contains(&contradictions), "{contradictions}");
        let recipe = Recipe { empty_prompt: 1.0, ..Recipe::PLAIN };
        let example = one(&recipe, &dataset, 2, 0);
        assert!(example.prompt.is_empty() && example.picture.lesion_fraction() > 0.0);
    }

    #[test]
    fn a_lesion_that_the_prompt_leaves_out_is_not_taken_for_absent() {
        let directory = tempfile::tempdir().unwrap();
        let mut samples: Vec<Sample> = dataset(directory.path()).iter().map(|(sample, _)| sample.clone()).collect();
        // All show the first image; its own lesion is on the left, the second sample's on the right.
        let (first, second) = (samples[0].clone(), samples[1].clone());
        for sample in &mut samples {
            sample.image.clone_from(&first.image);
        }
        samples[0].other_masks.clone_from(&second.masks);
        let dataset = Dataset::prepare(samples, 64, || ()).unwrap();
        let recipe = Recipe { absent: 0.5, compose: 0.5, rephrase: 1.0, prompts: 2, ..Recipe::PLAIN };
        let own = &dataset.get(0).unwrap().0.prompts[0];
        let (mut absent, mut present) = (0, 0);
        for epoch in 0..100 {
            for example in recipe.draw(&dataset, 0, epoch, 3).unwrap() {
                if example.picture.lesion_fraction() == 0.0 {
                    let words = words(&example.prompt);
                    let says = |word: &str| words.iter().any(|w| w == word);
                    assert!(!says("right") && !says("malignant") && !says("benign"), "{}", example.prompt);
                    absent += 1;
                } else {
                    assert_eq!(&example.prompt, own);
                    present += 1;
                }
            }
        }
        assert!(absent > 50 && present > 50, "{absent} {present}");
    }

    #[test]
    fn recipes_read_from_a_configuration() {
        let recipe: Recipe = toml::from_str("compose = 0.9").unwrap();
        assert_eq!(recipe, Recipe { compose: 0.9, ..Recipe::default() });
        assert!(toml::from_str::<Recipe>("composed = 0.9").is_err());
    }
}
