//! Trains, imports, exports and packs models for the causalclipseg runtime.

pub mod checkpoint;
pub mod confound;
pub mod data;
#[cfg(test)]
mod docs_picture;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod interpolate;
pub mod model;
pub mod pack;
pub mod phantom;
pub mod quantize;
pub mod study;
mod tensor_file;
pub mod tokenizer;
pub mod train;
