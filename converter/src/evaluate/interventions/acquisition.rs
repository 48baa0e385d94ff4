//! Changes of scanner settings: gain, time gain and depth.

use super::scan::Scan;
use crate::data::Mask;

/// Grey levels of a change in decibels, where 256 levels span 60 dB, as B-mode images are compressed.
fn levels(decibels: f32) -> f32 {
    decibels / 60.0 * 255.0
}

/// Adds `top_db` at the upper edge and `bottom_db` at the lower one, interpolated between them. Black pixels stay black, as
/// outside the scan.
pub(super) fn change_gain(scan: &mut Scan, top_db: f32, bottom_db: f32) {
    let (width, height) = (scan.width().max(1), scan.height());
    let (top, bottom) = (levels(top_db), levels(bottom_db));
    for (y, row) in scan.pixels.chunks_mut(width).enumerate() {
        let change = top + (bottom - top) * y as f32 / (height.max(2) - 1) as f32;
        for pixel in row.iter_mut().filter(|pixel| **pixel > 0) {
            *pixel = (f32::from(*pixel) + change).round().clamp(0.0, 255.0) as u8;
        }
    }
}

/// The image at another depth: everything `scale` times as large about the middle of the skin line, which stays in place. Pixels
/// from outside the image are black.
pub(super) fn change_depth(scan: &Scan, scale: f32) -> Scan {
    let (width, height) = (scan.width(), scan.height());
    let pixels = (0..scan.pixels.len())
        .map(|index| {
            let (x, y) = source_of(index, width, scale);
            let inside = x > -0.5 && x < width as f32 - 0.5 && y < height as f32 - 0.5;
            if inside { interpolated(&scan.pixels, width, height, x, y) } else { 0 }
        })
        .collect();
    Scan { pixels, truth: carry_mask(&scan.truth, scale) }
}

/// Transforms a mask like the image at the other depth.
pub(super) fn carry_mask(mask: &Mask, scale: f32) -> Mask {
    let (width, height) = mask.size();
    let lesion = |index: usize| {
        let (x, y) = source_of(index, width, scale);
        let (x, y) = (x.round(), y.round());
        let inside = x >= 0.0 && x < width as f32 && y >= 0.0 && y < height as f32;
        inside && mask.lesion[y as usize * width + x as usize]
    };
    Mask { width, height, lesion: (0..mask.lesion.len()).map(lesion).collect() }
}

/// The point of the original image shown at a pixel; pixels are squares about their centres.
fn source_of(index: usize, width: usize, scale: f32) -> (f32, f32) {
    let (x, y) = ((index % width) as f32, (index / width) as f32);
    let middle = (width as f32 - 1.0) / 2.0;
    (middle + (x - middle) / scale, ((y + 0.5) / scale - 0.5).max(0.0))
}

fn interpolated(pixels: &[u8], width: usize, height: usize, x: f32, y: f32) -> u8 {
    let (x, y) = (x.clamp(0.0, width as f32 - 1.0), y.clamp(0.0, height as f32 - 1.0));
    let (left, top) = (x.floor() as usize, y.floor() as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (dx, dy) = (x.fract(), y.fract());
    let at = |x: usize, y: usize| f32::from(pixels[y * width + x]);
    let upper = at(left, top) * (1.0 - dx) + at(right, top) * dx;
    let lower = at(left, bottom) * (1.0 - dx) + at(right, bottom) * dx;
    (upper * (1.0 - dy) + lower * dy).round() as u8
}

#[cfg(test)]
mod tests {
    use super::super::scan::tests::scan;
    use super::*;

    #[test]
    fn gain_adds_decibels_and_spares_black() {
        let mut louder = scan(20, 11, [0; 4]);
        louder.pixels[0] = 0;
        louder.pixels[1] = 250;
        louder.pixels[2] = 100;
        louder.pixels[10 * 20] = 100;
        let mut tilted = louder.clone();
        change_gain(&mut louder, 6.0, 6.0);
        assert_eq!(louder.pixels[..3], [0, 255, 126]);
        assert_eq!(louder.pixels[10 * 20], 126);
        change_gain(&mut tilted, -6.0, 6.0);
        assert_eq!((tilted.pixels[2], tilted.pixels[10 * 20]), (75, 126));
    }

    #[test]
    fn depth_carries_image_and_lesion_alike() {
        let clean = scan(80, 60, [30, 20, 50, 40]);
        for scale in [0.8f32, 1.25] {
            let changed = change_depth(&clean, scale);
            let dark = changed.pixels.iter().zip(&changed.truth.lesion).filter(|(pixel, lesion)| {
                let is_dark = (1..80).contains(*pixel);
                is_dark != **lesion
            });
            // The rim is interpolated: at most one pixel around a lesion of this circumference.
            assert!(dark.count() <= 100);
            let area = clean.truth.area() as f32 * scale * scale;
            assert!((changed.truth.area() as f32 - area).abs() / area < 0.1, "{}", changed.truth.area());
            assert_eq!(changed.truth, carry_mask(&clean.truth, scale));
        }
        let deeper = change_depth(&clean, 0.5);
        assert!(deeper.pixels[..20].iter().all(|pixel| *pixel == 0), "nothing was seen beside the scan");
        assert!(deeper.pixels[31 * 80..].iter().all(|pixel| *pixel == 0), "nor below it");
        let same = change_depth(&clean, 1.0);
        assert_eq!(same, clean);
    }
}
