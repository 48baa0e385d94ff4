//! Once warm, a frame allocates nothing: counted by the allocator of this test program.

use super::networks::{image, mini};
use super::{PROMPTS, engine};
use causalclipseg::engine::{EngineOptions, PromptKernel, Workspace};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Of this thread alone: other tests run beside this one.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
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
    assert!(counted() > before, "the first frame makes room, and the counter sees it");
    let before = counted();
    for count in [3, 1, 2, 3] {
        fast.run(&mut workspace, &pixels, kernels[..count].iter()).unwrap();
    }
    assert_eq!(counted() - before, 0);
}
