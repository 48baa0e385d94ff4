//! Masks that a GPU draws, through sessions: against those that the CPU draws from the same logits, on several threads,
//! and across the loss of the device.

use super::has_adapter;
use causalclipseg::bundle::{Bundle, BundleBuilder, ModelDescription, Precision};
use causalclipseg::engine::{Device, EngineOptions, GpuPrecision, RanOn, adapters};
use causalclipseg::frame::{Fit, Frame, Normalisation, Orientation, PixelFormat, Region};
use causalclipseg::lower::rewrite;
use causalclipseg::mask::{Mask, MaskError, Probability, Quality};
use causalclipseg::network::Architecture;
use causalclipseg::{Finding, FrameReport, Model, Prompt, Session, SessionError, SessionOptions};
use std::sync::Arc;
use toy_networks::networks::Network;

const SIZE: usize = 32;
const SENTENCES: [&str; 3] = ["a dark nodule", "a bright mass on the left", "cyst"];

/// The smallest network that reads the tokens of the shipped model's tokenizer.
fn network() -> Network {
    let mut architecture = Architecture::mini();
    (architecture.text.vocabulary, architecture.input_size) = (49_408, SIZE);
    let weights = architecture.golden_weights().unwrap();
    let (graph, weights) = rewrite(architecture.describe().unwrap(), weights).unwrap();
    Network { graph, weights }
}

fn bundle(network: &Network, fit: Fit) -> Arc<Bundle> {
    let description = ModelDescription {
        name: "formula".into(),
        edition: "tiny".into(),
        input_size: SIZE,
        normalisation: Normalisation::CLIP,
        fit,
        threshold: 0.5,
        trained: false,
        gmac: 0.0,
        provenance: Default::default(),
        calibration: None,
    };
    let builder = BundleBuilder::new(description, network.graph.clone(), &network.weights, Precision::F32).unwrap();
    let tokenizer = Bundle::open(&toy_networks::shipped()).unwrap().tokenizer_json().unwrap().into_owned();
    Arc::new(Bundle::from_bytes(builder.tokenizer_json(tokenizer).to_bytes().unwrap()).unwrap())
}

fn on_gpu(gpu_precision: GpuPrecision) -> EngineOptions {
    EngineOptions::default().with_device(Device::Gpu { index: None }).with_gpu_precision(gpu_precision)
}

fn model(bundle: &Arc<Bundle>, options: EngineOptions) -> Model {
    Model::from_bundle(bundle.clone(), options.into()).unwrap()
}

fn prompts(model: &Model, count: usize) -> Vec<Prompt> {
    SENTENCES[..count].iter().map(|sentence| model.prompt(sentence).unwrap()).collect()
}

/// A picture that differs from those of other seeds.
fn picture(width: usize, height: usize, seed: usize) -> Vec<u8> {
    let value = |at: usize| {
        let (x, y) = (at % width, at / width);
        (x * (3 + seed % 5) + y * (7 + seed % 3) + (x * y / 5) % 41 + 31 * seed) % 256
    };
    (0..width * height).map(|at| value(at) as u8).collect()
}

