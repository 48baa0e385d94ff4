//! The language of prompts: their meaning, how a mirrored image changes them, and how new ones are worded.

use super::requests::absent_request;
use super::table::Table;
use super::{DataError, Sample};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pathology {
    Benign,
    Malignant,
}

impl Pathology {
    /// The pathology that a text names; `None` where it names both or neither.
    pub fn named_in(text: &str) -> Option<Self> {
        let has = |wanted: &str| words(text).any(|word| word.eq_ignore_ascii_case(wanted));
        match (has("benign"), has("malignant")) {
            (true, false) => Some(Self::Benign),
            (false, true) => Some(Self::Malignant),
            _ => None,
        }
    }

    /// The word in prompts.
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Malignant => "malignant",
        }
    }

    pub fn opposite(self) -> Self {
        match self {
            Self::Benign => Self::Malignant,
            Self::Malignant => Self::Benign,
        }
    }
}

/// A part of an image, as prompts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Left,
    Right,
    Upper,
    Lower,
    Center,
    UpperLeft,
    UpperRight,
    LowerLeft,
    LowerRight,
}

impl Place {
    /// The place of a point; `x` and `y` are 0..1 from the upper left corner. The middle fifth is neither side.
    pub fn of_point(x: f32, y: f32) -> Self {
        let (left, right, upper, lower) = (x < 0.4, x > 0.6, y < 0.4, y > 0.6);
        match (left, right, upper, lower) {
            (true, _, true, _) => Self::UpperLeft,
            (_, true, true, _) => Self::UpperRight,
            (true, _, _, true) => Self::LowerLeft,
            (_, true, _, true) => Self::LowerRight,
            (true, ..) => Self::Left,
            (_, true, ..) => Self::Right,
            (_, _, true, _) => Self::Upper,
            (_, _, _, true) => Self::Lower,
            _ => Self::Center,
        }
    }

    /// Phrases after the target: `on the left`.
    fn phrases(self) -> &'static [&'static str] {
        match self {
            Self::Left => &[
                "on the left",
                "on the left side",
                "in the left half of the image",
                "in the left region",
                "in the left part of the scan",
                "at the left",
                "to the left",
            ],
            Self::Right => &[
                "on the right",
                "on the right side",
                "in the right half of the image",
                "in the right region",
                "in the right part of the scan",
                "at the right",
                "to the right",
            ],
            Self::Upper => &[
                "at the top",
                "in the upper half of the image",
                "in the upper region",
                "in the upper part of the scan",
                "near the top of the image",
                "in the upper area",
            ],
            Self::Lower => &[
                "at the bottom",
                "in the lower half of the image",
                "in the lower region",
                "in the lower part of the scan",
                "near the bottom of the image",
                "in the lower area",
            ],
            Self::Center => &[
                "in the center",
                "in the middle",
                "in the middle of the image",
                "in the central region",
                "in the centre",
                "in the center area",
            ],
            Self::UpperLeft => &["in the upper-left", "in the upper left region", "at the top left"],
            Self::UpperRight => &["in the upper-right", "in the upper right region", "at the top right"],
            Self::LowerLeft => &["in the lower-left", "in the lower left region", "at the bottom left"],
            Self::LowerRight => &["in the lower-right", "in the lower right region", "at the bottom right"],
        }
    }

    /// The adjective before the target: `the left mass`.
    fn adjective(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Center => "central",
            Self::UpperLeft => "upper-left",
            Self::UpperRight => "upper-right",
            Self::LowerLeft => "lower-left",
            Self::LowerRight => "lower-right",
        }
    }
}

const NOUNS: [&str; 6] = ["lesion", "mass", "tumor", "tumour", "nodule", "growth"];

