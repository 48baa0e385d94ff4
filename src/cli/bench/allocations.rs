//! Counts heap allocations, in the command alone: the library installs no allocator.
//!
//! Switched off, as in every command but `bench`, an allocation costs one relaxed load more; switched on, one relaxed
//! addition more. Both vanish beside the allocation itself (tens of nanoseconds).
#![expect(unsafe_code, reason = "the trait of allocators is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with a count of its allocations.
pub(crate) struct CountingAllocator;

fn count() {
    if IS_COUNTING.load(Relaxed) {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call is passed unchanged to the system's allocator, which keeps the trait's promises; counting touches
// two atomics, none of the caller's memory, and allocates nothing itself.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; the pointer came from the system's allocator, since all of ours do.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Starts to count, for the rest of the process.
pub(super) fn start_counting() {
    IS_COUNTING.store(true, Relaxed);
}

/// Allocations and reallocations of all threads since counting started.
pub(super) fn counted() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn allocations_are_counted() {
        start_counting();
        let before = counted();
        for size in 1..=100usize {
            black_box(Vec::<u8>::with_capacity(black_box(size)));
        }
        // Other tests allocate in the meantime, so this is a bound.
        assert!(counted() - before >= 100);
    }
}
