//! One frame: pixels and sentences up, every dispatch in one submission, logits back.

use super::error::{GpuError, one_line};
use super::program::{Program, Ready, ReadyJob};
use super::tail::Sentences;
use super::times::Clock;
use crate::engine::{GpuTimes, PromptKernel};
use ndarray::ArrayView2;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use wgpu::BufferUsages;

/// The working memory of a frame. One at a time: the program has each map's memory once.
#[derive(Default)]
pub(super) struct FrameBuffers {
    /// The number of sentences of the last frame.
    count: usize,
    /// Buffers for each head; empty where there are no sentences.
    sentences: Vec<Sentences>,
    read_back: Option<wgpu::Buffer>,
    clock: Option<Clock>,
    floats: Vec<f32>,
}

/// The last frame of a workspace.
#[derive(Default)]
pub(crate) struct GpuRun {
    /// For each head, the logits of every sentence, one after the other.
    pub logits: Vec<Vec<f32>>,
    pub times: GpuTimes,
}

impl GpuRun {
    /// A sentence's logits under a head.
    pub(crate) fn logits(&self, head: usize, sentence: usize, extent: [usize; 2]) -> Option<ArrayView2<'_, f32>> {
        let [rows, columns] = extent;
        let own = self.logits.get(head)?.get(sentence * rows * columns..(sentence + 1) * rows * columns)?;
        ArrayView2::from_shape((rows, columns), own).ok()
    }
}

impl FrameBuffers {
    /// Bytes of the device's memory.
    pub(crate) fn bytes(&self) -> u64 {
        let read_back = self.read_back.as_ref().map_or(0, wgpu::Buffer::size);
        self.sentences.iter().map(|sentences| sentences.bytes).sum::<u64>() + read_back
    }

    /// Allocates memory for a number of sentences, unless the last frame had as many.
    fn prepare(&mut self, program: &Program, count: usize) -> Result<(), GpuError> {
        if self.read_back.is_some() && self.count == count {
            return Ok(());
        }
        let gpu = &program.gpu;
        *self = Self { clock: self.clock.take(), ..Self::default() };
        gpu.guarded("allocate memory for the sentences", || {
            if count > 0 {
                let all = program.tails.iter().map(|tail| tail.sentences(gpu, count));
                self.sentences = all.collect::<Result<_, _>>()?;
            }
            if self.clock.is_none() {
                self.clock = Some(Clock::new(gpu, &program.plan)?);
            }
            let times = self.clock.as_ref().map_or(0, Clock::bytes);
            let logits: u64 = self.sentences.iter().map(|sentences| sentences.logits.size()).sum();
            let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            self.read_back = Some(gpu.buffer("results", logits + times, usage)?);
            Ok(())
        })?;
        self.count = count;
        Ok(())
    }

    pub(crate) fn run<'k>(
        &mut self,
        program: &Program,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        run: &mut GpuRun,
    ) -> Result<(), GpuError> {
        let begun = Instant::now();
        self.prepare(program, prompts.len())?;
        let Self { sentences, read_back, clock, floats, .. } = self;
        let (Some(read_back), Some(clock)) = (read_back, clock) else { return Ok(()) };
        let gpu = &program.gpu;
        gpu.guarded("run a frame", || {
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
            let mut offset = 0;
            for sentences in sentences.iter() {
                encoder.copy_buffer_to_buffer(&sentences.logits, 0, read_back, offset, sentences.logits.size());
                offset += sentences.logits.size();
            }
            clock.resolve(&mut encoder, read_back, offset);
            let submission = gpu.queue.submit([encoder.finish()]);
            let submitted = Instant::now();
            let mapped = map(read_back);
            gpu.wait(Some(submission))?;
            mapped.outcome()?;
            let computed = Instant::now();
            let view = read_back.get_mapped_range(..).map_err(|error| failed(&error.to_string()))?;
            let bytes: &[u8] = &view;
            run.logits.resize_with(sentences.len(), Vec::new);
            let mut rest = bytes;
            for (sentences, logits) in sentences.iter().zip(&mut run.logits) {
                let (own, after) = rest.split_at_checked(sentences.logits.size() as usize).unwrap_or((rest, &[]));
                rest = after;
                logits.clear();
                logits.extend(own.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])));
            }
            run.times = clock.read(rest);
            drop(view);
            read_back.unmap();
            let seconds = |from: Instant, to: Instant| (to - from).as_secs_f64();
            run.times.upload = seconds(begun, submitted);
            let waited = seconds(submitted, computed);
            if !run.times.by_timestamps {
                run.times.compute = waited;
            }
            // The waiting time that was not computing is the time of reading back.
            run.times.read_back = (waited - run.times.compute).max(0.0) + computed.elapsed().as_secs_f64();
            Ok(())
        })
    }

    /// As [`Self::run`], but each job separately: the nanoseconds of each.
    pub(crate) fn time_jobs<'k>(
        &mut self,
        program: &Program,
        image: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
    ) -> Result<Vec<u64>, GpuError> {
        // Uploads what the jobs read.
        self.run(program, image, prompts, &mut GpuRun::default())?;
        let gpu = &program.gpu;
        gpu.guarded("time the steps", || {
            let mut nanoseconds = Vec::with_capacity(program.jobs.len());
            for job in &program.jobs {
                let mut encoder = gpu.device.create_command_encoder(&Default::default());
                let mut pass = encoder.begin_compute_pass(&Default::default());
                dispatches(job, &self.sentences).iter().for_each(|ready| ready.record(&mut pass));
                drop(pass);
                let commands = encoder.finish();
                let begun = Instant::now();
                let submission = gpu.queue.submit([commands]);
                gpu.wait(Some(submission))?;
                nanoseconds.push(begun.elapsed().as_nanos() as u64);
            }
            Ok(nanoseconds)
        })
    }
}

fn dispatches<'r>(job: &'r ReadyJob, sentences: &'r [Sentences]) -> &'r [Ready] {
    match job {
        ReadyJob::Dispatches(ready) => ready,
        ReadyJob::Tail(index) => sentences.get(*index).map_or(&[], |sentences| &sentences.dispatches),
    }
}

fn failed(reason: &str) -> GpuError {
    GpuError::Driver { what: "read results back", reason: one_line(reason) }
}

/// The result of mapping a buffer, after waiting for the device.
pub(super) struct Mapping {
    result: Arc<Mutex<Option<Result<(), wgpu::BufferAsyncError>>>>,
}

pub(super) fn map(buffer: &wgpu::Buffer) -> Mapping {
    let result = Arc::new(Mutex::new(None));
    let told = result.clone();
    buffer.map_async(wgpu::MapMode::Read, .., move |outcome| {
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    });
    Mapping { result }
}

impl Mapping {
    pub(crate) fn outcome(&self) -> Result<(), GpuError> {
        match &*self.result.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failed(&error.to_string())),
            None => Err(failed("the device did not answer")),
        }
    }
}
