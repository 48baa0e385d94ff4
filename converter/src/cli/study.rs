//! `study`: trains and compares arms on data with a planted confounder.

use super::Failure;
use causalclipseg_convert::study::{Progress, Study, StudyConfig, summarise, write_report, write_results};
use causalclipseg_convert::train::Backend;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Train the arms of a study with all of its seeds, evaluate each, and report
///
/// The folder receives the data sets, each run with its log, its last checkpoint and its result, and results.json, report.md and
/// report.html with curves. The same command continues an interrupted study where it stopped.
#[derive(Clone, Debug, clap::Args)]
pub struct StudyCommand {
    /// The study (TOML), such as those in converter/studies
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// The device that computes
    #[arg(long, value_enum, default_value = "flex")]
    device: Backend,
    /// Train nothing; report on finished runs
    #[arg(long)]
    report_only: bool,
    /// The study's folder
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl StudyCommand {
    pub fn run(self) -> Result<(), Failure> {
        let config = StudyConfig::load(&self.config)?;
        let study = Study::open(config, &self.output)?;
        let mut is_done = true;
        if !self.report_only {
            // Backends panic if a device fails; training turns that into a one-line error.
            std::panic::set_hook(Box::new(|info| log::debug!("{info}")));
            let stop = Arc::new(AtomicBool::new(false));
            let raised = Arc::clone(&stop);
            ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))
                .map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
            is_done = study.run(&self.device.devices(1)?, &stop, &mut Printed)?;
        }
        if !is_done {
            super::say("stopped; the same command continues")?;
        }
        let results = study.results()?;
        if !is_done && results.iter().all(|result| result.arm != study.config.baseline) {
            return Ok(());
        }
        let summary = summarise(&study.config, &results)?;
        let json = write_results(&self.output, &summary)?;
        let page = write_report(&self.output, &study.config, &summary, &results)?;
        super::say(format!("{} runs: {}, {}", results.len(), json.display(), page.display()))
    }
}

struct Printed;

impl Progress for Printed {
    fn message(&mut self, text: &str) {
        // A closed output must not end a study.
        let _ = super::say(text);
    }
}