fn median(map: &Probability) -> f32 {
    let mut values: Vec<f32> = map.values().iter().copied().filter(|p| *p > 0.0).collect();
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

/// Pixels may differ where the probability is this close to the threshold.
fn assert_masks(found: &Mask, expected: &Mask, map: &Probability, threshold: f32, rounding: f32, what: &str) {
    assert_eq!((found.pixels().dim(), found.region()), (expected.pixels().dim(), expected.region()), "{what}");
    for ((at, found), expected) in found.pixels().indexed_iter().zip(expected.pixels()) {
        let p = map.values()[at];
        assert!(found == expected || (p - threshold).abs() <= rounding, "{what}: {at:?} has {p}, of {threshold}");
    }
}

fn assert_qualities(found: &Quality, expected: &Quality, what: &str) {
    let number = |p: Option<f64>| p.unwrap_or(-1.0);
    for (found, expected) in [
        (found.score, expected.score),
        (number(found.mean_probability), number(expected.mean_probability)),
        (number(found.min_probability), number(expected.min_probability)),
        (found.max_probability, expected.max_probability),
        (found.stability, expected.stability),
    ]
    .into_iter()
    // A pixel at a threshold may be counted on either side, and moves the stability by its share.
    .take(if found.area_px_at == expected.area_px_at { 5 } else { 0 })
    {
        assert!((found - expected).abs() <= 1e-5, "{what}: {found} instead of {expected}");
    }
    for (found, expected) in found.area_px_at.into_iter().zip(expected.area_px_at) {
        assert!(found.abs_diff(expected) <= 2, "{what}: {found} pixels instead of {expected}");
    }
    assert_eq!(found.flags, expected.flags, "{what}");
}

/// Asserts that the GPU ran a frame, and that it or the CPU drew the masks, which only its clock tells.
fn assert_drawn(report: &FrameReport, by_gpu: bool, what: &str) {
    assert_eq!(report.ran_on, RanOn::Gpu, "{what}");
    let times = report.gpu_times.unwrap();
    assert!(!times.by_timestamps || (times.masks > 0.0) == by_gpu, "{what}: {times:?}");
}

/// Smoothing needs a map, so the CPU draws the masks of such a session; its first frame is not smoothed yet.
fn by_cpu(threshold: f32) -> SessionOptions {
    SessionOptions::default().with_threshold(Some(threshold)).with_smoothing(0.5)
}

#[test]
fn a_gpus_masks_are_those_of_its_logits() {
    if !has_adapter() {
        return;
    }
    let network = network();
    let inner = Region { x: 5, y: 2, width: 77, height: 45 };
    for fit in [Fit::Stretch, Fit::Letterbox { padding: [0.5; 3] }] {
        let bundle = bundle(&network, fit);
        for precision in [GpuPrecision::F32, GpuPrecision::F16] {
            if precision == GpuPrecision::F16 && !adapters().first().is_some_and(|adapter| adapter.f16) {
                println!("f16 is not tested: the adapter has none");
                continue;
            }
            let model = model(&bundle, on_gpu(precision));
            let mut kept = Vec::new();
            for (index, (width, height, region, orientation)) in [
                (1, 1, None, Orientation::Upright),
                (1, 70, None, Orientation::Upright),
                (201, 133, None, Orientation::Rotated90),
                (100, 50, Some(inner), Orientation::MirroredHorizontally),
                (20, 31, None, Orientation::Rotated270),
                (100, 50, None, Orientation::Upright),
            ]
            .into_iter()
            .enumerate()
            {
                let what = format!("{width} x {height}, {region:?}, {orientation:?}, {fit:?}, {precision:?}");
                let pixels = picture(width, height, index);
                let mut frame = Frame::packed(&pixels, PixelFormat::Gray8, width, height).unwrap();
                frame = frame.with_orientation(orientation).with_mm_per_pixel([0.1, 0.2]).unwrap();
                if let Some(region) = region {
                    frame = frame.with_region(region).unwrap();
                }
                let prompts = prompts(&model, 1 + index % 3);
                let mut session = Session::new(&model, by_cpu(0.5)).unwrap();
                let threshold = median(session.run(&frame, &prompts).unwrap().findings[0].probability());
                let mut session = Session::new(&model, by_cpu(threshold)).unwrap();
                let expected = session.run(&frame, &prompts).unwrap();
                assert_drawn(expected, false, &what);
                let options = SessionOptions::default().with_threshold(Some(threshold));
                let mut session = Session::new(&model, options).unwrap();
                let found = session.run(&frame, &prompts).unwrap();
                assert_drawn(found, true, &what);
                for (found, expected) in found.findings.iter().zip(&expected.findings) {
                    let map = expected.probability();
                    assert_masks(found.mask(), expected.mask(), map, threshold, 1e-6, &what);
                    assert_qualities(found.quality().unwrap(), expected.quality().unwrap(), &what);
                    let (a, b) = (found.measurements(), expected.measurements());
                    assert!((a.mean_probability.unwrap_or(0.0) - b.mean_probability.unwrap_or(0.0)).abs() < 1e-5);
                    assert!(a.area_px.abs_diff(b.area_px) <= 2, "{what}");
                    if found.mask() == expected.mask() {
                        assert_eq!((a.bbox, a.area_mm2, a.longest_diameter), (b.bbox, b.area_mm2, b.longest_diameter));
                    }
                    assert_eq!(found.probability(), map, "{what}");
                }
                kept.extend(found.findings.iter().cloned().zip(expected.findings.iter().cloned()));
            }
            // Copies outlive their session's next frame, with maps that were made before or are made now.
            assert!(kept.iter().all(|(found, expected)| found.clone().probability() == expected.probability()));
            let lesions = kept.iter().filter(|(found, _)| found.quality().unwrap().mean_probability.is_some()).count();
            assert!(lesions >= 6, "{lesions} of {} masks have a pixel", kept.len());
        }
    }
}

#[test]
fn confounders_and_smoothing_are_the_cpus() {
    if !has_adapter() {
        return;
    }
    let bundle = bundle(&network(), Fit::Stretch);
    let model = model(&bundle, on_gpu(GpuPrecision::F32).with_confounders(true));
    let pixels = picture(90, 60, 3);
    let frame = Frame::packed(&pixels, PixelFormat::Gray8, 90, 60).unwrap();
    let mut session = Session::new(&model, SessionOptions::default()).unwrap();
    let report = session.run(&frame, &prompts(&model, 2)).unwrap();
    assert_drawn(report, false, "confounders");
    for finding in &report.findings {
        assert_eq!(finding.mask(), &finding.probability().mask(0.5).unwrap());
        let quality = finding.quality().unwrap();
        assert_eq!(quality.confounder_share.is_some(), quality.mean_probability.is_some());
        assert_eq!(finding.confounders().unwrap().values().dim(), (60, 90));
    }
}

/// Two sessions of one model on two threads, with frames in flight at the same time, sizes that change with every frame
/// and different numbers of prompts: each gets its own results.
#[test]
fn sessions_on_two_threads_get_their_own_results() {
    if !has_adapter() {
        return;
    }
    let bundle = bundle(&network(), Fit::Stretch);
    let model = model(&bundle, on_gpu(GpuPrecision::F32));
    const SIZES: [(usize, usize); 5] = [(64, 48), (301, 33), (7, 90), (160, 120), (33, 33)];
    let of = |thread: usize, frame: usize| {
        let (width, height) = SIZES[(frame + 2 * thread) % SIZES.len()];
        (width, height, picture(width, height, 10 * thread + frame % 10))
    };
    let run = |session: &mut Session, thread: usize, frame: usize| -> Vec<Finding> {
        let (width, height, pixels) = of(thread, frame);
        let frame = Frame::packed(&pixels, PixelFormat::Gray8, width, height).unwrap();
        let report = session.run(&frame, &prompts(&model, 1 + 2 * thread)).unwrap();
        assert_drawn(report, true, "a thread");
        report.findings.clone()
    };
    let mut first = Session::new(&model, SessionOptions::default().with_quality(false)).unwrap();
    let threshold = median(run(&mut first, 0, 3)[0].probability());
    let session = || {
        let options = SessionOptions::default().with_threshold(Some(threshold));
        Session::new(&model, options).unwrap()
    };
    let expected: Vec<Vec<Vec<Finding>>> = (0..2)
        .map(|thread| {
            let mut session = session();
            (0..10).map(|frame| run(&mut session, thread, frame)).collect()
        })
        .collect();
    // Results that are alike would hide a mix-up.
    let areas: Vec<usize> = expected.iter().flatten().flatten().map(|finding| finding.measurements().area_px).collect();
    let mut different = areas.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() * 2 > areas.len(), "{areas:?}");
    std::thread::scope(|scope| {
        for (thread, expected) in expected.iter().enumerate() {
            let (session, run) = (&session, &run);
            scope.spawn(move || {
                let mut session = session();
                for frame in 0..25 {
                    let found = run(&mut session, thread, frame);
                    for (found, expected) in found.iter().zip(&expected[frame % 10]) {
                        let what = format!("thread {thread}, frame {frame}");
                        assert_eq!(found.mask(), expected.mask(), "{what}");
                        let (a, b) = (found.quality().unwrap(), expected.quality().unwrap());
                        assert_eq!((a.mean_probability, a.area_px_at), (b.mean_probability, b.area_px_at), "{what}");
                        if frame % 7 == 0 {
                            assert_eq!(found.probability(), expected.probability(), "{what}");
                        }
                    }
                }
            });
        }
    });
}

