//! `init` and `import` as commands: what they write, and how they fail.

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

/// Recorded for a checkpoint of before, then passed on by whatever is made of it.
#[test]
fn the_words_of_training_prompts_are_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (checkpoint, phantoms, imported, bundle) =
        (at("c.safetensors"), at("phantoms"), at("i.safetensors"), at("b.ccs"));
    let run = |arguments: &[&std::ffi::OsStr]| converter().args(arguments).assert().success();
    run(&["init".as_ref(), "--edition".as_ref(), "tiny".as_ref(), "--size".as_ref(), "64".as_ref(), "-o".as_ref(), checkpoint.as_ref()]);
    run(&["phantom".as_ref(), "--count".as_ref(), "3".as_ref(), "--split".as_ref(), "0".as_ref(), "-o".as_ref(), phantoms.as_ref()]);
    let before = std::fs::read(&checkpoint).unwrap();
    let said = run(&["words".as_ref(), checkpoint.as_ref(), "--data".as_ref(), phantoms.as_ref()]);
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    let words = metadata(&checkpoint)["words"].as_str().unwrap().to_string();
    assert!(said.contains(&format!("{} words", words.split(' ').count())), "{said}");
    assert!(["lesion", "left", "the", "gallbladder"].iter().all(|word| words.split(' ').any(|known| known == *word)), "{words}");
    // What follows the header is as it was.
    let tensors = |bytes: &[u8]| bytes[8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize..].to_vec();
    assert!(tensors(&before) == tensors(&std::fs::read(&checkpoint).unwrap()));

    run(&["import".as_ref(), checkpoint.as_ref(), "--storage".as_ref(), "f16".as_ref(), "-o".as_ref(), imported.as_ref()]);
    assert_eq!(metadata(&imported)["words"], words.as_str());
    run(&["pack".as_ref(), "--checkpoint".as_ref(), imported.as_ref(), "-o".as_ref(), bundle.as_ref()]);
    let opened = causalclipseg::bundle::Bundle::open(&bundle).unwrap();
    assert_eq!(opened.manifest().model.provenance["words"], words);

    let text = at("text");
    std::fs::write(&text, "weights").unwrap();
    assert_fails(converter().arg("words").arg(&text).arg("--data").arg(&phantoms), &["text is not a safetensors file"]);
    assert_fails(converter().arg("words").arg(&checkpoint).arg("--data").arg(at("none")), &["none"]);
}
