//! One clip through every host: the commands `segment` and `stream`, a session and a stream in Rust, a session and a stream in
//! C. A normal frame, one that its source lost, the same again, one that shows nothing, and one with soft borders: masks,
//! scores and flags have to be the same.

use super::*;
use runtime::bundle::Bundle;
use runtime::frame::{Frame, PixelFormat};
use runtime::stream::{Backlog, Stream, StreamEvent, StreamOptions};
use runtime::{FrameReport, Model, ModelOptions, Session, SessionOptions};
use serde_json::Value;
use std::env::consts::EXE_EXTENSION;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WIDTH: usize = 40;
const HEIGHT: usize = 24;
/// The first is known to the model's training, the second is not.
const PROMPTS: [&str; 2] = ["a bright mass", "dark"];

/// Pixels, and whether the source vouches for them.
fn clip() -> Vec<(Vec<u8>, bool)> {
    let of = |brightness: fn(usize, usize) -> usize| -> Vec<u8> {
        (0..WIDTH * HEIGHT).map(|at| brightness(at % WIDTH, at / WIDTH) as u8).collect()
    };
    let left = of(|x, _| if x < WIDTH / 2 { 255 } else { 0 });
    let lost = of(|x, y| if x < 10 && y < HEIGHT / 2 { 240 } else { 30 });
    let soft = of(|x, _| x * 255 / WIDTH);
    vec![(left, true), (lost.clone(), false), (lost, true), (vec![7; WIDTH * HEIGHT], true), (soft, true)]
}

/// The flags that every host must report, by frame and prompt.
fn expected_flags() -> [[Vec<&'static str>; 2]; 5] {
    [
        [vec![], vec!["unknown_words"]],
        [vec!["invalid_frame"], vec!["invalid_frame", "unknown_words"]],
        [vec!["frozen_frame"], vec!["frozen_frame", "unknown_words"]],
        [vec!["nothing_found", "blank_frame"], vec!["blank_frame", "unknown_words"]],
        [vec![], vec!["unknown_words"]],
    ]
}

/// A host's result for one frame and prompt.
#[derive(Clone, Debug)]
struct Answer {
    /// `None` if the host writes no score.
    mask: Option<Vec<u8>>,
    area_px: u64,
    score: f64,
    /// In alphabetical order.
    flags: Vec<String>,
}

/// By frame and prompt.
type Answers = Vec<Vec<Answer>>;

fn assert_same(host: &str, found: &Answers, expected: &Answers) {
    assert_eq!(found.len(), expected.len(), "{host}");
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), PROMPTS.len(), "{host}, frame {number}");
        for (found, expected) in found.iter().zip(expected) {
            let place = format!("{host}, frame {number}: {:?} and not {:?}", found.flags, expected.flags);
            assert_eq!(found.flags, expected.flags, "{place}");
            assert_eq!(found.area_px, expected.area_px, "{place}");
            assert!((found.score - expected.score).abs() < 1e-12, "{place}: {} {}", found.score, expected.score);
            assert!(found.mask.is_none() || found.mask == expected.mask, "{place}");
        }
    }
}

fn bundle() -> Vec<u8> {
    toy::forged(&toy::builder().to_bytes().unwrap(), |manifest| {
        manifest["model"]["provenance"]["words"] = "a bright mass".into();
    })
}

fn in_order(mut flags: Vec<String>) -> Vec<String> {
    flags.sort();
    flags
}

fn frame(pixels: &[u8], is_valid: bool) -> Frame<'_> {
    Frame::packed(pixels, PixelFormat::Gray8, WIDTH, HEIGHT).unwrap().with_valid(is_valid)
}

fn of_report(report: &FrameReport) -> Vec<Answer> {
    let answers = report.findings.iter().map(|finding| {
        let quality = finding.quality().unwrap();
        let names = quality.flags.iter().map(|flag| serde_json::to_value(flag).unwrap().as_str().unwrap().to_string());
        Answer {
            mask: Some(finding.mask().pixels().iter().copied().collect()),
            area_px: finding.measurements().area_px as u64,
            score: quality.score,
            flags: in_order(names.collect()),
        }
    });
    answers.collect()
}

fn by_rust_session(model: &Model) -> Answers {
    let prompts = PROMPTS.map(|text| model.prompt(text).unwrap());
    let mut session = Session::new(model, SessionOptions::default()).unwrap();
    let run =
        |(pixels, is_valid): &(Vec<u8>, bool)| of_report(session.run(&frame(pixels, *is_valid), &prompts).unwrap());
    clip().iter().map(run).collect()
}

