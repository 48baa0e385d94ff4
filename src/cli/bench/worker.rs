//! The measuring process: fresh for every configuration and round, so that opening is cold, the memory peak is this
//! configuration's own, and threads, caches and crashes of one configuration cannot affect another.

use super::super::{Failure, model_source};
use super::clock::{Clock, Stop, SystemClock};
use super::configuration::EngineName;
use super::gpu::GpuFacts;
use super::job::{Condition, Energy, Job, ModelFacts, Outcome};
use super::model_workload::ModelWorkload;
use super::pace::{self, Length, Pace};
use super::workload::{FrameRecord, Stages, Workload};
use super::{allocations, check, layers, sessions, statistics, warm_up};
use causalclipseg::bundle::Precision;
use causalclipseg::engine::{EngineChoice, EngineOptions, ThreadRole, ThreadStart};
use causalclipseg::kernels::peak::Arithmetic;
use causalclipseg::kernels::{Isa, Kernels};
use causalclipseg::machine::{Machine, allowed_cores, restrict_to};
use causalclipseg::{Model, ModelOptions};
use std::io::{Read, Write};
use std::time::Duration;

/// The most prompts that are encoded to find out what one costs.
const MOST_ENCODINGS: u32 = 20;
const ENCODING_TIME: Duration = Duration::from_secs(1);
const LOOK_UPS: u32 = 20;
/// How long the peak is measured, before and after the measured frames.
const PEAK_TIME: Duration = Duration::from_millis(30);

/// Reads a job from stdin, measures, and writes the outcome to stdout. When stdin ends, the measurement ends too: the
/// parent asks to stop, or has ended.
pub(in super::super) fn run() -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let mut text = Vec::new();
    input.by_ref().take(u64::from_le_bytes(length)).read_to_end(&mut text)?;
    drop(input);
    let job: Job = serde_json::from_slice(&text)?;
    let stop = Stop::default();
    let heard = stop.clone();
    std::thread::spawn(move || {
        // Data, an error or the end of input: each means stop.
        let _ = std::io::stdin().read(&mut [0]);
        heard.request();
    });
    let outcome = measure(&job, &SystemClock::new(), &stop);
    let report: Result<Outcome, String> = outcome.map_err(|failure| super::super::one_line(failure.as_ref()));
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, &report)?;
    Ok(output.flush()?)
}

