//! The names of the CPU and the board.

use super::Machine;
use std::collections::BTreeSet;

/// Cores that Arm names only by number in `/proc/cpuinfo`: implementer, part, name (Arm's Main ID Register tables).
const ARM_PARTS: [(&str, &str, &str); 20] = [
    ("0x41", "0xd03", "Cortex-A53"),
    ("0x41", "0xd04", "Cortex-A35"),
    ("0x41", "0xd05", "Cortex-A55"),
    ("0x41", "0xd07", "Cortex-A57"),
    ("0x41", "0xd08", "Cortex-A72"),
    ("0x41", "0xd09", "Cortex-A73"),
    ("0x41", "0xd0a", "Cortex-A75"),
    ("0x41", "0xd0b", "Cortex-A76"),
    ("0x41", "0xd0c", "Neoverse-N1"),
    ("0x41", "0xd0d", "Cortex-A77"),
    ("0x41", "0xd40", "Neoverse-V1"),
    ("0x41", "0xd41", "Cortex-A78"),
    ("0x41", "0xd42", "Cortex-A78AE"),
    ("0x41", "0xd44", "Cortex-X1"),
    ("0x41", "0xd47", "Cortex-A710"),
    ("0x41", "0xd49", "Neoverse-N2"),
    ("0x41", "0xd4f", "Neoverse-V2"),
    ("0x41", "0xd80", "Cortex-A520"),
    ("0x41", "0xd83", "Neoverse-V3AE"),
    ("0x4e", "0x004", "NVIDIA Carmel"),
];

impl Machine {
    /// The CPU's name, such as `AMD EPYC 9965` or `Cortex-A78AE`; of several kinds of cores, all names with a plus.
    pub fn cpu_model(&self) -> Option<String> {
        let text = self.read("proc/cpuinfo")?;
        let values = |key: &'static str| {
            let pairs = text.lines().filter_map(|line| line.split_once(':'));
            pairs.filter(move |(name, _)| name.trim() == key).map(|(_, value)| value.trim()).filter(|v| !v.is_empty())
        };
        if let Some(model) = values("model name").next() {
            return Some(model.to_string());
        }
        let names: BTreeSet<String> =
            values("CPU implementer").zip(values("CPU part")).map(|(by, part)| arm_name(by, part)).collect();
        let named = names.into_iter().collect::<Vec<_>>().join(" + ");
        (!named.is_empty()).then_some(named).or_else(|| values("Hardware").next().map(str::to_string))
    }

    /// The board's name where a device tree reports it, as on a Jetson.
    pub fn board(&self) -> Option<String> {
        self.read("proc/device-tree/model")
    }
}

fn arm_name(implementer: &str, part: &str) -> String {
    let known = ARM_PARTS.iter().find(|(by, number, _)| *by == implementer && *number == part);
    known.map_or_else(|| format!("Arm core {implementer}:{part}"), |(_, _, name)| name.to_string())
}

#[cfg(test)]
mod tests {
    use crate::machine::fixture::machine;

    #[test]
    fn names_of_cpus() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n";
        let (_folder, x86) = machine(&[("proc/cpuinfo", x86)]);
        assert_eq!(x86.cpu_model().as_deref(), Some("Some CPU @ 2 GHz"));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n\nprocessor: 1\nCPU implementer\t: 0x41\n\
                   CPU part\t: 0xd05\n\nCPU implementer : 0x99\nCPU part : 0x001\n";
        let (_folder, arm) = machine(&[("proc/cpuinfo", arm), ("proc/device-tree/model", "A Board\0")]);
        assert_eq!(arm.cpu_model().as_deref(), Some("Arm core 0x99:0x001 + Cortex-A55 + Cortex-A78AE"));
        assert_eq!(arm.board().as_deref(), Some("A Board"));
        let (_folder, silent) = machine(&[("proc/cpuinfo", "processor : 0\nmodel name :\n")]);
        assert_eq!((silent.cpu_model(), silent.board()), (None, None));
    }
}
