//! The instruction sets that kernels are written for. The table is in the macros' crate; this file generates types from
//! it.

use crate::Routines;
use causalclipseg_kernels_macros::instruction_sets;
use std::fmt;
use std::str::FromStr;

macro_rules! define_isa {
    ($($(#[$summary:meta])* $isa:ident $name:literal $architecture:literal $folder:ident::$file:ident [$($feature:tt),+];)+) => {
        /// An instruction set, from the plainest to the fastest of each architecture.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Isa {
            /// Plain Rust, on any CPU: the reference that the others are tested against.
            Generic,
            $($(#[$summary])* $isa,)+
        }

        impl Isa {
            /// Every instruction set, including those of other architectures.
            pub const ALL: [Isa; 1 + [$($name),+].len()] = [Isa::Generic, $(Isa::$isa),+];

            /// The name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self {
                    Isa::Generic => "generic",
                    $(Isa::$isa => $name,)+
                }
            }

            /// The CPU features that its kernels use, by the names of Rust's target features.
            pub fn features(self) -> &'static [&'static str] {
                match self {
                    Isa::Generic => &[],
                    $(Isa::$isa => &[$($feature),+],)+
                }
            }

            /// Whether this CPU, and the operating system, can execute its kernels.
            pub(crate) fn is_available(self) -> bool {
                match self {
                    Isa::Generic => true,
                    $(
                        #[cfg(target_arch = $architecture)]
                        Isa::$isa => crate::$folder::IS_SUPPORTED $(&& crate::$folder::detected!($feature))+,
                    )+
                    #[allow(unreachable_patterns, reason = "sets of other architectures, if there are any")]
                    _ => false,
                }
            }

            /// Its kernels; plain ones where they are of another architecture.
            pub(crate) fn routines(self) -> &'static Routines {
                match self {
                    $(
                        #[cfg(target_arch = $architecture)]
                        Isa::$isa => &crate::$folder::$file::ROUTINES,
                    )+
                    _ => &crate::generic::ROUTINES,
                }
            }
        }
    };
}

instruction_sets!(define_isa);

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An unknown name of an instruction set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set `{name}`; known are {}", Isa::ALL.map(Isa::name).join(", "))]
pub struct UnknownIsa {
    /// The name as it was given.
    pub name: String,
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa { name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vectors;
    use std::path::{Path, PathBuf};

    fn holds(isa: Isa, other: Isa) -> bool {
        other.features().iter().all(|feature| isa.features().contains(feature))
    }

    #[test]
    fn functions_by_rows_use_features_that_were_asked_for() {
        for isa in Isa::ALL {
            let needed = match isa.routines().vectors {
                Vectors::Baseline => Isa::Generic,
                #[cfg(target_arch = "x86_64")]
                Vectors::Avx2 => Isa::Avx2,
                #[cfg(target_arch = "x86_64")]
                Vectors::Avx512 => Isa::Avx512Vnni,
            };
            assert!(holds(isa, needed), "{isa} runs functions compiled for {needed}");
        }
        // The features that AVX-VNNI and AVX-512 use from AVX2's file.
        assert!(holds(Isa::AvxVnni, Isa::Avx2) && holds(Isa::Avx512Vnni, Isa::Avx2));
        assert!(holds(Isa::NeonDotprod, Isa::Neon) && holds(Isa::NeonI8mm, Isa::Neon));
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// Features that a function enables on its own are never detected.
    #[test]
    fn features_are_enabled_by_the_table_alone() {
        let attribute = ["target_feature", "(enable"].concat();
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let enabling = |path: &&PathBuf| std::fs::read_to_string(path).unwrap().contains("#[enable(");
        assert!(files.iter().filter(enabling).count() > 5, "{files:?}");
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains(&attribute), "{} enables features of its own; use `enable`", path.display());
        }
    }

    /// The system's own list of the CPU's features, where there is one.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn detection_agrees_with_the_system() {
        let Ok(text) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let Some(flags) = text.lines().find_map(|line| line.strip_prefix("flags")) else { return };
        let flags: Vec<String> = flags.split_whitespace().map(|flag| flag.replace('_', "")).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.routines().vectors != Vectors::Baseline) {
            let listed = isa.features().iter().all(|feature| flags.iter().any(|flag| flag == feature));
            assert_eq!(isa.is_available(), listed, "{isa}: {:?}", isa.features());
        }
    }

    #[test]
    fn names_go_both_ways() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        let error = "sse2".parse::<Isa>().unwrap_err().to_string();
        assert!(error.contains("`sse2`") && error.contains("generic, avx2"), "{error}");
    }
}
