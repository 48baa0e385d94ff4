//! Frames in camera formats give the same result as the same frame in RGB.

use super::*;
use runtime::frame::{CameraFormat, CameraLayout};

const WIDTH: usize = 37;
const HEIGHT: usize = 23;
const FORMATS: [(u32, CameraFormat); 5] = [
    (CCS_FORMAT_NV12, CameraFormat::Nv12),
    (CCS_FORMAT_I420, CameraFormat::I420),
    (CCS_FORMAT_YUYV, CameraFormat::Yuyv),
    (CCS_FORMAT_UYVY, CameraFormat::Uyvy),
    (CCS_FORMAT_BGR24, CameraFormat::Bgr24),
];

/// A picture in one piece, whose rows are `gap` bytes apart.
fn picture(format: CameraFormat, gap: usize) -> (CameraLayout, Vec<u8>) {
    let layout = CameraLayout::new(format, WIDTH, HEIGHT, format.row_bytes(WIDTH) + gap).unwrap();
    let bytes = (0..layout.frame_bytes()).map(|at| (at * 73 % 251) as u8).collect();
    (layout, bytes)
}

fn camera(format: u32, layout: &CameraLayout, bytes: &[u8]) -> ccs_frame {
    let frame = grey(bytes, WIDTH as u32);
    ccs_frame { format, height: HEIGHT as u32, stride_bytes: layout.stride_bytes(), ..frame }
}

fn rgb(layout: &CameraLayout, bytes: &[u8]) -> Vec<u8> {
    let mut rgb = vec![0; WIDTH * HEIGHT * 3];
    layout.convert(bytes, &mut rgb).unwrap();
    rgb
}

fn probability(session: ccs_session, frame: &ccs_frame, prompt: ccs_prompt) -> Vec<f32> {
    ok(segment(session, frame, &[prompt]));
    let mut values = vec![-1.0; WIDTH * HEIGHT];
    // SAFETY: the pointer is to this function's own.
    ok(unsafe { ccs_probability(session, 0, values.as_mut_ptr(), values.len(), 0) });
    values
}

#[test]
fn sessions_take_them_in_one_piece_and_in_planes() {
    let model = open(false);
    let (prompt, session) = (encode(model, "a bright mass"), session(model));
    for (number, format) in FORMATS {
        for gap in [0, 12] {
            let (layout, bytes) = picture(format, gap);
            let converted = rgb(&layout, &bytes);
            let plain = ccs_frame { format: CCS_FORMAT_RGB8, ..grey(&converted, WIDTH as u32 * 3) };
            let plain = ccs_frame { width: WIDTH as u32, ..plain };
            let whole = camera(number, &layout, &bytes);
            let regions = [ccs_region::default(), ccs_region { x: 5, y: 3, width: 17, height: 11 }];
            for region in regions {
                let expected = probability(session, &ccs_frame { region, ..plain }, prompt);
                assert!(expected.iter().any(|value| *value > 0.0));
                let found = probability(session, &ccs_frame { region, ..whole }, prompt);
                assert_eq!(found, expected, "{format:?}, {gap}, {region:?}");
                if format.planes() > 1 {
                    // Copied apart, so that nothing is read behind a plane.
                    let luma = layout.stride_bytes() * HEIGHT;
                    let (chroma_rows, half) = (HEIGHT.div_ceil(2), WIDTH.div_ceil(2));
                    let stride = (layout.frame_bytes() - luma) / chroma_rows / (format.planes() - 1);
                    let row = half * if format == CameraFormat::Nv12 { 2 } else { 1 };
                    let length = (chroma_rows - 1) * stride + row;
                    let first = bytes[luma..][..length].to_vec();
                    let second = bytes.get(luma + chroma_rows * stride..).unwrap_or_default();
                    let second = second.get(..length).unwrap_or_default().to_vec();
                    let mut apart = ccs_frame { region, pixels_bytes: luma, ..whole };
                    apart.chroma[0] = first.as_ptr().cast();
                    apart.chroma_bytes[0] = first.len();
                    apart.chroma_stride_bytes[0] = stride;
                    if format == CameraFormat::I420 {
                        apart.chroma[1] = second.as_ptr().cast();
                        apart.chroma_bytes[1] = second.len();
                        apart.chroma_stride_bytes[1] = stride;
                    }
                    assert_eq!(probability(session, &apart, prompt), expected, "{format:?} in planes");
                }
            }
        }
    }
}

