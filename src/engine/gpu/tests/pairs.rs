//! Two products in one dispatch.

use super::super::plan::GpuPlan;
use super::super::program::Program;
use super::super::search::search;
use super::super::shader::{Pipelines, Storage};
use super::super::tile::{Abilities, Arithmetic, Tile};
use super::super::tile_file::{Measured, TileChoices};
use super::plain;
use super::rig::{Always, encode, gpu, numbers, read_after, storages, stored, tensor, weight};
use crate::engine::WeightSource;
use crate::graph::Weights;
use crate::lower::steps::{Destination, Filters, Step, StepKind, StepList, TensorId, WeightLayout};

struct Case {
    size: [usize; 3],
    middle: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    residual: bool,
    relu: bool,
}

const CASES: [Case; 5] = [
    Case { size: [1, 1, 4], middle: 4, out: 5, kernel: 1, stride: 1, residual: false, relu: false },
    Case { size: [9, 7, 12], middle: 12, out: 44, kernel: 3, stride: 1, residual: true, relu: true },
    Case { size: [11, 6, 20], middle: 33, out: 70, kernel: 3, stride: 1, residual: false, relu: true },
    Case { size: [9, 9, 36], middle: 64, out: 130, kernel: 3, stride: 2, residual: true, relu: true },
    Case { size: [13, 5, 3], middle: 61, out: 3, kernel: 7, stride: 2, residual: false, relu: false },
];

fn step(
    name: &str,
    weights: [&str; 2],
    sizes: [usize; 3],
    more: [usize; 2],
    flags: [bool; 2],
    reads: Vec<usize>,
    y: usize,
) -> Step {
    let ([out_channels, in_channels, kernel], [stride, padding], [residual, relu]) = (sizes, more, flags);
    Step {
        name: name.into(),
        kind: StepKind::Convolution {
            filters: Filters {
                weight: weights[0].into(),
                layout: WeightLayout::Convolution,
                bias: Some(weights[1].into()),
                out_channels,
                kernel,
                in_channels,
            },
            stride,
            padding,
            map: None,
            residual,
            relu,
        },
        reads: reads.into_iter().map(TensorId).collect(),
        writes: Some(Destination { tensor: TensorId(y), first_channel: 0 }),
        multiply_accumulates: 0,
    }
}

/// The two steps of a case, weights, inputs and the output by plain loops.
fn trial(case: &Case, storage: Storage) -> (StepList, Weights, Vec<Vec<f32>>, Vec<f32>, [usize; 3]) {
    let Case { size, middle, out, kernel, stride, residual, relu } = *case;
    let [height, width, channels] = size;
    let own = |count: usize, seed: u64| stored(storage, &numbers(count, seed));
    let x = own(height * width * channels, 1);
    let (first, first_bias) = (own(middle * channels * kernel * kernel, 2), numbers(middle, 3));
    let (second, second_bias) = (own(out * middle, 4), numbers(out, 5));
    let of = plain::Convolution { weights: &first, bias: &first_bias, kernel, stride, padding: kernel / 2 };
    let (mut between, [out_height, out_width, _]) = plain::convolution(&x, size, &of);
    between.iter_mut().for_each(|value| *value = value.max(0.0));
    let between = stored(storage, &between);
    let of = plain::Convolution { weights: &second, bias: &second_bias, kernel: 1, stride: 1, padding: 0 };
    let (mut expected, extent) = plain::convolution(&between, [out_height, out_width, middle], &of);
    let added = own(out * out_height * out_width, 6);
    for (value, added) in expected.iter_mut().zip(&added) {
        *value += if residual { *added } else { 0.0 };
        *value = if relu { value.max(0.0) } else { *value };
    }
    let mut reads = vec![1];
    reads.extend(residual.then_some(2));
    let list = StepList {
        tensors: vec![
            tensor(height, width, channels),
            tensor(out_height, out_width, middle),
            tensor(out_height, out_width, out),
            tensor(out_height, out_width, out),
        ],
        steps: vec![
            step("first", ["a", "b"], [middle, channels, kernel], [stride, kernel / 2], [false, true], vec![0], 1),
            step("second", ["c", "d"], [out, middle, 1], [1, 0], [residual, relu], reads, 3),
        ],
        outputs: vec![TensorId(3)],
    };
    let weights = Weights::from([
        ("a".into(), weight(&[middle, channels, kernel, kernel], first)),
        ("b".into(), weight(&[middle], first_bias)),
        ("c".into(), weight(&[out, middle, 1, 1], second)),
        ("d".into(), weight(&[out], second_bias)),
    ]);
    let inputs = [x].into_iter().chain(residual.then_some(added)).collect();
    (list, weights, inputs, expected, extent)
}

