//! Convolutions, linear layers, projections.

use super::super::search::search;
use super::super::shader::{Pipelines, Storage};
use super::super::tile::{Abilities, Tile};
use super::super::tile_file::{Measured, TileChoices};
use super::plain;
use super::rig::{Always, Trial, check, check_tile, gpu, numbers, program, storages, stored, tensor, weight};
use crate::bundle::{Bundle, BundleBuilder, ModelDescription, Precision, Provenance, StoredTensor};
use crate::frame::{Fit, Normalisation};
use crate::graph::{GraphBuilder, Op, Shape, Weights};
use crate::lower::steps::{Filters, StepKind, WeightLayout};
use std::sync::Arc;

struct Case {
    size: [usize; 3],
    out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    map: bool,
    residual: bool,
    relu: bool,
    /// Channels of the written tensor before these, and after.
    around: [usize; 2],
}

const fn case(size: [usize; 3], out: usize, kernel: usize, stride: usize) -> Case {
    let padding = kernel / 2;
    Case { size, out, kernel, stride, padding, map: false, residual: false, relu: false, around: [0, 0] }
}

/// Shapes that fill no tile: one pixel, one wide, odd numbers, tails in each direction.
const CASES: [Case; 13] = [
    case([1, 1, 1], 1, 1, 1),
    case([1, 17, 3], 5, 1, 1),
    // The stem.
    case([9, 11, 3], 7, 3, 2),
    case([5, 1, 6], 4, 3, 1),
    Case { relu: true, ..case([7, 7, 20], 66, 1, 1) },
    Case { residual: true, relu: true, ..case([8, 9, 17], 33, 3, 1) },
    Case { map: true, ..case([3, 5, 8], 10, 1, 1) },
    Case { map: true, residual: true, relu: true, ..case([13, 10, 36], 130, 1, 1) },
    Case { around: [8, 4], ..case([4, 3, 12], 16, 1, 1) },
    Case { around: [4, 0], ..case([4, 3, 12], 7, 3, 1) },
    Case { padding: 0, ..case([6, 6, 5], 9, 3, 1) },
    Case { padding: 0, ..case([7, 9, 10], 6, 1, 2) },
    Case { residual: true, ..case([3, 3, 40], 12, 3, 1) },
];

/// The step of a case, its inputs and its output by plain loops.
fn trial(number: usize, storage: Storage) -> (Trial, Vec<Vec<f32>>, Vec<f32>) {
    let Case { size, out, kernel, stride, padding, map, residual, relu, around } = CASES[number];
    let [height, width, channels] = size;
    let seed = 10 * number as u64;
    let own = |count: usize, seed: u64| stored(storage, &numbers(count, seed));
    let x = own(height * width * channels, seed);
    let weights = own(out * channels * kernel * kernel, seed + 1);
    let bias = numbers(out, seed + 2);
    let of = plain::Convolution { weights: &weights, bias: &bias, kernel, stride, padding };
    let (mut expected, [out_height, out_width, _]) = plain::convolution(&x, size, &of);
    let pixels = out_height * out_width;
    let map_values = own(out * pixels, seed + 3);
    let added = own(out * pixels, seed + 4);
    for (index, value) in expected.iter_mut().enumerate() {
        let (pixel, channel) = (index / out, index % out);
        *value += if map { map_values[channel * pixels + pixel] } else { 0.0 };
        *value += if residual { added[index] } else { 0.0 };
        *value = if relu { value.max(0.0) } else { *value };
    }
    let trial = Trial {
        kind: StepKind::Convolution {
            filters: Filters {
                weight: "w".into(),
                layout: WeightLayout::Convolution,
                bias: Some("b".into()),
                out_channels: out,
                kernel,
                in_channels: channels,
            },
            stride,
            padding,
            map: map.then(|| "m".into()),
            residual,
            relu,
        },
        reads: [tensor(height, width, channels)]
            .into_iter()
            .chain(residual.then(|| tensor(out_height, out_width, out)))
            .collect(),
        writes: tensor(out_height, out_width, around[0] + out + around[1]),
        first_channel: around[0],
        weights: Weights::from([
            ("w".into(), weight(&[out, channels, kernel, kernel], weights)),
            ("b".into(), weight(&[out], bias)),
            ("m".into(), weight(&[out, out_height, out_width], map_values)),
        ]),
        bundle: None,
    };
    let inputs = [x].into_iter().chain(residual.then_some(added)).collect();
    (trial, inputs, expected)
}

