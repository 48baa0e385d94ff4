// From nine tap products a channel, at low resolution, to an upsampled convolution's output.

struct Shape {
    height: u32,
    width: u32,
    /// Groups of four output channels.
    quads: u32,
    y_quads: u32,
    y_first: u32,
    items: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
/// Tap by tap, nine times as many channels as the output has.
@group(0) @binding(1) var<storage, read> products: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Stored4>;

fn product(row: u32, column: u32, tap: u32, quad: u32) -> vec4<f32> {
    return unpack4(products[((row * shape.width + column) * 9u + tap) * shape.quads + quad]);
}

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
    let width = shape.width * SCALE;
    var value = bias[quad];
    for (var ky = 0u; ky < 3u; ky += 1u) {
        let rows = neighbours(pixel / width, ky, shape.height);
        for (var kx = 0u; kx < 3u; kx += 1u) {
            let columns = neighbours(pixel % width, kx, shape.width);
            let tap = 3u * ky + kx;
            let above = columns.weights.x * product(rows.lower, columns.lower, tap, quad)
                + columns.weights.y * product(rows.lower, columns.upper, tap, quad);
            let below = columns.weights.x * product(rows.upper, columns.lower, tap, quad)
                + columns.weights.y * product(rows.upper, columns.upper, tap, quad);
            value += rows.weights.x * above + rows.weights.y * below;
        }
    }
    if RELU {
        value = max(value, vec4<f32>());
    }
    y[pixel * shape.y_quads + shape.y_first + quad] = pack4(value);
}
