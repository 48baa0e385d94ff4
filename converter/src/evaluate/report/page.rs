//! The report's page.

use super::chart::{Line, histogram, lines};
use super::markup::escape;
use super::overlays::Gallery;
use super::training_log::TrainingLog;
use crate::evaluate::{Evaluation, Group, InterventionScores, NSD_TOLERANCE_PX};
use std::collections::BTreeMap;
use std::fmt::Write;

pub const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { padding: 0.25rem 0.8rem; text-align: right; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
svg { width: 30rem; max-width: 100%; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.grid { stroke: #8884; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 23rem; }
figure img { width: 100%; }
figcaption { font-size: 13px; }
.warning { border-left: 4px solid #d55e00; padding-left: 0.8rem; }
";

pub fn html(evaluation: &Evaluation, galleries: &[Gallery], log: Option<&TrainingLog>) -> String {
    let name = escape(&evaluation.model);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}: evaluation</title>\n\
         <style>{STYLE}</style>\n<h1>{name}</h1>\n"
    );
    let _ = writeln!(
        page,
        "<p>{} images of {} patients, each at its own size; network input {size} x {size} pixels, threshold {}, {:.0} s. \
         Model <code>{}</code>. Research software, not a medical device.</p>",
        evaluation.images,
        evaluation.patients,
        evaluation.threshold,
        evaluation.seconds,
        evaluation.model_sha256,
        size = evaluation.input_size,
    );
    if !evaluation.trained {
        page.push_str("<p class=\"warning\">This model was never trained: its figures are at chance level.</p>\n");
    }
    page.push_str(&measures(evaluation));
    let dice: Vec<f64> = evaluation.per_image.iter().map(|image| image.scores.dice).collect();
    let _ = writeln!(page, "<h2>Dice of the images</h2>\n{}", histogram("Images by Dice", "Dice", &dice));
    page.push_str(&groups("By pathology", &evaluation.by_pathology));
    page.push_str(&groups("By device", &evaluation.by_device));
    page.push_str(&prompts(evaluation));
    page.push_str(&interventions(evaluation));
    for gallery in galleries {
        page.push_str(&figures(gallery));
    }
    page.push_str(&log.map(curves).unwrap_or_default());
    page
}

/// A table with a heading; the cells contain markup.
fn table(title: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String], tag: &str| -> String {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let header: Vec<String> = header.iter().map(|cell| cell.to_string()).collect();
    let rows: String = rows.iter().map(|row| line(row, "td")).collect();
    format!("<h2>{title}</h2>\n<table>\n{}{rows}</table>\n", line(&header, "th"))
}

fn measures(evaluation: &Evaluation) -> String {
    let intervals = evaluation.intervals;
    let row = |name: String, value: f64, [low, high]: [f64; 2], of_patients: f64, digits: usize| {
        let interval = intervals.map_or("-".into(), |_| format!("{low:.digits$} to {high:.digits$}"));
        vec![name, format!("{value:.digits$}"), interval, format!("{of_patients:.digits$}")]
    };
    let ends = |choose: fn(&crate::evaluate::Intervals) -> [f64; 2]| intervals.as_ref().map_or([0.0; 2], choose);
    let means = evaluation.means;
    let rows = [
        row("Dice".into(), means.dice, ends(|i| i.dice), evaluation.dice_by_patient, 4),
        row("IoU".into(), means.iou, ends(|i| i.iou), evaluation.iou_by_patient, 4),
        row(format!("NSD ({NSD_TOLERANCE_PX} px)"), means.nsd, ends(|i| i.nsd), evaluation.nsd_by_patient, 4),
        row("HD95 (px)".into(), means.hd95, ends(|i| i.hd95), evaluation.hd95_by_patient, 2),
    ];
    table("Measures", &["", "mean of images", "95 % interval", "mean of patients"], &rows)
}

fn groups(title: &str, groups: &BTreeMap<String, Group>) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let row = |(name, group): (&String, &Group)| {
        let [dice, iou, nsd, hd95] = group.means.to_array();
        let numbers = [format!("{dice:.4}"), format!("{iou:.4}"), format!("{nsd:.4}"), format!("{hd95:.2}")];
        [escape(name), group.images.to_string()].into_iter().chain(numbers).collect()
    };
    let rows: Vec<Vec<String>> = groups.iter().map(row).collect();
    table(title, &["", "images", "Dice", "IoU", "NSD", "HD95 (px)"], &rows)
}

fn prompts(evaluation: &Evaluation) -> String {
    let mut rows = Vec::new();
    let mut push = |what: &str, value: String, of: String| rows.push(vec![what.to_string(), value, of]);
    let images = format!("{} images", evaluation.images);
    if let Some(study) = &evaluation.prompts {
        push("Dice, true prompt", format!("{:.4}", study.own), images.clone());
        push("Dice, empty prompt", format!("{:.4}", study.empty), images.clone());
        push("Dice, words shuffled", format!("{:.4}", study.shuffled), images);
        let contradictory = study.contradictory.map_or("-".into(), |dice| format!("{dice:.4}"));
        push("Dice, contradictory prompt", contradictory, format!("{} images", study.contradictory_images));
    }
    if let Some(pairs) = &evaluation.pairs {
        let of = format!("{} prompts, {} composed pairs", pairs.prompts, pairs.pairs);
        push("Dice, named lesion of two", format!("{:.4}", pairs.named), of.clone());
        push("Dice, other lesion of two", format!("{:.4}", pairs.other), of);
    }
    if let Some(absent) = &evaluation.absent {
        for (kind, found) in [
            ("absent lesion or organ", Some(absent.all)),
            ("lesion at an empty place", absent.by_place),
            ("wrong pathology", absent.by_pathology),
            ("another organ", absent.by_organ),
            ("right pathology", absent.right_pathology),
        ] {
            if let Some(found) = found {
                let share = format!("{:.1} %", 100.0 * found.empty_fraction);
                push(&format!("Empty masks, {kind}"), share, format!("{} prompts", found.prompts));
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    table("Does the prompt matter?", &["", "", "of"], &rows)
}

fn interventions(evaluation: &Evaluation) -> String {
    let row = |scores: &InterventionScores| {
        let InterventionScores { intervention, all, change_interval, .. } = scores;
        let interval = change_interval.map_or("-".into(), |[low, high]| format!("{low:+.4} to {high:+.4}"));
        let numbers =
            [format!("{:.4}", all.dice_before), format!("{:.4}", all.dice_after), format!("{:+.4}", all.change)];
        let cells = [intervention.to_string(), all.images.to_string()].into_iter().chain(numbers);
        cells.chain([interval, format!("{:.4}", all.agreement)]).collect()
    };
    let rows: Vec<Vec<String>> = evaluation.interventions.iter().flatten().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["", "images", "Dice before", "after", "change", "95 % interval", "agreement"];
    table("Changes that should not matter", &header, &rows)
}

fn figures(gallery: &Gallery) -> String {
    let figures: String = gallery
        .pictures
        .iter()
        .map(|shown| {
            let (name, prompt) = (escape(&shown.image.image), escape(&shown.image.prompt));
            let [dice, iou, nsd, hd95] = shown.image.scores.to_array();
            format!(
                "<figure><img src=\"{}\" alt=\"{name} with the found and the true contour\">\
                 <figcaption>{name}: Dice {dice:.3}, IoU {iou:.3}, NSD {nsd:.3}, HD95 {hd95:.1} px<br>{prompt}\
                 </figcaption></figure>\n",
                shown.file_name
            )
        })
        .collect();
    format!("<h2>{}</h2>\n<div class=\"row\">\n{figures}</div>\n", gallery.title)
}

fn curves(log: &TrainingLog) -> String {
    let line = |name: &'static str, key: &str| Line { name, points: log.series(key) };
    let mask = |name: &'static str, index| Line { name, points: log.list_series("mask_means", index) };
    let charts = [
        lines("Loss by epoch", "epoch", &[line("loss, causal", "pred"), line("loss, confounders", "pred_ad")]),
        lines(
            "Validation by epoch",
            "epoch",
            &[
                line("validation Dice", "validation_dice"),
                line("validation IoU", "validation_iou"),
                line("Dice, named lesion of two", "pairs_dice"),
            ],
        ),
        lines(
            "Mean of the causal masks by epoch",
            "epoch",
            &[mask("mask 3, mean", 0), mask("mask 4, mean", 1), mask("mask 5, mean", 2)],
        ),
    ];
    let charts: String = charts.into_iter().flatten().collect();
    if charts.is_empty() {
        return String::new();
    }
    format!("<h2>Training</h2>\n<div class=\"row\">\n{charts}</div>\n")
}
