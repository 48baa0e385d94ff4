//! How fast the cores run, and the governor that decides it.

use super::Machine;
use std::collections::BTreeSet;

impl Machine {
    /// The current frequency of these cores, their mean in MHz. `None` if it is unknown for any of them.
    pub fn frequency_mhz(&self, cores: &[usize]) -> Option<f64> {
        if cores.is_empty() {
            return None;
        }
        let cpuinfo = self.read("proc/cpuinfo").unwrap_or_default();
        let each = cores.iter().map(|core| {
            let khz = self.read_number(format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"));
            khz.map(|khz| khz / 1e3).or_else(|| cpuinfo_mhz(&cpuinfo, *core)).filter(|mhz| *mhz > 0.0)
        });
        Some(each.sum::<Option<f64>>()? / cores.len() as f64)
    }

    /// The frequency governor of these cores; where they have several, all of them joined by a plus.
    pub fn governor(&self, cores: &[usize]) -> Option<String> {
        let path = |core| format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        let names: BTreeSet<String> = cores.iter().map(|core| self.read(path(core))).collect::<Option<_>>()?;
        (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(" + "))
    }
}

/// The frequency in `/proc/cpuinfo` on x86, often the only source in a virtual machine.
fn cpuinfo_mhz(cpuinfo: &str, core: usize) -> Option<f64> {
    let mut is_this_core = false;
    for (key, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')) {
        match key.trim() {
            "processor" => is_this_core = value.trim().parse() == Ok(core),
            "cpu MHz" if is_this_core => return value.trim().parse().ok(),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::machine::fixture::machine;

    #[test]
    fn frequencies_of_the_cores_in_use() {
        let cpu = |core: usize, file: &str| format!("sys/devices/system/cpu/cpu{core}/cpufreq/{file}");
        let files = [
            (cpu(0, "scaling_cur_freq"), "1500000\n"),
            (cpu(1, "scaling_cur_freq"), "2500000\n"),
            (cpu(0, "scaling_governor"), "schedutil\n"),
            (cpu(1, "scaling_governor"), "performance\n"),
            ("proc/cpuinfo".into(), "processor : 2\ncpu MHz : 900.5\nprocessor : 3\n"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (_folder, machine) = machine(&files);
        assert_eq!(machine.frequency_mhz(&[0]), Some(1500.0));
        assert_eq!(machine.frequency_mhz(&[0, 1]), Some(2000.0));
        assert_eq!(machine.frequency_mhz(&[2]), Some(900.5));
        assert_eq!((machine.frequency_mhz(&[0, 3]), machine.frequency_mhz(&[])), (None, None));
        assert_eq!(machine.governor(&[0]).as_deref(), Some("schedutil"));
        assert_eq!(machine.governor(&[0, 1]).as_deref(), Some("performance + schedutil"));
        assert_eq!((machine.governor(&[0, 2]), machine.governor(&[])), (None, None));
    }
}
