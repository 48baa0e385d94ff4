// Operands of a product as implicit GEMM. Rows of the matrix are output pixels, columns output channels, and the inner
// dimension runs over the kernel's taps and their input channels, four at a time.

@group(0) @binding(1) var<storage, read> x: array<Stored4>;
/// Inner dimension x output channels.
@group(0) @binding(2) var<storage, read> weights: array<Weight4>;

const OUTSIDE: i32 = -1000000;

/// Where an output pixel's window begins: x then y, or in a pointwise product the pixel's number.
fn corner_of(pixel: u32) -> vec2<i32> {
    if pixel >= shape.pixels {
        return vec2<i32>(OUTSIDE, OUTSIDE);
    }
    if POINTWISE {
        return vec2<i32>(i32(pixel), 0);
    }
    let place = vec2<u32>(pixel % shape.out_width, pixel / shape.out_width) * shape.stride;
    return vec2<i32>(place) - i32(shape.padding);
}

/// Four inputs of a window; zero outside the map, and from the inner position `end` on.
fn read_x(corner: vec2<i32>, inner: u32, end: u32) -> vec4<f32> {
    if inner >= end {
        return vec4<f32>();
    }
    if POINTWISE {
        if corner.x < 0 {
            return vec4<f32>();
        }
        return unpack4(x[u32(corner.x) * shape.in_quads + inner]);
    }
    let tap = inner / shape.in_quads;
    let at = corner + vec2<i32>(vec2<u32>(tap % shape.kernel, tap / shape.kernel));
    if at.x < 0 || at.y < 0 || at.x >= i32(shape.in_width) || at.y >= i32(shape.in_height) {
        return vec4<f32>();
    }
    return unpack4(x[(u32(at.y) * shape.in_width + u32(at.x)) * shape.in_quads + inner % shape.in_quads]);
}

/// The weights of inner step `step`, counted one by one, for four output channels.
fn read_w(step: u32, quad: u32, end: u32) -> vec4<f32> {
    if step >= 4u * end || quad >= shape.out_quads {
        return vec4<f32>();
    }
    return unpack_weight(weights[step * shape.out_quads + quad]);
}
