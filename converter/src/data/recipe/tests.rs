use super::*;
use crate::data::{MaskRule, Sample, contradict_prompt};
use causalclipseg::frame::Fit;
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
        let [first, second] = [0, 1].map(|prompted| Pathology::named_in(&drawn[prompted].prompt).unwrap());
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

/// The target of a sentence, and, for plain requests, its form.
fn form_of(prompt: &str) -> String {
    let has = |wanted: &[&str]| words(prompt).iter().any(|word| wanted.contains(&word.as_str()));
    let nouns = [
        "lesion", "lesions", "mass", "masses", "tumor", "tumors", "tumour", "tumours", "nodule", "nodules", "growth",
        "growths",
    ];
    let places = ["left", "right", "upper", "lower", "top", "bottom", "center", "centre", "central", "middle"];
    if prompt.is_empty() {
        return "empty".into();
    }
    if !has(&nouns) {
        return "organ".into();
    }
    match (has(&["benign", "malignant"]), has(&places)) {
        (true, true) => "pathology and place".into(),
        (true, false) => "pathology".into(),
        (false, true) => "place".into(),
        (false, false) => {
            let wheres = ["breast", "tissue", "image", "scan", "this", "the", "a", "an", "any", "in"];
            let kept: Vec<String> = words(prompt).into_iter().filter(|word| !wheres.contains(&word.as_str())).collect();
            let kept = kept.into_iter().map(|word| if nouns.contains(&word.as_str()) { "N".into() } else { word });
            format!("plain: {}", kept.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "))
        }
    }
}

/// Otherwise the network learns the sentence and not the image: once all requests for absent targets had their own
/// wordings, and a model refused every lesion that was requested in those words.
#[test]
fn no_form_of_sentence_tells_whether_there_is_a_lesion() {
    for config in
        [include_str!("../../../../models/tiny-frames.toml"), include_str!("../../../../models/tiny-grafts.toml")]
    {
        ask_evenly(&toml::from_str::<crate::train::TrainingConfig>(config).unwrap().recipe);
    }
}

fn ask_evenly(recipe: &Recipe) {
    let directory = tempfile::tempdir().unwrap();
    let samples = dataset(directory.path()).iter().map(|(sample, _)| sample.clone()).collect();
    let dataset = Dataset::prepare_detailed(samples, 32, &Fit::Stretch, recipe.detail(), || ()).unwrap();
    let mut counts: std::collections::BTreeMap<String, [usize; 2]> = Default::default();
    for epoch in 0..600 {
        for index in 0..dataset.len() {
            for example in recipe.draw(&dataset, index, epoch, 1).unwrap() {
                let is_empty = example.picture.lesion_fraction() == 0.0;
                counts.entry(form_of(&example.prompt)).or_default()[usize::from(is_empty)] += 1;
            }
        }
    }
    let organ = counts.remove("organ").unwrap();
    assert_eq!(organ[0], 0, "no image shows another organ");
    let mut judged = 0;
    for (form, [present, empty]) in counts.iter().filter(|(_, counts)| counts[0] + counts[1] > 40) {
        let share = *empty as f64 / (present + empty) as f64;
        assert!((0.12..0.78).contains(&share), "{form}: {empty} of {} are empty", present + empty);
        judged += 1;
    }
    assert!(judged > 15, "{counts:?}");
}

#[test]
fn frames_without_a_lesion_are_windows_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let samples = dataset(directory.path()).iter().map(|(sample, _)| sample.clone()).collect();
    let dataset = Dataset::prepare_detailed(samples, 64, &Fit::Stretch, 2, || ()).unwrap();
    let recipe = Recipe { lesion_free: 1.0, plain: 0.5, prompts: 3, ..Recipe::PLAIN };
    for epoch in 0..30 {
        for example in recipe.draw(&dataset, 1, epoch, 5).unwrap() {
            assert_eq!((example.picture.width, example.picture.lesion_fraction()), (64, 0.0));
            // Lesions are of grey 50, tissue of more than 120.
            assert!(example.picture.pixels.iter().all(|pixel| *pixel > 100));
        }
    }
    let recipe = Recipe { zoom: 1.0, ..Recipe::PLAIN };
    for epoch in 0..30 {
        let example = one(&recipe, &dataset, 1, epoch);
        assert!(example.picture.lesion_fraction() > 0.05);
        let dark = example.picture.pixels.iter().filter(|pixel| **pixel < 85).count();
        let area = example.picture.mask.iter().filter(|lesion| **lesion == 1).count();
        assert!(dark.abs_diff(area) < 150, "mask and picture keep together: {dark} {area}");
    }
}

