//! The converter's commands with bad arguments: one line with the problem, its reason and a remedy, and no file left.

use assert_cmd::Command;
use causalclipseg::bundle::Provenance;
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::model::{Architecture, TextEncoder};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with a valid checkpoint.
struct Desk {
    folder: TempDir,
}

fn converter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_causalclipseg-convert"))
}

/// A small network with CLIP's vocabulary.
fn checkpoint() -> Checkpoint {
    let mini = Architecture::mini();
    let text = TextEncoder { vocabulary: 49_408, width: 8, ..mini.text.clone() };
    let architecture = Architecture { text, input_size: 32, ..mini };
    let weights = architecture.random_weights(1).unwrap();
    Checkpoint { architecture, weights, provenance: Provenance::default() }
}

fn listing(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        checkpoint().save(&desk.path("good.safetensors"), Storage::F32).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A command that reads a checkpoint and writes `out`.
    fn reading(&self, command: &str, checkpoint: &Path) -> Command {
        let mut run = converter();
        run.arg(command).arg("--checkpoint").arg(checkpoint).arg("-o").arg(self.path("out"));
        run
    }

    fn refused(&self, command: &mut Command, parts: &[&str]) {
        let before = listing(self.folder.path());
        let output = command.assert().code(1).get_output().clone();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(output.stdout.is_empty());
        assert_eq!(listing(self.folder.path()), before, "{error}");
    }
}

#[test]
fn invalid_checkpoints() {
    let desk = Desk::new();
    let good = fs::read(desk.path("good.safetensors")).unwrap();
    let mut poisoned = checkpoint();
    poisoned.weights.get_mut("backbone.text_projection").unwrap()[[2, 1]] = f32::NAN;
    poisoned.save(&desk.path("nan.safetensors"), Storage::F32).unwrap();
    let mut short = checkpoint();
    short.weights.remove("backbone.text_projection");
    short.save(&desk.path("short.safetensors"), Storage::F32).unwrap();
    let mut long_header = good.clone();
    long_header[..8].fill(0xff);
    let mut odd = checkpoint();
    odd.architecture.input_size = 100;
    odd.save(&desk.path("odd.safetensors"), Storage::F32).unwrap();
    let cases: [(PathBuf, &[&str]); 9] = [
        (desk.path("missing.safetensors"), &["cannot read", "missing.safetensors"]),
        (desk.folder.path().to_path_buf(), &["cannot read"]),
        (desk.write("empty.safetensors", ""), &["is not a safetensors file"]),
        (desk.write("text.safetensors", "this is\nno checkpoint"), &["text.safetensors is not a safetensors file"]),
        (desk.write("cut.safetensors", &good[..good.len() / 2]), &["is not a safetensors file"]),
        (desk.write("header.safetensors", long_header), &["is not a safetensors file"]),
        (desk.path("nan.safetensors"), &["`backbone.text_projection` holds NaN at element"]),
        (desk.path("short.safetensors"), &["the weights do not fit the network", "backbone.text_projection"]),
        (desk.path("odd.safetensors"), &["the input size 100 is not a multiple of 32"]),
    ];
    for (checkpoint, parts) in cases {
        desk.refused(&mut desk.reading("pack", &checkpoint), parts);
        desk.refused(&mut desk.reading("export", &checkpoint), parts);
        // Another reader with other messages; it determines the sizes by itself.
        if checkpoint.ends_with("odd.safetensors") {
            continue;
        }
        desk.refused(converter().arg("import").arg(&checkpoint).arg("-o").arg(desk.path("out")), &[]);
    }
}

/// A checkpoint file with one more text in its metadata.
fn with_text(file: &[u8], key: &str, text: &str) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    header["__metadata__"][key] = text.into();
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), &file[8 + length..]].concat()
}

#[test]
fn metadata_without_sense() {
    let desk = Desk::new();
    let good = fs::read(desk.path("good.safetensors")).unwrap();
    for (key, text) in [
        ("threshold", "abc"),
        ("threshold", "1.5"),
        ("trained", "maybe"),
        ("seed", "-1"),
        ("inputs", "none"),
        ("fit", "square"),
    ] {
        let checkpoint = desk.write("odd.safetensors", with_text(&good, key, text));
        let (key, text) = (format!("`{key}`"), format!("`{text}`"));
        let parts = [key.as_str(), text.as_str(), "odd.safetensors"];
        for command in ["pack", "export", "quantize"] {
            let mut run = desk.reading(command, &checkpoint);
            if command == "quantize" {
                run.args(["--phantoms", "1"]);
            }
            desk.refused(&mut run, &parts);
        }
        desk.refused(converter().arg("import").arg(&checkpoint).arg("-o").arg(desk.path("out")), &parts);
    }
    // A value that another program wrote under the same key is ignored.
    let foreign = with_text(&good, "seed", "-1");
    let length = u64::from_le_bytes(foreign[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&foreign[8..8 + length]).unwrap();
    header["__metadata__"].as_object_mut().unwrap().remove("architecture");
    let header = header.to_string().into_bytes();
    let foreign = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &foreign[8 + length..]].concat();
    let foreign = desk.write("foreign.safetensors", foreign);
    converter().arg("import").arg(&foreign).arg("-o").arg(desk.path("out")).assert().success();
}

