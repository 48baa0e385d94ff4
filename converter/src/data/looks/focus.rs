//! Simulates a beam out of focus, and the edge enhancement of harmonic imaging and a scanner's filters.

use crate::data::Picture;
use crate::data::augment::to_byte;

/// Blurs by a Gaussian of these standard deviations, in pixels: beams blur more across than along.
pub fn blur(picture: &mut Picture, across: f32, along: f32) {
    picture.pixels = blurred(picture, across, along).into_iter().map(to_byte).collect();
}

/// Adds `amount` times the difference from a slight blur.
pub fn sharpen(picture: &mut Picture, amount: f32) {
    const REACH_PX: f32 = 1.5;
    let smooth = blurred(picture, REACH_PX, REACH_PX);
    for (value, smooth) in picture.pixels.iter_mut().zip(smooth) {
        let sharp = f32::from(*value);
        *value = to_byte(sharp + amount * (sharp - smooth));
    }
}

/// Blurs each plane; the outermost pixels are repeated outside.
fn blurred(picture: &Picture, across: f32, along: f32) -> Vec<f32> {
    let Picture { width, height, pixels, .. } = picture;
    let (width, height) = (*width, *height);
    let (rows, columns) = (bell(across), bell(along));
    let mut result = Vec::with_capacity(pixels.len());
    for plane in pixels.chunks_exact(width * height) {
        let mut padded = vec![0.0; width + rows.len()];
        let mut smooth = vec![0.0; width * height];
        let reach = rows.len() / 2;
        for (line, smooth) in plane.chunks_exact(width).zip(smooth.chunks_exact_mut(width)) {
            for (index, value) in padded.iter_mut().enumerate() {
                *value = f32::from(line[index.saturating_sub(reach).min(width - 1)]);
            }
            for (offset, weight) in rows.iter().enumerate() {
                smooth.iter_mut().zip(&padded[offset..]).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        let reach = columns.len() / 2;
        for row in 0..height {
            let start = result.len();
            result.resize(start + width, 0.0);
            for (offset, weight) in columns.iter().enumerate() {
                let from = (row + offset).saturating_sub(reach).min(height - 1) * width;
                result[start..].iter_mut().zip(&smooth[from..from + width]).for_each(|(sum, v)| *sum += weight * v);
            }
        }
    }
    result
}

/// Gaussian weights that sum to 1.
fn bell(deviation: f32) -> Vec<f32> {
    if deviation < 0.1 {
        return vec![1.0];
    }
    let radius = (2.5 * deviation).ceil() as i32;
    let weights: Vec<f32> = (-radius..=radius).map(|at| (-0.5 * (at as f32 / deviation).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::augment::tests::picture;
    use super::*;

    #[test]
    fn blur_spreads_a_point_sideways_and_keeps_the_mean() {
        let mut point = picture(32, 0, 0, 0, 0);
        point.pixels.fill(0);
        point.pixels[16 * 32 + 16] = 255;
        blur(&mut point, 2.0, 0.5);
        let at = |x: usize, y: usize| point.pixels[y * 32 + x];
        assert!(at(18, 16) > at(16, 18) && at(16, 16) > at(18, 16) && at(14, 16) == at(18, 16));
        let mut flat = picture(32, 0, 0, 0, 0);
        blur(&mut flat, 1.7, 1.1);
        assert!(flat.pixels.iter().all(|value| *value == 100), "nothing comes in from outside");
    }

    #[test]
    fn sharpening_steepens_edges() {
        let mut edge = picture(32, 0, 0, 16, 32);
        sharpen(&mut edge, 1.0);
        let row: Vec<u8> = edge.pixels[..32].to_vec();
        assert!(row[15] < 40 && row[16] > 100 && row[0] == 40 && row[31] == 100, "{row:?}");
    }
}
