// Scaled dot-product attention. A group computes one query of one head: its scores with all keys, their softmax, and the
// mean of the values by it.

struct Shape {
    /// Groups of four channels of a pixel, and of a head.
    quads: u32,
    head_quads: u32,
    y_quads: u32,
    y_first: u32,
    /// The factor of the scores.
    scale: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> q: array<Stored4>;
@group(0) @binding(2) var<storage, read> k: array<Stored4>;
@group(0) @binding(3) var<storage, read> v: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> y: array<Stored4>;

var<workgroup> scores: array<f32, LENGTH>;
var<workgroup> partials: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query = group.x;
    let first = group.y * shape.head_quads;
    var seen = LENGTH;
    if CAUSAL {
        seen = query + 1u;
    }
    var largest = -3.0e38;
    for (var key = lane; key < seen; key += LANES) {
        var sum = 0.0;
        for (var quad = 0u; quad < shape.head_quads; quad += 1u) {
            sum += dot(unpack4(q[query * shape.quads + first + quad]), unpack4(k[key * shape.quads + first + quad]));
        }
        scores[key] = sum * shape.scale;
        largest = max(largest, sum * shape.scale);
    }
    partials[lane] = largest;
    workgroupBarrier();
    for (var other = 0u; other < LANES; other += 1u) {
        largest = max(largest, partials[other]);
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var key = lane; key < seen; key += LANES) {
        let power = exp(scores[key] - largest);
        scores[key] = power;
        sum += power;
    }
    partials[lane] = sum;
    workgroupBarrier();
    var total = 0.0;
    for (var other = 0u; other < LANES; other += 1u) {
        total += partials[other];
    }
    for (var quad = lane; quad < shape.head_quads; quad += LANES) {
        var mixed = vec4<f32>();
        for (var key = 0u; key < seen; key += 1u) {
            mixed += scores[key] * unpack4(v[key * shape.quads + first + quad]);
        }
        y[query * shape.y_quads + shape.y_first + first + quad] = pack4(mixed / total);
    }
}
