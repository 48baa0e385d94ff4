// The end of a part of a product: its sums are kept until all parts are done.

/// Part, then pixel, then groups of four output channels.
@group(0) @binding(FIRST_OUTPUT) var<storage, read_write> partials: array<vec4<f32>>;

fn finish(part: u32, pixel: u32, quad: u32, sum: vec4<f32>) {
    if pixel >= shape.pixels || quad >= shape.out_quads {
        return;
    }
    partials[(part * shape.pixels + pixel) * shape.out_quads + quad] = sum;
}
