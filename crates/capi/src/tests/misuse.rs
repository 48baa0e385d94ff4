//! Every error path: a status and a message, never a crash.

use super::*;
use ccs_status::*;
use std::ffi::c_char;

#[test]
fn models_that_do_not_open() {
    let mut model = ccs_model { id: 99 };
    let none = ptr::null();
    // SAFETY: pointers are null or to this function's own, here and below: that is what is tested.
    unsafe {
        refused(ccs_model_open(ptr::null(), none, &mut model), Null, "path is null");
        assert_eq!(model.id, 0, "no old handle is left");
        refused(ccs_model_open(c"x".as_ptr(), none, ptr::null_mut()), Null, "model is null");
        refused(ccs_model_open(c"\xff".as_ptr(), none, &mut model), Argument, "path is not UTF-8");
        refused(ccs_model_open(c"no/such.ccs".as_ptr(), none, &mut model), Bundle, "no/such.ccs");
        refused(ccs_model_open(c"/".as_ptr(), none, &mut model), Bundle, "is not a file");
        refused(ccs_model_open_memory(ptr::null(), 5, none, &mut model), Null, "bytes is null");
        refused(ccs_model_open_memory(c"x".as_ptr().cast(), usize::MAX, none, &mut model), Argument, "memory can hold");
        refused(ccs_model_open_memory(c"x".as_ptr().cast(), 0, none, &mut model), Bundle, "the bundle");
        let mut bytes = toy::builder().to_bytes().unwrap();
        let end = bytes.len() - 1000;
        bytes[end] ^= 1;
        refused(ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), none, &mut model), Bundle, "is damaged");
        let options = ccs_model_options { struct_size: 2, ..Default::default() };
        refused(
            ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model),
            StructSize,
            "set it to sizeof(ccs_model_options)",
        );
        bytes[end] ^= 1;
        let options = ccs_model_options { threads: 257, ..Default::default() };
        let many = ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model);
        refused(many, Argument, "257 threads");
        let options = ccs_model_options { device: 3, ..Default::default() };
        let unknown = ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model);
        refused(unknown, Argument, "3 is not a device");
        let options = ccs_model_options { device: CCS_DEVICE_GPU, ..Default::default() };
        let gpu = ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model);
        match cfg!(feature = "gpu") {
            false => refused(gpu, Argument, "built without GPUs"),
            // On this machine's GPU, or on the CPU in its place.
            true => {
                ok(gpu);
                ok(ccs_model_free(model));
            }
        }
        let options = ccs_model_options { device: CCS_DEVICE_AUTO, ..Default::default() };
        ok(ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model));
        ok(ccs_model_free(model));
        let untrained = toy::builder_of(false).to_bytes().unwrap();
        let opened = ccs_model_open_memory(untrained.as_ptr().cast(), untrained.len(), none, &mut model);
        refused(opened, Untrained, "allow_untrained");
        let options = ccs_model_options { allow_untrained: 1, ..Default::default() };
        ok(ccs_model_open_memory(untrained.as_ptr().cast(), untrained.len(), &options, &mut model));
        ok(ccs_model_free(model));
    }
}

