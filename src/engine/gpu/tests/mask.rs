//! Masks that the shader draws, against those of the CPU from the same logits.

use super::super::context::GpuContext;
use super::super::mask::{MaskBuffers, least_logit_above};
use super::super::read_back::map;
use super::super::shader::{Pipelines, Storage};
use super::rig::{gpu, numbers, storages};
use crate::engine::wanted_masks::{MaskStatistics, WantedMasks};
use crate::frame::{Fit, Frame, Normalisation, Orientation, PixelFormat, Placement, Preprocessor, Region};
use crate::mask::{Probability, Quality, STABILITY_THRESHOLDS};
use ndarray::Array2;
use wgpu::BufferUsages;

const SIZE: usize = 48;

/// Bits and statistics of each sentence.
fn draw(
    gpu: &GpuContext,
    masks: &mut MaskBuffers,
    wanted: &WantedMasks,
    logits: &[Array2<f32>],
) -> Vec<(Vec<u32>, MaskStatistics)> {
    let floats: Vec<f32> = logits.iter().flatten().copied().collect();
    let results = gpu.guarded("test", || {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let buffer = gpu.buffer("logits", 4 * floats.len() as u64, usage)?;
        gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&floats));
        let layout = masks.prepare(gpu, wanted, logits.len())?.unwrap();
        let mut bound = None;
        let ready = masks.bind(gpu, layout, &buffer, logits.len(), &mut bound)?.unwrap();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        ready.record(&mut encoder.begin_compute_pass(&Default::default()));
        let bytes = layout.bytes(logits.len());
        let read_back = gpu.buffer("read back", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        masks.copy(&mut encoder, &read_back, 0, bytes);
        let submission = gpu.queue.submit([encoder.finish()]);
        let mapped = map(&read_back);
        gpu.wait(Some(submission))?;
        mapped.outcome()?;
        let view = read_back.get_mapped_range(..bytes).unwrap();
        let words: Vec<u32> = view.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let drawn = (0..logits.len()).map(|sentence| layout.drawn(&words, sentence).unwrap());
        Ok(drawn.map(|drawn| (drawn.bits.to_vec(), drawn.statistics)).collect())
    });
    results.unwrap()
}

fn placement(width: usize, height: usize, region: Option<Region>, fit: Fit, orientation: Orientation) -> Placement {
    let pixels = vec![0; width * height];
    let mut frame = Frame::packed(&pixels, PixelFormat::Gray8, width, height).unwrap().with_orientation(orientation);
    if let Some(region) = region {
        frame = frame.with_region(region).unwrap();
    }
    let mut preprocessor = Preprocessor::new(SIZE, Normalisation::CLIP, fit).unwrap();
    preprocessor.prepare(&frame, &mut vec![0.0; 3 * SIZE * SIZE]).unwrap()
}

/// From -6 to 6, different for every sentence.
fn logits(count: usize, seed: usize) -> Vec<Array2<f32>> {
    let of = |sentence: usize| {
        let values = numbers(SIZE * SIZE, (seed * 16 + sentence) as u64);
        Array2::from_shape_vec((SIZE, SIZE), values.into_iter().map(|value| 6.0 * value).collect()).unwrap()
    };
    (0..count).map(of).collect()
}

/// The share of a probability within which devices may round to either side of a threshold.
const ROUNDING: f32 = 2e-6;

/// Compares the masks of some sentences, and returns how many pixels differ.
fn check(gpu: &GpuContext, masks: &mut MaskBuffers, wanted: &WantedMasks, logits: &[Array2<f32>], what: &str) -> usize {
    let drawn = draw(gpu, masks, wanted, logits);
    let Region { x: left, y: upper, width, height } = wanted.placement.region();
    let mut differing = 0;
    for (sentence, (logits, (bits, statistics))) in logits.iter().zip(drawn).enumerate() {
        let what = format!("{what}, sentence {sentence}");
        let map = Probability::from_logits(logits.view(), &wanted.placement).unwrap();
        let mask = map.mask(wanted.threshold).unwrap();
        let mut expected = Quality::default();
        expected.measure(&mask, &map, None).unwrap();
        assert_eq!(bits.len(), width.div_ceil(32) * height, "{what}");
        let mut inside = 0;
        for (y, row) in bits.chunks(width.div_ceil(32)).enumerate() {
            for x in 0..32 * row.len() {
                let found = row[x / 32] >> (x % 32) & 1 == 1;
                if x >= width {
                    assert!(!found, "{what}: a pixel beyond the region, row {y}");
                    continue;
                }
                inside += usize::from(found);
                let at = [upper + y, left + x];
                if found != (mask.pixels()[at] == 255) {
                    let p = map.values()[at];
                    assert!((p - wanted.threshold).abs() <= ROUNDING * p, "{what}: {at:?} has {p}");
                    differing += 1;
                }
            }
        }
        assert_eq!(statistics.inside, inside, "{what}");
        for ((found, expected), level) in statistics.above.into_iter().zip(expected.area_px_at).zip(wanted.levels) {
            let near = map.values().iter().filter(|p| (**p - level).abs() <= ROUNDING * level).count();
            assert!(found.abs_diff(expected) <= near, "{what}: {found} pixels above {level}, not {expected}");
        }
        let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-5;
        if let (Some(mean), Some(least)) = (expected.mean_probability, expected.min_probability) {
            assert!(close(statistics.sum / inside as f64, mean), "{what}: {statistics:?}, not {expected:?}");
            assert!(close(statistics.least.into(), least), "{what}: {statistics:?}, not {expected:?}");
        }
        assert!(close(statistics.most.into(), expected.max_probability), "{what}: {statistics:?}, not {expected:?}");
    }
    differing
}

