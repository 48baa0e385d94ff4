//! The programs in `examples/` and in this folder, built by the system's compilers against the static library, and run under
//! AddressSanitizer and valgrind where the machine has them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use toy_networks::{shipped, toy};

/// What a static library of Rust needs on Linux.
const SYSTEM_LIBRARIES: [&str; 5] = ["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The static library, built once: cargo builds no library for tests that they can't link themselves. The selection gives other
/// crates the features that they have in `cargo test --workspace` (a test among the targets brings those of tests), so that
/// nothing else is built anew.
fn library() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        let profile = match folder.file_name().unwrap().to_str() {
            Some("debug") => "dev",
            other => other.unwrap(),
        };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "--quiet", "--offline", "--workspace", "--lib", "--test", "header", "--profile", profile]);
        if cfg!(feature = "gpu") {
            cargo.args(["--features", "causalclipseg-capi/gpu"]);
        }
        cargo.current_dir(root()).env("CARGO_TARGET_DIR", folder.parent().unwrap());
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder.join("libcausalclipseg.a")
    });
    BUILT.clone()
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: this machine has no `{tool}`");
    }
    found
}

/// Compiles and links one program with the headers and the library as cargo left them.
fn build(compiler: &str, source: &str, flags: &[&str], into: &Path) -> PathBuf {
    let mut linked: Vec<OsString> = vec!["-I".into(), root().join("include").into(), library().into()];
    linked.extend(SYSTEM_LIBRARIES.map(OsString::from));
    build_with(compiler, source, flags, &linked, into)
}

/// All warnings being errors; `linked` is where header and library are.
fn build_with(compiler: &str, source: &str, flags: &[&str], linked: &[OsString], into: &Path) -> PathBuf {
    let program = into.join(Path::new(source).file_stem().unwrap());
    let output = Command::new(compiler)
        .args(["-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"])
        .args(flags)
        .arg(root().join(source))
        .args(linked)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A folder with the toy model and a picture of 40 x 30 that is bright on the left.
fn desk() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = toy::write(folder.path());
    let mut picture = b"P5\n40 30\n255\n".to_vec();
    picture.extend((0..40 * 30).map(|at| if at % 40 < 20 { 250u8 } else { 10 }));
    let path = folder.path().join("picture.pgm");
    std::fs::write(&path, picture).unwrap();
    (folder, bundle, path)
}

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// Segments with the C program, and checks what it writes and says. `tool` runs the program.
fn check_segment(tool: &[&str], program: &Path) {
    let (folder, bundle, picture) = desk();
    let mask = folder.path().join("mask.pgm");
    let call = |bundle: &Path, picture: &Path, prompt: &str| {
        let words: Vec<&OsStr> = tool.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
        let arguments: Vec<&OsStr> = words[1..]
            .iter()
            .copied()
            .chain([bundle.as_os_str(), picture.as_os_str(), OsStr::new(prompt), mask.as_os_str()])
            .collect();
        run(words[0], &arguments)
    };
    let (code, said, errors) = call(&bundle, &picture, "a bright mass");
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.starts_with("600 pixels, 6.0 mm2") && said.contains("1 contours of 4 points"), "{said}");
    let written = std::fs::read(&mask).unwrap();
    let (header, pixels) = written.split_at(written.len() - 1200);
    assert_eq!(header, b"P5\n40 30\n255\n");
    assert!(pixels.iter().enumerate().all(|(at, pixel)| *pixel == if at % 40 < 20 { 255 } else { 0 }));
    // Failures free what they hold, too.
    let (code, _, errors) = call(&bundle, &picture, "");
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("encode the prompt: the prompt is empty"), "{errors}");
    let (code, _, errors) = call(&picture, &picture, "a bright mass");
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("open the model: ") && errors.contains("is not a causalclipseg bundle"), "{errors}");
}

