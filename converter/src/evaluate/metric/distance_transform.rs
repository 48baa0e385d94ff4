//! The exact Euclidean distance transform.

/// For every pixel of a `width` x `height` grid, row by row, the squared distance in pixels to the nearest of `sites`
/// (`[x, y]`; those outside are ignored). `None` if no site is inside.
///
/// Uses integers only, so that nothing is rounded, and is linear in the number of pixels: distances along columns first, then the
/// lower envelope of a parabola for each column in every row. A. Meijster, J. Roerdink and W. Hesselink, "A general
/// algorithm for computing distance transforms in linear time", 2000.
pub fn squared_distances(width: usize, height: usize, sites: &[[usize; 2]]) -> Option<Vec<i64>> {
    let inside = |site: &&[usize; 2]| site[0] < width && site[1] < height;
    // Longer than any distance inside the grid.
    let far = (width + height) as i64;
    let mut columns = vec![far; width * height];
    let mut count = 0;
    for [x, y] in sites.iter().filter(inside) {
        columns[y * width + x] = 0;
        count += 1;
    }
    if count == 0 {
        return None;
    }
    for y in 1..height {
        relax(&mut columns, width, y, y - 1);
    }
    for y in (1..height).rev() {
        relax(&mut columns, width, y - 1, y);
    }
    let mut envelope = Vec::with_capacity(width);
    for row in columns.chunks_exact_mut(width) {
        lower_envelope(row, &mut envelope);
        fill(row, &envelope);
    }
    Some(columns)
}

/// Limits row `to` to one more than its neighbour row `from`.
fn relax(columns: &mut [i64], width: usize, to: usize, from: usize) {
    for x in 0..width {
        columns[to * width + x] = columns[to * width + x].min(columns[from * width + x] + 1);
    }
}

/// A column's parabola, and the position in the row from which it is the lowest.
struct Parabola {
    column: i64,
    squared: i64,
    from: i64,
}

impl Parabola {
    fn at(&self, x: i64) -> i64 {
        (x - self.column).pow(2) + self.squared
    }
}

fn lower_envelope(row: &[i64], envelope: &mut Vec<Parabola>) {
    envelope.clear();
    for (column, distance) in row.iter().enumerate() {
        let mut next = Parabola { column: column as i64, squared: distance * distance, from: 0 };
        while envelope.last().is_some_and(|last| last.at(last.from) > next.at(last.from)) {
            envelope.pop();
        }
        if let Some(last) = envelope.last() {
            // The last x at which `last` is not above `next`.
            let rise = next.column.pow(2) - last.column.pow(2) + next.squared - last.squared;
            next.from = rise.div_euclid(2 * (next.column - last.column)) + 1;
        }
        if next.from < row.len() as i64 {
            envelope.push(next);
        }
    }
}

fn fill(row: &mut [i64], envelope: &[Parabola]) {
    let mut lowest = envelope.iter().rev().peekable();
    for x in (0..row.len() as i64).rev() {
        while lowest.peek().is_some_and(|parabola| parabola.from > x) {
            lowest.next();
        }
        if let Some(parabola) = lowest.peek() {
            row[x as usize] = parabola.at(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn brute_force(width: usize, height: usize, sites: &[[usize; 2]]) -> Vec<i64> {
        let squared = |x: usize, y: usize| {
            sites.iter().map(|[sx, sy]| (x as i64 - *sx as i64).pow(2) + (y as i64 - *sy as i64).pow(2)).min().unwrap()
        };
        (0..width * height).map(|index| squared(index % width, index / width)).collect()
    }

    #[test]
    fn agrees_with_brute_force() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for case in 0..300 {
            let (width, height) = (rng.random_range(1..40), rng.random_range(1..40));
            let count = if case % 2 == 0 { rng.random_range(1..4) } else { rng.random_range(1..200) };
            let sites: Vec<[usize; 2]> =
                (0..count).map(|_| [rng.random_range(0..width), rng.random_range(0..height)]).collect();
            let distances = squared_distances(width, height, &sites).unwrap();
            assert_eq!(distances, brute_force(width, height, &sites), "{width} x {height}, {sites:?}");
        }
    }

    #[test]
    fn without_a_site_there_is_no_distance() {
        assert_eq!(squared_distances(3, 2, &[]), None);
        assert_eq!(squared_distances(3, 2, &[[3, 0], [0, 2]]), None);
        assert_eq!(squared_distances(0, 0, &[[0, 0]]), None);
    }
}
