//! Properties, messages, metadata, quality of service and changes of format while frames flow.

use super::pipeline::{Bench, PATIENCE, caps, frame, init, phantom, pixels, reference, until};
use gst::prelude::*;
use gst_video::{VideoFormat, VideoRegionOfInterestMeta};

const SIZE: [usize; 2] = [320, 240];

fn gray_frame(step: usize) -> gst::Buffer {
    frame(VideoFormat::Gray8, SIZE[0], SIZE[1], &phantom(SIZE[0], SIZE[1], step), 0)
}

fn bench() -> Bench {
    Bench::of(VideoFormat::Gray8, SIZE[0], SIZE[1], true)
}

fn prompts_of(results: &[gst::Structure]) -> Vec<String> {
    results.iter().map(|result| result.get::<String>("prompt").unwrap()).collect()
}

#[test]
fn results_are_on_the_bus_and_on_the_frame() {
    let bench = bench();
    bench.element.set_property("mm-per-pixel-x", 0.1f32);
    bench.element.set_property("mm-per-pixel-y", 0.2f32);
    let mut bench = bench.play();
    bench.pass(gray_frame(0));
    let (passed, mask) = bench.pass(gray_frame(1));
    let mask = mask.unwrap();
    let results = bench.results();
    assert_eq!(results.len(), 2, "{results:?}");
    let result = &results[1];
    let pts = gst::ClockTime::from_mseconds(40);
    assert_eq!((passed.pts(), mask.pts(), mask.duration()), (Some(pts), Some(pts), Some(pts)));
    assert_eq!(result.get::<gst::ClockTime>("pts").unwrap(), pts);
    assert_eq!(result.get::<u64>("sequence").unwrap(), 1);
    assert_eq!(result.get::<String>("prompt").unwrap(), "the lesion");
    let area = pixels(&mask, SIZE[0], SIZE[1]).iter().filter(|pixel| **pixel == 255).count();
    assert!(area > 500);
    assert_eq!(result.get::<u64>("area_px").unwrap(), area as u64);
    assert!((result.get::<f64>("area_mm2").unwrap() - area as f64 * 0.02).abs() < 0.01);
    assert!((0.0..=1.0).contains(&result.get::<f64>("expected_dice").unwrap()));
    result.get::<bool>("present").unwrap();
    result.get::<gst::Array>("flags").unwrap();
    let (engine, latency) = (result.get::<f64>("engine_ms").unwrap(), result.get::<f64>("latency_ms").unwrap());
    assert!(0.0 < engine && engine < latency, "{engine} {latency}");
    let sides: Vec<i32> = result.get::<gst::Array>("box").unwrap().iter().map(|side| side.get().unwrap()).collect();
    let metas: Vec<_> = passed.iter_meta::<VideoRegionOfInterestMeta>().collect();
    assert_eq!(metas.len(), 1);
    let (x, y, width, height) = metas[0].rect();
    assert_eq!([x, y, width, height].map(|side| side as i32).to_vec(), sides);
    assert_eq!(metas[0].roi_type(), "lesion");
    assert_eq!(metas[0].param("causalclipseg").unwrap().get::<u64>("area_px").unwrap(), area as u64);
}

#[test]
fn messages_can_be_switched_off() {
    let mut bench = bench().play();
    bench.element.set_property("post-messages", false);
    let (passed, _) = bench.pass(gray_frame(0));
    assert!(bench.results().is_empty());
    assert_eq!(passed.iter_meta::<VideoRegionOfInterestMeta>().count(), 1);
}

#[test]
fn prompts_change_while_playing() {
    let mut bench = bench().play();
    bench.pass(gray_frame(0));
    assert_eq!(prompts_of(&bench.results()), ["the lesion"]);
    bench.element.set_property("prompt", "a dark nodule; the bright background");
    let (_, mask) = bench.pass(gray_frame(0));
    let results = bench.results();
    assert_eq!(prompts_of(&results), ["a dark nodule", "the bright background"]);
    assert_eq!(results[1].get::<u32>("prompt_index").unwrap(), 1);
    // The mask pad has what any of them found.
    let gray = phantom(SIZE[0], SIZE[1], 0);
    let [first, second] = ["a dark nodule", "the bright background"].map(|p| reference(&gray, SIZE[0], SIZE[1], p));
    let either: Vec<u8> = first.iter().zip(&second).map(|(a, b)| a | b).collect();
    assert!(pixels(&mask.unwrap(), SIZE[0], SIZE[1]) == either);

    bench.element.set_property("prompts", gst::Array::new(["one; sentence", "a mass"]));
    bench.pass(gray_frame(0));
    assert_eq!(prompts_of(&bench.results()), ["one; sentence", "a mass"]);
    assert_eq!(bench.element.property::<String>("prompt"), "one; sentence; a mass");

    // A prompt that is refused changes nothing, and the stream goes on.
    for refused in ["", "a mass;", &"word ".repeat(400)] {
        bench.element.set_property("prompt", refused);
        let complaint = bench.complaint();
        assert!(complaint.contains("prompt"), "{complaint}");
        bench.pass(gray_frame(0));
        assert_eq!(prompts_of(&bench.results()), ["one; sentence", "a mass"]);
        assert_eq!(bench.element.property::<String>("prompt"), "one; sentence; a mass");
    }
    assert_eq!(bench.statistic::<u64>("refused_settings"), 3);
}

