//! One frame: pixels and sentences up, every dispatch in one submission, logits and masks back.
//!
//! Several frames may be in flight, one for each thread. A lock is held while a frame is uploaded, recorded and
//! submitted, and not while the device computes: the queue runs submissions one after the other, and writes of
//! `write_buffer` between those before and after them, so all frames share one set of maps. Only the buffer that the
//! host reads belongs to one frame.

use super::error::GpuError;
use super::mask::{BoundMask, MaskBuffers, MaskLayout};
use super::program::{Program, Ready, ReadyJob};
use super::read_back::{Mapping, ReadBacks, failed, map};
use super::shader::Pipelines;
use super::step_times;
use super::tail::Sentences;
use super::times::Clock;
use crate::engine::wanted_masks::{DrawnMask, WantedMasks};
use crate::engine::{GpuTimes, PromptKernel};
use ndarray::ArrayView2;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The numbers of sentences whose buffers are kept: sessions with different numbers take turns without allocating.
const KEPT_COUNTS: usize = 2;

/// The frames of one program.
pub(super) struct Frames {
    clock: Clock,
    buffers: Mutex<FrameBuffers>,
    read_backs: ReadBacks,
}

/// What all frames share, in the order in which they are submitted.
struct FrameBuffers {
    /// The latest numbers of sentences, the last one first.
    prepared: Vec<Prepared>,
    masks: MaskBuffers,
    floats: Vec<f32>,
}

/// The buffers for a number of sentences.
struct Prepared {
    count: usize,
    /// Buffers for each head; empty where there are no sentences.
    sentences: Vec<Sentences>,
    mask: Option<BoundMask>,
}

/// The last frame of a workspace.
#[derive(Default)]
pub(crate) struct GpuRun {
    /// For each head, the logits of every sentence, one after the other.
    pub logits: Vec<Vec<f32>>,
    /// The results of the mask shader, and how they lie there; `None` where it did not run.
    masks: Vec<u32>,
    mask_layout: Option<MaskLayout>,
    pub times: GpuTimes,
}

impl GpuRun {
    /// A sentence's logits under a head.
    pub(crate) fn logits(&self, head: usize, sentence: usize, extent: [usize; 2]) -> Option<ArrayView2<'_, f32>> {
        let [rows, columns] = extent;
        let own = self.logits.get(head)?.get(sentence * rows * columns..(sentence + 1) * rows * columns)?;
        ArrayView2::from_shape((rows, columns), own).ok()
    }

    /// A sentence's mask, if the device drew it.
    pub(crate) fn mask(&self, sentence: usize) -> Option<DrawnMask<'_>> {
        self.mask_layout?.drawn(&self.masks, sentence)
    }
}

/// A frame on its way.
struct Submitted {
    begun: Instant,
    submitted: Instant,
    submission: wgpu::SubmissionIndex,
    read_back: wgpu::Buffer,
    mapped: Mapping,
    /// The number of heads with logits, and bytes of each one's.
    heads: usize,
    logit_bytes: u64,
    mask: Option<MaskLayout>,
    mask_bytes: u64,
}

impl Frames {
    pub(crate) fn new(program: &Program, pipelines: &mut Pipelines) -> Result<Self, GpuError> {
        let gpu = &program.gpu;
        let clock = gpu.guarded("allocate memory", || Clock::new(gpu, &program.plan))?;
        let masks = MaskBuffers::new(gpu, pipelines)?;
        let buffers = Mutex::new(FrameBuffers { prepared: Vec::new(), masks, floats: Vec::new() });
        Ok(Self { clock, buffers, read_backs: ReadBacks::default() })
    }

    fn buffers(&self) -> MutexGuard<'_, FrameBuffers> {
        // A panic elsewhere leaves a device that reports itself unusable, or memory that the next frame overwrites.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the device's memory, without those of frames in flight.
    pub(crate) fn bytes(&self) -> u64 {
        let buffers = self.buffers();
        let sentences = buffers.prepared.iter().flat_map(|prepared| &prepared.sentences);
        sentences.map(|sentences| sentences.bytes).sum::<u64>() + buffers.masks.bytes() + self.read_backs.bytes()
    }

    /// Runs a frame. `wanted`: the masks to draw besides the logits.
    pub(crate) fn run<'k>(
        &self,
        program: &Program,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        wanted: Option<&WantedMasks>,
        run: &mut GpuRun,
    ) -> Result<(), GpuError> {
        let begun = Instant::now();
        let gpu = &program.gpu;
        let submitted = gpu.guarded("run a frame", || {
            let mut buffers = self.buffers();
            buffers.submit(program, &self.clock, &self.read_backs, image, prompts, wanted, begun)
        })?;
        gpu.guarded("read results back", || self.read(program, submitted, run))
    }

    /// Waits for a frame and copies its results.
    fn read(&self, program: &Program, frame: Submitted, run: &mut GpuRun) -> Result<(), GpuError> {
        let Submitted { begun, submitted, submission, read_back, mapped, heads, logit_bytes, mask, mask_bytes } = frame;
        program.gpu.wait(Some(submission))?;
        mapped.outcome()?;
        let computed = Instant::now();
        let view = read_back.get_mapped_range(..).map_err(|error| failed(&error.to_string()))?;
        let bytes: &[u8] = &view;
        let mut rest = bytes;
        let mut next = |bytes: u64| {
            let (own, after) = rest.split_at_checked(bytes as usize).unwrap_or((rest, &[]));
            rest = after;
            own
        };
        run.logits.resize_with(heads, Vec::new);
        for logits in &mut run.logits {
            logits.clear();
            logits.extend(next(logit_bytes).as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)));
        }
        run.masks.clear();
        run.masks.extend(next(mask_bytes).as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
        run.mask_layout = mask;
        run.times = self.clock.read(next(self.clock.bytes(mask.is_some())));
        drop(view);
        read_back.unmap();
        self.read_backs.give_back(read_back);
        let seconds = |from: Instant, to: Instant| (to - from).as_secs_f64();
        run.times.upload = seconds(begun, submitted);
        let waited = seconds(submitted, computed);
        if !run.times.by_timestamps {
            run.times.compute = waited;
        }
        // The waiting time that was not computing is the time of reading back, and of frames before.
        run.times.read_back = (waited - run.times.compute).max(0.0) + computed.elapsed().as_secs_f64();
        Ok(())
    }

    /// As [`Self::run`], but each job separately: the nanoseconds of each.
    pub(crate) fn time_jobs<'k>(
        &self,
        program: &Program,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
    ) -> Result<Vec<u64>, GpuError> {
        // Uploads what the jobs read.
        self.run(program, image, prompts.clone(), None, &mut GpuRun::default())?;
        let gpu = &program.gpu;
        let mut buffers = self.buffers();
        let prepared = buffers.prepare(program, prompts.len())?;
        let steps: Vec<&[Ready]> = program.jobs.iter().map(|job| dispatches(job, &prepared.sentences)).collect();
        step_times::measure(gpu, &steps)
    }
}