/// The device is lost while frames of two threads are in flight: every frame still has its mask.
#[test]
fn a_device_lost_in_flight_costs_no_mask() {
    if !has_adapter() {
        return;
    }
    let bundle = bundle(&network(), Fit::Stretch);
    let (gpu, cpu) = (model(&bundle, on_gpu(GpuPrecision::F32)), model(&bundle, EngineOptions::default()));
    let pixels = picture(130, 70, 4);
    let frame = Frame::packed(&pixels, PixelFormat::Gray8, 130, 70).unwrap();
    let mut session = Session::new(&cpu, SessionOptions::default()).unwrap();
    let threshold = median(session.run(&frame, &prompts(&cpu, 1)).unwrap().findings[0].probability());
    let options = SessionOptions::default().with_threshold(Some(threshold));
    let mut session = Session::new(&cpu, options.clone()).unwrap();
    let expected = session.run(&frame, &prompts(&cpu, 2)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut session = Session::new(&gpu, options.clone()).unwrap();
                let (mut devices, prompts) = (Vec::new(), prompts(&gpu, 2));
                while devices.last() != Some(&RanOn::Cpu) || devices.len() < 4 {
                    let report = session.run(&frame, &prompts).unwrap();
                    devices.push(report.ran_on);
                    for (found, expected) in report.findings.iter().zip(&expected.findings) {
                        assert_masks(found.mask(), expected.mask(), expected.probability(), threshold, 1e-3, "lost");
                        let (a, b) = (found.quality().unwrap(), expected.quality().unwrap());
                        assert!((a.score - b.score).abs() < 0.05, "{a:?}, not {b:?}");
                        let difference = &found.probability().values() - &expected.probability().values();
                        assert!(difference.iter().all(|difference| difference.abs() < 1e-3));
                    }
                    if devices.len() == 3 {
                        gpu.engine().lose_gpu();
                    }
                }
                println!("{devices:?}");
            });
        }
    });
    assert!(gpu.fallback().is_some());
}

#[test]
fn logits_that_are_not_finite_are_an_error() {
    if !has_adapter() {
        return;
    }
    let mut network = network();
    // The layer that yields the sentence's kernel: sums of its products are beyond f32.
    for (name, weight) in &mut network.weights {
        if name.contains("kernel") || name.contains("txt") {
            let largest = weight.iter().fold(0f32, |most, value| most.max(value.abs()));
            weight.mapv_inplace(|value| value / largest.max(f32::MIN_POSITIVE) * 3e38);
        }
    }
    let bundle = bundle(&network, Fit::Stretch);
    let pixels = picture(40, 30, 1);
    let frame = Frame::packed(&pixels, PixelFormat::Gray8, 40, 30).unwrap();
    for options in [EngineOptions::default(), on_gpu(GpuPrecision::F32)] {
        let model = model(&bundle, options);
        let mut session = Session::new(&model, SessionOptions::default()).unwrap();
        let error = session.run(&frame, &prompts(&model, 1)).unwrap_err();
        assert!(matches!(error, SessionError::Mask(MaskError::NotFinite)), "{error}");
        assert_eq!(model.fallback(), None);
    }
}