#[test]
fn handles_that_are_none() {
    let model = open(false);
    let (prompt, session) = (encode(model, "dark"), session(model));
    let frame = grey(&[0; 4], 2);
    let mut info = ccs_measurements { ..measurements() };
    // SAFETY: pointers are to this function's own, here and below.
    unsafe {
        let (mut out, text) = (ccs_prompt { id: 5 }, c"dark".as_ptr());
        refused(
            ccs_prompt_new(ccs_model { id: 0 }, text, &mut out),
            Handle,
            "0 is not the handle of a model: create one first",
        );
        assert_eq!(out.id, 0);
        refused(ccs_prompt_new(ccs_model { id: prompt.id }, text, &mut out), Handle, "of another kind");
        refused(ccs_prompt_new(ccs_model { id: u64::MAX }, text, &mut out), Handle, "never existed");
        refused(ccs_model_self_test(ccs_model { id: session.id }, ptr::null_mut()), Handle, "model");
        refused(ccs_measure(ccs_session { id: model.id }, 0, &mut info), Handle, "session");
        refused(ccs_stream_submit(ccs_stream { id: model.id }, &frame, 0, ptr::null_mut()), Handle, "stream");
        refused(ccs_stream_set_prompts(ccs_stream { id: 1 << 60 }, &text, 1), Handle, "stream");
    }
    refused(segment(session, &frame, &[ccs_prompt { id: model.id }]), Handle, "prompt");
    refused(ccs_prompt_free(ccs_prompt { id: session.id }), Handle, "another kind");
    // Freed twice, and used after.
    ok(ccs_prompt_free(prompt));
    refused(ccs_prompt_free(prompt), Handle, "was freed");
    refused(segment(session, &frame, &[prompt]), Handle, "was freed");
    ok(ccs_session_free(session));
    refused(segment(session, &frame, &[]), Handle, "was freed");
    ok(ccs_model_free(model));
    refused(ccs_model_free(model), Handle, "was freed");
    // Nothing is nothing to free.
    ok(ccs_model_free(ccs_model::default()));
    ok(ccs_prompt_free(ccs_prompt::default()));
    ok(ccs_session_free(ccs_session::default()));
    ok(ccs_stream_close(ccs_stream::default(), 0));
    refused(ccs_stream_close(ccs_stream { id: 1 << 60 }, 0), Handle, "stream");
}

#[test]
fn prompts_that_are_none() {
    let model = open(false);
    let mut prompt = ccs_prompt::default();
    // SAFETY: pointers are null or to this function's own.
    unsafe {
        refused(ccs_prompt_new(model, ptr::null(), &mut prompt), Null, "text is null");
        refused(ccs_prompt_new(model, c"dark".as_ptr(), ptr::null_mut()), Null, "prompt is null");
        refused(ccs_prompt_new(model, c" ".as_ptr(), &mut prompt), Prompt, "the prompt is empty");
        refused(ccs_prompt_new(model, c"\xc3".as_ptr(), &mut prompt), Argument, "not UTF-8");
        let long = CString::new("lesion ".repeat(100)).unwrap();
        refused(ccs_prompt_new(model, long.as_ptr(), &mut prompt), Prompt, "shorten it");
    }
}

