//! Requests that name no place and no pathology, as people write them, and those that are kept out of training.

use super::prompts::{ABSENT_THINGS, capitalised, pick, with_article};
use rand::{Rng, RngExt};

const NOUNS: [&str; 8] = ["lesion", "mass", "tumor", "tumour", "nodule", "growth", "lesion", "mass"];

/// Sentence forms: `{the}` is a noun with its definite article, `{a}` with the indefinite one, `{A}` the same at a
/// sentence's beginning, `{n}` the bare noun, `{s}` its plural, `{w}` an optional place.
const FORMS: [&str; 44] = [
    "{n}",
    "{the}",
    "{a}",
    "breast {n}",
    "the breast {n}",
    "{s}",
    "suspicious {n}",
    "{A}{w}.",
    "{A}{w}.",
    "{The}{w}.",
    "{A} is seen{w}.",
    "{A} is visible{w}.",
    "{A} is present{w}.",
    "{A} can be seen{w}.",
    "{A} was found{w}.",
    "{A} is shown{w}.",
    "There is {a}{w}.",
    "there is {a}{w}",
    "Where is {the}?",
    "where is {the}",
    "Where is {the}{w}?",
    "Is there {a}?",
    "Is there {a}{w}?",
    "Is there any {n}{w}?",
    "Do you see {a}?",
    "Any {s}{w}?",
    "Are there {s}{w}?",
    "Find {the}.",
    "find any {n}{w}",
    "Segment {the}.",
    "segment {the}{w}",
    "Please segment {the}.",
    "Outline {the}{w}.",
    "outline any {n}",
    "Mark {the}{w}.",
    "Show me {the}.",
    "show {the}{w}",
    "Highlight {the}{w}.",
    "Delineate {the}.",
    "Detect {a}{w}.",
    "The scan shows {a}.",
    "The image shows {a}{w}.",
    "The breast contains {a}.",
    "Presence of {a}{w}.",
];

const WHERE: [&str; 8] = [
    "",
    " in the breast",
    " in the breast",
    " in this image",
    " in the image",
    " in the scan",
    " in the breast tissue",
    " in this breast",
];

/// Requests for any lesion, in words that training never uses: with them `evaluate` measures whether a request is
/// understood or memorised.
pub const HELD_OUT_REQUESTS: [&str; 12] = [
    "Locate the tumour.",
    "Point out the mass.",
    "Can a nodule be seen here?",
    "What is the extent of the lesion?",
    "Trace the border of the growth.",
    "lesion segmentation",
    "There appears to be a mass.",
    "A tumour has been noticed.",
    "I am looking for a nodule in this breast.",
    "Does this picture contain a lesion?",
    "Give me the outline of the tumor, please.",
    "Breast ultrasound with a mass.",
];

/// Requests for any lesion in words that training uses.
pub const PLAIN_REQUESTS: [&str; 8] = [
    "A mass in the breast.",
    "the lesion",
    "tumour",
    "nodule",
    "Where is the tumor?",
    "Is there a mass?",
    "A mass is seen in the breast.",
    "Segment the lesion.",
];

/// Words a request for any lesion.
pub fn plain_request(rng: &mut impl Rng) -> String {
    let (form, noun, place) = (pick(&FORMS, rng), pick(&NOUNS, rng), pick(&WHERE, rng));
    fill_form(form, noun, place)
}

/// Words a request for a structure: `the nerve`.
pub fn structure_request(structure: &str, rng: &mut impl Rng) -> String {
    // Every fourth one uses the words of requests for absent targets, so that only the target distinguishes them.
    if rng.random_bool(0.25) {
        return thing_request(&with_the(structure), rng);
    }
    let form = loop {
        let form = pick(&FORMS, rng);
        if !form.contains("breast") && !form.contains("{s}") {
            break form;
        }
    };
    let place = ["", "", " in this image", " in the image", " in the scan"];
    fill_form(form, structure, pick(&place, rng))
}

/// Words a request for a target that a breast does not have and that is not `shown` in the image either.
pub(super) fn absent_request(shown: Option<&str>, others: &[String], rng: &mut impl Rng) -> String {
    if !others.is_empty() && rng.random_bool(0.5) {
        return structure_request(&others[rng.random_range(0..others.len())], rng);
    }
    // Short words are articles.
    let names = |shown: &str, thing: &str| shown.split_whitespace().any(|word| word.len() > 3 && thing.contains(word));
    let absent: Vec<&str> =
        ABSENT_THINGS.into_iter().filter(|thing| !shown.is_some_and(|shown| names(shown, thing))).collect();
    let thing = pick(&absent, rng);
    match rng.random_bool(0.5) {
        true => thing_request(thing, rng),
        false => {
            let bare = thing.strip_prefix("the ").or(thing.strip_prefix("a ")).unwrap_or(thing);
            structure_request(bare, rng)
        }
    }
}

fn thing_request(thing: &str, rng: &mut impl Rng) -> String {
    match rng.random_range(0..4) {
        0 => thing.to_string(),
        1 => format!("segment {thing}"),
        2 => format!("{} is visible.", capitalised(thing)),
        _ => format!("Outline {thing}."),
    }
}

fn with_the(noun: &str) -> String {
    format!("the {noun}")
}

fn fill_form(form: &str, noun: &str, place: &str) -> String {
    let plural = if noun.ends_with('s') { format!("{noun}es") } else { format!("{noun}s") };
    let (some, the) = (with_article(noun), with_the(noun));
    form.replace("{n}", noun)
        .replace("{s}", &plural)
        .replace("{the}", &the)
        .replace("{The}", &capitalised(&the))
        .replace("{a}", &some)
        .replace("{A}", &capitalised(&some))
        .replace("{w}", place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    #[test]
    fn held_out_wordings_are_never_asked_and_plain_ones_are() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let prompted: HashSet<String> = (0..60_000).map(|_| plain_request(rng).to_lowercase()).collect();
        for held_out in HELD_OUT_REQUESTS {
            assert!(!prompted.contains(&held_out.to_lowercase()), "{held_out}");
        }
        for plain in PLAIN_REQUESTS {
            assert!(prompted.contains(&plain.to_lowercase()), "{plain}");
        }
        assert!(prompted.iter().all(|request| !request.contains('{') && !request.contains("  ")));
    }

    #[test]
    fn structures_are_named_and_shown_ones_never_absent() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        for _ in 0..2000 {
            assert!(structure_request("nerve", rng).to_lowercase().contains("nerve"));
            let absent = absent_request(Some("fetal head"), &["nerve".into()], rng);
            assert!(!absent.to_lowercase().contains("head"), "{absent}");
        }
    }
}
