//! Puts the number of the interface into the shared library's soname, so that a program finds the version it was linked with even
//! if a newer one is installed.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/lib.rs");
    let target = |name: &str| std::env::var(name).unwrap_or_default();
    if target("CARGO_CFG_TARGET_FAMILY") != "unix" || target("CARGO_CFG_TARGET_VENDOR") == "apple" {
        return;
    }
    let source = std::fs::read_to_string("src/lib.rs").expect("src/lib.rs is beside this script");
    let number = source.split_once("CCS_ABI_VERSION: u32 = ").and_then(|(_, rest)| rest.split_once(';'));
    let (abi, _) = number.expect("src/lib.rs states the number of the interface");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcausalclipseg.so.{abi}");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,noexecstack");
}
