// The last stage of the decoder: tap products at low resolution become features, and features become nine dot products
// for each sentence. A group computes 64 pixels of a row, sixteen channels at a time: rows of products are blended into
// shared memory, and every invocation blends their columns into the features of one pixel, which it multiplies with the
// sentences' kernels at once. The full-size map of features is never stored.

struct Shape {
    height: u32,
    width: u32,
    /// Groups of four features.
    quads: u32,
}

/// Pixels of a group, as many as it has invocations.
const PIXELS: u32 = 64u;
/// Groups of four channels at a time.
const DEPTH: u32 = 4u;
/// The most columns at low resolution that the pixels of a group read.
const COLUMNS: u32 = PIXELS / SCALE + 4u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> products: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
/// Channel by channel GROUPS groups of four outputs (nine taps a sentence), then each output's constant.
@group(0) @binding(3) var<storage, read> kernels: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dots: array<vec4<f32>>;

/// Column, then kx, then groups of four channels.
var<workgroup> mixed: array<vec4<f32>, COLUMNS * 3u * DEPTH>;

fn product(row: u32, column: u32, tap: u32, quad: u32) -> vec4<f32> {
    return unpack4(products[((row * shape.width + column) * 9u + tap) * shape.quads + quad]);
}

fn mix_rows(row: u32, column: u32, kx: u32, quad: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var ky = 0u; ky < 3u; ky += 1u) {
        let rows = neighbours(row, ky, shape.height);
        let tap = 3u * ky + kx;
        sum += rows.weights.x * product(rows.lower, column, tap, quad)
            + rows.weights.y * product(rows.upper, column, tap, quad);
    }
    return sum;
}

@compute @workgroup_size(PIXELS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = shape.width * SCALE;
    let row = group.y;
    let first = group.x * PIXELS;
    let column = min(first + lane, width - 1u);
    let first_source = neighbours(first, 0u, shape.width).lower;
    var pairs: array<Pair, 3>;
    for (var kx = 0u; kx < 3u; kx += 1u) {
        pairs[kx] = neighbours(column, kx, shape.width);
        pairs[kx].lower -= first_source;
        pairs[kx].upper -= first_source;
    }
    var sums: array<vec4<f32>, GROUPS>;
    for (var output = 0u; output < GROUPS; output += 1u) {
        sums[output] = kernels[4u * shape.quads * GROUPS + output];
    }
    for (var depth = 0u; depth < shape.quads; depth += DEPTH) {
        workgroupBarrier();
        for (var item = lane; item < COLUMNS * 3u * DEPTH; item += PIXELS) {
            let quad = depth + item % DEPTH;
            let source = first_source + item / (3u * DEPTH);
            if quad < shape.quads && source < shape.width {
                mixed[item] = mix_rows(row, source, item / DEPTH % 3u, quad);
            }
        }
        workgroupBarrier();
        for (var quad = depth; quad < min(depth + DEPTH, shape.quads); quad += 1u) {
            var feature = bias[quad];
            for (var kx = 0u; kx < 3u; kx += 1u) {
                let pair = pairs[kx];
                let at = kx * DEPTH + quad - depth;
                feature += pair.weights.x * mixed[pair.lower * 3u * DEPTH + at]
                    + pair.weights.y * mixed[pair.upper * 3u * DEPTH + at];
            }
            feature = max(feature, vec4<f32>());
            for (var output = 0u; output < GROUPS; output += 1u) {
                let at = 4u * quad * GROUPS + output;
                sums[output] += feature.x * kernels[at]
                    + feature.y * kernels[at + GROUPS]
                    + feature.z * kernels[at + 2u * GROUPS]
                    + feature.w * kernels[at + 3u * GROUPS];
            }
        }
    }
    if first + lane < width {
        for (var output = 0u; output < GROUPS; output += 1u) {
            dots[(row * width + column) * GROUPS + output] = sums[output];
        }
    }
}
