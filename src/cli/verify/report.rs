//! The verification report: what `verify` found, on which machine, by which versions, and how long a frame takes there.

use crate::cli::Failure;
use causalclipseg::bundle::{FORMAT_VERSION, ModelDescription, Sha256};
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::io::replace_file;
use causalclipseg::machine::{Machine, allowed_cores};
use causalclipseg::{Model, ModelFile, ModelOptions, Session, SessionOptions};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Frames that are timed, after a few that are not.
const TIMED: usize = 50;
const WARM_UP: usize = 5;
/// The frame's sides, in pixels.
const FRAME: [usize; 2] = [640, 480];

/// The results of the checks; `None` for checks that did not run.
#[derive(Default, Serialize)]
pub(super) struct Report {
    model: Option<ModelNames>,
    pub integrity: Option<&'static str>,
    pub signature: Option<String>,
    pub self_test: Option<String>,
    latency_ms: Option<Latency>,
    /// The fast engine's instruction set.
    isa: Option<String>,
}

#[derive(Serialize)]
struct ModelNames {
    name: String,
    sha256: String,
    input_size: usize,
    trained: bool,
}

/// The latency of one thread, from pixels to a judged mask for one prompt.
#[derive(Serialize)]
struct Latency {
    frames: usize,
    width: usize,
    height: usize,
    threads: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

/// The file's form: keys are only added.
#[derive(Serialize)]
struct Document<'a> {
    result: &'static str,
    reason: Option<String>,
    written_at_unix_s: u64,
    causalclipseg: &'static str,
    commit: Option<&'static str>,
    bundle_format: u32,
    machine: MachineNames,
    #[serde(flatten)]
    report: &'a Report,
}

#[derive(Serialize)]
struct MachineNames {
    cpu: Option<String>,
    board: Option<String>,
    architecture: &'static str,
    system: &'static str,
    cores: Option<Vec<usize>>,
    governor: Option<String>,
}

impl Report {
    pub(super) fn model(&mut self, description: &ModelDescription, sha256: Sha256) {
        self.model = Some(ModelNames {
            name: description.name.clone(),
            sha256: sha256.to_string(),
            input_size: description.input_size,
            trained: description.trained,
        });
    }

    /// Runs frames through the model as a host would.
    pub(super) fn measure(&mut self, file: &ModelFile) -> Result<(), Failure> {
        let model = Model::from_file(file.clone(), ModelOptions::default())?;
        self.isa = model.engine().cpu().map(|cpu| cpu.kernels().isa().to_string());
        let prompts = [model.prompt("a mass")?];
        let mut session = Session::new(&model, SessionOptions::default())?;
        let [width, height] = FRAME;
        let mut pixels: Vec<u8> =
            (0..width * height).map(|at| (at % width * 200 / width + at / width % 40) as u8).collect();
        let mut ms = Vec::with_capacity(TIMED);
        for number in 0..WARM_UP + TIMED {
            // Not the frame before.
            pixels[0] = number as u8;
            let begun = Instant::now();
            session.run(&Frame::packed(&pixels, PixelFormat::Gray8, width, height)?, &prompts)?;
            if number >= WARM_UP {
                ms.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| ms[((ms.len() - 1) as f64 * share).round() as usize];
        self.latency_ms =
            Some(Latency { frames: TIMED, width, height, threads: 1, p50: at(0.5), p99: at(0.99), max: at(1.0) });
        Ok(())
    }

    /// Writes the report, or nothing where no file is named.
    pub(super) fn write(&self, path: Option<&Path>, failure: Option<&Failure>) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let (machine, cores) = (Machine::this(), allowed_cores());
        let document = Document {
            result: if failure.is_none() { "passed" } else { "failed" },
            reason: failure.map(|failure| failure.to_string().replace('\n', " ")),
            written_at_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            causalclipseg: env!("CARGO_PKG_VERSION"),
            commit: option_env!("CAUSALCLIPSEG_COMMIT").filter(|commit| !commit.is_empty()),
            bundle_format: FORMAT_VERSION,
            machine: MachineNames {
                cpu: machine.cpu_model(),
                board: machine.board(),
                architecture: std::env::consts::ARCH,
                system: std::env::consts::OS,
                governor: cores.as_deref().and_then(|cores| machine.governor(cores)),
                cores,
            },
            report: self,
        };
        let text = serde_json::to_string_pretty(&document)? + "\n";
        Ok(replace_file(path, |file| file.write_all(text.as_bytes()))?)
    }
}
