//! The model that is embedded in the command, which is int8: integers on the GPU, sums in float, and masks of synthetic
//! images.

use super::{assert_close, has_adapter, on_gpu};
use causalclipseg::bundle::Bundle;
use causalclipseg::engine::{Device, Engine, EngineOptions, GpuPrecision, RanOn, WeightSource, adapters};
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::mask::Mask;
use causalclipseg::{Model, Session};
use std::path::Path;
use std::sync::Arc;

fn bundle() -> Arc<Bundle> {
    Arc::new(Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs")).unwrap())
}

/// Speckle with a dark ellipse in it, 8-bit grey.
fn phantom(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let place = [0.3 + 0.4 * next(), 0.3 + 0.4 * next(), 0.1 + 0.1 * next(), 0.08 + 0.1 * next()];
    let coarse: Vec<f32> = (0..(size / 2) * (size / 2)).map(|_| (next() + next() + next()) / 3.0).collect();
    (0..size * size)
        .map(|index| {
            let (x, y) = (index % size, index / size);
            let [dx, dy] = [x as f32 / size as f32 - place[0], y as f32 / size as f32 - place[1]];
            let is_lesion = (dx / place[2]).powi(2) + (dy / place[3]).powi(2) < 1.0;
            let brightness = if is_lesion { 50.0 } else { 150.0 };
            (brightness * (0.4 + 1.2 * coarse[y / 2 * (size / 2) + x / 2])).min(255.0) as u8
        })
        .collect()
}

/// The bundle on the GPU in f32 is the network with the same weights in float: the CPU's f32 engine with the graph
/// without its scales and zero points.
#[test]
fn integers_of_the_shipped_model_are_its_weights() {
    if !has_adapter() {
        return;
    }
    let bundle = bundle();
    let mut graph = bundle.graph().clone();
    graph.nodes.iter_mut().for_each(|node| node.quantisation = None);
    let weights = bundle.weights().unwrap();
    let cpu = Engine::new(&graph, &weights, EngineOptions::default().with_confounders(true)).unwrap();
    let gpu = Engine::new(bundle.graph(), WeightSource::Bundle(&bundle), on_gpu(GpuPrecision::F32)).unwrap();
    assert_eq!(gpu.fallback(), None);
    let size = bundle.manifest().model.input_size;
    let pixels: Vec<f32> = phantom(size, 3).iter().map(|pixel| f32::from(*pixel) / 64.0 - 2.0).collect();
    let pixels = pixels.repeat(3);
    let tokens = [49406, 320, 4500, 49407];
    let kernel = cpu.encode_prompt(&tokens).unwrap();
    let (expected, _) = cpu.segment(&pixels, &kernel).unwrap();
    let (found, _) = gpu.segment(&pixels, &kernel).unwrap();
    assert_close(&[found], &[expected], 1e-4, "the shipped model");
    let summary = gpu.gpu().unwrap().summary();
    let in_float: usize = weights.values().map(|values| 4 * values.len()).sum();
    assert!(summary.weight_bytes < in_float as u64 / 2, "{summary:?}");
}

fn dice(a: &Mask, b: &Mask) -> f64 {
    let [mut both, mut sum] = [0usize; 2];
    for (a, b) in a.pixels().iter().zip(b.pixels()) {
        both += usize::from(*a > 0 && *b > 0);
        sum += usize::from(*a > 0) + usize::from(*b > 0);
    }
    if sum == 0 { 1.0 } else { 2.0 * both as f64 / sum as f64 }
}

#[test]
fn masks_in_f16_agree_with_those_in_f32() {
    if !has_adapter() {
        return;
    }
    if !adapters().first().is_some_and(|adapter| adapter.f16) {
        println!("skipped: the adapter has no f16");
        return;
    }
    let bundle = bundle();
    let open = |gpu_precision| {
        let engine =
            EngineOptions::default().with_device(Device::Gpu { index: None }).with_gpu_precision(gpu_precision);
        Model::from_bundle(bundle.clone(), engine.into()).unwrap()
    };
    let models = [GpuPrecision::F32, GpuPrecision::F16].map(open);
    let mut sessions = models.each_ref().map(|model| Session::new(model, Default::default()).unwrap());
    let mut dices = Vec::new();
    for seed in 0..12 {
        let pixels = phantom(160, seed);
        let frame = Frame::packed(&pixels, PixelFormat::Gray8, 160, 160).unwrap();
        let masks = [0, 1].map(|index| {
            let prompt = models[index].prompt("There is a dark nodule.").unwrap();
            let report = sessions[index].run(&frame, &[prompt]).unwrap();
            assert_eq!(report.ran_on, RanOn::Gpu);
            report.findings[0].mask().clone()
        });
        // Two empty masks agree whatever was computed.
        if masks[0].pixels().iter().any(|pixel| *pixel > 0) {
            dices.push(dice(&masks[0], &masks[1]));
        }
    }
    let mean = dices.iter().sum::<f64>() / dices.len().max(1) as f64;
    println!("f16 and f32 masks of {} phantoms with a finding: mean Dice {mean:.5}", dices.len());
    assert!(dices.len() >= 6 && mean >= 0.995, "{dices:?}");
}
