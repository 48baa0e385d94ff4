//! Trains, imports, exports and packs models for the causalclipseg runtime.

pub mod checkpoint;
pub mod data;
pub mod model;
pub mod tokenizer;
pub mod train;
