//! A network's constants: weights, biases and constant maps, in the order in which the shaders read them.

use super::error::GpuError;
use super::shader::{Storage, WeightForm};
use crate::engine::{EngineError, WeightSource};
use crate::lower::steps::{Filters, WeightLayout};
use half::f16;

/// Numbers that are uploaded once.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    /// A product's weights: taps x input channels x output channels, both padded to multiples of four.
    Weights { filters: Filters, form: WeightForm },
    /// A product's biases, in f32, then the scales of its integers if it has any.
    Channels { filters: Filters, scaled: bool },
    /// A map of channels x height x width, channels last.
    Map { name: String, channels: usize, pixels: usize },
    /// Rows of a table from row `skip` on.
    Table { name: String, skip: usize, channels: usize, pixels: usize },
    /// A bias for each channel, in f32; zero where it has no name.
    Bias { name: Option<String>, channels: usize },
}

pub(super) fn quads(channels: usize) -> usize {
    channels.div_ceil(4)
}

fn taps(filters: &Filters) -> usize {
    filters.kernel * filters.kernel
}

/// The number format in which a product's weights are uploaded: integers stay integers.
pub(super) fn form_of(filters: &Filters, source: &WeightSource, storage: Storage) -> WeightForm {
    match storage {
        _ if source.is_int8(filters) && filters.layout != WeightLayout::Columns => WeightForm::Int8,
        Storage::F32 => WeightForm::F32,
        Storage::F16 => WeightForm::F16,
    }
}

fn misshapen(name: &str) -> GpuError {
    GpuError::Engine(EngineError::Internal(format!(
        "weight `{name}` is missing or has another shape than its step needs"
    )))
}

fn values(source: &WeightSource, name: &str) -> Result<Vec<f32>, GpuError> {
    Ok(source.values(name)?.iter().copied().collect())
}

impl Constant {
    /// Its size in the GPU's memory.
    pub(crate) fn bytes(&self, storage: Storage) -> u64 {
        let quads = |channels: usize| quads(channels) as u64;
        match self {
            Constant::Weights { filters, form } => {
                let rows = taps(filters) as u64 * 4 * quads(filters.in_channels);
                rows * quads(filters.out_channels) * form.quad_bytes()
            }
            Constant::Channels { filters, scaled } => quads(filters.out_channels) * 16 * (1 + u64::from(*scaled)),
            Constant::Map { channels, pixels, .. } | Constant::Table { channels, pixels, .. } => {
                *pixels as u64 * quads(*channels) * storage.quad_bytes()
            }
            Constant::Bias { channels, .. } => quads(*channels) * 16,
        }
    }

    /// The bytes to upload, as many as [`Self::bytes`] says.
    pub(crate) fn make(&self, storage: Storage, source: &WeightSource) -> Result<Vec<u8>, GpuError> {
        match self {
            Constant::Weights { filters, form } => weights(filters, *form, source),
            Constant::Channels { filters, scaled } => {
                let padded = 4 * quads(filters.out_channels);
                let mut numbers = source.bias(filters)?.unwrap_or_default();
                numbers.resize(padded, 0.0);
                if *scaled {
                    numbers.extend(scales(filters, source)?);
                    numbers.resize(2 * padded, 0.0);
                }
                Ok(bytes(numbers, Storage::F32))
            }
            Constant::Map { name, channels, pixels } => {
                let values = values(source, name)?;
                if values.len() != channels * pixels {
                    return Err(misshapen(name));
                }
                let value = |pixel: usize, channel: usize| values[channel * pixels + pixel];
                Ok(pixel_by_pixel(*pixels, *channels, storage, value))
            }
            Constant::Table { name, skip, channels, pixels } => {
                let values = values(source, name)?;
                let rows = values.get(skip * channels..(skip + pixels) * channels).ok_or_else(|| misshapen(name))?;
                Ok(pixel_by_pixel(*pixels, *channels, storage, |pixel, channel| rows[pixel * channels + channel]))
            }
            Constant::Bias { name, channels } => {
                let mut numbers = match name {
                    Some(name) => values(source, name)?,
                    None => vec![0.0; *channels],
                };
                if numbers.len() != *channels {
                    return Err(misshapen(name.as_deref().unwrap_or_default()));
                }
                numbers.resize(4 * quads(*channels), 0.0);
                Ok(bytes(numbers, Storage::F32))
            }
        }
    }
}

