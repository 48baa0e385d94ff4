//! The memory of this process.

use super::Machine;

impl Machine {
    /// The peak of this process's resident memory, mapped files included, in bytes.
    pub fn peak_resident_bytes(&self) -> Option<u64> {
        self.status_bytes("VmHWM")
    }

    /// The resident memory now, mapped files included, in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.status_bytes("VmRSS")
    }

    fn status_bytes(&self, key: &str) -> Option<u64> {
        let status = self.read("proc/self/status")?;
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use crate::machine::{Machine, fixture::machine};

    #[test]
    fn peak_and_present() {
        let (_folder, told) = machine(&[("proc/self/status", "Name:\tx\nVmHWM:\t    2188 kB\nVmRSS:\t  100 kB\n")]);
        assert_eq!((told.peak_resident_bytes(), told.resident_bytes()), (Some(2188 * 1024), Some(102_400)));
        let (_folder, odd) = machine(&[("proc/self/status", "VmHWM:\tmany kB\nVmRSS: 5 pages\n")]);
        assert_eq!((odd.peak_resident_bytes(), odd.resident_bytes()), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_both() {
        let this = Machine::this();
        assert!(this.peak_resident_bytes().unwrap() >= this.resident_bytes().unwrap() / 2);
        assert!(this.resident_bytes().unwrap() > 1 << 20);
    }
}
