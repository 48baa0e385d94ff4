//! Rounds values to a node's scale and zero point, kept in f32.

use super::wiring::Wiring;
use crate::graph::ScaleZeroPoint;
use tract_core::element_wise;
use tract_core::internal::*;

element_wise!(round_to_stored, RoundToStored { quantisation: ScaleZeroPoint },
    [f32] => |op, values| {
        // NaN and infinity would come out as finite numbers here and hide an earlier error.
        values.iter_mut().filter(|value| value.is_finite()).for_each(|value| *value = op.quantisation.round(*value));
        Ok(())
    };
    validation: Validation::Rounding
);

/// Quantises and dequantises: the result is what an engine that stores 8 bits reads back.
pub(super) fn round(w: &mut Wiring, quantisation: ScaleZeroPoint, x: OutletId) -> TractResult<OutletId> {
    w.wire(round_to_stored(quantisation), &[x])
}