/// Words a prompt for a lesion with these adjectives (`malignant`, `large`, `dark`; commonest first) at this place.
pub fn image_prompt(adjectives: &[&str], place: Option<Place>, rng: &mut impl Rng) -> String {
    let noun = pick(&NOUNS, rng);
    let described = [adjectives, &[noun]].concat().join(" ");
    let at = place.map(|place| format!(" {}", pick(place.phrases(), rng))).unwrap_or_default();
    let some = with_article(&described);
    match rng.random_range(0..13) {
        0 => format!("the {described}{at}"),
        1 => format!("{described}{at}"),
        2 => format!("Segment the {described}{at}."),
        3 => format!("segment the {described}{at}"),
        4 => format!("Outline the {described}{at}."),
        5 => format!("{} the {described}{at}", pick(&["find", "mark", "delineate", "show", "highlight"], rng)),
        6 => format!("{} is visible{at}.", capitalised(&some)),
        7 => format!("{} is seen{at}.", capitalised(&some)),
        8 => format!("There is {some}{at}."),
        9 => format!("The image shows {some}{at}."),
        10 => format!("Presence of {some}{at}."),
        11 => match place {
            Some(place) => format!("the {} {described}", place.adjective()),
            None => format!("the {described}"),
        },
        _ if at.is_empty() => format!("{} was found.", capitalised(&some)),
        _ => format!("{} there is {some}.", capitalised(at.trim_start())),
    }
}

/// Targets that an image of a breast does not show.
pub(super) const ABSENT_THINGS: [&str; 12] = [
    "the kidney",
    "the left ventricle of the heart",
    "the gallbladder",
    "a polyp in the colon",
    "the thyroid gland",
    "the liver",
    "a pulmonary infection in the lung",
    "the bladder",
    "the head of a fetus",
    "a kidney stone",
    "a mole on the skin",
    "the prostate",
];

/// Words a request for one of those.
pub(super) fn absent_thing_prompt(rng: &mut impl Rng) -> String {
    absent_request(None, &[], rng)
}

pub(super) fn pick<'a>(choices: &[&'a str], rng: &mut impl Rng) -> &'a str {
    choices.choose(rng).copied().unwrap_or_default()
}

pub(super) fn with_article(text: &str) -> String {
    let article = if text.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {text}")
}

pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

const SIDES: &[(&str, &str)] = &[("left", "right"), ("leftmost", "rightmost"), ("leftward", "rightward")];
const HEIGHTS: &[(&str, &str)] = &[
    ("upper", "lower"),
    ("top", "bottom"),
    ("above", "below"),
    ("superior", "inferior"),
    ("uppermost", "lowermost"),
    ("upward", "downward"),
];
const QUALITIES: &[(&str, &str)] = &[
    ("benign", "malignant"),
    ("large", "small"),
    ("larger", "smaller"),
    ("largest", "smallest"),
    ("dark", "bright"),
    ("hypoechoic", "hyperechoic"),
    ("bilateral", "unilateral"),
];

/// The prompt for the image mirrored left to right: whole words and clock positions change sides, capitals stay.
pub fn mirror_horizontal(prompt: &str) -> String {
    mirror_clock(&swap_words(prompt, &[SIDES]), |hour| 12 - hour)
}

/// The prompt for the image mirrored top to bottom.
pub fn mirror_vertical(prompt: &str) -> String {
    mirror_clock(&swap_words(prompt, &[HEIGHTS]), |hour| 6 - hour)
}

/// The prompt with each of its words for a place replaced by this place's: `upper` also for a corner.
pub(super) fn move_place(prompt: &str, place: Place) -> String {
    const WORDS: [&str; 10] =
        ["left", "right", "upper", "lower", "center", "centre", "central", "middle", "top", "bottom"];
    let word = match place {
        Place::Left => "left",
        Place::Right => "right",
        Place::Upper | Place::UpperLeft | Place::UpperRight => "upper",
        Place::Lower | Place::LowerLeft | Place::LowerRight => "lower",
        Place::Center => "center",
    };
    let moved = map_words(prompt, |found| {
        WORDS.iter().any(|known| found.eq_ignore_ascii_case(known)).then(|| with_case_of(word, found))
    });
    // A corner had two words.
    [" ", "-"].iter().fold(moved, |text, gap| text.replace(&format!("{word}{gap}{word}"), word))
}

/// The prompt with every word replaced by its opposite: sides, heights, pathology, size, brightness; the centre becomes
/// a corner. `None` where no word has an opposite.
pub fn contradict_prompt(prompt: &str) -> Option<String> {
    const CENTERS: [&str; 5] = ["center", "centre", "central", "middle", "centrally"];
    let opposite = swap_words(prompt, &[SIDES, HEIGHTS, QUALITIES]);
    let opposite = map_words(&opposite, |word| {
        CENTERS.iter().any(|center| word.eq_ignore_ascii_case(center)).then(|| "lower-left".to_string())
    });
    (opposite != prompt).then_some(opposite)
}

