//! DICOM objects about single DICOM files, for a node that receives them.

use super::super::device::DeviceArguments;
use super::super::interrupts::Interrupts;
use super::super::model_source::ModelSource;
use super::{Arguments, Failure, Format, Run, SummaryFormat};
use causalclipseg::frame::Region;
use causalclipseg::io::OutputNames;
use causalclipseg::io::source::{FrameBuffer, FrameSource, Source};
use causalclipseg::{Model, ModelOptions, Prompt, Session, SessionOptions};
use std::path::{Path, PathBuf};

/// What `segment` and a node have in common.
#[derive(clap::Args)]
pub(in super::super) struct ObjectOptions {
    /// Prompt, a sentence that describes the lesion; several prompts share one pass over the image
    #[arg(short, long = "prompt", required = true, value_name = "PROMPT")]
    prompts: Vec<String>,
    #[command(flatten)]
    source: ModelSource,
    /// Probability above which a pixel is lesion [default: the model's]
    #[arg(long, value_parser = super::super::threshold)]
    threshold: Option<f32>,
    /// Size of a pixel in millimetres, X or X,Y, instead of what an instance says
    #[arg(long, value_name = "MM", value_parser = super::millimetres)]
    mm_per_pixel: Option<[f32; 2]>,
    /// Region of the scan in the picture, in pixels, instead of what an instance says
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = super::region)]
    region: Option<Region>,
    /// Threads that share the work on one image; results do not depend on it
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Writes a segmentation and a report about one file after another, as `segment --format dicom-seg,dicom-sr` does.
pub(in super::super) struct ObjectWriter {
    arguments: Arguments,
    model: Model,
    prompts: Vec<Prompt>,
    session: Session,
    interrupts: Interrupts,
}

impl ObjectWriter {
    /// # Errors
    /// The model cannot be opened or run, or a prompt is too long.
    pub(in super::super) fn new(options: ObjectOptions, interrupts: Interrupts) -> Result<Self, Failure> {
        let ObjectOptions { prompts, source, threshold, mm_per_pixel, region, threads, device } = options;
        let arguments = Arguments {
            inputs: Vec::new(),
            recursive: false,
            prompts,
            source,
            output: PathBuf::new(),
            format: Vec::new(),
            overwrite: false,
            summary: SummaryFormat::Table,
            threshold,
            prob_bits: "8".into(),
            confounders: false,
            mm_per_pixel,
            region,
            raw: None,
            deidentify: false,
            threads,
            device,
        };
        let options = arguments.device.options(ModelOptions::default().with_threads(usize::from(threads)))?;
        let model = Model::from_file(arguments.source.open()?, options)?;
        let prompts = arguments.prompts.iter().map(|text| model.prompt(text)).collect::<Result<_, _>>()?;
        let session = Session::new(&model, SessionOptions::default().with_threshold(threshold))?;
        Ok(Self { arguments, model, prompts, session, interrupts })
    }

    /// The name of the model.
    pub(in super::super) fn model(&self) -> &str {
        &self.model.description().name
    }

    /// Segments a file, and writes SEG and SR into the folder `out`. Where the size of a pixel is unknown there is no SR,
    /// which measures in millimetres. `None` if interrupted.
    pub(in super::super) fn write(&mut self, path: &Path, out: &Path) -> Result<Option<Vec<PathBuf>>, Failure> {
        let names = OutputNames::new(out, path, self.prompts.len())?;
        let mut written = vec![names.dicom_segmentation()];
        self.arguments.format = vec![Format::DicomSeg];
        if self.arguments.mm_per_pixel.is_some() || has_millimetres(path)? {
            self.arguments.format.push(Format::DicomSr);
            written.push(names.dicom_report());
        } else {
            log::warn!("{}: the size of its pixels is unknown, so it gets no SR; give --mm-per-pixel", path.display());
        }
        let mut run = Run {
            arguments: &self.arguments,
            model: &self.model,
            prompts: self.prompts.clone(),
            deidentification: None,
        };
        let done = run.segment(&mut self.session, path, &names, &self.interrupts)?;
        Ok(done.map(|_| written))
    }
}

/// Whether a file states the size of its pixels.
fn has_millimetres(path: &Path) -> Result<bool, Failure> {
    let mut buffer = FrameBuffer::default();
    let read = Source::open(path)?.read_frame(&mut buffer)?;
    Ok(read && buffer.frame()?.mm_per_pixel().is_some())
}
