//! The installed library: installing, upgrading, pkg-config and CMake.

use crate::built::{SYSTEM_LIBRARIES, build_with, desk, has, library, root, run};
use crate::check_segment;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

/// The install script as a command, with an environment.
fn install(built: &Path, prefix: &OsStr, environment: &[(&str, &OsStr)]) -> Output {
    let mut script = Command::new("sh");
    script.arg(root().join("packaging/install.sh")).arg(built).arg(prefix);
    script.env_remove("DESTDIR").env_remove("LIBDIR").envs(environment.iter().copied()).output().unwrap()
}

fn installed(built: &Path, prefix: &Path, environment: &[(&str, &OsStr)]) {
    let output = install(built, prefix.as_os_str(), environment);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A folder like cargo's target folder, with links to these libraries.
fn built_folder(folder: &Path, libraries: &[&Path]) -> PathBuf {
    let built = folder.join("built");
    std::fs::create_dir_all(&built).unwrap();
    for library in libraries {
        std::os::unix::fs::symlink(library, built.join(library.file_name().unwrap())).unwrap();
    }
    built
}

fn readelf(flag: &str, file: &Path) -> String {
    let output = Command::new("readelf").args([flag, "-W"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Whether a program's or library's stack may hold code.
fn has_executable_stack(file: &Path) -> bool {
    let headers = readelf("-l", file);
    let stack = headers.lines().find(|line| line.contains("GNU_STACK"));
    let flags = stack.and_then(|line| line.split_whitespace().rev().nth(1).map(str::to_string));
    flags.is_none_or(|flags| flags.contains('E'))
}

fn pkg_config(prefix: &Path, arguments: &[&str]) -> Vec<OsString> {
    let asked = Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .args(arguments)
        .arg("causalclipseg")
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    text(&asked.stdout).split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_c_program_by_way_of_pkg_config() {
    if !has("cc") || !has("pkg-config") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("usr");
    let refused = |output: Output, part: &str| {
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with("error: ") && message.contains(part) && message.lines().count() == 1, "{message}");
    };
    refused(install(folder.path(), prefix.as_os_str(), &[]), "holds no libcausalclipseg");
    let built = built_folder(folder.path(), &[&library()]);
    refused(install(&built, "usr".as_ref(), &[]), "is not an absolute path");
    for bad in ["/lib", "../lib", "lib/"] {
        refused(install(&built, prefix.as_os_str(), &[("LIBDIR", bad.as_ref())]), "LIBDIR is");
    }
    installed(&built, &prefix, &[]);
    let flags = pkg_config(&prefix, &["--static", "--cflags", "--libs"]);
    let program = build_with("cc", "examples/segment.c", &["-std=c11"], &flags, folder.path());
    assert!(!has("readelf") || !has_executable_stack(&program), "a program with an executable stack");
    check_segment(&[], &program);
}

#[test]
fn a_staged_install_says_where_it_will_be() {
    let folder = tempfile::tempdir().unwrap();
    let shared = library().with_extension("so");
    let built = built_folder(folder.path(), &[&library(), &shared]);
    let stage = folder.path().join("stage");
    let environment = [("DESTDIR", stage.as_os_str()), ("LIBDIR", "lib/x86_64-linux-gnu".as_ref())];
    installed(&built, Path::new("/opt/cart/"), &environment);
    let lib = stage.join("opt/cart/lib/x86_64-linux-gnu");
    let settings = std::fs::read_to_string(lib.join("pkgconfig/causalclipseg.pc")).unwrap();
    assert!(settings.contains("prefix=/opt/cart\n") && settings.contains("libdir=${prefix}/lib/x86_64-linux-gnu\n"));
    assert!(!settings.contains("stage") && !settings.contains('@'), "{settings}");
    let package = std::fs::read_to_string(lib.join("cmake/causalclipseg/causalclipsegConfig.cmake")).unwrap();
    assert!(package.contains("${CMAKE_CURRENT_LIST_DIR}/../../../..\"") && !package.contains('@'), "{package}");
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    };
    let expected = ["cmake", "libcausalclipseg.a", "libcausalclipseg.so", "libcausalclipseg.so.4", "pkgconfig"];
    assert_eq!(names(&lib), expected);
    assert_eq!(names(&stage.join("opt/cart/include")), ["causalclipseg.h", "causalclipseg.hpp"]);
}

/// A library that exports only its interface number, in place of a newer version of this one.
fn newer_library(folder: &Path, abi: u32) -> PathBuf {
    let (source, newer) = (folder.join("newer.c"), folder.join("newer/libcausalclipseg.so"));
    std::fs::create_dir_all(newer.parent().unwrap()).unwrap();
    std::fs::write(&source, format!("unsigned ccs_abi_version(void) {{ return {abi}; }}\n")).unwrap();
    let named = format!("-Wl,-soname,libcausalclipseg.so.{abi}");
    let mut compiler = Command::new("cc");
    assert!(compiler.args(["-shared", "-fPIC", &named, "-o"]).arg(&newer).arg(&source).status().unwrap().success());
    newer
}

/// A checkout whose header states another number.
fn newer_checkout(folder: &Path, abi: u32) -> PathBuf {
    let checkout = folder.join("checkout");
    for part in ["include", "packaging"] {
        std::fs::create_dir_all(checkout.join(part)).unwrap();
        for entry in std::fs::read_dir(root().join(part)).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), checkout.join(part).join(entry.file_name())).unwrap();
        }
    }
    std::fs::copy(root().join("Cargo.toml"), checkout.join("Cargo.toml")).unwrap();
    let header = std::fs::read_to_string(root().join("include/causalclipseg.h")).unwrap();
    let header = header.replace("#define CCS_ABI_VERSION 4", &format!("#define CCS_ABI_VERSION {abi}"));
    std::fs::write(checkout.join("include/causalclipseg.h"), header).unwrap();
    checkout
}