fn run(program: &Program, storage: Storage, inputs: &[Vec<f32>], [height, width, channels]: [usize; 3]) -> Vec<f32> {
    let gpu = &program.gpu;
    let slot = |id: usize| &program.slots[program.plan.slots.of_tensor[id].unwrap()];
    for (id, values) in [0, 2].into_iter().zip(inputs) {
        let channels = program.plan.extents[id].channels;
        gpu.queue.write_buffer(slot(id), 0, &encode(storage, values, channels));
    }
    let bytes = (height * width * channels.next_multiple_of(4)) as u64 * storage.quad_bytes() / 4;
    read_after(program, slot(3), bytes)
}

#[test]
fn pairs_equal_two_products() {
    let Some(gpu) = gpu() else { return };
    let tile = Tile { pixels: 64, channels: 32, parts: 1, arithmetic: Arithmetic::F32 };
    for (number, case) in CASES.iter().enumerate() {
        for storage in storages(&gpu) {
            let (list, weights, inputs, expected, extent) = trial(case, storage);
            let source = WeightSource::Memory(&weights);
            let found = [false, true].map(|pairs| {
                let plan = GpuPlan::new(&list, &source, storage, &Always { tile, pairs }).unwrap();
                assert_eq!((plan.pairs.as_slice(), plan.joined.len()), ([0].as_slice(), usize::from(pairs)));
                let mut program = Program::new(gpu.clone(), plan, &source).unwrap();
                program.make_ready(&mut Pipelines::new(&gpu, storage, None)).unwrap();
                run(&program, storage, &inputs, extent)
            });
            let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
            let allowed = 1e-6 + largest * if storage == Storage::F32 { 1e-5 } else { 2e-3 };
            for found in found {
                let pixels = found.chunks_exact(case.out.next_multiple_of(4)).zip(expected.chunks_exact(case.out));
                for (pixel, (found, expected)) in pixels.enumerate() {
                    for (channel, (found, expected)) in found.iter().zip(expected).enumerate() {
                        let difference = (found - expected).abs();
                        assert!(difference <= allowed, "case {number}, {pixel}, {channel}: {found} for {expected}");
                    }
                }
            }
        }
    }
}

/// What was measured says for each pair whether it is one dispatch, and the result is the same either way.
#[test]
fn a_search_decides_about_pairs() {
    let Some(gpu) = gpu() else { return };
    let storage = Storage::F32;
    let (list, weights, inputs, expected, extent) = trial(&CASES[1], storage);
    let source = WeightSource::Memory(&weights);
    let abilities = Abilities { busy_groups: 1, ..gpu.abilities(storage) };
    let plan = GpuPlan::new(&list, &source, storage, &abilities).unwrap();
    let mut program = Program::new(gpu.clone(), plan, &source).unwrap();
    let mut pipelines = Pipelines::new(&gpu, storage, None);
    let mut choices = TileChoices::default();
    search(&mut program, &mut pipelines, abilities, &mut choices).unwrap();
    let [first, second] = program.plan.pair(0).unwrap();
    let chosen = choices.pair(first, second, storage).expect("a choice");
    program.plan.choose(&Measured { choices: &choices, storage, abilities });
    assert_eq!(program.plan.joined.len(), usize::from(chosen));
    program.make_ready(&mut pipelines).unwrap();
    let found = run(&program, storage, &inputs, extent);
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{chosen}");
}
