//! A panic in the element: an error on the bus, and no end of the process.

use gst::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

static PANIC: AtomicBool = AtomicBool::new(false);

pub(super) fn panic_if_told() {
    assert!(!PANIC.load(Ordering::Relaxed), "told to");
}

#[test]
fn a_panic_is_an_error_of_the_element() {
    gst::init().unwrap();
    crate::plugin_register_static().unwrap();
    PANIC.store(true, Ordering::Relaxed);
    let pipeline = gst::parse::launch("videotestsrc num-buffers=3 ! causalclipseg name=c ! fakesink").unwrap();
    let bus = pipeline.bus().unwrap();
    let _ = pipeline.set_state(gst::State::Playing);
    let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &kinds).expect("an end");
    let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
    assert_eq!(error.src().map(|source| source.name().to_string()).as_deref(), Some("c"));
    assert!(error.error().to_string().contains("told to"), "{}", error.error());
    pipeline.set_state(gst::State::Null).unwrap();
}