fn masks(gpu: &GpuContext, storage: Storage) -> MaskBuffers {
    MaskBuffers::new(gpu, &mut Pipelines::new(gpu, storage, None)).unwrap()
}

#[test]
fn masks_and_statistics_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let letterbox = Fit::Letterbox { padding: [0.0; 3] };
    let inner = Region { x: 3, y: 5, width: 70, height: 31 };
    let one = Region { x: 128, y: 63, width: 1, height: 1 };
    for storage in storages(&gpu) {
        // One set of buffers for all: they grow, and are then larger than needed.
        let mut masks = masks(&gpu, storage);
        let (mut cases, mut pixels, mut differing) = (0, 0, 0);
        for (width, height, region) in [
            (1, 1, None),
            (1, 90, None),
            (333, 1, None),
            (31, 33, None),
            (SIZE, SIZE, None),
            (7, 9, None),
            (129, 64, Some(inner)),
            (129, 64, Some(one)),
            (500, 301, None),
            (64, 20, None),
        ] {
            let orientations = if width == 500 { &Orientation::ALL[5..7] } else { &Orientation::ALL[..] };
            for fit in [Fit::Stretch, letterbox] {
                for orientation in orientations {
                    let placement = placement(width, height, region, fit, *orientation);
                    let threshold = [0.5, 0.3, 0.72][cases % 3];
                    let wanted = WantedMasks { placement, threshold, levels: STABILITY_THRESHOLDS };
                    let logits = logits(1 + cases % 3, cases);
                    let what = format!("{width} x {height}, {region:?}, {fit:?}, {orientation:?}");
                    differing += check(&gpu, &mut masks, &wanted, &logits, &what);
                    cases += 1;
                    pixels += placement.region().area() * logits.len();
                }
            }
        }
        println!("{storage:?}: {differing} of {pixels} pixels in {cases} cases differ, all at the threshold");
        assert!(differing * 10_000 <= pixels);
    }
}

#[test]
fn empty_full_and_steep_masks() {
    let Some(gpu) = gpu() else { return };
    let mut masks = masks(&gpu, Storage::F32);
    let placement = placement(70, 41, None, Fit::Stretch, Orientation::Upright);
    let filled = |value: f32| Array2::from_elem((SIZE, SIZE), value);
    // Exactly at the threshold is not above it, and e^1000 is beyond f32.
    let logits = [filled(-9.0), filled(9.0), filled(0.0), filled(-1000.0), filled(1000.0)];
    let wanted = WantedMasks { placement, threshold: 0.5, levels: STABILITY_THRESHOLDS };
    assert_eq!(check(&gpu, &mut masks, &wanted, &logits, "constants"), 0);
    let drawn = draw(&gpu, &mut masks, &wanted, &logits);
    let inside: Vec<usize> = drawn.iter().map(|(_, statistics)| statistics.inside).collect();
    assert_eq!(inside, [0, 70 * 41, 0, 0, 70 * 41]);
    // The comparison itself is exact.
    let least = least_logit_above(0.5);
    let drawn = draw(&gpu, &mut masks, &wanted, &[filled(least.next_down()), filled(least)]);
    assert_eq!((drawn[0].1.inside, drawn[1].1.inside), (0, 70 * 41));
    // The same threshold is not searched again, another one is.
    let wanted = WantedMasks { threshold: 1e-4, ..wanted };
    assert_eq!(draw(&gpu, &mut masks, &wanted, &logits)[0].1.inside, 70 * 41);
}

/// The sum of a large mask does not lose what a float can't hold, and is the same each time.
#[test]
fn a_large_mask_has_an_exact_sum() {
    let Some(gpu) = gpu() else { return };
    let mut masks = masks(&gpu, Storage::F32);
    let placement = placement(3000, 1500, None, Fit::Stretch, Orientation::Upright);
    let wanted = WantedMasks { placement, threshold: 0.5, levels: STABILITY_THRESHOLDS };
    let logits = [Array2::from_elem((SIZE, SIZE), 1.0)];
    let first = draw(&gpu, &mut masks, &wanted, &logits).remove(0).1;
    let expected = 4_500_000.0 / (1.0 + (-1f64).exp());
    assert!((first.sum - expected).abs() < 1e-6 * expected && first.inside == 4_500_000, "{first:?}");
    assert_eq!(draw(&gpu, &mut masks, &wanted, &logits).remove(0).1, first);
}

#[test]
fn masks_beyond_the_limit_are_left_to_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let mut masks = masks(&gpu, Storage::F32);
    let pixel = [0];
    let frame = Frame::packed(&pixel, PixelFormat::Gray8, 1, 1).unwrap();
    let mut preprocessor = Preprocessor::new(SIZE, Normalisation::CLIP, Fit::Stretch).unwrap();
    let small = preprocessor.prepare(&frame, &mut vec![0.0; 3 * SIZE * SIZE]).unwrap();
    let wanted = WantedMasks { placement: small, threshold: 0.5, levels: STABILITY_THRESHOLDS };
    let prepare = |masks: &mut MaskBuffers, count| gpu.guarded("test", || masks.prepare(&gpu, &wanted, count)).unwrap();
    assert!(prepare(&mut masks, 256).is_some());
    assert!(prepare(&mut masks, 0).is_none());
    // 36 bytes each.
    assert!(prepare(&mut masks, 2_000_000).is_none());
}