/// Values in the GPU's storage format.
fn bytes(numbers: Vec<f32>, storage: Storage) -> Vec<u8> {
    match storage {
        Storage::F32 => numbers.into_iter().flat_map(f32::to_le_bytes).collect(),
        Storage::F16 => numbers.into_iter().flat_map(|value| to_f16(value).to_le_bytes()).collect(),
    }
}

/// Values beyond f16's range are clamped to its limits, as the shaders store them.
fn to_f16(value: f32) -> f16 {
    f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// Channels last, padded to a multiple of four with zeros.
fn pixel_by_pixel(pixels: usize, channels: usize, storage: Storage, value: impl Fn(usize, usize) -> f32) -> Vec<u8> {
    let stride = 4 * quads(channels);
    let mut numbers = vec![0.0; pixels * stride];
    for (pixel, numbers) in numbers.chunks_exact_mut(stride).enumerate() {
        for (channel, number) in numbers[..channels].iter_mut().enumerate() {
            *number = value(pixel, channel);
        }
    }
    bytes(numbers, storage)
}

/// The scale of each output channel's integers.
fn scales(filters: &Filters, source: &WeightSource) -> Result<Vec<f32>, GpuError> {
    let scales = values(source, &format!("{}.scale", filters.weight))?;
    if let [scale] = scales[..] {
        return Ok(vec![scale; filters.out_channels]);
    }
    let first = first_row(filters);
    let own = scales.get(first..first + filters.out_channels);
    own.map(<[f32]>::to_vec).ok_or_else(|| misshapen(&filters.weight))
}

fn first_row(filters: &Filters) -> usize {
    match filters.layout {
        WeightLayout::Rows { first_row } => first_row,
        _ => 0,
    }
}

fn weights(filters: &Filters, form: WeightForm, source: &WeightSource) -> Result<Vec<u8>, GpuError> {
    let Filters { out_channels, in_channels, .. } = *filters;
    let taps = taps(filters);
    let values = source.values(&filters.weight)?;
    let values = values.as_standard_layout();
    let all = values.as_slice().ok_or_else(|| misshapen(&filters.weight))?;
    let first = first_row(filters) * in_channels;
    let needed = first + out_channels * in_channels * taps;
    if all.len() < needed || (filters.layout == WeightLayout::Convolution && all.len() != needed) {
        return Err(misshapen(&filters.weight));
    }
    let all = &all[first..needed];
    let scales = match form {
        WeightForm::Int8 => scales(filters, source)?,
        _ => Vec::new(),
    };
    let (in_stride, out_stride) = (4 * quads(in_channels), 4 * quads(out_channels));
    let element = form.quad_bytes() as usize / 4;
    let mut placed = vec![0u8; taps * in_stride * out_stride * element];
    for output in 0..out_channels {
        for input in 0..in_channels {
            for tap in 0..taps {
                let value = match filters.layout {
                    WeightLayout::Columns => all[input * out_channels + output],
                    _ => all[(output * in_channels + input) * taps + tap],
                };
                let at = ((tap * in_stride + input) * out_stride + output) * element;
                let slot = &mut placed[at..at + element];
                match form {
                    WeightForm::F32 => slot.copy_from_slice(&value.to_le_bytes()),
                    WeightForm::F16 => slot.copy_from_slice(&to_f16(value).to_le_bytes()),
                    // The value is an integer times the scale: dividing gives the integer back, up to rounding.
                    WeightForm::Int8 => slot[0] = (value / scales[output]).round() as i8 as u8,
                }
            }
        }
    }
    Ok(placed)
}
