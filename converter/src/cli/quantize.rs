//! `quantize`: quantises a checkpoint to 8-bit weights and activations.

use super::Failure;
use causalclipseg::bundle::Note;
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::data::{DataLayout, LoadOptions, Sample, Split, load_samples};
use causalclipseg_convert::model::Form;
use causalclipseg_convert::phantom::Phantom;
use causalclipseg_convert::quantize::{
    CalibrationReader, CalibrationSet, CompareOptions, Comparison, LOW_SQNR_DB, Pair, PairLimit, QuantiseOptions,
    QuantisedCheckpoint, Report, WeightBits, compare, prepare, quantise, strip_before_relu, strip_fused,
};
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use std::path::PathBuf;

/// The default number of images to observe, by the cost of the published network's forward pass in GMAC (upper bound).
const DEFAULT_IMAGES: [(f64, usize); 3] = [(4.0, 200), (40.0, 64), (f64::INFINITY, 16)];

/// Quantise a checkpoint to 8 bits, calibrated on images
///
/// The result is a checkpoint for `pack --precision int8` and `export --precision int8`.
#[derive(Debug, clap::Args)]
pub struct Quantize {
    /// Checkpoint to quantise
    #[arg(long, value_name = "CKPT")]
    checkpoint: PathBuf,
    /// Data sets to calibrate on, in any layout that `train` reads
    #[arg(long, value_name = "DIR", num_args = 1.., required_unless_present = "phantoms")]
    calibrate: Vec<PathBuf>,
    /// The layout of those data sets [default: detected from each folder]
    #[arg(long, value_enum)]
    layout: Option<DataLayout>,
    /// The split to calibrate on
    #[arg(long, value_enum, value_name = "NAME", default_value = "train")]
    split: Split,
    /// Also observe this many synthetic images; they can replace data sets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    phantoms: Option<u32>,
    /// Images of the data sets to observe, spread evenly [default: 200 for a small network, fewer for a large one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    images: Option<u32>,
    /// The form of the network: after the exact rewrites, for bundles, or as published, for other engines
    #[arg(long, value_enum, default_value = "rewritten")]
    form: Form,
    /// Bits of a weight; 7 for CPUs whose integer product saturates (AVX2 without VNNI)
    #[arg(long, value_name = "BITS", default_value_t = 8, value_parser = clap::value_parser!(u8).range(7..=8))]
    weight_bits: u8,
    /// Limit neighbouring weights of 8 bits so that AVX2 without VNNI runs at the speed of 7 bits
    #[arg(long, value_enum, value_name = "WHERE", default_value = "auto")]
    pairs: PairLimit,
    /// The most layers that may stay f32 to keep masks in agreement
    #[arg(long, value_name = "N", default_value_t = 4)]
    wide: usize,
    /// The number of layers to try in f32, the worst first [default: 12 for a small network, fewer for a large one]
    #[arg(long, value_name = "N")]
    scan: Option<usize>,
    /// Choose each activation's scale and zero point by its own error, without end-to-end measurements: for networks that take
    /// long to run
    #[arg(long)]
    fast: bool,
    /// Fix every mask at one first, which removes the maskers and the confounders' head; see `pack --open-masks`
    #[arg(long)]
    open_masks: bool,
    /// Edge of the network's input in pixels, a multiple of 32 [default: the checkpoint's]
    #[arg(long, value_name = "S")]
    size: Option<usize>,
    /// Also compare both networks on this data set
    #[arg(long, value_name = "DIR")]
    compare: Option<PathBuf>,
    /// The split to compare on
    #[arg(long, value_enum, value_name = "NAME", default_value = "val", requires = "compare")]
    compare_split: Split,
    /// Write all measurements to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Checkpoint to write
    #[arg(short, long, value_name = "CKPT")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// The whole report as one JSON object
    Json,
}

