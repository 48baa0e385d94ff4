//! Every error path: a status and a message, never a crash.

use super::*;
use runtime::bundle::SigningKey;
use std::ffi::c_char;

#[test]
fn models_that_do_not_open() {
    let mut model = ccs_model { id: 99 };
    let none = ptr::null();
    // SAFETY: pointers are null or to this function's own, here and below: that is what is tested.
    unsafe {
        refused(ccs_model_open(ptr::null(), none, &mut model), CCS_STATUS_NULL, "path is null");
        assert_eq!(model.id, 0, "no old handle is left");
        refused(ccs_model_open(c"x".as_ptr(), none, ptr::null_mut()), CCS_STATUS_NULL, "model is null");
        refused(ccs_model_open(c"\xff".as_ptr(), none, &mut model), CCS_STATUS_ARGUMENT, "path is not UTF-8");
        refused(ccs_model_open(c"no/such.ccs".as_ptr(), none, &mut model), CCS_STATUS_BUNDLE, "no/such.ccs");
        refused(ccs_model_open(c"/".as_ptr(), none, &mut model), CCS_STATUS_BUNDLE, "is not a file");
        refused(ccs_model_open_memory(ptr::null(), 5, none, &mut model), CCS_STATUS_NULL, "bytes is null");
        refused(
            ccs_model_open_memory(c"x".as_ptr().cast(), usize::MAX, none, &mut model),
            CCS_STATUS_ARGUMENT,
            "memory can hold",
        );
        refused(ccs_model_open_memory(c"x".as_ptr().cast(), 0, none, &mut model), CCS_STATUS_BUNDLE, "the bundle");
        let mut bytes = toy::builder().to_bytes().unwrap();
        let end = bytes.len() - 1000;
        bytes[end] ^= 1;
        refused(
            ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), none, &mut model),
            CCS_STATUS_BUNDLE,
            "is damaged",
        );
        let options = ccs_model_options { struct_size: 2, ..Default::default() };
        refused(
            ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model),
            CCS_STATUS_STRUCT_SIZE,
            "set it to sizeof(ccs_model_options)",
        );
        bytes[end] ^= 1;
        let options = ccs_model_options { threads: 65, ..Default::default() };
        let many = ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model);
        refused(many, CCS_STATUS_ARGUMENT, "65 threads: give 1 to 64");
        let options = ccs_model_options { device: 3, ..Default::default() };
        let unknown = ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model);
        refused(unknown, CCS_STATUS_ARGUMENT, "3 is not a device");
        let options = ccs_model_options { device: CCS_DEVICE_GPU, ..Default::default() };
        let gpu = ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model);
        match cfg!(feature = "gpu") {
            false => refused(gpu, CCS_STATUS_ARGUMENT, "built without GPUs"),
            // Runs on this machine's GPU, or falls back to the CPU.
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
        refused(opened, CCS_STATUS_UNTRAINED, "allow_untrained");
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
            CCS_STATUS_HANDLE,
            "0 is not the handle of a model: create one first",
        );
        assert_eq!(out.id, 0);
        refused(ccs_prompt_new(ccs_model { id: prompt.id }, text, &mut out), CCS_STATUS_HANDLE, "of another kind");
        refused(ccs_prompt_new(ccs_model { id: u64::MAX }, text, &mut out), CCS_STATUS_HANDLE, "never existed");
        refused(ccs_model_self_test(ccs_model { id: session.id }, ptr::null_mut()), CCS_STATUS_HANDLE, "model");
        refused(ccs_measure(ccs_session { id: model.id }, 0, &mut info), CCS_STATUS_HANDLE, "session");
        refused(
            ccs_stream_submit(ccs_stream { id: model.id }, &frame, 0, ptr::null_mut()),
            CCS_STATUS_HANDLE,
            "stream",
        );
        refused(ccs_stream_set_prompts(ccs_stream { id: 1 << 60 }, &text, 1), CCS_STATUS_HANDLE, "stream");
    }
    refused(segment(session, &frame, &[ccs_prompt { id: model.id }]), CCS_STATUS_HANDLE, "prompt");
    refused(ccs_prompt_free(ccs_prompt { id: session.id }), CCS_STATUS_HANDLE, "another kind");
    // Freed twice, and used after.
    ok(ccs_prompt_free(prompt));
    refused(ccs_prompt_free(prompt), CCS_STATUS_HANDLE, "was freed");
    refused(segment(session, &frame, &[prompt]), CCS_STATUS_HANDLE, "was freed");
    ok(ccs_session_free(session));
    refused(segment(session, &frame, &[]), CCS_STATUS_HANDLE, "was freed");
    ok(ccs_model_free(model));
    refused(ccs_model_free(model), CCS_STATUS_HANDLE, "was freed");
    // 0 needs no freeing.
    ok(ccs_model_free(ccs_model::default()));
    ok(ccs_prompt_free(ccs_prompt::default()));
    ok(ccs_session_free(ccs_session::default()));
    ok(ccs_stream_close(ccs_stream::default(), 0));
    refused(ccs_stream_close(ccs_stream { id: 1 << 60 }, 0), CCS_STATUS_HANDLE, "stream");
}