fn by_rust_stream(model: Arc<Model>) -> Answers {
    let answers = Arc::new(Mutex::new(Answers::new()));
    let log = answers.clone();
    let options = StreamOptions::default().with_backlog(Backlog::KeepOrder);
    let stream = Stream::start(vec![model], &PROMPTS, options, move |event| {
        if let StreamEvent::Frame(result) = event {
            log.lock().unwrap().push(of_report(result.report));
        }
    });
    let stream = stream.unwrap();
    for (pixels, is_valid) in clip() {
        stream.submit_wait(&frame(&pixels, is_valid), 0, Duration::from_secs(60)).unwrap();
    }
    stream.finish();
    answers.lock().unwrap().clone()
}

fn names_of(flags: u32) -> Vec<String> {
    let names = [
        (CCS_FLAG_BLANK_FRAME, "blank_frame"),
        (CCS_FLAG_FROZEN_FRAME, "frozen_frame"),
        (CCS_FLAG_NOISE_FRAME, "noise_frame"),
        (CCS_FLAG_INVALID_FRAME, "invalid_frame"),
        (CCS_FLAG_NOTHING_FOUND, "nothing_found"),
        (CCS_FLAG_LOW_SCORE, "low_score"),
        (CCS_FLAG_UNKNOWN_WORDS, "unknown_words"),
        (CCS_FLAG_UNFAMILIAR_FRAME, "unfamiliar_frame"),
    ];
    in_order(names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| name.to_string()).collect())
}

fn c_frame(pixels: &[u8], is_valid: bool) -> ccs_frame {
    ccs_frame { invalid: u32::from(!is_valid), ..grey(pixels, WIDTH as u32) }
}

fn by_c_session(model: ccs_model) -> Answers {
    let (session, prompts) = (session(model), PROMPTS.map(|text| encode(model, text)));
    let run = |(pixels, is_valid): &(Vec<u8>, bool)| {
        ok(segment(session, &c_frame(pixels, *is_valid), &prompts));
        let answer = |index| {
            let (mut mask, mut measured) = (vec![0; WIDTH * HEIGHT], measurements());
            // SAFETY: numbers, for which zero is a value, and pointers to this function's own.
            let quality = unsafe {
                let mut quality = ccs_quality { struct_size: size_of::<ccs_quality>() as u32, ..std::mem::zeroed() };
                ok(ccs_mask(session, index, mask.as_mut_ptr(), mask.len(), 0));
                ok(ccs_measure(session, index, &mut measured));
                ok(ccs_judge(session, index, &mut quality));
                quality
            };
            let flags = names_of(quality.flags);
            Answer { mask: Some(mask), area_px: measured.area_px, score: quality.score, flags }
        };
        (0..PROMPTS.len()).map(answer).collect()
    };
    clip().iter().map(run).collect()
}

unsafe extern "C" fn note(user: *mut c_void, event: *const ccs_event) {
    // SAFETY: `user` is the test's list, and the event and all in it live during the call.
    let (answers, findings) = unsafe {
        let (answers, event) = (&*user.cast::<Mutex<Answers>>(), &*event);
        assert_eq!(event.kind, CCS_EVENT_FRAME);
        (answers, std::slice::from_raw_parts(event.findings, event.finding_count))
    };
    let of = |finding: &ccs_finding| {
        // SAFETY: as above; a mask has the frame's size.
        let mask = unsafe { std::slice::from_raw_parts(finding.mask, WIDTH * HEIGHT) };
        let flags = names_of(finding.quality.flags);
        let (area_px, score) = (finding.measurements.area_px, finding.quality.score);
        Answer { mask: Some(mask.to_vec()), area_px, score, flags }
    };
    answers.lock().unwrap().push(findings.iter().map(of).collect());
}

fn by_c_stream(model: ccs_model) -> Answers {
    let answers = Mutex::new(Answers::new());
    let texts = PROMPTS.map(|text| CString::new(text).unwrap());
    let prompts = texts.each_ref().map(|text| text.as_ptr());
    let options = ccs_stream_options { keep_order: 1, queued_frames: 8, measure: 1, ..Default::default() };
    let mut stream = ccs_stream::default();
    let user = (&raw const answers).cast_mut().cast();
    // SAFETY: all pointers are to this function's own, and the stream is closed before they go.
    unsafe {
        ok(ccs_stream_open(&model, 1, prompts.as_ptr(), prompts.len(), &options, Some(note), user, &mut stream));
        for (pixels, is_valid) in clip() {
            let mut submission = CCS_FULL;
            ok(ccs_stream_submit(stream, &c_frame(&pixels, is_valid), 0, &mut submission));
            assert_eq!(submission, CCS_SUBMITTED);
        }
    }
    ok(ccs_stream_close(stream, 1));
    answers.into_inner().unwrap()
}

