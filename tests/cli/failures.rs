//! Bad inputs of every kind: one line with the problem, its reason and a remedy, and no file left.

use super::desk::Desk;
use super::{causalclipseg, listing, text, toy};
use assert_cmd::Command;
use causalclipseg::bundle::{Dtype, StoredTensor};
use image::GrayImage;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with a valid picture, and an empty folder for results.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.save("good.png", GrayImage::new(48, 40));
    fs::create_dir(desk.path("out")).unwrap();
    desk
}

fn segment(desk: &Desk, input: &Path, bundle: &Path, prompt: &str) -> Command {
    let mut command = causalclipseg();
    command.arg("segment").arg(input).arg("-m").arg(bundle).args(["-p", prompt, "-o"]).arg(desk.path("out"));
    command
}

/// A PNG that is only a header, for `width` x `height` grey pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut crc_of_header = b"IHDR".to_vec();
    crc_of_header.extend(width.to_be_bytes());
    crc_of_header.extend(height.to_be_bytes());
    crc_of_header.extend([8, 0, 0, 0, 0]);
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 })
        })
    };
    let start = [b"\x89PNG\r\n\x1a\n".as_slice(), &13u32.to_be_bytes(), &crc_of_header].concat();
    let data = [0u32.to_be_bytes().as_slice(), b"IDAT", &crc(b"IDAT").to_be_bytes()].concat();
    [start, crc(&crc_of_header).to_be_bytes().to_vec(), data].concat()
}

#[test]
fn invalid_pictures() {
    let desk = desk();
    let bundle = desk.path("toy.ccs");
    let whole = fs::read(desk.path("good.png")).unwrap();
    let mut flipped = whole.clone();
    flipped[50] ^= 0xff;
    let truncated = desk.write("truncated.png", &whole[..whole.len() * 2 / 3]);
    let cases: [(PathBuf, &[&str]); 8] = [
        (desk.path("missing.png"), &["missing.png: no such file; check the path"]),
        (desk.write("empty.png", ""), &["empty.png: the file is empty; copy it again"]),
        (truncated, &["truncated.png: the picture is damaged or cut short"]),
        (desk.write("flipped.png", flipped), &["flipped.png: the picture is damaged"]),
        (
            desk.write("text.png", "this is\nno picture"),
            &["text.png: not an image", "give PNG, JPEG, BMP, TIFF, DICOM"],
        ),
        (desk.write("huge.png", png_header(20_000, 20_000)), &["20000 x 20000 pixels", "crop or shrink it first"]),
        (desk.write("nothing.png", png_header(0, 40)), &["nothing.png: the picture is damaged"]),
        (desk.path("two\nlines.png"), &["no such file"]),
    ];
    for (input, parts) in cases {
        desk.refused(&mut segment(&desk, &input, &bundle, "a cyst"), parts);
    }
    // A path through a file.
    desk.refused(&mut segment(&desk, &desk.path("good.png/x.png"), &bundle, "a cyst"), &["x.png"]);
}

#[test]
fn invalid_prompts() {
    let desk = desk();
    let (input, bundle) = (desk.path("good.png"), desk.path("toy.ccs"));
    for (prompt, parts) in [
        ("", &["the prompt is empty"][..]),
        (" \t\n ", &["the prompt is empty"]),
        (&"lesion ".repeat(10_000), &["the prompt has 70000 bytes", "shorten it"]),
        (&"lesion ".repeat(100), &["the prompt has 202 tokens and the model reads 77", "shorten it"]),
    ] {
        desk.refused(&mut segment(&desk, &input, &bundle, prompt), parts);
    }
    // One bad prompt among good ones.
    desk.refused(segment(&desk, &input, &bundle, "a cyst").args(["-p", ""]), &["the prompt is empty"]);
}

#[test]
fn invalid_bundles() {
    let desk = desk();
    let input = desk.path("good.png");
    let good = fs::read(desk.path("toy.ccs")).unwrap();
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let numbers = [0.0f32, f32::NAN].iter().cycle().take(28).flat_map(|value| value.to_le_bytes());
    let nan = StoredTensor::plain("kernel.bias", Dtype::F32, &[28], numbers.collect());
    toy::builder().tensor(nan).write(&desk.path("nan.ccs")).unwrap();
    let resized = toy::forged(&good, |manifest| manifest["model"]["input_size"] = 64.into());
    let cases: [(PathBuf, &[&str]); 11] = [
        (desk.path("missing.ccs"), &["missing.ccs: cannot be read", "check the path"]),
        (desk.folder().to_path_buf(), &["is not a file"]),
        (desk.write("empty.ccs", ""), &["empty.ccs: is empty"]),
        (
            desk.write("text.ccs", "this is\nno bundle, but it is long enough to hold a header of one."),
            &["wrong magic"],
        ),
        (desk.write("magic.ccs", patched(1, b"X")), &["wrong magic"]),
        (
            desk.write("newer.ccs", patched(8, &2u32.to_le_bytes())),
            &["a newer version (format 2", "update causalclipseg"],
        ),
        (desk.write("cut.ccs", &good[..good.len() - 100]), &["cut.ccs: is cut short", "copy it again"]),
        (desk.write("early.ccs", patched(100, b"\0")), &["is damaged: the manifest"]),
        (desk.write("late.ccs", patched(good.len() - 1000, b"?")), &["late.ccs: is damaged: the part"]),
        (desk.write("resized.ccs", resized), &["resized.ccs", "64"]),
        (desk.path("nan.ccs"), &["tensor `kernel.bias` holds NaN at index 1"]),
    ];
    for (bundle, parts) in cases {
        desk.refused(&mut segment(&desk, &input, &bundle, "a cyst"), parts);
        if !bundle.ends_with("nan.ccs") {
            desk.refused(causalclipseg().arg("inspect").arg(&bundle), parts);
            desk.refused(causalclipseg().arg("verify").arg(&bundle), parts);
        }
    }
}

