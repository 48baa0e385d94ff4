//! Attention-pool positions for another input size.

use ndarray::{Array2, ArrayView2, Axis, s};

/// Resizes an attention pool's position table to `grid` x `grid` positions, bicubically (the kernel with a = -0.75,
/// align_corners = false, edges repeated: what the published code's interpolation does).
///
/// The table holds the class token's row, which is kept, and a square grid's rows after it. Returns `None` where the
/// rows after the first make no square.
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

    /// A cubic kernel reproduces a constant everywhere, and a ramp away from the repeated edges.
    #[test]
    fn keeps_constants_and_ramps() {
        let table = Array2::from_shape_fn((50, 2), |(row, column)| match (row, column) {
            (0, _) => 9.0,
            (_, 0) => 3.0,
            (row, _) => ((row - 1) % 7) as f32,
        });
        let resized = resize_positions(table.view(), 14).unwrap();
        assert_eq!(resized.dim(), (14 * 14 + 1, 2));
        assert_eq!(resized[(0, 0)], 9.0);
        for row in 1..resized.nrows() {
            assert!((resized[(row, 0)] - 3.0).abs() < 1e-5);
            let x = (row - 1) % 14;
            if (4..10).contains(&x) {
                let expected = (x as f32 + 0.5) / 2.0 - 0.5;
                assert!((resized[(row, 1)] - expected).abs() < 1e-5, "column {x}: {}", resized[(row, 1)]);
            }
        }
    }

    #[test]
    fn refuses_tables_that_are_no_square() {
        assert!(resize_positions(Array2::zeros((0, 4)).view(), 7).is_none());
        assert!(resize_positions(Array2::zeros((1, 4)).view(), 7).is_none());
        assert!(resize_positions(Array2::zeros((49, 4)).view(), 7).is_none());
    }
}
