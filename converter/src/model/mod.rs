//! The network as checkpoints hold it. Its description is the runtime's ([`causalclipseg::network`]), which the benchmark
//! needs too; what only conversion needs is here.

mod form;
mod heads;
mod positions;

pub use causalclipseg::network::{
    Architecture, ArchitectureError, Edition, ImageEncoder, TextEncoder, UnknownEdition, golden_image, golden_tensor,
    stage,
};
pub(crate) use form::FORM_KEY;
pub use form::Form;
pub use heads::scale_new_heads;
pub use positions::resize_positions;
