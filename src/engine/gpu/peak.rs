//! The rates that a device reaches at most, measured with shaders that do nothing else: what a network's rates are
//! compared with.

use super::context::GpuContext;
use super::error::GpuError;
use super::plan::spread;
use super::program::{Ready, Shapes, shape_binding, whole};
use super::shader::{LANES, Pipelines, Shader, Storage, Variant, VariantConstant};
use super::stopwatch::Stopwatch;
use serde::Serialize;
use std::sync::Arc;
use wgpu::BufferUsages;

/// The highest measured rates of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GpuPeaks {
    /// Multiply-accumulates in f32, in 10⁹ a second.
    pub f32_gmac_per_s: f64,
    /// Those in f16, without matrix units; `None` where the device has no f16.
    pub f16_gmac_per_s: Option<f64>,
    /// Bytes of memory that are read or written, in 10⁹ a second.
    pub gigabytes_per_s: f64,
}

/// Multiply-accumulates of an invocation's turn: four times eight vectors of four.
const MACS_PER_TURN: u64 = 4 * 8 * 4;
/// How long a measurement has to take at least.
const LEAST_SECONDS: f64 = 2e-3;
/// Turns beyond which no measurement goes, on whatever device.
const MOST_TURNS: u32 = 1 << 16;
/// Bytes of each of the two buffers that are copied: beyond the caches of most devices.
const COPIED_BYTES: u64 = 128 << 20;
const MEASUREMENTS: usize = 5;

struct Buffers {
    x: wgpu::Buffer,
    y: wgpu::Buffer,
}

/// Measures the rates; it takes some tenths of a second.
pub(super) fn measure(gpu: &Arc<GpuContext>) -> Result<GpuPeaks, GpuError> {
    let is_software = gpu.adapter.kind == "software";
    let bytes = COPIED_BYTES.min(if is_software { 8 << 20 } else { gpu.adapter.most_bytes });
    let buffers = gpu.guarded("allocate memory", || {
        let buffer = |what| gpu.buffer(what, bytes, BufferUsages::STORAGE);
        Ok(Buffers { x: buffer("what is copied")?, y: buffer("a copy")? })
    })?;
    // Several invocations for each of a card's arithmetic units; a software driver runs them one after the other.
    let busy = if is_software { 16 } else { 16384 };
    let items = (busy * LANES as usize).min(bytes as usize / 16);
    let of_products = |name| gmac_per_s(gpu, &buffers, name, items);
    Ok(GpuPeaks {
        f32_gmac_per_s: of_products("F32")?,
        f16_gmac_per_s: if gpu.adapter.f16 { Some(of_products("F16")?) } else { None },
        gigabytes_per_s: copies(gpu, &buffers, bytes)?,
    })
}

fn variant(products: bool, format: &'static str) -> Variant {
    let flag = |name: &'static str, value| (name, VariantConstant::Flag(value));
    let constants = vec![
        flag("PRODUCTS", products),
        flag("COPIES", !products),
        flag("F16", format == "F16"),
        flag("F32", format == "F32"),
    ];
    Variant::new(Shader::Peak, constants)
}

fn ready(
    gpu: &Arc<GpuContext>,
    pipelines: &mut Pipelines,
    buffers: &Buffers,
    variant: &Variant,
    [turns, items]: [u32; 2],
) -> Result<Ready, GpuError> {
    let pipeline = pipelines.get(variant)?;
    let mut shapes = Shapes::default();
    let offset = shapes.add(&[turns, items]);
    gpu.guarded("bind memory", || {
        let shapes = shapes.upload(gpu)?;
        let bindings = [whole(&buffers.x), whole(&buffers.y)];
        gpu.bind(pipeline, shape_binding(&shapes, offset), &bindings, spread(items as usize))
    })
}

fn shortest(stopwatch: &Stopwatch, ready: Ready) -> Result<f64, GpuError> {
    let ready = [ready];
    stopwatch.run(&ready, 1)?;
    let mut shortest = f64::INFINITY;
    for _ in 0..MEASUREMENTS {
        shortest = shortest.min(stopwatch.run(&ready, 1)?);
    }
    Ok(shortest.max(f64::MIN_POSITIVE))
}

fn gmac_per_s(gpu: &Arc<GpuContext>, buffers: &Buffers, format: &'static str, items: usize) -> Result<f64, GpuError> {
    let stopwatch = Stopwatch::new(gpu)?;
    let mut pipelines = Pipelines::new(gpu, Storage::F32, None);
    let variant = variant(true, format);
    let mut turns = 64;
    loop {
        let shape = [turns, items as u32];
        let seconds = shortest(&stopwatch, ready(gpu, &mut pipelines, buffers, &variant, shape)?)?;
        if seconds >= LEAST_SECONDS || turns >= MOST_TURNS {
            let products = u64::from(turns) * MACS_PER_TURN * items as u64;
            return Ok(products as f64 / 1e9 / seconds);
        }
        turns *= 4;
    }
}

fn copies(gpu: &Arc<GpuContext>, buffers: &Buffers, bytes: u64) -> Result<f64, GpuError> {
    let stopwatch = Stopwatch::new(gpu)?;
    let mut pipelines = Pipelines::new(gpu, Storage::F32, None);
    let shape = [0, (bytes / 16) as u32];
    let seconds = shortest(&stopwatch, ready(gpu, &mut pipelines, buffers, &variant(false, "F32"), shape)?)?;
    Ok(2.0 * bytes as f64 / 1e9 / seconds)
}