#[test]
fn thresholds_and_regions_change_while_playing() {
    let mut bench = bench().play();
    bench.pass(gray_frame(0));
    let area = |bench: &Bench| bench.results().last().unwrap().get::<u64>("area_px").unwrap();
    let own = area(&bench);
    bench.element.set_property("threshold", 0.999f32);
    bench.pass(gray_frame(0));
    assert!(area(&bench) < own);
    for (name, refused) in [("threshold", 1.5f32), ("smoothing", 1.0), ("mm-per-pixel-x", -1.0)] {
        bench.element.set_property(name, refused);
        let complaint = bench.complaint();
        assert!(!complaint.is_empty() && complaint.lines().count() == 1, "{complaint}");
    }
    bench.element.set_property("threshold", 0.0f32);
    bench.pass(gray_frame(0));
    assert_eq!(area(&bench), own);
    for refused in ["1,2,3", "300,200,50,50", "0,0,0,5", "-1,0,10,10", "a,b,c,d"] {
        bench.element.set_property("region", refused);
        let complaint = bench.complaint();
        assert!(complaint.contains("region"), "{complaint}");
    }
    bench.element.set_property("region", "0,0,100,60");
    let (_, mask) = bench.pass(gray_frame(0));
    let mask = pixels(&mask.unwrap(), SIZE[0], SIZE[1]);
    assert!(mask.iter().enumerate().all(|(at, pixel)| *pixel == 0 || at % SIZE[0] < 100 && at / SIZE[0] < 60));
}

#[test]
fn a_change_of_format_restarts_the_session() {
    let mut bench = bench().play();
    bench.element.set_property("smoothing", 0.9f32);
    bench.pass(gray_frame(0));
    let [width, height] = [161, 121];
    let gray = phantom(width, height, 3);
    bench.source.set_caps(Some(&caps(VideoFormat::Bgrx, width, height)));
    let (passed, mask) = bench.pass(frame(VideoFormat::Bgrx, width, height, &gray, 5));
    assert!(passed.size() > width * height * 4);
    // Nothing of the old sequence is in the new one.
    assert!(pixels(&mask.unwrap(), width, height) == reference(&gray, width, height, "the lesion"));
    let caps_of_masks = bench.masks.as_ref().unwrap().static_pad("sink").unwrap().current_caps().unwrap();
    let info = gst_video::VideoInfo::from_caps(&caps_of_masks).unwrap();
    assert_eq!((info.format(), info.width(), info.height()), (VideoFormat::Gray8, 161, 121));
}

