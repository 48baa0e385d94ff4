//! One line of the table that people read: an input under a prompt, over all its frames.

use causalclipseg::mask::{Flag, Record};

/// What is told of one input under one prompt.
#[derive(Default)]
pub(super) struct Summary {
    input: String,
    prompt: String,
    frames: usize,
    found: usize,
    /// Of frames where something was found.
    area_px: usize,
    area_mm2: Option<f64>,
    area_fraction: f64,
    mean_probability: f64,
    score: f64,
    /// Of all frames.
    seconds: f64,
    flags: Vec<Flag>,
}

impl Summary {
    /// Of an input as people know it.
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
                // The area says so.
                Flag::NothingFound => "",
                Flag::LowScore => ", low",
                Flag::UnfamiliarFrame => ", unfamiliar frame",
                Flag::UnknownWords => ", unknown words",
            };
        }
        let time = format!("{:.1} ms", self.seconds / self.frames.max(1) as f64 * 1e3);
        [self.input.clone(), self.prompt.clone(), area, probability, quality, time]
    }
}
