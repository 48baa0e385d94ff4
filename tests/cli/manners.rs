//! Rules for all commands: no user's file is lost, results are not read as inputs, output can be parsed by programs.

use super::desk::Desk;
use super::{causalclipseg, text};
use assert_cmd::Command;
use image::{GrayImage, Luma};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn segment(desk: &Desk, inputs: &[&str]) -> Command {
    let mut command = causalclipseg();
    command.current_dir(desk.folder()).arg("segment").args(inputs).arg("-m").arg(desk.bundle()).args(["-p", "a mass"]);
    command
}

fn picture(shade: u8) -> GrayImage {
    GrayImage::from_pixel(16, 8, Luma([shade]))
}

fn tree(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            names.extend(tree(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            names.insert(name.to_string());
        }
    }
    names
}

/// An annotator's mask has the name of a result.
#[test]
fn files_of_others_are_not_replaced() {
    let desk = Desk::new();
    desk.save("benign (1).png", picture(200));
    let mask = desk.save("benign (1)_mask.png", picture(9));
    let theirs = fs::read(&mask).unwrap();
    // In the default folder, and before anything else is written.
    let run = |more: &[&str]| {
        segment(&desk, &["benign (1).png"]).args(["--format", "json,mask"]).args(more).output().unwrap()
    };
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let error = text(&refused.stderr);
    assert!(error.contains("benign (1)_mask.png: already exists") && error.contains("--overwrite"), "{error}");
    assert_eq!(fs::read(&mask).unwrap(), theirs);
    assert!(!desk.path("benign (1).json").exists());
    assert!(run(&["--overwrite"]).status.success());
    assert_ne!(fs::read(&mask).unwrap(), theirs);
    // Its own results are replaced without a message.
    assert!(run(&[]).status.success());
    desk.write("benign (1).json", "{\"theirs\": true}");
    assert_eq!(run(&[]).status.code(), Some(1));
    assert_eq!(fs::read_to_string(desk.path("benign (1).json")).unwrap(), "{\"theirs\": true}");
    // Results of other kinds, and numbered ones, are examined as well.
    desk.write(
        "x.mha",
        "ObjectType = Image\nNDims = 3\nDimSize = 4 2 2\nElementType = MET_UCHAR\nKinds = domain domain list\n\
        ElementDataFile = LOCAL\n0123456789abcdef",
    );
    for (format, name) in [
        ("mha", "x_mask.seq.mha"),
        ("nrrd", "x_mask.seq.nrrd"),
        ("mask", "x_f0002_mask.png"),
        ("prob", "x_f0001_prob.png"),
    ] {
        let sequence = || segment(&desk, &["x.mha"]).args(["--format", format]).output().unwrap();
        desk.write(name, "theirs");
        assert_eq!(sequence().status.code(), Some(1), "{name}");
        assert_eq!(fs::read_to_string(desk.path(name)).unwrap(), "theirs");
        fs::remove_file(desk.path(name)).unwrap();
        assert!(sequence().status.success() && sequence().status.success(), "{name}");
    }
}

#[test]
fn a_folder_twice_segments_what_it_did_before() {
    let desk = Desk::new();
    desk.save("a.png", picture(200));
    desk.save("b.png", picture(0));
    let all = ["--format", "mask,prob,overlay,frame,json,mha,nrrd", "--summary", "csv"];
    let first = segment(&desk, &["."]).args(all).output().unwrap();
    assert!(first.status.success(), "{}", text(&first.stderr));
    let before = tree(desk.folder());
    assert!(before.contains("a_mask.png") && before.contains("b_mask.mha"));
    let second = segment(&desk, &["."]).args(all).output().unwrap();
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_eq!(text(&second.stdout).lines().count(), 3);
    assert_eq!(tree(desk.folder()), before);
    // A result that is named explicitly is an input.
    assert!(segment(&desk, &["a_mask.png"]).args(["-o", "out"]).output().unwrap().status.success());
    fs::create_dir(desk.path("results")).unwrap();
    fs::rename(desk.path("a_mask.png"), desk.path("results/a_mask.png")).unwrap();
    let refused = segment(&desk, &["results"]).output().unwrap();
    assert!(text(&refused.stderr).contains("only results of an earlier run"), "{}", text(&refused.stderr));
}

