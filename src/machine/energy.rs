//! How much energy the machine takes, where it tells: counters of x86 processors (RAPL), or a Jetson's power sensor
//! (INA3221).

use super::Machine;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two readings: a counter may wrap once a minute, and a sensor's power changes with the load.
const EVERY: Duration = Duration::from_millis(100);
/// A Jetson's sensors have three channels each.
const CHANNELS: u32 = 3;
/// The name of the channel that measures the complete module, on boards that have one.
const WHOLE_MODULE: &str = "VDD_IN";

/// Where figures of energy come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnergySource {
    /// The energy counters of all processor packages, without memory and the rest of the board.
    Rapl,
    /// A Jetson's power sensor: the module's input or, where that has no channel, the sum of all.
    Ina3221,
}

impl EnergySource {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            EnergySource::Rapl => "rapl",
            EnergySource::Ina3221 => "ina3221",
        }
    }
}

/// What can be read about energy on this machine.
#[derive(Clone, Debug)]
pub struct EnergyMeter {
    machine: Machine,
    sensors: Sensors,
}

#[derive(Clone, Debug)]
enum Sensors {
    /// Folders of counters, each with the value at which it wraps, in microjoules.
    Counters(Vec<(PathBuf, f64)>),
    /// Files of voltages in millivolts and of currents in milliamperes.
    Channels(Vec<(PathBuf, PathBuf)>),
}

impl Machine {
    /// A meter of energy; `None` where the system has none that this process may read.
    pub fn energy_meter(&self) -> Option<EnergyMeter> {
        let sensors = self.counters().map(Sensors::Counters).or_else(|| self.channels().map(Sensors::Channels))?;
        let meter = EnergyMeter { machine: self.clone(), sensors };
        // Counters can often be seen, but read by root only.
        meter.read().is_some().then_some(meter)
    }

    fn counters(&self) -> Option<Vec<(PathBuf, f64)>> {
        let zones = self.folders("sys/class/powercap", "intel-rapl:").into_iter();
        let is_package = |zone: &PathBuf| self.read(zone.join("name")).is_some_and(|name| name.starts_with("package"));
        let packages = zones.filter(is_package);
        let found: Vec<(PathBuf, f64)> = packages
            .filter_map(|zone| self.read_number(zone.join("max_energy_range_uj")).map(|range| (zone, range)))
            .collect();
        (!found.is_empty()).then_some(found)
    }

    fn channels(&self) -> Option<Vec<(PathBuf, PathBuf)>> {
        let mut whole = Vec::new();
        let mut parts = Vec::new();
        for sensor in self.folders("sys/class/hwmon", "hwmon") {
            if self.read(sensor.join("name")).as_deref() != Some("ina3221") {
                continue;
            }
            for channel in 1..=CHANNELS {
                let files = (sensor.join(format!("in{channel}_input")), sensor.join(format!("curr{channel}_input")));
                match self.read(sensor.join(format!("in{channel}_label"))).as_deref() {
                    Some(WHOLE_MODULE) => whole.push(files),
                    // Not connected.
                    None | Some("NC") => {}
                    Some(_) => parts.push(files),
                }
            }
        }
        let channels = if whole.is_empty() { parts } else { whole };
        (!channels.is_empty()).then_some(channels)
    }
}

impl EnergyMeter {
    /// Where the figures come from.
    pub fn source(&self) -> EnergySource {
        match self.sensors {
            Sensors::Counters(_) => EnergySource::Rapl,
            Sensors::Channels(_) => EnergySource::Ina3221,
        }
    }

    /// Begins to measure, on a thread that reads ten times a second.
    ///
    /// # Errors
    /// The system creates no thread.
    pub fn start(self) -> std::io::Result<EnergyMeasurement> {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new().name("causalclipseg-energy".into()).spawn(move || {
            let mut total = Total::new(self.read(), Instant::now());
            loop {
                let is_last = stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
                total.add(&self, self.read(), Instant::now());
                if is_last {
                    return total.joules;
                }
            }
        })?;
        Ok(EnergyMeasurement { stop, thread })
    }

    /// The values of all counters in microjoules, or the power of each channel in watts.
    fn read(&self) -> Option<Vec<f64>> {
        match &self.sensors {
            Sensors::Counters(zones) => {
                zones.iter().map(|(zone, _)| self.machine.read_number(zone.join("energy_uj"))).collect()
            }
            Sensors::Channels(channels) => channels
                .iter()
                .map(|(volts, amperes)| {
                    Some(self.machine.read_number(volts)? * self.machine.read_number(amperes)? / 1e6)
                })
                .collect(),
        }
    }
}

/// A measurement that goes on.
#[derive(Debug)]
pub struct EnergyMeasurement {
    stop: Sender<()>,
    thread: JoinHandle<Option<f64>>,
}

impl EnergyMeasurement {
    /// Ends the measurement: the energy since its start, in joules. `None` if a reading failed.
    pub fn joules(self) -> Option<f64> {
        drop(self.stop);
        self.thread.join().ok().flatten()
    }
}

