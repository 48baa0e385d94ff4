//! `causalclipseg bench`: how long a frame takes on this machine, and how far that figure can be trusted.
//!
//! ```text
//! arguments -> plan -> configurations x rounds --job--> worker process: open, first frame, warm up, pace, check
//!                                      rows <--outcome--
//! rows -> baseline -> report, plot, trace -> exit code
//! ```

mod allocations;
mod arguments;
mod baseline;
mod check;
mod clock;
mod configuration;
mod gpu;
mod job;
mod layers;
mod model_workload;
mod pace;
mod plot;
mod process;
mod report;
mod row;
mod samples;
mod sessions;
mod statistics;
mod warm_up;
mod worker;
mod workload;

pub(crate) use allocations::CountingAllocator;
pub(super) use arguments::Arguments;
pub(super) use process::WORKER_COMMAND;
pub(super) use worker::run as run_worker;

use super::Failure;
use super::device::refuse_without_engine;
use super::model_source::{ModelName, generated};
use arguments::{BenchPlan, Cores};
use baseline::Baseline;
use causalclipseg::engine::EngineError;
use causalclipseg::io::replace_file;
use causalclipseg::kernels::{IsaError, Kernels};
use causalclipseg::machine::{Machine, allowed_cores};
use clock::{Clock, SystemClock};
use configuration::{ComputeDevice, Configuration, EngineName, plural};
use indicatif::ProgressBar;
use job::{CheckJob, Job, Outcome};
use pace::Pace;
use process::Running;
use row::{Context, Counts, Row};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

/// The exit code when a figure is above its limit.
const OVER_BUDGET: u8 = 3;

pub(super) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let plan = BenchPlan::from(arguments);
    let configurations = plan.axes.configurations();
    refuse_early(&plan)?;
    let baseline = plan.baseline.as_deref().map(|path| Baseline::read(path, &plan.across)).transpose()?;
    let mut bench = Bench::prepare(plan, configurations)?;
    // What the measured rows would tell as well, but after minutes.
    baseline.iter().try_for_each(|baseline| baseline.refuse_elsewhere(&bench.context))?;
    let running = Running::default();
    running.stop_on_interrupt()?;
    let failures = bench.measure(&running)?;
    let mut rows = bench.rows();
    if rows.is_empty() {
        return Err(failures
            .into_iter()
            .next()
            .unwrap_or_else(|| "interrupted before anything was measured".into())
            .into());
    }
    failures.iter().for_each(|failure| eprintln!("error: {failure}"));
    let plan = &bench.plan;
    if let Some(baseline) = &baseline {
        baseline
            .compare(&mut rows, &bench.context, plan.max_regression_percent)?
            .iter()
            .for_each(|warning| warn(warning));
    }
    report::print(&rows, plan.format)?;
    if let Some(path) = &plan.plot {
        write(path, plot::svg(&rows).as_bytes())?;
    }
    if let Some(path) = &plan.trace {
        let measured = bench.outcomes.iter().filter_map(|rounds| rounds.last());
        let trace = layers::trace(rows.iter().map(Row::label).zip(measured));
        write(path, trace.to_string().as_bytes())?;
    }
    let is_interrupted = running.stop().is_requested();
    if is_interrupted {
        eprintln!("error: interrupted; the figures are of what was measured until then");
    }
    let is_over = over_limits(&rows, plan.budget_ms);
    is_over.iter().for_each(|line| eprintln!("error: {line}"));
    Ok(match (is_over.is_empty(), failures.is_empty() && !is_interrupted) {
        (false, _) => ExitCode::from(OVER_BUDGET),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    })
}

/// Refuses what would otherwise fail after minutes of measuring.
fn refuse_early(plan: &BenchPlan) -> Result<(), Failure> {
    plan.axes.devices.iter().try_for_each(|device| refuse_without_engine(*device))?;
    if let Some(isa) = plan.axes.isas.iter().copied().find(|isa| Kernels::new(*isa).is_none()) {
        return Err(IsaError::Missing { isa }.into());
    }
    let needs_reference = plan.check.is_some() || plan.axes.engines.contains(&EngineName::Reference);
    if cfg!(not(feature = "reference")) && needs_reference {
        return Err(EngineError::NoReference.into());
    }
    for path in [&plan.plot, &plan.trace].into_iter().flatten() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(
                format!("{} cannot be written: its folder does not exist; make it first", path.display()).into()
            );
        }
    }
    Ok(())
}

