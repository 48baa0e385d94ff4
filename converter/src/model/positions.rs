//! Attention-pool positions for another input size.

use ndarray::{Array2, ArrayView2, Axis, s};

/// Resizes an attention pool's position table to `grid` x `grid` positions, bicubically (the kernel with a = -0.75,
/// align_corners = false, edges repeated, as in the published code's interpolation).
///
/// The table has the class token's row, which is kept, and the rows of a square after it. Returns `None` where the rows
/// after the first do not form a square.
pub fn resize_positions(table: ArrayView2<f32>, grid: usize) -> Option<Array2<f32>> {
    let rows = table.nrows().checked_sub(1)?;
    let from = rows.isqrt();
    if from == 0 || from * from != rows || grid == 0 {
        return None;
    }
    if from == grid {
        return Some(table.to_owned());
    }
    let weights = cubic_weights(from, grid);
    let width = table.ncols();
    let source = table.slice(s![1.., ..]);
    let mut resized = Array2::zeros((grid * grid + 1, width));
    resized.row_mut(0).assign(&table.row(0));
    for y in 0..grid {
        for x in 0..grid {
            let mut row = resized.row_mut(1 + y * grid + x);
            for (&(sy, wy), &(sx, wx)) in weights[y].iter().flat_map(|wy| weights[x].iter().map(move |wx| (wy, wx))) {
                row.scaled_add(wy * wx, &source.index_axis(Axis(0), sy * from + sx));
            }
        }
    }
    Some(resized)
}

/// For each of `to` outputs the four inputs that it reads, with their weights.
fn cubic_weights(from: usize, to: usize) -> Vec<[(usize, f32); 4]> {
    const A: f32 = -0.75;
    let near = |d: f32| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0;
    let far = |d: f32| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|output| {
            let position = (output as f32 + 0.5) * scale - 0.5;
            let base = position.floor();
            let t = position - base;
            let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
            std::array::from_fn(|tap| {
                let source = (base as isize + tap as isize - 1).clamp(0, from as isize - 1);
                (source as usize, weights[tap])
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A constant is unchanged, the class token's row is unchanged, and a ramp of seven equals PyTorch 2.9's bicubic
    /// `interpolate` (align_corners = false).
    #[test]
    fn resizes_as_pytorch_does() {
        const RAMP: [f32; 14] = [
            -0.105469, 0.191406, 0.667969, 1.296875, 1.703125, 2.296875, 2.703125, 3.296875, 3.703125, 4.296875,
            4.703125, 5.332031, 5.808594, 6.105469,
        ];
        let table = Array2::from_shape_fn((50, 3), |(row, column)| match (row, column) {
            (0, _) => 9.0,
            (_, 0) => 3.0,
            (row, 1) => ((row - 1) % 7) as f32,
            (row, _) => ((row - 1) / 7) as f32,
        });
        let resized = resize_positions(table.view(), 14).unwrap();
        assert_eq!(resized.dim(), (14 * 14 + 1, 3));
        assert_eq!(resized.row(0), ndarray::arr1(&[9.0; 3]));
        for position in 0..14 * 14 {
            let row = resized.row(position + 1);
            let expected = [3.0, RAMP[position % 14], RAMP[position / 14]];
            assert!(
                row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5),
                "{position}: {row} is not {expected:?}"
            );
        }
    }

    #[test]
    fn refuses_tables_that_are_no_square() {
        assert!(resize_positions(Array2::zeros((0, 4)).view(), 7).is_none());
        assert!(resize_positions(Array2::zeros((1, 4)).view(), 7).is_none());
        assert!(resize_positions(Array2::zeros((49, 4)).view(), 7).is_none());
    }
}
