//! The `causalclipseg` command.

// wgpu's types lie deeper in each other than the compiler looks by default.
#![cfg_attr(feature = "gpu", recursion_limit = "256")]

mod cli;

/// Counts while `bench` measures; see there for what it costs.
#[global_allocator]
static ALLOCATOR: cli::CountingAllocator = cli::CountingAllocator;

fn main() -> std::process::ExitCode {
    cli::run()
}
