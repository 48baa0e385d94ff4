// From logits at the network's size to a mask at the frame's, one bit a pixel, with the statistics of its quality. A
// group computes 32 words of 32 pixels, 256 pixels at a time. Every logit of a pixel is interpolated and compared before
// it becomes a probability, as on the CPU, with positions and weights that the CPU computed.

struct Shape {
    /// The width of the region; its height is contained in `words`.
    width: u32,
    height: u32,
    /// Words of a row, and of a mask.
    row_words: u32,
    words: u32,
    /// Groups of a mask.
    groups: u32,
    /// Words of a sentence's results: its bits, then the statistics of each group.
    stride: u32,
    /// Logits of a sentence.
    pixels: u32,
    /// The least logits whose probabilities are above the mask's threshold, and above the three levels.
    inside: f32,
    level0: f32,
    level1: f32,
    level2: f32,
}

/// Two neighbours along one axis, and the weight of the second. An index of a logit is the sum of a row's and a
/// column's offset, modulo 2^32: offsets of a mirrored axis run backwards.
struct Source {
    lower: u32,
    upper: u32,
    fraction: f32,
}

const INVOCATIONS: u32 = 256u;
const GROUP_WORDS: u32 = 32u;
const AT_A_TIME: u32 = INVOCATIONS / 32u;
const STATISTICS: u32 = 8u;
/// Beyond it, the probability is 0 or 1 in f32, and e^x may be too large.
const STEEPEST: f32 = 80.0;
const LARGEST: f32 = 3.4e38;

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
/// Those of the region's rows, then those of its columns.
@group(0) @binding(2) var<storage, read> sources: array<Source>;
@group(0) @binding(3) var<storage, read_write> results: array<u32>;

var<workgroup> bits: array<atomic<u32>, GROUP_WORDS>;
/// Pixels in the mask and above each level.
var<workgroup> counts: array<vec4<u32>, INVOCATIONS>;
/// The sum of the probabilities in the mask, the least logit there, and the largest logit of all.
var<workgroup> values: array<vec3<f32>, INVOCATIONS>;

fn mix_logits(a: f32, b: f32, fraction: f32) -> f32 {
    return a + (b - a) * fraction;
}

fn logit_at(sentence: u32, row: Source, column: Source) -> f32 {
    let first = sentence * shape.pixels;
    let above = mix_logits(
        logits[first + (row.lower + column.lower)],
        logits[first + (row.lower + column.upper)],
        column.fraction,
    );
    let below = mix_logits(
        logits[first + (row.upper + column.lower)],
        logits[first + (row.upper + column.upper)],
        column.fraction,
    );
    return mix_logits(above, below, row.fraction);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) dispatched: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let sentence = group.z;
    let own = group.y * dispatched.x + group.x;
    let base = sentence * shape.stride;
    if lane < GROUP_WORDS {
        atomicStore(&bits[lane], 0u);
    }
    workgroupBarrier();
    var count = vec4<u32>();
    var value = vec3<f32>(0.0, LARGEST, -LARGEST);
    for (var turn = 0u; turn < GROUP_WORDS; turn += AT_A_TIME) {
        let slot = turn + lane / 32u;
        let word = own * GROUP_WORDS + slot;
        let y = word / shape.row_words;
        let x = word % shape.row_words * 32u + lane % 32u;
        if word < shape.words && x < shape.width {
            let logit = logit_at(sentence, sources[y], sources[shape.height + x]);
            if logit >= shape.inside {
                atomicOr(&bits[slot], 1u << (lane % 32u));
                count.x += 1u;
                value.x += 1.0 / (1.0 + exp(clamp(-logit, -STEEPEST, STEEPEST)));
                value.y = min(value.y, logit);
            }
            count.y += select(0u, 1u, logit >= shape.level0);
            count.z += select(0u, 1u, logit >= shape.level1);
            count.w += select(0u, 1u, logit >= shape.level2);
            value.z = max(value.z, logit);
        }
    }
    counts[lane] = count;
    values[lane] = value;
    // In pairs, always in the same order: sums are the same whatever order invocations run in.
    for (var apart = INVOCATIONS / 2u; apart > 0u; apart /= 2u) {
        workgroupBarrier();
        if lane < apart {
            let other = values[lane + apart];
            let mine = values[lane];
            counts[lane] += counts[lane + apart];
            values[lane] = vec3<f32>(mine.x + other.x, min(mine.y, other.y), max(mine.z, other.z));
        }
    }
    workgroupBarrier();
    let word = own * GROUP_WORDS + lane;
    if lane < GROUP_WORDS && word < shape.words {
        results[base + word] = atomicLoad(&bits[lane]);
    }
    if lane == 0u && own < shape.groups {
        let at = base + shape.words + own * STATISTICS;
        results[at] = counts[0].x;
        results[at + 1u] = counts[0].y;
        results[at + 2u] = counts[0].z;
        results[at + 3u] = counts[0].w;
        results[at + 4u] = bitcast<u32>(values[0].x);
        results[at + 5u] = bitcast<u32>(values[0].y);
        results[at + 6u] = bitcast<u32>(values[0].z);
    }
}