/// Two interfaces side by side: a program finds the library that it was linked with, also after a newer one was installed.
#[test]
fn an_old_program_runs_after_a_newer_install() {
    if !has("cc") || !has("pkg-config") || !has("readelf") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("usr");
    let shared = library().with_extension("so");
    installed(&built_folder(folder.path(), &[&shared]), &prefix, &[]);
    assert!(readelf("-d", &shared).contains("soname: [libcausalclipseg.so.4]"));

    let flags = pkg_config(&prefix, &["--cflags", "--libs"]);
    let source = folder.path().join("version.c");
    let body = "#include <stdio.h>\n#include \"causalclipseg.h\"\nint main(void) { printf(\"%u %u\", \
                ccs_abi_version(), CCS_ABI_VERSION); return 0; }\n";
    std::fs::write(&source, body).unwrap();
    let link = |name: &str| {
        let program = folder.path().join(name);
        let mut compiler = Command::new("cc");
        assert!(compiler.arg(&source).args(&flags).arg("-o").arg(&program).status().unwrap().success());
        program
    };
    let said = |program: &Path| {
        let output = Command::new(program).env("LD_LIBRARY_PATH", prefix.join("lib")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let old = link("old");
    assert_eq!(said(&old), "4 4");

    let newer = newer_library(folder.path(), 5);
    // The script refuses a library of another interface than the header's.
    let mixed = install(newer.parent().unwrap(), prefix.as_os_str(), &[]);
    assert!(text(&mixed.stderr).contains("is of interface libcausalclipseg.so.5, and the header of 4"));
    let script = newer_checkout(folder.path(), 5).join("packaging/install.sh");
    let output = Command::new("sh").arg(script).arg(newer.parent().unwrap()).arg(&prefix).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!((said(&old), said(&link("new"))), ("4 4".to_string(), "5 5".to_string()));
    // The same interface again replaces its own file alone, also under a program that runs.
    installed(&folder.path().join("built"), &prefix, &[]);
    assert_eq!(said(&old), "4 4");
}

#[test]
fn a_project_of_cmake_finds_it() {
    if !has("cc") || !has("c++") || !has("cmake") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (built, prefix) = (folder.path().join("built"), folder.path().join("usr"));
    built_folder(folder.path(), &[&library(), &library().with_extension("so")]);
    installed(&built, &prefix, &[]);
    let project = folder.path().join("project");
    std::fs::create_dir(&project).unwrap();
    let lists = format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(host C CXX)\nfind_package(causalclipseg 0.1 REQUIRED)\n\
         if(NOT causalclipseg_ABI_VERSION EQUAL 4)\n  message(FATAL_ERROR \"interface\")\nendif()\n\
         set(CMAKE_CXX_STANDARD 14)\nforeach(kind causalclipseg static)\n\
         add_executable(segment_${{kind}} {0}/examples/segment.c)\n\
         target_link_libraries(segment_${{kind}} PRIVATE causalclipseg::${{kind}})\nendforeach()\n\
         add_executable(live {0}/examples/live.cpp)\ntarget_link_libraries(live PRIVATE causalclipseg::shared)\n",
        root().canonicalize().unwrap().display()
    );
    std::fs::write(project.join("CMakeLists.txt"), lists).unwrap();
    let cmake = |arguments: &[&OsStr]| {
        let output = Command::new("cmake").args(arguments).output().unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let build = folder.path().join("build");
    let path = OsString::from(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
    let configure = [OsStr::new("-S"), project.as_os_str(), OsStr::new("-B"), build.as_os_str(), &path];
    let (done, said) = cmake(&configure);
    assert!(done, "{said}");
    let (done, said) = cmake(&[OsStr::new("--build"), build.as_os_str()]);
    assert!(done, "{said}");
    for program in ["segment_causalclipseg", "segment_static"] {
        let program = build.join(program);
        check_segment(&[], &program);
        assert!(!has("readelf") || !has_executable_stack(&program), "{} has an executable stack", program.display());
    }
    let (_desk, bundle, _) = desk();
    let (code, said, errors) =
        run(build.join("live"), &[bundle.as_os_str(), OsStr::new("a bright mass"), OsStr::new("9")]);
    assert_eq!(code, Some(0), "{said}{errors}");

    // Other versions are refused, and so is a folder without its library.
    let lists = std::fs::read_to_string(project.join("CMakeLists.txt")).unwrap();
    for version in ["0.2", "1", "0.1.9"] {
        std::fs::write(
            project.join("CMakeLists.txt"),
            lists.replace("causalclipseg 0.1 ", &format!("causalclipseg {version} ")),
        )
        .unwrap();
        let (done, said) = cmake(&configure);
        assert!(!done && said.contains("version"), "{version}: {said}");
    }
    std::fs::write(project.join("CMakeLists.txt"), lists).unwrap();
    for gone in ["libcausalclipseg.so.4", "libcausalclipseg.a"] {
        std::fs::remove_file(prefix.join("lib").join(gone)).unwrap();
    }
    let (done, said) = cmake(&configure);
    assert!(!done && said.contains("no libcausalclipseg of interface 4"), "{said}");
}

/// What the script for libraries of every processor says of one.
fn check_library(shared: &Path) -> (bool, String) {
    let script = root().join("packaging/check-library.sh");
    let output = Command::new("sh").arg(script).arg(shared).output().unwrap();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// Each fault that the script looks for, in a library that has this one alone.
#[test]
fn faults_of_a_library_are_found() {
    if !has("cc") || !has("readelf") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let header = std::fs::read_to_string(root().join("include/causalclipseg.h")).unwrap();
    let declarations = header.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    let functions: Vec<String> = declarations
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("ccs_"))
        .map(|name| format!("int {name}(void) {{ return 0; }}\n"))
        .collect();
    assert!(functions.len() > 20, "{functions:?}");
    let build = |name: &str, functions: &[String], flag: &str, soname: &str| {
        let (source, shared) = (folder.path().join(format!("{name}.c")), folder.path().join(format!("{name}.so")));
        std::fs::write(&source, functions.concat()).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-fno-builtin", flag]).arg(format!("-Wl,-soname,{soname}"));
        assert!(compiler.arg(&source).arg("-o").arg(&shared).status().unwrap().success());
        check_library(&shared)
    };
    let soname = "libcausalclipseg.so.4";
    let one_more = [functions.as_slice(), &["int mz_inflate(void) { return 0; }\n".to_string()]].concat();
    let good = build("good", &functions, "-Wl,-z,noexecstack", soname);
    assert!(good.0 && good.1.contains(&format!("{} functions", functions.len())), "{}", good.1);
    for ((passed, said), fault) in [
        (build("stack", &functions, "-Wl,-z,execstack", soname), "the stack is executable"),
        (build("name", &functions, "-O0", "libcausalclipseg.so.5"), "the soname is libcausalclipseg.so.5"),
        (build("more", &one_more, "-O0", soname), "mz_inflate is exported"),
        (build("less", &functions[1..], "-O0", soname), "declared in the header, and not exported"),
        (check_library(&root().join("README.md")), "is not an ELF file"),
    ] {
        assert!(!passed && said.contains(fault) && said.lines().count() == 1, "{said}");
    }
}

/// Only the interface is exported, and the stack is not executable.
#[test]
fn the_shared_library_exports_its_interface_alone() {
    if !has("readelf") {
        return;
    }
    let (checked, said) = check_library(&library().with_extension("so"));
    assert!(checked && said.contains("functions exported"), "{said}");
    // Also for hosts that link by hand, as docs/embedding.md says.
    if has("cc") {
        let folder = tempfile::tempdir().unwrap();
        let mut linked: Vec<OsString> = vec!["-I".into(), root().join("include").into(), library().into()];
        linked.push("-Wl,-z,noexecstack".into());
        linked.extend(SYSTEM_LIBRARIES.map(OsString::from));
        let program = build_with("cc", "examples/segment.c", &["-std=c11"], &linked, folder.path());
        assert!(!has_executable_stack(&program));
    }
}
