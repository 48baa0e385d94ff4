//! The last stage of a head, whose dispatches depend on a frame's number of sentences.

use super::context::GpuContext;
use super::error::GpuError;
use super::plan::{Tail, number, spread};
use super::program::{Ready, Shapes, shape_binding, whole};
use super::sentences::{CHUNK, KernelLayout};
use super::shader::{Pipelines, Shader, Variant};
use wgpu::{BufferBinding, BufferUsages};

/// The two shaders, for one sentence and for a chunk of them.
struct Shaders {
    tail: wgpu::ComputePipeline,
    logits: wgpu::ComputePipeline,
}

pub(super) struct TailBuffers {
    pub tail: Tail,
    products: wgpu::Buffer,
    bias: wgpu::Buffer,
    alone: Shaders,
    chunk: Shaders,
}

/// The buffers and dispatches for a number of sentences.
pub(super) struct Sentences {
    pub layout: KernelLayout,
    pub kernels: wgpu::Buffer,
    /// Sentence by sentence, row by row.
    pub logits: wgpu::Buffer,
    pub dispatches: Vec<Ready>,
    pub bytes: u64,
}

impl TailBuffers {
    pub(crate) fn new(
        tail: Tail,
        products: wgpu::Buffer,
        bias: wgpu::Buffer,
        pipelines: &mut Pipelines,
    ) -> Result<Self, GpuError> {
        let mut shaders = |count: usize| -> Result<Shaders, GpuError> {
            let groups = ("GROUPS", number(KernelLayout::new(count, tail.low.channels).groups()));
            let scale = ("SCALE", number(tail.scale));
            Ok(Shaders {
                tail: pipelines.get(&Variant::new(Shader::Tail, vec![scale, groups]))?,
                logits: pipelines.get(&Variant::new(Shader::Logits, vec![groups]))?,
            })
        };
        Ok(Self { alone: shaders(1)?, chunk: shaders(CHUNK)?, tail, products, bias })
    }

    pub(crate) fn layout(&self, count: usize) -> KernelLayout {
        KernelLayout::new(count, self.tail.low.channels)
    }

    /// Bytes of the kernels, the dot products and the logits of `count` sentences.
    pub(crate) fn bytes(tail: &Tail, count: usize) -> u64 {
        let layout = KernelLayout::new(count, tail.low.channels);
        let pixels = tail.height() * tail.width();
        let floats = layout.chunk_floats() * layout.chunks() + pixels * (4 * layout.groups() + count);
        4 * floats as u64
    }

    /// Buffers and dispatches for `count` sentences, at least one.
    pub(crate) fn sentences(&self, gpu: &GpuContext, count: usize) -> Result<Sentences, GpuError> {
        let layout = self.layout(count);
        let (height, width) = (self.tail.height(), self.tail.width());
        let pixels = height * width;
        let chunk_bytes = 4 * layout.chunk_floats() as u64;
        let kernel_bytes = chunk_bytes * layout.chunks() as u64;
        let dot_bytes = 16 * (pixels * layout.groups()) as u64;
        let logit_bytes = 4 * (pixels * count) as u64;
        let kernels = gpu.buffer("sentences", kernel_bytes, BufferUsages::STORAGE | BufferUsages::COPY_DST)?;
        let dots = gpu.buffer("dot products", dot_bytes, BufferUsages::STORAGE)?;
        let logits = gpu.buffer("logits", logit_bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC)?;
        let mut shapes = Shapes::default();
        let low = self.tail.low;
        let words = |numbers: &[usize]| numbers.iter().map(|number| *number as u32).collect::<Vec<u32>>();
        let tail_shape = shapes.add(&words(&[low.height, low.width, low.quads()]));
        let logit_shapes: Vec<u64> = (0..layout.chunks())
            .map(|chunk| {
                let (count, first) = (layout.in_chunk(chunk), chunk * CHUNK);
                shapes.add(&words(&[height, width, count, first, layout.biases()]))
            })
            .collect();
        let shapes = shapes.upload(gpu)?;
        let Shaders { tail, logits: logits_pipeline } = if count == 1 { &self.alone } else { &self.chunk };
        let mut dispatches = Vec::with_capacity(2 * layout.chunks());
        for (chunk, shape) in logit_shapes.into_iter().enumerate() {
            let offset = chunk as u64 * chunk_bytes;
            let kernels = BufferBinding { buffer: &kernels, offset, size: std::num::NonZeroU64::new(chunk_bytes) };
            let bindings = [whole(&self.products), whole(&self.bias), kernels.clone(), whole(&dots)];
            let groups = [width.div_ceil(64) as u32, height as u32, 1];
            dispatches.push(gpu.bind(tail.clone(), shape_binding(&shapes, tail_shape), &bindings, groups)?);
            let bindings = [whole(&dots), kernels, whole(&logits)];
            let groups = spread(layout.in_chunk(chunk) * pixels);
            dispatches.push(gpu.bind(logits_pipeline.clone(), shape_binding(&shapes, shape), &bindings, groups)?);
        }
        let bytes = Self::bytes(&self.tail, count) + shapes.size();
        Ok(Sentences { layout, kernels, logits, dispatches, bytes })
    }
}
