//! `causalclipseg-web-bindgen MODULE FOLDER`: reads a compiled module and writes it with the JavaScript that calls it, for a page. What
//! the command `wasm-bindgen` does, in the version that the lockfile names.

use std::process::ExitCode;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        eprintln!("usage: causalclipseg-web-bindgen MODULE FOLDER");
        return ExitCode::from(2);
    };
    let written =
        || Bindgen::new().input_path(module).out_name("runtime").typescript(false).web(true)?.generate(folder);
    match written() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{module}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