#[test]
fn convolutions_of_any_shape() {
    let Some(gpu) = gpu() else { return };
    for number in 0..CASES.len() {
        for storage in storages(&gpu) {
            let (trial, inputs, expected) = trial(number, storage);
            check(&gpu, storage, &trial, &inputs, &expected, &format!("convolution {number}"));
        }
    }
}

/// Each tile on some of the shapes, and each shape in some of the tiles.
#[test]
fn tiles_of_any_size() {
    let Some(gpu) = gpu() else { return };
    for storage in storages(&gpu) {
        let tiles: Vec<Tile> = Tile::all(gpu.abilities(storage)).collect();
        let count = tiles.len().max(CASES.len());
        for turn in 0..count {
            let (number, tile) = (turn % CASES.len(), tiles[turn % tiles.len()]);
            let (trial, inputs, expected) = trial(number, storage);
            let what = format!("convolution {number}, {tile:?}");
            check_tile(&gpu, storage, &trial, &inputs, &expected, &what, &Always { tile, pairs: false });
        }
    }
}

/// A tile that was measured is one of those that can be, and its result is right.
#[test]
fn a_search_finds_a_tile_for_each_product() {
    let Some(gpu) = gpu() else { return };
    for storage in storages(&gpu) {
        // A device that several groups fill, so that divided products are tried too.
        let abilities = Abilities { busy_groups: 2, most_shared_bytes: 9 << 10, ..gpu.abilities(storage) };
        let (trial, inputs, expected) = trial(12, storage);
        let mut program = program(&gpu, storage, &trial, &abilities);
        let mut choices = TileChoices::default();
        let mut pipelines = Pipelines::new(&gpu, storage, None);
        search(&mut program, &mut pipelines, abilities, &mut choices).unwrap();
        let choose = Measured { choices: &choices, storage, abilities };
        check_tile(&gpu, storage, &trial, &inputs, &expected, "the measured tile", &choose);
        // What is known is not measured again.
        let known = choices.clone();
        let compiled = pipelines.len();
        search(&mut program, &mut Pipelines::new(&gpu, storage, None), abilities, &mut choices).unwrap();
        assert_eq!(choices, known);
        assert!(compiled > 1);
    }
}

/// Weights that are rows of a larger matrix, or transposed.
#[test]
fn weights_lie_in_any_way() {
    let Some(gpu) = gpu() else { return };
    let (pixels, channels, out, first_row) = (5, 9, 6, 4);
    for layout in [WeightLayout::Rows { first_row }, WeightLayout::Columns] {
        for storage in storages(&gpu) {
            let x = stored(storage, &numbers(pixels * channels, 1));
            let rows = stored(storage, &numbers((first_row + out) * channels, 2));
            let bias = numbers(first_row + out, 3);
            let (own, own_bias, matrix, shape) = match layout {
                WeightLayout::Columns => {
                    let own = rows[..out * channels].to_vec();
                    let turned = (0..channels * out).map(|index| own[index % out * channels + index / out]);
                    (own.clone(), vec![0.0; out], turned.collect(), [channels, out])
                }
                _ => {
                    let own = rows[first_row * channels..].to_vec();
                    (own, bias[first_row..].to_vec(), rows, [first_row + out, channels])
                }
            };
            let of = plain::Convolution { weights: &own, bias: &own_bias, kernel: 1, stride: 1, padding: 0 };
            let (expected, _) = plain::convolution(&x, [1, pixels, channels], &of);
            let has_bias = layout != WeightLayout::Columns;
            let trial = Trial {
                kind: StepKind::Convolution {
                    filters: Filters {
                        weight: "w".into(),
                        layout,
                        bias: has_bias.then(|| "b".into()),
                        out_channels: out,
                        kernel: 1,
                        in_channels: channels,
                    },
                    stride: 1,
                    padding: 0,
                    map: None,
                    residual: false,
                    relu: false,
                },
                reads: vec![tensor(1, pixels, channels)],
                writes: tensor(1, pixels, out),
                first_channel: 0,
                weights: Weights::from([
                    ("w".into(), weight(&shape, matrix)),
                    ("b".into(), weight(&[first_row + out], bias)),
                ]),
                bundle: None,
            };
            check(&gpu, storage, &trial, &[x], &expected, &format!("{layout:?}"));
        }
    }
}

