// Three planes of normalised f32 into channels-last; the fourth channel is zero.

struct Shape {
    pixels: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> planes: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<Stored4>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pixel = item_of(group, groups, lane);
    if pixel >= shape.pixels {
        return;
    }
    let value = vec3<f32>(planes[pixel], planes[shape.pixels + pixel], planes[2u * shape.pixels + pixel]);
    y[pixel] = pack4(vec4<f32>(value, 0.0));
}