#[test]
fn invalid_prompts() {
    let model = open(false);
    let mut prompt = ccs_prompt::default();
    // SAFETY: pointers are null or to this function's own.
    unsafe {
        refused(ccs_prompt_new(model, ptr::null(), &mut prompt), CCS_STATUS_NULL, "text is null");
        refused(ccs_prompt_new(model, c"dark".as_ptr(), ptr::null_mut()), CCS_STATUS_NULL, "prompt is null");
        refused(ccs_prompt_new(model, c" ".as_ptr(), &mut prompt), CCS_STATUS_PROMPT, "the prompt is empty");
        refused(ccs_prompt_new(model, c"\xc3".as_ptr(), &mut prompt), CCS_STATUS_ARGUMENT, "not UTF-8");
        let long = CString::new("lesion ".repeat(100)).unwrap();
        refused(ccs_prompt_new(model, long.as_ptr(), &mut prompt), CCS_STATUS_PROMPT, "shorten it");
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
        (ccs_frame { struct_size: 0, ..good }, CCS_STATUS_STRUCT_SIZE, "ccs_frame.struct_size is 0"),
        (ccs_frame { struct_size: good.struct_size + 8, ..good }, CCS_STATUS_STRUCT_SIZE, "ccs_frame"),
        (ccs_frame { format: 9, ..good }, CCS_STATUS_ARGUMENT, "9 is not a pixel format"),
        (ccs_frame { pixels: ptr::null(), ..good }, CCS_STATUS_NULL, "ccs_frame.pixels is null"),
        (ccs_frame { pixels_bytes: 63, ..good }, CCS_STATUS_FRAME, "holds 63 bytes and the frame needs 64"),
        (ccs_frame { pixels_bytes: 0, ..good }, CCS_STATUS_FRAME, "holds 0 bytes"),
        (ccs_frame { pixels_bytes: usize::MAX, ..good }, CCS_STATUS_ARGUMENT, "memory can hold"),
        (ccs_frame { width: 0, ..good }, CCS_STATUS_FRAME, "at least one pixel a side"),
        (ccs_frame { height: 0, ..good }, CCS_STATUS_FRAME, "at least one pixel a side"),
        (ccs_frame { width: u32::MAX, height: u32::MAX, ..good }, CCS_STATUS_FRAME, "more than 16384 a side"),
        (ccs_frame { stride_bytes: 7, ..good }, CCS_STATUS_FRAME, "a stride of 7 bytes is shorter"),
        (ccs_frame { stride_bytes: usize::MAX, ..good }, CCS_STATUS_FRAME, "overflows"),
        (ccs_frame { format: CCS_FORMAT_BGRA8, ..good }, CCS_STATUS_FRAME, "the frame needs 256"),
        (region(0, 0, 9, 8), CCS_STATUS_FRAME, "region of interest"),
        (region(u32::MAX, 0, 2, 1), CCS_STATUS_FRAME, "region of interest"),
        (region(1, 1, 0, 0), CCS_STATUS_FRAME, "region of interest"),
        (ccs_frame { mm_per_pixel: [0.1, 0.0], ..good }, CCS_STATUS_FRAME, "mm per pixel"),
        (ccs_frame { mm_per_pixel: [f32::NAN, 0.1], ..good }, CCS_STATUS_FRAME, "mm per pixel"),
        (ccs_frame { invalid: 2, ..good }, CCS_STATUS_ARGUMENT, "ccs_frame.invalid is 2: set it to 0 or 1"),
        (ccs_frame { reserved: 1, ..good }, CCS_STATUS_ARGUMENT, "ccs_frame.reserved is 1: set it to 0"),
    ];
    for (frame, status, part) in cases {
        refused(segment(session, &frame, &[prompt]), status, part);
        // A failure leaves no results of the frame before.
        // SAFETY: pointers are to this function's own.
        refused(unsafe { ccs_measure(session, 0, &mut measurements()) }, CCS_STATUS_NO_RESULT, "no result 0");
    }
    // SAFETY: pointers are null or to this function's own, or misaligned on purpose and not read.
    unsafe {
        refused(ccs_segment(session, ptr::null(), &prompt, 1, ptr::null_mut()), CCS_STATUS_NULL, "ccs_frame is null");
        let odd = ptr::without_provenance::<ccs_frame>(0x1001);
        refused(ccs_segment(session, odd, &prompt, 1, ptr::null_mut()), CCS_STATUS_ARGUMENT, "not aligned");
        refused(ccs_segment(session, &good, ptr::null(), 1, ptr::null_mut()), CCS_STATUS_NULL, "prompts is null");
        refused(ccs_segment(session, &good, &prompt, 0, ptr::null_mut()), CCS_STATUS_ARGUMENT, "no prompts");
        refused(
            ccs_segment(session, &good, &prompt, usize::MAX, ptr::null_mut()),
            CCS_STATUS_ARGUMENT,
            "memory can hold",
        );
        let mut timing: ccs_timing = std::mem::zeroed();
        refused(ccs_segment(session, &good, &prompt, 1, &mut timing), CCS_STATUS_STRUCT_SIZE, "ccs_timing");
    }
    let other = open(false);
    let stranger = encode(other, "dark");
    refused(segment(session, &good, &[prompt, stranger]), CCS_STATUS_OTHER_MODEL, "encoded by another model");
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
    refused(
        start(needed - 1).0,
        CCS_STATUS_MEMORY,
        &format!("needs {needed} bytes of memory and may take {}", needed - 1),
    );
    // The bundle alone is more.
    let (status, model) = start(1 << 20);
    refused(status, CCS_STATUS_MEMORY, "may take 1048576");
    assert_eq!(model.id, 0);
    // A network that runs on tract.
    let (bytes, options) =
        (toy::builder().to_bytes().unwrap(), ccs_model_options { memory_cap_bytes: 1 << 40, ..Default::default() });
    let mut model = ccs_model::default();
    // SAFETY: pointers are to this function's own.
    let status = unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model) };
    refused(status, CCS_STATUS_MEMORY, "no known bound");
}

