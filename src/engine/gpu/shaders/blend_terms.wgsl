// The terms of an upsampled convolution's output along one axis: each of three taps lies between two neighbours at low
// resolution (bilinear, align_corners = false, edges repeated), and a tap outside the upsampled frame has weight zero.

struct Pair {
    lower: u32,
    upper: u32,
    /// The weights of the two.
    weights: vec2<f32>,
}

/// The neighbours of tap `tap` of the output at `position`; the axis has `size` positions at low resolution.
fn neighbours(position: u32, tap: u32, size: u32) -> Pair {
    let read = i32(position + tap) - 1;
    let inside = clamp(read, 0, i32(size * SCALE) - 1);
    let at = max((f32(inside) + 0.5) / f32(SCALE) - 0.5, 0.0);
    let lower = min(u32(at), size - 1u);
    let share = at - f32(lower);
    let pair = vec2<f32>(1.0 - share, share);
    return Pair(lower, min(lower + 1u, size - 1u), select(vec2<f32>(), pair, read == inside));
}
