//! Which lesion a prompt names, and by which property.

use super::Request;
use super::lesion::{Echogenicity, Lesion};
use crate::data::{Place, image_prompt};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The ratio of areas from which a lesion is large beside another.
const CLEARLY_LARGER: f32 = 2.0;

/// Selects a lesion and words a prompt that fits it alone.
pub fn pick(lesions: &[Lesion], size: (usize, usize), rng: &mut impl Rng) -> Request {
    let order: Vec<usize> = (0..lesions.len()).collect();
    let target = order.choose(rng).copied().unwrap_or(0);
    // Some layouts have a lesion that is not distinguishable; then another one is used.
    let mut candidates = std::iter::once(target).chain(order.iter().copied().filter(|index| *index != target));
    candidates
        .find_map(|lesion| word(lesions, lesion, size, rng))
        .unwrap_or_else(|| Request { lesion: target, prompt: image_prompt(&[], None, rng) })
}

/// A prompt that fits this lesion and no other, by place, size or echogenicity; `None` where nothing distinguishes it.
pub fn word(lesions: &[Lesion], lesion: usize, size: (usize, usize), rng: &mut impl Rng) -> Option<Request> {
    let marks = marks(lesions, lesion, size);
    let mark = marks.choose(rng).copied()?;
    let mut adjectives = Vec::new();
    let mut place = None;
    let extra = rng.random_bool(0.3);
    // One property is enough; sometimes all are named.
    for other in &marks {
        if *other == mark || extra {
            match other {
                Mark::Size(word) => adjectives.insert(0, *word),
                Mark::Echo(words) => adjectives.push(words.choose(rng).copied().unwrap_or(words[0])),
                Mark::Place(found) => place = Some(*found),
            }
        }
    }
    Some(Request { lesion, prompt: image_prompt(&adjectives, place, rng) })
}

/// Whether a prompt can name one of the lesions alone.
pub fn is_possible(lesions: &[Lesion], size: (usize, usize)) -> bool {
    (0..lesions.len()).any(|index| !marks(lesions, index, size).is_empty())
}

/// A property that one lesion of an image has and no other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Size(&'static str),
    Echo(&'static [&'static str]),
    Place(Place),
}

fn marks(lesions: &[Lesion], index: usize, size: (usize, usize)) -> Vec<Mark> {
    let Some(lesion) = lesions.get(index) else { return Vec::new() };
    let others: Vec<&Lesion> =
        lesions.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, lesion)| lesion).collect();
    let mut marks = Vec::new();
    if !others.is_empty() && others.iter().all(|other| lesion.area() > CLEARLY_LARGER * other.area()) {
        marks.push(Mark::Size("large"));
    } else if !others.is_empty() && others.iter().all(|other| other.area() > CLEARLY_LARGER * lesion.area()) {
        marks.push(Mark::Size("small"));
    }
    let is_bright = |lesion: &Lesion| lesion.echogenicity == Echogenicity::Hyperechoic;
    if others.iter().all(|other| is_bright(other) != is_bright(lesion)) {
        marks.push(Mark::Echo(match lesion.echogenicity {
            Echogenicity::Anechoic => &["anechoic", "dark", "cystic", "black"],
            Echogenicity::Hypoechoic => &["hypoechoic", "dark"],
            Echogenicity::Hyperechoic => &["hyperechoic", "bright", "echogenic"],
        }));
    }
    if let Some(place) = place_alone(lesion, &others, size) {
        marks.push(Mark::Place(place));
    }
    marks
}

/// A side of the image with this lesion and no other.
fn place_alone(lesion: &Lesion, others: &[&Lesion], (width, height): (usize, usize)) -> Option<Place> {
    let position = |lesion: &Lesion| (lesion.center.0 / width as f32, lesion.center.1 / height as f32);
    let (x, y) = position(lesion);
    if others.is_empty() {
        return Some(Place::of_point(x, y));
    }
    let all = |test: &dyn Fn((f32, f32)) -> bool| others.iter().all(|other| test(position(other)));
    let is_apart = |near: f32, far: f32| near < 0.45 && far > 0.55;
    let sides = [
        (Place::Left, all(&|other| is_apart(x, other.0))),
        (Place::Right, all(&|other| is_apart(other.0, x))),
        (Place::Upper, all(&|other| is_apart(y, other.1))),
        (Place::Lower, all(&|other| is_apart(other.1, y))),
    ];
    // The side with the lesion farthest from the middle reads most naturally.
    let clearness = |place: Place| match place {
        Place::Left | Place::Right => (x - 0.5).abs(),
        _ => (y - 0.5).abs(),
    };
    let fitting = sides.into_iter().filter(|(_, fits)| *fits).map(|(place, _)| place);
    fitting.max_by(|one, other| clearness(*one).total_cmp(&clearness(*other)))
}

#[cfg(test)]
mod tests {
    use super::super::Phantom;
    use super::*;

    #[test]
    fn prompts_fit_their_lesion_alone() {
        let (mut by_place, mut by_size, mut by_echo, mut requests) = (0, 0, 0, 0);
        let mut prompted = std::collections::HashSet::new();
        for index in 0..150 {
            let phantom = Phantom::generate(11, index, Some((128, 96)));
            assert!(is_possible(&phantom.lesions, (phantom.width, phantom.height)));
            for request in &phantom.requests {
                let target = &phantom.lesions[request.lesion];
                let others: Vec<&Lesion> = phantom.lesions.iter().filter(|lesion| *lesion != target).collect();
                let lower = request.prompt.to_lowercase();
                let says = |word: &str| lower.split(|c: char| !c.is_alphabetic()).any(|w| w == word);
                if says("left") && !others.is_empty() {
                    by_place += 1;
                    assert!(others.iter().all(|other| other.center.0 > target.center.0), "{lower}");
                }
                if says("large") {
                    by_size += 1;
                    assert!(others.iter().all(|other| other.area() < target.area()), "{lower}");
                }
                if says("bright") || says("hyperechoic") || says("echogenic") {
                    by_echo += 1;
                    assert_eq!(target.echogenicity, Echogenicity::Hyperechoic, "{lower}");
                    assert!(others.iter().all(|other| other.echogenicity != Echogenicity::Hyperechoic), "{lower}");
                }
                prompted.insert((index, request.lesion));
            }
            requests += phantom.requests.len();
        }
        assert_eq!(prompted.len(), requests, "no lesion is requested twice");
        assert!(requests > 200, "{requests}");
        assert!(by_place > 5 && by_size > 5 && by_echo > 5, "{by_place} {by_size} {by_echo}");
    }
}
