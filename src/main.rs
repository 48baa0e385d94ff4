//! The `causalclipseg` command.

// wgpu's types are nested deeper than the compiler's default limit.
#![cfg_attr(feature = "gpu", recursion_limit = "256")]

mod cli;

/// Counts allocations while `bench` measures; `cli::CountingAllocator` says what it costs.
#[global_allocator]
static ALLOCATOR: cli::CountingAllocator = cli::CountingAllocator;

fn main() -> std::process::ExitCode {
    cli::run()
}
