//! Live frames.

mod histogram;

pub use histogram::{Histogram, Summary};
