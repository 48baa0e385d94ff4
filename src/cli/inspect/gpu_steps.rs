//! `inspect --gpu-steps`: the work of each step on a GPU, counted without one.

use super::super::{Failure, say, table};
use causalclipseg::bundle::Bundle;
use causalclipseg::engine::{GpuRates, GpuStep};
use comfy_table::CellAlignment;
use serde_json::{Value, json};
use std::sync::Arc;

fn steps(bundle: &Arc<Bundle>, f16: bool) -> Result<Vec<GpuStep>, Failure> {
    Ok(GpuStep::all(bundle.graph(), bundle, f16)?)
}

/// The steps with maps in f16, and sums of both formats.
pub(super) fn show(bundle: &Arc<Bundle>) -> Result<(), Failure> {
    let mut listed = table();
    listed.set_header(["step", "operator", "MMAC", "kB", "kB uncached", "dispatches", "workgroups", "us at least"]);
    let cells = |name: &str, kind: &str, step: &GpuStep, seconds: f64| {
        [
            name.to_string(),
            kind.to_string(),
            if step.macs > 0 { format!("{:.2}", step.macs as f64 / 1e6) } else { String::new() },
            format!("{:.0}", step.bytes as f64 / 1e3),
            format!("{:.0}", step.uncached_bytes as f64 / 1e3),
            step.dispatches.to_string(),
            step.workgroups.to_string(),
            format!("{:.1}", 1e6 * seconds),
        ]
    };
    let rates = GpuRates::JETSON_ORIN;
    let half = steps(bundle, true)?;
    for step in &half {
        listed.add_row(cells(&step.name, step.kind, step, step.least_seconds(rates)));
    }
    for (format, steps) in [("f16", &half), ("f32", &steps(bundle, false)?)] {
        let (sum, seconds) = sum(steps, rates);
        listed.add_row(cells(&format!("all, maps in {format}"), "", &sum, seconds));
    }
    listed.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    say(listed)?;
    say(format!(
        "us at least: predicted for a Jetson Orin ({:.0} GB/s, {:.1} TFLOP/s in f32), where each step takes as long as its \
         arithmetic or its memory, whichever takes longer; not measured, and without the time between steps",
        rates.gigabytes_per_s,
        2e-3 * rates.gmac_per_s
    ))
}

fn sum(steps: &[GpuStep], rates: GpuRates) -> (GpuStep, f64) {
    let of = |figure: fn(&GpuStep) -> u64| steps.iter().map(figure).sum();
    let all = GpuStep {
        name: String::new(),
        kind: "",
        macs: of(|step| step.macs),
        bytes: of(|step| step.bytes),
        uncached_bytes: of(|step| step.uncached_bytes),
        dispatches: steps.iter().map(|step| step.dispatches).sum(),
        workgroups: of(|step| step.workgroups),
    };
    (all, steps.iter().map(|step| step.least_seconds(rates)).sum())
}

pub(super) fn json(bundle: &Arc<Bundle>) -> Result<Value, Failure> {
    let rates = GpuRates::JETSON_ORIN;
    let of = |f16| -> Result<Value, Failure> {
        let steps = steps(bundle, f16)?;
        let seconds = steps.iter().map(|step| step.least_seconds(rates)).sum::<f64>();
        Ok(json!({ "steps": steps, "predicted_orin_ms_at_least": 1e3 * seconds }))
    };
    Ok(json!({ "f16": of(true)?, "f32": of(false)?, "orin": rates }))
}
