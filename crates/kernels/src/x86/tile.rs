//! The inner loop of every x86 kernel, written once.
//!
//! A tile is some pixels of one row times two vectors of outputs. Each step loads the weights of both vectors, then for
//! each pixel broadcasts its next inputs and multiplies them into the pixel's two sums. All sums stay in registers:
//! they are separate variables, since the compiler would keep an array of vectors in memory.

/// Defines `sum<PIXELS, ONE>`, which sums a tile of `PIXELS` pixels, and of only one vector of outputs if `ONE`. The
/// operations are functions of the surrounding module:
/// * `load(*const S) -> V` and `store(*mut S, V)`: sums;
/// * `load_weights(*const W) -> M`: the weights of one vector of outputs for one step;
/// * `broadcast(*const X) -> N`: one pixel's inputs of one step, in every lane;
/// * `multiply_add(V, N, M) -> V`.
///
/// `second` is the distance of the second vector's weights from the first's; `streams` is 2 where these are far apart,
/// so that each needs fetching ahead.
macro_rules! define_sum {
    (
        features: $set:ident,
        types: $x:ty, $w:ty => $s:ty,
        inputs_per_step: $group:expr,
        lanes: $lanes:expr,
        second: $second:expr,
        streams: $streams:expr,
        pixels: $($pixel:literal $a:ident $b:ident),+
    ) => {
        /// # Safety
        /// The CPU must have the instructions, and the operands must be inside their slices.
        #[enable($set)]
        pub(crate) unsafe fn sum<const PIXELS: usize, const ONE: bool>(operands: &Operands<$x, $w, $s>, sums: *mut $s) {
            const STEP: usize = $group * BLOCK;
            // Elements in 1 KiB: the fetch runs some eight steps ahead of the use.
            const AHEAD: usize = 1024 / size_of::<$w>();
            let second: usize = $second(operands);
            let stride = operands.column_stride;
            // SAFETY: a pixel's runs of `depth` inputs, the weights of the tile's blocks and their biases are inside
            // the slices that the caller checked. A fetch ahead may point anywhere.
            unsafe {
                $(
                    let mut $a = load(operands.bias);
                    let mut $b = if ONE { $a } else { load(operands.bias.add($lanes)) };
                )+
                let mut weights = operands.weights;
                for run in operands.taps.iter().step_by(operands.taps_per_run) {
                    let mut x = operands.x.add(*run);
                    for _ in 0..operands.run_len / $group {
                        let first_weights = load_weights(weights);
                        let second_weights = if ONE { first_weights } else { load_weights(weights.add(second)) };
                        _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(AHEAD).cast());
                        if !ONE && $streams == 2 {
                            _mm_prefetch::<_MM_HINT_T0>(weights.wrapping_add(second + AHEAD).cast());
                        }
                        $(
                            if $pixel < PIXELS {
                                let inputs = broadcast(x.add($pixel * stride));
                                $a = multiply_add($a, inputs, first_weights);
                                if !ONE {
                                    $b = multiply_add($b, inputs, second_weights);
                                }
                            }
                        )+
                        weights = weights.add(STEP);
                        x = x.add($group);
                    }
                }
                $(
                    if $pixel < PIXELS {
                        if ONE {
                            store(sums.add($pixel * $lanes), $a);
                        } else {
                            store(sums.add($pixel * 2 * $lanes), $a);
                            store(sums.add($pixel * 2 * $lanes + $lanes), $b);
                        }
                    }
                )+
            }
        }
    };
}

/// The `sum`s of the surrounding module, by pixels.
macro_rules! table {
    ($one:literal: $($pixels:literal)+) => {
        [$(sum::<$pixels, $one>),+]
    };
}

pub(super) use {define_sum, table};