/// The energy so far.
struct Total {
    joules: Option<f64>,
    last: Option<Vec<f64>>,
    at: Instant,
}

impl Total {
    fn new(first: Option<Vec<f64>>, at: Instant) -> Self {
        Self { joules: first.is_some().then_some(0.0), last: first, at }
    }

    fn add(&mut self, meter: &EnergyMeter, now: Option<Vec<f64>>, at: Instant) {
        let seconds = (at - self.at).as_secs_f64();
        let more = now.as_ref().zip(self.last.as_ref()).map(|(now, last)| match &meter.sensors {
            Sensors::Counters(zones) => {
                // A counter starts at zero again after its largest value.
                let since = |((now, last), (_, range)): ((&f64, &f64), &(PathBuf, f64))| {
                    if now >= last { now - last } else { now + range - last }
                };
                now.iter().zip(last).zip(zones).map(since).sum::<f64>() / 1e6
            }
            Sensors::Channels(_) => (now.iter().sum::<f64>() + last.iter().sum::<f64>()) / 2.0 * seconds,
        });
        self.joules = self.joules.zip(more).map(|(joules, more)| joules + more);
        (self.last, self.at) = (now, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::machine;

    const RANGE: &str = "262143328850";

    fn after(meter: &EnergyMeter, seconds: f64, change: impl FnOnce()) -> Option<f64> {
        let begun = Instant::now();
        let mut total = Total::new(meter.read(), begun);
        change();
        total.add(meter, meter.read(), begun + Duration::from_secs_f64(seconds));
        total.joules
    }

    #[test]
    fn packages_are_added_and_counters_wrap() {
        let zone = |zone: &str, file: &str| format!("sys/class/powercap/{zone}/{file}");
        let files = [
            (zone("intel-rapl:0", "name"), "package-0"),
            (zone("intel-rapl:0", "energy_uj"), "262143000000"),
            (zone("intel-rapl:0", "max_energy_range_uj"), RANGE),
            (zone("intel-rapl:1", "name"), "package-1"),
            (zone("intel-rapl:1", "energy_uj"), "1000000"),
            (zone("intel-rapl:1", "max_energy_range_uj"), RANGE),
            // Part of a package.
            (zone("intel-rapl:0:0", "name"), "core"),
            (zone("intel-rapl:0:0", "energy_uj"), "5"),
            (zone("intel-rapl:0:0", "max_energy_range_uj"), RANGE),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (folder, told) = machine(&files);
        let meter = told.energy_meter().unwrap();
        assert_eq!(meter.source(), EnergySource::Rapl);
        let joules = after(&meter, 1.0, || {
            std::fs::write(folder.path().join(zone("intel-rapl:0", "energy_uj")), "1671150").unwrap();
            std::fs::write(folder.path().join(zone("intel-rapl:1", "energy_uj")), "4000000").unwrap();
        });
        // 0.32885 J to the largest value, 1.67115 J from zero, and 3 J of the other package.
        assert!((joules.unwrap() - 5.0).abs() < 1e-9, "{joules:?}");
        let gone =
            after(&meter, 1.0, || std::fs::remove_file(folder.path().join(zone("intel-rapl:1", "energy_uj"))).unwrap());
        assert_eq!(gone, None);
        assert!(told.energy_meter().is_none());
    }

    #[test]
    fn power_is_integrated_over_time() {
        let sensor = |file: &str| format!("sys/class/hwmon/hwmon3/{file}");
        let files = [
            (sensor("name"), "ina3221"),
            (sensor("in1_label"), "VDD_IN"),
            (sensor("in1_input"), "5000"),
            (sensor("curr1_input"), "2000"),
            (sensor("in2_label"), "VDD_CPU_GPU_CV"),
            (sensor("in2_input"), "5000"),
            (sensor("curr2_input"), "900"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (folder, orin) = machine(&files);
        let meter = orin.energy_meter().unwrap();
        assert_eq!(meter.source(), EnergySource::Ina3221);
        // From 10 W to 20 W.
        let joules = after(&meter, 2.0, || std::fs::write(folder.path().join(sensor("curr1_input")), "4000").unwrap());
        assert!((joules.unwrap() - 30.0).abs() < 1e-9, "{joules:?}");
        // A board without the channel of the module: the sum of the others that are connected.
        std::fs::write(folder.path().join(sensor("in1_label")), "NC").unwrap();
        let meter = orin.energy_meter().unwrap();
        assert!((after(&meter, 2.0, || ()).unwrap() - 9.0).abs() < 1e-9);
    }

    #[test]
    fn a_measurement_ends_when_it_is_told() {
        let (_folder, told) = machine(&[
            ("sys/class/powercap/intel-rapl:0/name", "package-0"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "7"),
            ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", RANGE),
        ]);
        assert_eq!(told.energy_meter().unwrap().start().unwrap().joules(), Some(0.0));
        assert!(machine(&[]).1.energy_meter().is_none());
    }
}
