//! The `igtl` command.

use super::client::{Answer, Client};
use causalclipseg::igtl::{Geometry, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causalclipseg"));
    command.env("RUST_LOG", "error");
    command
}

/// Starts `igtl listen` on a free port.
fn listen(more: &[&str]) -> (Child, SocketAddr, BufReader<ChildStderr>) {
    let mut command = command();
    command.args(["igtl", "listen", "127.0.0.1:0", "-p", "a nodule"]).args(more);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
    (child, address.trim().parse().unwrap(), errors)
}

fn output(mut child: Child) -> String {
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    output
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn reports_have_the_streams_keys_and_enough_is_enough() {
    let (child, address, _errors) = listen(&["--frames", "1", "--format", "jsonl", "--name", "Node"]);
    let mut client = Client::connect(address);
    client.send_image(&[100; 64 * 48], [64, 48], Geometry::default(), Timestamp(9 << 32));
    let Answer::Text(report) = client.wait_for("NodeReport").answer else { panic!() };
    let output = output(child);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, report.as_str()));
    let (report, summary): (Value, Value) =
        (serde_json::from_str(lines[0]).unwrap(), serde_json::from_str(lines[1]).unwrap());
    assert_eq!((report["timestamp_us"].as_u64(), summary["processed"].as_u64()), (Some(9_000_000), Some(1)));
    assert_eq!(summary["prompts"], serde_json::json!(["a nodule"]));

    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/phantom.png");
    let stream = command().arg("stream").arg(picture).args(["-p", "a nodule", "--format", "jsonl"]).output().unwrap();
    let stream = String::from_utf8(stream.stdout).unwrap();
    let line: Value = serde_json::from_str(stream.lines().next().unwrap()).unwrap();
    assert_eq!(keys(&report), keys(&line));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_with_a_summary() {
    let (child, address, _errors) = listen(&["--format", "json"]);
    let mut client = Client::connect(address);
    client.send_image(&[100; 64 * 48], [64, 48], Geometry::default(), Timestamp(9 << 32));
    client.wait_for("LesionReport");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let summary: Value = serde_json::from_str(&output(child)).unwrap();
    assert_eq!((summary["processed"].as_u64(), summary["connections"].as_u64()), (Some(1), Some(1)));
    client.wait_for_end();
}

#[test]
fn failures_are_one_line() {
    let (mut child, address, _errors) = listen(&[]);
    let taken = command().args(["igtl", "listen", &address.to_string(), "-p", "a mass"]).output().unwrap();
    let error = String::from_utf8(taken.stderr).unwrap();
    assert_eq!((taken.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.starts_with("error: ") && error.contains("can't be listened on"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    for arguments in [&["igtl", "listen", "18944", "-p", "x"][..], &["igtl", "connect", "cart:x", "-p", "x"]] {
        assert_eq!(command().args(arguments).output().unwrap().status.code(), Some(2));
    }
}
