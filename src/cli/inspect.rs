//! `causalclipseg inspect`: shows what a bundle contains, or what was understood of an image file.

#[cfg(feature = "gpu")]
mod gpu_steps;
mod image_file;

use super::{Failure, model_source, say};
use causalclipseg::ModelFile;
use causalclipseg::bundle::RELIABILITY_KEY;
use causalclipseg::bundle::{Bundle, Precision};
use causalclipseg::frame::INPUTS_KEY;
use causalclipseg::graph::{Graph, NodeId};
use causalclipseg::prompt::WORDS_KEY;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// The number of tokens for which the text encoder's cost is given.
const TYPICAL_TOKENS: usize = 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Bundle, exported model.onnx, or image file to look into [default: the model inside this command]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// List every step of the network, with its cost
    #[arg(long)]
    layers: bool,
    /// List every step on a GPU: its work, counted without one, and the least time that a Jetson Orin needs for it
    #[cfg(feature = "gpu")]
    #[arg(long)]
    gpu_steps: bool,
    /// Output format
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(path) = arguments.file.as_deref().filter(|path| image_file::is_one(path)) {
        return image_file::show(path, arguments.format == Format::Json);
    }
    let file = model_source::open(arguments.file.as_deref())?;
    let bundle = file.bundle();
    if arguments.format == Format::Json {
        let layers = bundle.filter(|_| arguments.layers).map(|bundle| {
            let graph = bundle.graph();
            graph.ids().map(|id| layer_json(graph, id)).collect::<Vec<_>>()
        });
        let manifest = bundle.map_or_else(|| json!({ "model": file.description() }), |bundle| json!(bundle.manifest()));
        let everything = json!({
            "sha256": file.sha256().to_string(),
            "bytes": file.file_bytes(),
            "manifest": manifest,
            "layers": layers,
            "adapters": adapters(),
            "gpu_bytes": bundle.map(gpu_bytes),
            "gpu_steps": gpu_steps(arguments, bundle)?,
        });
        return say(serde_json::to_string_pretty(&everything)?);
    }
    say(summary(&file))?;
    say_adapters()?;
    match bundle {
        Some(bundle) if arguments.layers => say(layers(bundle.graph()))?,
        None if arguments.layers => say("no steps are known: plain tract runs this file as it is")?,
        _ => {}
    }
    #[cfg(feature = "gpu")]
    match bundle {
        Some(bundle) if arguments.gpu_steps => gpu_steps::show(bundle)?,
        None if arguments.gpu_steps => say("no GPU runs this file: plain tract does, as it is")?,
        _ => {}
    }
    Ok(())
}

/// The steps on a GPU, if they are asked for; `null` otherwise.
fn gpu_steps(arguments: &Arguments, bundle: Option<&Arc<Bundle>>) -> Result<serde_json::Value, Failure> {
    #[cfg(feature = "gpu")]
    if let Some(bundle) = bundle.filter(|_| arguments.gpu_steps) {
        return gpu_steps::json(bundle);
    }
    let _ = (arguments, bundle);
    Ok(serde_json::Value::Null)
}

fn summary(file: &ModelFile) -> Table {
    let model = file.description();
    let manifest = file.bundle().map(|bundle| bundle.manifest());
    let precision = match manifest.map(|manifest| manifest.precision) {
        Some(Precision::F32) => "f32",
        Some(Precision::F16) => "f16, computed in f32",
        Some(Precision::Int8) => "int8",
        None => "as the file has them, on plain tract",
    };
    let parameters = manifest.map_or("unknown".into(), |all| format!("{:.2} million", all.parameters as f64 / 1e6));
    let cost = manifest.map_or("unknown".into(), |_| format!("{:.2} GMAC an image, prompt cached", model.gmac));
    let signed_by = manifest.and_then(|manifest| manifest.signed_by.clone());
    let mut table = super::table();
    let rows = [
        ("model", model.name.clone()),
        ("edition", model.edition.clone()),
        ("trained", if model.trained { "yes" } else { "no: its masks mean nothing" }.to_string()),
        ("input", format!("{0} x {0} pixels, {1:?}", model.input_size, model.fit)),
        ("threshold", model.threshold.to_string()),
        ("parameters", parameters),
        ("weights", precision.to_string()),
        ("cost", cost),
        ("file", format!("{:.1} MB", file.file_bytes() as f64 / 1e6)),
        ("sha256", file.sha256().to_string()),
        ("signed by", signed_by.unwrap_or_else(|| "nobody".into())),
    ];
    for (key, value) in rows {
        table.add_row([key.to_string(), value]);
    }
    #[cfg(feature = "gpu")]
    if let Some(bundle) = file.bundle() {
        table.add_row(["on a GPU".to_string(), gpu_memory(bundle)]);
    }
    for (key, value) in model.provenance.texts() {
        let value = match key.as_str() {
            WORDS_KEY => format!("{} of training prompts", value.split_whitespace().count()),
            INPUTS_KEY => "how the training images look".to_string(),
            RELIABILITY_KEY => match model.provenance.reliability() {
                Some(found) => format!(
                    "measured on {} images; a lesion counts as present from a probability of {:.3} on",
                    found.images(),
                    found.presence_threshold()
                ),
                None => value.clone(),
            },
            _ => value.clone(),
        };
        table.add_row([key.clone(), value]);
    }
    table
}

