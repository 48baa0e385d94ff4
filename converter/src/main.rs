//! The `causalclipseg-convert` command.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
