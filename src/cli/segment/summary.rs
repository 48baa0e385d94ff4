//! The summary of an input under a prompt, over all its frames: a line of the table, or a row for programs.

use causalclipseg::mask::{Flag, Record};
use serde::Serialize;

/// The summary of one input under one prompt.
#[derive(Default)]
pub(super) struct Summary {
    input: String,
    prompt: String,
    frames: usize,
    found: usize,
    /// The sum over the frames where something was found.
    area_px: usize,
    area_mm2: Option<f64>,
    area_fraction: f64,
    mean_probability: f64,
    score: f64,
    /// The sum over all frames.
    seconds: f64,
    flags: Vec<Flag>,
    /// Whether a mask was drawn although the model judges the target to be absent.
    is_doubted: bool,
}

/// The row for programs: means over the frames with a finding. What is unknown is `null`, or empty in CSV.
#[derive(Default, Serialize)]
pub(super) struct Row<'a> {
    input: &'a str,
    prompt: Option<&'a str>,
    frames: usize,
    frames_found: usize,
    area_px: Option<f64>,
    area_mm2: Option<f64>,
    area_fraction: Option<f64>,
    mean_probability: Option<f64>,
    score: Option<f64>,
    /// The flags, separated by spaces.
    flags: String,
    ms_per_frame: Option<f64>,
    /// The error of an input without a result.
    error: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// The row of an input that failed.
    pub(super) fn of_failure(input: &'a str, error: &'a str) -> Self {
        Self { input, error: Some(error), ..Self::default() }
    }
}

impl Summary {
    /// The row for programs.
    pub(super) fn for_programs(&self) -> Row<'_> {
        let mean = |sum: f64| (self.found > 0).then(|| sum / self.found as f64);
        let flags = self.flags.iter().filter_map(|flag| serde_json::to_value(flag).ok());
        let flags: Vec<String> = flags.filter_map(|flag| flag.as_str().map(str::to_string)).collect();
        Row {
            input: &self.input,
            prompt: Some(&self.prompt),
            frames: self.frames,
            frames_found: self.found,
            area_px: mean(self.area_px as f64),
            area_mm2: self.area_mm2.and_then(mean),
            area_fraction: mean(self.area_fraction),
            mean_probability: mean(self.mean_probability),
            score: mean(self.score),
            flags: flags.join(" "),
            ms_per_frame: (self.frames > 0).then(|| self.seconds / self.frames as f64 * 1e3),
            error: None,
        }
    }

    /// The summary of an input, by the name that people know.
    pub(crate) fn new(input: String) -> Self {
        Self { input, ..Self::default() }
    }

    pub(crate) fn add(&mut self, record: &Record) {
        if self.frames == 0 {
            self.prompt = record.prompt.clone();
        }
        self.frames += 1;
        self.seconds += record.seconds.unwrap_or(0.0);
        if let Some(quality) = &record.quality {
            for flag in &quality.flags {
                if !self.flags.contains(flag) {
                    self.flags.push(*flag);
                }
            }
            self.score += quality.score;
            self.is_doubted |= quality.present == Some(false) && record.measurements.area_px > 0;
        }
        let measured = &record.measurements;
        if measured.area_px > 0 {
            self.found += 1;
            self.area_px += measured.area_px;
            self.area_mm2 = measured.area_mm2.map(|mm2| mm2 + self.area_mm2.unwrap_or(0.0));
            self.area_fraction += measured.area_fraction;
            self.mean_probability += measured.mean_probability.unwrap_or(0.0);
        }
    }

    /// Input, prompt, area, mean probability, quality, time of a frame: means over the frames with a finding.
    pub(crate) fn row(&self) -> [String; 6] {
        let found = self.found.max(1) as f64;
        let percent = self.area_fraction / found * 100.0;
        let mut area = match self.area_mm2 {
            _ if self.found == 0 => "nothing found".to_string(),
            Some(mm2) => format!("{:.0} mm² ({percent:.1} %)", mm2 / found),
            None => format!("{:.0} px ({percent:.1} %)", self.area_px as f64 / found),
        };
        if self.frames > 1 && self.found > 0 {
            area += &format!(", in {} of {} frames", self.found, self.frames);
        }
        let probability = if self.found > 0 { format!("{:.2}", self.mean_probability / found) } else { "-".into() };
        let mut quality = if self.found > 0 { format!("{:.2}", self.score / found) } else { "-".into() };
        for flag in &self.flags {
            quality += match flag {
                Flag::BlankFrame => ", blank frame",
                Flag::FrozenFrame => ", frozen frame",
                Flag::NoiseFrame => ", noise",
                Flag::InvalidFrame => ", lost frame",
                // The area already shows it.
                Flag::NothingFound => "",
                Flag::LowScore => ", low",
                Flag::UnfamiliarFrame => ", unfamiliar frame",
                Flag::UnknownWords => ", unknown words",
            };
        }
        if self.is_doubted {
            quality += ", probably absent";
        }
        let time = format!("{:.1} ms", self.seconds / self.frames.max(1) as f64 * 1e3);
        [self.input.clone(), self.prompt.clone(), area, probability, quality, time]
    }
}
