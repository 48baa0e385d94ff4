//! `stream`: after any kind of end, its summary is printed and its exit code gives the reason.

use super::desk::Desk;
use super::{causalclipseg, text};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FRAME: [u8; 32 * 32] = [200; 32 * 32];

/// Runs `stream` on frames of 32 x 32 pixels that the test writes.
fn stream(desk: &Desk, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causalclipseg"));
    command
        .env("RUST_LOG", "error")
        .args(["stream", "-", "--raw", "32x32:gray8", "-p", "a mass", "-m"])
        .arg(desk.bundle());
    command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for a limited time: a command that does not end is a failure, instead of a test that hangs.
fn ended(mut child: Child) -> (Option<i32>, String, String) {
    let mut out = child.stdout.take();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        out.as_mut().map(|out| out.read_to_string(&mut text));
        text
    });
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("the stream does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    (status.code(), reading.join().unwrap(), error)
}

/// The summary, which is printed last.
fn summary(out: &str, format: &str) -> Value {
    let text = if format == "jsonl" { out.lines().last().unwrap_or_default() } else { out };
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn at_the_end_of_the_source() {
    let desk = Desk::new();
    for format in ["json", "jsonl", "table"] {
        let mut child = stream(&desk, &["--format", format]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&FRAME.repeat(3)).unwrap();
        let (code, out, error) = ended(child);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{format}");
        if format == "table" {
            assert!(out.contains("results a second"), "{out}");
        } else {
            let summary = summary(&out, format);
            assert_eq!((&summary["ended"], &summary["processed"]), (&"end_of_source".into(), &3.into()), "{out}");
            assert!(summary.get("reason").is_none());
        }
    }
}

/// The pipe ends within a frame.
#[test]
fn when_the_camera_dies() {
    let desk = Desk::new();
    for format in ["json", "jsonl", "table"] {
        let mut child = stream(&desk, &["--format", format, "--live"]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&FRAME.repeat(3)[..2500]).unwrap();
        let (code, out, error) = ended(child);
        assert_eq!(code, Some(1), "{error}");
        assert!(
            error.starts_with("error: standard input: ends within a frame") && error.lines().count() == 1,
            "{error}"
        );
        if format == "table" {
            assert!(out.contains("results a second") && out.contains("ended early"), "{out}");
        } else {
            let summary = summary(&out, format);
            assert_eq!((&summary["ended"], &summary["submitted"]), (&"failed".into(), &2.into()), "{out}");
            assert!(summary["reason"].as_str().unwrap().contains("452 bytes of 1024"), "{out}");
        }
    }
}

/// Signals arrive while the source sends nothing.
#[cfg(unix)]
#[test]
fn by_signals() {
    let desk = Desk::new();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        for format in ["jsonl", "json", "table"] {
            let mut child = stream(&desk, &["--format", format]).spawn().unwrap();
            let mut camera = child.stdin.take().unwrap();
            camera.write_all(&FRAME.repeat(2)).unwrap();
            let mut lines = String::new();
            if format == "jsonl" {
                let mut out = BufReader::new(child.stdout.take().unwrap());
                out.read_line(&mut lines).unwrap();
                out.read_line(&mut lines).unwrap();
                Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
                out.read_to_string(&mut lines).unwrap();
            } else {
                std::thread::sleep(Duration::from_secs(2));
                Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
            }
            let (found, out, error) = ended(child);
            assert_eq!(found, Some(code), "{error}");
            let out = lines + &out;
            if format == "table" {
                assert!(out.contains(&format!("ended early: SIG{signal}")), "{out}");
            } else {
                let summary = summary(&out, format);
                assert_eq!((&summary["ended"], &summary["reason"]), (&"signal".into(), &format!("SIG{signal}").into()));
            }
            drop(camera);
        }
    }
}

/// An endless source, and a reader that closes its pipe: the stream ends by itself.
#[test]
fn when_the_reader_goes_away() {
    let desk = Desk::new();
    let mut child = stream(&desk, &["--format", "jsonl"]).spawn().unwrap();
    let mut camera = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || while camera.write_all(&FRAME).is_ok() {});
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("\"sequence\":0"), "{first}");
    let (code, _, error) = ended(child);
    assert_eq!(code, Some(141));
    assert!(error.contains("results a second"), "{error}");
    feeding.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn when_the_disk_is_full() {
    let desk = Desk::new();
    for format in ["jsonl", "json", "table"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut child = stream(&desk, &["--format", format]).stdout(full).spawn().unwrap();
        let mut camera = child.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || {
            // Endless where lines are written as frames arrive.
            let frames = if format == "jsonl" { u64::MAX } else { 2 };
            (0..frames).take_while(|_| camera.write_all(&FRAME).is_ok()).count()
        });
        let (code, _, error) = ended(child);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("results a second"), "{error}");
        assert!(error.lines().last().unwrap().starts_with("error: standard output: the disk is full"), "{error}");
        feeding.join().unwrap();
    }
}

/// Frames that arrive faster than they are segmented are dropped, and those of a file arrive at its times.
#[test]
fn at_the_sources_own_pace() {
    let desk = Desk::new();
    let live = stream(&desk, &["--format", "json", "--live"]);
    let summary_of = |mut command: Command, bytes: &[u8]| {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let (code, out, error) = ended(child);
        assert_eq!(code, Some(0), "{error}");
        summary(&out, "json")
    };
    let found = summary_of(live, &FRAME.repeat(2000));
    let number = |key: &str| found[key].as_u64().unwrap();
    assert_eq!((number("submitted"), number("processed") + number("dropped")), (2000, 2000), "{found}");
    // Three frames, 0.2 s apart.
    let header = "NDims = 3\nDimSize = 2 2 3\nElementType = MET_UCHAR\nSeq_Frame0000_Timestamp = 5\n\
        Seq_Frame0001_Timestamp = 5.2\nSeq_Frame0002_Timestamp = 5.4\nElementDataFile = LOCAL\n0123456789ab";
    desk.write("timed.mha", header);
    desk.write("untimed.mha", header.replace("_Timestamp", "_Other"));
    let file = |name: &str| {
        let mut command = causalclipseg();
        command
            .args(["stream", &desk.text_path(name), "-p", "a mass", "--live", "--format", "json", "-m"])
            .arg(desk.bundle());
        command.output().unwrap()
    };
    let timed = file("timed.mha");
    let found = summary(&text(&timed.stdout), "json");
    assert!(found["seconds"].as_f64().unwrap() > 0.39 && found["processed"] == 3, "{found}");
    let untimed = file("untimed.mha");
    assert_eq!(untimed.status.code(), Some(1));
    assert!(text(&untimed.stderr).contains("play it with --rate"), "{}", text(&untimed.stderr));
}

#[test]
fn padded_rows_are_told() {
    let desk = Desk::new();
    let row = |y: usize| (0..64).map(move |x| if x < 61 { (x * 3 + y / 2) as u8 } else { 0 });
    let frame: Vec<u8> = (0..96).flat_map(row).collect();
    let run = |raw: &str| {
        let mut command = causalclipseg();
        command.args(["stream", "-", "--raw", raw, "-p", "a mass", "--format", "json", "-m"]).arg(desk.bundle());
        command.write_stdin(frame.repeat(2)).output().unwrap()
    };
    let error = text(&run("61x96:gray8").stderr);
    assert!(error.contains("rows are 64 bytes apart and hold 61") && error.lines().count() == 1, "{error}");
    assert_eq!(summary(&text(&run("61x96:gray8/64").stdout), "json")["processed"], 2);
}