#[test]
fn bundles_of_other_owners() {
    let signer = |seed: u8| SigningKey::from_bytes(&[seed; 32]);
    let public = |seed: u8| signer(seed).verifying_key().to_bytes();
    let signed = toy::builder().sign_with(signer(1)).to_bytes().unwrap();
    let plain = toy::builder().to_bytes().unwrap();
    let start = |bytes: &[u8], keys: &[[u8; 32]]| {
        let options =
            ccs_model_options { public_keys: keys.as_ptr().cast(), public_key_count: keys.len(), ..Default::default() };
        let mut model = ccs_model { id: 9 };
        // SAFETY: pointers are to what this test holds.
        (unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), &options, &mut model) }, model)
    };
    // Any key of the list is enough, so that keys can be replaced.
    for keys in [&[][..], &[public(1)], &[public(2), public(1)]] {
        let (status, model) = start(&signed, keys);
        ok(status);
        ok(ccs_model_free(model));
    }
    ok(start(&plain, &[]).0);
    for (bytes, keys, status, part) in [
        (&signed, &[public(2)][..], CCS_STATUS_SIGNATURE, "is signed by another key"),
        (&plain, &[public(1)], CCS_STATUS_SIGNATURE, "is not signed"),
        (&signed, &[[2; 32]], CCS_STATUS_ARGUMENT, "public key 0 is not valid"),
    ] {
        let (found, model) = start(bytes, keys);
        refused(found, status, part);
        assert_eq!(model.id, 0);
    }
}

