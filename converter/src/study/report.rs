//! A study for people: `report.md` for repositories, `report.html` with curves, and `results.json`.

use super::{ArmSummary, Interval, MaskUse, RunResult, StudyConfig, StudyError, Summary, Verdict};
use crate::confound::Set;
use crate::evaluate::report::{Line, STYLE, escape, lines};
use crate::train::EpochRecord;
use causalclipseg::io::{replace_file, write_json};
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes the summary as JSON, and returns its path.
pub fn write_results(folder: &Path, summary: &Summary) -> Result<PathBuf, StudyError> {
    let path = folder.join("results.json");
    write_json(&path, summary)?;
    Ok(path)
}

/// Writes both pages and returns the path of the one with curves.
pub fn write_report(
    folder: &Path,
    config: &StudyConfig,
    summary: &Summary,
    results: &[RunResult],
) -> Result<PathBuf, StudyError> {
    let text = markdown(summary);
    replace_file(&folder.join("report.md"), |file| file.write_all(text.as_bytes()))?;
    let page = folder.join("report.html");
    let html = html(config, summary, results);
    replace_file(&page, |file| file.write_all(html.as_bytes()))?;
    Ok(page)
}

fn markdown(summary: &Summary) -> String {
    let mut page = format!("# {}\n", summary.study);
    for (title, table) in tables(summary) {
        let _ = write!(page, "\n## {title}\n\n");
        for (number, row) in table.iter().enumerate() {
            let _ = writeln!(page, "| {} |", row.join(" | "));
            if number == 0 {
                let _ = writeln!(page, "|{}", "---|".repeat(row.len()));
            }
        }
    }
    page
}

fn html(config: &StudyConfig, summary: &Summary, results: &[RunResult]) -> String {
    let name = escape(&summary.study);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n<h1>{name}</h1>\n\
         <p>Intervals are of 95 %, by {} draws of seeds and patients. Research software, not a medical device.</p>\n",
        summary.resamples
    );
    for (title, table) in tables(summary) {
        let _ = write!(page, "<h2>{}</h2>\n<table>\n", escape(title));
        for (number, row) in table.iter().enumerate() {
            let tag = if number == 0 { "th" } else { "td" };
            let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            let _ = writeln!(page, "<tr>{cells}</tr>");
        }
        page.push_str("</table>\n");
    }
    page.push_str("<h2>Curves: means over seeds</h2>\n<div class=\"row\">\n");
    for arm in &config.arms {
        let runs: Vec<&RunResult> = results.iter().filter(|result| result.arm == arm.name).collect();
        let curve = |figure: fn(&EpochRecord) -> Option<f64>| curve(&runs, figure);
        let charts = [
            (
                "Dice",
                vec![
                    Line { name: "confounded validation", points: curve(|epoch| epoch.validation_dice) },
                    Line { name: "reversed validation", points: curve(|epoch| epoch.pairs_dice) },
                ],
            ),
            (
                "Loss and masks",
                vec![
                    Line { name: "loss, causal", points: curve(|epoch| epoch.pred) },
                    Line { name: "loss, confounders", points: curve(|epoch| epoch.pred_ad) },
                    Line { name: "mean of mask 3", points: curve(|epoch| epoch.mask_means[0]) },
                    Line { name: "mean of mask 5", points: curve(|epoch| epoch.mask_means[2]) },
                ],
            ),
        ];
        for (what, drawn) in charts {
            let shown: Vec<Line> = drawn.into_iter().filter(|line| !line.points.is_empty()).collect();
            if let Some(svg) = lines(&format!("{}: {what}", arm.name), "epoch", &shown) {
                let _ = writeln!(page, "<figure>{svg}<figcaption>{}: {what}</figcaption></figure>", escape(&arm.name));
            }
        }
    }
    page + "</div>\n"
}

/// The mean by epoch, counted from one, over the runs that have the figure.
fn curve(runs: &[&RunResult], figure: fn(&EpochRecord) -> Option<f64>) -> Vec<[f64; 2]> {
    let last = runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0);
    let point = |epoch: usize| {
        let values: Vec<f64> = runs.iter().filter_map(|run| figure(run.epochs.get(epoch)?)).collect();
        (!values.is_empty()).then(|| [epoch as f64 + 1.0, values.iter().sum::<f64>() / values.len() as f64])
    };
    (0..last).filter_map(point).collect()
}

/// Titles and rows, the header first.
fn tables(summary: &Summary) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let interval = |of: Interval| format!("{:.3} ({:.3} to {:.3})", of.mean, of.low, of.high);
    let signed = |of: Interval| format!("{:+.3} ({:+.3} to {:+.3})", of.mean, of.low, of.high);
    let header = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_string()).collect::<Vec<_>>();
    let find = |arm: &ArmSummary, set: Set, masks: MaskUse| {
        arm.sets.iter().find(|found| (found.set, found.masks) == (set, masks)).cloned()
    };
    let per_set = |arm: &ArmSummary, masks: MaskUse, figure: &dyn Fn(&super::SetSummary) -> String| {
        let cells = Set::ALL.map(|set| find(arm, set, masks).map_or("-".into(), |found| figure(&found)));
        [vec![arm.arm.clone()], cells.to_vec()].concat()
    };
    let sets = ["arm", "confounded", "neutral", "reversed", "unmarked"];
    let by_set = |masks: MaskUse, figure: &dyn Fn(&super::SetSummary) -> String| {
        let rows = summary.arms.iter().map(|arm| per_set(arm, masks, figure));
        [header(&sets)].into_iter().chain(rows).collect::<Vec<_>>()
    };
    let share = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.1} %", 100.0 * value));
    let verdicts = summary.arms.iter().map(|arm| {
        let verdict = match arm.verdict {
            Verdict::Baseline => "the baseline",
            Verdict::Helps => "halves the drop",
            Verdict::HelpsAtACost => "halves the drop, costs clean Dice",
            Verdict::DoesNotHelp => "does not halve the drop",
        };
        let seeds: Vec<String> = arm.drop_by_seed.iter().map(|drop| format!("{drop:.2}")).collect();
        vec![
            arm.arm.clone(),
            interval(arm.drop),
            signed(arm.drop_change),
            signed(arm.clean_change),
            seeds.join(" "),
            verdict.into(),
        ]
    });
    let verdict_header = header(&[
        "arm",
        "drop of Dice",
        "drop less the baseline's",
        "unmarked Dice less the baseline's",
        "drop by seed",
        "verdict",
    ]);
    let costs = summary.arms.iter().map(|arm| {
        let numbers = [arm.seeds as u64, arm.theta_steps, arm.image_passes].map(|number| number.to_string());
        [vec![arm.arm.clone()], numbers.to_vec(), vec![format!("{:.0}", arm.seconds)]].concat()
    });
    vec![
        ("Dice of the named lesion, masks as trained", by_set(MaskUse::Learned, &|set| interval(set.dice))),
        ("The drop from the confounded to the reversed set", [verdict_header].into_iter().chain(verdicts).collect()),
        (
            "Prompts obeyed: more of the named lesion than of the other",
            by_set(MaskUse::Learned, &|set| share(set.obeyed)),
        ),
        ("Dice with masks of ones", by_set(MaskUse::Open, &|set| interval(set.dice))),
        ("Dice with each mask at its mean", by_set(MaskUse::Mean, &|set| interval(set.dice))),
        (
            "Compute",
            [header(&["arm", "seeds", "theta-steps", "image passes", "seconds of training"])]
                .into_iter()
                .chain(costs)
                .collect(),
        ),
    ]
}