impl Quantize {
    pub fn run(self) -> Result<(), Failure> {
        let spinner = super::spinner("reading the checkpoint");
        let mut checkpoint = Checkpoint::load(&self.checkpoint)?;
        if let Some(size) = self.size {
            checkpoint = checkpoint.resized(size)?;
        }
        if self.open_masks {
            checkpoint = checkpoint.with_open_masks()?;
        }
        let gmac = checkpoint.architecture.describe()?.gmac(0);
        spinner.set_message("reading images");
        let set = self.calibration_set(&checkpoint, gmac)?;
        let defaults = QuantiseOptions::default();
        let options = QuantiseOptions {
            form: self.form,
            weight_bits: if self.weight_bits == 7 { WeightBits::Seven } else { WeightBits::Eight },
            pairs: self.pairs,
            scan: self.scan.unwrap_or(if self.fast {
                0
            } else if gmac < DEFAULT_IMAGES[0].0 {
                defaults.scan
            } else {
                4
            }),
            most_wide: self.wide,
            thorough: !self.fast,
        };
        let on_step = |step: &str| spinner.set_message(step.to_string());
        let (mut quantised, mut report) = quantise(&checkpoint, set, &options, on_step)?;
        if let Some(data) = &self.compare {
            spinner.set_message("comparing masks");
            let samples = load_samples(data, self.compare_split, &LoadOptions::default())?;
            report.comparison = Some(compare_checkpoints(&checkpoint, &quantised, &samples)?);
            quantised.calibration = report.summary();
        }
        quantised.provenance.note(Note::QuantisedFrom, self.sources());
        quantised.save(&self.output)?;
        spinner.finish_and_clear();
        let json = serde_json::to_string_pretty(&report)?;
        if let Some(path) = &self.report {
            causalclipseg::io::replace_file(path, |file| std::io::Write::write_all(file, json.as_bytes()))?;
        }
        match self.format {
            Format::Json => super::say(json),
            Format::Table => {
                super::say(tables(&report))?;
                super::say(format!("{} written", self.output.display()))
            }
        }
    }

    fn calibration_set(&self, checkpoint: &Checkpoint, gmac: f64) -> Result<CalibrationSet, Failure> {
        let by_cost = DEFAULT_IMAGES.iter().find(|(most, _)| gmac < *most).map_or(16, |(_, images)| *images);
        let count = self.images.map_or(by_cost, |images| images as usize);
        let options = LoadOptions { layout: self.layout, wording: None };
        let mut samples = Vec::new();
        for folder in &self.calibrate {
            samples.extend(load_samples(folder, self.split, &options)?);
        }
        let architecture = &checkpoint.architecture;
        let tokenizer = clip_tokenizer_json();
        let mut reader =
            CalibrationReader::new(architecture.input_size, checkpoint.fit(), architecture.text.context, &tokenizer)?;
        let total = samples.len();
        let is_chosen = |index: usize| (index + 1) * count / total > index * count / total;
        for (_, sample) in samples.iter().enumerate().filter(|(index, _)| count >= total || is_chosen(*index)) {
            reader.add_sample(sample)?;
        }
        for index in 0..self.phantoms.unwrap_or(0) {
            reader.add_phantom(&Phantom::generate(0, u64::from(index), None))?;
        }
        Ok(reader.finish()?)
    }

    /// What the network was calibrated on, by folder names without paths, which could reveal details of the owner's machine.
    fn sources(&self) -> String {
        let names = self
            .calibrate
            .iter()
            .map(|folder| folder.file_name().map_or("data".into(), |name| name.to_string_lossy().into_owned()));
        let phantoms = self.phantoms.map(|count| format!("{count} phantoms"));
        names.map(|name| format!("{name} ({})", self.split)).chain(phantoms).collect::<Vec<_>>().join(" + ")
    }
}