#[test]
fn buffers_that_are_too_small() {
    let model = open(false);
    let (prompt, session) = (encode(model, "a bright mass"), session(model));
    let (mut bytes, mut floats) = ([9u8; 96], [9.0f32; 96]);
    // SAFETY: pointers are null or to this function's own.
    unsafe {
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, 0), CCS_STATUS_NO_RESULT, "ccs_segment gave 0");
        let pixels = [255u8; 96];
        ok(segment(session, &grey(&pixels, 12), &[prompt]));
        refused(
            ccs_mask(session, 0, bytes.as_mut_ptr(), 95, 0),
            CCS_STATUS_BUFFER_TOO_SMALL,
            "room for 95 elements and 96",
        );
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, 13), CCS_STATUS_BUFFER_TOO_SMALL, "103 are needed");
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, 11), CCS_STATUS_ARGUMENT, "shorter than a row of 12");
        refused(ccs_mask(session, 0, bytes.as_mut_ptr(), 96, usize::MAX), CCS_STATUS_ARGUMENT, "too large");
        refused(ccs_mask(session, 0, ptr::null_mut(), 96, 0), CCS_STATUS_NULL, "mask is null");
        refused(ccs_mask(session, 1, bytes.as_mut_ptr(), 96, 0), CCS_STATUS_NO_RESULT, "no result 1");
        refused(ccs_mask(session, usize::MAX, bytes.as_mut_ptr(), 96, 0), CCS_STATUS_NO_RESULT, "no result");
        refused(
            ccs_probability(session, 0, floats.as_mut_ptr(), 0, 0),
            CCS_STATUS_BUFFER_TOO_SMALL,
            "probability has room for 0",
        );
        refused(ccs_probability(session, 3, floats.as_mut_ptr(), 96, 0), CCS_STATUS_NO_RESULT, "no result 3");
        refused(
            ccs_confounders(session, 0, floats.as_mut_ptr(), 96, 0),
            CCS_STATUS_NO_CONFOUNDERS,
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
        assert_eq!(ask(ptr::null_mut(), 0, none, 0), (CCS_STATUS_BUFFER_TOO_SMALL, 1, 4));
        assert_eq!(ask(&mut contour, 1, none, 3), (CCS_STATUS_BUFFER_TOO_SMALL, 1, 4));
        assert_eq!(ask(&mut contour, 1, none, 4), (CCS_STATUS_NULL, 1, 4));
        let count = ptr::null_mut();
        refused(
            ccs_contours(session, 0, &mut contour, 1, count, ptr::null_mut(), 0, &mut 0),
            CCS_STATUS_NULL,
            "contour_count is null",
        );
        refused(
            ccs_contours(session, 0, &mut contour, 1, &mut 0, ptr::null_mut(), 0, count),
            CCS_STATUS_NULL,
            "point_count is null",
        );
        refused(
            ccs_contours(session, 7, &mut contour, 1, &mut 0, ptr::null_mut(), 0, &mut 0),
            CCS_STATUS_NO_RESULT,
            "no result 7",
        );
        refused(ccs_measure(session, 0, ptr::null_mut()), CCS_STATUS_NULL, "ccs_measurements is null");
        refused(ccs_measure(session, 1, &mut measurements()), CCS_STATUS_NO_RESULT, "no result 1");
        let mut small = ccs_measurements { struct_size: 12, ..measurements() };
        refused(ccs_measure(session, 0, &mut small), CCS_STATUS_STRUCT_SIZE, "ccs_measurements");
        refused(ccs_model_describe(model, ptr::null_mut()), CCS_STATUS_NULL, "ccs_model_info is null");
        refused(ccs_judge(session, 0, ptr::null_mut()), CCS_STATUS_NULL, "ccs_quality is null");
        let mut quality = ccs_quality { struct_size: 8, ..std::mem::zeroed() };
        refused(ccs_judge(session, 0, &mut quality), CCS_STATUS_STRUCT_SIZE, "ccs_quality");
        refused(ccs_judge(session, 1, &mut quality), CCS_STATUS_NO_RESULT, "no result 1");
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
    refused(unsafe { ccs_session_new(model, ptr::null(), ptr::null_mut()) }, CCS_STATUS_NULL, "session is null");
    let mut start = |model, options: &ccs_session_options| {
        // SAFETY: pointers are to what the test holds.
        unsafe { ccs_session_new(model, options, &mut session) }
    };
    let bad = [
        (ccs_session_options { threshold: f32::NAN, ..default }, CCS_STATUS_ARGUMENT, "a threshold of NaN"),
        (ccs_session_options { threshold: 2.0, ..default }, CCS_STATUS_ARGUMENT, "above 0 and below 1"),
        (ccs_session_options { threshold: f32::INFINITY, ..default }, CCS_STATUS_ARGUMENT, "a threshold of inf"),
        (ccs_session_options { threshold: 1.0, ..default }, CCS_STATUS_ARGUMENT, "a threshold of 1"),
        (ccs_session_options { threshold: -1.0, ..default }, CCS_STATUS_ARGUMENT, "a threshold of -1"),
        (ccs_session_options { smoothing: 1.0, ..default }, CCS_STATUS_ARGUMENT, "a smoothing of 1"),
        (ccs_session_options { smoothing: f32::NAN, ..default }, CCS_STATUS_ARGUMENT, "a smoothing of NaN"),
        (ccs_session_options { no_quality: 7, ..default }, CCS_STATUS_ARGUMENT, "no_quality is 7: set it to 0 or 1"),
        (
            ccs_session_options { struct_size: 0, ..default },
            CCS_STATUS_STRUCT_SIZE,
            "set it to sizeof(ccs_session_options)",
        ),
        (ccs_session_options { struct_size: whole - 1, ..default }, CCS_STATUS_STRUCT_SIZE, "ccs_session_options"),
        (ccs_session_options { struct_size: whole + 4, ..default }, CCS_STATUS_STRUCT_SIZE, "ccs_session_options"),
    ];
    for (options, status, part) in bad {
        refused(start(model, &options), status, part);
    }
    refused(start(ccs_model { id: 1 << 60 }, &default), CCS_STATUS_HANDLE, "of a model");
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
        refused(status, CCS_STATUS_ARGUMENT, part);
    }
    let (dark, mut stream) = ([c"dark".as_ptr()], ccs_stream::default());
    for (options, part) in [
        (ccs_stream_options { reserved: 1, ..options() }, "ccs_stream_options.reserved is 1"),
        (ccs_stream_options { reserved_2: 1, ..options() }, "ccs_stream_options.reserved_2 is 1"),
        (ccs_stream_options { keep_order: 2, ..options() }, "ccs_stream_options.keep_order is 2"),
        (ccs_stream_options { lower_rate: 2, ..options() }, "ccs_stream_options.lower_rate is 2"),
        (ccs_stream_options { smaller_input: 2, ..options() }, "ccs_stream_options.smaller_input is 2"),
        (ccs_stream_options { measure: 2, ..options() }, "ccs_stream_options.measure is 2"),
        (ccs_stream_options { no_quality: 2, ..options() }, "ccs_stream_options.no_quality is 2"),
    ] {
        let user = ptr::null_mut();
        // SAFETY: as above.
        let status = unsafe { ccs_stream_open(&model, 1, dark.as_ptr(), 1, &options, Some(ignore), user, &mut stream) };
        refused(status, CCS_STATUS_ARGUMENT, part);
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
    refused(start(&[], &dark, &options(), callback), CCS_STATUS_ARGUMENT, "a stream without a model");
    refused(start(&[model], &[], &options(), callback), CCS_STATUS_ARGUMENT, "a stream without a prompt");
    refused(start(&[model], &dark, &options(), None), CCS_STATUS_NULL, "callback is null");
    refused(start(&[ccs_model { id: 0 }], &dark, &options(), callback), CCS_STATUS_HANDLE, "create one first");
    refused(start(&[model], &[ptr::null()], &options(), callback), CCS_STATUS_NULL, "a prompt is null");
    refused(start(&[model], &[c"".as_ptr()], &options(), callback), CCS_STATUS_PROMPT, "empty");
    let bad = [
        (ccs_stream_options { struct_size: 1, ..options() }, CCS_STATUS_STRUCT_SIZE, "ccs_stream_options"),
        (ccs_stream_options { deadline_ms: -1.0, ..options() }, CCS_STATUS_ARGUMENT, "a deadline of -1 ms"),
        (ccs_stream_options { deadline_ms: f64::NAN, ..options() }, CCS_STATUS_ARGUMENT, "a deadline"),
        (ccs_stream_options { queued_frames: 9, ..options() }, CCS_STATUS_ARGUMENT, "queued frames is 9"),
        (ccs_stream_options { smoothing: 1.0, ..options() }, CCS_STATUS_ARGUMENT, "a smoothing of 1"),
        (ccs_stream_options { threshold: 2.0, ..options() }, CCS_STATUS_ARGUMENT, "a threshold of 2"),
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
        refused(ccs_stream_submit(stream, ptr::null(), 0, ptr::null_mut()), CCS_STATUS_NULL, "ccs_frame is null");
        refused(ccs_stream_submit(stream, &grey(&[0; 101], 101), 0, ptr::null_mut()), CCS_STATUS_FRAME, "at most 100");
        refused(ccs_stream_set_prompts(stream, ptr::null(), 1), CCS_STATUS_NULL, "prompts is null");
        refused(ccs_stream_set_prompts(stream, ptr::null(), 0), CCS_STATUS_ARGUMENT, "without a prompt");
        refused(ccs_stream_set_prompts(stream, [c" ".as_ptr()].as_ptr(), 1), CCS_STATUS_PROMPT, "empty");
        refused(ccs_stream_statistics(stream, ptr::null_mut()), CCS_STATUS_NULL, "ccs_statistics is null");
        ok(ccs_stream_submit(stream, &grey(&[0; 4], 2), 0, ptr::null_mut()));
    }
    let (status, message) = answers.recv().unwrap();
    assert_eq!(status, CCS_STATUS_BUSY);
    assert!(message.contains("cannot be closed from its own callback"));
    ok(ccs_stream_close(stream, 1));
    refused(ccs_stream_close(stream, 1), CCS_STATUS_HANDLE, "was freed");
}

#[test]
fn a_session_serves_one_thread_at_a_time() {
    let model = open(false);
    let (prompt, session) = (encode(model, "dark"), session(model));
    let pixels = vec![0; 2048 * 2048];
    let frame = grey(&pixels, 2048);
    // Some of many calls overlap with another thread's; each returns a result or says that the session is in use.
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
    assert!(results.iter().all(|status| [CCS_STATUS_OK, CCS_STATUS_BUSY].contains(status)), "{results:?}");
    assert!(results.contains(&CCS_STATUS_OK) && results.contains(&CCS_STATUS_BUSY), "{results:?}");
    ok(segment(session, &frame, &[prompt]));
}

#[test]
fn messages_belong_to_their_thread() {
    refused(ccs_model_free(ccs_model { id: 1 << 50 }), CCS_STATUS_HANDLE, "1125899906842624");
    let other = std::thread::spawn(message).join().unwrap();
    assert_eq!(other, "");
    // A call that succeeds leaves the message.
    ok(ccs_model_free(ccs_model::default()));
    assert!(message().contains("1125899906842624"));
}
