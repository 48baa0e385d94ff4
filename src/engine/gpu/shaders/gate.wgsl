// x * sigmoid(logits), or x * (1 - sigmoid(logits)) where COMPLEMENT: 1 - sigmoid(l) is sigmoid(-l).

struct Shape {
    quads: u32,
    y_quads: u32,
    y_first: u32,
    items: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<Stored4>;
@group(0) @binding(2) var<storage, read> logits: array<Stored4>;
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
    var logit = unpack4(logits[item]);
    if COMPLEMENT {
        logit = -logit;
    }
    // Beyond these the sigmoid is 0 or 1 in f32, and e^-logit is not finite on some devices.
    logit = clamp(logit, vec4<f32>(-80.0), vec4<f32>(80.0));
    let value = unpack4(x[item]) / (1.0 + exp(-logit));
    y[item / shape.quads * shape.y_quads + shape.y_first + item % shape.quads] = pack4(value);
}
