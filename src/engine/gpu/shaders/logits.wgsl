// A logit is the sentence's bias and one dot product of each of the nine neighbours that lie inside the frame.

struct Shape {
    height: u32,
    width: u32,
    /// The number of sentences in this chunk, and the index of the first among all.
    count: u32,
    first: u32,
    /// The offset of the biases in `kernels`.
    biases: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> dots: array<f32>;
@group(0) @binding(2) var<storage, read> kernels: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = item_of(group, groups, lane);
    let pixels = shape.height * shape.width;
    if item >= shape.count * pixels {
        return;
    }
    let sentence = item / pixels;
    let pixel = item % pixels;
    var sum = kernels[shape.biases + sentence];
    for (var tap = 0u; tap < 9u; tap += 1u) {
        // Unsigned arithmetic: one less than zero wraps to the largest number, which is outside too.
        let row = pixel / shape.width + tap / 3u - 1u;
        let column = pixel % shape.width + tap % 3u - 1u;
        if row < shape.height && column < shape.width {
            sum += dots[(row * shape.width + column) * 4u * GROUPS + sentence * 9u + tap];
        }
    }
    logits[shape.first * pixels + item] = sum;
}
