//! Builds the programs in `examples/` and in the folder above with the system's compilers, runs them under AddressSanitizer and
//! valgrind if installed, and tests the installed library.

mod built;
mod packages;

use built::{build, desk, has, library, root, run};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use toy_networks::shipped;

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

/// Runs a program of the folder above, with the toy model and a prompt.
fn check(compiler: &str, source: &str, flags: &[&str]) {
    let (_folder, bundle, _) = desk();
    check_on(&bundle, compiler, source, flags);
}

fn check_on(bundle: &Path, compiler: &str, source: &str, flags: &[&str]) {
    if !has(compiler) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = build(compiler, source, flags, folder.path());
    let (code, said, errors) = run(&program, &[bundle.as_os_str(), OsStr::new("a bright mass")]);
    assert_eq!(code, Some(0), "{said}{errors}");
}

#[test]
fn options_that_are_zero_are_no_options() {
    check("cc", "crates/capi/tests/options.c", &["-std=c11", SANITIZERS[0], SANITIZERS[1]]);
}

/// Without a sanitizer, which would distort the times.
#[test]
fn contours_are_traced_once_and_an_idle_stream_rests() {
    check("cc", "crates/capi/tests/contours.c", &["-std=c11"]);
}

#[test]
fn the_wrapper_moves_and_refuses_as_it_should() {
    check("c++", "crates/capi/tests/wrapper.cpp", &["-std=c++14", SANITIZERS[0], SANITIZERS[1]]);
    // Every template of it in the later standards, without running it again.
    if has("c++") {
        let folder = tempfile::tempdir().unwrap();
        for standard in ["-std=c++17", "-std=c++20"] {
            build("c++", "crates/capi/tests/wrapper.cpp", &[standard, "-fsyntax-only"], folder.path());
        }
    }
}

/// With the toy model, which tract runs, and with one that keeps a thread of its own.
#[test]
fn a_fork_is_refused_and_its_parent_does_not_notice() {
    check("cc", "crates/capi/tests/forks.c", &["-std=c11"]);
    check_on(&shipped(), "cc", "crates/capi/tests/forks.c", &["-std=c11"]);
}

#[test]
fn threads_of_the_host() {
    check("cc", "crates/capi/tests/threads.c", &["-std=c11", SANITIZERS[0], SANITIZERS[1]]);
    check_on(&shipped(), "cc", "crates/capi/tests/threads.c", &["-std=c11"]);
}

#[test]
fn a_model_is_opened_again_and_again() {
    check_on(&shipped(), "cc", "crates/capi/tests/reopen.c", &["-std=c11"]);
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "the system has other schedulers")]
fn threads_as_a_real_time_host_wants_them() {
    check("cc", "crates/capi/tests/realtime.c", &["-std=c11"]);
    check_on(&shipped(), "cc", "crates/capi/tests/realtime.c", &["-std=c11"]);
}

