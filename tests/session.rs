//! A session in Rust, and every way to misuse it.

use causalclipseg::bundle::Bundle;
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::mask::{Flag, MaskError, check_threshold};
use causalclipseg::{FrameReport, Model, ModelOptions, Session, SessionError, SessionOptions};
use std::sync::Arc;
use toy_networks::toy;

fn model() -> Model {
    let bundle = Bundle::from_bytes(toy::builder().to_bytes().unwrap()).unwrap();
    Model::from_bundle(Arc::new(bundle), ModelOptions::default()).unwrap()
}

const WIDTH: usize = 24;

/// Bright on the left half.
fn picture() -> Vec<u8> {
    (0..WIDTH * 16).map(|at| if at % WIDTH < WIDTH / 2 { 255 } else { 0 }).collect()
}

fn grey(pixels: &[u8]) -> Frame<'_> {
    Frame::packed(pixels, PixelFormat::Gray8, WIDTH, pixels.len() / WIDTH).unwrap()
}

fn flags(report: &FrameReport) -> Vec<Flag> {
    report.findings[0].quality().unwrap().flags.clone()
}

#[test]
fn another_models_prompt_is_refused() {
    let (ours, theirs) = (model(), model());
    let (own, foreign) = (ours.prompt("a bright mass").unwrap(), theirs.prompt("dark").unwrap());
    let mut session = Session::new(&ours, SessionOptions::default()).unwrap();
    let (pixels, both) = (picture(), [own.clone(), foreign]);
    for _ in 0..2 {
        let error = session.run(&grey(&pixels), &both).unwrap_err();
        assert!(matches!(&error, SessionError::ForeignPrompt { text } if &**text == "dark"), "{error}");
        assert!(error.to_string().contains("`dark` was encoded by another model"), "{error}");
        assert!(matches!(session.time_steps(&grey(&pixels), &both), Err(SessionError::ForeignPrompt { .. })));
    }
    // A refused frame was not segmented, and the session continues.
    assert_eq!(flags(session.run(&grey(&pixels), &[own]).unwrap()), []);
}

/// Also after the other model was dropped, when its memory may be used again.
#[test]
fn a_prompt_of_a_model_that_is_gone_is_refused() {
    let orphan = model().prompt("dark").unwrap();
    for _ in 0..4 {
        let model = model();
        let mut session = Session::new(&model, SessionOptions::default()).unwrap();
        let refused = session.run(&grey(&picture()), std::slice::from_ref(&orphan)).map(|_| ());
        assert!(matches!(refused, Err(SessionError::ForeignPrompt { .. })));
    }
}

#[test]
fn a_session_outlives_its_model() {
    let model = model();
    let prompt = model.prompt("a bright mass").unwrap();
    let mut session = Session::new(&model, SessionOptions::default()).unwrap();
    drop(model);
    let pixels = picture();
    assert_eq!(session.run(&grey(&pixels), &[prompt]).unwrap().findings[0].measurements().area_px, pixels.len() / 2);
}

#[test]
fn options_out_of_range_are_refused() {
    let model = model();
    let refused = |options| Session::new(&model, options).err().unwrap();
    for threshold in [0.0, -1.0, 1.0, 2.0, f32::NAN, f32::INFINITY] {
        let error = refused(SessionOptions::default().with_threshold(Some(threshold)));
        assert!(matches!(error, SessionError::Mask(MaskError::Threshold(_))), "{threshold}: {error}");
        assert!(check_threshold(threshold).is_err());
    }
    for smoothing in [-0.1, 1.0, f32::NAN] {
        let error = refused(SessionOptions::default().with_smoothing(smoothing));
        assert!(matches!(error, SessionError::Smoothing(_)), "{smoothing}: {error}");
    }
}

