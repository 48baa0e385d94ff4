//! Files of every accepted kind, and of every kind that is refused.

mod bad_files;
mod fixtures;
mod golden_files;
mod layouts;
mod mutations;
