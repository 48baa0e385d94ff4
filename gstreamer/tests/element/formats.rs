//! Every format, packed and with padded rows, odd sides included: the same mask; and what passes through is unchanged.

use super::pipeline::{Bench, FORMATS, caps, frame, init, phantom, pixels, reference};
use gst_video::VideoFormat;

#[test]
fn padding_and_odd_sides_do_not_change_masks() {
    init();
    for [width, height] in [[641, 481], [64, 48]] {
        let gray = phantom(width, height, 0);
        let expected = reference(&gray, width, height, "the lesion");
        if width == 641 {
            let lesion = expected.iter().filter(|pixel| **pixel == 255).count();
            assert!((2_000..80_000).contains(&lesion), "the phantom is segmented: {lesion} pixels");
        }
        for format in FORMATS {
            let mut bench = Bench::of(format, width, height, true).play();
            let mut masks = Vec::new();
            for padding in [0, 1, 27, 128] {
                let buffer = frame(format, width, height, &gray, padding);
                let before = buffer.map_readable().unwrap().to_vec();
                let (after, mask) = bench.pass(buffer);
                assert_eq!(*after.map_readable().unwrap(), before, "{format:?}: frames pass through unchanged");
                masks.push(pixels(&mask.unwrap(), width, height));
            }
            assert!(
                masks.iter().all(|mask| *mask == masks[0]),
                "{format:?} {width} x {height}: a mask depends on padding"
            );
            if format_is_exact(format) {
                assert!(masks[0] == expected, "{format:?} {width} x {height}: not the runtime's mask");
            } else {
                // Grey in the limited range has 220 levels.
                let same = masks[0].iter().zip(&expected).filter(|(a, b)| a == b).count();
                assert!(
                    same * 1000 >= expected.len() * 995,
                    "{format:?}: {same} of {} pixels are the same",
                    expected.len()
                );
            }
        }
    }
}

fn format_is_exact(format: VideoFormat) -> bool {
    !gst_video::VideoFormatInfo::from_format(format).is_yuv()
}

/// Without a meta the caps give the strides, which GStreamer rounds up.
#[test]
fn frames_without_a_meta_have_the_strides_of_their_caps() {
    let [width, height] = [641, 481];
    let gray = phantom(width, height, 1);
    for format in [VideoFormat::Gray8, VideoFormat::Nv12, VideoFormat::Yuy2, VideoFormat::Rgb] {
        let mut bench = Bench::of(format, width, height, true).play();
        let info = gst_video::VideoInfo::from_caps(&caps(format, width, height)).unwrap();
        let with_meta = frame(format, width, height, &gray, 3);
        // A copy leaves out the colour that the last column of an odd width does not share.
        let mut plain = gst::Buffer::from_mut_slice(vec![128; info.size()]);
        {
            let from = gst_video::VideoFrameRef::from_buffer_ref_readable(&with_meta, &info).unwrap();
            let mut to = gst_video::VideoFrameRef::from_buffer_ref_writable(plain.get_mut().unwrap(), &info).unwrap();
            from.copy(&mut to).unwrap();
        }
        let expected = bench.pass(with_meta).1.unwrap();
        let (_, mask) = bench.pass(plain);
        assert!(pixels(&mask.unwrap(), width, height) == pixels(&expected, width, height), "{format:?}");
    }
}
