// A product with weights, in tiles. A group computes PIXELS pixels x 4 * QUADS channels, and each of its invocations
// eight pixels x eight channels in registers. DEPTH inner steps of both operands are in shared memory, twice: while one
// copy is multiplied, the next steps are read from memory into registers and then written to the other.
//
// With F16 products and up to DEPTH of their sums are in f16, and these are added in f32.

const DEPTH_QUADS: u32 = DEPTH / 4u;
/// Invocations along the pixels, and along the channels.
const LANE_PIXELS: u32 = PIXELS / 8u;
const LANE_QUADS: u32 = QUADS / 2u;
const INVOCATIONS: u32 = LANE_PIXELS * LANE_QUADS;
const X_TILE: u32 = DEPTH_QUADS * PIXELS;
const W_TILE: u32 = DEPTH * QUADS;

/// Copy, then groups of four inner steps, then pixels: neighbouring invocations read neighbouring words.
var<workgroup> x_tile: array<Tile4, 2u * X_TILE>;
/// Copy, then inner steps, then groups of four channels.
var<workgroup> w_tile: array<Tile4, 2u * W_TILE>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_pixel = group.x * PIXELS;
    let first_quad = group.y * QUADS;
    let my_quad = lane % LANE_QUADS;
    let my_pixel = lane / LANE_QUADS;
    // What an invocation fetches: one group of four inner steps of X_LOADS pixels, and one group of four channels of
    // W_LOADS inner steps.
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
    let begin = group.z * shape.inner_share;
    let end = min(begin + shape.inner_share, shape.inner_quads);
    let blocks = (end - begin + DEPTH_QUADS - 1u) / DEPTH_QUADS;
    for (var block = 0u; block <= blocks; block += 1u) {
        if block < blocks {
            let inner = begin + block * DEPTH_QUADS;
            //# repeat k X_LOADS
            next_x_{k} = read_x(corner_{k}, inner + fetched_inner, end);
            //# end
            //# repeat k W_LOADS
            next_w_{k} = read_w(4u * inner + fetched_step + {k}u * (INVOCATIONS / QUADS), first_quad + fetched_quad, end);
            //# end
        }
        if block > 0u {
            let x_at = (block + 1u) % 2u * X_TILE + my_pixel;
            let w_at = (block + 1u) % 2u * W_TILE + my_quad;
            //# if F16
            //# repeat i 8
            var part_{i}_0 = vec4<f16>();
            var part_{i}_1 = vec4<f16>();
            //# end
            //# end
            //# repeat d DEPTH_QUADS
            {
                //# repeat i 8
                let x_{i} = x_tile[x_at + {d}u * PIXELS + {i}u * LANE_PIXELS];
                //# end
                //# repeat s 4
                let w_{s}_0 = w_tile[w_at + (4u * {d}u + {s}u) * QUADS];
                let w_{s}_1 = w_tile[w_at + (4u * {d}u + {s}u) * QUADS + LANE_QUADS];
                //# repeat i 8
                //# if F16
                part_{i}_0 += x_{i}[{s}] * w_{s}_0;
                part_{i}_1 += x_{i}[{s}] * w_{s}_1;
                //# end
                //# if F32
                sum_{i}_0 += x_{i}[{s}] * w_{s}_0;
                sum_{i}_1 += x_{i}[{s}] * w_{s}_1;
                //# end
                //# end
                //# end
            }
            //# end
            //# if F16
            //# repeat i 8
            sum_{i}_0 += vec4<f32>(part_{i}_0);
            sum_{i}_1 += vec4<f32>(part_{i}_1);
            //# end
            //# end
        }
        if block < blocks {
            let copy = block % 2u;
            //# repeat k X_LOADS
            x_tile[copy * X_TILE + fetched_inner * PIXELS + fetched_pixel + {k}u * (INVOCATIONS / DEPTH_QUADS)] = Tile4(next_x_{k});
            //# end
            //# repeat k W_LOADS
            w_tile[copy * W_TILE + (fetched_step + {k}u * (INVOCATIONS / QUADS)) * QUADS + fetched_quad] = Tile4(next_w_{k});
            //# end
        }
        workgroupBarrier();
    }
    //# repeat i 8
    finish(group.z, first_pixel + my_pixel + {i}u * LANE_PIXELS, first_quad + my_quad, sum_{i}_0);
    finish(group.z, first_pixel + my_pixel + {i}u * LANE_PIXELS, first_quad + my_quad + LANE_QUADS, sum_{i}_1);
    //# end
}
