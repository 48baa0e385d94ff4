//! Single steps on a device.

use super::super::context::GpuContext;
use super::super::plan::GpuPlan;
use super::super::product::Product;
use super::super::program::{Program, ReadyJob};
use super::super::read_back::map;
use super::super::shader::{Pipelines, Storage};
use super::super::tile::{Choose, Tile};
use crate::bundle::Bundle;
use crate::engine::{Device, WeightSource};
use crate::graph::Weights;
use crate::lower::steps::{Destination, Element, Step, StepKind, StepList, Tensor, TensorId};
use half::f16;
use ndarray::{ArrayD, IxDyn};
use std::sync::{Arc, OnceLock};

/// The device that all tests share; `None`, with a message, where there is no adapter.
pub(crate) fn gpu() -> Option<Arc<GpuContext>> {
    static GPU: OnceLock<Option<Arc<GpuContext>>> = OnceLock::new();
    let opened = GPU.get_or_init(|| GpuContext::open(Device::Gpu { index: None }).ok().map(Arc::new));
    if opened.is_none() {
        println!("skipped: no GPU adapter on this machine (Debian's mesa-vulkan-drivers has one in software)");
    }
    opened.clone()
}

/// f32, and f16 where the device has it.
pub(crate) fn storages(gpu: &GpuContext) -> Vec<Storage> {
    match gpu.adapter.f16 {
        true => vec![Storage::F32, Storage::F16],
        false => {
            println!("{} has no f16: only f32 is tested", gpu.adapter.name);
            vec![Storage::F32]
        }
    }
}

/// Numbers from -1 to 1, the same for the same seed.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Values after rounding to the device's storage format.
pub(crate) fn stored(storage: Storage, values: &[f32]) -> Vec<f32> {
    match storage {
        Storage::F32 => values.to_vec(),
        Storage::F16 => values.iter().map(|value| f16::from_f32(*value).to_f32()).collect(),
    }
}

pub(crate) fn tensor(height: usize, width: usize, channels: usize) -> Tensor {
    Tensor { name: "t".into(), height, width, channels, border: 0, element: Element::F32, per_token: false }
}

pub(crate) fn weight(shape: &[usize], values: Vec<f32>) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
}

/// A step with its tensors: the read ones first, in order, then the written one.
pub(crate) struct Trial {
    pub kind: StepKind,
    pub reads: Vec<Tensor>,
    pub writes: Tensor,
    pub first_channel: usize,
    pub weights: Weights,
    /// The bundle that the weights come from instead.
    pub bundle: Option<Arc<Bundle>>,
}

fn list(trial: &Trial) -> StepList {
    let tensors: Vec<Tensor> = trial.reads.iter().chain([&trial.writes]).cloned().collect();
    let written = TensorId(trial.reads.len());
    let step = Step {
        name: "step".into(),
        kind: trial.kind.clone(),
        reads: (0..trial.reads.len()).map(TensorId).collect(),
        writes: Some(Destination { tensor: written, first_channel: trial.first_channel }),
        multiply_accumulates: 0,
    };
    StepList { tensors, steps: vec![step], outputs: vec![written] }
}

/// One tile for all products; pairs are joined where `pairs` is set.
pub(crate) struct Always {
    pub tile: Tile,
    pub pairs: bool,
}

impl Choose for Always {
    fn tile(&self, _: &Product) -> Tile {
        self.tile
    }

    fn is_pair(&self, _: &Product, _: &Product) -> bool {
        self.pairs
    }
}

/// The written tensor's memory before the step; no step may leave it in its own channels.
pub(crate) const BEFORE: f32 = 77.0;

/// Pixels in the device's storage format, channels padded to a multiple of four.
pub(crate) fn encode(storage: Storage, values: &[f32], channels: usize) -> Vec<u8> {
    let mut padded = Vec::new();
    for pixel in values.chunks_exact(channels) {
        padded.extend_from_slice(pixel);
        padded.resize(padded.len().next_multiple_of(4), 0.0);
    }
    match storage {
        Storage::F32 => padded.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Storage::F16 => padded.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
    }
}