#[test]
fn frames_that_are_none() {
    let model = open(false);
    let (prompt, session) = (encode(model, "dark"), session(model));
    let pixels = [0u8; 64];
    let good = grey(&pixels, 8);
    ok(segment(session, &good, &[prompt]));
    let region = |x, y, width, height| ccs_frame { region: ccs_region { x, y, width, height }, ..good };
    let cases = [
        (ccs_frame { struct_size: 0, ..good }, StructSize, "ccs_frame.struct_size is 0"),
        (ccs_frame { struct_size: good.struct_size + 8, ..good }, StructSize, "ccs_frame"),
        (ccs_frame { format: 4, ..good }, Argument, "4 is not a pixel format"),
        (ccs_frame { pixels: ptr::null(), ..good }, Null, "ccs_frame.pixels is null"),
        (ccs_frame { pixels_bytes: 63, ..good }, Frame, "holds 63 bytes and the frame needs 64"),
        (ccs_frame { pixels_bytes: 0, ..good }, Frame, "holds 0 bytes"),
        (ccs_frame { pixels_bytes: usize::MAX, ..good }, Argument, "memory can hold"),
        (ccs_frame { width: 0, ..good }, Frame, "at least one pixel a side"),
        (ccs_frame { height: 0, ..good }, Frame, "at least one pixel a side"),
        (ccs_frame { width: u32::MAX, height: u32::MAX, ..good }, Frame, "more than 16384 a side"),
        (ccs_frame { stride_bytes: 7, ..good }, Frame, "a stride of 7 bytes is shorter"),
        (ccs_frame { stride_bytes: usize::MAX, ..good }, Frame, "overflows"),
        (ccs_frame { format: CCS_FORMAT_BGRA8, ..good }, Frame, "the frame needs 256"),
        (region(0, 0, 9, 8), Frame, "region of interest"),
        (region(u32::MAX, 0, 2, 1), Frame, "region of interest"),
        (region(1, 1, 0, 0), Frame, "region of interest"),
        (ccs_frame { mm_per_pixel: [0.1, 0.0], ..good }, Frame, "mm per pixel"),
        (ccs_frame { mm_per_pixel: [f32::NAN, 0.1], ..good }, Frame, "mm per pixel"),
        (ccs_frame { invalid: 2, ..good }, Argument, "ccs_frame.invalid is 2: set it to 0 or 1"),
        (ccs_frame { reserved: 1, ..good }, Argument, "ccs_frame.reserved is 1: set it to 0"),
    ];
    for (frame, status, part) in cases {
        refused(segment(session, &frame, &[prompt]), status, part);
        // A failure leaves no results of the frame before.
        // SAFETY: pointers are to this function's own.
        refused(unsafe { ccs_measure(session, 0, &mut measurements()) }, NoResult, "no result 0");
    }
    // SAFETY: pointers are null or to this function's own, or misaligned on purpose and not read.
    unsafe {
        refused(ccs_segment(session, ptr::null(), &prompt, 1, ptr::null_mut()), Null, "ccs_frame is null");
        let odd = ptr::without_provenance::<ccs_frame>(0x1001);
        refused(ccs_segment(session, odd, &prompt, 1, ptr::null_mut()), Argument, "not aligned");
        refused(ccs_segment(session, &good, ptr::null(), 1, ptr::null_mut()), Null, "prompts is null");
        refused(ccs_segment(session, &good, &prompt, 0, ptr::null_mut()), Argument, "no prompts");
        refused(ccs_segment(session, &good, &prompt, usize::MAX, ptr::null_mut()), Argument, "memory can hold");
        let mut timing: ccs_timing = std::mem::zeroed();
        refused(ccs_segment(session, &good, &prompt, 1, &mut timing), StructSize, "ccs_timing");
    }
    let other = open(false);
    let stranger = encode(other, "dark");
    refused(segment(session, &good, &[prompt, stranger]), OtherModel, "encoded by another model");
    ok(segment(session, &good, &[prompt]));
}

#[test]
fn models_that_need_more_than_they_may() {
    let path = CString::new(shipped().to_str().unwrap()).unwrap();
    let start = |memory_cap_bytes| {
        let (options, mut model) = (ccs_model_options { memory_cap_bytes, ..Default::default() }, ccs_model::default());
        // SAFETY: pointers are to this function's own.
        (unsafe { ccs_model_open(path.as_ptr(), &options, &mut model) }, model)
    };
    let (status, model) = start(0);
    ok(status);
    // SAFETY: numbers, for which zero is a value.
    let mut info = ccs_model_info { struct_size: size_of::<ccs_model_info>() as u32, ..unsafe { std::mem::zeroed() } };
    // SAFETY: the pointer is to this function's own.
    ok(unsafe { ccs_model_describe(model, &mut info) });
    let needed = info.memory_bytes;
    assert!(needed > std::fs::metadata(shipped()).unwrap().len(), "{needed}");
    ok(start(needed).0);
    refused(start(needed - 1).0, Memory, &format!("needs {needed} bytes of memory and may take {}", needed - 1));
    // The bundle alone is more.
    let (status, model) = start(1 << 20);
    refused(status, Memory, "may take 1048576");
    assert_eq!(model.id, 0);
    // A network that plain tract runs.
    let (bytes, options) =
        (toy::builder().to_bytes().unwrap(), ccs_model_options { memory_cap_bytes: 1 << 40, ..Default::default() });
    let mut model = ccs_model::default();
    // SAFETY: pointers are to this function's own.
    let status = unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model) };
    refused(status, Memory, "no known bound");
}

