//! The host's buffers receive what the library found.

use super::*;
use std::ffi::c_char;
use std::sync::Mutex;

/// 12 x 8, bright on the left half.
fn picture() -> Vec<u8> {
    (0..12 * 8).map(|at| if at % 12 < 6 { 255 } else { 0 }).collect()
}

#[test]
fn versions_match() {
    assert_eq!(ccs_abi_version(), CCS_ABI_VERSION);
    // SAFETY: a zero-terminated string.
    assert_eq!(unsafe { CStr::from_ptr(ccs_version()) }.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_model_tells_what_it_is() {
    let model = open(false);
    // SAFETY: numbers, for which zero is a value.
    let mut info = ccs_model_info { struct_size: size_of::<ccs_model_info>() as u32, ..unsafe { std::mem::zeroed() } };
    // SAFETY: the pointer is to this function's own.
    ok(unsafe { ccs_model_describe(model, &mut info) });
    let name: Vec<u8> = info.name.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8).collect();
    assert_eq!((name.as_slice(), info.input_size, info.threshold, info.trained), (&b"toy"[..], 32, 0.5, 1));
    assert_ne!(info.sha256, [0; 32]);
    assert_eq!(info.fallback[0], 0, "the requested device runs");
    let mut deviation = 0.0;
    // SAFETY: the pointer is to this function's own.
    ok(unsafe { ccs_model_self_test(model, &mut deviation) });
    assert!(deviation.is_nan());
    // SAFETY: null is allowed.
    ok(unsafe { ccs_model_self_test(model, ptr::null_mut()) });
    ok(ccs_model_free(model));
}

#[test]
fn masks_probabilities_contours_and_measurements() {
    let model = open(true);
    let (bright, dark, session) = (encode(model, "a bright mass"), encode(model, "dark"), session(model));
    // A session keeps what it needs.
    ok(ccs_model_free(model));
    let pixels = picture();
    let frame = ccs_frame { mm_per_pixel: [0.5, 0.25], ..grey(&pixels, 12) };
    let mut timing = ccs_timing {
        struct_size: size_of::<ccs_timing>() as u32,
        ran_on: 9,
        preprocess_ms: -1.0,
        image_ms: -1.0,
        head_ms: -1.0,
        postprocess_ms: -1.0,
    };
    let prompts = [bright, dark];
    // SAFETY: all pointers are to this function's own, here and below.
    ok(unsafe { ccs_segment(session, &frame, prompts.as_ptr(), 2, &mut timing) });
    assert_eq!(timing.ran_on, CCS_DEVICE_CPU);
    assert!(timing.image_ms > 0.0 && timing.head_ms > 0.0 && timing.postprocess_ms >= 0.0);

    // Rows of 16 in a buffer of 12 x 8: what lies between rows is the host's.
    let mut mask = [7u8; 16 * 8];
    // SAFETY: as above.
    ok(unsafe { ccs_mask(session, 0, mask.as_mut_ptr(), 16 * 7 + 12, 16) });
    for (row, pixels) in mask.chunks(16).zip(pixels.chunks(12)) {
        assert_eq!((&row[..12], &row[12..]), (pixels, &[7; 4][..]));
    }
    // SAFETY: as above.
    ok(unsafe { ccs_mask(session, 1, mask.as_mut_ptr(), 12 * 8, 0) });
    assert!(mask.iter().zip(&pixels).all(|(mask, pixel)| *mask == 255 - pixel));
    let mut probability = [0.0f32; 96];
    // SAFETY: as above.
    ok(unsafe { ccs_probability(session, 0, probability.as_mut_ptr(), 96, 0) });
    assert!(probability[0] > 0.99 && probability[11] < 0.01);
    // SAFETY: as above.
    ok(unsafe { ccs_confounders(session, 0, probability.as_mut_ptr(), 96, 0) });
    assert!(probability.iter().all(|p| (0.0..=1.0).contains(p)));

    let (mut contours, mut points) = ([ccs_contour::default(); 2], [ccs_point::default(); 8]);
    let (mut contour_count, mut point_count) = (9, 9);
    // SAFETY: as above.
    ok(unsafe {
        ccs_contours(session, 0, contours.as_mut_ptr(), 2, &mut contour_count, points.as_mut_ptr(), 8, &mut point_count)
    });
    assert_eq!((contour_count, point_count), (1, 4));
    assert_eq!(contours[0], ccs_contour { first_point: 0, point_count: 4, hole: 0, reserved: 0 });
    let corners = [(0, 0), (6, 0), (6, 8), (0, 8)].map(|(x, y)| ccs_point { x, y });
    assert_eq!(points[..4], corners);

    let mut measured = measurements();
    // SAFETY: as above.
    ok(unsafe { ccs_measure(session, 0, &mut measured) });
    assert_eq!((measured.area_px, measured.area_fraction, measured.area_mm2), (48, 0.5, 6.0));
    assert_eq!(measured.bbox, ccs_region { x: 0, y: 0, width: 6, height: 8 });
    assert_eq!(measured.centroid, [3.0, 4.0]);
    assert!((measured.longest_diameter.length_mm - 3f64.hypot(2.0)).abs() < 1e-6);
    assert!(measured.mean_probability > 0.9);

    // Only the region of interest is segmented, and nothing is found in it: unknown values are NaN.
    let dim = [0; 96];
    let frame = ccs_frame { region: ccs_region { x: 2, y: 1, width: 4, height: 5 }, ..grey(&dim, 12) };
    ok(segment(session, &frame, &[bright]));
    // SAFETY: as above.
    ok(unsafe { ccs_measure(session, 0, &mut measured) });
    assert_eq!((measured.area_px, measured.bbox), (0, ccs_region::default()));
    assert!(measured.area_mm2.is_nan() && measured.longest_diameter.length_px.is_nan());
    for handle in prompts {
        ok(ccs_prompt_free(handle));
    }
    ok(ccs_session_free(session));
}

#[test]
fn every_pixel_format() {
    let model = open(false);
    let (prompt, session) = (encode(model, "a bright mass"), session(model));
    for (format, bytes) in [(CCS_FORMAT_GRAY8, 1), (CCS_FORMAT_GRAY16, 2), (CCS_FORMAT_RGB8, 3), (CCS_FORMAT_BGRA8, 4)]
    {
        let pixels = vec![255; 6 * 5 * bytes + 4 * 5];
        let frame = ccs_frame { format, width: 6, height: 5, stride_bytes: 6 * bytes + 4, ..grey(&pixels, 1) };
        ok(segment(session, &frame, &[prompt]));
        let mut mask = [0; 30];
        // SAFETY: the pointer is to this function's own.
        ok(unsafe { ccs_mask(session, 0, mask.as_mut_ptr(), 30, 0) });
        assert_eq!(mask, [255; 30], "{format}");
    }
    ok(ccs_session_free(session));
}

/// The area found on a black frame, where only a threshold near 0 finds anything.
fn lesion_px(model: ccs_model, options: *const ccs_session_options) -> u64 {
    let (prompt, mut session, mut measured) = (encode(model, "a bright mass"), ccs_session::default(), measurements());
    // SAFETY: the options are the caller's, and all other pointers are to this function's own.
    unsafe {
        ok(ccs_session_new(model, options, &mut session));
        ok(segment(session, &grey(&[0; 4], 2), &[prompt]));
        ok(ccs_measure(session, 0, &mut measured));
    }
    ok(ccs_session_free(session));
    measured.area_px
}

#[test]
fn a_threshold_of_zero_is_the_models_own() {
    let model = open(false);
    let options = ccs_session_options::default();
    assert_eq!(lesion_px(model, ptr::null()), 0);
    assert_eq!(lesion_px(model, &options), 0, "zeroed options change nothing");
    assert_eq!(lesion_px(model, &ccs_session_options { threshold: 1e-5, ..options }), 4);
    // An older header's options end before the threshold, or after it.
    let garbage = ccs_session_options { threshold: 1e-5, smoothing: 9.0, no_quality: 9, ..options };
    assert_eq!(lesion_px(model, &ccs_session_options { struct_size: 4, ..garbage }), 0);
    assert_eq!(lesion_px(model, &ccs_session_options { struct_size: 8, ..garbage }), 4);
}

#[test]
fn a_frame_of_an_older_header_is_valid() {
    let (model, pixels) = (open(false), picture());
    let (prompt, session) = (encode(model, "a bright mass"), session(model));
    let older = ccs_frame { struct_size: std::mem::offset_of!(ccs_frame, invalid) as u32, ..grey(&pixels, 12) };
    ok(segment(session, &ccs_frame { invalid: 9, reserved: 9, ..older }, &[prompt]));
    assert_eq!(judged(session, 0).flags, 0);
    ok(segment(session, &ccs_frame { invalid: 1, ..grey(&pixels, 12) }, &[prompt]));
    assert_eq!(judged(session, 0).flags, CCS_FLAG_FROZEN_FRAME | CCS_FLAG_INVALID_FRAME);
}

#[test]
fn quality_can_be_left_out() {
    let (model, pixels) = (open(false), picture());
    let (prompt, mut session) = (encode(model, "a bright mass"), ccs_session::default());
    let options = ccs_session_options { no_quality: 1, ..Default::default() };
    // SAFETY: all pointers are to this function's own.
    unsafe {
        ok(ccs_session_new(model, &options, &mut session));
        ok(segment(session, &grey(&pixels, 12), &[prompt]));
        let mut quality = ccs_quality { struct_size: size_of::<ccs_quality>() as u32, ..std::mem::zeroed() };
        refused(ccs_judge(session, 0, &mut quality), CCS_STATUS_NO_RESULT, "leaves out the quality");
        ok(ccs_measure(session, 0, &mut measurements()));
    }
}

#[test]
fn a_session_smooths_as_a_stream_does() {
    let model = open(false);
    let (prompt, mut session) = (encode(model, "a bright mass"), ccs_session::default());
    let options = ccs_session_options { smoothing: 0.5, ..Default::default() };
    let mut probability = [0.0; 4];
    // SAFETY: all pointers are to this function's own.
    unsafe {
        ok(ccs_session_new(model, &options, &mut session));
        for (brightness, expected) in [(0, 0.0f32), (255, 0.5), (255, 0.75)] {
            ok(segment(session, &grey(&[brightness; 4], 2), &[prompt]));
            ok(ccs_probability(session, 0, probability.as_mut_ptr(), 4, 0));
            assert!((probability[0] - expected).abs() < 0.001, "{probability:?}");
        }
    }
}

fn judged(session: ccs_session, index: usize) -> ccs_quality {
    // SAFETY: numbers, for which zero is a value.
    let mut quality = ccs_quality { struct_size: size_of::<ccs_quality>() as u32, ..unsafe { std::mem::zeroed() } };
    // SAFETY: the pointer is to this function's own.
    ok(unsafe { ccs_judge(session, index, &mut quality) });
    quality
}

#[test]
fn results_say_how_far_to_trust_them() {
    let bytes = toy::forged(&toy::builder().to_bytes().unwrap(), |manifest| {
        manifest["model"]["provenance"]["words"] = "a bright mass".into();
    });
    let mut model = ccs_model::default();
    // SAFETY: all pointers are to this function's own, here and below.
    ok(unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), ptr::null(), &mut model) });
    let (known, unknown, session) = (encode(model, "A bright mass."), encode(model, "dark"), session(model));
    let judge = |index| judged(session, index);
    let pixels = picture();
    ok(segment(session, &grey(&pixels, 12), &[known, unknown]));
    let [first, second] = [judge(0), judge(1)];
    assert_eq!((first.flags, second.flags), (0, CCS_FLAG_UNKNOWN_WORDS));
    assert_eq!((first.area_px_at, first.stability), ([48; 3], 1.0));
    assert!(first.score > 0.99 && first.min_probability > 0.99 && first.mean_probability > 0.99);
    assert!(first.confounder_share.is_nan());
    // The same frame again, and one that shows nothing.
    ok(segment(session, &grey(&pixels, 12), &[known]));
    assert_eq!(judge(0).flags, CCS_FLAG_FROZEN_FRAME);
    ok(segment(session, &grey(&[0; 96], 12), &[known]));
    let empty = judge(0);
    assert_eq!(empty.flags, CCS_FLAG_BLANK_FRAME | CCS_FLAG_NOTHING_FOUND);
    assert!(empty.score == 0.0 && empty.mean_probability.is_nan());
}

