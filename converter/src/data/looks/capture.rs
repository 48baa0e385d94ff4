//! Simulates screen captures: images at another size, scaled back.

use crate::data::Picture;
use image::GrayImage;
use image::imageops::{FilterType, resize};

/// Scales the picture down to `scale` of its sides and back; `nearest` repeats pixels when scaling back, otherwise they
/// are interpolated.
pub fn apply_capture(picture: &mut Picture, scale: f32, nearest: bool) {
    let (width, height, area) = (picture.width as u32, picture.height as u32, picture.area());
    let small = |side: u32| ((side as f32 * scale).round() as u32).clamp(1, side);
    let back = if nearest { FilterType::Nearest } else { FilterType::Triangle };
    for plane in picture.pixels.chunks_exact_mut(area) {
        let Some(whole) = GrayImage::from_raw(width, height, plane.to_vec()) else { continue };
        let captured = resize(&whole, small(width), small(height), FilterType::Triangle);
        let captured = resize(&captured, width, height, back);
        plane.copy_from_slice(captured.as_raw());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::augment::tests::picture;
    use super::*;

    #[test]
    fn fine_detail_is_lost_and_the_rest_stays() {
        let mut stripes = picture(64, 0, 0, 0, 0);
        stripes.pixels.iter_mut().enumerate().for_each(|(index, value)| *value = 40 + 120 * (index % 2) as u8);
        apply_capture(&mut stripes, 0.5, false);
        assert!(stripes.pixels[64 * 32 + 20..64 * 32 + 40].iter().all(|value| (90..110).contains(value)));
        let mut lesion = picture(64, 10, 10, 50, 50);
        apply_capture(&mut lesion, 0.5, true);
        assert_eq!((lesion.pixels[30 * 64 + 30], lesion.pixels[60 * 64 + 60]), (40, 100));
    }
}