#[test]
fn the_threshold_is_the_models_unless_the_options_say_otherwise() {
    let model = model();
    let prompts = [model.prompt("a bright mass").unwrap()];
    let ramp: Vec<u8> = (0..WIDTH * 16).map(|at| (at % WIDTH * 10) as u8).collect();
    let mut areas = Vec::new();
    for threshold in [None, Some(0.5), Some(0.01)] {
        let mut session = Session::new(&model, SessionOptions::default().with_threshold(threshold)).unwrap();
        let report = session.run(&grey(&ramp), &prompts).unwrap();
        assert_eq!(report.threshold, threshold.unwrap_or(0.5));
        let finding = &report.findings[0];
        let above = finding.probability().values().iter().filter(|p| **p > report.threshold).count();
        assert_eq!(finding.measurements().area_px, above);
        areas.push(above);
    }
    assert!(areas[0] == areas[1] && areas[1] < areas[2], "{areas:?}");
}

#[test]
fn frames_are_one_sequence_until_a_restart() {
    let model = model();
    let prompts = [model.prompt("a bright mass").unwrap()];
    let mut session = Session::new(&model, SessionOptions::default()).unwrap();
    let pixels = picture();
    assert_eq!(flags(session.run(&grey(&pixels), &prompts).unwrap()), []);
    assert_eq!(flags(session.run(&grey(&pixels), &prompts).unwrap()), [Flag::FrozenFrame]);
    session.restart();
    assert_eq!(flags(session.run(&grey(&pixels), &prompts).unwrap()), []);
    let lost = grey(&pixels).with_valid(false);
    assert_eq!(flags(session.run(&lost, &prompts).unwrap()), [Flag::FrozenFrame, Flag::InvalidFrame]);
    let blank = [7; WIDTH * 16];
    assert_eq!(flags(session.run(&grey(&blank), &prompts).unwrap()), [Flag::NothingFound, Flag::BlankFrame]);
}

#[test]
fn smoothing_follows_one_prompt() {
    let model = model();
    let [bright, dark] = ["a bright mass", "dark"].map(|text| model.prompt(text).unwrap());
    let mut session = Session::new(&model, SessionOptions::default().with_smoothing(0.5)).unwrap();
    let (black, white) = ([0; WIDTH * 16], [255; WIDTH * 16]);
    let mut first = |pixels: &[u8], prompt: &causalclipseg::Prompt| {
        let report = session.run(&grey(pixels), std::slice::from_ref(prompt)).unwrap();
        let finding = &report.findings[0];
        let p = finding.probability().values()[[0, 0]];
        // The mask is that of the smoothed map.
        assert_eq!(finding.mask().pixels()[[0, 0]] == 255, p > report.threshold);
        (p * 100.0).round() as i32
    };
    assert_eq!([first(&black, &bright), first(&white, &bright), first(&white, &bright)], [0, 50, 75]);
    // Another prompt starts without a history.
    assert_eq!([first(&white, &dark), first(&black, &dark)], [0, 50]);
    assert_eq!(first(&white, &bright), 100);
}

#[test]
fn what_is_asked_for_is_made_once() {
    let model = model();
    let prompts = [model.prompt("a bright mass").unwrap()];
    let mut session = Session::new(&model, SessionOptions::default().with_quality(false)).unwrap();
    let (left, white) = (picture(), [255; WIDTH * 16]);
    let report = session.run(&grey(&left).with_mm_per_pixel([0.5, 0.5]).unwrap(), &prompts).unwrap();
    let finding = &report.findings[0];
    assert!(finding.quality().is_none());
    assert_eq!(finding.contours().len(), 1);
    assert!(std::ptr::eq(finding.contours(), finding.contours()));
    assert!(std::ptr::eq(finding.measurements(), finding.measurements()));
    assert_eq!(finding.measurements().area_mm2, Some(0.25 * (WIDTH * 16 / 2) as f64));
    // The next frame has its own.
    let finding = &session.run(&grey(&white), &prompts).unwrap().findings[0];
    assert_eq!((finding.measurements().area_px, finding.measurements().area_mm2), (WIDTH * 16, None));
    assert_eq!(finding.contours()[0].signed_area_px(), (WIDTH * 16) as f64);
}
