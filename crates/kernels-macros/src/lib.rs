//! The table of instruction sets, and the macros that read it: the features that a kernel may use and those that are
//! detected come from one list.
//!
//! An instruction set is a row in `SETS` and the file that the row names.

use proc_macro::{TokenStream, TokenTree};

struct Set {
    /// The variant of `Isa`.
    variant: &'static str,
    /// The name in commands and reports.
    name: &'static str,
    /// The value of `target_arch`.
    architecture: &'static str,
    /// The folder and the file of its kernels.
    module: [&'static str; 2],
    /// The target features that its kernels may use; all of them are detected.
    features: &'static [&'static str],
    summary: &'static str,
}

/// The instruction sets, from the plainest to the fastest of each architecture.
const SETS: [Set; 8] = [
    Set {
        variant: "Avx2",
        name: "avx2",
        architecture: "x86_64",
        module: ["x86", "avx2"],
        features: &["avx2", "fma"],
        summary: "x86-64 with AVX2 and FMA.",
    },
    Set {
        variant: "AvxVnni",
        name: "avx-vnni",
        architecture: "x86_64",
        module: ["x86", "avx_vnni"],
        features: &["avx2", "fma", "avxvnni"],
        summary: "AVX2 and the 256-bit form of `vpdpbusd`.",
    },
    Set {
        variant: "Avx512Vnni",
        name: "avx512-vnni",
        architecture: "x86_64",
        module: ["x86", "avx512_vnni"],
        features: &["avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"],
        summary: "AVX-512 (F, BW, VL, DQ) with `vpdpbusd`.",
    },
    Set {
        variant: "Neon",
        name: "neon",
        architecture: "aarch64",
        module: ["aarch64", "neon"],
        features: &["neon"],
        summary: "Any aarch64.",
    },
    Set {
        variant: "NeonDotprod",
        name: "neon-dotprod",
        architecture: "aarch64",
        module: ["aarch64", "dotprod"],
        features: &["neon", "dotprod"],
        summary: "NEON with `sdot`.",
    },
    Set {
        variant: "NeonI8mm",
        name: "neon-i8mm",
        architecture: "aarch64",
        module: ["aarch64", "i8mm"],
        features: &["neon", "i8mm"],
        summary: "NEON with `usmmla`.",
    },
    Set {
        variant: "Simd128",
        name: "simd128",
        architecture: "wasm32",
        module: ["wasm32", "simd128"],
        features: &["simd128"],
        summary: "WebAssembly with vectors of 128 bits.",
    },
    Set {
        variant: "RelaxedSimd",
        name: "relaxed-simd",
        architecture: "wasm32",
        module: ["wasm32", "relaxed_simd"],
        features: &["simd128", "relaxed-simd"],
        summary: "WebAssembly with relaxed dot products whose result is exact on this machine.",
    },
];

/// `#[enable(avx2)]` lets a function use the target features of the instruction set whose kernels are in `avx2.rs`.
#[proc_macro_attribute]
pub fn enable(set: TokenStream, function: TokenStream) -> TokenStream {
    let file = set.to_string();
    let Some(set) = SETS.iter().find(|set| set.module[1] == file.trim()) else {
        let known: Vec<&str> = SETS.iter().map(|set| set.module[1]).collect();
        return error(&format!("unknown instruction set `{file}`; known are {}", known.join(", ")));
    };
    let mut written = tokens(&format!("#[target_feature(enable = \"{}\")]", set.features.join(",")));
    written.extend(function);
    written
}

/// `instruction_sets!(rows)` calls the macro `rows` with the table: for each set its summary, variant, name, architecture,
/// path and features.
#[proc_macro]
pub fn instruction_sets(callback: TokenStream) -> TokenStream {
    let [TokenTree::Ident(callback)] = &callback.into_iter().collect::<Vec<_>>()[..] else {
        return error("the name of a macro is needed");
    };
    let row = |set: &Set| {
        let Set { variant, name, architecture, module: [folder, file], features, summary } = set;
        format!("#[doc = {summary:?}] {variant} {name:?} {architecture:?} {folder}::{file} {features:?};")
    };
    tokens(&format!("{callback}! {{ {} }}", SETS.iter().map(row).collect::<String>()))
}

fn error(message: &str) -> TokenStream {
    tokens(&format!("::core::compile_error! {{ {message:?} }}"))
}

fn tokens(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}
