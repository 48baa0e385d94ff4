//! Reassembly, blends, and the tail from tap products to logits.

use super::super::plan::{Extent, Tail};
use super::super::read_back::map;
use super::super::shader::{Pipelines, Storage};
use super::super::tail::TailBuffers;
use super::plain;
use super::rig::{Trial, check, gpu, numbers, storages, stored, tensor, weight};
use crate::graph::Weights;
use crate::lower::steps::{StepKind, TensorId};
use half::f16;
use wgpu::BufferUsages;

#[test]
fn reassemblies() {
    let Some(gpu) = gpu() else { return };
    for (size, scale) in [([1, 1, 1], 1), ([3, 2, 5], 2), ([7, 7, 40], 2), ([2, 5, 12], 3), ([1, 6, 16], 4)] {
        for storage in storages(&gpu) {
            let [height, width, channels] = size;
            let x = stored(storage, &numbers(height * width * channels, 20));
            let nine = 9 * scale * scale;
            let logits: Vec<f32> = numbers(height * width * nine, 21).iter().map(|value| 3.0 * value).collect();
            let logits = stored(storage, &logits);
            let expected = plain::carafe(&x, size, &logits, scale);
            let trial = Trial {
                kind: StepKind::Carafe { scale },
                reads: vec![tensor(height, width, channels), tensor(height, width, nine)],
                writes: tensor(height * scale, width * scale, channels),
                first_channel: 0,
                weights: Weights::new(),
                bundle: None,
            };
            check(&gpu, storage, &trial, &[x, logits], &expected, &format!("reassembly of {size:?} by {scale}"));
        }
    }
}

#[test]
fn blends() {
    let Some(gpu) = gpu() else { return };
    for (size, scale) in [([1, 1, 4], 1), ([2, 3, 8], 2), ([5, 1, 12], 4), ([3, 7, 20], 3)] {
        for (relu, has_bias) in [(true, true), (false, false)] {
            for storage in storages(&gpu) {
                let [height, width, channels] = size;
                let products = stored(storage, &numbers(height * width * 9 * channels, 22));
                let bias = if has_bias { numbers(channels, 23) } else { vec![0.0; channels] };
                let (expected, [out_height, out_width, _]) =
                    plain::blend(&products, [height, width, 9 * channels], scale, &bias, relu);
                let trial = Trial {
                    kind: StepKind::Blend { scale, bias: has_bias.then(|| "b".into()), relu },
                    reads: vec![tensor(height, width, 9 * channels)],
                    writes: tensor(out_height, out_width, channels),
                    first_channel: 0,
                    weights: Weights::from([("b".into(), weight(&[channels], bias))]),
                    bundle: None,
                };
                check(&gpu, storage, &trial, &[products], &expected, &format!("blend of {size:?} by {scale}"));
            }
        }
    }
}

/// Compares the steps from products to logits, for numbers of sentences that fill a chunk and that do not.
#[test]
fn tails() {
    let Some(gpu) = gpu() else { return };
    for (size, scale) in [([1, 1, 4], 1), ([3, 17, 8], 4), ([4, 5, 20], 2), ([2, 66, 12], 1), ([2, 1, 16], 3)] {
        for storage in storages(&gpu) {
            let [height, width, channels] = size;
            let products = stored(storage, &numbers(height * width * 9 * channels, 24));
            let bias = numbers(channels, 25);
            let (features, full) = plain::blend(&products, [height, width, 9 * channels], scale, &bias, true);
            let bytes: Vec<u8> = match storage {
                Storage::F32 => products.iter().flat_map(|value| value.to_le_bytes()).collect(),
                Storage::F16 => products.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            };
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
            let product_buffer = gpu.buffer("products", bytes.len() as u64, usage).unwrap();
            let bias_buffer = gpu.buffer("bias", 4 * channels as u64, usage).unwrap();
            gpu.queue.write_buffer(&product_buffer, 0, &bytes);
            gpu.queue.write_buffer(&bias_buffer, 0, bytemuck::cast_slice(&bias));
            let low = Extent { height, width, channels };
            let tail = Tail { head: 0, products: TensorId(0), bias: 0, low, scale };
            let mut pipelines = Pipelines::new(&gpu, storage, None);
            let buffers = TailBuffers::new(tail, product_buffer, bias_buffer, &mut pipelines).unwrap();
            for count in [1, 2, 4, 5, 9] {
                let kernels: Vec<Vec<f32>> =
                    (0..count).map(|sentence| numbers(9 * channels + 10, 30 + sentence)).collect();
                let sentences = buffers.sentences(&gpu, count as usize).unwrap();
                let mut floats = Vec::new();
                sentences.layout.place(kernels.iter().map(Vec::as_slice), &mut floats).unwrap();
                gpu.queue.write_buffer(&sentences.kernels, 0, bytemuck::cast_slice(&floats));
                let found = gpu.guarded("test", || {
                    let size = sentences.logits.size();
                    let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
                    let read_back = gpu.buffer("read back", size, usage)?;
                    let mut encoder = gpu.device.create_command_encoder(&Default::default());
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    sentences.dispatches.iter().for_each(|ready| ready.record(&mut pass));
                    drop(pass);
                    encoder.copy_buffer_to_buffer(&sentences.logits, 0, &read_back, 0, size);
                    let submission = gpu.queue.submit([encoder.finish()]);
                    let mapped = map(&read_back);
                    gpu.wait(Some(submission))?;
                    mapped.outcome()?;
                    let view = read_back.get_mapped_range(..).unwrap();
                    Ok(bytemuck::pod_collect_to_vec::<u8, f32>(&view))
                });
                let found = found.unwrap();
                let pixels = full[0] * full[1];
                for (sentence, kernel) in kernels.iter().enumerate() {
                    let expected = plain::sentence(&features, full, kernel);
                    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
                    for (pixel, expected) in expected.iter().enumerate() {
                        let found = found[sentence * pixels + pixel];
                        assert!(
                            (found - expected).abs() <= 2e-5 * largest,
                            "{size:?} by {scale} in {storage:?}, sentence {sentence} of {count}, pixel {pixel}: \
                             {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }
}
