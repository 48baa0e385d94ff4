//! Only dependencies: they enable, in crates that several packages share, the features that the complete workspace
//! enables. A package whose tests depend on this crate is tested alone without building tract, or anything else, again.
#![forbid(unsafe_code)]
