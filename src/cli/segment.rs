//! `causalclipseg segment`: pictures in, masks out.

use super::Failure;
use super::model_source::ModelSource;
use causalclipseg::io::{Depth, Image, OutputNames, write_json, write_mask, write_overlay, write_probability};
use causalclipseg::mask::{Finding, Measurements, Overlay, Probability, Record};
use causalclipseg::{Model, ModelOptions, Prompt, Segmentation, Session};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Images: PNG, JPEG, BMP or TIFF
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// What to look for, as a sentence; several share one pass over the image
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    /// Folder for the results; made if it is not there
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    output: PathBuf,
    /// What to write for each input and prompt
    #[arg(long, value_delimiter = ',', default_value = "mask,overlay,json")]
    format: Vec<Format>,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = probability)]
    threshold: Option<f32>,
    /// Bits of a pixel of the probability picture
    #[arg(long, default_value = "8", value_parser = ["8", "16"])]
    prob_bits: String,
    /// Show what the model set aside as confounding, as heat on the overlay
    #[arg(long)]
    confounders: bool,
    /// Size of a pixel in millimetres, X or X,Y; areas and diameters are then in millimetres too
    #[arg(long, value_name = "MM", value_parser = millimetres)]
    mm_per_pixel: Option<[f32; 2]>,
    /// Threads that share the work on one image; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// What computes
    #[arg(long, value_enum, default_value = "cpu")]
    device: Device,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    Cpu,
    Gpu,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 8-bit grey, 0 or 255, at the input's size
    Mask,
    /// Grey, 0 for probability 0 and white for 1
    Prob,
    /// The input with contour, legend, area and probability
    Overlay,
    /// Area, box, contours, diameters, mean probability
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.device == Device::Gpu {
        return Err("this build has no GPU engine; use --device cpu".into());
    }
    let options = ModelOptions {
        confounders: arguments.confounders,
        threads: usize::from(arguments.threads),
        ..ModelOptions::default()
    };
    let model = Model::from_bundle(Arc::new(arguments.source.open()?), options)?;
    let prompts = arguments.prompts.iter().map(|text| model.prompt(text)).collect::<Result<Vec<_>, _>>()?;
    let names = OutputNames::for_inputs(&arguments.output, &arguments.inputs, prompts.len())?;
    std::fs::create_dir_all(&arguments.output)
        .map_err(|error| format!("cannot make the folder {}: {error}; choose another", arguments.output.display()))?;

    let mut session = model.session()?;
    let mut table = super::table();
    table.set_header(["input", "prompt", "area", "mean probability", "time"]);
    let progress = progress_bar(arguments.inputs.len());
    let mut failed = 0;
    for (input, names) in arguments.inputs.iter().zip(&names) {
        // One bad picture among many does not take the others' results away.
        match segment(arguments, &model, &mut session, &prompts, input, names) {
            Ok(records) => records.iter().for_each(|record| {
                table.add_row(row(record));
            }),
            Err(failure) => {
                failed += 1;
                progress.suspend(|| eprintln!("error: {}", super::one_line(failure.as_ref())));
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if failed < arguments.inputs.len() {
        super::say(format!("{table}\nwritten to {}", arguments.output.display()))?;
    }
    // Each failure was told when it came.
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Segments one picture and writes its results.
fn segment(
    arguments: &Arguments,
    model: &Model,
    session: &mut Session,
    prompts: &[Prompt],
    input: &Path,
    names: &OutputNames,
) -> Result<Vec<Record>, Failure> {
    let image = Image::open(input)?;
    let mut frame = image.frame();
    if let Some(mm_per_pixel) = arguments.mm_per_pixel {
        frame = frame.with_mm_per_pixel(mm_per_pixel)?;
    }
    let threshold = arguments.threshold.unwrap_or(model.description().threshold);
    let (found, seconds) = session.segment(&frame, prompts)?;
    let mut records = Vec::new();
    for (index, (segmentation, prompt)) in found.into_iter().zip(prompts).enumerate() {
        let Segmentation { probability, confounders, .. } = segmentation;
        let mask = probability.mask(threshold)?;
        let contours = mask.contours();
        let measurements = Measurements::of(&mask, &contours, Some(&probability), frame.mm_per_pixel())?;
        let record = Record {
            input: input.display().to_string(),
            prompt: prompt.text().to_string(),
            measurements: measurements.clone(),
            contours: contours.clone(),
            width: frame.width(),
            height: frame.height(),
            region: frame.region(),
            mm_per_pixel: frame.mm_per_pixel(),
            threshold,
            model: Some(model.description().name.clone()),
            seconds: Some(seconds.total()),
        };
        let finding = Finding { prompt: prompt.text(), mask: &mask, contours: &contours, measurements: &measurements };
        for format in &arguments.format {
            match format {
                Format::Mask => write_mask(&names.mask(index), &mask)?,
                Format::Prob => write_probability(&names.probability(index), &probability, arguments.depth())?,
                Format::Json => write_json(&names.json(index), &record)?,
                Format::Overlay => {
                    let overlay = Overlay {
                        frame: &frame,
                        findings: std::slice::from_ref(&finding),
                        confounders: confounders.as_ref().map(Probability::values),
                        threshold,
                        model: &model.description().name,
                    };
                    write_overlay(&names.overlay(index), &overlay.draw()?)?;
                }
            }
        }
        records.push(record);
    }
    Ok(records)
}

impl Arguments {
    fn depth(&self) -> Depth {
        if self.prob_bits == "16" { Depth::Sixteen } else { Depth::Eight }
    }
}

fn row(record: &Record) -> [String; 5] {
    let Measurements { area_px, area_fraction, area_mm2, mean_probability, .. } = &record.measurements;
    let area = match (area_px, area_mm2) {
        (0, _) => "nothing found".to_string(),
        (_, Some(mm2)) => format!("{mm2:.0} mm² ({:.1} %)", area_fraction * 100.0),
        (px, None) => format!("{px} px ({:.1} %)", area_fraction * 100.0),
    };
    let probability = mean_probability.map_or("-".to_string(), |mean| format!("{mean:.2}"));
    let time = record.seconds.map_or("-".to_string(), |seconds| format!("{:.1} ms", seconds * 1e3));
    [record.input.clone(), record.prompt.clone(), area, probability, time]
}

/// A bar on stderr when it is a terminal and there is more than one thing to wait for.
fn progress_bar(inputs: usize) -> ProgressBar {
    let target = if inputs > 1 { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {eta} left");
    ProgressBar::with_draw_target(Some(inputs as u64), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("give a number between 0 and 1".into()),
    }
}

fn millimetres(text: &str) -> Result<[f32; 2], String> {
    let sides: Vec<f32> = text.split(',').map(|side| side.trim().parse()).collect::<Result<_, _>>().unwrap_or_default();
    match sides[..] {
        [side] if side > 0.0 && side.is_finite() => Ok([side, side]),
        [x, y] if x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite() => Ok([x, y]),
        _ => Err("give one or two positive numbers, such as 0.07 or 0.07,0.08".into()),
    }
}
