//! Calls the C ABI as a host does: its results, and every way to misuse it. Programs in C and C++ are in `../tests`.

mod camera;
mod clip;
mod limits;
mod log;
mod misuse;
mod results;
mod threads;

use crate::*;
use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::ptr;
use toy_networks::{shipped, toy};

fn message() -> String {
    // SAFETY: a zero-terminated string, used before the next call.
    unsafe { CStr::from_ptr(ccs_last_error()) }.to_str().unwrap().to_string()
}

fn ok(status: ccs_status) {
    assert_eq!(status, CCS_STATUS_OK, "{}", message());
}

/// Asserts a failure and that its message, one line, holds `part`.
fn refused(status: ccs_status, expected: ccs_status, part: &str) {
    let message = message();
    assert_eq!(status, expected, "{message}");
    assert!(message.contains(part) && !message.contains('\n'), "`{part}` is not in: {message}");
}

/// The toy model, opened from memory.
fn open(confounders: bool) -> ccs_model {
    let bytes = toy::builder().to_bytes().unwrap();
    let options = ccs_model_options { confounders: u32::from(confounders), ..Default::default() };
    let mut model = ccs_model::default();
    // SAFETY: all pointers are to this function's own.
    ok(unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model) });
    model
}

fn encode(model: ccs_model, text: &str) -> ccs_prompt {
    let (text, mut prompt) = (CString::new(text).unwrap(), ccs_prompt::default());
    // SAFETY: all pointers are to this function's own.
    ok(unsafe { ccs_prompt_new(model, text.as_ptr(), &mut prompt) });
    prompt
}

fn session(model: ccs_model) -> ccs_session {
    let mut session = ccs_session::default();
    // SAFETY: all pointers are to this function's own.
    ok(unsafe { ccs_session_new(model, ptr::null(), &mut session) });
    session
}

fn grey(pixels: &[u8], width: u32) -> ccs_frame {
    ccs_frame {
        struct_size: size_of::<ccs_frame>() as u32,
        format: CCS_FORMAT_GRAY8,
        pixels: pixels.as_ptr().cast::<c_void>(),
        pixels_bytes: pixels.len(),
        width,
        height: pixels.len() as u32 / width,
        stride_bytes: 0,
        region: ccs_region::default(),
        mm_per_pixel: [0.0; 2],
        invalid: 0,
        reserved: 0,
        chroma: [ptr::null(); 2],
        chroma_bytes: [0; 2],
        chroma_stride_bytes: [0; 2],
    }
}

fn segment(session: ccs_session, frame: &ccs_frame, prompts: &[ccs_prompt]) -> ccs_status {
    // SAFETY: all pointers are to what the caller holds.
    unsafe { ccs_segment(session, frame, prompts.as_ptr(), prompts.len(), ptr::null_mut()) }
}

fn measurements() -> ccs_measurements {
    // SAFETY: numbers, for which zero is a value.
    ccs_measurements { struct_size: size_of::<ccs_measurements>() as u32, ..unsafe { std::mem::zeroed() } }
}