#[test]
fn buffers_that_are_too_small() {
    let model = open(false);
    let (prompt, session) = (encode(model, "a bright mass"), session(model));
    let (mut bytes, mut floats) = ([9u8; 96], [9.0f32; 96]);
    // SAFETY: pointers are null or to this function's own.
    unsafe {
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, 0), NoResult, "ccs_segment gave 0");
        let pixels = [255u8; 96];
        ok(segment(session, &grey(&pixels, 12), &[prompt]));
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 95, 0), BufferTooSmall, "room for 95 elements and 96");
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, 13), BufferTooSmall, "103 are needed");
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, 11), Argument, "shorter than a row of 12");
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, usize::MAX), Argument, "too large");
        refused(ccs_mask(session, 0, ptr::null_mut(), 96, 0), Null, "mask is null");
        refused(ccs_mask(session, 1, bytes.as_mut_ptr(), 96, 0), NoResult, "no result 1");
        refused(ccs_mask(session, usize::MAX, bytes.as_mut_ptr(), 96, 0), NoResult, "no result");
        refused(ccs_probability(session, 0, floats.as_mut_ptr(), 0, 0), BufferTooSmall, "probability has room for 0");
        refused(ccs_probability(session, 3, floats.as_mut_ptr(), 96, 0), NoResult, "no result 3");
        refused(
            ccs_confounders(session, 0, floats.as_mut_ptr(), 96, 0),
            NoConfounders,
            "ccs_model_options.confounders",
        );
        assert!(bytes == [9; 96] && floats == [9.0; 96], "nothing was written");

        let (mut contour_count, mut point_count) = (0, 0);
        let mut contour = ccs_contour::default();
        let mut ask = |contours, contour_capacity, points, point_capacity| {
            let status = ccs_contours(
                session,
                0,
                contours,
                contour_capacity,
                &mut contour_count,
                points,
                point_capacity,
                &mut point_count,
            );
            (status, contour_count, point_count)
        };
        let none = ptr::null_mut();
        assert_eq!(ask(ptr::null_mut(), 0, none, 0), (BufferTooSmall, 1, 4));
        assert_eq!(ask(&mut contour, 1, none, 3), (BufferTooSmall, 1, 4));
        assert_eq!(ask(&mut contour, 1, none, 4), (Null, 1, 4));
        let count = ptr::null_mut();
        refused(
            ccs_contours(session, 0, &mut contour, 1, count, ptr::null_mut(), 0, &mut 0),
            Null,
            "contour_count is null",
        );
        refused(
            ccs_contours(session, 0, &mut contour, 1, &mut 0, ptr::null_mut(), 0, count),
            Null,
            "point_count is null",
        );
        refused(ccs_contours(session, 7, &mut contour, 1, &mut 0, ptr::null_mut(), 0, &mut 0), NoResult, "no result 7");
        refused(ccs_measure(session, 0, ptr::null_mut()), Null, "ccs_measurements is null");
        refused(ccs_measure(session, 1, &mut measurements()), NoResult, "no result 1");
        let mut small = ccs_measurements { struct_size: 12, ..measurements() };
        refused(ccs_measure(session, 0, &mut small), StructSize, "ccs_measurements");
        refused(ccs_model_describe(model, ptr::null_mut()), Null, "ccs_model_info is null");
        refused(ccs_judge(session, 0, ptr::null_mut()), Null, "ccs_quality is null");
        let mut quality = ccs_quality { struct_size: 8, ..std::mem::zeroed() };
        refused(ccs_judge(session, 0, &mut quality), StructSize, "ccs_quality");
        refused(ccs_judge(session, 1, &mut quality), NoResult, "no result 1");
    }
}

unsafe extern "C" fn ignore(_: *mut c_void, _: *const ccs_event) {}

fn options() -> ccs_stream_options {
    ccs_stream_options::default()
}

