//! `confound`: data sets in which a mark correlates with the prompted lesion.

use super::Failure;
use super::phantom::{parse_fraction, parse_size};
use causalclipseg_convert::confound::{ConfoundOptions, Mark, Origin, With, write_sets};
use std::path::PathBuf;

/// Write a training set in which a mark correlates with the prompted lesion, and test sets in which it does not
///
/// The output folder receives four data sets in MedCLIPSeg's layout: `confounded` (with training, validation and test split),
/// `neutral`, `reversed` and `unmarked` (validation and test). Their images are the same except for the mark.
#[derive(Clone, Debug, clap::Args)]
pub struct Confound {
    #[command(flatten)]
    origin: Source,
    /// Width and height of the phantoms in pixels
    #[arg(long, value_name = "WxH", value_parser = parse_size, default_value = "128x128", conflicts_with = "data")]
    size: (usize, usize),
    /// The mark to draw
    #[arg(long, value_enum, default_value = "calipers")]
    mark: Mark,
    /// What the mark correlates with
    #[arg(long, value_enum, default_value = "place")]
    with: With,
    /// A part of the name of the device that correlates with malignant lesions, for `--with device`
    #[arg(long, value_name = "NAME")]
    device_name: Option<String>,
    /// The probability that the mark agrees in the confounded set, and disagrees in the reversed set
    #[arg(long, value_name = "P", value_parser = parse_fraction, default_value_t = 0.9)]
    probability: f64,
    /// The share of training images with a mark; all images of the test sets have one
    #[arg(long, value_name = "F", value_parser = parse_fraction, default_value_t = 1.0)]
    marked: f64,
    /// Random seed; equal seeds write equal bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder to create; it may exist if it is empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// A data set's folder, in any layout that `train` reads
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Phantoms with a lesion on either side, each prompted once: how many for training, validation and testing
    #[arg(long, value_name = "TRAIN,VAL,TEST", value_parser = parse_counts)]
    phantoms: Option<[usize; 3]>,
}

impl Confound {
    pub fn run(self) -> Result<(), Failure> {
        let (width, height) = self.size;
        let origin = match (self.origin.data, self.origin.phantoms) {
            (Some(folder), _) => Origin::Data { folder },
            (None, Some([training, validation, test])) => {
                Origin::Phantoms { training, validation, test, width, height }
            }
            (None, None) => return Err("give --data or --phantoms".into()),
        };
        let options = ConfoundOptions {
            origin,
            mark: self.mark,
            with: self.with,
            probability: self.probability,
            marked: self.marked,
            device: self.device_name,
            seed: self.seed,
        };
        let spinner = super::spinner("planting marks");
        let written = write_sets(&self.output, &options, || spinner.inc(1));
        spinner.finish_and_clear();
        for count in written?.sets {
            let (set, split) = (count.set.name(), count.split);
            super::say(format!("{set} {split}: {} images, the mark agrees in {}", count.images, count.agree))?;
        }
        super::say(format!("written to {}", self.output.display()))
    }
}

fn parse_counts(text: &str) -> Result<[usize; 3], String> {
    let counts: Option<Vec<usize>> = text.split(',').map(|count| count.trim().parse().ok()).collect();
    let counts = counts.and_then(|counts| <[usize; 3]>::try_from(counts).ok());
    counts
        .filter(|counts| counts.iter().all(|count| (1..=1_000_000).contains(count)))
        .ok_or_else(|| "give three numbers, each 1 to 1000000, as 400,40,120".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_checked() {
        assert_eq!(parse_counts("400, 40,120"), Ok([400, 40, 120]));
        for text in ["", "400", "1,2", "0,1,1", "1,2,3,4", "a,b,c"] {
            assert!(parse_counts(text).is_err(), "{text}");
        }
    }
}
