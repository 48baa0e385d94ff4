//! How hot the CPU is.

use super::Machine;

/// Parts of the names under which thermal zones report a CPU: x86 packages, Jetsons, Raspberry Pis and phones.
const CPU_ZONES: [&str; 6] = ["cpu", "x86_pkg", "soc", "tj", "cluster", "big"];
/// Drivers that report a CPU where no thermal zone does.
const CPU_SENSORS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];

impl Machine {
    /// The hottest of the CPU's sensors, in °C.
    pub fn temperature_c(&self) -> Option<f64> {
        let zones = self.folders("sys/class/thermal", "thermal_zone").into_iter();
        let cpu_zones = zones.filter(|zone| self.read(zone.join("type")).is_some_and(|name| is_cpu_zone(&name)));
        let of_zones = cpu_zones.filter_map(|zone| self.celsius(zone.join("temp"))).reduce(f64::max);
        of_zones.or_else(|| {
            let sensors = self.folders("sys/class/hwmon", "hwmon").into_iter();
            let cpu_sensors = sensors
                .filter(|sensor| self.read(sensor.join("name")).is_some_and(|n| CPU_SENSORS.contains(&n.as_str())));
            let inputs = cpu_sensors.flat_map(|sensor| (1..=64).map(move |i| sensor.join(format!("temp{i}_input"))));
            inputs.filter_map(|input| self.celsius(input)).reduce(f64::max)
        })
    }

    /// Thousandths of a degree in a file. A sensor that is switched off reads far below zero or fails.
    fn celsius(&self, path: impl AsRef<std::path::Path>) -> Option<f64> {
        self.read_number(path).map(|value| value / 1e3).filter(|celsius| (-40.0..200.0).contains(celsius))
    }
}

fn is_cpu_zone(name: &str) -> bool {
    let name = name.to_lowercase();
    CPU_ZONES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use crate::machine::fixture::machine;

    #[test]
    fn the_hottest_cpu_zone_counts() {
        let (_folder, jetson) = machine(&[
            ("sys/class/thermal/thermal_zone0/type", "CPU-therm\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48500\n"),
            ("sys/class/thermal/thermal_zone1/type", "GPU-therm\n"),
            ("sys/class/thermal/thermal_zone1/temp", "90000\n"),
            ("sys/class/thermal/thermal_zone2/type", "soc0-thermal\n"),
            ("sys/class/thermal/thermal_zone2/temp", "50250\n"),
            ("sys/class/thermal/thermal_zone3/type", "tj-thermal\n"),
            ("sys/class/thermal/thermal_zone3/temp", "-256000\n"),
        ]);
        assert_eq!(jetson.temperature_c(), Some(50.25));
        let (_folder, desktop) = machine(&[
            ("sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "70000\n"),
            ("sys/class/hwmon/hwmon3/name", "k10temp\n"),
            ("sys/class/hwmon/hwmon3/temp1_input", "61000\n"),
            ("sys/class/hwmon/hwmon3/temp3_input", "62000\n"),
        ]);
        assert_eq!(desktop.temperature_c(), Some(62.0));
        assert_eq!(machine(&[]).1.temperature_c(), None);
    }
}
