//! Frames as a canvas takes them.

use causalclipseg::frame::PixelFormat;

/// Red, green, blue and alpha of packed pixels. Of 16 bits the upper eight are shown.
pub(crate) fn to_rgba(format: PixelFormat, pixels: &[u8]) -> Vec<u8> {
    let grey = |level: u8| [level, level, level, 255];
    match format {
        PixelFormat::Gray8 => pixels.iter().flat_map(|level| grey(*level)).collect(),
        PixelFormat::Gray16Le => pixels.as_chunks::<2>().0.iter().flat_map(|pair| grey(pair[1])).collect(),
        PixelFormat::Rgb8 => pixels.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect(),
        PixelFormat::Bgra8 => pixels.as_chunks::<4>().0.iter().flat_map(|[b, g, r, _]| [*r, *g, *b, 255]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_becomes_four_bytes() {
        assert_eq!(to_rgba(PixelFormat::Gray8, &[7, 9]), [7, 7, 7, 255, 9, 9, 9, 255]);
        assert_eq!(to_rgba(PixelFormat::Gray16Le, &[1, 200]), [200, 200, 200, 255]);
        assert_eq!(to_rgba(PixelFormat::Rgb8, &[1, 2, 3]), [1, 2, 3, 255]);
        assert_eq!(to_rgba(PixelFormat::Bgra8, &[1, 2, 3, 0]), [3, 2, 1, 255]);
    }
}