#[test]
fn sessions_that_are_not_made() {
    let model = open(false);
    let default = ccs_session_options::default();
    let whole = default.struct_size;
    let mut session = ccs_session { id: 3 };
    // SAFETY: pointers are null or to this function's own.
    refused(unsafe { ccs_session_new(model, ptr::null(), ptr::null_mut()) }, Null, "session is null");
    let mut start = |model, options: &ccs_session_options| {
        // SAFETY: pointers are to what the test holds.
        unsafe { ccs_session_new(model, options, &mut session) }
    };
    let bad = [
        (ccs_session_options { threshold: f32::NAN, ..default }, Argument, "a threshold of NaN"),
        (ccs_session_options { threshold: 2.0, ..default }, Argument, "above 0 and below 1"),
        (ccs_session_options { threshold: f32::INFINITY, ..default }, Argument, "a threshold of inf"),
        (ccs_session_options { threshold: 1.0, ..default }, Argument, "a threshold of 1"),
        (ccs_session_options { threshold: -1.0, ..default }, Argument, "a threshold of -1"),
        (ccs_session_options { smoothing: 1.0, ..default }, Argument, "a smoothing of 1"),
        (ccs_session_options { smoothing: f32::NAN, ..default }, Argument, "a smoothing of NaN"),
        (ccs_session_options { no_quality: 7, ..default }, Argument, "no_quality is 7: set it to 0 or 1"),
        (ccs_session_options { struct_size: 0, ..default }, StructSize, "set it to sizeof(ccs_session_options)"),
        (ccs_session_options { struct_size: whole - 1, ..default }, StructSize, "ccs_session_options"),
        (ccs_session_options { struct_size: whole + 4, ..default }, StructSize, "ccs_session_options"),
    ];
    for (options, status, part) in bad {
        refused(start(model, &options), status, part);
    }
    refused(start(ccs_model { id: 1 << 60 }, &default), Handle, "of a model");
    assert_eq!(session.id, 0, "no old handle is left");
}

#[test]
fn reserved_fields_are_zero_and_switches_are_on_or_off() {
    let bytes = toy::builder().to_bytes().unwrap();
    let model = open(false);
    let mut opened = ccs_model::default();
    let default = ccs_model_options::default();
    for (options, part) in [
        (ccs_model_options { reserved: 77, ..default }, "ccs_model_options.reserved is 77"),
        (ccs_model_options { confounders: 12345, ..default }, "ccs_model_options.confounders is 12345"),
        (ccs_model_options { allow_untrained: 2, ..default }, "ccs_model_options.allow_untrained is 2"),
    ] {
        // SAFETY: pointers are to this function's own, here and below.
        let status = unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut opened) };
        refused(status, Argument, part);
    }
    let (dark, mut stream) = ([c"dark".as_ptr()], ccs_stream::default());
    for (options, part) in [
        (ccs_stream_options { reserved: 1, ..options() }, "ccs_stream_options.reserved is 1"),
        (ccs_stream_options { keep_order: 2, ..options() }, "ccs_stream_options.keep_order is 2"),
        (ccs_stream_options { lower_rate: 2, ..options() }, "ccs_stream_options.lower_rate is 2"),
        (ccs_stream_options { smaller_input: 2, ..options() }, "ccs_stream_options.smaller_input is 2"),
        (ccs_stream_options { measure: 2, ..options() }, "ccs_stream_options.measure is 2"),
        (ccs_stream_options { no_quality: 2, ..options() }, "ccs_stream_options.no_quality is 2"),
    ] {
        let user = ptr::null_mut();
        // SAFETY: as above.
        let status = unsafe { ccs_stream_open(&model, 1, dark.as_ptr(), 1, &options, Some(ignore), user, &mut stream) };
        refused(status, Argument, part);
    }
}

#[test]
fn streams_that_do_not_open() {
    let model = open(false);
    let mut stream = ccs_stream { id: 3 };
    let dark = [c"dark".as_ptr()];
    let mut start = |models: &[ccs_model], prompts: &[*const c_char], options: &ccs_stream_options, callback| {
        // SAFETY: pointers are to what the test holds.
        unsafe {
            ccs_stream_open(
                models.as_ptr(),
                models.len(),
                prompts.as_ptr(),
                prompts.len(),
                options,
                callback,
                ptr::null_mut(),
                &mut stream,
            )
        }
    };
    let callback: ccs_callback = Some(ignore);
    refused(start(&[], &dark, &options(), callback), Argument, "a stream without a model");
    refused(start(&[model], &[], &options(), callback), Argument, "a stream without a prompt");
    refused(start(&[model], &dark, &options(), None), Null, "callback is null");
    refused(start(&[ccs_model { id: 0 }], &dark, &options(), callback), Handle, "create one first");
    refused(start(&[model], &[ptr::null()], &options(), callback), Null, "a prompt is null");
    refused(start(&[model], &[c"".as_ptr()], &options(), callback), Prompt, "empty");
    let bad = [
        (ccs_stream_options { struct_size: 1, ..options() }, StructSize, "ccs_stream_options"),
        (ccs_stream_options { deadline_ms: -1.0, ..options() }, Argument, "a deadline of -1 ms"),
        (ccs_stream_options { deadline_ms: f64::NAN, ..options() }, Argument, "a deadline"),
        (ccs_stream_options { queued_frames: 9, ..options() }, Argument, "queued frames is 9"),
        (ccs_stream_options { smoothing: 1.0, ..options() }, Argument, "a smoothing of 1"),
        (ccs_stream_options { threshold: 2.0, ..options() }, Argument, "a threshold of 2"),
    ];
    for (options, status, part) in bad {
        refused(start(&[model], &dark, &options, callback), status, part);
    }
    assert_eq!(stream.id, 0);
}

