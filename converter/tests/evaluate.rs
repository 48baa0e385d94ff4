//! `evaluate` as a command, on phantoms and an untrained model.

use assert_cmd::Command;
use causalclipseg_convert::phantom::{WriteOptions, write_folder};
use serde_json::Value;
use std::path::{Path, PathBuf};

const IMAGES: usize = 5;

fn converter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_causalclipseg-convert"))
}

/// A folder of phantoms, all in the validation split, and an untrained checkpoint beside it.
fn fixture() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (data, checkpoint) = (folder.path().join("data"), folder.path().join("random.safetensors"));
    let options = WriteOptions { count: IMAGES, seed: 3, val_fraction: 1.0, size: Some((112, 96)), lesion_free: 0.0 };
    write_folder(&data, &options, || ()).unwrap();
    let init = ["init", "--edition", "tiny", "--size", "64", "--seed", "5", "-o"];
    converter().args(init).arg(&checkpoint).assert().success();
    (folder, data, checkpoint)
}

fn evaluate(data: &Path, checkpoint: &Path, arguments: &[&str]) -> Command {
    let mut command = converter();
    command.args(["evaluate", "--split", "val", "--resamples", "200", "--data"]).arg(data);
    command.arg("--checkpoint").arg(checkpoint).args(arguments);
    command
}

