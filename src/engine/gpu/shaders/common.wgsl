// What every shader begins with. Before it stand the constants of the variant and how tensors are stored: `Stored4` is four
// channels of a pixel, and `pack4` makes one of f32.

fn unpack4(stored: Stored4) -> vec4<f32> {
    return vec4<f32>(stored);
}

/// The number of an invocation where one after the other is spread over a grid of two dimensions, since one has a limit.
fn item_of(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * LANES + lane;
}