struct Closer {
    stream: std::sync::Mutex<ccs_stream>,
    answer: std::sync::mpsc::Sender<(ccs_status, String)>,
}

unsafe extern "C" fn close_itself(user: *mut c_void, _: *const ccs_event) {
    // SAFETY: `user` is the test's.
    let closer = unsafe { &*user.cast::<Closer>() };
    let status = ccs_stream_close(*closer.stream.lock().unwrap(), 0);
    closer.answer.send((status, message())).unwrap();
}

#[test]
fn streams_that_are_misused() {
    let model = open(false);
    let (answer, answers) = std::sync::mpsc::channel();
    let closer = Closer { stream: Default::default(), answer };
    let options = ccs_stream_options { max_frame_bytes: 100, ..options() };
    let mut stream = ccs_stream::default();
    let user = (&raw const closer).cast_mut().cast();
    // SAFETY: pointers are null or to this function's own, and the stream is closed before they go.
    unsafe {
        let prompts = [c"dark".as_ptr()];
        ok(ccs_stream_open(&model, 1, prompts.as_ptr(), 1, &options, Some(close_itself), user, &mut stream));
        *closer.stream.lock().unwrap() = stream;
        refused(ccs_stream_submit(stream, ptr::null(), 0, ptr::null_mut()), Null, "ccs_frame is null");
        refused(ccs_stream_submit(stream, &grey(&[0; 101], 101), 0, ptr::null_mut()), Frame, "at most 100");
        refused(ccs_stream_set_prompts(stream, ptr::null(), 1), Null, "prompts is null");
        refused(ccs_stream_set_prompts(stream, ptr::null(), 0), Argument, "without a prompt");
        refused(ccs_stream_set_prompts(stream, [c" ".as_ptr()].as_ptr(), 1), Prompt, "empty");
        refused(ccs_stream_statistics(stream, ptr::null_mut()), Null, "ccs_statistics is null");
        ok(ccs_stream_submit(stream, &grey(&[0; 4], 2), 0, ptr::null_mut()));
    }
    let (status, message) = answers.recv().unwrap();
    assert_eq!(status, Busy);
    assert!(message.contains("cannot be closed from its own callback"));
    ok(ccs_stream_close(stream, 1));
    refused(ccs_stream_close(stream, 1), Handle, "was freed");
}

#[test]
fn a_session_serves_one_thread_at_a_time() {
    let model = open(false);
    let (prompt, session) = (encode(model, "dark"), session(model));
    let pixels = vec![0; 2048 * 2048];
    let frame = grey(&pixels, 2048);
    // One of many tries meets another's call; each gives a result or says that the session is in use.
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let frame = grey(&pixels, 2048);
                    (0..6).map(|_| segment(session, &frame, &[prompt])).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(results.iter().all(|status| matches!(status, Ok | Busy)), "{results:?}");
    assert!(results.contains(&Ok) && results.contains(&Busy), "{results:?}");
    ok(segment(session, &frame, &[prompt]));
}

#[test]
fn messages_belong_to_their_thread() {
    refused(ccs_model_free(ccs_model { id: 1 << 50 }), Handle, "1125899906842624");
    let other = std::thread::spawn(message).join().unwrap();
    assert_eq!(other, "");
    // A call that succeeds leaves the message.
    ok(ccs_model_free(ccs_model::default()));
    assert!(message().contains("1125899906842624"));
}
