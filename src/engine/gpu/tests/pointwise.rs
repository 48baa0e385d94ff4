//! Pooling, gates, sums, attention.

use super::plain::{attention, average_pool, sigmoid};
use super::rig::{Trial, check, gpu, numbers, storages, stored, tensor, weight};
use crate::graph::Weights;
use crate::lower::steps::StepKind;

fn trial(kind: StepKind, reads: usize, [height, width, channels]: [usize; 3]) -> Trial {
    Trial {
        kind,
        reads: vec![tensor(height, width, channels); reads],
        writes: tensor(height, width, channels),
        first_channel: 0,
        weights: Weights::new(),
        bundle: None,
    }
}

const SIZES: [[usize; 3]; 4] = [[1, 1, 1], [3, 5, 7], [8, 9, 64], [1, 50, 18]];

#[test]
fn pools() {
    let Some(gpu) = gpu() else { return };
    for (size, window) in [([2, 2, 1], 2), ([6, 4, 7], 2), ([9, 3, 65], 3), ([4, 1, 3], 1), ([12, 8, 16], 4)] {
        for storage in storages(&gpu) {
            let x = stored(storage, &numbers(size.iter().product(), 5));
            let expected = average_pool(&x, size, window);
            let mut trial = trial(StepKind::AveragePool { size: window }, 1, size);
            trial.writes = tensor(size[0] / window, size[1] / window, size[2]);
            check(&gpu, storage, &trial, &[x], &expected, &format!("pool of {size:?}"));
        }
    }
}

#[test]
fn gates() {
    let Some(gpu) = gpu() else { return };
    for size in SIZES {
        for complement in [false, true] {
            for storage in storages(&gpu) {
                let count = size.iter().product();
                let x = stored(storage, &numbers(count, 6));
                // Up to where the sigmoid is 0 or 1.
                let logits: Vec<f32> = numbers(count, 7).iter().map(|value| 200.0 * value.powi(5)).collect();
                let logits = stored(storage, &logits);
                let mask = |logit: f32| if complement { 1.0 - sigmoid(logit) } else { sigmoid(logit) };
                let expected: Vec<f32> = x.iter().zip(&logits).map(|(x, logit)| x * mask(*logit)).collect();
                let trial = trial(StepKind::Gate { complement, mask_quantisation: None }, 2, size);
                check(&gpu, storage, &trial, &[x, logits], &expected, &format!("gate of {size:?}"));
            }
        }
    }
}

#[test]
fn sums_and_positions() {
    let Some(gpu) = gpu() else { return };
    for size in SIZES {
        for storage in storages(&gpu) {
            let count: usize = size.iter().product();
            let [a, b] = [8, 9].map(|seed| stored(storage, &numbers(count, seed)));
            for relu in [false, true] {
                let sum = |(a, b): (&f32, &f32)| if relu { (a + b).max(0.0) } else { a + b };
                let expected: Vec<f32> = a.iter().zip(&b).map(sum).collect();
                if expected.iter().any(|value| *value != 0.0) {
                    let trial = trial(StepKind::Add { relu }, 2, size);
                    check(&gpu, storage, &trial, &[a.clone(), b.clone()], &expected, &format!("sum of {size:?}"));
                }
            }
            let skip = 2;
            let rows = size[0] * size[1] + skip;
            let table = stored(storage, &numbers(rows * size[2], 10));
            let added = &table[skip * size[2]..];
            let expected: Vec<f32> = a.iter().zip(added).map(|(a, b)| a + b).collect();
            let mut trial = trial(StepKind::AddPositions { table: "p".into(), skip }, 1, size);
            trial.weights = Weights::from([("p".into(), weight(&[rows, size[2]], table.clone()))]);
            check(&gpu, storage, &trial, &[a], &expected, &format!("positions of {size:?}"));
        }
    }
}

#[test]
fn attentions() {
    let Some(gpu) = gpu() else { return };
    for (size, heads) in [([1, 1, 4], 1), ([7, 7, 64], 2), ([1, 70, 24], 3), ([9, 15, 256], 4), ([2, 3, 8], 2)] {
        for causal in [false, true] {
            for storage in storages(&gpu) {
                let count = size.iter().product();
                let [q, k, v] = [11, 12, 13].map(|seed| stored(storage, &numbers(count, seed)));
                // Scores far enough apart that one key dominates.
                let q: Vec<f32> = q.iter().map(|value| 4.0 * value).collect();
                let expected = attention(&q, &k, &v, size[2], heads, causal);
                let trial = trial(StepKind::Attention { heads, causal }, 3, size);
                check(&gpu, storage, &trial, &[q, k, v], &expected, &format!("attention of {size:?}"));
            }
        }
    }
}