#[test]
fn the_c_program_under_address_sanitizer() {
    if has("cc") {
        let folder = tempfile::tempdir().unwrap();
        let flags = ["-std=c11", SANITIZERS[0], SANITIZERS[1]];
        check_segment(&[], &build("cc", "examples/segment.c", &flags, folder.path()));
    }
}

#[test]
fn the_c_program_under_valgrind() {
    if has("cc") && has("valgrind") {
        let folder = tempfile::tempdir().unwrap();
        let program = build("cc", "examples/segment.c", &["-std=c11"], folder.path());
        // Addresses and leaks. Use of undefined values is left out: valgrind sees it where tract's vectorised code reads
        // whole words and looks at parts of them.
        let tool = [
            "valgrind",
            "-q",
            "--error-exitcode=9",
            "--undef-value-errors=no",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
        ];
        check_segment(&tool, &program);
    }
}

#[test]
fn the_cpp_program_under_address_sanitizer() {
    if has("c++") {
        let folder = tempfile::tempdir().unwrap();
        let flags = ["-std=c++17", SANITIZERS[0], SANITIZERS[1]];
        let program = build("c++", "examples/live.cpp", &flags, folder.path());
        let (_folder, toy, _) = desk();
        for (bundle, prompt) in [(toy, "a bright mass"), (shipped(), "a dark nodule")] {
            let arguments = [bundle.as_os_str(), OsStr::new(prompt), OsStr::new("60")];
            let (code, said, errors) = run(&program, &arguments);
            assert_eq!(code, Some(0), "{said}{errors}");
            assert!(said.contains("as it should be: there is no result 1"), "{said}");
            assert!(said.contains("60 frames submitted") && said.contains("prompts 1"), "{said}");
        }
    }
}

/// Runs a program of this folder, with the toy model and a prompt.
fn check(compiler: &str, source: &str, flags: &[&str]) {
    if !has(compiler) {
        return;
    }
    let (folder, bundle, _) = desk();
    let program = build(compiler, source, flags, folder.path());
    let (code, said, errors) = run(&program, &[bundle.as_os_str(), OsStr::new("a bright mass")]);
    assert_eq!(code, Some(0), "{said}{errors}");
}

#[test]
fn options_that_are_zero_are_no_options() {
    check("cc", "crates/capi/tests/options.c", &["-std=c11", SANITIZERS[0], SANITIZERS[1]]);
}

/// Without a sanitizer, whose own work would be timed.
#[test]
fn contours_are_traced_once_and_an_idle_stream_rests() {
    check("cc", "crates/capi/tests/contours.c", &["-std=c11"]);
}

#[test]
fn the_wrapper_moves_and_refuses_as_it_should() {
    check("c++", "crates/capi/tests/wrapper.cpp", &["-std=c++17", SANITIZERS[0], SANITIZERS[1]]);
}

#[test]
fn the_c_program_by_way_of_pkg_config() {
    if !has("cc") || !has("pkg-config") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (built, prefix) = (folder.path().join("built"), folder.path().join("usr"));
    let install = |prefix: &OsStr| {
        let script = root().join("include/install.sh");
        Command::new("sh").arg(script).arg(&built).arg(prefix).output().unwrap()
    };
    let refused = |output: Output, part: &str| {
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with("error: ") && message.contains(part) && message.lines().count() == 1, "{message}");
    };
    refused(install(prefix.as_os_str()), "holds no libcausalclipseg");
    std::fs::create_dir(&built).unwrap();
    std::os::unix::fs::symlink(library(), built.join("libcausalclipseg.a")).unwrap();
    refused(install("usr".as_ref()), "no absolute path");
    assert!(install(prefix.as_os_str()).status.success());

    let asked = Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(["--static", "--cflags", "--libs", "causalclipseg"])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let flags = String::from_utf8(asked.stdout).unwrap();
    let flags: Vec<OsString> = flags.split_whitespace().map(OsString::from).collect();
    check_segment(&[], &build_with("cc", "examples/segment.c", &["-std=c11"], &flags, folder.path()));
}
