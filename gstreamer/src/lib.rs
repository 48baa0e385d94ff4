//! GStreamer plugin with one element, `causalclipseg`: it segments what a sentence describes in ultrasound video.
//!
//! Frames pass through, optionally with the result drawn on them. Results are posted on the bus and attached to the frames;
//! a request pad yields the masks. docs/gstreamer.md describes properties, pads and messages.

#![expect(missing_docs, reason = "plugin_define! writes items without any")]

mod element;
mod engine;
mod overlay;
mod picture;
mod planes;
mod quality_of_service;
mod results;
mod statistics;

pub use element::{CausalClipSeg, OverlayMode};

use gst::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    element::register(plugin)
}

gst::plugin_define!(
    causalclipseg,
    "Segments the lesion that a sentence describes in ultrasound video",
    plugin_init,
    env!("CARGO_PKG_VERSION"),
    // GStreamer's name for it.
    "MIT/X11",
    "causalclipseg",
    "causalclipseg",
    "https://github.com/causalclipseg"
);
