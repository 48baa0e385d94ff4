//! The runtime for the page: one model, one source of frames and one session, called from a web worker.
//!
//! Everything here is private to the page (`page/worker.js`). Nothing is judged here: masks, scores and flags are those of
//! `causalclipseg::Session`. Errors are one line of text for the page to show.

mod limits;
mod model;
mod picture;
mod report;
mod source;

use std::panic::PanicHookInfo;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The worker's: keeps the reason of a panic, after which the module cannot be used.
    #[wasm_bindgen(js_namespace = globalThis, js_name = keepPanic)]
    fn keep_panic(reason: &str);
}

/// Runs once, when the page instantiates the module.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| keep_panic(&info.to_string())));
}

fn failure(error: impl std::fmt::Display) -> JsError {
    JsError::new(&error.to_string())
}
