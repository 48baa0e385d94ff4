//! Compares each function on each instruction set of this machine with its formula in f64, at lengths with every kind
//! of tail.

use super::*;
use crate::Kernels;

const LENGTHS: [usize; 9] = [1, 2, 3, 7, 15, 16, 17, 33, 130];

fn numbers(length: usize, seed: usize) -> Vec<f32> {
    (0..length).map(|index| ((index * 7919 + seed * 104_729) % 2003) as f32 / 250.0 - 4.0).collect()
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 7919 + seed * 104_729) % 256) as u8).collect()
}

fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() <= tolerance, "{index}: {found} is not {expected}");
    }
}

fn sigmoid_f64(x: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(x)).exp())
}

#[test]
fn activations() {
    for kernels in Kernels::available() {
        for length in LENGTHS {
            let (x, logits) = (numbers(length, 1), numbers(length, 2));
            let mut y = vec![0.0; length];
            for complement in [false, true] {
                gate_f32(kernels, &x, &logits, complement, &mut y);
                let mask = |logit: f32| if complement { 1.0 - sigmoid_f64(logit) } else { sigmoid_f64(logit) };
                let expected: Vec<f64> = x.iter().zip(&logits).map(|(x, l)| f64::from(*x) * mask(*l)).collect();
                assert_close(&y, &expected, 2e-6);
            }
            quick_gelu(kernels, &x, &mut y);
            let expected: Vec<f64> = x.iter().map(|x| f64::from(*x) * sigmoid_f64(1.702 * x)).collect();
            assert_close(&y, &expected, 2e-6);
            let mut row = x.clone();
            softmax(kernels, &mut row, 0.5);
            let powers: Vec<f64> = x.iter().map(|x| (0.5 * f64::from(*x)).exp()).collect();
            let sum: f64 = powers.iter().sum();
            assert_close(&row, &powers.iter().map(|power| power / sum).collect::<Vec<f64>>(), 1e-6);
        }
    }
}

