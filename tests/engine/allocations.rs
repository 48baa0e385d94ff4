//! After the first frame, a frame allocates nothing, and an engine holds as much memory as it reports: counted by this
//! program's allocator.
#![expect(unsafe_code, reason = "the trait of allocators is unsafe")]

use super::{PROMPTS, engine};
use causalclipseg::engine::{EngineOptions, PromptKernel, Workspace};
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::{Model, ModelOptions, Prompt, Session, SessionOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use toy_networks::networks::{image, mini};

thread_local! {
    /// Counts of this thread alone: other tests run at the same time.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread allocated, minus the bytes that it freed.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE.with(|live| live.set(live.get() + layout.size() as isize));
        // SAFETY: the caller's guarantees are those that the system's allocator requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.with(|live| live.set(live.get() - layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted() -> usize {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn a_warm_frame_allocates_nothing() {
    let network = mini(64);
    let fast = engine(&network.graph, &network.weights, EngineOptions::default());
    let kernels: Vec<PromptKernel> = PROMPTS.iter().map(|tokens| fast.encode_prompt(tokens).unwrap()).collect();
    let mut workspace = Workspace::default();
    let pixels = image(64);
    let before = counted();
    fast.run(&mut workspace, &pixels, kernels.iter()).unwrap();
    assert!(counted() > before, "the first frame allocates, and the counter registers it");
    let before = counted();
    for count in [3, 1, 2, 3] {
        fast.run(&mut workspace, &pixels, kernels[..count].iter()).unwrap();
    }
    assert_eq!(counted() - before, 0);
}

#[test]
fn an_engine_holds_what_it_says() {
    let (network, pixels) = (mini(64), image(64));
    for count in [1, 3] {
        let before = LIVE.with(Cell::get);
        let fast = engine(&network.graph, &network.weights, EngineOptions::default());
        let kernels: Vec<PromptKernel> = PROMPTS.iter().map(|tokens| fast.encode_prompt(tokens).unwrap()).collect();
        let mut workspace = Workspace::default();
        fast.run(&mut workspace, &pixels, kernels[..count].iter()).unwrap();
        let held = (LIVE.with(Cell::get) - before) as f64;
        let said = fast.memory_bytes(count).unwrap() as f64;
        // Names, shapes and biases are not counted.
        assert!(said <= held && held <= 1.1 * said, "{count} prompts: said {said}, held {held}");
    }
}

/// All steps of a live stream's frame are on: masks, confounders, smoothing, quality and flags.
#[test]
fn a_warm_session_allocates_nothing() {
    let bundle = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs");
    let model = Model::open(&bundle, ModelOptions::default().with_confounders(true)).unwrap();
    let prompts = ["a dark nodule", "xyzzy"].map(|text| model.prompt(text).unwrap());
    let mut session = Session::new(&model, SessionOptions::default().with_smoothing(0.5)).unwrap();
    let mut state = 1u32;
    let speckle: Vec<u8> = (0..320 * 240)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            90 + (state >> 26) as u8
        })
        .collect();
    // The memory suffices for any flags of a frame.
    let frames = [(&speckle, true), (&speckle, true), (&vec![0; 320 * 240], false), (&speckle, false)];
    let mut flags = 0;
    let mut run = |(pixels, is_valid): (&Vec<u8>, bool), prompts: &[Prompt]| {
        let frame = Frame::packed(pixels, PixelFormat::Gray8, 320, 240).unwrap().with_valid(is_valid);
        let report = session.run(&frame, prompts).unwrap();
        flags += report.findings.iter().map(|finding| finding.quality().unwrap().flags.len()).sum::<usize>();
    };
    let before = counted();
    run(frames[0], &prompts);
    assert!(counted() > before, "the first frame allocates, and the counter registers it");
    let before = counted();
    for _ in 0..2 {
        frames.into_iter().for_each(|frame| run(frame, &prompts));
    }
    assert_eq!(counted() - before, 0);
    assert!(flags > 16, "{flags}");
}