#[test]
fn folders_within_folders() {
    let desk = Desk::new();
    for name in ["in/a/x.png", "in/b/x.png", "in/y.png", "in/.hidden/z.png"] {
        fs::create_dir_all(desk.path(name).parent().unwrap()).unwrap();
        desk.save(name, picture(200));
    }
    let json = ["--format", "json", "-o", "out"];
    assert!(segment(&desk, &["in"]).args(json).output().unwrap().status.success());
    assert_eq!(tree(&desk.path("out")), BTreeSet::from(["y.json".to_string()]));
    assert!(segment(&desk, &["in", "--recursive"]).args(json).output().unwrap().status.success());
    assert_eq!(tree(&desk.path("out")), ["a/x.json", "b/x.json", "y.json"].map(String::from).into());
    // Files with the same name, given explicitly.
    fs::remove_dir_all(desk.path("out")).unwrap();
    assert!(segment(&desk, &["in/a/x.png", "in/b/x.png"]).args(json).output().unwrap().status.success());
    assert_eq!(tree(&desk.path("out")), ["a_x.json", "b_x.json"].map(String::from).into());
    assert_eq!(desk.json("b_x.json")["input"], "in/b/x.png");
    assert!(text(&segment(&desk, &["in/y.png", "in/y.png"]).output().unwrap().stderr).contains("give each input once"));
}

#[test]
fn a_picture_on_standard_input() {
    let desk = Desk::new();
    let png = fs::read(desk.save("x.png", picture(200))).unwrap();
    let mha = b"ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n\xff\xff\xff\xff";
    for (bytes, area) in [(&png[..], 128), (mha, 4)] {
        let piped = segment(&desk, &["-"]).args(["--format", "json", "-o", "out"]).write_stdin(bytes).output().unwrap();
        assert!(piped.status.success(), "{}", text(&piped.stderr));
        assert_eq!(desk.json("stdin.json")["area_px"], area);
    }
    let mut cut = segment(&desk, &["-"]);
    let error = text(&cut.write_stdin(&png[..40]).output().unwrap().stderr);
    assert!(error.starts_with("error: standard input: ") && error.lines().count() == 1, "{error}");
}

#[test]
fn summaries_for_programs() {
    let desk = Desk::new();
    desk.save("white.png", picture(255));
    desk.save("black.png", picture(0));
    desk.write("bad.png", "nothing");
    let run = |format: &str| {
        let inputs = ["white.png", "black.png", "bad.png"];
        let more = ["--summary", format, "--format", "json", "-o", "out", "-p", "a cyst, or \"two\""];
        segment(&desk, &inputs).args(more).output().unwrap()
    };
    let ran = run("json");
    assert_eq!(ran.status.code(), Some(1));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!((&rows[0]["input"], &rows[0]["prompt"]), (&"white.png".into(), &"a mass".into()));
    assert_eq!((&rows[0]["area_px"], &rows[0]["area_fraction"]), (&128.0.into(), &1.0.into()));
    assert_eq!((&rows[2]["frames_found"], &rows[2]["area_px"]), (&0.into(), &serde_json::Value::Null));
    assert!(rows[4]["error"].as_str().unwrap().contains("bad.png") && rows[4]["prompt"].is_null());
    let ran = run("csv");
    let mut table = csv::Reader::from_reader(&ran.stdout[..]);
    let headers = table.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let [prompt, flags, error] = ["prompt", "flags", "error"].map(column);
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[1][prompt]), (5, "a cyst, or \"two\""));
    assert!(rows[2][flags].contains("nothing_found") && rows[4][error].contains("bad.png"));
}

#[test]
fn completions_and_manual_pages() {
    let out = |arguments: &[&str]| text(&causalclipseg().args(arguments).assert().success().get_output().stdout);
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&["completions", shell]);
        assert!(script.contains("causalclipseg") && script.contains("overwrite"), "{shell}");
    }
    let page = out(&["man"]);
    assert!(page.contains(".TH causalclipseg 1") && page.contains("segment"), "{page}");
    let page = out(&["man", "stream"]);
    assert!(
        page.contains(".TH causalclipseg-stream 1") && page.contains("nv12") && page.contains("\\-\\-live"),
        "{page}"
    );
    assert!(!page.contains("bench\\-worker"));
    let wrong = causalclipseg().args(["man", "bench-worker"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("not a command"));
    // The help of raw frame formats is where users look for it.
    for command in ["segment", "stream"] {
        let help = out(&[command, "--help"]);
        assert!(["gray16", "bgr24", "i420", "uyvy"].iter().all(|format| help.contains(format)), "{help}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_whole_files() {
    let desk = Desk::new();
    fs::create_dir(desk.path("in")).unwrap();
    for number in 0..400 {
        desk.save(&format!("in/{number}.png"), picture(200));
    }
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_causalclipseg"));
        command.current_dir(desk.folder()).args([
            "segment",
            "in",
            "-p",
            "a mass",
            "-o",
            "out",
            "--format",
            "mask,json",
            "-m",
        ]);
        let child =
            command.arg(desk.bundle()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let child = child.spawn().unwrap();
        let begun = std::time::Instant::now();
        while desk.results().len() < 4 && begun.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{}", text(&ended.stderr));
        assert!(text(&ended.stderr).contains(&format!("interrupted by SIG{signal}")), "{}", text(&ended.stderr));
        assert!(text(&ended.stdout).contains("a mass"));
        assert!(desk.results().iter().all(|name| !name.contains("unfinished")));
        fs::remove_dir_all(desk.path("out")).unwrap();
    }
}
