// The mean of `size` x `size` windows that do not overlap.

struct Shape {
    in_width: u32,
    out_width: u32,
    quads: u32,
    y_quads: u32,
    y_first: u32,
    size: u32,
    /// Groups of four channels of all output pixels.
    items: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<Stored4>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored4>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = item_of(group, groups, lane);
    if item >= shape.items {
        return;
    }
    let pixel = item / shape.quads;
    let quad = item % shape.quads;
    let column = pixel % shape.out_width * shape.size;
    let row = pixel / shape.out_width * shape.size;
    var sum = vec4<f32>();
    for (var dy = 0u; dy < shape.size; dy += 1u) {
        for (var dx = 0u; dx < shape.size; dx += 1u) {
            sum += unpack4(x[((row + dy) * shape.in_width + column + dx) * shape.quads + quad]);
        }
    }
    y[pixel * shape.y_quads + shape.y_first + quad] = pack4(sum / f32(shape.size * shape.size));
}