/// Which rows are above a limit, in a line each.
fn over_limits(rows: &[Row], budget_ms: Option<f64>) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let p99 = row.latency_ms.p99;
        if let Some(budget_ms) = budget_ms.filter(|budget| p99 > *budget) {
            lines.push(format!("p99 is {p99:.2} ms, over the budget of {budget_ms} ms: {}", row.label()));
        }
        if let Some(comparison) = row.baseline.as_ref().filter(|comparison| comparison.regressed == Some(true)) {
            let slower = (comparison.p50_ratio - 1.0) * 100.0;
            lines.push(format!("the median is {slower:.1} % slower than the baseline's: {}", row.label()));
        }
    }
    lines
}

/// Configurations, what each of their rounds yielded, and what they need.
struct Bench {
    plan: BenchPlan,
    configurations: Vec<Configuration>,
    outcomes: Vec<Vec<Outcome>>,
    context: Context,
    cores: Option<Vec<usize>>,
    pictures: Vec<PathBuf>,
    generated: Option<TempDir>,
    progress: ProgressBar,
}

impl Bench {
    fn prepare(plan: BenchPlan, configurations: Vec<Configuration>) -> Result<Self, Failure> {
        let machine = Machine::this();
        let allowed = allowed_cores();
        let available_cores = allowed
            .as_ref()
            .map(Vec::len)
            .or_else(|| std::thread::available_parallelism().ok().map(std::num::NonZeroUsize::get));
        let cores = match &plan.cores {
            Cores::Any => None,
            Cores::These(cores) => Some(cores.clone()),
            Cores::Big => {
                let big = allowed.as_deref().and_then(|allowed| machine.big_cores(allowed));
                if big.is_none() {
                    warn("the system does not tell which cores are fast; threads run where the system puts them");
                }
                big
            }
        };
        let room = cores.as_ref().map(Vec::len).or(available_cores);
        let most_threads = configurations.iter().map(|one| one.threads * one.sessions).max().unwrap_or(1);
        if let Some(room) = room.filter(|room| most_threads > *room) {
            let cores = plural(room, "core");
            warn(&format!("{most_threads} threads share {room} {cores}: expect them to be slower than {room}"));
        }
        let cpu_quota_cores = machine.cpu_quota_cores();
        if let Some(quota) = cpu_quota_cores.filter(|quota| most_threads as f64 > *quota) {
            let threads = plural(most_threads, "thread");
            warn(&format!(
                "a control group allows {quota:.2} cores to {most_threads} {threads}: latencies include the time that they are held"
            ));
        }
        let pictures = plan.check.as_deref().map(check::pictures).transpose()?.unwrap_or_default();
        let context = Context {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("CAUSALCLIPSEG_COMMIT").filter(|commit| !commit.is_empty()),
            cpu: machine.cpu_model(),
            board: machine.board(),
            available_cores,
            cpu_quota_cores,
            memory_limit_bytes: machine.memory_limit_bytes(),
            frame: plan.frame,
            rate_hz: plan.rounds.first().and_then(|pace| pace.rate_hz),
            deadline_ms: plan.deadline_ms,
        };
        let outcomes = configurations.iter().map(|_| Vec::new()).collect();
        let progress = super::spinner();
        Ok(Self { plan, configurations, outcomes, context, cores, pictures, generated: None, progress })
    }

