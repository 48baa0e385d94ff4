//! The network's time by step: a table, and a trace for Chrome's tracing or Perfetto.

use super::super::Failure;
use super::job::Outcome;
use super::model_workload::{a_frame, sentences};
use super::statistics::median;
use super::workload::Stages;
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::{Model, Session, SessionOptions};
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The number of passes whose median is a step's time.
const PASSES: usize = 5;

/// One step of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LayerTime {
    pub name: String,
    pub kind: String,
    pub gmac: f64,
    /// Bytes of activations read and written.
    pub bytes: u64,
    /// The median of five passes. Timing each step costs a little itself, so the sum is above the image stage.
    pub ms: f64,
    /// Multiply-accumulates a second, in units of 1e9; zero for steps that multiply nothing.
    pub gmac_per_s: f64,
}

/// Times the steps of the network, after the run whose latencies are reported.
pub(super) fn measure(model: &Model, frame: [usize; 2]) -> Result<Vec<LayerTime>, Failure> {
    let [width, height] = frame;
    let pixels = a_frame(width, height);
    let frame = Frame::packed(&pixels, PixelFormat::Gray8, width, height)?;
    let mut session = Session::new(model, SessionOptions::default())?;
    let prompts = [model.prompt(&sentences(1)[0])?];
    let passes = (0..PASSES).map(|_| session.time_steps(&frame, &prompts)).collect::<Result<Vec<_>, _>>()?;
    let steps = passes.first().map_or(&[][..], Vec::as_slice).iter().enumerate();
    let layers = steps.map(|(index, step)| {
        let times: Vec<f64> =
            passes.iter().filter_map(|pass| pass.get(index)).map(|step| step.nanoseconds as f64 / 1e6).collect();
        let ms = median(&times);
        let gmac_per_s = if ms > 0.0 { step.gmac / ms * 1e3 } else { 0.0 };
        LayerTime {
            name: step.name.clone(),
            kind: step.kind.clone(),
            gmac: step.gmac,
            bytes: step.bytes,
            ms,
            gmac_per_s,
        }
    });
    Ok(layers.collect())
}

/// Steps in the order in which they run, with their sum.
pub(super) fn table(layers: &[LayerTime], peak_gmac_per_s: Option<f64>, mut table: Table) -> Table {
    let total: f64 = layers.iter().map(|layer| layer.ms).sum();
    let gmac: f64 = layers.iter().map(|layer| layer.gmac).sum();
    table.set_header(["step", "operator", "MMAC", "kB", "ms", "% of time", "GMAC/s", "% of peak"]);
    let cells = |name: &str, kind: &str, gmac: f64, bytes: u64, ms: f64| {
        let gmac_per_s = if gmac > 0.0 && ms > 0.0 { Some(gmac / ms * 1e3) } else { None };
        let blank = |text: Option<String>| text.unwrap_or_default();
        [
            name.to_string(),
            kind.to_string(),
            blank((gmac > 0.0).then(|| format!("{:.2}", gmac * 1e3))),
            format!("{:.0}", bytes as f64 / 1e3),
            format!("{ms:.3}"),
            format!("{:.1}", 100.0 * ms / total.max(f64::MIN_POSITIVE)),
            blank(gmac_per_s.map(|rate| format!("{rate:.1}"))),
            blank(gmac_per_s.zip(peak_gmac_per_s).map(|(rate, peak)| format!("{:.0}", 100.0 * rate / peak))),
        ]
    };
    for layer in layers {
        table.add_row(cells(&layer.name, &layer.kind, layer.gmac, layer.bytes, layer.ms));
    }
    table.add_row(cells("all", "", gmac, layers.iter().map(|layer| layer.bytes).sum(), total));
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// A trace of one frame for each configuration, in the format of Chrome's `about:tracing`: complete events (`X`), times in
/// microseconds, a process for each configuration with its stages and its steps as two threads.
pub(super) fn trace<'a>(outcomes: impl IntoIterator<Item = (String, &'a Outcome)>) -> Value {
    let mut events = Vec::new();
    for (process, (name, outcome)) in outcomes.into_iter().enumerate() {
        let metadata = |kind: &str, thread: usize, name: &str| json!({"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}});
        events.push(metadata("process_name", 0, &name));
        events.push(metadata("thread_name", 0, "stages"));
        events.push(metadata("thread_name", 1, "steps"));
        let mut event = |name: &str, kind: &str, thread: usize, start_ms: f64, ms: f64, arguments: Value| {
            events.push(json!({
                "ph": "X", "name": name, "cat": kind, "pid": process, "tid": thread,
                "ts": start_ms * 1e3, "dur": ms * 1e3, "args": arguments,
            }));
        };
        let mut start_ms = 0.0;
        let mut image_starts_ms = 0.0;
        for (stage, ms) in Stages::NAMES.into_iter().zip(outcome.stages_ms.values()) {
            if stage == "image" {
                image_starts_ms = start_ms;
            }
            event(stage, "stage", 0, start_ms, ms, json!({}));
            start_ms += ms;
        }
        let mut start_ms = image_starts_ms;
        for layer in outcome.layers.iter().flatten() {
            let arguments = json!({"gmac": layer.gmac, "bytes": layer.bytes, "gmac_per_s": layer.gmac_per_s});
            event(&layer.name, &layer.kind, 1, start_ms, layer.ms, arguments);
            start_ms += layer.ms;
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}
