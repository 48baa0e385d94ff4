// The beginning of every shader. The constants of the variant and the storage format precede it: `Stored4` is four
// channels of a pixel, and `pack4` converts them from f32.

fn unpack4(stored: Stored4) -> vec4<f32> {
    return vec4<f32>(stored);
}

/// The linear number of an invocation; the dispatch has two dimensions, since one dimension is limited.
fn item_of(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> u32 {
    return (group.y * groups.x + group.x) * LANES + lane;
}
