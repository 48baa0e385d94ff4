// A product with weights on a GPU's matrix units: subgroups of 32 invocations multiply matrices of 16 x 16 in f16 and
// add them in f32. A group computes PIXELS pixels x 4 * QUADS channels; each subgroup 32 x 32 of them. DEPTH inner steps
// of both operands are in shared memory, while the next ones are read from memory into registers.

const CHANNELS: u32 = 4u * QUADS;
const DEPTH_QUADS: u32 = DEPTH / 4u;
const ACROSS: u32 = CHANNELS / 32u;
const INVOCATIONS: u32 = PIXELS / 32u * ACROSS * 32u;
/// Rows are padded, which avoids bank conflicts.
const X_ROW: u32 = DEPTH + 8u;
const W_ROW: u32 = CHANNELS + 8u;

/// Pixels x inner steps.
var<workgroup> x_tile: array<f16, PIXELS * X_ROW>;
/// Inner steps x channels.
var<workgroup> w_tile: array<f16, DEPTH * W_ROW>;
/// Pixels x channels.
var<workgroup> sums: array<f32, PIXELS * CHANNELS>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_pixel = group.x * PIXELS;
    let first_quad = group.y * QUADS;
    let my_pixels = lane / 32u / ACROSS * 32u;
    let my_channels = lane / 32u % ACROSS * 32u;
    let fetched_inner = lane % DEPTH_QUADS;
    let fetched_pixel = lane / DEPTH_QUADS;
    let fetched_quad = lane % QUADS;
    let fetched_step = lane / QUADS;
    let begin = group.z * shape.inner_share;
    let end = min(begin + shape.inner_share, shape.inner_quads);
    let blocks = (end - begin + DEPTH_QUADS - 1u) / DEPTH_QUADS;
    //# repeat k X_LOADS
    let corner_{k} = corner_of(first_pixel + fetched_pixel + {k}u * (INVOCATIONS / DEPTH_QUADS));
    var next_x_{k} = read_x(corner_{k}, begin + fetched_inner, end);
    //# end
    //# repeat k W_LOADS
    var next_w_{k} = read_w(4u * begin + fetched_step + {k}u * (INVOCATIONS / QUADS), first_quad + fetched_quad, end);
    //# end
    //# repeat i 2
    //# repeat j 2
    var sum_{i}_{j} = coop_mat16x16<f32, C>();
    //# end
    //# end
    for (var block = 0u; block < blocks; block += 1u) {
        //# repeat k X_LOADS
        {
            let at = (fetched_pixel + {k}u * (INVOCATIONS / DEPTH_QUADS)) * X_ROW + 4u * fetched_inner;
            let four = vec4<f16>(next_x_{k});
            //# repeat c 4
            x_tile[at + {c}u] = four[{c}];
            //# end
        }
        //# end
        //# repeat k W_LOADS
        {
            let at = (fetched_step + {k}u * (INVOCATIONS / QUADS)) * W_ROW + 4u * fetched_quad;
            let four = vec4<f16>(next_w_{k});
            //# repeat c 4
            w_tile[at + {c}u] = four[{c}];
            //# end
        }
        //# end
        workgroupBarrier();
        // Zero after the last block.
        let inner = begin + (block + 1u) * DEPTH_QUADS;
        //# repeat k X_LOADS
        next_x_{k} = read_x(corner_{k}, inner + fetched_inner, end);
        //# end
        //# repeat k W_LOADS
        next_w_{k} = read_w(4u * inner + fetched_step + {k}u * (INVOCATIONS / QUADS), first_quad + fetched_quad, end);
        //# end
        //# repeat d DEPTH_SIXTEENS
        {
            //# repeat i 2
            let x_{i} = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[(my_pixels + {i}u * 16u) * X_ROW + {d}u * 16u], X_ROW);
            //# end
            //# repeat j 2
            let w_{j} = coopLoadT<coop_mat16x16<f16, B>>(&w_tile[{d}u * 16u * W_ROW + my_channels + {j}u * 16u], W_ROW);
            //# end
            //# repeat i 2
            //# repeat j 2
            sum_{i}_{j} = coopMultiplyAdd(x_{i}, w_{j}, sum_{i}_{j});
            //# end
            //# end
        }
        //# end
        workgroupBarrier();
    }
    //# repeat i 2
    //# repeat j 2
    coopStoreT(sum_{i}_{j}, &sums[(my_pixels + {i}u * 16u) * CHANNELS + my_channels + {j}u * 16u], CHANNELS);
    //# end
    //# end
    workgroupBarrier();
    for (var item = lane; item < PIXELS * QUADS; item += INVOCATIONS) {
        let at = 4u * item;
        let sum = vec4<f32>(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
        finish(group.z, first_pixel + item / QUADS, first_quad + item % QUADS, sum);
    }
}