#[test]
fn places_that_cannot_be_written_to() {
    let desk = desk();
    let (input, bundle) = (desk.path("good.png"), desk.path("toy.ccs"));
    let segment_into = |output: &Path| {
        let mut command = causalclipseg();
        command.arg("segment").arg(&input).arg("-m").arg(&bundle).args(["-p", "a cyst", "-o"]).arg(output);
        command
    };
    desk.refused(&mut segment_into(&input), &["cannot create the folder"]);
    desk.refused(&mut segment_into(&desk.path("good.png/below")), &["cannot create the folder"]);
    // Results with the same name, or with the name of an input.
    let mut twins = segment(&desk, &input, &bundle, "a cyst");
    desk.refused(twins.arg(&input), &["would write the same results", "give each input once"]);
    fs::copy(&input, desk.path("good_mask.png")).unwrap();
    let mut over = segment_into(desk.folder());
    desk.refused(over.arg(desk.path("good_mask.png")), &["good_mask.png", "write to another folder"]);
    // A folder has the name of a result.
    fs::create_dir_all(desk.path("taken/good_mask.png")).unwrap();
    desk.refused(&mut segment_into(&desk.path("taken")), &["already exists and is not a regular file"]);
    assert_eq!(listing(&desk.path("taken")).len(), 1);
}

/// The system stops every write to a file, like a full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_takes_nothing() {
    let desk = desk();
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    for format in ["mask", "prob", "overlay", "json"] {
        let mut command = Command::new("sh");
        command
            .env("RUST_LOG", "error")
            .args(["-c", script, env!("CARGO_BIN_EXE_causalclipseg"), "segment"])
            .arg(desk.path("good.png"));
        command.arg("-m").arg(desk.path("toy.ccs")).args(["-p", "a cyst", "--format", format, "-o"]);
        desk.refused(command.arg(desk.path("out")), &["good", "cannot be written"]);
    }
}

/// A closed pipe, as by `head`, is a normal end; a full disk behind `>` is a failure.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_may_be_closed_or_full() {
    let desk = desk();
    let run = |script: &str| {
        let mut command = Command::new("sh");
        command
            .env("RUST_LOG", "error")
            .args(["-c", script, env!("CARGO_BIN_EXE_causalclipseg")])
            .arg(desk.path("toy.ccs"));
        command
    };
    for arguments in ["inspect --layers", "inspect --layers --format json", "verify"] {
        let script = format!("{{ \"$0\" {arguments} \"$1\"; echo $? >&2; }} | sleep 0");
        let output = run(&script).assert().success();
        assert_eq!(text(&output.get_output().stderr), "0\n", "{arguments}");
        let script = format!("\"$0\" {arguments} \"$1\" > /dev/full");
        desk.refused(&mut run(&script), &["cannot write to standard output", "check where it is sent"]);
    }
}

#[test]
fn devices_that_are_not_there() {
    let desk = desk();
    let mut command = segment(&desk, &desk.path("good.png"), &desk.path("toy.ccs"), "a cyst");
    if cfg!(not(feature = "gpu")) {
        desk.refused(command.args(["--device", "gpu"]), &["error: this build has no GPU engine; use --device cpu"]);
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let desk = desk();
    let picture = desk.path("good.png");
    let picture = picture.to_str().unwrap();
    for arguments in [
        &[][..],
        &["segment"],
        &["segment", picture],
        &["segment", "-p", "a cyst"],
        &["segment", picture, "-p", "a cyst", "--format", "gif"],
        &["segment", picture, "-p", "a cyst", "--threshold", "1.5"],
        &["segment", picture, "-p", "a cyst", "--threshold", "NaN"],
        &["segment", picture, "-p", "a cyst", "--prob-bits", "12"],
        &["segment", picture, "-p", "a cyst", "--mm-per-pixel", "0"],
        &["segment", picture, "-p", "a cyst", "--mm-per-pixel", "1,2,3"],
        &["segment", picture, "-p", "a cyst", "--region", "1,2,3"],
        &["segment", "-", "-p", "a cyst", "--raw", "640x480:yuv444p"],
        &["segment", picture, "-p", "a cyst", "--threads", "0"],
        &["segment", picture, "-p", "a cyst", "--threads", "100000"],
        &["segment", picture, "-p", "a cyst", "--device", "tpu"],
        &["inspect", "--format", "xml"],
        &["dissect"],
    ] {
        let output = causalclipseg().args(arguments).current_dir(desk.path("out")).assert().code(2);
        assert!(!output.get_output().stderr.is_empty(), "{arguments:?}");
        assert!(listing(&desk.path("out")).is_empty());
    }
}