impl FrameBuffers {
    /// The buffers for a number of sentences; allocates them unless one of the last frames had as many.
    fn prepare(&mut self, program: &Program, count: usize) -> Result<&mut Prepared, GpuError> {
        match self.prepared.iter().position(|prepared| prepared.count == count) {
            Some(index) => self.prepared[..=index].rotate_right(1),
            None => {
                let gpu = &program.gpu;
                // Memory is freed before more is taken.
                self.prepared.truncate(KEPT_COUNTS - 1);
                let sentences = gpu.guarded("allocate memory for the sentences", || {
                    let tails = program.tails.iter().filter(|_| count > 0);
                    tails.map(|tail| tail.sentences(gpu, count)).collect::<Result<_, _>>()
                })?;
                self.prepared.insert(0, Prepared { count, sentences, mask: None });
            }
        }
        Ok(&mut self.prepared[0])
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a frame")]
    fn submit<'k>(
        &mut self,
        program: &Program,
        clock: &Clock,
        read_backs: &ReadBacks,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        wanted: Option<&WantedMasks>,
        begun: Instant,
    ) -> Result<Submitted, GpuError> {
        let gpu = &program.gpu;
        let count = prompts.len();
        self.prepare(program, count)?;
        let Self { prepared, masks, floats } = self;
        let Prepared { sentences, mask: bound, .. } = &mut prepared[0];
        let is_pred = |index: &usize| program.tails[*index].tail.head == 0;
        let pred = (0..sentences.len()).find(is_pred).map(|index| &sentences[index].logits);
        let mask = match (wanted, pred) {
            (Some(wanted), Some(_)) => masks.prepare(gpu, wanted, count)?,
            _ => None,
        };
        let ready = match (mask, pred) {
            (Some(layout), Some(logits)) => masks.bind(gpu, layout, logits, count, bound)?,
            _ => None,
        };
        let mask = mask.filter(|_| ready.is_some());
        let mask_bytes = mask.map_or(0, |layout| layout.bytes(count));
        gpu.queue.write_buffer(&program.image, 0, bytemuck::cast_slice(image));
        for (tail, sentences) in program.tails.iter().zip(sentences.iter()) {
            let kernels = prompts.clone().map(|prompt| prompt.of_head(tail.tail.head));
            sentences.layout.place(kernels, floats)?;
            gpu.queue.write_buffer(&sentences.kernels, 0, bytemuck::cast_slice(floats));
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for segment in clock.segments() {
            let mut pass = encoder.begin_compute_pass(&clock.descriptor(segment));
            for job in &program.jobs[segment.jobs.clone()] {
                dispatches(job, sentences).iter().for_each(|ready| ready.record(&mut pass));
            }
        }
        if let Some(ready) = ready {
            ready.record(&mut encoder.begin_compute_pass(&clock.mask_descriptor()));
        }
        // Heads have logits of one size.
        let logit_bytes = sentences.first().map_or(0, |sentences| sentences.logits.size());
        let mut offset = logit_bytes * sentences.len() as u64;
        let read_back = read_backs.take(gpu, offset + mask_bytes + clock.bytes(mask.is_some()))?;
        for (index, sentences) in sentences.iter().enumerate() {
            let to = logit_bytes * index as u64;
            encoder.copy_buffer_to_buffer(&sentences.logits, 0, &read_back, to, logit_bytes);
        }
        if mask.is_some() {
            masks.copy(&mut encoder, &read_back, offset, mask_bytes);
            offset += mask_bytes;
        }
        clock.resolve(&mut encoder, &read_back, offset, mask.is_some());
        let heads = sentences.len();
        let submission = gpu.queue.submit([encoder.finish()]);
        let submitted = Instant::now();
        let mapped = map(&read_back);
        Ok(Submitted { begun, submitted, submission, read_back, mapped, heads, logit_bytes, mask, mask_bytes })
    }
}

fn dispatches<'r>(job: &'r ReadyJob, sentences: &'r [Sentences]) -> &'r [Ready] {
    match job {
        ReadyJob::Dispatches(ready) => ready,
        ReadyJob::Tail(index) => sentences.get(*index).map_or(&[], |sentences| &sentences.dispatches),
    }
}
