//! `bench` as a user types it: its output, its errors, and that its figures belong to the model it ran.
//!
//! Other programs use the machine too, so nothing here depends on how long a frame takes; the figures are verified in
//! the command's own tests, with a clock that they control.

use super::desk::Desk;
use super::schema::violations;
use super::{causalclipseg, listing, shipped, text, toy};
use assert_cmd::Command;
use image::{GrayImage, Luma};
use serde_json::{Value, json};
use std::path::Path;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench.schema.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs `bench` on the toy model with few frames.
fn bench(desk: &Desk, arguments: &[&str]) -> Command {
    let mut command = causalclipseg();
    command.args(["bench", "--frame", "64x48", "--warmup", "1", "--rounds", "2", "-m"]).arg(desk.bundle());
    command.args(arguments);
    command
}

fn measure(desk: &Desk, arguments: &[&str]) -> Vec<Value> {
    let mut command = bench(desk, arguments);
    let output = command.args(["--format", "json"]).assert().success();
    let rows: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(violations(&schema(), &rows), Vec::<String>::new());
    rows.as_array().unwrap().clone()
}

#[test]
fn rows_hold_the_contract_and_the_cross_product() {
    let desk = Desk::new();
    let rows = measure(&desk, &["--runs", "7", "--threads", "1,2", "--prompts", "1,3", "--engine", "reference"]);
    let axes: Vec<(u64, u64)> =
        rows.iter().map(|row| (row["threads"].as_u64().unwrap(), row["prompts"].as_u64().unwrap())).collect();
    assert_eq!(axes, [(1, 1), (1, 3), (2, 1), (2, 3)]);
    for row in &rows {
        assert_eq!((&row["runs"], &row["rounds"], &row["size"]), (&json!(7), &json!(2), &json!(toy::SIZE)));
        assert_eq!(
            (&row["model"], &row["trained"], &row["engine"]),
            (&json!("toy"), &json!(true), &json!("reference"))
        );
        assert_eq!((&row["device"], &row["frame"]), (&json!("cpu"), &json!([64, 48])));
        assert_eq!(row["model_sha256"].as_str().unwrap().len(), 64);
        // Not requested, so unknown.
        assert!(row["deadline_misses"].is_null() && row["rate_hz"].is_null() && row["affinity"].is_null());
        let latency = |key: &str| row["latency_ms"][key].as_f64().unwrap();
        let in_order = ["min", "p50", "p90", "p95", "p99", "p999", "max"].map(latency);
        assert!(in_order.is_sorted() && in_order[0] > 0.0, "{in_order:?}");
        let stages: f64 = row["stages_ms"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
        assert!(stages > 0.0 && stages <= latency("mean"), "{stages} of {}", latency("mean"));
        for key in ["open_ms", "first_frame_ms", "prompt_encode_ms", "prompt_cached_ms", "fps", "harness_us"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}");
        }
        assert!(row["allocations_per_frame"].as_f64().unwrap() > 0.0);
        #[cfg(target_os = "linux")]
        assert!(row["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
        let samples: Vec<usize> =
            row["samples_ms"].as_array().unwrap().iter().map(|round| round.as_array().unwrap().len()).collect();
        assert_eq!(samples, [4, 3]);
    }
    // The toy's head: 3 channels x 9 taps x 32 x 32 pixels, once for each prompt.
    let gmac = |row: &Value| (row["gmac"].as_f64().unwrap() * 1e9).round() as u64;
    assert_eq!((gmac(&rows[0]), gmac(&rows[1])), (27 * 32 * 32, 3 * 27 * 32 * 32));
}

/// The check of the schema must be able to fail.
#[test]
fn the_schema_refuses_other_rows() {
    let desk = Desk::new();
    let good = Value::Array(measure(&desk, &["--runs", "2"]));
    type Damage = (&'static str, fn(&mut Value));
    let damages: [Damage; 8] = [
        ("a key is gone", |row| drop(row.as_object_mut().unwrap().remove("commit"))),
        ("a key is new", |row| row["surprise"] = json!(1)),
        ("an unknown figure is zero", |row| row["peak_rss_bytes"] = json!(0)),
        ("a number is text", |row| row["fps"] = json!("30")),
        ("a count is a fraction", |row| row["runs"] = json!(1.5)),
        ("a percentile is gone", |row| drop(row["latency_ms"].as_object_mut().unwrap().remove("p999"))),
        ("a latency is negative", |row| row["samples_ms"][0][0] = json!(-1.0)),
        ("a device is unknown", |row| row["device"] = json!("tpu")),
    ];
    for (what, damage) in damages {
        let mut damaged = good.clone();
        damage(&mut damaged[0]);
        assert!(!violations(&schema(), &damaged).is_empty(), "{what}");
    }
}

#[test]
fn sessions_at_once_are_an_axis() {
    let desk = Desk::new();
    let rows = measure(&desk, &["--runs", "4", "--sessions", "1,3"]);
    let counts: Vec<(u64, u64)> =
        rows.iter().map(|row| (row["sessions"].as_u64().unwrap(), row["runs"].as_u64().unwrap())).collect();
    assert_eq!(counts, [(1, 4), (3, 12)]);
    assert!(rows[0]["allocations_per_frame"].is_number() && rows[1]["allocations_per_frame"].is_null());
}

#[test]
fn every_format_says_the_same() {
    let desk = Desk::new();
    let printed = |format: &str| {
        let mut command = bench(&desk, &["--runs", "3", "--prompts", "1,2", "--format", format]);
        text(&command.assert().success().get_output().stdout)
    };
    let table = printed("table");
    for part in
        ["toy f32 32, 1 thread, 2 prompts, reference", "p99.9", "postprocess", "peak memory", "commit", "back to back"]
    {
        assert!(table.contains(part), "`{part}` is not in {table}");
    }
    let markdown = printed("md");
    assert!(markdown.lines().filter(|line| line.starts_with("| toy")).count() == 6, "{markdown}");
    let csv = printed("csv");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.starts_with("allocations_per_frame,") || csv.contains("latency_ms.p50"), "{csv}");
    let lines = printed("jsonl");
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(violations(&schema(), &Value::Array(rows)), Vec::<String>::new());
}

#[test]
fn a_fixed_rate_counts_its_deadlines() {
    let desk = Desk::new();
    // Everything takes more than a hundred thousandth of a millisecond, and nothing takes an hour.
    let missed = measure(&desk, &["--rate", "200", "--runs", "6", "--deadline-ms", "0.00001"]);
    assert_eq!((&missed[0]["deadline_misses"], &missed[0]["rate_hz"]), (&json!(6), &json!(200.0)));
    let kept = measure(&desk, &["--rate", "200", "--duration", "0.05", "--deadline-ms", "3600000"]);
    assert_eq!(kept[0]["deadline_misses"], json!(0));
    // Two rounds of 25 ms hold five frames each.
    assert_eq!(kept[0]["runs"], json!(10));
    let by_default = measure(&desk, &["--rate", "50", "--runs", "2"]);
    assert_eq!(by_default[0]["deadline_ms"], json!(20.0));
}

#[test]
fn budgets_and_baselines_decide_the_exit_code() {
    let desk = Desk::new();
    bench(&desk, &["--runs", "4", "--budget-ms", "3600000"]).assert().code(0);
    let over = bench(&desk, &["--runs", "4", "--budget-ms", "0.000001"]).assert().code(3);
    assert!(text(&over.get_output().stderr).contains("over the budget"), "{over}");
    assert!(text(&over.get_output().stdout).contains("toy"));

    let mut rows = measure(&desk, &["--runs", "12"]);
    let baseline = |name: &str, scale: f64, rows: &mut Vec<Value>| {
        for sample in rows[0]["samples_ms"].as_array_mut().unwrap().iter_mut().flat_map(|r| r.as_array_mut().unwrap()) {
            *sample = json!(sample.as_f64().unwrap() * scale);
        }
        std::fs::write(desk.path(name), Value::Array(rows.clone()).to_string()).unwrap();
        desk.text_path(name)
    };
    // A thousandth of today's time, and then a thousand times: far outside any noise.
    let fast = baseline("fast.json", 1e-3, &mut rows);
    let slow = baseline("slow.json", 1e6, &mut rows);
    let against = |baseline: &str| bench(&desk, &["--runs", "12", "--baseline", baseline, "--max-regression", "50"]);
    let regressed = against(&fast).assert().code(3);
    assert!(text(&regressed.get_output().stderr).contains("slower than the baseline's"));
    assert!(text(&regressed.get_output().stdout).contains("to baseline"));
    against(&slow).assert().code(0);
    let compared = measure(&desk, &["--runs", "12", "--baseline", &fast]);
    assert!(compared[0]["baseline"]["p50_ratio"].as_f64().unwrap() > 50.0);
    assert_eq!(compared[0]["baseline"]["regressed"], Value::Null);
    rows[0]["version"] = json!("0.0.1");
    rows[0]["model_sha256"] = json!("00".repeat(32));
    let older = baseline("older.json", 1.0, &mut rows);
    let refused = bench(&desk, &["--runs", "2", "--baseline", &older]).assert().code(1);
    let error = text(&refused.get_output().stderr);
    assert!(error.contains("version 0.0.1 then") && error.contains("--across version"), "{error}");
    assert_eq!(text(&refused.get_output().stdout), "");
    let refused = bench(&desk, &["--runs", "2", "--baseline", &older, "--across", "version"]).assert().code(1);
    let error = text(&refused.get_output().stderr);
    assert!(error.contains("model 000000000000 then") && error.contains("--across model,version"), "{error}");
    bench(&desk, &["--runs", "2", "--baseline", &older, "--across", "version,model"]).assert().code(0);
    let other = bench(&desk, &["--runs", "2", "--prompts", "2", "--baseline", &fast]).assert().code(1);
    assert!(text(&other.get_output().stderr).contains("no row that can be compared"));
}

#[test]
fn accuracy_stands_beside_speed() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("scans")).unwrap();
    for (name, split) in [("a.png", 10), ("b.png", 40)] {
        let half = GrayImage::from_fn(64, 48, |x, _| Luma([if x < split { 255 } else { 0 }]));
        half.save(desk.path("scans").join(name)).unwrap();
    }
    let scans = desk.text_path("scans");
    let rows = measure(&desk, &["--runs", "2", "--prompts", "2", "--check", &scans]);
    let check = &rows[0]["check"];
    assert_eq!((&check["images"], &check["masks"], &check["dice_mean"]), (&json!(2), &json!(4), &json!(1.0)));
    assert_eq!((&check["probability_difference_max"], &check["both_empty"]), (&json!(0.0), &json!(0)));
    // Another model's masks differ from these.
    let other = shipped();
    let rows = measure(&desk, &["--runs", "2", "--check", &scans, "--check-against", other.to_str().unwrap()]);
    assert!(rows[0]["check"]["dice_mean"].as_f64().unwrap() < 0.9, "{}", rows[0]["check"]);
    assert_ne!(rows[0]["check"]["reference_sha256"], rows[0]["model_sha256"]);
}

