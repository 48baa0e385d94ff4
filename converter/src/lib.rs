//! Trains, imports, exports and packs models for the causalclipseg runtime.

pub mod checkpoint;
pub mod export;
pub mod model;