/// What the callback saw: kind, sequence, timestamp, lesion pixels, generation.
type Seen = Mutex<Vec<(u32, u64, u64, u64, u64)>>;

unsafe extern "C" fn note(user: *mut c_void, event: *const ccs_event) {
    // SAFETY: `user` is the test's list, and the event lives during the call.
    let (seen, event) = unsafe { (&*user.cast::<Seen>(), &*event) };
    let mut lesion_px = 0;
    if event.finding_count > 0 {
        // SAFETY: there is at least one finding, whose mask has the frame's size.
        let finding = unsafe { &*event.findings };
        // SAFETY: as above.
        let mask = unsafe { std::slice::from_raw_parts(finding.mask, (event.width * event.height) as usize) };
        lesion_px = mask.iter().filter(|pixel| **pixel != 0).count() as u64;
        assert_eq!(finding.measurements.area_px, lesion_px);
        assert_eq!(finding.quality.area_px_at[1], lesion_px);
        assert!(finding.confounders.is_null() && event.latency_ms > 0.0 && event.message.is_null());
    }
    seen.lock().unwrap().push((event.kind, event.sequence, event.timestamp_us, lesion_px, event.prompt_generation));
}

#[test]
fn a_stream_calls_back() {
    let model = open(false);
    let seen = Seen::default();
    let options =
        ccs_stream_options { keep_order: 1, queued_frames: 8, measure: 1, deadline_ms: 60_000.0, ..Default::default() };
    let (bright, dark) = (c"a bright mass".as_ptr(), c"dark".as_ptr());
    let mut stream = ccs_stream::default();
    let user = (&raw const seen).cast_mut().cast();
    // SAFETY: all pointers are to this function's own, here and below, and the stream is closed before they go.
    ok(unsafe { ccs_stream_open(&model, 1, [bright].as_ptr(), 1, &options, Some(note), user, &mut stream) });
    let pixels = picture();
    let mut submission = 9;
    for timestamp_us in [100, 200] {
        // SAFETY: as above.
        ok(unsafe { ccs_stream_submit(stream, &grey(&pixels, 12), timestamp_us, &mut submission) });
        assert_eq!(submission, CCS_SUBMITTED);
    }
    while seen.lock().unwrap().len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let both: [*const c_char; 2] = [dark, bright];
    // SAFETY: as above.
    ok(unsafe { ccs_stream_set_prompts(stream, both.as_ptr(), 2) });
    // SAFETY: as above.
    ok(unsafe { ccs_stream_submit(stream, &grey(&[0; 9], 3), 300, ptr::null_mut()) });
    ok(ccs_stream_close(stream, 1));
    let expected = [(0, 0, 100, 48, 0), (0, 1, 200, 48, 0), (0, 2, 300, 9, 1)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_stream_counts() {
    let model = open(false);
    let seen = Seen::default();
    let mut stream = ccs_stream::default();
    let prompts = [c"a bright mass".as_ptr()];
    let user = (&raw const seen).cast_mut().cast();
    unsafe extern "C" fn ignore(_: *mut c_void, _: *const ccs_event) {}
    // SAFETY: as above.
    ok(unsafe { ccs_stream_open(&model, 1, prompts.as_ptr(), 1, ptr::null(), Some(ignore), user, &mut stream) });
    for _ in 0..50 {
        // SAFETY: as above.
        ok(unsafe { ccs_stream_submit(stream, &grey(&[0; 4], 2), 0, ptr::null_mut()) });
    }
    // SAFETY: numbers, for which zero is a value.
    let mut counts =
        ccs_statistics { struct_size: size_of::<ccs_statistics>() as u32, ..unsafe { std::mem::zeroed() } };
    loop {
        // SAFETY: as above.
        ok(unsafe { ccs_stream_statistics(stream, &mut counts) });
        if counts.processed + counts.dropped == 50 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!((counts.submitted, counts.failed, counts.late, counts.every_nth), (50, 0, 0, 1));
    assert!(counts.processed > 0 && counts.latency.max_ms >= counts.compute.min_ms);
    assert!(counts.latency.max_ms >= counts.queue.min_ms && counts.queue.max_ms > 0.0);
    ok(ccs_stream_close(stream, 0));
}
