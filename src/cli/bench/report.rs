//! Prints rows: tables for people, Markdown for documents, CSV and JSON for programs.

use super::super::{Failure, say, table};
use super::layers;
use super::row::{BeforeAfter, Row};
use super::statistics::Interval;
use causalclipseg::bundle::Precision;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Tables for reading
    Table,
    /// The same tables, for a document
    Md,
    /// One line a row, nested keys joined by a dot, without samples
    Csv,
    /// All rows in a list
    Json,
    /// One row a line, each as soon as it is ready
    Jsonl,
}

/// The text of an unknown figure.
const UNKNOWN: &str = "unknown";

pub(super) fn print(rows: &[Row], format: Format) -> Result<(), Failure> {
    match format {
        Format::Table | Format::Md => say(for_people(rows, format)),
        Format::Csv => say(csv(rows)?.trim_end()),
        Format::Json => say(serde_json::to_string_pretty(rows)?),
        Format::Jsonl => rows.iter().try_for_each(|row| say(serde_json::to_string(row)?)),
    }
}

fn styled(format: Format) -> Table {
    let mut table = table();
    if format == Format::Md {
        table.load_style(presets::ASCII_MARKDOWN);
    }
    table
}

fn for_people(rows: &[Row], format: Format) -> String {
    let heading = |text: &str| if format == Format::Md { format!("\n**{text}**\n") } else { format!("\n{text}") };
    let mut parts = facts(rows);
    parts.push(heading("Latency of a frame, in ms"));
    parts.push(latencies(rows, styled(format)).to_string());
    parts.push(heading("Stages of a frame, in ms: means, and what comes before"));
    parts.push(stages(rows, styled(format)).to_string());
    parts.push(heading("Resources"));
    parts.push(resources(rows, styled(format)).to_string());
    if rows.iter().any(|row| row.gpu.is_some()) {
        parts.push(heading("On the GPU, in ms a frame"));
        parts.push(gpus(rows, styled(format)).to_string());
    }
    if rows.iter().any(|row| row.check.is_some()) {
        parts.push(heading("Masks against the reference engine in f32"));
        parts.push(agreement(rows, styled(format)).to_string());
    }
    for row in rows {
        if let Some(steps) = &row.layers {
            parts.push(heading(&format!("Steps of the network: {}", row.label())));
            parts.push(layers::table(steps, row.peak_gmac_per_s, styled(format)).to_string());
        }
    }
    parts.join("\n")
}

/// Facts that hold for all rows, one line each.
fn facts(rows: &[Row]) -> Vec<String> {
    let Some(row) = rows.first() else { return Vec::new() };
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| UNKNOWN.into());
    let board = row.board.as_ref().map(|board| format!(" on {board}")).unwrap_or_default();
    let cores = row.available_cores.map_or(UNKNOWN.into(), |cores| cores.to_string());
    let quota = row.cpu_quota_cores.map(|quota| format!(", {quota:.2} of them allowed")).unwrap_or_default();
    let memory = row.memory_limit_bytes.map(|bytes| format!(", {:.0} MB of memory allowed", bytes as f64 / 1e6));
    let memory = memory.unwrap_or_default();
    let affinity = row.affinity.as_ref().map(|cores| format!(", pinned to {cores}")).unwrap_or_default();
    let commit = row.commit.unwrap_or(UNKNOWN);
    let mode = match (row.rate_hz, row.deadline_ms) {
        (Some(rate), Some(deadline)) => format!("due at {rate} Hz, latency from when due, deadline {deadline:.1} ms"),
        (_, Some(deadline)) => format!("back to back, deadline {deadline:.1} ms"),
        _ => "back to back".to_string(),
    };
    let [width, height] = row.frame;
    let mut lines = vec![
        format!(
            "causalclipseg {} (commit {commit}) on {}{board}, {cores} cores{quota}{affinity}{memory}",
            row.version,
            known(&row.cpu)
        ),
        format!("governor {}, frames of {width} x {height} grey pixels, {mode}", known(&row.governor)),
    ];
    let mut models: Vec<String> = rows.iter().map(model_line).collect();
    models.dedup();
    lines.extend(models);
    if rows.iter().any(|row| row.warm_up.stable == Some(false)) {
        lines.push(
            "the machine did not become stable while warming up: close other programs, or mistrust the tail".into(),
        );
    }
    lines
}

