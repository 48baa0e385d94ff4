//! Frames, findings, prompts and pauses.

use super::browser::Running;
use super::phantom;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

fn view(arguments: &[&str]) -> Running {
    let arguments: Vec<&str> = ["view"].into_iter().chain(arguments.iter().copied()).collect();
    Running::start(&arguments, Stdio::null())
}

/// The finding that `segment` writes for the same picture.
fn segmented(prompt: &str) -> Value {
    let out = tempfile::tempdir().unwrap();
    let segment = Command::new(env!("CARGO_BIN_EXE_causalclipseg"))
        .args([
            "segment".as_ref(),
            phantom().as_os_str(),
            "-p".as_ref(),
            prompt.as_ref(),
            "--format".as_ref(),
            "json".as_ref(),
        ])
        .arg("-o")
        .arg(out.path())
        .output()
        .unwrap();
    assert!(segment.status.success());
    let text = fs::read_to_string(out.path().join("phantom.json")).unwrap();
    let records: Value = serde_json::from_str(&text).unwrap();
    records.get(0).cloned().unwrap_or(records)
}

#[test]
fn a_picture_is_shown_with_the_mask_that_segment_finds() {
    let (upper, lower) = ("a nodule near the top of the image", "a nodule near the bottom of the image");
    let path = phantom();
    let running = view(&[path.to_str().unwrap(), "-p", upper]);
    let page = running.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<canvas") && page.head.contains("frame-ancestors 'none'"), "{}", page.head);
    for file in ["/view.js", "/view.css"] {
        assert_eq!(running.get(file).status, 200);
    }

    let (answer, pixels) = running.frame(0, |_| true);
    let frame = &answer["frame"];
    let picture = image::open(&path).unwrap().to_rgba8();
    assert_eq!(
        (frame["width"].as_u64(), frame["height"].as_u64()),
        (Some(picture.width().into()), Some(picture.height().into()))
    );
    assert!(pixels == picture.as_raw().as_slice(), "the page gets other pixels");
    let same = |finding: &Value, prompt: &str| {
        let record = segmented(prompt);
        for key in ["prompt", "area_px", "bbox", "contours", "centroid"] {
            assert_eq!(finding[key], record[key], "{key}");
        }
        assert_eq!(finding["quality"]["flags"], record["quality"]["flags"]);
    };
    same(&frame["findings"][0], upper);
    assert!(frame["latency_ms"].as_f64().unwrap() > 0.0);

    // The source has ended; a new prompt is answered for the frame that is shown.
    let changed = running.post("/prompts", &json!({ "prompts": [format!("  {lower} "), "", upper] }).to_string());
    assert_eq!((changed.status, changed.text().contains(lower)), (200, true));
    let (answer, _) = running.frame(1, |_| true);
    same(&answer["frame"]["findings"][0], lower);
    same(&answer["frame"]["findings"][1], upper);
    assert_eq!(answer["prompts"], json!([lower, upper]));
    assert_eq!(answer["ended"], "the source has ended");
    assert_eq!(answer["statistics"]["processed"], 2);
    let seen = answer["frame"]["number"].as_u64().unwrap();
    assert!(running.next(seen).0["frame"].is_null(), "the same frame is sent once");
    #[cfg(unix)]
    assert_eq!(running.interrupt(), Some(130));
}

