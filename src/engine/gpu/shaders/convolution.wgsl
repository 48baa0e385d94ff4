// A product with weights as implicit GEMM: y = relu(W * x + bias + map + residual).
//
// Rows of the matrix are output pixels, columns output channels, and the inner dimension runs over the kernel's taps
// and their input channels, four at a time. A group of 128 invocations computes 64 pixels x 64 channels: sixteen inner
// steps of both operands are kept in shared memory, and every invocation sums eight pixels x four channels in
// registers.

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
    /// Groups of four of the inner dimension.
    inner_quads: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<Stored4>;
/// Inner dimension x output channels.
@group(0) @binding(2) var<storage, read> weights: array<Weight4>;
/// A bias for each output channel, then the scale of its weights.
@group(0) @binding(3) var<storage, read> channels: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<Stored4>;
@group(0) @binding(5) var<storage, read> map: array<Stored4>;
@group(0) @binding(6) var<storage, read> residual: array<Stored4>;

const PIXELS: u32 = 64u;
const QUADS: u32 = 16u;
const DEPTH: u32 = 16u;
/// One more than needed, which avoids bank conflicts.
const ROW: u32 = 17u;
const OUTSIDE: i32 = -1000000;

/// Inner step x groups of four pixels.
var<workgroup> x_tile: array<vec4<f32>, DEPTH * ROW>;
/// Inner step x groups of four channels.
var<workgroup> w_tile: array<vec4<f32>, DEPTH * ROW>;

fn read_x(corner: vec2<i32>, tap: vec2<i32>, quad: u32, is_inside: bool) -> vec4<f32> {
    let at = corner + tap;
    if !is_inside || at.x < 0 || at.y < 0 || at.x >= i32(shape.in_width) || at.y >= i32(shape.in_height) {
        return vec4<f32>();
    }
    return unpack4(x[(u32(at.y) * shape.in_width + u32(at.x)) * shape.in_quads + quad]);
}

fn read_w(step: u32, quad: u32) -> vec4<f32> {
    if step >= 4u * shape.inner_quads || quad >= shape.out_quads {
        return vec4<f32>();
    }
    return unpack_weight(weights[step * shape.out_quads + quad]);
}

/// The corner of an output pixel's window, x then y.
fn corner_of(pixel: u32) -> vec2<i32> {
    if pixel >= shape.pixels {
        return vec2<i32>(OUTSIDE, OUTSIDE);
    }
    let place = vec2<u32>(pixel % shape.out_width, pixel / shape.out_width) * shape.stride;
    return vec2<i32>(place) - i32(shape.padding);
}

fn write(pixel: u32, quad: u32, sum: vec4<f32>) {
    if pixel >= shape.pixels || quad >= shape.out_quads {
        return;
    }
    var value = sum;
    if SCALED {
        value *= channels[shape.out_quads + quad];
    }
    value += channels[quad];
    if MAP {
        value += unpack4(map[pixel * shape.out_quads + quad]);
    }
    if RESIDUAL {
        value += unpack4(residual[pixel * shape.residual_quads + quad]);
    }
    if RELU {
        value = max(value, vec4<f32>());
    }
    y[pixel * shape.y_quads + shape.y_first + quad] = pack4(value);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_pixel = group.x * PIXELS;
    let first_quad = group.y * QUADS;
    // The first half of the invocations fetches pixels, the other weights; sixteen groups of four each.
    let fetch = lane % 64u;
    let fetched_pixels = first_pixel + fetch / 4u * 4u;
    let corner_0 = corner_of(fetched_pixels);
    let corner_1 = corner_of(fetched_pixels + 1u);
    let corner_2 = corner_of(fetched_pixels + 2u);
    let corner_3 = corner_of(fetched_pixels + 3u);
    let my_pixels = lane % 8u * 2u;
    let my_quad = lane / 8u;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    var sum_4 = vec4<f32>();
    var sum_5 = vec4<f32>();
    var sum_6 = vec4<f32>();
    var sum_7 = vec4<f32>();
    for (var inner = 0u; inner < shape.inner_quads; inner += DEPTH / 4u) {
        workgroupBarrier();
        if lane < 64u {
            let step = inner + fetch % 4u;
            let index = step / shape.in_quads;
            let tap = vec2<i32>(vec2<u32>(index % shape.kernel, index / shape.kernel));
            let quad = step % shape.in_quads;
            let is_inside = step < shape.inner_quads;
            let pixels = transpose(mat4x4<f32>(
                read_x(corner_0, tap, quad, is_inside),
                read_x(corner_1, tap, quad, is_inside),
                read_x(corner_2, tap, quad, is_inside),
                read_x(corner_3, tap, quad, is_inside),
            ));
            let at = fetch % 4u * 4u * ROW + fetch / 4u;
            x_tile[at] = pixels[0];
            x_tile[at + ROW] = pixels[1];
            x_tile[at + 2u * ROW] = pixels[2];
            x_tile[at + 3u * ROW] = pixels[3];
        } else {
            let step = inner * 4u + fetch / 16u * 4u;
            let quad = first_quad + fetch % 16u;
            let at = fetch / 16u * 4u * ROW + fetch % 16u;
            w_tile[at] = read_w(step, quad);
            w_tile[at + ROW] = read_w(step + 1u, quad);
            w_tile[at + 2u * ROW] = read_w(step + 2u, quad);
            w_tile[at + 3u * ROW] = read_w(step + 3u, quad);
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step += 1u) {
            let a = x_tile[step * ROW + my_pixels];
            let b = x_tile[step * ROW + my_pixels + 1u];
            let w = w_tile[step * ROW + my_quad];
            sum_0 += a.x * w;
            sum_1 += a.y * w;
            sum_2 += a.z * w;
            sum_3 += a.w * w;
            sum_4 += b.x * w;
            sum_5 += b.y * w;
            sum_6 += b.z * w;
            sum_7 += b.w * w;
        }
    }
    let pixel = first_pixel + 4u * my_pixels;
    let quad = first_quad + my_quad;
    write(pixel, quad, sum_0);
    write(pixel + 1u, quad, sum_1);
    write(pixel + 2u, quad, sum_2);
    write(pixel + 3u, quad, sum_3);
    write(pixel + 4u, quad, sum_4);
    write(pixel + 5u, quad, sum_5);
    write(pixel + 6u, quad, sum_6);
    write(pixel + 7u, quad, sum_7);
}
