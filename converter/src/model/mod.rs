//! The network of checkpoints. Its description is in the runtime ([`causalclipseg::network`]), where the benchmark
//! needs it too; the parts for conversion only are here.

mod form;
mod heads;
mod masks;
mod positions;

pub use causalclipseg::network::{
    Architecture, ArchitectureError, Edition, ImageEncoder, Masks, TextEncoder, UnknownEdition, golden_image,
    golden_tensor, stage,
};
pub(crate) use form::FORM_KEY;
pub use form::Form;
pub use heads::scale_new_heads;
pub(crate) use masks::open_masks;
pub use masks::{HeldMaskError, MeanMasks};
pub use positions::resize_positions;
