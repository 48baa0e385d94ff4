// The sum of two tensors, or of a tensor and a table of positions.

struct Shape {
    quads: u32,
    y_quads: u32,
    y_first: u32,
    items: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<Stored4>;
@group(0) @binding(2) var<storage, read> b: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored4>;

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
    var value = unpack4(a[item]) + unpack4(b[item]);
    if RELU {
        value = max(value, vec4<f32>());
    }
    y[item / shape.quads * shape.y_quads + shape.y_first + item % shape.quads] = pack4(value);
}
