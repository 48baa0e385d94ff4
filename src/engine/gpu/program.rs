//! A plan on a device: buffers, uploaded weights and compiled shaders are set up once; then a frame is one submission.

use super::context::GpuContext;
use super::error::GpuError;
use super::plan::{Binding, Dispatch, GpuPlan, Work};
use super::shader::Pipelines;
use super::tail::TailBuffers;
use crate::engine::WeightSource;
use std::sync::Arc;
use wgpu::BufferUsages;

/// A dispatch ready to be recorded.
pub(super) struct Ready {
    pub pipeline: wgpu::ComputePipeline,
    pub bind_group: wgpu::BindGroup,
    pub groups: [u32; 3],
}

impl Ready {
    pub(crate) fn record(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.groups;
        pass.dispatch_workgroups(x, y, z);
    }
}

pub(super) enum ReadyJob {
    Dispatches(Vec<Ready>),
    /// The last stage of a head, as an index of the program's tails.
    Tail(usize),
}

/// The alignment of each dispatch's `Shape` in the shared buffer: no device needs more.
const SHAPE_ALIGNMENT: u64 = 256;
/// The size of the pieces in which weights are uploaded, so that the copies in flight stay small.
const UPLOAD_BYTES: u64 = 32 << 20;

pub(super) struct Program {
    pub gpu: Arc<GpuContext>,
    pub plan: GpuPlan,
    pub image: wgpu::Buffer,
    pub slots: Vec<wgpu::Buffer>,
    constants: Vec<wgpu::Buffer>,
    pub jobs: Vec<ReadyJob>,
    pub tails: Vec<TailBuffers>,
    /// Bytes of all memory that is kept as long as the program.
    pub bytes: u64,
}

impl GpuContext {
    /// Creates a buffer, or fails with the reason.
    pub(crate) fn buffer(&self, what: &str, bytes: u64, usage: BufferUsages) -> Result<wgpu::Buffer, GpuError> {
        let limits = &self.limits;
        let most = match usage.contains(BufferUsages::STORAGE) {
            true => limits.max_buffer_size.min(limits.max_storage_buffer_binding_size),
            false => limits.max_buffer_size,
        };
        let bytes = bytes.max(16).next_multiple_of(4);
        if bytes > most {
            return Err(GpuError::Limit { what: format!("{what} in bytes"), needed: bytes, most });
        }
        Ok(self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage,
            mapped_at_creation: false,
        }))
    }

    /// Checks a dispatch's size.
    pub(crate) fn check_groups(&self, groups: [u32; 3]) -> Result<(), GpuError> {
        let most = self.limits.max_compute_workgroups_per_dimension;
        match groups.into_iter().find(|count| *count > most) {
            Some(count) => {
                let (needed, most) = (u64::from(count), u64::from(most));
                Err(GpuError::Limit { what: "a step in workgroups".into(), needed, most })
            }
            None => Ok(()),
        }
    }

    /// Binds a shape and the buffers of a dispatch, in the shader's order.
    pub(crate) fn bind(
        &self,
        pipeline: wgpu::ComputePipeline,
        shape: wgpu::BufferBinding,
        buffers: &[wgpu::BufferBinding],
        groups: [u32; 3],
    ) -> Result<Ready, GpuError> {
        self.check_groups(groups)?;
        let all = std::iter::once(&shape).chain(buffers).enumerate();
        let entries: Vec<wgpu::BindGroupEntry> = all
            .map(|(index, binding)| wgpu::BindGroupEntry {
                binding: index as u32,
                resource: wgpu::BindingResource::Buffer(binding.clone()),
            })
            .collect();
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Ok(Ready { pipeline, bind_group, groups })
    }
}

/// The shapes of many dispatches in one buffer.
#[derive(Default)]
pub(super) struct Shapes {
    bytes: Vec<u8>,
}

impl Shapes {
    /// Adds a shape and returns its offset.
    pub(crate) fn add(&mut self, words: &[u32]) -> u64 {
        let at = self.bytes.len();
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.bytes.resize(self.bytes.len().next_multiple_of(SHAPE_ALIGNMENT as usize), 0);
        at as u64
    }

    pub(crate) fn upload(&self, gpu: &GpuContext) -> Result<wgpu::Buffer, GpuError> {
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let buffer = gpu.buffer("shapes", self.bytes.len() as u64, usage)?;
        gpu.queue.write_buffer(&buffer, 0, &self.bytes);
        Ok(buffer)
    }
}

/// One shape in the shared buffer.
pub(super) fn shape_binding(buffer: &wgpu::Buffer, offset: u64) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer, offset, size: std::num::NonZeroU64::new(SHAPE_ALIGNMENT) }
}

pub(super) fn whole(buffer: &wgpu::Buffer) -> wgpu::BufferBinding<'_> {
    wgpu::BufferBinding { buffer, offset: 0, size: None }
}