#[test]
fn bytes_and_floats() {
    let quantisation = ScaleZeroPoint { scale: 0.03, zero_point: 117.0 };
    for kernels in Kernels::available() {
        for length in LENGTHS {
            let stored = bytes(length, 3);
            let mut values = vec![0.0; length];
            dequantize(kernels, &stored, quantisation, &mut values);
            let expected: Vec<f64> = stored.iter().map(|s| (f64::from(*s) - 117.0) * 0.03).collect();
            assert_close(&values, &expected, 1e-6);
            let mut again = vec![0; length];
            quantize(kernels, &values, quantisation, &mut again);
            assert_eq!(again, stored);
            quantize(kernels, &vec![1e9; length], quantisation, &mut again);
            assert!(again.iter().all(|byte| *byte == 255));
            quantize(kernels, &vec![-1e9; length], quantisation, &mut again);
            assert!(again.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn pools() {
    for kernels in Kernels::available() {
        for (columns, channels, size) in [(1, 1, 2), (3, 5, 2), (4, 64, 2), (2, 130, 3)] {
            let rows: Vec<Vec<f32>> = (0..size).map(|row| numbers(columns * size * channels, row)).collect();
            let views: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let mean = |of: &dyn Fn(usize, usize) -> f64, column: usize, channel: usize| {
                let places = (0..size).flat_map(|row| (0..size).map(move |place| (row, place)));
                let values = places.map(|(row, place)| of(row, (column * size + place) * channels + channel));
                values.sum::<f64>() / (size * size) as f64
            };
            let at = |row: usize, index: usize| f64::from(rows[row][index]);
            let expected: Vec<f64> =
                (0..columns * channels).map(|index| mean(&at, index / channels, index % channels)).collect();
            let stored: Vec<Vec<u8>> = (0..size).map(|row| bytes(columns * size * channels, row)).collect();
            let stored_views: Vec<&[u8]> = stored.iter().map(Vec::as_slice).collect();
            let quantisation = ScaleZeroPoint { scale: 0.5, zero_point: 10.0 };
            let at = |row: usize, index: usize| f64::from(stored[row][index]);
            let expected_u8: Vec<f64> =
                (0..columns * channels).map(|index| mean(&at, index / channels, index % channels)).collect();
            // Pixels of their own, then a part of wider ones, whose other channels stay.
            for (first, y_channels) in [(0, channels), (0, channels + 3), (2, channels + 2)] {
                let part = |index: usize| index / channels * y_channels + first + index % channels;
                let mut y = vec![77.0; columns * y_channels];
                average_pool_f32(kernels, &views, channels, &mut y[first..], y_channels);
                let found: Vec<f32> = (0..columns * channels).map(|index| y[part(index)]).collect();
                assert_close(&found, &expected, 1e-5);
                assert_eq!(y.iter().filter(|value| **value == 77.0).count(), columns * (y_channels - channels));

                let mut y = vec![200; columns * y_channels];
                average_pool_u8(
                    kernels,
                    &stored_views,
                    quantisation,
                    channels,
                    &mut y[first..],
                    y_channels,
                    quantisation,
                );
                for (index, expected) in expected_u8.iter().enumerate() {
                    let found = y[part(index)];
                    assert!((f64::from(found) - expected).abs() <= 0.5 + 1e-4, "{found} is not {expected}");
                }
                let others = (0..y.len()).filter(|index| !(first..first + channels).contains(&(index % y_channels)));
                assert!(others.into_iter().all(|index| y[index] == 200));
            }
        }
    }
}

#[test]
fn norms() {
    for kernels in Kernels::available() {
        for length in LENGTHS {
            let (x, scale, shift) = (numbers(length, 1), numbers(length, 2), numbers(length, 3));
            let mut y = vec![0.0; length];
            layer_norm(kernels, &x, &scale, &shift, 1e-5, &mut y);
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / length as f64;
            let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / length as f64;
            let expected: Vec<f64> = (x.iter().zip(&scale).zip(&shift))
                .map(|((x, scale), shift)| {
                    (f64::from(*x) - mean) / (variance + 1e-5).sqrt() * f64::from(*scale) + f64::from(*shift)
                })
                .collect();
            assert_close(&y, &expected, 1e-4);
        }
    }
}

/// Bit for bit: preprocessing must not depend on the CPU.
#[test]
fn weighted_rows() {
    for kernels in Kernels::available() {
        for length in LENGTHS {
            let (row, start) = (bytes(2 * length, 5), numbers(length, 6));
            let mut sums = start.clone();
            add_weighted_u8(kernels, 0.37, &row[..length], &mut sums);
            let expected: Vec<f32> = start.iter().zip(&row).map(|(sum, x)| sum + 0.37 * f32::from(*x)).collect();
            assert_eq!(sums, expected);
            let mut sums = start.clone();
            add_weighted_u16(kernels, 0.37, &row, &mut sums);
            let samples = row.chunks(2).map(|pair| f32::from(u16::from_le_bytes([pair[0], pair[1]])));
            let expected: Vec<f32> = start.iter().zip(samples).map(|(sum, x)| sum + 0.37 * x).collect();
            assert_eq!(sums, expected);
        }
    }
}

#[test]
fn rows_between_rows() {
    for kernels in Kernels::available() {
        for length in LENGTHS {
            let (upper, lower) = (numbers(length, 5), numbers(length, 6));
            let between = |fraction: f64| -> Vec<f64> {
                let pairs = upper.iter().zip(&lower).map(|(u, l)| (f64::from(*u), f64::from(*l)));
                pairs.map(|(upper, lower)| upper + (lower - upper) * fraction).collect()
            };
            let mut y = vec![0.0; length];
            for fraction in [0.0, 0.25, 1.0] {
                mix_rows(kernels, &upper, &lower, fraction, &mut y);
                let expected = between(f64::from(fraction));
                assert_close(&y, &expected, 1e-6);
                mix_logits(kernels, &upper, &lower, fraction, &mut y);
                let expected: Vec<f64> = expected.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
                assert_close(&y, &expected, 1e-6);
            }
        }
    }
}

/// Bit for bit: products of bytes are stored again, and must not depend on the CPU.
#[test]
fn blends() {
    let weights: [f32; TERMS] = [0.3, -0.7, 1.1, 0.123, -0.5, 0.9];
    for kernels in Kernels::available() {
        for channels in [1, 3, 4, 7, 32] {
            let columns = 3;
            let stored: Vec<Vec<u8>> = (0..TERMS).map(|term| bytes(columns * 9 * channels, term)).collect();
            let products: Vec<Vec<f32>> = (0..TERMS).map(|term| numbers(columns * 9 * channels, term)).collect();
            let first = |term: usize| 3 * (term % 3) * channels;
            let expected = |of: &dyn Fn(usize, usize) -> f32, [offset, scale]: [f32; 2]| -> Vec<f32> {
                let sum = |index: usize| {
                    let at = index / (3 * channels) * 9 * channels + index % (3 * channels);
                    let [a, b, c, d, e, f] = std::array::from_fn(|term| of(term, at + first(term)));
                    let [wa, wb, wc, wd, we, wf] = weights;
                    let sums = [wb.mul_add(b, wa.mul_add(a, offset)), wd.mul_add(d, wc * c), wf.mul_add(f, we * e)];
                    (sums[0] + sums[1] + sums[2]) * scale
                };
                (0..columns * 3 * channels).map(sum).collect()
            };
            let mut y = vec![0.0; columns * 3 * channels];
            let row_terms: [RowTerm<'_, f32>; TERMS] = std::array::from_fn(|term| RowTerm {
                products: &products[term],
                first: first(term),
                weight: weights[term],
            });
            blend_rows_f32(kernels, &row_terms, channels, &mut y);
            assert_eq!(y, expected(&|term, index| products[term][index], [0.0, 1.0]), "{}", kernels.isa());
            let mixed = y.clone();
            let row_terms: [RowTerm<'_, u8>; TERMS] = std::array::from_fn(|term| RowTerm {
                products: &stored[term],
                first: first(term),
                weight: weights[term],
            });
            blend_rows_u8(kernels, &row_terms, channels, 117.0, 0.03, &mut y);
            let total: f32 = weights.iter().sum();
            let of_bytes = expected(&|term, index| f32::from(stored[term][index]), [-117.0 * total, 0.03]);
            assert_eq!(y, of_bytes, "{}", kernels.isa());

            let bias = numbers(channels, 7);
            let terms = ColumnTerms { starts: std::array::from_fn(|term| (term * channels) as u32), weights };
            for relu in [false, true] {
                let mut pixel = vec![0.0; channels];
                blend_columns(kernels, &[terms], &mixed, &bias, relu, &mut pixel);
                let sum = |index: usize| {
                    let [a, b, c, d, e, f] = std::array::from_fn(|term| mixed[term * channels + index]);
                    let [wa, wb, wc, wd, we, wf] = weights;
                    let start = wb.mul_add(b, wa.mul_add(a, bias[index]));
                    let sum = start + wd.mul_add(d, wc * c) + wf.mul_add(f, we * e);
                    if relu { sum.max(0.0) } else { sum }
                };
                assert_eq!(pixel, (0..channels).map(sum).collect::<Vec<f32>>(), "{}", kernels.isa());
            }
        }
    }
}
