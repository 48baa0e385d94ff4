//! `models/remake.sh` against the command of today: each of its calls is parsed, and each file that it reads exists by then.
#![cfg(unix)]

use causalclipseg_convert::train::TrainingConfig;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Notes a call, and lets the command parse it without running it: `--help` comes last, so that whatever is wrong before it is
/// an error.
const NOTE: &str = "#!/bin/sh
printf '%s\\n' \"$@\" '' >> \"$CALLS\"
exec \"$REAL\" \"$@\" --help > /dev/null
";

#[test]
fn every_call_of_the_script_is_understood() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/remake.sh");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("note"), NOTE).unwrap();
    std::fs::set_permissions(path("note"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = Command::new("bash")
        .arg(script)
        .args(["busbra", "heads", "nerves"])
        .arg(path("out"))
        .env("CONVERT", path("note"))
        .env("CALLS", path("calls"))
        .env("REAL", env!("CARGO_BIN_EXE_causalclipseg-convert"))
        .env_remove("GPU")
        .output();
    let Ok(run) = run else {
        println!("skipped: bash is not installed");
        return;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let calls = std::fs::read_to_string(path("calls")).unwrap();
    let calls: Vec<Vec<&str>> = calls.split("\n\n").map(|call| call.lines().collect()).collect();
    let (mut written, mut runs, mut configurations): (BTreeSet<PathBuf>, usize, usize) = Default::default();
    for call in calls.iter().filter(|call| !call.is_empty()) {
        let mut writes = Vec::new();
        for pair in call.windows(2) {
            let argument = Path::new(pair[1]);
            if pair[0] == "--config" {
                TrainingConfig::load(argument).unwrap();
                configurations += 1;
            } else if pair[0] == "-o" {
                writes.push(argument.to_path_buf());
            } else if argument.starts_with(path("out")) {
                // The shell writes what the command prints.
                let is_there = argument.ancestors().any(|part| written.contains(part)) || argument.is_file();
                assert!(is_there, "{} is read before it is written: {call:?}", argument.display());
            }
        }
        runs += usize::from(call[0] == "train");
        written.extend(writes);
    }
    // As its first lines say.
    assert_eq!((runs, configurations), (16, 16 + 2 * 3));
    assert!(["out/tiny.ccs", "out/small.ccs"].iter().all(|bundle| written.contains(&path(bundle))));
}
