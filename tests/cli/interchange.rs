//! Interchange files wherever a bundle goes. What an export of ours does is tested with the converter.

use super::{causalclipseg, foreign, listing, shipped, text};
use assert_cmd::Command;
use causalclipseg::bundle::Bundle;
use image::{GrayImage, Luma};
use prost::Message;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a foreign file, a tokenizer, and a picture that is white on the left.
struct Desk {
    folder: TempDir,
    model: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Bundle::open(&shipped()).unwrap().tokenizer_json().unwrap().into_owned();
        let model = foreign::write(folder.path(), &tokenizer);
        let picture = GrayImage::from_fn(64, 48, |x, _| Luma([if x < 32 { 255 } else { 0 }]));
        picture.save(folder.path().join("picture.png")).unwrap();
        Self { folder, model }
    }

    /// A command that says everything that it usually says.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = causalclipseg();
        command.env_remove("RUST_LOG").current_dir(&self.folder).args(arguments);
        command
    }

    fn out(&self, arguments: &[&str]) -> (String, String) {
        let output = self.command(arguments).assert().success().get_output().clone();
        (text(&output.stdout), text(&output.stderr))
    }

    fn refused(&self, arguments: &[&str], expected: &str) {
        let output = self.command(arguments).assert().code(1).get_output().clone();
        let error = text(&output.stderr);
        // Before it, a line may say that plain tract runs the file.
        let lines: Vec<&str> = error.lines().filter(|line| !line.contains("runs on plain tract")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("error: ") && lines[0].contains(expected), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_foreign_file_segments() {
    let desk = Desk::new();
    let prompts = ["-p", "a bright spot", "-p", "a dark spot"];
    let arguments = [&["segment", "picture.png", "-m", "model.onnx", "-o", "out"], &prompts[..]].concat();
    let (_, warning) = desk.out(&arguments);
    assert!(warning.contains("runs on plain tract, slowly: it carries no description"), "{warning}");
    assert_eq!(warning.lines().count(), 1, "{warning}");
    let white = |number: u32| {
        let mask = image::open(desk.folder.path().join(format!("out/picture_{number}_mask.png"))).unwrap().into_luma8();
        mask.enumerate_pixels()
            .map(|(x, _, pixel)| ((x < 32) == (number == 1)) == (pixel.0[0] == 255))
            .filter(|as_expected| *as_expected)
            .count()
    };
    // The border is blurred by the way to 32 pixels and back.
    assert!(white(1) >= 63 * 48 && white(2) >= 63 * 48, "{} {}", white(1), white(2));
}

#[test]
fn the_other_commands_take_it_too() {
    let desk = Desk::new();
    let (shown, _) = desk.out(&["inspect", "model.onnx", "--layers"]);
    for part in ["32 x 32 pixels", "on plain tract", "no steps are known", "unknown"] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    let (shown, _) = desk.out(&["inspect", "model.onnx", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["manifest"]["model"]["input_size"], &shown["layers"]), (&32.into(), &serde_json::Value::Null));
    let (said, _) = desk.out(&["verify", "model.onnx"]);
    assert!(said.contains("records no sums") && said.contains("self-test   none, plain tract runs"), "{said}");
    let (row, _) = desk.out(&["bench", "-m", "model.onnx", "--runs", "3", "--warmup", "1", "--format", "json"]);
    let rows: serde_json::Value = serde_json::from_str(&row).unwrap();
    let found = rows.to_string();
    assert!(found.contains("\"engine\":\"reference\"") && found.contains("\"size\":32"), "{found}");
    std::fs::create_dir(desk.folder.path().join("clip")).unwrap();
    std::fs::copy(desk.folder.path().join("picture.png"), desk.folder.path().join("clip/a.png")).unwrap();
    let (report, _) = desk.out(&["stream", "clip", "-p", "a bright spot", "-m", "model.onnx", "--format", "json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).unwrap()["processed"], 1);
}

#[test]
fn what_cannot_be_used_is_one_line() {
    let desk = Desk::new();
    let segment = |model: &'static str| ["segment", "picture.png", "-m", model, "-p", "a mass", "-o", "out"];
    desk.refused(&segment("none.onnx"), "none.onnx: cannot be read");
    std::fs::write(desk.folder.path().join("empty.onnx"), "").unwrap();
    desk.refused(&segment("empty.onnx"), "empty.onnx: is empty");
    std::fs::write(desk.folder.path().join("text.onnx"), "# a model\n").unwrap();
    desk.refused(&segment("text.onnx"), "is not an ONNX file");
    desk.refused(
        &["segment", "picture.png", "-m", "model.onnx", "-p", "a mass", "--confounders"],
        "no head of the confounders",
    );
    desk.refused(&["verify", "model.onnx", "--public-key", "key"], "carry no signature");
    desk.refused(&["bench", "-m", "model.onnx", "--size", "64"], "takes 32 x 32 pixels, not 64 x 64");
    // tract panics on an axis that is not there, and nobody hears of it but by the error.
    let mut model = foreign::model();
    model.graph.as_mut().unwrap().node[3].attribute[0].ints = vec![9];
    std::fs::write(desk.folder.path().join("odd.onnx"), model.encode_to_vec()).unwrap();
    desk.refused(&segment("odd.onnx"), "tract panicked");
    std::fs::remove_file(desk.folder.path().join("tokenizer.json")).unwrap();
    desk.refused(&segment("model.onnx"), "no readable tokenizer.json beside it");
    assert!(desk.model.exists() && listing(&desk.folder.path().join("out")).is_empty());
}