#[test]
fn own_words_for_a_place_follow_the_lesion() {
    let directory = tempfile::tempdir().unwrap();
    let samples = dataset(directory.path()).iter().map(|(sample, _)| sample.clone()).collect();
    let dataset = Dataset::prepare_detailed(samples, 64, &Fit::Stretch, 2, || ()).unwrap();
    let recipe = Recipe { zoom: 1.0, by_pathology: 0.0, ..Recipe::PLAIN };
    let mut moved = 0;
    for epoch in 0..60 {
        let example = one(&recipe, &dataset, 0, epoch);
        let found = example.picture.lesion_box().unwrap();
        let middle = (found.left + found.right) as f32 / 128.0;
        let words = words(&example.prompt);
        if words.iter().any(|word| word == "right") {
            assert!(middle > 0.6, "{}", example.prompt);
        }
        moved += usize::from(!words.iter().any(|word| word == "left"));
        assert!(words.iter().any(|word| word == "benign"));
    }
    assert!(moved > 5, "{moved}");
}

/// Images of many proportions, each with a dark lesion; all are grey 60 to 130, so that the padding is recognised.
fn shaped(directory: &std::path::Path, fit: &Fit, detail: usize) -> Dataset {
    let shapes = [(100, 30), (40, 90), (64, 64), (97, 13), (300, 2), (1, 70), (81, 79)];
    let save = |(index, (width, height)): (usize, (u32, u32))| {
        let inside = |x: u32, y: u32| x < width.div_ceil(3) && y >= height / 3 && y <= height / 3 + height / 4;
        let path = |kind: &str| directory.join(format!("{kind}{index}.png"));
        let level = |x, y| if inside(x, y) { 60 } else { 110 + ((x + y) % 20) as u8 };
        GrayImage::from_fn(width, height, |x, y| Luma([level(x, y)])).save(path("image")).unwrap();
        let mask = GrayImage::from_fn(width, height, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
        mask.save(path("mask")).unwrap();
        let mut sample = Sample::new(index.to_string(), path("image"), MaskRule::AboveHalf);
        sample.masks.push(path("mask"));
        sample.prompts.push("A benign mass on the left.".into());
        sample.pathology = Some(Pathology::Benign);
        sample
    };
    Dataset::prepare_detailed(shapes.into_iter().enumerate().map(save).collect(), 32, fit, detail, || ()).unwrap()
}

/// No change of an image reaches the padding, whatever the image's proportions, and none takes padding for tissue.
#[test]
fn padding_is_added_after_all_changes() {
    const PADDING: u8 = 240;
    let fit = Fit::Letterbox { padding: [f32::from(PADDING) / 255.0; 3] };
    let directory = tempfile::tempdir().unwrap();
    let plain = Recipe { by_pathology: 0.0, ..Recipe::PLAIN };
    let changes = [
        plain.clone(),
        Recipe { compose: 1.0, ..plain.clone() },
        Recipe { lesion_free: 1.0, ..plain.clone() },
        Recipe { lesion_free: 1.0, graft: 1.0, ..plain.clone() },
        Recipe { lesion_free: 0.5, graft: 1.0, compose: 0.5, ..plain.clone() },
        Recipe { zoom: 1.0, ..plain.clone() },
        Recipe { flip: 1.0, ..plain.clone() },
        Recipe { looks: Looks { layout: 1.0, aspect: 1.0, ..Looks::NONE }, ..plain.clone() },
        Recipe { affine: 1.0, rotation_degrees: 10.0, scale: 0.15, shift: 0.06, ..plain.clone() },
    ];
    for recipe in &changes {
        let dataset = shaped(directory.path(), &fit, recipe.detail());
        for (index, epoch) in (0..dataset.len()).flat_map(|index| (0..12).map(move |epoch| (index, epoch))) {
            for example in recipe.draw(&dataset, index, epoch, 7).unwrap() {
                let drawn = &example.picture;
                assert_eq!(drawn.width.max(drawn.height), 32, "{recipe:?}");
                assert!(drawn.pixels.iter().all(|pixel| *pixel < 180), "{recipe:?}");
                let (input, fitted) = drawn.clone().into_input(32, &fit);
                for (at, pixel) in input.pixels.iter().enumerate() {
                    let is_image = (fitted.x..fitted.x + fitted.width).contains(&(at % 32))
                        && (fitted.y..fitted.y + fitted.height).contains(&(at / 32));
                    assert!(is_image || (*pixel, input.mask[at]) == (PADDING, 0), "{recipe:?}");
                    assert!(input.mask[at] == 0 || *pixel < 116, "the mask follows the lesion: {recipe:?}");
                }
            }
        }
    }
    // An image that is not changed keeps its proportions; a window has its own.
    let dataset = shaped(directory.path(), &fit, 1);
    let (_, stored) = dataset.get(0).unwrap();
    assert_eq!((stored.width, stored.height), (32, 10));
    assert_eq!(&one(&plain, &dataset, 0, 1).picture, stored);
    let zoomed = |epoch| one(&Recipe { zoom: 1.0, ..plain.clone() }, &dataset, 0, epoch).picture.height;
    assert!((0..20).any(|epoch| zoomed(epoch) > 10));
    // Every change at once, with the brightness ones.
    let all = Looks {
        layout: 0.5,
        aspect: 0.5,
        marks_drawn: 1.0,
        marks_removed: 1.0,
        dynamic_range: 1.0,
        time_gain: 1.0,
        focus: 1.0,
        grain: 1.0,
        capture: 1.0,
        jpeg: 1.0,
    };
    let all = Recipe { looks: all, lesion_free: 0.5, zoom: 0.5, graft: 0.5, ..Recipe::default() };
    let dataset = shaped(directory.path(), &fit, all.detail());
    for (index, epoch) in (0..dataset.len()).flat_map(|index| (0..30).map(move |epoch| (index, epoch))) {
        for example in all.draw(&dataset, index, epoch, 7).unwrap() {
            let (input, fitted) = example.picture.into_input(32, &fit);
            let padding = 32 * 32 - fitted.area();
            assert!(input.pixels.iter().filter(|pixel| **pixel == PADDING).count() >= padding);
        }
    }
}

/// An image with masks of two structures has prompts for both, each with its own mask.
#[test]
fn the_word_decides_between_two_structures_of_one_image() {
    let directory = tempfile::tempdir().unwrap();
    let mut samples: Vec<Sample> = dataset(directory.path()).iter().map(|(sample, _)| sample.clone()).collect();
    samples.truncate(3);
    let right_mask = directory.path().join("mask1.png");
    for (index, (own, other)) in [("nerve", "vessel"), ("vessel", "nerve"), ("nerve", "vessel")].iter().enumerate() {
        samples[index].structure = Some(own.to_string());
        samples[index].shown_structures = vec![own.to_string(), other.to_string()];
    }
    // The first image shows both, the last only its own.
    samples[0].other_masks.push(right_mask);
    let dataset = Dataset::prepare(samples, 64, || ()).unwrap();
    let recipe = Recipe { prompts: 3, ..Recipe::PLAIN };
    let mut shown = std::collections::BTreeMap::new();
    for (index, epoch) in [0, 2].into_iter().flat_map(|index| (0..100).map(move |epoch| (index, epoch))) {
        for example in recipe.draw(&dataset, index, epoch, 7).unwrap() {
            let place = example.picture.lesion_box().map(|found| if found.right <= 32 { "left" } else { "right" });
            for name in ["nerve", "vessel"].into_iter().filter(|name| example.prompt.contains(name)) {
                *shown.entry((index, name, place)).or_insert(0) += 1;
            }
        }
    }
    let kinds: Vec<_> = shown.keys().copied().collect();
    let expected =
        [(0, "nerve", Some("left")), (0, "vessel", Some("right")), (2, "nerve", Some("left")), (2, "vessel", None)];
    assert_eq!(kinds, expected, "{shown:?}");
    assert!(shown.values().all(|count| *count > 30), "{shown:?}");
}
