use std::process::ExitCode;

fn main() -> ExitCode {
    causalclipseg::cli::run()
}