#[test]
fn arguments_that_do_not_fit() {
    let desk = Desk::new();
    let good = desk.path("good.safetensors");
    let short_key = desk.write("short.key", "1234");
    let text = desk.write("tokenizer.json", "no tokenizer");
    let missing = desk.path("missing");
    let pack = |arguments: &[&str]| {
        let mut command = desk.reading("pack", &good);
        command.args(arguments);
        command
    };
    let name = |path: &Path| path.to_str().unwrap().to_string();
    desk.refused(&mut pack(&["--size", "100"]), &["the input size 100 is not a multiple of 32"]);
    desk.refused(&mut pack(&["--size", "0"]), &["the input size 0"]);
    desk.refused(&mut pack(&["--size", "1000000000000"]), &["the input size 1000000000000"]);
    desk.refused(
        &mut pack(&["--precision", "int8"]),
        &["is not a quantised checkpoint", "causalclipseg-convert quantize"],
    );
    desk.refused(&mut pack(&["--threshold", "2"]), &["a threshold of 2"]);
    desk.refused(&mut pack(&["--threshold", "NaN"]), &["a threshold of NaN"]);
    desk.refused(&mut pack(&["--sign", &name(&short_key)]), &["holds 4 bytes, not the 32 of a private key"]);
    desk.refused(&mut pack(&["--sign", &name(&missing)]), &["cannot read", "missing"]);
    desk.refused(&mut pack(&["--tokenizer", &name(&text)]), &["tokenizer.json is not usable"]);
    desk.refused(desk.reading("export", &good).args(["--size", "100"]), &["the input size 100"]);
    let init = |size: &str| {
        let mut command = converter();
        command.args(["init", "--edition", "tiny", "--size", size, "-o"]).arg(desk.path("out"));
        command
    };
    desk.refused(&mut init("100"), &["the input size 100 is not a multiple of 32"]);
    desk.refused(&mut init("8192"), &["the input size 8192"]);
    let mut import = converter();
    import.arg("import").arg(&good).args(["--size", "33", "-o"]).arg(desk.path("out"));
    desk.refused(&mut import, &["the input size 33"]);
    let mut import = converter();
    desk.refused(import.arg("import").arg(&missing).arg("-o").arg(desk.path("out")), &["missing"]);
}

#[test]
fn places_that_cannot_be_written_to() {
    let desk = Desk::new();
    let good = desk.path("good.safetensors");
    let file = desk.write("file", "text");
    let full = desk.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine.txt"), "mine").unwrap();
    let commands: [&[&str]; 5] = [
        &["pack", "--checkpoint", good.to_str().unwrap()],
        &["export", "--checkpoint", good.to_str().unwrap()],
        &["init", "--edition", "tiny", "--size", "32"],
        &["import", good.to_str().unwrap()],
        &["phantom", "--count", "1", "--size", "96x96"],
    ];
    for command in commands {
        desk.refused(converter().args(command).arg("-o").arg(file.join("below")), &["file"]);
        assert_eq!(fs::read(&file).unwrap(), b"text", "{command:?}");
    }
    // Phantoms are not mixed with existing files.
    desk.refused(converter().args(commands[4]).arg("-o").arg(&full), &["full"]);
    assert_eq!(listing(&full).len(), 1);
}

/// The system stops every write to a file, like a full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_takes_nothing() {
    let desk = Desk::new();
    let good = desk.path("good.safetensors");
    let out = desk.path("results");
    let commands: [&[&str]; 5] = [
        &["pack", "--checkpoint", good.to_str().unwrap(), "-o", "results/x.ccs"],
        &["init", "--edition", "tiny", "--size", "32", "-o", "results/x"],
        &["import", good.to_str().unwrap(), "-o", "results/x"],
        &["export", "--checkpoint", good.to_str().unwrap(), "-o", "results"],
        &["phantom", "--count", "1", "--size", "96x96", "-o", "results"],
    ];
    for command in commands {
        fs::create_dir(&out).unwrap();
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_causalclipseg-convert"),
        ]);
        desk.refused(shell.args(command).current_dir(desk.folder.path()), &[]);
        assert!(listing(&out).is_empty(), "{:?} after {command:?}", listing(&out));
        fs::remove_dir(&out).unwrap();
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let desk = Desk::new();
    for arguments in [
        &["pack"][..],
        &["pack", "--checkpoint", "x", "-o", "y", "--precision", "f64"],
        &["pack", "--checkpoint", "x", "-o", "y", "--letterbox", "256"],
        &["pack", "--checkpoint", "x", "-o", "y", "--size", "-32"],
        &["export", "--checkpoint", "x", "-o", "y", "--form", "folded"],
        &["init", "--edition", "tiny"],
        &["phantom", "-o", "y", "--count", "0"],
        &["phantom", "-o", "y", "--size", "10x10"],
        &["phantom", "-o", "y", "--split", "2"],
    ] {
        let output = converter().args(arguments).current_dir(desk.folder.path()).assert().code(2);
        assert!(!output.get_output().stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(listing(desk.folder.path()).len(), 1);
}
