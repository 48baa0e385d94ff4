//! Simulates JPEG's blocks and ringing.

use crate::data::Picture;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat};

/// Encodes the picture as a JPEG file of this quality, 1 to 100, and decodes it. Planes of colour are kept separate.
pub fn apply_jpeg(picture: &mut Picture, quality: u8) {
    let (width, height, area) = (picture.width as u32, picture.height as u32, picture.area());
    for plane in picture.pixels.chunks_exact_mut(area) {
        let mut file = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100));
        let written = encoder.write_image(plane, width, height, ExtendedColorType::L8);
        let decoded = image::load_from_memory_with_format(&file, ImageFormat::Jpeg);
        // A plane of a picture is neither empty nor too large for a file; otherwise it would stay unchanged.
        if let (Ok(()), Ok(decoded)) = (written, decoded) {
            plane.copy_from_slice(decoded.into_luma8().as_raw());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::augment::tests::picture;
    use super::*;

    #[test]
    fn low_quality_shows_and_high_quality_hardly() {
        let original = picture(64, 11, 13, 42, 45);
        let error = |quality| {
            let mut changed = original.clone();
            apply_jpeg(&mut changed, quality);
            assert_eq!(changed.pixels.len(), original.pixels.len());
            original.pixels.iter().zip(&changed.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>()
        };
        assert!(error(100) < error(30) && error(30) > 2000, "{} {}", error(100), error(30));
    }
}