#[test]
fn steps_traces_and_plots_are_written() {
    let desk = Desk::new();
    let (trace, plot) = (desk.text_path("trace.json"), desk.text_path("plot.svg"));
    let rows = measure(&desk, &["--runs", "3", "--layers", "--trace", &trace, "--plot", &plot]);
    let layers = rows[0]["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
    assert!(names.contains(&"relu.0"), "{names:?}");
    let trace: Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let complete = || events.iter().filter(|event| event["ph"] == "X");
    assert_eq!(complete().count(), 5 + layers.len());
    assert!(complete().all(|event| event["ts"].is_number() && event["dur"].is_number() && event["pid"] == 0));
    let plot = std::fs::read_to_string(&plot).unwrap();
    assert!(plot.starts_with("<svg") && plot.matches("<circle").count() == 3);
    // Not requested, so absent.
    assert!(measure(&desk, &["--runs", "2"])[0].get("layers").is_none());
    let before = listing(desk.folder());
    let nowhere = desk.text_path("no/such/folder/plot.svg");
    let refused = bench(&desk, &["--runs", "2", "--plot", &nowhere]).assert().code(1);
    assert!(text(&refused.get_output().stderr).contains("its folder does not exist"));
    assert_eq!(listing(desk.folder()), before);
}

#[test]
fn generated_models_are_marked_and_segment_refuses_them() {
    let desk = Desk::new();
    let mut command = causalclipseg();
    command.args(["bench", "-m", "random:tiny", "--size", "64,96", "--runs", "1", "--warmup", "0", "--format", "json"]);
    let output = command.assert().success();
    let rows: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(violations(&schema(), &rows), Vec::<String>::new());
    assert_eq!((&rows[0]["size"], &rows[1]["size"]), (&json!(64), &json!(96)));
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["trained"], &row["edition"]), (&json!(false), &json!("tiny")));
    }
    let picture = desk.path("scan.png");
    GrayImage::new(40, 30).save(&picture).unwrap();
    let segment = |more: &[&str]| {
        let mut command = causalclipseg();
        command.arg("segment").arg(&picture).args(["-p", "a cyst", "-m", "random:tiny", "-o"]).arg(desk.path("out"));
        command.args(more);
        command
    };
    let refused = segment(&[]).assert().code(1);
    assert!(text(&refused.get_output().stderr).contains("--allow-untrained"));
    segment(&["--allow-untrained"]).assert().success();
}