#[test]
fn a_flush_restarts_the_session() {
    let mut bench = bench().play();
    let flags = |bench: &Bench| {
        let flags = bench.results().last().unwrap().get::<gst::Array>("flags").unwrap();
        flags.iter().map(|flag| flag.get::<String>().unwrap()).collect::<Vec<_>>()
    };
    bench.pass(gray_frame(0));
    bench.pass(gray_frame(0));
    assert!(flags(&bench).contains(&"frozen_frame".to_string()));
    let source = bench.source.static_pad("src").unwrap();
    assert!(source.push_event(gst::event::FlushStart::new()));
    assert!(source.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(source.push_event(gst::event::Segment::new(&segment)));
    bench.pass(gray_frame(0));
    assert!(!flags(&bench).contains(&"frozen_frame".to_string()));
}

#[test]
fn corrupted_frames_are_flagged() {
    let mut bench = bench().play();
    let mut buffer = gray_frame(0);
    buffer.make_mut().set_flags(gst::BufferFlags::CORRUPTED);
    bench.pass(buffer);
    let flags = bench.results()[0].get::<gst::Array>("flags").unwrap();
    assert!(flags.iter().any(|flag| flag.get::<String>().unwrap() == "invalid_frame"));
}

#[test]
fn the_end_reaches_both_pads() {
    let mut bench = bench().play();
    bench.pass(gray_frame(0));
    bench.source.end_of_stream().unwrap();
    let message = bench.pipeline.bus().unwrap().timed_pop_filtered(PATIENCE, &[gst::MessageType::Eos]);
    assert!(message.is_some(), "both sinks are at their end");
    assert!(bench.masks.as_ref().unwrap().is_eos() && bench.frames.is_eos());
}

#[test]
fn a_mask_pad_may_come_and_go_while_playing() {
    let mut bench = Bench::of(VideoFormat::Gray8, SIZE[0], SIZE[1], false).play();
    bench.pass(gray_frame(0));
    for round in 0..3 {
        let pad = bench.element.request_pad_simple("mask").unwrap();
        let sink =
            gst::ElementFactory::make("appsink").property("sync", false).property("async", false).build().unwrap();
        let sink = sink.downcast::<gst_app::AppSink>().unwrap();
        bench.pipeline.add(&sink).unwrap();
        sink.sync_state_with_parent().unwrap();
        pad.link(&sink.static_pad("sink").unwrap()).unwrap();
        bench.pass(gray_frame(round + 1));
        let mask = sink.try_pull_sample(PATIENCE).expect("a mask").buffer_owned().unwrap();
        assert_eq!(mask.size(), SIZE[0] * SIZE[1]);
        bench.element.release_request_pad(&pad);
        sink.set_state(gst::State::Null).unwrap();
        bench.pipeline.remove(&sink).unwrap();
        bench.pass(gray_frame(round));
    }
    assert!(bench.errors().is_empty());
}

/// A clocked sink gets every frame, and the work is dropped that would make it late. (The source itself has to be fast.)
#[test]
fn late_frames_pass_through_without_a_result() {
    init();
    let description = "videotestsrc num-buffers=400 pattern=black ! video/x-raw,format=GRAY8,width=160,height=120,framerate=200/1 ! \
                       causalclipseg name=c ! fakesink name=s sync=true qos=true signal-handoffs=true";
    for (qos, skips) in [(true, true), (false, false)] {
        let pipeline = gst::parse::launch(&description.replace("name=c", &format!("name=c qos={qos}"))).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let shown = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = shown.clone();
        pipeline.by_name("s").unwrap().connect("handoff", false, move |_| {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            None
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        let (mut reported, mut results) = (0, 0);
        loop {
            let message = bus.timed_pop(PATIENCE).expect("an end");
            match message.view() {
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Error(error) => panic!("{error:?}"),
                gst::MessageView::Qos(_) if message.src().is_some_and(|source| source.name() == "c") => reported += 1,
                gst::MessageView::Element(_) => results += 1,
                _ => {}
            }
        }
        let stats: gst::Structure = pipeline.by_name("c").unwrap().property("stats");
        let [frames, segmented, late] = ["frames", "segmented", "late"].map(|name| stats.get::<u64>(name).unwrap());
        assert_eq!(shown.load(std::sync::atomic::Ordering::Relaxed), 400, "the sink shows every frame");
        assert_eq!((frames, segmented + late, late, segmented), (400, 400, reported, results));
        assert_eq!(late > 0, skips, "{stats:?}");
        assert!(segmented > 5, "{stats:?}");
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn live_sources_get_the_latency_that_was_set() {
    init();
    let description = "videotestsrc is-live=true num-buffers=15 ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! \
                       causalclipseg name=c latency-ms=50 ! fakesink name=s sync=true";
    let pipeline = gst::parse::launch(description).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let message =
        pipeline.bus().unwrap().timed_pop_filtered(PATIENCE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
    let latency = |pad: &gst::Pad| {
        let mut query = gst::query::Latency::new();
        assert!(pad.query(&mut query));
        let (live, least, _) = query.result();
        (live, least)
    };
    let element = pipeline.by_name("c").unwrap();
    let (live, own) = latency(&element.static_pad("src").unwrap());
    let (_, upstream) = latency(&element.static_pad("sink").unwrap().peer().unwrap());
    assert!(live);
    assert_eq!(own, upstream + gst::ClockTime::from_mseconds(50));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn elements_start_and_stop_again_and_again() {
    let bench = bench();
    let mut bench = bench.play();
    for round in 0..5 {
        bench.pass(gray_frame(round));
        bench.pipeline.set_state(gst::State::Null).unwrap();
        bench.pipeline.set_state(gst::State::Playing).unwrap();
    }
    until("a last result", || {
        bench.pass(gray_frame(1));
        bench.statistic::<u64>("segmented") > 0
    });
}
