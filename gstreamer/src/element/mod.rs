//! The element `causalclipseg`.

mod flow;
mod imp;
mod mask_pad;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use settings::Settings;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element: one sink pad, a source pad for the frames, and a request pad `mask`.
    pub struct CausalClipSeg(ObjectSubclass<imp::CausalClipSeg>) @extends gst::Element, gst::Object;
}

/// What is drawn on the frames that pass through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstCausalClipSegOverlay")]
#[repr(i32)]
pub enum OverlayMode {
    /// Nothing: frames are left as they are.
    #[default]
    #[enum_value(name = "None: frames are not changed", nick = "none")]
    None,
    /// The mask's boundaries, two pixels wide.
    #[enum_value(name = "Contour: the mask's boundaries as lines", nick = "contour")]
    Contour,
    /// A tint over the mask.
    #[enum_value(name = "Mask: the mask as a tint", nick = "mask")]
    Mask,
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "causalclipseg", gst::Rank::NONE, CausalClipSeg::static_type())
}