fn model_line(row: &Row) -> String {
    let untrained = if row.trained { "" } else { ", UNTRAINED: its masks mean nothing" };
    let short: String = row.model_sha256.chars().take(12).collect();
    format!("model {} ({}, {}), sha256 {short}{untrained}", row.model, row.edition, precision(row.precision))
}

fn latencies(rows: &[Row], mut table: Table) -> Table {
    let has_baseline = rows.iter().any(|row| row.baseline.is_some());
    let has_misses = rows.iter().any(|row| row.deadline_misses.is_some());
    let mut header =
        vec!["configuration", "frames", "min", "p50", "± 95 %", "p90", "p95", "p99", "p99.9", "max", "mean", "fps"];
    header.extend(has_misses.then_some("missed"));
    header.extend(has_baseline.then_some("to baseline"));
    table.set_header(header);
    for row in rows {
        let l = row.latency_ms;
        let mut cells = vec![row.label(), row.runs.to_string()];
        cells.extend([l.min, l.p50].map(ms));
        cells.push(row.interval_ms.p50.map_or(UNKNOWN.into(), |interval| ms(interval.radius())));
        cells.extend([l.p90, l.p95, l.p99, l.p999, l.max, l.mean].map(ms));
        cells.push(format!("{:.1}", row.fps));
        if has_misses {
            cells.push(row.deadline_misses.map_or(UNKNOWN.into(), |misses| misses.to_string()));
        }
        if has_baseline {
            cells.push(row.baseline.as_ref().map_or(String::new(), |comparison| {
                let Interval { low, high } = comparison.interval;
                format!("{:.3} ({low:.3} to {high:.3})", comparison.p50_ratio)
            }));
        }
        table.add_row(cells);
    }
    right_aligned(table)
}

fn stages(rows: &[Row], mut table: Table) -> Table {
    table.set_header([
        "configuration",
        "preprocess",
        "image",
        "prompt",
        "head",
        "postprocess",
        "a new prompt",
        "a known prompt",
        "open",
        "first frame",
    ]);
    for row in rows {
        let mut cells = vec![row.label()];
        cells.extend(row.stages_ms.values().map(ms));
        cells.extend([row.prompt_encode_ms, row.prompt_cached_ms, row.open_ms, row.first_frame_ms].map(ms));
        table.add_row(cells);
    }
    right_aligned(table)
}

fn gpus(rows: &[Row], mut table: Table) -> Table {
    table.set_header([
        "configuration",
        "adapter",
        "precision",
        "upload",
        "compute",
        "measured by",
        "read back",
        "ready after",
        "shaders",
        "memory, MB",
    ]);
    for row in rows {
        let Some(gpu) = &row.gpu else { continue };
        table.add_row([
            row.label(),
            format!("{} ({}, {})", gpu.adapter, gpu.kind, gpu.backend),
            gpu.precision.clone(),
            ms(gpu.upload_ms),
            ms(gpu.compute_ms),
            if gpu.timestamps { "the device" } else { "waiting" }.to_string(),
            ms(gpu.read_back_ms),
            ms(gpu.ready_ms),
            gpu.shaders.to_string(),
            format!("{:.1}", gpu.bytes as f64 / 1e6),
        ]);
    }
    right_aligned(table)
}

fn resources(rows: &[Row], mut table: Table) -> Table {
    table.set_header([
        "configuration",
        "GMAC",
        "GMAC/s",
        "peak GMAC/s",
        "% of peak",
        "instructions",
        "peak memory, MB",
        "allocations",
        "mJ a frame",
        "MHz",
        "°C",
    ]);
    for row in rows {
        let figure = |value: Option<f64>, digits| value.map_or(UNKNOWN.into(), |value| format!("{value:.digits$}"));
        table.add_row([
            row.label(),
            format!("{:.2}", row.gmac),
            figure(row.gmac_per_s, 1),
            figure(row.peak_gmac_per_s, 1),
            figure(row.percent_of_peak, 0),
            row.isa.clone(),
            figure(row.peak_rss_bytes.map(|bytes| bytes as f64 / 1e6), 1),
            figure(row.allocations_per_frame, 1),
            figure(row.energy_j_per_frame.map(|joules| joules * 1e3), 1),
            change(row.frequency_mhz),
            change(row.temperature_c),
        ]);
    }
    right_aligned(table)
}