/// The prompt's words in random order.
pub fn shuffle_words(prompt: &str, rng: &mut impl Rng) -> String {
    let mut words: Vec<&str> = prompt.split_whitespace().collect();
    words.shuffle(rng);
    words.join(" ")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

/// Replaces the words for which `replace` has another; everything between words stays.
fn map_words(text: &str, replace: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(char::is_alphabetic) {
        let (gap, from_word) = rest.split_at(start);
        let end = from_word.find(|c: char| !c.is_alphabetic()).unwrap_or(from_word.len());
        let (word, after) = from_word.split_at(end);
        result.push_str(gap);
        result.push_str(&replace(word).unwrap_or_else(|| word.to_string()));
        rest = after;
    }
    result.push_str(rest);
    result
}

fn swap_words(text: &str, tables: &[&[(&str, &str)]]) -> String {
    map_words(text, |word| {
        let pairs = tables.iter().flat_map(|table| table.iter());
        let opposite = pairs.into_iter().find_map(|(one, other)| {
            let is = |candidate: &str| word.eq_ignore_ascii_case(candidate);
            if is(one) { Some(*other) } else { is(other).then_some(*one) }
        })?;
        Some(with_case_of(opposite, word))
    })
}

fn with_case_of(word: &str, model: &str) -> String {
    if model.chars().all(|c| c.is_ascii_uppercase()) {
        word.to_ascii_uppercase()
    } else if model.starts_with(|c: char| c.is_ascii_uppercase()) {
        capitalised(word)
    } else {
        word.to_string()
    }
}

/// Mirrors clock positions (`at 10 o'clock`).
fn mirror_clock(text: &str, mirror: impl Fn(i32) -> i32) -> String {
    let mut result = text.to_string();
    let mut searched_to = 0;
    while let Some(found) = result[searched_to..].to_ascii_lowercase().find("o'clock") {
        let word = searched_to + found;
        let before = result[..word].trim_end();
        let digits = before.len() - before.bytes().rev().take_while(u8::is_ascii_digit).count();
        let number = digits..before.len();
        searched_to = word + "o'clock".len();
        let hour = result[number.clone()].parse::<i32>().ok().filter(|hour| (1..=12).contains(hour));
        if let Some(hour) = hour {
            let mirrored = match mirror(hour).rem_euclid(12) {
                0 => 12,
                other => other,
            }
            .to_string();
            searched_to = searched_to + mirrored.len() - number.len();
            result.replace_range(number, &mirrored);
        }
    }
    result
}

/// Gives every sample the prompts of a table with the columns `Image` and `Description` (.xlsx or .csv), by file name. Where an
/// image has several samples, a column `Ground Truth` names the mask of each row, with its folder where names are shared.
///
/// # Errors
/// The table's own errors, [`DataError::NoPrompt`] for an image without a row, and [`DataError::PromptRows`] for a sample
/// without one, such as a structure that the table leaves out.
pub fn replace_prompts(samples: &mut [Sample], path: &Path) -> Result<(), DataError> {
    let table = Table::read(path)?;
    let (image, text) = (table.column("Image")?, table.column("Description")?);
    let mask = table.find_column("Ground Truth");
    let mut by_image: HashMap<&str, Vec<(&str, String)>> = HashMap::new();
    for row in &table.rows {
        let name = table.required(row, image, "Image")?;
        let mask = mask.map_or("", |column| row.get(column));
        by_image.entry(name).or_default().push((mask, row.get(text).to_string()));
    }
    let mut of_image: HashMap<PathBuf, Vec<usize>> = HashMap::new();
    for (index, sample) in samples.iter().enumerate() {
        of_image.entry(sample.image.clone()).or_default().push(index);
    }
    for (file, indices) in of_image {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rows = by_image.get(name.as_str()).or_else(|| by_image.get(samples[indices[0]].case_id.as_str()));
        let Some(rows) = rows else { return Err(DataError::NoPrompt { path: path.into(), image: name }) };
        if let [index] = indices.as_slice() {
            samples[*index].prompts = rows.iter().map(|(_, prompt)| prompt.clone()).collect();
            continue;
        }
        // Several samples of one image differ in their masks: a row that names the mask of one of them is that one's. Samples
        // without such a row, as those of absent structures, get the other rows in their order.
        let mut prompts: Vec<Vec<String>> = vec![Vec::new(); indices.len()];
        let mut others = Vec::new();
        for (mask, prompt) in rows {
            let is_owner =
                |index: usize| !mask.is_empty() && samples[index].masks.iter().any(|own| own.ends_with(mask));
            let mut owners = (0..indices.len()).filter(|at| is_owner(indices[*at]));
            match (owners.next(), owners.next()) {
                (Some(owner), None) => prompts[owner].push(prompt.clone()),
                // Masks of several structures may have the image's name.
                _ => others.push(prompt.clone()),
            }
        }
        let without: Vec<&mut Vec<String>> = prompts.iter_mut().filter(|prompts| prompts.is_empty()).collect();
        if !without.is_empty() && without.len() != others.len() {
            let (rows, samples) = (rows.len(), indices.len());
            return Err(DataError::PromptRows { path: path.into(), image: name, rows, samples });
        }
        for (prompts, prompt) in without.into_iter().zip(others) {
            prompts.push(prompt);
        }
        for (index, prompts) in indices.into_iter().zip(prompts) {
            samples[index].prompts = prompts;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::MaskRule;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn mirrors_change_whole_words_and_keep_case() {
        for (prompt, horizontal, vertical) in [
            ("A mass on the left side.", "A mass on the right side.", "A mass on the left side."),
            ("UPPER-Left, bright", "UPPER-Right, bright", "LOWER-Left, bright"),
            ("Right of it, below the top", "Left of it, below the top", "Right of it, above the bottom"),
            ("cleft outright stop supper", "cleft outright stop supper", "cleft outright stop supper"),
            ("at 10 o'clock and 12 O'Clock", "at 2 o'clock and 12 O'Clock", "at 8 o'clock and 6 O'Clock"),
            ("at 3o'clock, o'clock", "at 9o'clock, o'clock", "at 3o'clock, o'clock"),
            ("tumör links – naïve", "tumör links – naïve", "tumör links – naïve"),
            ("", "", ""),
        ] {
            assert_eq!(mirror_horizontal(prompt), horizontal);
            assert_eq!(mirror_vertical(prompt), vertical);
            assert_eq!(mirror_horizontal(&mirror_horizontal(prompt)), prompt);
            assert_eq!(mirror_vertical(&mirror_vertical(prompt)), prompt);
        }
    }

    #[test]
    fn contradictions_turn_everything_around() {
        assert_eq!(
            contradict_prompt("A benign tumor in the upper-right.").as_deref(),
            Some("A malignant tumor in the lower-left.")
        );
        assert_eq!(contradict_prompt("in the center area").as_deref(), Some("in the lower-left area"));
        assert_eq!(contradict_prompt("a tumor"), None);
    }

    #[test]
    fn pathology_is_read_from_whole_words() {
        assert_eq!(Pathology::named_in("A Benign mass"), Some(Pathology::Benign));
        assert_eq!(Pathology::named_in("nonmalignant"), None);
        assert_eq!(Pathology::named_in("benign or malignant"), None);
    }

    #[test]
    fn prompts_vary_repeat_and_say_what_is_asked() {
        let draw = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            image_prompt(&["malignant"], Some(Place::Left), &mut rng)
        };
        let prompts: std::collections::BTreeSet<String> = (0..300).map(draw).collect();
        assert!(prompts.len() > 150, "{}", prompts.len());
        for prompt in &prompts {
            assert!(prompt.contains("malignant") && prompt.to_lowercase().contains("left"), "{prompt}");
            assert!(NOUNS.iter().any(|noun| prompt.contains(noun)), "{prompt}");
            assert!(!prompt.contains("  ") && !prompt.contains(" ."), "{prompt}");
            assert!(mirror_horizontal(prompt).to_lowercase().contains("right"), "{prompt}");
        }
        assert_eq!(draw(5), draw(5));
        assert_eq!(with_article("anechoic cyst"), "an anechoic cyst");
    }

    #[test]
    fn shuffled_words_are_the_same_words() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let shuffled = shuffle_words("one two three four five six", &mut rng);
        assert_ne!(shuffled, "one two three four five six");
        let mut words: Vec<&str> = shuffled.split(' ').collect();
        words.sort_unstable();
        assert_eq!(words, ["five", "four", "one", "six", "three", "two"]);
        assert_eq!(shuffle_words("", &mut rng), "");
    }

    #[test]
    fn another_table_replaces_the_prompts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prompts.csv");
        std::fs::write(&path, "Image,Description\na.png,one\na.png,two\nb,\n").unwrap();
        let sample = |name: &str| Sample::new(name.into(), format!("img/{name}.png").into(), MaskRule::AboveHalf);
        let mut samples = [sample("a"), sample("b")];
        replace_prompts(&mut samples, &path).unwrap();
        assert_eq!(samples[0].prompts, ["one", "two"]);
        assert_eq!(samples[1].prompts, [""]);
        let error = replace_prompts(&mut [sample("c")], &path).unwrap_err().to_string();
        assert!(error.contains("`c.png`"), "{error}");
    }

    #[test]
    fn samples_of_one_image_get_the_rows_of_their_masks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prompts.csv");
        let samples = || {
            ["one.png", "two.png"].map(|mask| {
                let mut sample = Sample::new("a".into(), "img/a.png".into(), MaskRule::AboveHalf);
                sample.masks.push(format!("label/{mask}").into());
                sample
            })
        };
        for (rows, expected) in [
            ("Image,Description,Ground Truth\na.png,right,two.png\na.png,left,one.png\n", Some(["left", "right"])),
            ("Image,Description\na.png,first\na.png,second\n", Some(["first", "second"])),
            ("Image,Description\na.png,first\n", None),
        ] {
            std::fs::write(&path, rows).unwrap();
            let mut samples = samples();
            let replaced = replace_prompts(&mut samples, &path);
            match expected {
                Some(prompts) => assert_eq!(samples.map(|sample| sample.prompts[0].clone()), prompts),
                None => assert!(replaced.unwrap_err().to_string().contains("1 rows for the image `a.png`")),
            }
        }
    }

    /// Structures' masks have the names of their images.
    #[test]
    fn structures_get_their_own_rows_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prompts.csv");
        let samples = |shows_vessel: bool| {
            [("nerve", true), ("vessel", shows_vessel)].map(|(structure, is_shown)| {
                let mut sample = Sample::new("a".into(), "img/a.png".into(), MaskRule::LabelOrHalf);
                sample.masks.extend(is_shown.then(|| format!("{structure}/a.png").into()));
                sample.structure = Some(structure.into());
                sample
            })
        };
        let both = Some([vec!["N"], vec!["V"]]);
        for (rows, shows_vessel, expected) in [
            ("Ground Truth,Description\nvessel/a.png,V\nnerve/a.png,N\n", true, both.clone()),
            (
                "Ground Truth,Description\nvessel/a.png,V\nnerve/a.png,N\nnerve/a.png,M\n",
                true,
                Some([vec!["N", "M"], vec!["V"]]),
            ),
            // In the samples' order where the names do not tell.
            ("Ground Truth,Description\na.png,N\na.png,V\n", true, both.clone()),
            // The absent structure has no mask to name.
            ("Ground Truth,Description\n,V\nnerve/a.png,N\n", false, both),
            // Without a structure's words.
            ("Ground Truth,Description\nnerve/a.png,N\n", true, None),
            ("Ground Truth,Description\na.png,N\n", true, None),
            ("Ground Truth,Description\nnerve/a.png,N\n", false, None),
            ("Ground Truth,Description\nnerve/a.png,N\nnerve/a.png,M\n", true, None),
        ] {
            let table: String = rows
                .lines()
                .enumerate()
                .map(|(at, row)| format!("{},{row}\n", ["Image", "a.png"][at.min(1)]))
                .collect();
            std::fs::write(&path, &table).unwrap();
            let mut samples = samples(shows_vessel);
            let replaced = replace_prompts(&mut samples, &path);
            match expected {
                Some(prompts) => assert_eq!(samples.map(|sample| sample.prompts), prompts, "{table}"),
                None => {
                    let error = replaced.unwrap_err().to_string();
                    assert!(error.contains("for the image `a.png`") && error.contains("2 samples"), "{error}");
                }
            }
        }
        std::fs::write(&path, "Image,Description\nb.png,N\n").unwrap();
        let error = replace_prompts(&mut samples(true), &path).unwrap_err();
        assert!(matches!(error, DataError::NoPrompt { .. }), "{error}");
    }

    #[test]
    fn places_divide_the_image() {
        assert_eq!(Place::of_point(0.1, 0.5), Place::Left);
        assert_eq!(Place::of_point(0.5, 0.9), Place::Lower);
        assert_eq!(Place::of_point(0.5, 0.5), Place::Center);
        assert_eq!(Place::of_point(0.9, 0.1), Place::UpperRight);
    }
}
