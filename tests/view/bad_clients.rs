//! Clients that are wrong, hostile or slow, and arguments that cannot work.

use super::browser::Running;
use super::phantom;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn running() -> Running {
    Running::start(&["view", phantom().to_str().unwrap(), "-p", "a nodule"], Stdio::null())
}

#[test]
fn prompts_that_cannot_be_used_are_refused_and_the_old_ones_stay() {
    let running = running();
    let too_many = format!(r#"{{"prompts":[{}"x"]}}"#, r#""x","#.repeat(16));
    let too_long = format!(r#"{{"prompts":["{}"]}}"#, "x".repeat(5000));
    for body in [
        "",
        "x",
        "[]",
        "{}",
        r#"{"prompts":[]}"#,
        r#"{"prompts":["  "]}"#,
        r#"{"prompts":[1]}"#,
        r#"{"prompts":["a"],"x":1}"#,
        &too_many,
        &too_long,
    ] {
        let answer = running.post("/prompts", body);
        assert_eq!((answer.status, answer.text().lines().count()), (400, 1), "{body}: {}", answer.text());
    }
    for body in ["", "1", r#"{"paused":2}"#] {
        assert_eq!(running.post("/pause", body).status, 400, "{body}");
    }
    assert_eq!(running.get("/prompts").status, 405);
    for path in ["/next", "/next?after=", "/next?after=-1", "/next?after=x"] {
        assert_eq!(running.get(path).status, 400, "{path}");
    }
    assert_eq!(running.get("/../Cargo.toml").status, 404);
    let (answer, _) = running.frame(0, |_| true);
    assert_eq!(answer["prompts"], serde_json::json!(["a nodule"]));
}

#[test]
fn other_hosts_and_other_sites_are_refused() {
    let running = running();
    let host = &running.host;
    let get = |host: &str| running.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status;
    assert_eq!(
        [get(host), get("evil.example"), get(&format!("evil.example:{}", host.rsplit_once(':').unwrap().1))],
        [200, 403, 403]
    );
    let post = |origin: &str| {
        let body = r#"{"paused":true}"#;
        let head = format!(
            "POST /pause HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\nContent-Length: {}",
            body.len()
        );
        running.send(&format!("{head}\r\n\r\n{body}")).status
    };
    assert_eq!([post("http://evil.example"), post("null"), post(&format!("http://{host}"))], [403, 403, 200]);
}

#[test]
fn large_bodies_are_refused_before_they_arrive() {
    let running = running();
    let host = &running.host;
    let answer = running.send(&format!(
        "POST /prompts HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 4000000000\r\n\r\n{{"
    ));
    assert_eq!(answer.status, 413);
    let long = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(1 << 20));
    assert!([0, 414, 431].contains(&running.send(&long).status));
}

/// More clients than there are places, which send nothing, half a request, rubbish, or a body that never comes.
#[test]
fn slow_clients_lose_their_place() {
    let running = running();
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..40).map(|_| running.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let sent: &[u8] = match number % 4 {
            0 => b"",
            1 => b"GET / HT",
            2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            _ => b"POST /prompts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
        };
        // One that was refused may be closed already.
        let _ = client.write_all(sent);
    }
    assert_eq!(running.get("/").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let mut first = Vec::new();
    // The server closes it, instead of waiting for ever.
    let _ = clients[0].read_to_end(&mut first);
}

#[test]
fn arguments_that_cannot_work_end_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let picture = phantom();
    let picture = picture.to_str().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["view", picture, "-p", "a nodule", "--port", &port], "choose another port"),
        (&["view", "none.png", "-p", "a nodule"], "none.png"),
        (&["view", "-", "-p", "a nodule"], "--raw"),
        (&["view", "igtl://", "-p", "a nodule"], "HOST:PORT"),
        (&["view", "igtl://a:b", "-p", "a nodule"], "not a port"),
        (&["serve", "src"], "index.html"),
    ];
    for (arguments, reason) in cases {
        let output =
            Command::new(env!("CARGO_BIN_EXE_causalclipseg")).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{arguments:?}: {text}");
        assert!(text.starts_with("error: ") && text.contains(reason), "{arguments:?}: {text}");
    }
}
