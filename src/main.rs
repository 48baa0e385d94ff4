//! The `causalclipseg` command.

mod cli;

/// Counts while `bench` measures; see there for what it costs.
#[global_allocator]
static ALLOCATOR: cli::CountingAllocator = cli::CountingAllocator;

fn main() -> std::process::ExitCode {
    cli::run()
}