fn agreement(rows: &[Row], mut table: Table) -> Table {
    table.set_header(["configuration", "masks", "both empty", "Dice, mean", "Dice, least", "largest difference"]);
    for row in rows {
        let Some(check) = &row.check else { continue };
        table.add_row([
            row.label(),
            check.masks.to_string(),
            check.both_empty.to_string(),
            format!("{:.4}", check.dice_mean),
            format!("{:.4}", check.dice_min),
            format!("{:.1e}", check.probability_difference_max),
        ]);
    }
    right_aligned(table)
}

fn right_aligned(mut table: Table) -> Table {
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// Milliseconds with three significant digits.
fn ms(ms: f64) -> String {
    match ms {
        ms if ms >= 99.95 => format!("{ms:.0}"),
        ms if ms >= 9.995 => format!("{ms:.1}"),
        ms if ms >= 0.9995 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

fn change(figure: BeforeAfter) -> String {
    let one = |value: Option<f64>| value.map_or(UNKNOWN.to_string(), |value| format!("{value:.0}"));
    match (one(figure.before), one(figure.after)) {
        (before, after) if before == after => after,
        (before, after) => format!("{before} → {after}"),
    }
}

pub(super) fn precision(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::Int8 => "int8",
    }
}

/// Columns in the order of the JSON's keys; cells that a row lacks stay empty.
fn csv(rows: &[Row]) -> Result<String, Failure> {
    let mut columns: Vec<String> = Vec::new();
    let mut lines: Vec<BTreeMap<String, String>> = Vec::new();
    for row in rows {
        let mut cells = Vec::new();
        flatten("", &serde_json::to_value(row)?, &mut cells);
        for (column, _) in &cells {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        lines.push(cells.into_iter().collect());
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&columns)?;
    for line in &lines {
        writer.write_record(columns.iter().map(|column| line.get(column).map_or("", String::as_str)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Leaves out what one cell cannot hold: samples and layers.
fn flatten(prefix: &str, value: &Value, cells: &mut Vec<(String, String)>) {
    let cell = |text: String| (prefix.to_string(), text);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, cells);
            }
        }
        Value::Array(items) if items.iter().all(Value::is_number) && items.len() == 2 => {
            cells.push(cell(items.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")));
        }
        Value::Array(_) => {}
        Value::Null => cells.push(cell(String::new())),
        Value::String(text) => cells.push(cell(text.clone())),
        other => cells.push(cell(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::example::row;
    use super::*;

    #[test]
    fn people_see_every_figure_and_what_is_unknown() {
        let text = for_people(&[row(&[&[11.0, 12.0, 13.0], &[10.0, 11.0, 12.0]])], Format::Table);
        for part in ["a CPU", "commit unknown", "UNTRAINED", "governor unknown", "640 x 480", "2000 → 1900", "50.0"] {
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
        let markdown = for_people(&[row(&[&[11.0, 12.0]])], Format::Md);
        assert!(markdown.lines().filter(|line| line.starts_with('|')).count() >= 9, "{markdown}");
        assert!(markdown.contains("**Latency"), "{markdown}");
    }

    #[test]
    fn csv_is_one_line_a_row() {
        let text = csv(&[row(&[&[11.0, 12.0]]), row(&[&[21.0, 22.0]])]).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().unwrap().clone();
        let at = |name: &str| headers.iter().position(|header| header == name).unwrap();
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!((&records[0][at("model")], &records[0][at("commit")]), ("a,b", ""));
        assert_eq!(records[1][at("latency_ms.max")].parse::<f64>().unwrap(), 22.0);
        assert!(!headers.iter().any(|header| header.starts_with("samples")));
    }

    #[test]
    fn milliseconds_keep_three_digits() {
        assert_eq!([0.0123, 1.234, 12.34, 99.96, 123.4].map(ms), ["0.012", "1.23", "12.3", "100", "123"]);
    }
}
