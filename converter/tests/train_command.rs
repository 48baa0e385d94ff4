//! `train` as a command, on phantoms and the smallest network: what it writes, what it warns of and what it refuses.

use assert_cmd::Command;
use causalclipseg::frame::Fit;
use causalclipseg::{Model, ModelOptions};
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::model::{Architecture, TextEncoder};
use causalclipseg_convert::phantom::{WriteOptions, write_folder};
use causalclipseg_convert::train::{TrainingConfig, random_start, read_log};
use image::{GrayImage, Luma};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Two epochs of two batches each, without augmentation.
const CONFIG: &str = "
phases = [{epochs = 2, size = 32, batch = 4}]
validation_pairs = 0
fit = {letterbox = {padding = [0.5, 0.5, 0.5]}}
[recipe]
compose = 0.0
affine = 0.0
[game]
warmup_epochs = 1
";

struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A folder with phantoms, a configuration and an untrained checkpoint of CLIP's vocabulary.
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        let options = WriteOptions { count: 12, seed: 3, val_fraction: 0.3, size: Some((160, 100)), lesion_free: 0.0 };
        write_folder(&desk.path("data"), &options, || ()).unwrap();
        std::fs::write(desk.path("config.toml"), CONFIG).unwrap();
        desk.checkpoint("start.safetensors", 49_408);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn checkpoint(&self, name: &str, vocabulary: usize) {
        let mini = Architecture::mini();
        let text = TextEncoder { vocabulary, width: 8, layers: 1, ..mini.text.clone() };
        random_start(Architecture { text, input_size: 32, ..mini }, 1)
            .unwrap()
            .save(&self.path(name), Storage::F32)
            .unwrap();
    }

    fn train(&self, data: &str, arguments: &[&str], output: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causalclipseg-convert"));
        command.current_dir(self.folder.path()).args(["train", "--data", data, "-o", output]).args(arguments);
        command
    }

    fn start(&self, arguments: &[&str], output: &str) -> Command {
        let mut all = vec!["--config", "config.toml", "--init", "start.safetensors"];
        all.extend(arguments);
        self.train("data", &all, output)
    }
}

/// The line of an error that ends a command.
fn refusal(mut command: Command, parts: &[&str]) {
    let output = command.assert().code(1).get_output().clone();
    let error = String::from_utf8(output.stderr).unwrap();
    let line = error.lines().last().unwrap_or_default();
    assert!(line.starts_with("error: ") && error.matches("error: ").count() == 1, "{error}");
    for part in parts {
        assert!(line.contains(part), "`{part}` is not in: {error}");
    }
}

fn warnings(mut command: Command) -> String {
    String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap()
}

#[test]
fn a_run_records_its_fit_and_resumes_with_its_own_data_only() {
    let desk = Desk::new();
    desk.start(&[], "run").assert().success().stderr("");
    let last = Checkpoint::load(&desk.path("run/final.safetensors")).unwrap();
    assert_eq!(last.fit(), Fit::Letterbox { padding: [0.5; 3] });
    assert_eq!(read_log(&desk.path("run/log.jsonl")).unwrap().len(), 2);
    let mut pack = Command::new(env!("CARGO_BIN_EXE_causalclipseg-convert"));
    pack.current_dir(desk.folder.path()).args(["pack", "--checkpoint", "run/final.safetensors", "-o", "toy.ccs"]);
    pack.assert().success().stderr("");
    let model = Model::open(&desk.path("toy.ccs"), ModelOptions::default()).unwrap();
    assert_eq!(model.description().fit, last.fit());

    refusal(desk.start(&[], "run"), &["already contains a run", "--resume"]);
    desk.train("data", &["--resume"], "run").assert().success();
    let options = WriteOptions { count: 12, seed: 4, val_fraction: 0.3, size: Some((160, 100)), lesion_free: 0.0 };
    write_folder(&desk.path("other"), &options, || ()).unwrap();
    refusal(desk.train("other", &["--resume"], "run"), &["other data", "--init"]);
    refusal(desk.train("data", &["--resume", "--fold", "0/3"], "run"), &["another --fold"]);
    refusal(desk.train("data", &["--resume"], "none"), &["does not contain a run"]);
    std::fs::write(desk.path("other.toml"), CONFIG.replace("epochs = 2", "epochs = 3")).unwrap();
    refusal(desk.train("data", &["--resume", "--config", "other.toml"], "run"), &["another configuration"]);
}

/// The advice of the message works: the same configuration with a lower rate continues from the last good state.
#[test]
fn a_run_that_diverges_continues_with_a_lower_rate() {
    let desk = Desk::new();
    let wild = format!("{CONFIG}[optimizer]\nlearning_rate = 1e30\nclip_norm = 0.0\n");
    std::fs::write(desk.path("config.toml"), &wild).unwrap();
    refusal(desk.start(&[], "run"), &["last good state is kept in", "lower learning_rate", "--resume --config FILE"]);
    let mut tame = TrainingConfig::load(&desk.path("run/config.toml")).unwrap();
    assert_eq!(tame.optimizer.learning_rate, 1e30);
    tame.optimizer.learning_rate = 1e-3;
    tame.save(&desk.path("tame.toml")).unwrap();
    desk.train("data", &["--resume", "--config", "tame.toml"], "run").assert().success();
    let last = Checkpoint::load(&desk.path("run/final.safetensors")).unwrap();
    assert!(last.weights.values().flatten().all(|value| value.abs() < 1e3));
}

