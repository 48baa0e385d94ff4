//! `phantom`: writes synthetic ultrasound images with masks and prompts.

use super::Failure;
use causalclipseg_convert::phantom::{SIDE_RANGE, WriteOptions, write_folder};
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Write synthetic B-mode images with lesions, masks and prompts, in MedCLIPSeg's layout.
#[derive(Clone, Debug, clap::Args)]
pub struct Phantom {
    /// The folder to create; it may exist if it is empty.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// The number of images.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Random seed; equal seeds give equal images.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The share of images, 0 to 1, for the validation split.
    #[arg(long, default_value_t = 0.2, value_name = "F", value_parser = parse_fraction)]
    pub split: f64,
    /// Width and height of every image in pixels, such as 320x256 [default: varies from 320x256 to 640x480].
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: Option<(usize, usize)>,
    /// The share of images, 0 to 1, without a lesion; above 0, all images also show vessels, ducts, ribs, shadows and lobules of
    /// fat that look like lesions.
    #[arg(long, default_value_t = 0.0, value_name = "F", value_parser = parse_fraction)]
    pub lesion_free: f64,
}

impl Phantom {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let options = WriteOptions {
            count: self.count as usize,
            seed: self.seed,
            val_fraction: self.split,
            size: self.size,
            lesion_free: self.lesion_free,
        };
        let progress = ProgressBar::new(u64::from(self.count));
        if !std::io::stderr().is_terminal() {
            progress.set_draw_target(ProgressDrawTarget::hidden());
        }
        let written = write_folder(&self.output, &options, || progress.inc(1));
        progress.finish_and_clear();
        written?;
        super::say(format!("{} phantoms written to {}", self.count, self.output.display()))
    }
}

pub(super) fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse::<f64>().ok().filter(|fraction| (0.0..=1.0).contains(fraction));
    fraction.ok_or_else(|| "give a number from 0 to 1".into())
}

pub(super) fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let side = |text: &str| text.parse::<usize>().ok().filter(|side| SIDE_RANGE.contains(side));
    text.split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)))
        .ok_or_else(|| format!("give width x height, each {} to {}, as 320x256", SIDE_RANGE.start(), SIDE_RANGE.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_fractions_are_checked() {
        assert_eq!(parse_size("320x256"), Ok((320, 256)));
        for text in ["320", "0x5", "320x", "99999x320", "ax320"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_fraction("0.25"), Ok(0.25));
        for text in ["1.5", "-1", "NaN", ""] {
            assert!(parse_fraction(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_a_folder() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("phantoms");
        let args =
            Phantom { output: output.clone(), count: 2, seed: 1, split: 0.5, size: Some((96, 96)), lesion_free: 0.0 };
        args.run().unwrap();
        assert!(output.join("Train_Folder/img/phantom_00000.png").is_file());
        assert!(output.join("Val_Folder/label/phantom_00001.png").is_file());
    }
}
