//! The operating system's information about the machine: its CPU and cores, their frequency, temperature and energy, the
//! memory of this process and its limits; and the cores that a thread may run on.
//!
//! An unavailable figure is `None`, never zero: an unknown figure must not look like a good one.

mod affinity;
mod apart;
pub(crate) mod clock;
mod cores;
mod cpu;
mod energy;
mod frequency;
mod limits;
mod memory;
mod temperature;

pub use affinity::{AffinityError, allowed_cores, restrict_to};
pub(crate) use apart::Apart;
pub use cores::{CoreListError, format_cores, parse_cores};
pub use energy::{EnergyMeasurement, EnergyMeter, EnergySource};

use std::path::{Path, PathBuf};

/// The files through which Linux reports about itself (`/proc`, `/sys`). On other systems there are none, and
/// everything is unknown.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine that this program runs on.
    pub fn this() -> Self {
        Self::at("/")
    }

    /// A machine whose `proc` and `sys` are below `root`: a copy of another machine's, or a test's.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A file's text without surrounding white space; `None` where it is missing, unreadable or empty.
    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = std::fs::read(self.root.join(path)).ok()?;
        // The device tree ends its strings with a zero.
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_string())
    }

    fn read_number(&self, path: impl AsRef<Path>) -> Option<f64> {
        self.read(path)?.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// The folders below `path` whose names start with `prefix`, in order.
    fn folders(&self, path: &str, prefix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names.into_iter().map(|name| Path::new(path).join(name)).collect()
    }
}

#[cfg(test)]
mod fixture {
    use super::Machine;
    use tempfile::TempDir;

    /// A machine of a few files.
    pub(crate) fn machine(files: &[(&str, &str)]) -> (TempDir, Machine) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let machine = Machine::at(folder.path());
        (folder, machine)
    }
}
