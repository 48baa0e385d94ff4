//! Masks at the frame's size, drawn from the logits where they are: bits and statistics come back instead of maps.

use super::context::GpuContext;
use super::error::GpuError;
use super::program::{Ready, Shapes, shape_binding, whole};
use super::shader::{Pipelines, Shader, Variant};
use crate::engine::wanted_masks::{DrawnMask, LEVELS, MaskStatistics, WantedMasks};
use crate::frame::{Placement, Region};
use crate::kernels::elementwise::sigmoid;
use wgpu::BufferUsages;

/// Words of a group's bits, and of its statistics, as in the shader.
const GROUP_WORDS: usize = 32;
const STATISTICS: usize = 8;
/// The most bytes of a frame's masks. For larger ones the logits come back and the CPU draws them.
const MOST_BYTES: u64 = 64 << 20;
/// The most groups in one dimension of a dispatch.
const GROUPS_IN_A_ROW: usize = 32_768;

/// How the results of one sentence lie in memory: its bits, then the statistics of each group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MaskLayout {
    region: Region,
    /// Words of a row: each row begins with a new one.
    row_words: usize,
    words: usize,
    groups: usize,
}

impl MaskLayout {
    pub(crate) fn new(region: Region) -> Self {
        let row_words = region.width.div_ceil(32);
        let words = row_words * region.height;
        Self { region, row_words, words, groups: words.div_ceil(GROUP_WORDS) }
    }

    /// Words of one sentence's results.
    fn stride(self) -> usize {
        self.words + STATISTICS * self.groups
    }

    /// Bytes of the results of `count` sentences.
    pub(crate) fn bytes(self, count: usize) -> u64 {
        4 * (self.stride() * count) as u64
    }

    fn fits(self, gpu: &GpuContext, count: usize) -> bool {
        let limits = &gpu.limits;
        let most = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size).min(MOST_BYTES);
        let groups = self.dispatched(count);
        count > 0 && self.bytes(count) <= most && gpu.check_groups(groups).is_ok()
    }

    fn dispatched(self, count: usize) -> [u32; 3] {
        let rows = self.groups.div_ceil(GROUPS_IN_A_ROW);
        [self.groups.min(GROUPS_IN_A_ROW) as u32, rows as u32, count as u32]
    }

    /// The mask of a sentence among the results of all.
    pub(crate) fn drawn(self, results: &[u32], sentence: usize) -> Option<DrawnMask<'_>> {
        let own = results.get(sentence * self.stride()..(sentence + 1) * self.stride())?;
        let (bits, groups) = own.split_at(self.words);
        let (mut inside, mut above, mut sum) = (0, [0; LEVELS], 0.0);
        let (mut least, mut most) = (f32::MAX, f32::MIN);
        for group in groups.chunks_exact(STATISTICS) {
            inside += group[0] as usize;
            for (above, count) in above.iter_mut().zip(&group[1..]) {
                *above += *count as usize;
            }
            sum += f64::from(f32::from_bits(group[4]));
            least = least.min(f32::from_bits(group[5]));
            most = most.max(f32::from_bits(group[6]));
        }
        // The probability rises with the logit, so the least logit has the least probability.
        let statistics = MaskStatistics { inside, above, sum, least: sigmoid(least), most: sigmoid(most) };
        Some(DrawnMask { bits, statistics })
    }
}

/// The least logit whose probability is above a threshold.
///
/// Logits that are compared with it give the CPU's own answer: it compares probabilities, but its sigmoid rises with
/// the logit, up to the last bit of the result, and is the one that is searched here. A device's `exp` may differ from
/// it in several bits.
pub(super) fn least_logit_above(threshold: f32) -> f32 {
    // Integers in the order of the floats, from the least to the largest finite one.
    let float = |order: i32| f32::from_bits(if order < 0 { !order as u32 | 1 << 31 } else { order as u32 });
    let largest = f32::MAX.to_bits() as i32;
    let (mut below, mut above) = (!largest, largest);
    if sigmoid(float(below)) > threshold {
        return f32::MIN;
    }
    while i64::from(above) - i64::from(below) > 1 {
        let middle = ((i64::from(above) + i64::from(below)) / 2) as i32;
        match sigmoid(float(middle)) > threshold {
            true => above = middle,
            false => below = middle,
        }
    }
    float(above)
}

/// The shader and the buffers that the frames' masks share.
pub(super) struct MaskBuffers {
    pipeline: wgpu::ComputePipeline,
    shape: wgpu::Buffer,
    sources: Option<wgpu::Buffer>,
    results: Option<wgpu::Buffer>,
    /// What the buffers of the device hold.
    table_of: Option<Placement>,
    cutoffs_of: Option<(f32, [f32; LEVELS], [f32; 1 + LEVELS])>,
    words: Vec<u32>,
    /// Grows whenever a buffer is replaced.
    generation: u64,
}

/// The mask shader bound to the logits of some sentences.
pub(super) struct BoundMask {
    generation: u64,
    ready: Ready,
}

impl MaskBuffers {
    pub(crate) fn new(gpu: &GpuContext, pipelines: &mut Pipelines) -> Result<Self, GpuError> {
        let pipeline = pipelines.get(&Variant::new(Shader::Mask, vec![]))?;
        let mut shapes = Shapes::default();
        shapes.add(&[0]);
        let shape = gpu.guarded("allocate memory", || shapes.upload(gpu))?;
        Ok(Self {
            pipeline,
            shape,
            sources: None,
            results: None,
            table_of: None,
            cutoffs_of: None,
            words: Vec::new(),
            generation: 0,
        })
    }

