//! `init` and `import` as commands: their files, and their errors.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

fn converter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_causalclipseg-convert"))
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// The free text in a safetensors header.
fn metadata(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header["__metadata__"].clone()
}

fn assert_fails(command: &mut Command, parts: &[&str]) {
    let output = command.assert().code(1).get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
}

#[test]
fn init_then_import() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first.safetensors"), folder.path().join("second.safetensors"));
    converter().args(["init", "--edition", "tiny", "--size", "64", "--seed", "5", "-o"]).arg(&first).assert().success();
    let written = metadata(&first);
    assert_eq!((&written["trained"], &written["seed"]), (&"false".into(), &"5".into()));
    converter().arg("import").arg(&first).args(["--size", "96", "-o"]).arg(&second).assert().success().stderr("");
    let written = metadata(&second);
    assert_eq!((&written["trained"], &written["source"]), (&"false".into(), &"first.safetensors".into()));
    let architecture: serde_json::Value = serde_json::from_str(written["architecture"].as_str().unwrap()).unwrap();
    assert_eq!(architecture["input_size"], 96);
}

#[test]
fn imports_clip_alone() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("clip.safetensors");
    let clip = golden("mini_clip_torchscript_fp16.pt");
    converter().arg("import").arg(clip).args(["--decoder", "32", "-o"]).arg(&checkpoint).assert().success().stderr("");
    assert_eq!(metadata(&checkpoint)["trained"], "false");
}

#[test]
fn failures_are_one_line_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    let text = folder.path().join("text.pt");
    std::fs::write(&text, "weights").unwrap();
    assert_fails(converter().arg("import").arg(&text).arg("-o").arg(&output), &["text.pt", "neither a torch archive"]);
    let nowhere = folder.path().join("no/folder/out.safetensors");
    assert_fails(
        converter().arg("import").arg(golden("mini_state_dict.pt")).arg("-o").arg(&nowhere),
        &["cannot be written to", "No such file"],
    );
    assert_fails(
        converter().args(["init", "--edition", "tiny", "--size", "100", "-o"]).arg(&output),
        &["input size 100", "multiple of 32"],
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the text file is there");
}

#[test]
fn usage_errors_exit_with_2() {
    converter().assert().code(2);
    converter().args(["init", "--edition", "rn200", "-o", "x"]).assert().code(2);
    converter().args(["import", "-o", "x"]).assert().code(2);
}

/// Recorded for an existing checkpoint, then passed on to every file that is derived from it.
#[test]
fn what_a_checkpoint_was_trained_on_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [checkpoint, imported, bundle] = ["c.safetensors", "i.safetensors", "b.ccs"].map(at);
    let [few, many] = ["few", "many"].map(at);
    let run = |command: &mut Command| {
        let output = command.assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    };
    run(converter().args(["init", "--edition", "tiny", "--size", "64", "-o"]).arg(&checkpoint));
    for (count, phantoms) in [("3", &few), ("100", &many)] {
        let arguments = ["phantom", "--size", "96x96", "--split", "0", "--count", count, "-o"];
        run(converter().args(arguments).arg(phantoms));
    }
    let before = std::fs::read(&checkpoint).unwrap();
    let said = run(converter().arg("provenance").arg(&checkpoint).arg("--data").arg(&few));
    let words = metadata(&checkpoint)["words"].as_str().unwrap().to_string();
    let known: Vec<&str> = words.split(' ').collect();
    assert!(said.contains(&format!("{} words, no looks: 3 images", known.len())), "{said}");
    assert!(["lesion", "left", "the", "gallbladder"].iter().all(|word| known.contains(word)), "{words}");
    assert!(metadata(&checkpoint)["inputs"].is_null());
    let said = run(converter().arg("provenance").arg(&checkpoint).arg("--data").arg(&many).arg("--data").arg(&few));
    assert!(said.contains("words, the looks of 100 images"), "{said}");
    // The bytes after the header are unchanged.
    let tensors = |bytes: &[u8]| bytes[8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize..].to_vec();
    assert!(tensors(&before) == tensors(&std::fs::read(&checkpoint).unwrap()));

    run(converter().arg("import").arg(&checkpoint).args(["--storage", "f16", "-o"]).arg(&imported));
    run(converter().arg("pack").arg("--checkpoint").arg(&imported).arg("-o").arg(&bundle));
    let opened = causalclipseg::bundle::Bundle::open(&bundle).unwrap();
    let provenance = &opened.manifest().model.provenance;
    let recorded = metadata(&checkpoint);
    assert_eq!(metadata(&imported)["words"], recorded["words"]);
    assert_eq!(provenance.get("words"), recorded["words"].as_str());
    assert_eq!(provenance.get("inputs"), recorded["inputs"].as_str());
    assert!(provenance.inputs().is_some());

    let text = at("text");
    std::fs::write(&text, "weights").unwrap();
    assert_fails(converter().arg("provenance").arg(&text).arg("--data").arg(&few), &["text is not a safetensors file"]);
    assert_fails(converter().arg("provenance").arg(&checkpoint).arg("--data").arg(at("none")), &["none"]);
}
