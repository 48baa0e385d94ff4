//! The C library as `cargo test --features capi` builds it, for the C and C++ programs beside this file. For a device,
//! build it as docs/embedding.md says.

pub use causalclipseg::capi::*;
