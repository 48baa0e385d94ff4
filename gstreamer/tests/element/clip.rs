//! Clips through the element and through the command: the same masks, bit for bit.

use super::launch::{launch, text};
use super::pipeline::{Bench, frame, init, phantom, reference};
use gst_video::VideoFormat;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROMPT: &str = "a nodule near the bottom of the image";

/// The command to compare with, which `.ci/interop gstreamer` names.
fn command() -> Option<PathBuf> {
    let command = std::env::var_os("CAUSALCLIPSEG_COMMAND").map(PathBuf::from);
    if command.is_none() {
        println!(
            "skipped: CAUSALCLIPSEG_COMMAND names no causalclipseg command; masks are compared with the library's alone"
        );
    }
    command
}

/// Grey pictures: those of the folder CAUSALCLIPSEG_PHANTOMS, and generated ones with odd sides.
fn pictures() -> Vec<image::GrayImage> {
    let mut pictures: Vec<_> = [[640, 480], [481, 401], [161, 121]]
        .into_iter()
        .enumerate()
        .map(|(step, [width, height])| {
            image::GrayImage::from_raw(width, height, phantom(width as usize, height as usize, step)).unwrap()
        })
        .collect();
    match std::env::var_os("CAUSALCLIPSEG_PHANTOMS") {
        Some(folder) => {
            let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            assert!(!files.is_empty());
            pictures.extend(files.iter().map(|file| image::open(file).unwrap().to_luma8()));
        }
        None => println!("CAUSALCLIPSEG_PHANTOMS names no folder of phantoms: generated pictures alone"),
    }
    pictures
}

/// The rows of a picture in a file of GRAY8 frames, whose rows have a multiple of four bytes.
fn take_frame<'a>(file: &mut &'a [u8], width: usize, height: usize) -> Vec<u8> {
    let stride = width.next_multiple_of(4);
    let (frame, rest): (&'a [u8], &'a [u8]) = file.split_at(stride * height);
    *file = rest;
    frame.chunks_exact(stride).flat_map(|row| row[..width].to_vec()).collect()
}

fn masks_of_command(command: &Path, folder: &Path, count: usize) -> Vec<Vec<u8>> {
    let out = folder.join("out");
    let pictures = (0..count).map(|index| folder.join(format!("p{index:05}.png")));
    let status = Command::new(command)
        .arg("segment")
        .args(pictures)
        .args(["-p", PROMPT, "--format", "mask", "-o"])
        .arg(&out)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let mask = |index: usize| image::open(out.join(format!("p{index:05}_mask.png"))).unwrap().to_luma8().into_raw();
    (0..count).map(mask).collect()
}

/// A clip of PNG files whose size changes, decoded by GStreamer.
#[test]
fn masks_of_png_files_are_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = pictures();
    for (index, picture) in pictures.iter().enumerate() {
        picture.save(folder.path().join(format!("p{index:05}.png"))).unwrap();
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let pipeline = format!(
        "multifilesrc location={} start-index=0 stop-index={} caps=image/png,framerate=10/1 ! pngdec ! causalclipseg name=c \
         prompt={} c.src ! queue ! filesink location={} c.mask ! queue ! filesink location={}",
        path("p%05d.png"),
        pictures.len() - 1,
        PROMPT.replace(' ', "~"),
        path("frames.gray"),
        path("masks.gray")
    );
    let Some(output) = launch(&pipeline, &[]) else { return };
    assert!(output.status.success(), "{}", text(&output));
    let [frames, masks] = ["frames.gray", "masks.gray"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    let (mut frames, mut masks) = (frames.as_slice(), masks.as_slice());
    let of_command = command().map(|command| masks_of_command(&command, folder.path(), pictures.len()));
    let mut lesion = 0;
    for (index, picture) in pictures.iter().enumerate() {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        assert!(
            take_frame(&mut frames, width, height) == *picture.as_raw(),
            "picture {index} passed through unchanged"
        );
        let mask = take_frame(&mut masks, width, height);
        lesion += mask.iter().filter(|pixel| **pixel == 255).count();
        assert!(mask.iter().all(|pixel| [0, 255].contains(pixel)));
        assert!(mask == reference(picture.as_raw(), width, height, PROMPT), "picture {index}: not the library's mask");
        if let Some(of_command) = &of_command {
            assert!(mask == of_command[index], "picture {index}: not the command's mask");
        }
    }
    assert!(frames.is_empty() && masks.is_empty());
    assert!(lesion > 1000, "something is found");
}

/// A raw clip through `stream`, which reports numbers: area, box, score and flags of each frame.
#[test]
fn results_of_a_raw_clip_are_those_of_stream() {
    init();
    let Some(command) = command() else { return };
    let [width, height] = [400, 300];
    // Two equal frames are in it: flags depend on the frame before.
    let clip: Vec<_> = [0, 1, 2, 2, 3, 4, 5].map(|step| phantom(width, height, step)).to_vec();
    let raw = format!("{width}x{height}:gray8@25");
    let mut child = Command::new(command)
        .args(["stream", "-", "--raw", &raw, "-p", "the lesion", "--format", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = clip.concat();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line.get("sequence").is_some())
        .collect();
    assert_eq!(lines.len(), clip.len());
    let mut bench = Bench::of(VideoFormat::Gray8, width, height, false).play();
    for (line, gray) in lines.iter().zip(&clip) {
        bench.pass(frame(VideoFormat::Gray8, width, height, gray, 4));
        let results = bench.results();
        let result = &results[0];
        assert_eq!(result.get::<u64>("area_px").unwrap(), line["area_px"].as_u64().unwrap());
        assert!(result.get::<u64>("area_px").unwrap() > 100);
        let sides: Vec<i32> = result.get::<gst::Array>("box").unwrap().iter().map(|side| side.get().unwrap()).collect();
        assert_eq!(serde_json::json!(sides), line["bbox"]);
        let flags: Vec<String> =
            result.get::<gst::Array>("flags").unwrap().iter().map(|flag| flag.get().unwrap()).collect();
        assert_eq!(serde_json::json!(flags), line["quality"]["flags"]);
        same(result, line, "score");
        same(result, line, "expected_dice");
        assert_eq!(serde_json::json!(result.get::<bool>("present").unwrap()), line["quality"]["present"]);
    }
}

/// Numbers are equal up to the rounding of decimal digits.
fn same(result: &gst::Structure, line: &serde_json::Value, name: &str) {
    let [found, expected] = [result.get::<f64>(name).unwrap(), line["quality"][name].as_f64().unwrap()];
    assert!((found - expected).abs() < 1e-12, "{name}: {found}, {expected}");
}