/// The GPUs that `--device gpu:N` counts; `null` where this build has no GPU engine.
fn adapters() -> serde_json::Value {
    #[cfg(feature = "gpu")]
    return json!(causalclipseg::engine::adapters());
    #[cfg(not(feature = "gpu"))]
    serde_json::Value::Null
}

#[cfg(feature = "gpu")]
fn gpu_memory(bundle: &Arc<Bundle>) -> String {
    use causalclipseg::engine::GpuMemory;
    let megabytes = |f16| GpuMemory::of(bundle.graph(), bundle, f16).map(|of| (of.weights + of.maps) as f64 / 1e6);
    match (megabytes(false), megabytes(true)) {
        (Ok(f32), Ok(f16)) => format!("{f32:.1} MB of memory in f32, {f16:.1} MB in f16"),
        (Err(error), _) | (_, Err(error)) => error.to_string(),
    }
}

/// GPU memory that the model needs, by number format; `null` where no GPU can run it.
fn gpu_bytes(bundle: &Arc<Bundle>) -> serde_json::Value {
    #[cfg(feature = "gpu")]
    {
        use causalclipseg::engine::GpuMemory;
        let memory = |f16| GpuMemory::of(bundle.graph(), bundle, f16).ok();
        json!({ "f32": memory(false), "f16": memory(true) })
    }
    #[cfg(not(feature = "gpu"))]
    {
        let _ = bundle;
        serde_json::Value::Null
    }
}

#[cfg(not(feature = "gpu"))]
fn say_adapters() -> Result<(), Failure> {
    Ok(())
}

#[cfg(feature = "gpu")]
fn say_adapters() -> Result<(), Failure> {
    let adapters = causalclipseg::engine::adapters();
    if adapters.is_empty() {
        return say("no GPU adapter: --device gpu would run on the CPU");
    }
    let mut table = super::table();
    table.set_header([
        "--device",
        "adapter",
        "kind",
        "backend",
        "driver",
        "f16",
        "matrix units",
        "own clock",
        "largest tensor",
    ]);
    let yes = |flag: bool| if flag { "yes" } else { "no" }.to_string();
    for adapter in adapters {
        table.add_row([
            format!("gpu:{}", adapter.index),
            adapter.name,
            adapter.kind.to_string(),
            adapter.backend,
            adapter.driver,
            yes(adapter.f16),
            yes(adapter.matrix_units),
            yes(adapter.timestamps),
            format!("{:.0} MB", adapter.most_bytes as f64 / 1e6),
        ]);
    }
    say(table)
}

fn layers(graph: &Graph) -> Table {
    let mut table = super::table();
    table.set_header(["step", "operator", "yields", "MMAC"]);
    for id in graph.ids() {
        let node = graph.node(id);
        let cost = graph.multiply_accumulates(id, TYPICAL_TOKENS) as f64 / 1e6;
        let cost = if cost > 0.0 { format!("{cost:.2}") } else { String::new() };
        table.add_row([node.name.clone(), node.op.label().to_string(), node.shape.to_string(), cost]);
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn layer_json(graph: &Graph, id: NodeId) -> serde_json::Value {
    let node = graph.node(id);
    json!({
        "name": node.name,
        "operator": node.op.label(),
        "shape": node.shape,
        "multiply_accumulates": graph.multiply_accumulates(id, TYPICAL_TOKENS),
    })
}