fn compare_checkpoints(
    checkpoint: &Checkpoint,
    quantised: &QuantisedCheckpoint,
    samples: &[Sample],
) -> Result<Comparison, Failure> {
    let (graph, weights) = prepare(checkpoint, quantised.form)?;
    // The runtime runs one form, other engines the other.
    let rounded = match quantised.form {
        Form::Rewritten => strip_fused(&quantised.graph),
        Form::Published => strip_before_relu(&quantised.graph),
    };
    let pair = Pair { expected: (&graph, &weights), found: (&rounded, &quantised.computed_weights()) };
    let threshold = checkpoint.provenance.threshold_or_default();
    let options = CompareOptions {
        input_size: checkpoint.architecture.input_size,
        fit: checkpoint.fit(),
        context: checkpoint.architecture.text.context,
        tokenizer_json: &clip_tokenizer_json(),
        threshold,
    };
    Ok(compare(&pair, samples, &options, || ())?)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn tables(report: &Report) -> String {
    let mut parts = vec![layers(report).to_string(), trials(report).to_string()];
    if !report.sensitivity.is_empty() {
        let mut table = table(&["left in f32", "squared error that goes away"]);
        for sensitivity in report.sensitivity.iter().take(8) {
            table.add_row([sensitivity.layer.clone(), format!("{:.1} %", 100.0 * sensitivity.gain)]);
        }
        parts.push(table.to_string());
    }
    if let Some(comparison) = &report.comparison {
        parts.push(comparisons(comparison).to_string());
    }
    parts.push(summary(report));
    parts.join("\n")
}

fn layers(report: &Report) -> Table {
    let mut table = table(&["layer", "SQNR (dB)", "f32 (bytes)", "stored (bytes)", ""]);
    for layer in &report.layers {
        let note = match (layer.wide, layer.sqnr_db < LOW_SQNR_DB) {
            (true, _) => "f32",
            (false, true) => "low",
            _ => "",
        };
        let numbers = [format!("{:.1}", layer.sqnr_db), layer.bytes_f32.to_string(), layer.bytes.to_string()];
        table.add_row([layer.weight.clone()].into_iter().chain(numbers).chain([note.to_string()]));
    }
    table
}

fn trials(report: &Report) -> Table {
    let mut table = table(&["on held-out images", "relative error", "largest difference", "mask agreement"]);
    for trial in &report.trials {
        let deviation = &trial.deviation;
        table.add_row([
            trial.name.clone(),
            format!("{:.4}", deviation.relative_error),
            format!("{:.3}", deviation.largest_difference),
            format!("{:.4}", deviation.mask_agreement),
        ]);
    }
    table
}

fn comparisons(comparison: &Comparison) -> Table {
    let Comparison { images, prompts, .. } = comparison;
    let title = format!("{images} images, {prompts} prompts");
    let mut table = table(&[title.as_str(), "f32", "int8"]);
    let row = |name: &str, a: f64, b: f64| [name.to_string(), format!("{a:.4}"), format!("{b:.4}")];
    table.add_row(row("Dice", comparison.dice_f32, comparison.dice_int8));
    table.add_row(row("IoU", comparison.iou_f32, comparison.iou_int8));
    let one = |name: &str, value: String| [name.to_string(), String::new(), value];
    table.add_row(one("masks' agreement (Dice), mean", format!("{:.4}", comparison.mask_agreement)));
    table.add_row(one("masks' agreement (Dice), worst", format!("{:.4}", comparison.worst_mask_agreement)));
    table.add_row(one("relative error of logits", format!("{:.4}", comparison.relative_error)));
    let largest = format!("{:.3} of {:.3}", comparison.largest_logit_difference, comparison.largest_logit);
    table.add_row(one("largest logit difference", largest));
    table
}

fn summary(report: &Report) -> String {
    let list = |names: &[String]| if names.is_empty() { "none".to_string() } else { names.join(", ") };
    let observers: Vec<String> = report.observers.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let lines = [
        format!(
            "calibrated on {} images, measured on {}, {} prompts, {:.0} s",
            report.calibration_images, report.held_out_images, report.prompts, report.seconds
        ),
        format!("observers: {} (of {})", report.policy, observers.join(", ")),
        format!(
            "equalised pairs: {}; biases corrected: {}",
            report.equalised_pairs,
            if report.bias_correction { "yes" } else { "no" }
        ),
        format!(
            "weights: {:.2} MB in f32, {:.2} MB stored in {} bits",
            report.weight_bytes_f32 as f64 / 1e6,
            report.weight_bytes as f64 / 1e6,
            report.weight_bits
        ),
        match &report.unlimited_pairs {
            Some(names) => format!("neighbouring weights limited for AVX2, except in: {}", list(names)),
            None => "neighbouring weights not limited".into(),
        },
        format!("left in f32: {}", list(&report.wide)),
        format!("layers below {LOW_SQNR_DB} dB: {}", list(&report.low_sqnr)),
        format!(
            "all together, on held-out images: relative error {:.4}, mask agreement {:.4}",
            report.deviation.relative_error, report.deviation.mask_agreement
        ),
    ];
    lines.join("\n")
}