#[test]
fn networks_that_do_not_fit_the_prompts_or_the_student_are_refused() {
    let desk = Desk::new();
    desk.checkpoint("foreign.safetensors", 512);
    let foreign = ["--config", "config.toml", "--init", "foreign.safetensors"];
    refusal(desk.train("data", &foreign, "run"), &["beyond its vocabulary of 512", "CLIP's vocabulary"]);
    refusal(desk.start(&["--teacher", "foreign.safetensors"], "a"), &["can't teach", "512 tokens", "49408"]);
    refusal(desk.start(&["--teacher", "none.safetensors"], "b"), &["cannot read", "none.safetensors"]);
    assert!(!desk.path("a").exists() && !desk.path("b").exists());
    desk.start(&["--teacher", "x", "--resume"], "run").assert().code(2);

    desk.checkpoint("teacher.safetensors", 49_408);
    let output = desk.start(&["--teacher", "teacher.safetensors"], "taught").assert().success().get_output().clone();
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("distillation ").count(), 2);
    let log = read_log(&desk.path("taught/log.jsonl")).unwrap();
    assert!(log.iter().all(|record| record.distillation.is_some()));
    std::fs::remove_file(desk.path("teacher.safetensors")).unwrap();
    refusal(desk.train("data", &["--resume"], "taught"), &["teacher.safetensors"]);
}

/// Two copies of one image, a training image among the validation's, masks that are all empty.
#[test]
fn doubtful_data_are_told() {
    let desk = Desk::new();
    let data = desk.path("nerves");
    let save = |name: &str, level: u8| {
        let path = data.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_fn(40, 30, |x, y| Luma([level.saturating_mul((x + y) as u8 % 2 + 1)])).save(path).unwrap();
    };
    for (case, level) in [("a", 40), ("b", 50), ("c", 40), ("d", 60), ("e", 50)] {
        save(&format!("img/{case}.png"), level);
        save(&format!("nerve/{case}.png"), 0);
    }
    let split = "image,split\na,train\nb,train\nc,train\nd,train\ne,val\nf,train\n";
    std::fs::write(data.join("split.csv"), split).unwrap();
    // The mask of one image has another name.
    save("img/f.png", 70);
    save("nerve/misnamed.png", 0);
    std::fs::create_dir(data.join("vessel")).unwrap();
    let told = warnings(desk.train("nerves", &["--config", "config.toml", "--init", "start.safetensors"], "run"));
    for part in [
        "1 training images equal others",
        "1 validation images are training images",
        "every mask of the training data is empty",
        "1 masks in nerves/nerve, nerves/nerve/misnamed.png the first, have no image of their name",
        "1 images of the train split, nerves/img/f.png the first, have no mask in any folder",
        "vessel contains no mask",
    ] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    // A mask of another size than its image.
    GrayImage::from_pixel(9, 9, Luma([255])).save(data.join("nerve/a.png")).unwrap();
    let sizes = ["--config", "config.toml", "--init", "start.safetensors"];
    refusal(desk.train("nerves", &sizes, "sizes"), &["nerve/a.png", "9 x 9"]);
    // No structure at all.
    std::fs::remove_dir_all(data.join("nerve")).unwrap();
    std::fs::remove_dir_all(data.join("vessel")).unwrap();
    refusal(desk.train("nerves", &sizes, "none"), &["nerves"]);
}

/// Before any image is read, and nothing is written.
#[cfg(not(any(feature = "cuda", feature = "vulkan")))]
#[test]
fn a_device_that_this_build_or_machine_lacks_is_told() {
    let desk = Desk::new();
    for device in ["cuda", "vulkan"] {
        let arguments = ["--config", "config.toml", "--device", device];
        refusal(
            desk.train("none", &arguments, "run"),
            &[&format!("no {device} backend"), &format!("--features {device}")],
        );
        assert!(!desk.path("run").exists());
    }
}

/// The recipes of the published setting, with few channels, small images and batches.
#[test]
fn published_recipes_train() {
    let desk = Desk::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    for edition in ["rn50", "rn101"] {
        let recipe = std::fs::read_to_string(models.join(format!("published-{edition}.toml"))).unwrap();
        let small =
            recipe.replace("size = 416, batch = 64", "size = 32, batch = 4").replace("epochs = 50", "epochs = 2");
        assert_ne!(small, recipe);
        std::fs::write(desk.path("config.toml"), small).unwrap();
        desk.start(&[], edition).assert().success();
        let log = read_log(&desk.path(edition).join("log.jsonl")).unwrap();
        assert!(log.len() == 2 && log[1].learning_rate == 1e-4 && log[1].pred.is_some_and(f64::is_finite), "{log:?}");
    }
}