#[test]
fn the_library_is_loaded_and_unloaded() {
    if !has("cc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = build("cc", "crates/capi/tests/loading.c", &["-std=c11"], folder.path());
    let shared = library().with_extension("so");
    let (bundle, text) = (shipped(), OsStr::new("a dark nodule"));
    let arguments = [shared.as_os_str(), bundle.as_os_str(), text];
    let (code, said, errors) = run(&program, &arguments);
    assert_eq!(code, Some(0), "{said}{errors}");
}

/// Compiles the header from C89 and C++98, and the wrapper from C++14, up to the latest standards of the compilers.
#[test]
fn headers_in_every_language_standard() {
    let folder = tempfile::tempdir().unwrap();
    let compile = |compiler: &str, standard: &str, header: &str, suffix: &str| {
        let source = folder.path().join(format!("only.{suffix}"));
        let body = "int main(void) { return ccs_abi_version() != CCS_ABI_VERSION; }";
        std::fs::write(&source, format!("#include \"{header}\"\n{body}\n")).unwrap();
        let flags = ["-fsyntax-only", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"];
        let mut compiling = Command::new(compiler);
        compiling.arg(format!("-std={standard}")).args(flags).arg("-I").arg(root().join("include")).arg(&source);
        let output = compiling.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).to_string();
        if errors.contains("unrecognized command-line option") || errors.contains("invalid value") {
            println!("skipped: {compiler} does not support {standard}");
        } else {
            assert!(output.status.success(), "{header} in {standard}: {errors}");
        }
    };
    if has("cc") {
        for standard in ["c89", "c99", "c11", "c17", "c2x"] {
            compile("cc", standard, "causalclipseg.h", "c");
        }
    }
    if has("c++") {
        for standard in ["c++98", "c++11", "c++14", "c++17", "c++20", "c++23"] {
            compile("c++", standard, "causalclipseg.h", "cpp");
        }
        for standard in ["c++14", "c++17", "c++20", "c++23"] {
            compile("c++", standard, "causalclipseg.hpp", "cpp");
        }
    }
}

/// The programs that showed faults, where the project's material lies beside it.
#[test]
fn programs_that_showed_faults() {
    let cases = root().join("../shared/cases/embedding");
    if !cases.is_dir() {
        println!("skipped: {} does not exist", cases.display());
        return;
    }
    if !has("cc") || !has("c++") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_desk, _, picture) = desk();
    let (model, library) = (shipped().into_os_string(), library());
    let (model, shared) = (model.as_os_str(), library.with_extension("so"));
    let run_case = |source: &str, flags: &[&str], arguments: &[&OsStr]| {
        let compiler = if source.ends_with(".cpp") { "c++" } else { "cc" };
        let program = folder.path().join(Path::new(source).with_extension("").file_name().unwrap());
        let mut built = Command::new(compiler);
        built.args(flags).arg(cases.join(source)).arg("-I").arg(root().join("include")).arg(&library);
        let output = built.args(built::SYSTEM_LIBRARIES).arg("-o").arg(&program).output().unwrap();
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        let (code, said, errors) = run(&program, arguments);
        assert_eq!(code, Some(0), "{source}: {said}{errors}");
        said
    };
    let numbers = |line: &str| -> Vec<u64> { line.split(|c: char| !c.is_ascii_digit()).flat_map(str::parse).collect() };

    let said = run_case("zero.c", &[], &[model, picture.as_os_str(), OsStr::new("a nodule")]);
    let areas: Vec<u64> = said.lines().skip(1).flat_map(|line| numbers(line).last().copied()).collect();
    assert!(areas.len() == 3 && areas.iter().all(|area| *area == areas[0]), "{said}");

    let moved = run_case("move.cpp", &["-std=c++17", SANITIZERS[0], SANITIZERS[1]], &[model]);
    assert_eq!(moved, "done\n");

    for threads in ["1", "2"] {
        let said = run_case("forks.c", &[], &[model, OsStr::new(threads)]);
        assert!(!said.contains("SIGNAL") && said.contains("parent close 0"), "{said}");
        // CCS_STATUS_FORKED: of a frame, a new session, closing and submitting.
        let of = |name: &str| said.lines().find(|line| line.starts_with(name)).map(&numbers).unwrap();
        assert_eq!(of("fork after a frame, segment"), [20], "{said}");
        assert_eq!(of("fork, new session, segment"), [50], "{said}");
        assert_eq!(of("fork with a stream, close it"), [20], "{said}");
        assert_eq!(*of("fork with a stream, submit").last().unwrap(), 60, "{said}");
    }

    let said = run_case("abuse.c", &["-w"], &[model]);
    assert!(said.lines().count() > 50 && !said.contains("defect"), "{said}");
    assert!(
        said.lines().any(|line| line.starts_with("300 prompts") && line.contains(" 2 300 prompts: give 1 to 256")),
        "{said}"
    );

    let said = run_case("threads.c", &["-w", "-DROUNDS=20", "-DSTACK=65536"], &[model, OsStr::new("2")]);
    assert!(said.contains("ok 40 differ 0") && said.contains("other 0") && said.contains("0 after close"), "{said}");
    assert!(said.contains("handles 0"), "{said}");

    let said = run_case("idle.c", &["-w"], &[model]);
    let times: Vec<f64> = said
        .lines()
        .filter_map(|line| line.strip_prefix("ccs_contours call "))
        .flat_map(|line| line.split(' ').nth(1)?.parse().ok())
        .collect();
    assert!(times.len() == 4 && times[1..].iter().all(|time| *time * 5.0 < times[0].max(0.05)), "{said}");

    let said = run_case("reopen.c", &["-w"], &[model, OsStr::new("6"), OsStr::new("run")]);
    assert!(said.contains("handles 0"), "{said}");
    let said = run_case("dl.c", &["-w"], &[shared.as_os_str(), model, OsStr::new("2"), OsStr::new("3")]);
    assert!(said.ends_with("alive\n"), "{said}");

    // Its last cases are refused by the wrapper now: a text with a zero byte ends it.
    let program = folder.path().join("tidy");
    let mut built = Command::new("c++");
    built.arg(cases.join("tidy.cpp")).arg("-I").arg(root().join("include")).arg(&library);
    assert!(built.args(built::SYSTEM_LIBRARIES).arg("-o").arg(&program).status().unwrap().success());
    let (code, said, errors) = run(&program, &[model]);
    assert!(code.is_none(), "{said}{errors}");
    assert!(errors.contains("a text contains a zero byte") && !said.contains("accepted silently"), "{said}{errors}");
}
