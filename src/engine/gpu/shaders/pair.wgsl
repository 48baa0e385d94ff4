// Two products of a bottleneck in one pass: a product of up to 4 * QUADS channels, and a pointwise product of its result,
// which stays in shared memory and is never stored. A group computes all channels of PIXELS pixels, each invocation eight
// pixels x eight channels at a time. What lies between the two is rounded as if it were stored.

const LANE_PIXELS: u32 = PIXELS / 8u;
const LANE_QUADS: u32 = QUADS / 2u;
const INVOCATIONS: u32 = LANE_PIXELS * LANE_QUADS;
const DEPTH_QUADS: u32 = DEPTH / 4u;
const X_TILE: u32 = DEPTH_QUADS * PIXELS;
const W_TILE: u32 = DEPTH * QUADS;

/// A bias for each channel of the first product, then the scale of its weights.
@group(0) @binding(3) var<storage, read> first_channels: array<vec4<f32>>;
/// The second product's: channels of the first x output channels.
@group(0) @binding(4) var<storage, read> second_weights: array<Weight4>;

var<workgroup> x_tile: array<vec4<f32>, 2u * X_TILE>;
var<workgroup> w_tile: array<vec4<f32>, 2u * W_TILE>;
/// Groups of four channels of the first product, then pixels.
var<workgroup> middle: array<vec4<f32>, QUADS * PIXELS>;

/// A result of the first product; zero beyond its channels.
fn middle_of(quad: u32, sum: vec4<f32>) -> vec4<f32> {
    if quad >= shape.out_quads {
        return vec4<f32>();
    }
    var value = sum;
    if SCALED {
        value *= first_channels[shape.out_quads + quad] * f32(INTEGER_UNIT);
    }
    value += first_channels[quad];
    if FIRST_RELU {
        value = max(value, vec4<f32>());
    }
    return unpack4(pack4(value));
}

fn read_second(step: u32, quad: u32) -> vec4<f32> {
    if step >= 4u * shape.out_quads || quad >= shape.final_quads {
        return vec4<f32>();
    }
    return unpack_weight(second_weights[step * shape.final_quads + quad]);
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_pixel = group.x * PIXELS;
    let my_quad = lane % LANE_QUADS;
    let my_pixel = lane / LANE_QUADS;
    let fetched_inner = lane % DEPTH_QUADS;
    let fetched_pixel = lane / DEPTH_QUADS;
    let fetched_quad = lane % QUADS;
    let fetched_step = lane / QUADS;
    //# repeat k X_LOADS
    let corner_{k} = corner_of(first_pixel + fetched_pixel + {k}u * (INVOCATIONS / DEPTH_QUADS));
    var next_x_{k} = vec4<f32>();
    //# end
    //# repeat k W_LOADS
    var next_w_{k} = vec4<f32>();
    //# end
    //# repeat i 8
    var sum_{i}_0 = vec4<f32>();
    var sum_{i}_1 = vec4<f32>();
    //# end
    let end = shape.inner_quads;
    let blocks = (end + DEPTH_QUADS - 1u) / DEPTH_QUADS;
    for (var block = 0u; block <= blocks; block += 1u) {
        if block < blocks {
            let inner = block * DEPTH_QUADS;
            //# repeat k X_LOADS
            next_x_{k} = read_x(corner_{k}, inner + fetched_inner, end);
            //# end
            //# repeat k W_LOADS
            next_w_{k} = read_w(4u * inner + fetched_step + {k}u * (INVOCATIONS / QUADS), fetched_quad, end);
            //# end
        }
        if block > 0u {
            let x_at = (block + 1u) % 2u * X_TILE + my_pixel;
            let w_at = (block + 1u) % 2u * W_TILE + my_quad;
            //# repeat d DEPTH_QUADS
            {
                //# repeat i 8
                let x_{i} = x_tile[x_at + {d}u * PIXELS + {i}u * LANE_PIXELS];
                //# end
                //# repeat s 4
                let w_{s}_0 = w_tile[w_at + (4u * {d}u + {s}u) * QUADS];
                let w_{s}_1 = w_tile[w_at + (4u * {d}u + {s}u) * QUADS + LANE_QUADS];
                //# repeat i 8
                sum_{i}_0 += x_{i}[{s}] * w_{s}_0;
                sum_{i}_1 += x_{i}[{s}] * w_{s}_1;
                //# end
                //# end
            }
            //# end
        }
        if block < blocks {
            let copy = block % 2u;
            //# repeat k X_LOADS
            x_tile[copy * X_TILE + fetched_inner * PIXELS + fetched_pixel + {k}u * (INVOCATIONS / DEPTH_QUADS)] = next_x_{k};
            //# end
            //# repeat k W_LOADS
            w_tile[copy * W_TILE + (fetched_step + {k}u * (INVOCATIONS / QUADS)) * QUADS + fetched_quad] = next_w_{k};
            //# end
        }
        workgroupBarrier();
    }
    //# repeat i 8
    middle[my_quad * PIXELS + my_pixel + {i}u * LANE_PIXELS] = middle_of(my_quad, sum_{i}_0);
    middle[(my_quad + LANE_QUADS) * PIXELS + my_pixel + {i}u * LANE_PIXELS] = middle_of(my_quad + LANE_QUADS, sum_{i}_1);
    //# end
    let steps = 4u * shape.out_quads;
    for (var first_quad = 0u; first_quad < shape.final_quads; first_quad += QUADS) {
        //# repeat i 8
        sum_{i}_0 = vec4<f32>();
        sum_{i}_1 = vec4<f32>();
        //# end
        for (var step = 0u; step < steps; step += DEPTH) {
            workgroupBarrier();
            //# repeat k W_LOADS
            w_tile[(fetched_step + {k}u * (INVOCATIONS / QUADS)) * QUADS + fetched_quad] =
                read_second(step + fetched_step + {k}u * (INVOCATIONS / QUADS), first_quad + fetched_quad);
            //# end
            workgroupBarrier();
            //# repeat d DEPTH_QUADS
            {
                // Beyond the channels of the first product the weights are zero; within `middle`, so are its values.
                let row = min(step / 4u + {d}u, QUADS - 1u) * PIXELS + my_pixel;
                //# repeat i 8
                let x_{i} = middle[row + {i}u * LANE_PIXELS];
                //# end
                //# repeat s 4
                let w_{s}_0 = w_tile[(4u * {d}u + {s}u) * QUADS + my_quad];
                let w_{s}_1 = w_tile[(4u * {d}u + {s}u) * QUADS + my_quad + LANE_QUADS];
                //# repeat i 8
                sum_{i}_0 += x_{i}[{s}] * w_{s}_0;
                sum_{i}_1 += x_{i}[{s}] * w_{s}_1;
                //# end
                //# end
            }
            //# end
        }
        //# repeat i 8
        finish(0u, first_pixel + my_pixel + {i}u * LANE_PIXELS, first_quad + my_quad, sum_{i}_0);
        finish(0u, first_pixel + my_pixel + {i}u * LANE_PIXELS, first_quad + my_quad + LANE_QUADS, sum_{i}_1);
        //# end
    }
}
