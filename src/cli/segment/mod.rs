//! `causalclipseg segment`: pictures and clips in, masks out.

#[cfg(feature = "dicom")]
mod dicom;
mod input;
#[cfg(feature = "dicom-net")]
mod objects;
mod results;
mod summary;
mod table;

use super::Failure;
use super::device::DeviceArguments;
use super::interrupts::Interrupts;
use super::model_source::ModelSource;
use causalclipseg::frame::{Orientation, Region};
#[cfg(feature = "dicom")]
use causalclipseg::io::dicom::Deidentification;
use causalclipseg::io::source::{FrameBuffer, RawFormat};
use causalclipseg::io::{Depth, OutputNames};
use causalclipseg::kernels::MAX_THREADS;
use causalclipseg::mask::{Record, contours_in_mm};
use causalclipseg::{Model, ModelOptions, Prompt, Session, SessionOptions};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use input::{Input, Listed};
#[cfg(feature = "dicom-net")]
pub(super) use objects::{ObjectOptions, ObjectWriter};
use results::{Found, Results};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use summary::Summary;
use table::Table;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// PNG, JPEG, BMP, TIFF, DICOM, MetaImage, NRRD or NIfTI files, folders of them, or `-` for one on standard input (with
    /// --raw for frames without a header). Results of an earlier run are left out of folders
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Also read the folders within a folder; their results go into folders of the same names
    #[arg(long)]
    recursive: bool,
    /// Prompt, a sentence that describes the lesion; several prompts share one pass over the image
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    /// Folder for the results; created if it does not exist
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    output: PathBuf,
    /// Results to write for each input and prompt
    #[arg(long, value_delimiter = ',', default_value = "mask,overlay,json")]
    format: Vec<Format>,
    /// Replace existing files that this program did not write
    #[arg(long)]
    overwrite: bool,
    /// Output format: a table for people, or CSV or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    summary: SummaryFormat,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = super::threshold)]
    threshold: Option<f32>,
    /// Bits per pixel of the probability picture
    #[arg(long, default_value = "8", value_parser = ["8", "16"])]
    prob_bits: String,
    /// Show the confounder map as heat on the overlay
    #[arg(long)]
    confounders: bool,
    /// Size of a pixel in millimetres, X or X,Y; areas and diameters are then in millimetres too
    #[arg(long, value_name = "MM", value_parser = millimetres)]
    mm_per_pixel: Option<[f32; 2]>,
    /// Region of the scan in the picture, in pixels; a DICOM file says so itself
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = region)]
    region: Option<Region>,
    #[arg(long, value_name = "WxH:FORMAT[/STRIDE][@HZ]", help = super::raw_help())]
    raw: Option<RawFormat>,
    /// Write nothing that identifies the patient: DICOM's basic profile, pictures blank outside the scan, files named
    /// 0001 and on
    #[arg(long)]
    deidentify: bool,
    /// Threads that share the work on one image; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    threads: u16,
    #[command(flatten)]
    device: DeviceArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 8-bit grey, 0 or 255, at the input's size
    Mask,
    /// Grey, 0 for probability 0 and white for 1
    Prob,
    /// The input with contour, legend, area and probability
    Overlay,
    /// Area, box, contours, diameters, mean probability, quality
    Json,
    /// The input's pixels as they were read, before the network's own scaling
    Frame,
    /// A DICOM segmentation of a DICOM file, one segment a prompt
    #[cfg(feature = "dicom")]
    DicomSeg,
    /// Areas and diameters in millimetres as a DICOM structured report (TID 1500) on a DICOM file
    #[cfg(feature = "dicom")]
    DicomSr,
    /// All masks as MetaImage, a label map of 0 and 1
    Mha,
    /// The same as NRRD
    Nrrd,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SummaryFormat {
    Table,
    Csv,
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let interrupts = Interrupts::listen()?;
    let options =
        ModelOptions::default().with_confounders(arguments.confounders).with_threads(usize::from(arguments.threads));
    let options = arguments.device.options(options)?;
    let model = Model::from_file(arguments.source.open()?, options)?;
    let prompts = arguments.prompts.iter().map(|text| model.prompt(text)).collect::<Result<Vec<_>, _>>()?;
    let Listed { paths: inputs, subfolders } = input::list(arguments)?;
    let named: Vec<PathBuf> = inputs.iter().map(|path| input::name(path)).collect();
    let names = if arguments.deidentify {
        OutputNames::numbered(&arguments.output, &named, prompts.len())?
    } else {
        OutputNames::in_subfolders(&arguments.output, &named, &subfolders, prompts.len())?
    };
    let make = |folder: &Path| {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|error| format!("cannot create the folder {}: {error}; choose another", folder.display()))
    };
    make(&arguments.output)?;

    #[cfg(feature = "dicom")]
    let deidentification = arguments.deidentify.then(Deidentification::new).transpose().map_err(|error| {
        format!("--deidentify replaces UIDs by random ones, and this system gives no random numbers ({error})")
    })?;
    let mut run = Run {
        arguments,
        model: &model,
        prompts,
        #[cfg(feature = "dicom")]
        deidentification,
    };
    let mut session = Session::new(&model, SessionOptions::default().with_threshold(arguments.threshold))?;
    let mut table = Table::default();
    let progress = progress_bar(inputs.len());
    for (input, names) in inputs.iter().zip(&names) {
        if interrupts.signal().is_some() {
            break;
        }
        // One bad picture must not cost the results of the others.
        match make(names.folder())
            .map_err(Failure::from)
            .and_then(|()| run.segment(&mut session, input, names, &interrupts))
        {
            Ok(Some(summaries)) => table.add(summaries),
            // The user interrupted.
            Ok(None) => break,
            Err(failure) => {
                let failure = super::one_line(failure.as_ref());
                progress.suspend(|| eprintln!("error: {failure}"));
                table.add_failure(run.shown(input, names), failure);
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if arguments.summary != SummaryFormat::Table || table.has_results() {
        super::say(table.render(arguments.summary, &arguments.output)?)?;
    }
    if let Some(signal) = interrupts.signal() {
        eprintln!("interrupted by {}: {} of {} inputs are done", signal.name(), table.inputs(), inputs.len());
        return Ok(signal.exit_code());
    }
    // Each failure was reported when it happened.
    Ok(if table.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The values that are the same for all inputs.
struct Run<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    prompts: Vec<Prompt>,
    /// The same for all inputs, so that files of one study stay files of one study.
    #[cfg(feature = "dicom")]
    deidentification: Option<Deidentification>,
}

impl Run<'_> {
    /// The displayed name of an input. The terminal is not a result: there a number is printed together with the input
    /// that it replaces.
    fn shown(&self, path: &Path, names: &OutputNames) -> String {
        let named = path.display();
        if self.arguments.deidentify { format!("{named} as {}", names.stem().display()) } else { named.to_string() }
    }

    /// Segments one input, frame after frame, and writes its results; `None` if interrupted.
    fn segment(
        &mut self,
        session: &mut Session,
        path: &Path,
        names: &OutputNames,
        interrupts: &Interrupts,
    ) -> Result<Option<Vec<Summary>>, Failure> {
        let deidentify = self.arguments.deidentify;
        let mut input = Input::open(path, self.arguments)?;
        let mut results = Results::new(
            self.arguments,
            names,
            self.model,
            &input,
            path,
            #[cfg(feature = "dicom")]
            self.deidentification.as_ref(),
        )?;
        results.check_places()?;
        let mut start_s = None;
        let named = path.display().to_string();
        let shown = self.shown(path, names);
        let mut summaries: Vec<Summary> = self.prompts.iter().map(|_| Summary::new(shown.clone())).collect();
        // Each input starts without the state of the one before.
        session.restart();
        let mut buffer = FrameBuffer::default();
        let mut index = 0;
        while input.read_frame(&mut buffer, self.arguments)? {
            if interrupts.signal().is_some() {
                return Ok(None);
            }
            let number = (!input.is_still()).then_some(index + 1);
            let report = session.run(&buffer.frame()?, &self.prompts)?;
            if deidentify {
                buffer.blank_outside_region();
                // Absolute times reveal dates; what is left is the time since the first frame.
                buffer.timestamp_s = buffer.timestamp_s.map(|now_s| now_s - *start_s.get_or_insert(now_s));
                buffer.fields.retain(|(key, _)| !key.ends_with("Timestamp"));
            }
            let frame = buffer.frame()?;
            let mm_per_pixel = frame.mm_per_pixel();
            for (prompt, (finding, text)) in report.findings.iter().zip(&self.prompts).enumerate() {
                let record = Record {
                    input: if deidentify { names.stem().display().to_string() } else { named.clone() },
                    prompt: text.text().to_string(),
                    measurements: finding.measurements().clone(),
                    contours_mm: contours_in_mm(finding.contours(), mm_per_pixel),
                    contours: finding.contours().to_vec(),
                    quality: finding.quality().cloned(),
                    frame: number,
                    timestamp_s: buffer.timestamp_s,
                    width: frame.width(),
                    height: frame.height(),
                    region: frame.region(),
                    mm_per_pixel,
                    orientation: Some(frame.orientation()).filter(|turned| *turned != Orientation::Upright),
                    threshold: report.threshold,
                    model: Some(self.model.description().name.clone()),
                    seconds: Some(report.seconds.total()),
                    device: Some(report.ran_on.name().to_string()),
                    device_fallback: self.model.fallback().map(str::to_string),
                    ignored: if number.is_none() { input.ignored() } else { Vec::new() },
                };
                if let Some(summary) = summaries.get_mut(prompt) {
                    summary.add(&record);
                }
                results.add(index, &buffer, &Found { prompt, record: &record, finding })?;
            }
            index += 1;
        }
        results.finish(&input)?;
        Ok(Some(summaries))
    }
}

impl Arguments {
    fn depth(&self) -> Depth {
        if self.prob_bits == "16" { Depth::Sixteen } else { Depth::Eight }
    }
}

/// A bar on stderr when it is a terminal and there is more than one frame or input.
fn progress_bar(inputs: usize) -> ProgressBar {
    let target = if inputs > 1 { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} inputs, {eta} left");
    ProgressBar::with_draw_target(Some(inputs as u64), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

pub(super) fn millimetres(text: &str) -> Result<[f32; 2], String> {
    let sides: Vec<f32> = text.split(',').map(|side| side.trim().parse()).collect::<Result<_, _>>().unwrap_or_default();
    match sides[..] {
        [side] if side > 0.0 && side.is_finite() => Ok([side, side]),
        [x, y] if x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite() => Ok([x, y]),
        _ => Err("give one or two positive numbers, such as 0.07 or 0.07,0.08".into()),
    }
}

pub(super) fn region(text: &str) -> Result<Region, String> {
    let numbers: Vec<usize> =
        text.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>().unwrap_or_default();
    match numbers[..] {
        [x, y, width, height] if width > 0 && height > 0 => Ok(Region { x, y, width, height }),
        _ => Err("give four integers, such as 80,40,640,480".into()),
    }
}
