// The sizes of a product with weights, for the shaders that compute its sums and the one that adds parts of them.

struct Shape {
    in_height: u32,
    in_width: u32,
    in_quads: u32,
    out_width: u32,
    /// Pixels of the output.
    pixels: u32,
    /// Groups of four output channels.
    out_quads: u32,
    /// Groups of four channels of a pixel of y, and where these begin.
    y_quads: u32,
    y_first: u32,
    residual_quads: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    /// Groups of four of the inner dimension, and those of each part of it.
    inner_quads: u32,
    inner_share: u32,
    parts: u32,
    /// Groups of four channels that the epilogue ends: those of the second product of a pair.
    final_quads: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