#[test]
fn a_folder_plays_pauses_and_steps() {
    let folder = tempfile::tempdir().unwrap();
    let picture = image::open(phantom()).unwrap().to_luma8();
    for (name, size) in [("a.png", 64), ("b.png", 96), ("c.png", 128)] {
        image::imageops::crop_imm(&picture, 0, 0, size, size).to_image().save(folder.path().join(name)).unwrap();
    }
    let running = view(&[folder.path().to_str().unwrap(), "-p", "a nodule", "--rate", "20"]);
    let width = |width: u64| move |answer: &Value| answer["frame"]["width"] == width;
    // It begins again after the last frame.
    let (last, _) = running.frame(0, width(128));
    let (first, _) = running.frame(last["frame"]["number"].as_u64().unwrap(), width(64));

    assert_eq!(running.post("/pause", r#"{"paused":true}"#).status, 200);
    // A frame may be under way.
    let mut seen = first["frame"]["number"].as_u64().unwrap();
    while let Some(number) = running.next(seen).0["frame"]["number"].as_u64() {
        seen = number;
    }
    let (held, _) = running.next(0);
    assert_eq!(held["paused"], true);
    let next_width = |width: u64| if width == 128 { 64 } else { width + 32 };
    let held_width = held["frame"]["width"].as_u64().unwrap();
    assert_eq!(running.post("/step", "{}").status, 200);
    let (stepped, _) = running.frame(seen, |_| true);
    assert_eq!(stepped["frame"]["width"], next_width(held_width));
    seen = stepped["frame"]["number"].as_u64().unwrap();
    assert!(running.next(seen).0["frame"].is_null(), "one step is one frame");
    assert_eq!(running.post("/pause", r#"{"paused":false}"#).status, 200);
    running.frame(seen, |_| true);
}

#[test]
fn a_pipe_is_shown_as_it_comes_and_is_not_stalled_by_a_pause() {
    let mut running = Running::start(&["view", "-", "--raw", "64x48:gray8", "-p", "a nodule"], Stdio::piped());
    let mut pipe = running.input();
    pipe.write_all(&[90; 64 * 48]).unwrap();
    let (answer, pixels) = running.frame(0, |_| true);
    assert_eq!((answer["source"].as_str(), pixels.len()), (Some("standard input"), 64 * 48 * 4));
    assert_eq!(running.post("/pause", r#"{"paused":true}"#).status, 200);
    // Many times what a pipe and the reader hold.
    pipe.write_all(&vec![90; 64 * 48 * 100]).unwrap();
    assert!(running.next(1).0["frame"].is_null());
    assert_eq!(running.post("/pause", r#"{"paused":false}"#).status, 200);
    pipe.write_all(&[120; 64 * 48]).unwrap();
    let (answer, pixels) = running.frame(1, |_| true);
    assert_eq!(answer["frame"]["number"], 2);
    assert_eq!(pixels[..4], [120, 120, 120, 255]);
    pipe.write_all(&[1]).unwrap();
    drop(pipe);
    let ended = loop {
        let (answer, _) = running.next(2);
        if let Some(reason) = answer["ended"].as_str() {
            break reason.to_string();
        }
    };
    assert!(ended.contains("ends within a frame"), "{ended}");
}

#[test]
fn images_of_an_openigtlink_server_are_shown() {
    use causalclipseg::igtl::{DeviceName, Envelope, Geometry, Image, ImageHeader, Outgoing, Timestamp};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("igtl://{}", listener.local_addr().unwrap());
    let running = view(&[&address, "-p", "a nodule"]);
    let (mut socket, _) = listener.accept().unwrap();
    let device = DeviceName::new("Image").unwrap();
    let envelope =
        Envelope { version: 2, device, timestamp: Timestamp::from_micros(3_000_000), message_id: 1, metadata: &[] };
    let mut message = Vec::new();
    let header = ImageHeader::new(1, 40, 30, Geometry::default());
    envelope.write(Outgoing::Image(Image { header, pixels: &[77; 40 * 30] }), &mut message);
    socket.write_all(&message).unwrap();
    let (answer, pixels) = running.frame(0, |_| true);
    assert_eq!(
        (answer["source"].as_str(), answer["frame"]["timestamp_us"].as_u64()),
        (Some(address.as_str()), Some(3_000_000))
    );
    assert_eq!((answer["frame"]["width"].as_u64(), &pixels[..4]), (Some(40), &[77, 77, 77, 255][..]));
}

#[test]
fn a_folder_is_served_to_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "<p>page").unwrap();
    fs::write(folder.path().join("module.wasm"), b"\0asm").unwrap();
    let running = Running::start(&["serve", folder.path().to_str().unwrap()], Stdio::null());
    let page = running.get("/");
    assert_eq!((page.status, page.text().as_str()), (200, "<p>page"));
    let module = running.get("/module.wasm");
    assert!(module.head.contains("application/wasm") && module.body == b"\0asm", "{}", module.head);
    assert_eq!(running.get("/none.js").status, 404);
    assert_eq!(running.post("/", "x").status, 405);
    #[cfg(unix)]
    assert_eq!(running.interrupt(), Some(130));
}