    /// Bytes of the device's memory.
    pub(crate) fn bytes(&self) -> u64 {
        let buffers = [Some(&self.shape), self.sources.as_ref(), self.results.as_ref()];
        buffers.into_iter().flatten().map(wgpu::Buffer::size).sum()
    }

    /// Writes what the next submission's masks need; `None` where the CPU has to draw them.
    pub(crate) fn prepare(
        &mut self,
        gpu: &GpuContext,
        wanted: &WantedMasks,
        count: usize,
    ) -> Result<Option<MaskLayout>, GpuError> {
        let layout = MaskLayout::new(wanted.placement.region());
        if !layout.fits(gpu, count) {
            return Ok(None);
        }
        if self.table_of != Some(wanted.placement) {
            wanted.placement.write_sources(&mut self.words);
            let bytes = 4 * self.words.len() as u64;
            if self.sources.as_ref().is_none_or(|buffer| buffer.size() < bytes) {
                let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
                self.sources = Some(gpu.buffer("positions", bytes, usage)?);
                self.generation += 1;
            }
            if let Some(buffer) = &self.sources {
                gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&self.words));
            }
            self.table_of = Some(wanted.placement);
        }
        if self.results.as_ref().is_none_or(|buffer| buffer.size() < layout.bytes(count)) {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
            self.results = Some(gpu.buffer("masks", layout.bytes(count), usage)?);
            self.generation += 1;
        }
        let pixels = wanted.placement.input_size().pow(2);
        let MaskLayout { region, row_words, words, groups } = layout;
        let sizes = [region.width, region.height, row_words, words, groups, layout.stride(), pixels];
        self.words.clear();
        self.words.extend(sizes.map(|size| size as u32));
        let cutoffs = self.cutoffs(wanted).map(f32::to_bits);
        self.words.extend(cutoffs);
        gpu.queue.write_buffer(&self.shape, 0, bytemuck::cast_slice(&self.words));
        Ok(Some(layout))
    }

    /// The least logits above the threshold and the levels, which are those of the last frame as a rule.
    fn cutoffs(&mut self, wanted: &WantedMasks) -> [f32; 1 + LEVELS] {
        let [first, second, third] = wanted.levels;
        match self.cutoffs_of {
            Some((threshold, levels, cutoffs)) if (threshold, levels) == (wanted.threshold, wanted.levels) => cutoffs,
            _ => {
                let cutoffs = [wanted.threshold, first, second, third].map(least_logit_above);
                self.cutoffs_of = Some((wanted.threshold, wanted.levels, cutoffs));
                cutoffs
            }
        }
    }

    /// Binds the logits of `count` sentences, unless they are bound already.
    pub(crate) fn bind<'b>(
        &self,
        gpu: &GpuContext,
        layout: MaskLayout,
        logits: &wgpu::Buffer,
        count: usize,
        bound: &'b mut Option<BoundMask>,
    ) -> Result<Option<&'b Ready>, GpuError> {
        let (Some(sources), Some(results)) = (&self.sources, &self.results) else { return Ok(None) };
        let groups = layout.dispatched(count);
        match bound {
            Some(bound) if bound.generation == self.generation => bound.ready.groups = groups,
            _ => {
                let buffers = [whole(logits), whole(sources), whole(results)];
                let ready = gpu.bind(self.pipeline.clone(), shape_binding(&self.shape, 0), &buffers, groups)?;
                *bound = Some(BoundMask { generation: self.generation, ready });
            }
        }
        Ok(bound.as_ref().map(|bound| &bound.ready))
    }

    /// Copies the results behind a frame's logits.
    pub(crate) fn copy(&self, encoder: &mut wgpu::CommandEncoder, into: &wgpu::Buffer, offset: u64, bytes: u64) {
        if let Some(results) = &self.results {
            encoder.copy_buffer_to_buffer(results, 0, into, offset, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutoffs_are_those_of_the_sigmoid() {
        for threshold in [1e-6, 0.1, 0.3, 0.414, 0.5, 0.62, 0.7, 0.999, 1.0 - f32::EPSILON] {
            let cutoff = least_logit_above(threshold);
            assert!(sigmoid(cutoff) > threshold && sigmoid(cutoff.next_down()) <= threshold, "{threshold}: {cutoff}");
        }
        // 0.5 itself is not above 0.5.
        assert!(least_logit_above(0.5) > 0.0 && least_logit_above(0.5) < 1e-6);
        assert_eq!(least_logit_above(f32::MIN_POSITIVE / 4.0), f32::MIN);
    }

    #[test]
    fn statistics_of_groups_add_up() {
        let layout = MaskLayout::new(Region::whole(33, 17));
        assert_eq!((layout.row_words, layout.words, layout.groups, layout.stride()), (2, 34, 2, 50));
        assert_eq!(layout.dispatched(5), [2, 1, 5]);
        let mut results = vec![7; 50];
        results.extend(vec![9; 34]);
        let float = f32::to_bits;
        results.extend([3, 4, 3, 2, float(2.5), float(1.0), float(4.0), 0]);
        results.extend([1, 1, 0, 0, float(0.75), float(2.0), float(3.0), 0]);
        let drawn = layout.drawn(&results, 1).unwrap();
        let least = sigmoid(1.0);
        let expected = MaskStatistics { inside: 4, above: [5, 3, 2], sum: 3.25, least, most: sigmoid(4.0) };
        assert_eq!((drawn.bits, drawn.statistics), (&[9; 34][..], expected));
        assert!(layout.drawn(&results, 2).is_none());
    }

    #[test]
    fn the_largest_frames_fit_a_dispatch() {
        let [x, y, z] = MaskLayout::new(Region::whole(16_384, 16_384)).dispatched(2);
        assert!(x * y >= 16_384 * 512 / 32 && x <= 65_535 && y <= 65_535 && z == 2);
    }
}
