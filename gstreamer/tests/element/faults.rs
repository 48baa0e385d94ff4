//! Bad models, settings, caps and buffers: one clear error, and an end.

use super::launch::{TIMED_OUT, launch_that_fails, text};
use super::pipeline::{Bench, caps, frame, init, phantom};
use gst::prelude::*;
use gst_video::VideoFormat;

/// Runs a pipeline that has to fail with one error of the element that contains `reason`. (A source adds that its frames are
/// refused.)
fn fails(element: &str, reason: &str, environment: &[(&str, &str)]) {
    let pipeline =
        format!("videotestsrc num-buffers=5 ! video/x-raw,width=320,height=240 ! causalclipseg {element} ! fakesink");
    let Some(output) = launch_that_fails(&pipeline, environment) else { return };
    let shown = text(&output);
    let errors: Vec<_> = shown
        .lines()
        .filter(|line| line.starts_with("ERROR: from element") && line.contains("GstCausalClipSeg"))
        .collect();
    assert_eq!(errors.len(), 1, "{element}: {shown}");
    assert!(errors[0].contains(reason), "{element}: {errors:?}");
    assert!(
        ![None, Some(0), Some(TIMED_OUT)].contains(&output.status.code()),
        "{element}: {:?} {shown}",
        output.status
    );
}

#[test]
fn settings_that_are_refused_end_the_pipeline() {
    fails("model=/none/such.ccs", "/none/such.ccs", &[]);
    fails("", "/none/other.ccs", &[("CAUSALCLIPSEG_MODEL", "/none/other.ccs")]);
    fails("prompt=\"\"", "prompt", &[]);
    fails("prompt=a~mass;", "prompt", &[]);
    fails("threshold=2", "threshold of 2", &[]);
    fails("smoothing=1", "smoothing of 1", &[]);
    fails("mm-per-pixel-x=-3", "mm per pixel", &[]);
    fails("region=1,2,3", "X,Y,WIDTH,HEIGHT", &[]);
    fails("region=300,200,50,50", "leaves the 320 x 240", &[]);
    let file = tempfile::Builder::new().suffix(".ccs").tempfile().unwrap();
    std::fs::write(file.path(), [7; 5000]).unwrap();
    fails(&format!("model={}", file.path().display()), "is not opened", &[]);
}

#[test]
fn caps_that_are_not_supported_end_the_pipeline() {
    for caps in ["format=GRAY8,width=0,height=0", "format=P010_10LE", "format=GRAY8,width=20000,height=8"] {
        let pipeline = format!("videotestsrc num-buffers=2 ! video/x-raw,{caps} ! causalclipseg ! fakesink");
        let Some(output) = launch_that_fails(&pipeline, &[]) else { return };
        assert!(!output.status.success(), "{caps}: {}", text(&output));
        assert_ne!(output.status.code(), Some(TIMED_OUT), "{caps} hangs");
    }
}

/// A bench whose first frame ends with an error of the element, or of the source that learns of it.
fn ends_with(bench: &Bench, buffer: gst::Buffer, reason: &str) {
    let _ = bench.source.push_buffer(buffer);
    let complaint = bench.complaint();
    assert!(complaint.contains(reason), "{complaint}");
}

#[test]
fn buffers_that_contradict_their_caps_end_the_stream() {
    init();
    let [width, height] = [320, 240];
    let gray = phantom(width, height, 0);
    for format in [
        VideoFormat::Gray8,
        VideoFormat::Nv12,
        VideoFormat::I420,
        VideoFormat::Yuy2,
        VideoFormat::Rgba,
        VideoFormat::Bgra,
    ] {
        let bench = Bench::of(format, width, height, false).play();
        ends_with(&bench, gst::Buffer::from_slice([1; 100]), "the frame");
        let bench = Bench::of(format, width, height, false).play();
        ends_with(&bench, gst::Buffer::new(), "the frame");
        let bench = Bench::of(format, width + 2, height, false).play();
        ends_with(&bench, frame(format, width, height, &gray, 0), "322 x 240");
    }
}

#[test]
fn streams_without_caps_or_with_empty_ones_end() {
    init();
    let gray = || frame(VideoFormat::Gray8, 64, 48, &phantom(64, 48, 0), 0);
    let element = gst::ElementFactory::make("causalclipseg").build().unwrap();
    ends_with(&Bench::new(element, None, false).play(), gray(), "without caps");
    for sides in [[0, 48], [64, 0], [-3, 48]] {
        let [width, height] = sides;
        let bench = Bench::of(VideoFormat::Gray8, 64, 48, false);
        let mut caps = caps(VideoFormat::Gray8, 64, 48);
        let structure = caps.make_mut().structure_mut(0).unwrap();
        structure.set("width", width);
        structure.set("height", height);
        bench.source.set_caps(Some(&caps));
        let bench = bench.play();
        let _ = bench.source.push_buffer(gray());
        assert!(!bench.complaint().is_empty(), "{sides:?}");
    }
}

#[test]
fn an_element_that_failed_to_open_can_be_set_right() {
    init();
    let element = gst::ElementFactory::make("causalclipseg").property("prompt", "").build().unwrap();
    let bench = Bench::new(element, Some(&caps(VideoFormat::Gray8, 64, 48)), false);
    assert!(bench.pipeline.set_state(gst::State::Playing).is_err());
    assert!(bench.complaint().contains("prompt"));
    bench.pipeline.set_state(gst::State::Null).unwrap();
    bench.element.set_property("prompt", "a mass");
    let mut bench = bench.play();
    bench.pass(frame(VideoFormat::Gray8, 64, 48, &phantom(64, 48, 0), 0));
    assert_eq!(bench.results().len(), 1);
}