fn measure(job: &Job, clock: &(impl Clock + Sync), stop: &Stop) -> Result<Outcome, Failure> {
    let machine = Machine::this();
    let mut warnings = Vec::new();
    let cores = job.cores.as_ref().and_then(|cores| match restrict_to(cores) {
        Ok(()) => Some(cores.clone()),
        Err(error) => {
            warnings.push(format!("{error}; threads run where the system puts them"));
            None
        }
    });
    let watched = cores.clone().or_else(allowed_cores).unwrap_or_default();
    let condition = || Condition {
        governor: machine.governor(&watched),
        frequency_mhz: machine.frequency_mhz(&watched),
        temperature_c: machine.temperature_c(),
    };
    allocations::start_counting();

    let begun = clock.now();
    let file = model_source::open(job.bundle.as_deref())?;
    // Each thread on a core of its own, where they were named and suffice.
    let own_cores = cores.clone().filter(|cores| job.sessions == 1 && cores.len() >= job.threads);
    let model = Model::from_file(file.clone(), options(job, own_cores.clone())?)?;
    own_cores.iter().for_each(|cores| bind(cores[0]));
    let open = clock.now() - begun;
    let described = file.description();
    let facts = ModelFacts {
        name: described.name.clone(),
        edition: described.edition.clone(),
        size: described.input_size,
        // A file that plain tract runs unchanged is computed in f32.
        precision: file.bundle().map_or(Precision::F32, |bundle| bundle.manifest().precision),
        trained: described.trained,
        sha256: model.sha256().to_string(),
    };
    let gmac = match file.bundle() {
        Some(bundle) => bundle.graph().frame_gmac(job.prompts)?,
        None => {
            warnings.push("plain tract runs this file as it is: its multiplications are unknown".into());
            0.0
        }
    };

    let mut workload = ModelWorkload::new(&model, job.frame, job.prompts)?;
    let begun = clock.now();
    workload.run_frame()?;
    let first_frame = clock.now() - begun;
    let prompt_cached_ms = ms_of_look_up(&mut workload, clock)?;
    let prompt_encode_ms = ms_of_encoding(&mut workload, clock)?;
    let warm_up = warm_up::run(&mut workload, clock, job.warm_up, stop)?;
    let harness_us = harness_us(clock)?;
    let peak_before = peak_gmac_per_s(&model, facts.precision, job.threads * job.sessions, own_cores.as_deref());
    let before = condition();
    let deadline = job.deadline_ms.map(|ms| Duration::from_secs_f64(ms / 1e3));
    workload.gpu_times.clear();
    let mut workloads = vec![workload];
    for _ in 1..job.sessions {
        let mut more = ModelWorkload::new(&model, job.frame, job.prompts)?;
        more.run_frame()?;
        workloads.push(more);
    }
    let meter = machine.energy_meter().map(|meter| (meter.source(), meter.start()));
    let steady = sessions::run(&mut workloads, clock, job.pace, deadline, stop)?;
    let energy = meter.and_then(|(source, measuring)| {
        let joules = measuring.ok()?.joules()?;
        Some(Energy { joules, source: source.name().into() })
    });
    let gpu = workloads.first().and_then(|workload| GpuFacts::of(&model, &workload.gpu_times));
    let device_fallback = model.fallback().map(str::to_string);
    let after = condition();
    let peak_rss_bytes = machine.peak_resident_bytes();
    if steady.frames == 0 {
        return Err("it was interrupted before the first frame was measured".into());
    }
    let peak_after = peak_gmac_per_s(&model, facts.precision, job.threads * job.sessions, own_cores.as_deref());
    let layers = match job.layers && !stop.is_requested() {
        true => Some(layers::measure(&model, job.frame)?),
        false => None,
    };
    let check = match &job.check {
        Some(check) if !stop.is_requested() => Some(check::run(check, &model, &file, job.prompts, stop)?),
        _ => None,
    };
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let cpu = model.engine().cpu();
    let (engine, isa) = match (&gpu, cpu) {
        (Some(gpu), _) => ("gpu", gpu.precision.clone()),
        (None, Some(cpu)) => ("cpu", cpu.kernels().isa().to_string()),
        (None, None) => ("reference", "tract's choice".into()),
    };
    Ok(Outcome {
        model: facts,
        engine: engine.into(),
        isa,
        gmac,
        open_ms: ms(open),
        first_frame_ms: ms(first_frame),
        prompt_encode_ms,
        prompt_cached_ms,
        warm_up,
        frames: steady.frames,
        stages_ms: steady.stages / (steady.frames as f64 / 1e3),
        elapsed_seconds: steady.elapsed.as_secs_f64(),
        deadline_misses: steady.deadline_misses,
        allocations: steady.allocations,
        latencies_ns: steady.latencies_ns,
        // The better of the two: other work on the machine must not make the model look better.
        peak_gmac_per_s: match &gpu {
            Some(gpu) => gpu.peak_gmac_per_s(),
            None => [peak_before, peak_after].into_iter().flatten().reduce(f64::max),
        },
        peak_rss_bytes,
        harness_us,
        energy,
        before,
        after,
        cores,
        gpu,
        device_fallback,
        layers,
        check,
        interrupted: steady.interrupted,
        warnings,
    })
}

/// Binds the calling thread to a core. The process may use it already, so that a failure is the system's whim and costs evenness only.
fn bind(core: usize) {
    if let Err(error) = restrict_to(&[core]) {
        log::warn!("{error}; a thread runs where the system puts it");
    }
}

/// The model's options; `own_cores` has a core for each thread, the caller's first.
fn options(job: &Job, own_cores: Option<Vec<usize>>) -> Result<ModelOptions, Failure> {
    let choice = match job.engine {
        EngineName::Auto => EngineChoice::Auto,
        EngineName::Reference => EngineChoice::Reference,
    };
    let engine = EngineOptions::default()
        .with_threads(job.threads)
        .with_choice(choice)
        .with_isa(job.isa.as_deref().map(str::parse).transpose()?)
        .with_device(job.device.parse()?)
        .with_gpu_precision(job.gpu_precision.into())
        .with_pipeline_cache(job.gpu_cache.clone())
        .with_on_thread_start(own_cores.map(|cores| {
            ThreadStart::new(move |role| {
                if let ThreadRole::Worker { index } = role {
                    bind(cores[index]);
                }
            })
        }));
    // Cache entries for all of the frame's prompts and for those that are encoded to be timed.
    Ok(ModelOptions::from(engine).with_cached_prompts(job.prompts + MOST_ENCODINGS as usize))
}

