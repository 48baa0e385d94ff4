// The end of a product: y = relu(scale * sum + bias + map + residual).

/// A bias for each output channel, then the scale of its weights.
@group(0) @binding(FIRST_OUTPUT) var<storage, read> channels: array<vec4<f32>>;
@group(0) @binding(FIRST_OUTPUT + 1u) var<storage, read_write> y: array<Stored4>;
@group(0) @binding(FIRST_OUTPUT + 2u) var<storage, read> map: array<Stored4>;
@group(0) @binding(FIRST_OUTPUT + 3u) var<storage, read> residual: array<Stored4>;

fn finish(part: u32, pixel: u32, quad: u32, sum: vec4<f32>) {
    if pixel >= shape.pixels || quad >= shape.final_quads {
        return;
    }
    var value = sum;
    if SCALED {
        value *= channels[shape.final_quads + quad] * f32(INTEGER_UNIT);
    }
    value += channels[quad];
    if MAP {
        value += unpack4(map[pixel * shape.final_quads + quad]);
    }
    if RESIDUAL {
        value += unpack4(residual[pixel * shape.residual_quads + quad]);
    }
    if RELU {
        value = max(value, vec4<f32>());
    }
    y[pixel * shape.y_quads + shape.y_first + quad] = pack4(value);
}