#[test]
fn bad_input_is_one_line() {
    let desk = Desk::new();
    let usage: [&[&str]; 5] =
        [&["--runs", "0"], &["--isa", "mmx"], &["--threads", "0"], &["--max-regression", "5"], &["--affinity", "x"]];
    for arguments in usage {
        let refused = bench(&desk, arguments).assert().code(2);
        assert!(!text(&refused.get_output().stderr).is_empty(), "{arguments:?}");
    }
    let unknown = bench(&desk, &["--isa", "mmx"]).assert().code(2);
    assert!(text(&unknown.get_output().stderr).contains("unknown instruction set `mmx`"));
    let without_gpu: (&[&str], &str) = (&["--device", "gpu"], "no GPU engine");
    let failures: [(&[&str], &str); 5] = [
        (&["--size", "64"], "takes 32 x 32 pixels, not 64 x 64"),
        (&["--baseline", "missing.json"], "check the path"),
        (&["--check", "missing"], "give a folder of images"),
        (&["-m", "missing.ccs"], "missing.ccs"),
        (&["--isa", if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" }], "this CPU cannot run"),
    ];
    let without_gpu = cfg!(not(feature = "gpu")).then_some(without_gpu);
    for (arguments, part) in failures.into_iter().chain(without_gpu) {
        let mut command = causalclipseg();
        command.args(["bench", "--runs", "2"]);
        if !arguments.contains(&"-m") {
            command.arg("-m").arg(desk.bundle());
        }
        let refused = command.args(arguments).assert().code(1);
        let error = text(&refused.get_output().stderr);
        assert!(error.starts_with("error: ") && error.lines().count() == 1 && error.contains(part), "{error}");
        assert_eq!(text(&refused.get_output().stdout), "");
    }
    // A missing model does not suppress the others' figures.
    let mixed = bench(&desk, &["-m", "missing.ccs", "--runs", "2"]).assert().code(1);
    assert!(
        text(&mixed.get_output().stdout).contains("toy") && text(&mixed.get_output().stderr).contains("missing.ccs")
    );
}

#[test]
fn what_the_system_refuses_is_unknown_and_it_runs_all_the_same() {
    let desk = Desk::new();
    let many =
        bench(&desk, &["--runs", "2", "--threads", "64", "--sessions", "2", "--format", "json"]).assert().success();
    assert!(text(&many.get_output().stderr).contains("warning: 128 threads share"), "{many}");
    let nowhere = bench(&desk, &["--runs", "2", "--affinity", "8000", "--format", "json"]).assert().success();
    assert!(text(&nowhere.get_output().stderr).contains("warning: "), "{nowhere}");
    let rows: Value = serde_json::from_slice(&nowhere.get_output().stdout).unwrap();
    assert_eq!(rows[0]["affinity"], Value::Null);
}

#[cfg(target_os = "linux")]
#[test]
fn it_stays_on_the_cores_that_it_was_given() {
    let desk = Desk::new();
    let core = causalclipseg::machine::allowed_cores().unwrap()[0].to_string();
    assert_eq!(measure(&desk, &["--runs", "2", "--affinity", &core])[0]["affinity"], json!(core));
    measure(&desk, &["--runs", "2", "--big-cores"]);
}

/// Interrupted while it measures, it prints the results so far.
#[cfg(unix)]
#[test]
fn an_interrupt_prints_what_is_there() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let desk = Desk::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_causalclipseg"));
    // A week of frames; the first round does not end by itself.
    command.args([
        "bench",
        "--frame",
        "64x48",
        "--warmup",
        "0",
        "--rate",
        "200",
        "--duration",
        "604800",
        "--format",
        "json",
        "-m",
    ]);
    command.arg(desk.bundle()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let interrupt = || {
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    };
    // It must be measuring: its process has a child that has run for a while.
    let begun = Instant::now();
    let has_worker = || {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap_or_default();
        !children.trim().is_empty()
    };
    while !has_worker() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(3));
    interrupt();
    let output = child.wait_with_output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("interrupted"), "{errors}");
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    assert_eq!(violations(&schema(), &rows), Vec::<String>::new());
    assert_eq!((&rows[0]["interrupted"], &rows[0]["rounds"]), (&json!(true), &json!(1)));
}
