//! Limits on a call's memory, prompts and time, and cancelling.

use super::*;
use std::time::{Duration, Instant};

fn shipped_model() -> ccs_model {
    let path = CString::new(shipped().to_str().unwrap()).unwrap();
    let mut model = ccs_model::default();
    // SAFETY: all pointers are to this function's own.
    ok(unsafe { ccs_model_open(path.as_ptr(), ptr::null(), &mut model) });
    model
}

fn limited(model: ccs_model, time_limit_us: u32) -> ccs_session {
    let (options, mut session) = (ccs_session_options { time_limit_us, ..Default::default() }, ccs_session::default());
    // SAFETY: all pointers are to this function's own.
    ok(unsafe { ccs_session_new(model, &options, &mut session) });
    session
}

#[test]
fn prompts_are_counted_before_the_work() {
    let model = open(false);
    let (prompt, session) = (encode(model, "dark"), session(model));
    let pixels = [0; 64];
    let prompts = [prompt; CCS_MAX_PROMPTS as usize + 1];
    ok(segment(session, &grey(&pixels, 8), &prompts[1..]));
    refused(segment(session, &grey(&pixels, 8), &prompts), CCS_STATUS_ARGUMENT, "257 prompts: give 1 to 256");
    let texts = [c"dark".as_ptr(); CCS_MAX_PROMPTS as usize + 1];
    unsafe extern "C" fn ignore(_: *mut c_void, _: *const ccs_event) {}
    let (mut stream, user) = (ccs_stream { id: 7 }, ptr::null_mut());
    // SAFETY: pointers are null or to this function's own, here and below.
    let opened =
        unsafe { ccs_stream_open(&model, 1, texts.as_ptr(), 257, ptr::null(), Some(ignore), user, &mut stream) };
    refused(opened, CCS_STATUS_ARGUMENT, "the number of prompts is 257");
    assert_eq!(stream.id, 0);
    // SAFETY: as above.
    unsafe {
        ok(ccs_stream_open(&model, 1, texts.as_ptr(), 256, ptr::null(), Some(ignore), user, &mut stream));
        refused(ccs_stream_set_prompts(stream, texts.as_ptr(), 257), CCS_STATUS_ARGUMENT, "give 1 to 256");
    }
    ok(ccs_stream_close(stream, 0));
}

#[test]
fn a_call_ends_when_its_time_is_over() {
    let model = shipped_model();
    let prompt = encode(model, "a dark nodule");
    let pixels: Vec<u8> = (0..320 * 240).map(|at| (at * 31 % 251) as u8).collect();
    let frame = grey(&pixels, 320);
    let (short, long) = (limited(model, 1), limited(model, 60_000_000));
    refused(segment(short, &frame, &[prompt]), CCS_STATUS_TIME_LIMIT, "longer than the 0.001 ms");
    // SAFETY: the pointer is to this function's own.
    refused(unsafe { ccs_measure(short, 0, &mut measurements()) }, CCS_STATUS_NO_RESULT, "no result");
    ok(segment(long, &frame, &[prompt]));
    // A frame that did not run does not count as seen: it is not frozen when it comes again.
    for (session, expected) in [(short, CCS_STATUS_TIME_LIMIT), (long, CCS_STATUS_OK)] {
        assert_eq!(segment(session, &frame, &[prompt]), expected);
    }
    for handle in [short, long] {
        ok(ccs_session_free(handle));
    }
}

/// Flags of the last call's only finding.
fn flags(session: ccs_session) -> u32 {
    // SAFETY: numbers, for which zero is a value; the pointer is to this function's own.
    unsafe {
        let mut quality = ccs_quality { struct_size: size_of::<ccs_quality>() as u32, ..std::mem::zeroed() };
        ok(ccs_judge(session, 0, &mut quality));
        quality.flags
    }
}

#[test]
fn a_running_call_is_cancelled_and_no_other() {
    let model = shipped_model();
    let prompt = encode(model, "a dark nodule");
    let pixels: Vec<u8> = (0..320 * 240).map(|at| (at * 31 % 251) as u8).collect();
    let session = session(model);
    // Nothing to cancel before a call.
    ok(ccs_session_cancel(session));
    ok(segment(session, &grey(&pixels, 320), &[prompt]));
    let many = vec![prompt; 256];
    let begun = Instant::now();
    ok(segment(session, &grey(&pixels, 320), &many));
    let whole = begun.elapsed();

    // A new frame, so that it is not flagged as frozen.
    let other: Vec<u8> = pixels.iter().map(|pixel| 255 - pixel).collect();
    let (status, message, took) = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let begun = Instant::now();
            (segment(session, &grey(&other, 320), &many), message(), begun.elapsed())
        });
        // Repeated until the call has ended, since its start can't be observed.
        while !call.is_finished() {
            ok(ccs_session_cancel(session));
            std::thread::sleep(Duration::from_micros(200));
        }
        call.join().unwrap()
    });
    assert_eq!(status, CCS_STATUS_CANCELLED, "{message}");
    assert!(message.contains("was cancelled"), "{message}");
    assert!(took < whole, "{took:?} and not less than {whole:?}");
    // SAFETY: the pointer is to this function's own.
    refused(unsafe { ccs_measure(session, 0, &mut measurements()) }, CCS_STATUS_NO_RESULT, "no result");
    ok(segment(session, &grey(&other, 320), &[prompt]));
    assert_eq!(flags(session) & CCS_FLAG_FROZEN_FRAME, 0, "a cancelled frame was not seen");
    ok(segment(session, &grey(&other, 320), &[prompt]));
    assert_ne!(flags(session) & CCS_FLAG_FROZEN_FRAME, 0);
    refused(ccs_session_cancel(ccs_session { id: model.id }), CCS_STATUS_HANDLE, "of a session");
}

unsafe extern "C" fn count_failed(user: *mut c_void, event: *const ccs_event) {
    // SAFETY: `user` is the test's, the event is lent, and its message a zero-terminated string.
    unsafe {
        let failures = &*user.cast::<std::sync::Mutex<Vec<String>>>();
        if (*event).kind == CCS_EVENT_FAILED {
            failures.lock().unwrap().push(CStr::from_ptr((*event).message).to_str().unwrap().to_string());
        }
    }
}

#[test]
fn a_stream_gives_up_a_frame_and_goes_on() {
    let model = shipped_model();
    let failures = std::sync::Mutex::new(Vec::<String>::new());
    let options = ccs_stream_options { time_limit_us: 1, keep_order: 1, ..Default::default() };
    let (mut stream, texts) = (ccs_stream::default(), [c"a dark nodule".as_ptr()]);
    let user = (&raw const failures).cast_mut().cast();
    let pixels = [90; 64 * 48];
    // SAFETY: pointers are to this function's own, and the stream is closed before they go.
    unsafe {
        ok(ccs_stream_open(&model, 1, texts.as_ptr(), 1, &options, Some(count_failed), user, &mut stream));
        for _ in 0..2 {
            let mut became = CCS_FULL;
            while became == CCS_FULL {
                ok(ccs_stream_submit(stream, &grey(&pixels, 64), 0, &mut became));
            }
        }
    }
    ok(ccs_stream_close(stream, 1));
    let failures = failures.into_inner().unwrap();
    assert!(failures.len() == 2 && failures[0].contains("longer than the 0.001 ms"), "{failures:?}");
}
