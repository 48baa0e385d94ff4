//! What is drawn, in each format: pixels of the mask or beside its boundary, and nothing else.

use super::pipeline::{Bench, FORMATS, frame, init, phantom, pixels};
use gst::prelude::*;
use gst_video::VideoFormat;

/// Bytes of each pixel in the planes of a packed frame without padding.
fn bytes_of(format: VideoFormat, [width, height]: [usize; 2], x: usize, y: usize) -> Vec<usize> {
    let half = width.div_ceil(2);
    let plane = width * height;
    match format {
        VideoFormat::Gray8 => vec![y * width + x],
        VideoFormat::Rgb | VideoFormat::Bgr => (0..3).map(|byte| 3 * (y * width + x) + byte).collect(),
        VideoFormat::Bgra | VideoFormat::Bgrx | VideoFormat::Rgba | VideoFormat::Rgbx => {
            (0..4).map(|byte| 4 * (y * width + x) + byte).collect()
        }
        VideoFormat::Nv12 => {
            let colour = plane + (y / 2) * 2 * half + 2 * (x / 2);
            vec![y * width + x, colour, colour + 1]
        }
        VideoFormat::I420 => {
            let colour = plane + (y / 2) * half + x / 2;
            vec![y * width + x, colour, colour + half * height.div_ceil(2)]
        }
        VideoFormat::Yuy2 => {
            let pair = y * 4 * half + 4 * (x / 2);
            vec![pair + 2 * (x % 2), pair + 1, pair + 3]
        }
        VideoFormat::Uyvy => {
            let pair = y * 4 * half + 4 * (x / 2);
            vec![pair + 1 + 2 * (x % 2), pair, pair + 2]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn drawing_stays_at_the_lesion() {
    init();
    let size @ [width, height] = [321, 241];
    let gray = phantom(width, height, 0);
    for format in FORMATS {
        for mode in ["contour", "mask"] {
            let bench = Bench::of(format, width, height, true);
            bench.element.set_property_from_str("overlay", mode);
            let mut bench = bench.play();
            let buffer = frame(format, width, height, &gray, 0);
            let before = buffer.map_readable().unwrap().to_vec();
            // A second owner: its pixels stay as they are.
            let shared = buffer.clone();
            let (after, mask) = bench.pass(buffer);
            assert_eq!(*shared.map_readable().unwrap(), before, "{format:?}: a shared frame was drawn on");
            let after = after.map_readable().unwrap().to_vec();
            let mask = pixels(&mask.unwrap(), width, height);
            let inside = |x: usize, y: usize| mask[y * width + x] == 255;
            let near = |x: usize, y: usize, reach: usize| {
                let (columns, rows) = (
                    x.saturating_sub(reach)..=(x + reach).min(width - 1),
                    y.saturating_sub(reach)..=(y + reach).min(height - 1),
                );
                let mut seen = [false; 2];
                rows.for_each(|v| columns.clone().for_each(|u| seen[usize::from(inside(u, v))] = true));
                seen
            };
            let mut may_change = vec![false; before.len()];
            let mut drawn = 0;
            for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                let [outside, lesion] = near(x, y, 1);
                let expected = if mode == "contour" {
                    outside && lesion || at_border(x, y, size) && inside(x, y)
                } else {
                    inside(x, y)
                };
                let bytes = bytes_of(format, size, x, y);
                if expected {
                    bytes.iter().for_each(|byte| may_change[*byte] = true);
                    drawn += usize::from(before[bytes[0]] != after[bytes[0]]);
                }
            }
            assert!(drawn > 200, "{format:?} {mode}: {drawn} pixels are drawn");
            for (byte, (before, after)) in before.iter().zip(&after).enumerate() {
                assert!(
                    before == after || may_change[byte],
                    "{format:?} {mode}: byte {byte} was changed, away from the lesion"
                );
            }
        }
    }
}

fn at_border(x: usize, y: usize, [width, height]: [usize; 2]) -> bool {
    x == 0 || y == 0 || x + 1 == width || y + 1 == height
}
