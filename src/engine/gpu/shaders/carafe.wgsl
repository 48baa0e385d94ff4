// CARAFE's reassembly (Wang et al., ICCV 2019): each output pixel is a mean of the 3 x 3 neighbourhood below it, zero
// outside the frame, weighted by the softmax of nine logits of its own. A group computes the PLACES output pixels above
// one pixel of the map.

struct Shape {
    height: u32,
    width: u32,
    quads: u32,
    /// Channels of a pixel of the logits, padded to a multiple of four.
    logits_stride: u32,
    y_quads: u32,
    y_first: u32,
}

const PLACES: u32 = SCALE * SCALE;
const TAPS: u32 = 9u;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<Stored4>;
@group(0) @binding(2) var<storage, read> logits: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored4>;

var<workgroup> weights: array<f32, TAPS * PLACES>;

/// Logit `tap * PLACES + place` of a place's nine logits.
fn logit(pixel: u32, index: u32) -> f32 {
    let channel = pixel * shape.logits_stride + index;
    let four = unpack4(logits[channel / 4u]);
    return four[channel % 4u];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x;
    let row = group.y;
    let pixel = row * shape.width + column;
    for (var place = lane; place < PLACES; place += LANES) {
        var largest = -3.0e38;
        for (var tap = 0u; tap < TAPS; tap += 1u) {
            largest = max(largest, logit(pixel, tap * PLACES + place));
        }
        var sum = 0.0;
        for (var tap = 0u; tap < TAPS; tap += 1u) {
            sum += exp(logit(pixel, tap * PLACES + place) - largest);
        }
        for (var tap = 0u; tap < TAPS; tap += 1u) {
            weights[tap * PLACES + place] = exp(logit(pixel, tap * PLACES + place) - largest) / sum;
        }
    }
    workgroupBarrier();
    for (var item = lane; item < PLACES * shape.quads; item += LANES) {
        let place = item / shape.quads;
        let quad = item % shape.quads;
        var sum = vec4<f32>();
        for (var tap = 0u; tap < TAPS; tap += 1u) {
            // Unsigned arithmetic: one less than zero wraps to the largest number, which is outside too.
            let source_row = row + tap / 3u - 1u;
            let source_column = column + tap % 3u - 1u;
            if source_row < shape.height && source_column < shape.width {
                let source = unpack4(x[(source_row * shape.width + source_column) * shape.quads + quad]);
                sum += weights[tap * PLACES + place] * source;
            }
        }
        let out_row = row * SCALE + place / SCALE;
        let out_column = column * SCALE + place % SCALE;
        let out_pixel = out_row * shape.width * SCALE + out_column;
        y[out_pixel * shape.y_quads + shape.y_first + quad] = pack4(sum);
    }
}
