//! Data sets on disk, in several layouts, and their preparation for training.
//!
//! A loader lists a split's [`Sample`]s: image, masks and prompts. Nothing is decoded then. A [`Dataset`] decodes each
//! once into a [`Picture`] of the network's size, small enough to keep thousands in memory. A [`Recipe`] draws
//! augmented training examples from it, repeatably from a seed, an epoch and an index.

mod augment;
mod compose;
mod dataset;
mod error;
mod folds;
mod graft;
mod layout;
pub mod looks;
mod picture;
mod pixels;
mod prompts;
mod recipe;
mod requests;
mod sample;
mod samples;
mod table;
mod vocabulary;
mod window;

pub use augment::{Affine, add_speckle, apply_affine, apply_gain, apply_gamma, flip_horizontal, flip_vertical};
pub use compose::{Absence, Arrangement, compose_pair, wrong_request};
pub use dataset::Dataset;
pub use error::DataError;
pub use folds::{folds, split_fold};
pub(crate) use layout::planted;
pub use layout::{DataLayout, LoadOptions, load_samples};
pub(crate) use picture::LesionBox;
pub use picture::{Example, Picture, prepare};
pub use pixels::{Image, Mask, load_image, load_mask, load_masks};
use prompts::move_place;
pub use prompts::{
    Pathology, Place, contradict_prompt, image_prompt, mirror_horizontal, mirror_vertical, replace_prompts,
    shuffle_words,
};
pub use recipe::Recipe;
pub use requests::{HELD_OUT_REQUESTS, PLAIN_REQUESTS, plain_request, structure_request};
pub use sample::{MaskRule, Sample, Split};
pub use samples::{digest, doubts, split_device};
pub use vocabulary::prompt_words;
pub use window::part_beside_lesions;