/// The peak rate of this many threads, working on registers alone with the instructions that the model's matrix
/// products use. `None` where it is unknown for an instruction set.
fn peak_gmac_per_s(model: &Model, precision: Precision, threads: usize, own_cores: Option<&[usize]>) -> Option<f64> {
    let (kernels, arithmetic) = match (model.engine().cpu(), precision) {
        (Some(engine), Precision::Int8) => (engine.kernels(), Arithmetic::Int8),
        (Some(engine), _) => (engine.kernels(), Arithmetic::F32),
        // tract computes in f32, with the best instruction set that the CPU has.
        (None, _) => (Kernels::detect().ok()?, Arithmetic::F32),
    };
    // There the loop falls back to plain Rust, which does not reach a peak.
    if kernels.isa() == Isa::Generic {
        return None;
    }
    let rates = std::thread::scope(|scope| {
        let measuring: Vec<_> = (0..threads)
            .map(|index| {
                scope.spawn(move || {
                    own_cores.iter().for_each(|cores| bind(cores[index]));
                    kernels.peak_gmacs(arithmetic, PEAK_TIME)
                })
            })
            .collect();
        measuring.into_iter().map(|thread| thread.join().ok()).collect::<Option<Vec<f64>>>()
    });
    Some(rates?.iter().sum())
}

/// The median time to encode a new sentence.
fn ms_of_encoding(workload: &mut impl Workload, clock: &impl Clock) -> Result<f64, Failure> {
    let begun = clock.now();
    let mut times = Vec::new();
    while times.len() < MOST_ENCODINGS as usize && (times.len() < 3 || clock.now() - begun < ENCODING_TIME) {
        let start = clock.now();
        workload.encode_new_prompt()?;
        times.push((clock.now() - start).as_secs_f64() * 1e3);
    }
    Ok(statistics::median(&times))
}

/// The median time to find an encoded sentence by its text.
fn ms_of_look_up(workload: &mut impl Workload, clock: &impl Clock) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..LOOK_UPS {
        let start = clock.now();
        workload.look_up_prompt()?;
        times.push((clock.now() - start).as_secs_f64() * 1e3);
    }
    Ok(statistics::median(&times))
}

/// The cost of the loop around a frame, in microseconds: it is part of every latency.
fn harness_us(clock: &impl Clock) -> Result<f64, Failure> {
    struct Nothing;
    impl Workload for Nothing {
        fn run_frame(&mut self) -> Result<FrameRecord, Failure> {
            let allocations = Some(allocations::counted());
            Ok(FrameRecord { stages: Stages::default(), allocations })
        }
        fn encode_new_prompt(&mut self) -> Result<(), Failure> {
            Ok(())
        }
        fn look_up_prompt(&mut self) -> Result<(), Failure> {
            Ok(())
        }
    }
    const FRAMES: u64 = 1000;
    let pace = Pace { rate_hz: None, length: Length::Frames(FRAMES) };
    let steady = pace::run(&mut Nothing, clock, pace, Some(Duration::from_secs(1)), &Stop::default())?;
    Ok(steady.elapsed.as_secs_f64() * 1e6 / FRAMES as f64)
}

#[cfg(test)]
mod tests {
    use super::super::clock::manual::ManualClock;
    use super::super::workload::synthetic::{Synthetic, image};
    use super::*;

    #[test]
    fn prompt_costs_are_those_of_the_workload() {
        let clock = ManualClock::default();
        let mut workload = Synthetic::new(&clock, |_| image(1.0));
        assert!((ms_of_encoding(&mut workload, &clock).unwrap() - 7.0).abs() < 1e-9);
        assert!((ms_of_look_up(&mut workload, &clock).unwrap() - 0.03).abs() < 1e-9);
    }
}
