//! Which cores there are, which are the fast ones, and how lists of them are written.

use super::Machine;
use std::collections::BTreeSet;

/// The largest core number. A larger one is taken for a mistake; Linux itself supports at most 8,192 cores.
const MAX_CORE: usize = 8191;
/// The share of the fastest core's capacity from which a core counts as a big one. It includes a phone's middle cluster
/// and excludes efficiency cores.
const BIG_SHARE: f64 = 0.8;

/// A list of cores that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list of cores; write numbers and ranges, such as 0,2 or 4-7")]
pub struct CoreListError(pub String);

/// Reads a list such as `0,2` or `4-7,10`; the result is sorted, each core once.
pub fn parse_cores(text: &str) -> Result<Vec<usize>, CoreListError> {
    let refuse = || CoreListError(text.to_string());
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core <= MAX_CORE).ok_or_else(refuse);
    let mut cores = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(refuse());
        }
        cores.extend(first..=last);
    }
    Ok(cores.into_iter().collect())
}

/// The inverse of [`parse_cores`]: neighbours become ranges.
pub fn format_cores(cores: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for core in cores.iter().copied().collect::<BTreeSet<_>>() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let text = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    text.collect::<Vec<_>>().join(",")
}

impl Machine {
    /// The fast ones among `cores`: those with at least four fifths of the fastest one's capacity, which Linux reports
    /// on big.LITTLE, or of its highest frequency. On a machine with one kind of cores that is all of them. `None`
    /// where the system reports neither.
    pub fn big_cores(&self, cores: &[usize]) -> Option<Vec<usize>> {
        let of_all = |file: &str| -> Option<Vec<f64>> {
            let each = cores.iter().map(|core| self.read_number(format!("sys/devices/system/cpu/cpu{core}/{file}")));
            each.collect()
        };
        let speeds = of_all("cpu_capacity").or_else(|| of_all("cpufreq/cpuinfo_max_freq"))?;
        let fastest = speeds.iter().copied().reduce(f64::max).filter(|speed| *speed > 0.0)?;
        let is_big = |speed: f64| speed >= BIG_SHARE * fastest;
        Some(cores.iter().zip(speeds).filter(|(_, speed)| is_big(*speed)).map(|(core, _)| *core).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::machine;

    #[test]
    fn lists_go_both_ways() {
        for (text, cores, again) in [
            ("0", vec![0], "0"),
            ("3,1, 2", vec![1, 2, 3], "1-3"),
            ("4-7,2,6-8", vec![2, 4, 5, 6, 7, 8], "2,4-8"),
            ("5-5", vec![5], "5"),
        ] {
            assert_eq!(parse_cores(text).as_ref(), Ok(&cores), "{text}");
            assert_eq!(format_cores(&cores), again);
        }
        for text in ["", ",", "a", "3-1", "1-", "-1", "1-2-3", "99999", "0-18446744073709551615", "1.5"] {
            assert_eq!(parse_cores(text), Err(CoreListError(text.into())));
        }
        assert_eq!(format_cores(&[]), "");
    }

    #[test]
    fn big_cores_by_capacity_or_frequency() {
        let file = |core: usize, name: &str| format!("sys/devices/system/cpu/cpu{core}/{name}");
        let phone: Vec<(String, String)> = [325, 325, 870, 1024]
            .iter()
            .enumerate()
            .map(|(core, capacity)| (file(core, "cpu_capacity"), capacity.to_string()))
            .collect();
        let phone: Vec<(&str, &str)> = phone.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_folder, phone) = machine(&phone);
        assert_eq!(phone.big_cores(&[0, 1, 2, 3]), Some(vec![2, 3]));
        assert_eq!(phone.big_cores(&[0, 1]), Some(vec![0, 1]));
        assert_eq!(phone.big_cores(&[3, 4]), None);
        assert_eq!(phone.big_cores(&[]), None);
        let (fast, slow) = (file(0, "cpufreq/cpuinfo_max_freq"), file(1, "cpufreq/cpuinfo_max_freq"));
        let (_folder, hybrid) = machine(&[(&fast, "5200000"), (&slow, "3800000")]);
        assert_eq!(hybrid.big_cores(&[0, 1]), Some(vec![0]));
    }
}
