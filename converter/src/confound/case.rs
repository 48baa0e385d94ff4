//! One image with its prompt, before a mark is drawn.

use super::mark::Site;
use super::{ConfoundError, Origin};
use crate::data::{
    DataError, Image, LoadOptions, Mask, Pathology, Sample, Split, load_image, load_mask, load_masks, load_samples,
};
use crate::phantom::Phantom;
use image::DynamicImage;

/// The decoded image, in grey.
pub(super) struct Case {
    /// The beginning of file names, unique within a split.
    pub name: String,
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<u8>,
    pub prompt: String,
    pub mask: Mask,
    /// The masks of lesions that the prompt does not name.
    pub others: Vec<Mask>,
    /// The group of images that a bootstrap draws together.
    pub patient: String,
    pub pathology: Option<Pathology>,
    pub device: Option<String>,
}

impl Case {
    /// The place of the prompted lesion; the image's middle if there is none.
    pub fn prompted(&self) -> Site {
        site(&self.mask).unwrap_or(Site {
            center: (self.width as f32 / 2.0, self.height as f32 / 2.0),
            half: (self.width as f32 / 8.0, self.height as f32 / 8.0),
        })
    }

    /// The place of a misleading mark: another lesion, else the one of nine places in the image that is farthest from the
    /// prompted lesion.
    pub fn elsewhere(&self) -> Site {
        if let Some(other) = self.others.iter().find_map(site) {
            return other;
        }
        let Site { center, half } = self.prompted();
        let at = |part: usize, side: usize| (1 + 2 * part) as f32 / 6.0 * side as f32;
        let places = (0..9).map(|place| (at(place % 3, self.width), at(place / 3, self.height)));
        let distance = |place: &(f32, f32)| (place.0 - center.0).powi(2) + (place.1 - center.1).powi(2);
        let farthest = places.max_by(|one, other| distance(one).total_cmp(&distance(other)));
        Site { center: farthest.unwrap_or(center), half }
    }
}

/// The box around a mask's lesion.
fn site(mask: &Mask) -> Option<Site> {
    let inside = || (0..mask.lesion.len()).filter(|index| mask.lesion[*index]);
    let (columns, rows) = (inside().map(|index| index % mask.width), inside().map(|index| index / mask.width));
    let (left, right) = (columns.clone().min()?, columns.max()?);
    let (top, bottom) = (rows.clone().min()?, rows.max()?);
    let middle = |from: usize, to: usize| (from + to) as f32 / 2.0;
    let half = |from: usize, to: usize| (to - from + 1) as f32 / 2.0;
    Some(Site { center: (middle(left, right), middle(top, bottom)), half: (half(left, right), half(top, bottom)) })
}

/// The cases of a split, each decoded on access.
pub(super) enum Cases {
    Samples(Vec<Sample>),
    /// Each phantom is two cases.
    Phantoms {
        seed: u64,
        first: usize,
        count: usize,
        size: (usize, usize),
    },
}

impl Cases {
    /// The split of the origin; for a data set without a test split, its validation split.
    pub fn of(origin: &Origin, split: Split, seed: u64) -> Result<Self, ConfoundError> {
        match origin {
            Origin::Data { folder } => {
                let options = LoadOptions::default();
                let samples = match load_samples(folder, split, &options) {
                    Err(DataError::Absent { .. } | DataError::EmptySplit { .. }) if split == Split::Test => {
                        log::info!("{} has no test split; its validation split is used for both", folder.display());
                        load_samples(folder, Split::Val, &options)?
                    }
                    samples => samples?,
                };
                Ok(Self::Samples(samples))
            }
            Origin::Phantoms { training, validation, test, width, height } => {
                let (first, count) = match split {
                    Split::Train => (0, *training),
                    Split::Val => (*training, *validation),
                    Split::Test => (training + validation, *test),
                };
                if count == 0 {
                    return Err(ConfoundError::NoPhantoms);
                }
                Ok(Self::Phantoms { seed, first, count, size: (*width, *height) })
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Samples(samples) => samples.len(),
            Self::Phantoms { count, .. } => 2 * count,
        }
    }

    /// The case at an index below [`Self::len`].
    pub fn get(&self, index: usize) -> Result<Case, ConfoundError> {
        match self {
            Self::Samples(samples) => Ok(decode(&samples[index], index)?),
            Self::Phantoms { seed, first, size, .. } => {
                let number = first + index / 2;
                let phantom = Phantom::pair(*seed, number as u64, *size);
                let (prompted, other) = (index % 2, 1 - index % 2);
                Ok(Case {
                    name: format!("phantom_{number:05}_{}", ["left", "right"][prompted]),
                    width: phantom.width,
                    height: phantom.height,
                    prompt: phantom.requests[prompted].prompt.clone(),
                    mask: phantom.mask(prompted),
                    others: vec![phantom.mask(other)],
                    patient: format!("phantom_{number:05}"),
                    pathology: None,
                    device: None,
                    pixels: phantom.pixels,
                })
            }
        }
    }
}

fn decode(sample: &Sample, index: usize) -> Result<Case, DataError> {
    let gray = match load_image(&sample.image)? {
        Image::Gray(image) => image,
        Image::Rgb(image) => DynamicImage::ImageRgb8(image).into_luma8(),
    };
    let (width, height) = (gray.width() as usize, gray.height() as usize);
    let mut others = Vec::new();
    for path in &sample.other_masks {
        let mask = load_mask(path, sample.mask_rule)?;
        if mask.size() != (width, height) {
            return Err(DataError::SizeMismatch {
                mask: path.clone(),
                mask_size: mask.size(),
                image: sample.image.clone(),
                image_size: (width, height),
            });
        }
        others.push(mask);
    }
    // Rows of one image share a name, and case names of some layouts have characters that file names can't have.
    let plain: String = sample.case_id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    Ok(Case {
        name: format!("{index:05}_{plain}"),
        width,
        height,
        pixels: gray.into_raw(),
        prompt: sample.prompts.iter().find(|prompt| !prompt.trim().is_empty()).cloned().unwrap_or_default(),
        mask: load_masks(sample, (width, height))?,
        others,
        patient: sample.group().to_string(),
        pathology: sample.pathology,
        device: sample.device.clone(),
    })
}
