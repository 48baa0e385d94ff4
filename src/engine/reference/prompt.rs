//! The convolution whose kernel a sentence generates.

use super::resampling::{pad_frame, shifted};
use super::wiring::Wiring;
use crate::graph::TAPS;
use tract_core::internal::*;
use tract_core::ops::math::add;

/// One product of nine rows with the whole map, then a shift and add of the nine planes: the map itself is read once.
pub(super) fn prompt_convolution(
    w: &mut Wiring,
    folded: bool,
    [channels, height, width]: [usize; 3],
    map: OutletId,
    vector: OutletId,
) -> TractResult<OutletId> {
    let weights = w.slice(vector, 1, 0, TAPS * channels)?;
    let weights = w.wire(AxisOp::Rm(0), &[weights])?;
    let pixels = w.reshape(map, 1, &[height, width], &[height * width])?;
    let mut planes = if folded {
        let taps = w.reshape(weights, 0, &[TAPS * channels], &[TAPS, channels])?;
        w.einsum("kc,cp->kp", &[taps, pixels])?
    } else {
        let taps = w.reshape(weights, 0, &[TAPS * channels], &[channels, TAPS])?;
        w.einsum("ck,cp->kp", &[taps, pixels])?
    };
    let mut read = TAPS * channels;
    if folded {
        // Inside the frame only, so before the padding.
        let constants = w.slice(vector, 1, read, read + TAPS)?;
        let constants = w.move_axis(constants, 1, 0)?;
        planes = w.wire(add(), &[planes, constants])?;
        read += TAPS;
    }
    let planes = w.reshape(planes, 1, &[height * width], &[height, width])?;
    let padded = pad_frame(w, planes)?;
    let bias = w.slice(vector, 1, read, read + 1)?;
    let mut sum = w.wire(AxisOp::Add(2), &[bias])?;
    for tap in 0..TAPS {
        let plane = w.slice(padded, 0, tap, tap + 1)?;
        let plane = shifted(w, plane, tap, height, width)?;
        sum = w.wire(add(), &[plane, sum])?;
    }
    Ok(sum)
}
