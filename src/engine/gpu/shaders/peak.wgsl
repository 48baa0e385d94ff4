// What a device can do at most: independent products and sums in registers, or copies of memory.

struct Shape {
    turns: u32,
    items: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

//# if F16
alias Term = vec4<f16>;
//# end
//# if F32
alias Term = vec4<f32>;
//# end

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
    //# if COPIES
    y[item] = x[item];
    //# end
    //# if PRODUCTS
    // Below one, so that nothing grows.
    let factor = Term(x[item % 64u] * 0.5 + 0.25);
    //# repeat a 8
    var sum_{a} = factor * Term({a}.0 + 1.0);
    //# end
    for (var turn = 0u; turn < shape.turns; turn += 1u) {
        //# repeat r 4
        //# repeat a 8
        sum_{a} = fma(sum_{a}, factor, factor);
        //# end
        //# end
    }
    var all = Term();
    //# repeat a 8
    all += sum_{a};
    //# end
    y[item] = vec4<f32>(all);
    //# end
}