    /// Runs every round of every configuration: all first rounds, then all second ones, so that a machine that grows
    /// hot or busy in the meantime affects all configurations alike. One that fails is left out from then on.
    fn measure(&mut self, running: &Running) -> Result<Vec<String>, Failure> {
        let mut failures = Vec::new();
        let mut failed = BTreeSet::new();
        let mut warnings = BTreeSet::new();
        let rounds = self.plan.rounds.clone();
        for (round, pace) in rounds.iter().enumerate() {
            for index in 0..self.configurations.len() {
                let Some(configuration) = self.configurations.get(index).cloned() else { continue };
                if failed.contains(&index) || running.stop().is_requested() {
                    continue;
                }
                self.progress.set_message(format!("round {} of {}: {configuration}", round + 1, rounds.len()));
                let clock = SystemClock::new();
                clock.wait_until(Duration::from_secs_f64(self.plan.cooldown_seconds), running.stop());
                let is_last = round + 1 == rounds.len();
                let measured = self.job(&configuration, *pace, is_last).and_then(|job| running.measure(&job));
                match measured {
                    Ok(outcome) => {
                        warnings.extend(outcome.warnings.iter().cloned());
                        if let Some(outcomes) = self.outcomes.get_mut(index) {
                            outcomes.push(outcome);
                        }
                    }
                    // Stopped before there was a frame.
                    Err(_) if running.stop().is_requested() => {}
                    Err(failure) => {
                        failed.insert(index);
                        failures.push(format!("{configuration}: {}", super::one_line(failure.as_ref())));
                    }
                }
            }
        }
        self.progress.finish_and_clear();
        warnings.iter().for_each(|warning| warn(warning));
        Ok(failures)
    }

    fn job(&mut self, configuration: &Configuration, pace: Pace, is_last_round: bool) -> Result<Job, Failure> {
        let plan = &self.plan;
        let check = (is_last_round && !self.pictures.is_empty())
            .then(|| CheckJob { images: self.pictures.clone(), against: plan.check_against.clone() });
        Ok(Job {
            threads: configuration.threads,
            sessions: configuration.sessions,
            prompts: configuration.prompts,
            device: configuration.device.to_string(),
            gpu_precision: plan.gpu_precision,
            gpu_cache: plan.gpu_cache.clone(),
            engine: configuration.engine,
            isa: configuration.isa.map(|isa| isa.name().to_string()),
            frame: plan.frame,
            warm_up: plan.warm_up,
            pace,
            deadline_ms: plan.deadline_ms,
            cores: self.cores.clone(),
            layers: is_last_round && (plan.layers || plan.trace.is_some()),
            check,
            bundle: self.bundle(configuration)?,
        })
    }

    /// The bundle's file; a generated one is written first, so that generating it is not measured.
    fn bundle(&mut self, configuration: &Configuration) -> Result<Option<PathBuf>, Failure> {
        let size = configuration.size;
        match &configuration.model {
            ModelName::Embedded => {
                if size.is_some() {
                    configuration.model.open(size)?;
                }
                Ok(None)
            }
            ModelName::File(path) => {
                // The measuring process opens it too, but only this process knows which sizes are wrong.
                if size.is_some() {
                    configuration.model.open(size)?;
                }
                Ok(Some(path.clone()))
            }
            ModelName::Generated(edition, precision) => {
                let folder = match self.generated.take() {
                    Some(folder) => folder,
                    None => tempfile::tempdir().map_err(|error| format!("cannot keep a generated model: {error}"))?,
                };
                let size_name = size.map_or("published".into(), |size| size.to_string());
                let path = folder.path().join(format!("{edition}-{}-{size_name}.ccs", report::precision(*precision)));
                self.generated = Some(folder);
                if !path.exists() {
                    let bytes = generated(*edition, *precision, size)?.into_bytes();
                    write(&path, &bytes)?;
                }
                Ok(Some(path))
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        let measured = self.configurations.iter().zip(&self.outcomes);
        let rows = measured.filter_map(|(configuration, outcomes)| {
            let counts = Counts::of(configuration);
            let ran_on_gpu = outcomes.iter().all(|outcome| outcome.gpu.is_some());
            let device = if ran_on_gpu { ComputeDevice::Gpu } else { ComputeDevice::Cpu };
            let mut row = Row::of(counts, device, outcomes, &self.context)?;
            if !self.plan.layers {
                row.layers = None;
            }
            Some(row)
        });
        rows.collect()
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    Ok(replace_file(path, |file| file.write_all(bytes))?)
}

fn warn(text: &str) {
    eprintln!("warning: {text}");
}
