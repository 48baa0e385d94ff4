//! Interchange files in place of bundles. Our own exports are tested with the converter.

use super::desk::Desk;
use super::{causalclipseg, shipped, text};
use assert_cmd::Command;
use causalclipseg::bundle::Bundle;
use image::{GrayImage, Luma};
use prost::Message;
use toy_networks::foreign;

/// A folder with a foreign file, a tokenizer, and a picture that is white on the left.
fn desk() -> Desk {
    let desk = Desk::empty();
    let tokenizer = Bundle::open(&shipped()).unwrap().tokenizer_json().unwrap().into_owned();
    foreign::write(desk.folder(), &tokenizer);
    desk.save("picture.png", GrayImage::from_fn(64, 48, |x, _| Luma([if x < 32 { 255 } else { 0 }])));
    desk
}

/// A command with its usual messages.
fn command(desk: &Desk, arguments: &[&str]) -> Command {
    let mut command = causalclipseg();
    command.env_remove("RUST_LOG").current_dir(desk.folder()).args(arguments);
    command
}

fn out(desk: &Desk, arguments: &[&str]) -> (String, String) {
    let output = command(desk, arguments).assert().success().get_output().clone();
    (text(&output.stdout), text(&output.stderr))
}

fn refused(desk: &Desk, arguments: &[&str], expected: &str) {
    let output = command(desk, arguments).assert().code(1).get_output().clone();
    let error = text(&output.stderr);
    // A line before it may say that tract runs the file.
    let lines: Vec<&str> = error.lines().filter(|line| !line.contains("runs on plain tract")).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("error: ") && lines[0].contains(expected), "{error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_foreign_file_segments() {
    let desk = desk();
    let prompts = ["-p", "a bright spot", "-p", "a dark spot"];
    let arguments = [&["segment", "picture.png", "-m", "model.onnx", "-o", "out"], &prompts[..]].concat();
    let (_, warning) = out(&desk, &arguments);
    assert!(warning.contains("runs on plain tract, slowly: it has no description"), "{warning}");
    assert_eq!(warning.lines().count(), 1, "{warning}");
    let white = |number: u32| {
        let mask = image::open(desk.path(&format!("out/picture_{number}_mask.png"))).unwrap().into_luma8();
        mask.enumerate_pixels()
            .map(|(x, _, pixel)| ((x < 32) == (number == 1)) == (pixel.0[0] == 255))
            .filter(|as_expected| *as_expected)
            .count()
    };
    // Resampling to 32 pixels and back blurs the border.
    assert!(white(1) >= 63 * 48 && white(2) >= 63 * 48, "{} {}", white(1), white(2));
}

#[test]
fn the_other_commands_take_it_too() {
    let desk = desk();
    let (shown, _) = out(&desk, &["inspect", "model.onnx", "--layers"]);
    for part in ["32 x 32 pixels", "on plain tract", "no steps are known", "unknown"] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    let (shown, _) = out(&desk, &["inspect", "model.onnx", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["manifest"]["model"]["input_size"], &shown["layers"]), (&32.into(), &serde_json::Value::Null));
    let (said, _) = out(&desk, &["verify", "model.onnx"]);
    assert!(said.contains("records no checksums") && said.contains("self-test   none, plain tract runs"), "{said}");
    let (row, _) = out(&desk, &["bench", "-m", "model.onnx", "--runs", "3", "--warmup", "1", "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&row).unwrap();
    let found = rows.to_string();
    assert!(found.contains("\"engine\":\"reference\"") && found.contains("\"size\":32"), "{found}");
    std::fs::create_dir(desk.path("clip")).unwrap();
    std::fs::copy(desk.path("picture.png"), desk.path("clip/a.png")).unwrap();
    let (report, _) = out(&desk, &["stream", "clip", "-p", "a bright spot", "-m", "model.onnx", "--format", "json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).unwrap()["processed"], 1);
}

#[test]
fn what_cannot_be_used_is_one_line() {
    let desk = desk();
    let segment = |model: &'static str| ["segment", "picture.png", "-m", model, "-p", "a mass", "-o", "out"];
    refused(&desk, &segment("none.onnx"), "none.onnx: cannot be read");
    desk.write("empty.onnx", "");
    refused(&desk, &segment("empty.onnx"), "empty.onnx: is empty");
    desk.write("text.onnx", "# a model\n");
    refused(&desk, &segment("text.onnx"), "is not an ONNX file");
    refused(
        &desk,
        &["segment", "picture.png", "-m", "model.onnx", "-p", "a mass", "--confounders"],
        "no confounder map",
    );
    refused(&desk, &["verify", "model.onnx", "--public-key", "key"], "have no signature");
    refused(&desk, &["bench", "-m", "model.onnx", "--size", "64"], "takes 32 x 32 pixels, not 64 x 64");
    // tract panics on an axis that does not exist; the user sees only the error.
    let mut model = foreign::model();
    model.graph.as_mut().unwrap().node[3].attribute[0].ints = vec![9];
    desk.write("odd.onnx", model.encode_to_vec());
    refused(&desk, &segment("odd.onnx"), "tract panicked");
    std::fs::remove_file(desk.path("tokenizer.json")).unwrap();
    refused(&desk, &segment("model.onnx"), "no readable tokenizer.json beside it");
    assert!(desk.path("model.onnx").exists() && desk.results().is_empty());
}
