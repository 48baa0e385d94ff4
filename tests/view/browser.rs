//! A running command, and the requests of a browser to it.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The command, which ends with the test.
pub struct Running {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub host: String,
}

impl Running {
    /// Starts the command and waits for the address that it prints.
    pub fn start(arguments: &[&str], input: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_causalclipseg"))
            .args(arguments)
            .args(["--port", "0"])
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let host = line.trim().strip_prefix("http://").and_then(|url| url.strip_suffix('/'));
        let host = host.unwrap_or_else(|| panic!("`{line}` is not an address")).to_string();
        Self { child, host }
    }

    pub fn input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Ends the command by a signal and returns its exit code.
    #[cfg(unix)]
    pub fn interrupt(mut self) -> Option<i32> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        self.child.wait().unwrap().code()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        let (host, length) = (&self.host, body.len());
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends a request as it is, and reads until the server closes the connection.
    pub fn send(&self, request: &str) -> Answer {
        let mut socket = self.connect();
        // A server that has already refused does not read the rest.
        let _ = socket.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        Answer::parse(bytes)
    }

    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.host).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    }

    /// The next frame after number `seen` that `wanted` accepts, with its pixels.
    pub fn frame(&self, mut seen: u64, wanted: impl Fn(&Value) -> bool) -> (Value, Vec<u8>) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            let (answer, pixels) = self.next(seen);
            if answer["frame"].is_object() {
                seen = answer["frame"]["number"].as_u64().unwrap();
                if wanted(&answer) {
                    return (answer, pixels);
                }
            }
        }
        panic!("no such frame in a minute");
    }

    pub fn next(&self, seen: u64) -> (Value, Vec<u8>) {
        let answer = self.get(&format!("/next?after={seen}"));
        assert_eq!(answer.status, 200);
        let (length, rest) = answer.body.split_first_chunk().unwrap();
        let (json, pixels) = rest.split_at(u32::from_le_bytes(*length) as usize);
        (serde_json::from_slice(json).unwrap(), pixels.to_vec())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Answer {
    /// 0 where there was no answer.
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: Vec<u8>) -> Self {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Self { status: 0, head: String::new(), body: bytes };
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
