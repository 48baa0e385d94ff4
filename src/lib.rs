//! Text-prompted lesion segmentation for ultrasound: the runtime.
//!
//! Data flows one way: a [`bundle`] is opened, its [`graph`] is rewritten and lowered ([`lower`]), an [`engine`] runs it on
//! a [`frame`] and a [`prompt`], and a [`mask`] comes out.
//!
//! Research software; not a medical device.

pub mod bundle;
pub mod graph;
pub mod lower;
pub mod prompt;
