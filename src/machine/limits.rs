//! The CPU time and memory that control groups leave to this process.

use super::Machine;
use std::path::{Path, PathBuf};

/// Values from here on mean "no limit" in version 1 of the interface, which writes the largest multiple of a page.
const NO_LIMIT: f64 = (1u64 << 60) as f64;

impl Machine {
    /// The CPU time that control groups allow, in cores: seconds of CPU in a second. `None` where it is unlimited or unknown.
    pub fn cpu_quota_cores(&self) -> Option<f64> {
        let unified = self.in_groups("", "cpu.max").filter_map(|text| {
            let (quota, period) = text.split_once(' ')?;
            ratio(quota.parse().ok()?, period.parse().ok()?)
        });
        let quotas = self.in_groups("cpu", "cpu.cfs_quota_us");
        let periods = self.in_groups("cpu", "cpu.cfs_period_us");
        let divided =
            quotas.zip(periods).filter_map(|(quota, period)| ratio(quota.parse().ok()?, period.parse().ok()?));
        unified.chain(divided).reduce(f64::min)
    }

    /// The memory that control groups allow, in bytes. `None` where it is unlimited or unknown.
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        let limits = self.in_groups("", "memory.max").chain(self.in_groups("memory", "memory.limit_in_bytes"));
        let limits = limits.filter_map(|text| text.parse().ok()).filter(|bytes| *bytes < NO_LIMIT);
        limits.reduce(f64::min).map(|bytes| bytes as u64)
    }

    /// The contents of `file` in this process's group and in those above it, innermost first, where they exist.
    /// `controller`: one of version 1 of the interface, or nothing for version 2.
    fn in_groups<'a>(&'a self, controller: &'a str, file: &'a str) -> impl Iterator<Item = String> + 'a {
        let folder = Path::new("sys/fs/cgroup").join(controller);
        let groups = self.read("proc/self/cgroup").unwrap_or_default();
        let group = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let is_it = controllers.split(',').any(|name| name == controller);
            is_it.then(|| PathBuf::from(path.trim_start_matches('/')))
        });
        // In a container the path is the host's, and not found; the group's own files are at the top then.
        let group = group.filter(|group| !group.starts_with("..")).unwrap_or_default();
        let ancestors: Vec<PathBuf> = group.ancestors().map(|group| folder.join(group)).collect();
        ancestors.into_iter().filter_map(move |group| self.read(group.join(file)))
    }
}

fn ratio(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use crate::machine::fixture::machine;

    #[test]
    fn the_tightest_group_counts() {
        let (_folder, nested) = machine(&[
            ("proc/self/cgroup", "0::/system.slice/cart.service\n"),
            ("sys/fs/cgroup/system.slice/cart.service/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/system.slice/cart.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "268435456\n"),
        ]);
        assert_eq!((nested.cpu_quota_cores(), nested.memory_limit_bytes()), (Some(0.5), Some(256 << 20)));
        // Inside a container the file is at the top, and the path outside of what can be seen.
        let (_folder, container) =
            machine(&[("proc/self/cgroup", "0::/../outside\n"), ("sys/fs/cgroup/cpu.max", "200000 100000\n")]);
        assert_eq!((container.cpu_quota_cores(), container.memory_limit_bytes()), (Some(2.0), None));
    }

    #[test]
    fn version_1_has_a_file_for_each_number() {
        let (_folder, old) = machine(&[
            ("proc/self/cgroup", "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!((old.cpu_quota_cores(), old.memory_limit_bytes()), (Some(2.5), None));
    }

    #[test]
    fn without_limits_there_are_none() {
        let (_folder, free) = machine(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "max 100000\n")]);
        assert_eq!((free.cpu_quota_cores(), free.memory_limit_bytes()), (None, None));
        let (_folder, odd) = machine(&[("proc/self/cgroup", "nonsense"), ("sys/fs/cgroup/cpu.max", "many 0\n")]);
        assert_eq!((odd.cpu_quota_cores(), odd.memory_limit_bytes()), (None, None));
        assert_eq!(machine(&[]).1.cpu_quota_cores(), None);
    }
}