/// A bundle of one convolution in int8.
fn int8_bundle(
    [height, width, channels]: [usize; 3],
    shape: [usize; 4],
    integers: &[i8],
    scales: &[f32],
) -> Arc<Bundle> {
    let [out_channels, _, kernel, _] = shape;
    let mut g = GraphBuilder::new();
    let x = g.input("image", Shape::Map { channels, height, width }).unwrap();
    let op = Op::Conv { weight: "w".into(), bias: None, out_channels, kernel, stride: 1, padding: kernel / 2 };
    let y = g.add(op, &[x]).unwrap();
    let model = ModelDescription {
        name: "one".into(),
        edition: "tiny".into(),
        input_size: 32,
        normalisation: Normalisation::CLIP,
        fit: Fit::Stretch,
        threshold: 0.5,
        trained: false,
        gmac: 0.0,
        provenance: Provenance::default(),
        calibration: None,
    };
    let zeros = Weights::from([("w".into(), weight(&shape, vec![0.0; integers.len()]))]);
    let builder = BundleBuilder::new(model, g.finish(&[y]), &zeros, Precision::Int8).unwrap();
    let tensors = StoredTensor::int8("w", &shape, integers, scales, true).unwrap();
    let builder = tensors.into_iter().fold(builder, BundleBuilder::tensor);
    Arc::new(Bundle::from_bytes(builder.to_bytes().unwrap()).unwrap())
}

#[test]
fn integers_of_any_shape() {
    let Some(gpu) = gpu() else { return };
    for (size, out, kernel) in [([3, 4, 1], 1, 1), ([5, 6, 5], 7, 3), ([2, 9, 18], 33, 1), ([4, 4, 20], 66, 3)] {
        for storage in storages(&gpu) {
            let [height, width, channels] = size;
            let each = channels * kernel * kernel;
            let integers: Vec<i8> = numbers(out * each, 50).iter().map(|value| (127.9 * value) as i8).collect();
            let scales: Vec<f32> = numbers(out, 51).iter().map(|value| 0.001 + 0.02 * value.abs()).collect();
            let weights: Vec<f32> =
                integers.iter().enumerate().map(|(index, value)| f32::from(*value) * scales[index / each]).collect();
            let x = stored(storage, &numbers(height * width * channels, 52));
            let (bias, padding) = (vec![0.0; out], kernel / 2);
            let of = plain::Convolution { weights: &weights, bias: &bias, kernel, stride: 1, padding };
            let (expected, _) = plain::convolution(&x, size, &of);
            let trial = Trial {
                kind: StepKind::Convolution {
                    filters: Filters {
                        weight: "w".into(),
                        layout: WeightLayout::Convolution,
                        bias: None,
                        out_channels: out,
                        kernel,
                        in_channels: channels,
                    },
                    stride: 1,
                    padding,
                    map: None,
                    residual: false,
                    relu: false,
                },
                reads: vec![tensor(height, width, channels)],
                writes: tensor(height, width, out),
                first_channel: 0,
                weights: Weights::new(),
                bundle: Some(int8_bundle(size, [out, channels, kernel, kernel], &integers, &scales)),
            };
            check(&gpu, storage, &trial, &[x], &expected, &format!("integers of {size:?}"));
        }
    }
}
