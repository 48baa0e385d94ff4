//! Nothing but dependencies: they turn on, in crates that several packages share, the features that the whole workspace
//! turns on. A package whose tests depend on this crate is tested alone without building tract, or anything else, anew.
#![forbid(unsafe_code)]
