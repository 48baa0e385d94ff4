//! The library as cargo leaves it, and programs that are linked with it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use toy_networks::toy;

/// The system libraries that a Rust static library needs on Linux.
pub(crate) const SYSTEM_LIBRARIES: [&str; 5] = ["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The static library, with the shared one beside it; `CAUSALCLIPSEG_LIBRARIES` names a folder with others. Built once here,
/// since cargo does not build libraries that a test can't link. The selection gives other crates the features that they have
/// in `cargo test --workspace` (a test among the targets brings those of tests), so that nothing else is rebuilt.
pub(crate) fn library() -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(folder) = std::env::var_os("CAUSALCLIPSEG_LIBRARIES") {
            return Path::new(&folder).join("libcausalclipseg.a");
        }
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

pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: `{tool}` is not installed");
    }
    found
}

/// Compiles and links one program with the headers and the library as cargo left them.
pub(crate) fn build(compiler: &str, source: &str, flags: &[&str], into: &Path) -> PathBuf {
    let mut linked: Vec<OsString> = vec!["-I".into(), root().join("include").into(), library().into()];
    linked.extend(SYSTEM_LIBRARIES.map(OsString::from));
    build_with(compiler, source, flags, &linked, into)
}

/// Treats all warnings as errors; `linked` says where header and library are.
pub(crate) fn build_with(compiler: &str, source: &str, flags: &[&str], linked: &[OsString], into: &Path) -> PathBuf {
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

pub(crate) fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A folder with the toy model and a picture of 40 x 30 that is bright on the left.
pub(crate) fn desk() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = toy::write(folder.path());
    let mut picture = b"P5\n40 30\n255\n".to_vec();
    picture.extend((0..40 * 30).map(|at| if at % 40 < 20 { 250u8 } else { 10 }));
    let path = folder.path().join("picture.pgm");
    std::fs::write(&path, picture).unwrap();
    (folder, bundle, path)
}