unsafe extern "C" fn keep(user: *mut c_void, event: *const ccs_event) {
    // SAFETY: `user` is the test's, and the event is lent.
    let (kept, event) = unsafe { (&*user.cast::<std::sync::Mutex<Vec<f32>>>(), &*event) };
    if event.kind == CCS_EVENT_FRAME {
        // SAFETY: a finding and its map are lent, too.
        let values = unsafe { std::slice::from_raw_parts((*event.findings).probability, WIDTH * HEIGHT) };
        *kept.lock().unwrap() = values.to_vec();
    }
}

#[test]
fn streams_take_them_too() {
    let model = open(false);
    let (prompt, session) = (encode(model, "a bright mass"), session(model));
    for (number, format) in FORMATS {
        let (layout, bytes) = picture(format, 4);
        let frame = camera(number, &layout, &bytes);
        let frame = ccs_frame { region: ccs_region { x: 3, y: 1, width: 30, height: 21 }, ..frame };
        let (kept, texts) = (std::sync::Mutex::new(Vec::<f32>::new()), [c"a bright mass".as_ptr()]);
        let (mut stream, user) = (ccs_stream::default(), (&raw const kept).cast_mut().cast());
        // SAFETY: pointers are to this function's own, and the stream is closed before they go.
        unsafe {
            ok(ccs_stream_open(&model, 1, texts.as_ptr(), 1, ptr::null(), Some(keep), user, &mut stream));
            ok(ccs_stream_submit(stream, &frame, 0, ptr::null_mut()));
        }
        ok(ccs_stream_close(stream, 1));
        assert_eq!(*kept.lock().unwrap(), probability(session, &frame, prompt), "{format:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = open(false);
    let (prompt, session) = (encode(model, "dark"), session(model));
    let refuse = |frame: &ccs_frame, status, part: &str| refused(segment(session, frame, &[prompt]), status, part);
    for (number, format) in FORMATS {
        let (layout, bytes) = picture(format, 0);
        let good = camera(number, &layout, &bytes);
        ok(segment(session, &good, &[prompt]));
        ok(segment(session, &ccs_frame { stride_bytes: 0, ..good }, &[prompt]));
        refuse(&ccs_frame { pixels_bytes: bytes.len() - 1, ..good }, CCS_STATUS_FRAME, "the frame needs");
        refuse(&ccs_frame { pixels: ptr::null(), ..good }, CCS_STATUS_NULL, "ccs_frame.pixels is null");
        refuse(&ccs_frame { stride_bytes: 5, ..good }, CCS_STATUS_FRAME, "a stride of 5 bytes is shorter");
        refuse(&ccs_frame { stride_bytes: usize::MAX, ..good }, CCS_STATUS_FRAME, "overflows");
        refuse(&ccs_frame { width: u32::MAX, ..good }, CCS_STATUS_FRAME, "more than 16384 a side");
        refuse(&ccs_frame { width: 0, ..good }, CCS_STATUS_FRAME, "at least one pixel a side");
        let region = ccs_region { x: 30, y: 0, width: 8, height: 1 };
        refuse(&ccs_frame { region, ..good }, CCS_STATUS_FRAME, "region of interest");
        // Chroma planes that the format lacks, or half of those that it has.
        let plane = bytes.as_ptr().cast::<c_void>();
        let (mut chroma, mut sizes, last) = (good, good, [[ptr::null(), plane], [plane, ptr::null()]]);
        chroma.chroma = last[usize::from(format == CameraFormat::I420)];
        let status = if format == CameraFormat::I420 { CCS_STATUS_NULL } else { CCS_STATUS_ARGUMENT };
        chroma.chroma_bytes = [bytes.len(); 2];
        refuse(&chroma, status, "ccs_frame.chroma[");
        sizes.chroma_stride_bytes[1] = 3;
        refuse(&sizes, CCS_STATUS_ARGUMENT, "ccs_frame.chroma[1] is set");
    }
    let (layout, bytes) = picture(CameraFormat::Nv12, 0);
    let mut short = camera(CCS_FORMAT_NV12, &layout, &bytes);
    short.chroma[0] = bytes.as_ptr().cast();
    short.chroma_bytes[0] = 10;
    refuse(&short, CCS_STATUS_FRAME, "holds 10 bytes and the frame needs 456");
    // As in an older header, without planes.
    let older = ccs_frame { struct_size: std::mem::offset_of!(ccs_frame, chroma) as u32, ..short };
    ok(segment(session, &older, &[prompt]));
    let mut grey = grey(&bytes, WIDTH as u32);
    grey.chroma[0] = bytes.as_ptr().cast();
    refuse(&grey, CCS_STATUS_ARGUMENT, "ccs_frame.chroma[0] is set");
}