/// The clip as a recorder of tracked ultrasound writes it.
fn meta_image() -> Vec<u8> {
    let frames = clip();
    let mut file = format!(
        "ObjectType = Image\nNDims = 3\nDimSize = {WIDTH} {HEIGHT} {}\nElementType = MET_UCHAR\n",
        frames.len()
    );
    for (number, (_, is_valid)) in frames.iter().enumerate() {
        let status = if *is_valid { "OK" } else { "INVALID" };
        file += &format!("Seq_Frame{number:04}_ImageStatus = {status}\n");
    }
    file += "ElementDataFile = LOCAL\n";
    let mut file = file.into_bytes();
    frames.iter().for_each(|(pixels, _)| file.extend(pixels));
    file
}

/// The command of the same build, which `cargo test --workspace` leaves beside this test's folder; `None` if only this crate is
/// built.
fn command(folder: &Path, name: &str) -> Option<Command> {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("causalclipseg").with_extension(EXE_EXTENSION);
    let mut command = built.is_file().then(|| Command::new(built))?;
    command.env("RUST_LOG", "error").current_dir(folder).args([name, "clip.mha", "-m", "toy.ccs"]);
    PROMPTS.iter().for_each(|prompt| {
        command.args(["-p", prompt]);
    });
    Some(command)
}

fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn of_json(json: &Value, mask: Option<Vec<u8>>) -> Answer {
    let flags = json["quality"]["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap().to_string());
    Answer {
        mask,
        area_px: json["area_px"].as_u64().unwrap(),
        score: json["quality"]["score"].as_f64().unwrap(),
        flags: in_order(flags.collect()),
    }
}

fn by_segment_command(folder: &Path) -> Option<Answers> {
    let output = command(folder, "segment")?.args(["-o", "out", "--format", "mask,json"]).output().unwrap();
    succeeded(&output);
    let records = [1, 2].map(|prompt| {
        let text = std::fs::read_to_string(folder.join(format!("out/clip_{prompt}.json"))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["frames"].as_array().unwrap().clone()
    });
    let answer = |frame: usize, prompt: usize| {
        let name = format!("out/clip_f{:04}_{}_mask.png", frame + 1, prompt + 1);
        let mask = image::open(folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}")).into_luma8();
        of_json(&records[prompt][frame], Some(mask.into_raw()))
    };
    Some((0..records[0].len()).map(|frame| (0..PROMPTS.len()).map(|prompt| answer(frame, prompt)).collect()).collect())
}

fn by_stream_command(folder: &Path) -> Option<Answers> {
    let output = command(folder, "stream")?.args(["--format", "jsonl"]).output().unwrap();
    let lines: Vec<Value> = succeeded(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The last one is the summary.
    let frames = lines[..lines.len() - 1].chunks(PROMPTS.len());
    Some(frames.map(|frame| frame.iter().map(|line| of_json(line, None)).collect()).collect())
}

#[test]
fn every_host_says_the_same_of_a_clip() {
    let bytes = bundle();
    let model = Arc::new(
        Model::from_bundle(Arc::new(Bundle::from_bytes(bytes.clone()).unwrap()), ModelOptions::default()).unwrap(),
    );
    let expected = by_rust_session(&model);
    for (number, (found, expected)) in expected.iter().zip(expected_flags()).enumerate() {
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.flags, in_order(expected.into_iter().map(String::from).collect()), "frame {number}");
        }
    }
    let shares: Vec<u64> = expected.iter().map(|frame| frame[0].area_px).collect();
    assert!(shares[0] > 400 && shares[1] == shares[2] && shares[1] > 80 && shares[3] == 0, "{shares:?}");
    assert!(expected[4][0].score < expected[0][0].score, "a soft border is worth less");

    assert_same("a stream in Rust", &by_rust_stream(model), &expected);
    let mut c_model = ccs_model::default();
    // SAFETY: all pointers are to this function's own.
    ok(unsafe { ccs_model_open_memory(bytes.as_ptr().cast(), bytes.len(), ptr::null(), &mut c_model) });
    assert_same("a session in C", &by_c_session(c_model), &expected);
    assert_same("a stream in C", &by_c_stream(c_model), &expected);

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("toy.ccs"), &bytes).unwrap();
    std::fs::write(folder.path().join("clip.mha"), meta_image()).unwrap();
    let (Some(segmented), Some(streamed)) = (by_segment_command(folder.path()), by_stream_command(folder.path()))
    else {
        println!("skipped: the commands, which `cargo test --workspace` builds");
        return;
    };
    assert_same("segment", &segmented, &expected);
    assert_same("stream", &streamed, &expected);
}