/// Runs a program once and reads a buffer.
pub(crate) fn read_after(program: &Program, written: &wgpu::Buffer, bytes: u64) -> Vec<f32> {
    let gpu = &program.gpu;
    gpu.guarded("test", || {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let read_back = gpu.buffer("read back", bytes, usage)?;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for job in &program.jobs {
            let ReadyJob::Dispatches(dispatches) = job else { panic!("a tail needs sentences") };
            dispatches.iter().for_each(|ready| ready.record(&mut pass));
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(written, 0, &read_back, 0, bytes);
        let submission = gpu.queue.submit([encoder.finish()]);
        let mapped = map(&read_back);
        gpu.wait(Some(submission))?;
        mapped.outcome()?;
        let view = read_back.get_mapped_range(..bytes).unwrap();
        Ok(program.plan.storage.decode(&view))
    })
    .unwrap()
}

/// A program of the step, whose products have a tile.
pub(crate) fn program(gpu: &Arc<GpuContext>, storage: Storage, trial: &Trial, choose: &dyn Choose) -> Program {
    let source = trial.bundle.as_ref().map_or(WeightSource::Memory(&trial.weights), WeightSource::Bundle);
    let plan = GpuPlan::new(&list(trial), &source, storage, choose).unwrap();
    Program::new(gpu.clone(), plan, &source).unwrap()
}

/// Runs the step. Yields the written tensor, channels padded to a multiple of four.
fn run(gpu: &Arc<GpuContext>, storage: Storage, trial: &Trial, inputs: &[Vec<f32>], choose: &dyn Choose) -> Vec<f32> {
    let mut program = program(gpu, storage, trial, choose);
    program.make_ready(&mut Pipelines::new(gpu, storage, None)).unwrap();
    let slot = |id: usize| &program.slots[program.plan.slots.of_tensor[id].unwrap()];
    for (id, (values, tensor)) in inputs.iter().zip(&trial.reads).enumerate() {
        gpu.queue.write_buffer(slot(id), 0, &encode(storage, values, tensor.channels));
    }
    let output = &trial.writes;
    let elements = output.height * output.width * output.channels.next_multiple_of(4);
    let written = slot(trial.reads.len());
    gpu.queue.write_buffer(written, 0, &encode(storage, &vec![BEFORE; elements], 4));
    let bytes = elements as u64 * storage.quad_bytes() / 4;
    read_after(&program, written, bytes)
}

/// Compares a step's own channels with `expected` (pixel by pixel), all padding with zero, and the channels of others
/// with their earlier content.
pub(crate) fn check(
    gpu: &Arc<GpuContext>,
    storage: Storage,
    trial: &Trial,
    inputs: &[Vec<f32>],
    expected: &[f32],
    what: &str,
) {
    let abilities = gpu.abilities(storage);
    check_tile(gpu, storage, trial, inputs, expected, what, &abilities);
}

/// [`check`] with a tile of the caller's choice.
pub(crate) fn check_tile(
    gpu: &Arc<GpuContext>,
    storage: Storage,
    trial: &Trial,
    inputs: &[Vec<f32>],
    expected: &[f32],
    what: &str,
    choose: &dyn Choose,
) {
    let found = run(gpu, storage, trial, inputs, choose);
    let stride = trial.writes.channels.next_multiple_of(4);
    let own = expected.len() / (trial.writes.height * trial.writes.width);
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    // Devices may compute e^x with an error of a few units in the last place of x.
    let allowed = 1e-6
        + largest
            * match storage {
                Storage::F32 => 1e-5,
                Storage::F16 => 2e-3,
            };
    assert!(largest > 0.0, "{what}: nothing to compare");
    for (pixel, (found, expected)) in found.chunks_exact(stride).zip(expected.chunks_exact(own)).enumerate() {
        for (channel, found) in found.iter().enumerate() {
            let at = channel.checked_sub(trial.first_channel).filter(|at| *at < own.next_multiple_of(4));
            let expected = match at {
                Some(at) => expected.get(at).copied().unwrap_or(0.0),
                None => BEFORE,
            };
            assert!(
                (found - expected).abs() <= allowed,
                "{what} in {storage:?}, pixel {pixel}, channel {channel}: {found} instead of {expected}"
            );
        }
    }
}
