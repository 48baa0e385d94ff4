// Adds the parts of a product, in their order, and finishes it.

@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = item_of(group, groups, lane);
    let items = shape.pixels * shape.out_quads;
    if item >= items {
        return;
    }
    var sum = vec4<f32>();
    for (var part = 0u; part < shape.parts; part += 1u) {
        sum += partials[part * items + item];
    }
    finish(0u, item / shape.out_quads, item % shape.out_quads, sum);
}