fn json(mut command: Command) -> Value {
    let output = command.args(["--format", "json"]).assert().success().stderr("").get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn without_seconds(mut evaluation: Value) -> Value {
    evaluation["seconds"] = Value::Null;
    evaluation
}

#[test]
fn figures_of_a_folder() {
    let (folder, data, checkpoint) = fixture();
    let report = folder.path().join("report");
    let mut command = evaluate(&data, &checkpoint, &["--threads", "2", "--report"]);
    let log = folder.path().join("log.jsonl");
    std::fs::write(&log, "{\"epoch\":0,\"pred\":0.7}\n{\"epoch\":1,\"pred\":0.5}\n").unwrap();
    command.arg(&report).arg("--log").arg(&log);
    let result = json(command);

    let per_image = result["per_image"].as_array().unwrap();
    assert_eq!((&result["images"], per_image.len()), (&IMAGES.into(), IMAGES));
    for key in ["dice", "iou", "nsd", "hd95"] {
        let sum: f64 = per_image.iter().map(|image| image[key].as_f64().unwrap()).sum();
        let mean = result[key].as_f64().unwrap();
        assert!((mean - sum / IMAGES as f64).abs() < 1e-9, "{key}");
        // Phantoms have no patients, so each image counts as one.
        assert!((mean - result[format!("{key}_by_patient")].as_f64().unwrap()).abs() < 1e-9, "{key}");
        let interval = &result["intervals"][key];
        assert!(interval[0].as_f64().unwrap() <= mean && mean <= interval[1].as_f64().unwrap(), "{key}");
    }
    for image in per_image {
        assert!(image["image"].as_str().unwrap().ends_with(".png") && image["area_px"].is_u64());
        assert!(image["truth_px"].as_u64().unwrap() <= 112 * 96);
    }
    let prompts = &result["prompts"];
    assert_eq!(prompts["true"], result["dice"]);
    for key in ["empty", "shuffled"] {
        assert!((0.0..=1.0).contains(&prompts[key].as_f64().unwrap()), "{key}");
    }
    let pairs = &result["pairs"];
    let with_lesion = per_image.iter().filter(|image| image["truth_px"] != 0).count();
    assert_eq!((&pairs["pairs"], &pairs["prompts"]), (&with_lesion.into(), &(2 * with_lesion).into()));
    assert!(pairs["named"].is_f64() && pairs["other"].is_f64());
    assert_eq!(result["absent"]["prompts"], IMAGES);
    assert!(result["absent"]["empty_fraction"].is_f64());
    assert_eq!((&result["trained"], &result["model"]), (&false.into(), &"random".into()));
    assert_eq!(result["model_sha256"].as_str().unwrap().len(), 64);

    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("never trained") && page.contains("<polyline") && page.contains("worst_2.png"));
    let written: Value = serde_json::from_slice(&std::fs::read(report.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(written["dice"], result["dice"]);
    assert!(report.join("best_1.png").is_file() && report.join("median_2.png").is_file());
    assert_eq!(std::fs::read_to_string(report.join(".gitignore")).unwrap(), "*\n");

    // The number of threads changes nothing, and neither does a bundle in place of the checkpoint.
    let again = json(evaluate(&data, &checkpoint, &["--threads", "1"]));
    assert_eq!(without_seconds(again), without_seconds(result.clone()));
    let bundle = folder.path().join("random.ccs");
    converter().arg("pack").arg("--checkpoint").arg(&checkpoint).arg("-o").arg(&bundle).assert().success();
    let mut command = converter();
    command.args(["evaluate", "--split", "val", "--resamples", "200", "--data"]).arg(&data).arg("-m").arg(&bundle);
    assert_eq!(without_seconds(json(command)), without_seconds(result));
}

#[test]
fn prompts_are_replaced_and_the_study_is_left_out() {
    let (folder, data, checkpoint) = fixture();
    let original = json(evaluate(&data, &checkpoint, &["--no-prompt-study"]));
    assert!(["prompts", "pairs", "absent"].iter().all(|key| original[key].is_null()));
    let rows = original["per_image"].as_array().unwrap().iter().enumerate();
    // The first prompt is empty, the last is far longer than the network reads.
    let text = |index: usize| match index {
        0 => String::new(),
        index if index + 1 == IMAGES => "mass ".repeat(100),
        index => format!("another mass {index}"),
    };
    let table: String =
        rows.map(|(index, image)| format!("{},{}\n", image["image"].as_str().unwrap(), text(index))).collect();
    let path = folder.path().join("prompts.csv");
    std::fs::write(&path, format!("Image,Description\n{table}")).unwrap();
    let replaced = json(evaluate(&data, &checkpoint, &["--no-prompt-study", "--prompts", path.to_str().unwrap()]));
    let prompts: Vec<&str> =
        replaced["per_image"].as_array().unwrap().iter().map(|image| image["prompt"].as_str().unwrap()).collect();
    assert_eq!(prompts[..2], ["", "another mass 1"]);
    assert!(prompts[IMAGES - 1].starts_with("mass mass"));
    assert_ne!(replaced["per_image"], original["per_image"]);
}

#[test]
fn interventions_are_counted_and_repeat() {
    let (_folder, data, checkpoint) = fixture();
    let asked = ["--no-prompt-study", "--interventions", "--threads"];
    let result = json(evaluate(&data, &checkpoint, &[&asked[..], &["2"]].concat()));
    let scores = result["interventions"].as_array().unwrap();
    let named: Vec<&str> = scores.iter().map(|scores| scores["intervention"].as_str().unwrap()).collect();
    for name in ["calipers_added", "label_added", "gain_raised", "gain_lowered", "deeper"] {
        assert!(named.contains(&name), "{name} in {named:?}");
    }
    for scores in scores {
        let number = |key: &str| scores[key].as_f64().unwrap();
        assert!((1..=IMAGES as u64).contains(&scores["images"].as_u64().unwrap()));
        assert!((number("dice_after") - number("dice_before") - number("change")).abs() < 1e-12);
        assert!((0.0..=1.0).contains(&number("agreement")));
    }
    let again = json(evaluate(&data, &checkpoint, &[&asked[..], &["1"]].concat()));
    assert_eq!(again["interventions"], result["interventions"]);
    assert!(json(evaluate(&data, &checkpoint, &["--no-prompt-study"]))["interventions"].is_null());
}

#[test]
fn people_get_tables() {
    let (_folder, data, checkpoint) = fixture();
    let mut command = evaluate(&data, &checkpoint, &["--limit", "2", "--interventions"]);
    let output = String::from_utf8(command.assert().success().stderr("").get_output().stdout.clone()).unwrap();
    for part in [
        "2 images of 2 patients",
        "never trained",
        "Dice",
        "HD95 (px)",
        "empty prompt",
        "other lesion of two",
        "another organ",
        "gain raised",
    ] {
        assert!(output.contains(part), "expected `{part}` in: {output}");
    }
}

#[test]
fn failures_are_one_line() {
    let (folder, data, checkpoint) = fixture();
    let fails = |command: &mut Command, code: i32, part: &str| {
        let output = command.assert().code(code).get_output().clone();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("error: ") && message.contains(part), "expected `{part}` in: {message}");
        assert!(code == 2 || message.lines().count() == 1, "{message}");
    };
    let evaluate_split = |split: &str| {
        let mut command = converter();
        command.args(["evaluate", "--split", split, "--data"]).arg(&data).arg("--checkpoint").arg(&checkpoint);
        command
    };
    fails(&mut evaluate_split("test"), 1, "Test_Folder");
    fails(&mut evaluate_split("everything"), 2, "everything");
    fails(converter().args(["evaluate", "--split", "val", "--data"]).arg(&data), 2, "--checkpoint");
    fails(&mut evaluate(&folder.path().join("none"), &checkpoint, &[]), 1, "none");
    fails(&mut evaluate(&data, &data, &[]), 1, "cannot read");
    fails(&mut evaluate(&data, &checkpoint, &["--limit", "0"]), 2, "--limit");

    let image = data.join("Val_Folder/img/phantom_00002.png");
    std::fs::write(&image, "no picture").unwrap();
    fails(&mut evaluate(&data, &checkpoint, &[]), 1, "phantom_00002.png");
}

#[test]
fn requests_are_asked_of_images_with_and_without_a_lesion() {
    let folder = tempfile::tempdir().unwrap();
    let (data, checkpoint) = (folder.path().join("data"), folder.path().join("random.safetensors"));
    let options = WriteOptions { count: 6, seed: 3, val_fraction: 1.0, size: Some((160, 128)), lesion_free: 0.5 };
    write_folder(&data, &options, || ()).unwrap();
    let init = ["init", "--edition", "tiny", "--size", "64", "--seed", "5", "-o"];
    converter().args(init).arg(&checkpoint).assert().success();
    let asked = ["--no-prompt-study", "--requests", "--threads"];
    let result = json(evaluate(&data, &checkpoint, &[&asked[..], &["2"]].concat()));
    let requests = &result["requests"];
    assert_eq!((&requests["lesions"], &requests["without_lesion"]), (&3.into(), &3.into()));
    assert!(requests["beside_lesion"].as_u64().unwrap() <= 3);
    assert_eq!(requests["own"]["request"], "own sentence");
    assert!(requests["by_request"].as_array().unwrap().len() == 20);
    for kind in ["own", "none", "plain", "held_out"] {
        for key in ["dice", "refused", "empty_without"] {
            assert!((0.0..=1.0).contains(&requests[kind][key].as_f64().unwrap()), "{kind} {key}");
        }
    }
    let curve = &requests["presence"]["by_max_probability"];
    assert!((0.0..=1.0).contains(&curve["area"].as_f64().unwrap()));
    let again = json(evaluate(&data, &checkpoint, &[&asked[..], &["1"]].concat()));
    assert_eq!(without_seconds(again), without_seconds(result.clone()));

    // The results go into a checkpoint, and other JSON is refused.
    let found = folder.path().join("found.json");
    std::fs::write(&found, result.to_string()).unwrap();
    let record = |evaluation: &Path| {
        let mut command = converter();
        command.arg("provenance").arg(&checkpoint).arg("--evaluation").arg(evaluation).arg("--data").arg(&data);
        command
    };
    // Phantoms of the validation split only: no training images.
    record(&found).assert().failure();
    std::fs::rename(data.join("Val_Folder"), data.join("Train_Folder")).unwrap();
    std::fs::rename(data.join("Prompts_Folder/Val_text.xlsx"), data.join("Prompts_Folder/Train_text.xlsx")).unwrap();
    let other = folder.path().join("other.json");
    std::fs::write(&other, "{}").unwrap();
    let output = record(&other).assert().failure().get_output().stderr.clone();
    let told = String::from_utf8(output).unwrap();
    assert!(told.contains("--requests") && told.trim_end().lines().count() == 1, "{told}");
    if !result["requests"]["calibration"].is_null() {
        record(&found).assert().success();
    }
}

#[test]
fn folds_and_devices_are_left_out_by_one_flag() {
    let (folder, data, checkpoint) = fixture();
    let train = folder.path().join("train");
    let options = WriteOptions { count: 6, seed: 3, val_fraction: 0.0, size: Some((112, 96)), lesion_free: 0.0 };
    write_folder(&train, &options, || ()).unwrap();
    let images = |fold: &str| -> Vec<String> {
        let mut command = converter();
        command.args(["evaluate", "--no-prompt-study", "--fold", fold, "--data"]).arg(&train);
        command.arg("--checkpoint").arg(&checkpoint);
        let result = json(command);
        let all = result["per_image"].as_array().unwrap().iter();
        all.map(|image| image["image"].as_str().unwrap().to_string()).collect()
    };
    let (one, other) = (images("0/2"), images("1/2"));
    assert!(!one.is_empty() && !other.is_empty() && one.iter().all(|image| !other.contains(image)));
    let mut command = converter();
    command.args(["evaluate", "--leave-device", "Toshiba", "--data"]).arg(&train).arg("--checkpoint").arg(&checkpoint);
    // Phantoms have no device, and no validation split here.
    command.assert().failure();
    let both = ["--fold", "0/2"];
    evaluate(&data, &checkpoint, &both).assert().failure();
}