impl Program {
    /// Allocates memory and uploads the weights. Nothing runs before [`Self::make_ready`].
    pub(crate) fn new(gpu: Arc<GpuContext>, plan: GpuPlan, source: &WeightSource) -> Result<Self, GpuError> {
        let tensor_usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let (image, slots) = gpu.guarded("allocate memory", || {
            let image = gpu.buffer("the frame", 4 * plan.image_floats as u64, tensor_usage)?;
            let slots = plan.slots.bytes.iter().map(|bytes| gpu.buffer("a map", *bytes, tensor_usage));
            Ok((image, slots.collect::<Result<Vec<_>, GpuError>>()?))
        })?;
        let constants = upload(&gpu, &plan, source)?;
        let bytes = plan.constant_bytes() + plan.tensor_bytes() + 4 * plan.image_floats as u64;
        let empty = Self { gpu, plan, image, slots, constants, jobs: vec![], tails: vec![], bytes };
        Ok(empty)
    }

    /// Compiles the plan's shaders and binds its buffers, in place of what was there.
    pub(crate) fn make_ready(&mut self, pipelines: &mut Pipelines) -> Result<(), GpuError> {
        let Self { plan, gpu, .. } = &*self;
        let dispatches: Vec<Vec<Dispatch>> = (0..plan.jobs.len()).map(|job| plan.dispatches(job)).collect();
        pipelines.prepare(dispatches.iter().flatten().map(|dispatch| &dispatch.variant))?;
        let mut shapes = Shapes::default();
        let offsets: Vec<Vec<u64>> = dispatches
            .iter()
            .map(|dispatches| dispatches.iter().map(|dispatch| shapes.add(&dispatch.shape)).collect())
            .collect();
        let shapes = gpu.guarded("allocate memory", || shapes.upload(gpu))?;
        let partials = self.partials(plan.partial_bytes)?;
        let mut jobs = Vec::with_capacity(plan.jobs.len());
        let mut tails = Vec::new();
        for ((job, dispatches), offsets) in plan.jobs.iter().zip(&dispatches).zip(offsets) {
            jobs.push(match &job.work {
                Work::Dispatch(_) | Work::Product(..) => {
                    let ready = dispatches.iter().zip(offsets).map(|(dispatch, offset)| {
                        self.bind(dispatch, pipelines, shape_binding(&shapes, offset), &partials)
                    });
                    ReadyJob::Dispatches(ready.collect::<Result<_, _>>()?)
                }
                Work::Tail(tail) => {
                    let slot = plan.slots.of_tensor.get(tail.products.0).copied().flatten();
                    let products = slot.and_then(|slot| self.slots.get(slot)).ok_or_else(no_buffer)?.clone();
                    let bias = self.constants.get(tail.bias).ok_or_else(no_buffer)?.clone();
                    tails.push(TailBuffers::new(tail.clone(), products, bias, pipelines)?);
                    ReadyJob::Tail(tails.len() - 1)
                }
            });
        }
        self.bytes = plan.constant_bytes()
            + plan.tensor_bytes()
            + 4 * plan.image_floats as u64
            + shapes.size()
            + plan.partial_bytes;
        (self.jobs, self.tails) = (jobs, tails);
        Ok(())
    }

    /// Memory for the sums of the parts of a product.
    pub(crate) fn partials(&self, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
        self.gpu.guarded("allocate memory", || self.gpu.buffer("partial sums", bytes, BufferUsages::STORAGE))
    }

    /// Binds the buffers of a dispatch.
    pub(crate) fn bind(
        &self,
        dispatch: &Dispatch,
        pipelines: &mut Pipelines,
        shape: wgpu::BufferBinding,
        partials: &wgpu::Buffer,
    ) -> Result<Ready, GpuError> {
        let pipeline = pipelines.get(&dispatch.variant)?;
        let buffer = |binding: &Binding| match binding {
            Binding::Image => Some(&self.image),
            Binding::Tensor(id) => self.slots.get(self.plan.slots.of_tensor.get(id.0).copied().flatten()?),
            Binding::Constant(index) => self.constants.get(*index),
            Binding::Partials => Some(partials),
        };
        let bound = dispatch.bindings.iter().map(|binding| buffer(binding).map(whole).ok_or_else(no_buffer));
        let bound: Vec<wgpu::BufferBinding> = bound.collect::<Result<_, _>>()?;
        self.gpu.guarded("bind memory", || self.gpu.bind(pipeline, shape, &bound, dispatch.groups))
    }
}

fn no_buffer() -> GpuError {
    GpuError::Engine(crate::engine::EngineError::Internal("a tensor without a buffer".into()))
}

fn upload(gpu: &GpuContext, plan: &GpuPlan, source: &WeightSource) -> Result<Vec<wgpu::Buffer>, GpuError> {
    let mut buffers = Vec::with_capacity(plan.constants.len());
    let mut on_their_way = 0;
    for constant in &plan.constants {
        let bytes = constant.make(plan.storage, source)?;
        buffers.push(gpu.guarded("upload weights", || {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
            let buffer = gpu.buffer("weights", bytes.len() as u64, usage)?;
            gpu.queue.write_buffer(&buffer, 0, &bytes);
            on_their_way += bytes.len() as u64;
            if on_their_way > UPLOAD_BYTES {
                on_their_way = 0;
                let submission = gpu.queue.submit([]);
                gpu.wait(Some(submission))?;
            }
            Ok(buffer)
        })?);
    }
    Ok(buffers)
}
