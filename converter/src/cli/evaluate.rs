//! `evaluate`: measures a model on a split of a data set.

use super::Failure;
use super::train::parse_fold;
use causalclipseg::bundle::{Bundle, Precision};
use causalclipseg::{Model, ModelOptions};
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::data::{
    DataLayout, LoadOptions, Sample, Split, load_samples, replace_prompts, split_device, split_fold,
};
use causalclipseg_convert::evaluate::report::{self, TrainingLog};
use causalclipseg_convert::evaluate::{
    Effect, EmptyAnswers, EvaluateOptions, Evaluation, Group, InterventionScores, NSD_TOLERANCE_PX, NamedOther,
    RequestScores, RequestStudy, evaluate, images_to_run,
};
use causalclipseg_convert::model::{Architecture, MeanMasks};
use causalclipseg_convert::pack::{PackOptions, pack_network};
use causalclipseg_convert::quantize::CalibrationReader;
use causalclipseg_convert::study::MaskUse;
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More images hardly change a mean, and all are held in memory.
const MOST_IMAGES_OF_A_MEAN: usize = 256;

/// Measure a model on a split of a data set
///
/// The model runs as in the runtime, on each image at its own size. An untrained model is measured too, and the result says so.
#[derive(Debug, clap::Args)]
pub struct Evaluate {
    /// The data set's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The data set's layout [default: detected from the folder]
    #[arg(long, value_enum)]
    layout: Option<DataLayout>,
    /// The split to evaluate
    #[arg(long, value_enum, value_name = "NAME", required_unless_present_any = ["fold", "leave_device"])]
    split: Option<Split>,
    /// Instead of a split, the fold that `train --fold K/N` held out; `--seed` must be that of the training configuration
    #[arg(long, value_name = "K/N", value_parser = parse_fold, conflicts_with_all = ["split", "leave_device"])]
    fold: Option<(usize, usize)>,
    /// Instead of a split, the images that `train --leave-device NAME,...` held out: the devices' images of the training and the
    /// validation split
    #[arg(long, value_name = "NAME,...", conflicts_with = "split")]
    leave_device: Option<String>,
    /// Which of the data set's wordings, where it has several (MedCLIPSeg's test split, MedVLSM's p0, p1, ...)
    #[arg(long, value_name = "NAME")]
    wording: Option<String>,
    /// A table (.xlsx or .csv) with the columns Image and Description, whose prompts replace the data set's
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Edge of the network's input in pixels, a multiple of 32 [default: the checkpoint's]
    #[arg(long, value_name = "S", conflicts_with = "model")]
    size: Option<usize>,
    /// The masks to use: those that the network learned; all ones; or each mask's mean over up to 256 of the images, the same for
    /// every image
    #[arg(long, value_enum, default_value = "learned", conflicts_with = "model")]
    masks: MaskUse,
    /// Skip measuring the prompt's influence, which takes most of the time
    #[arg(long)]
    no_prompt_study: bool,
    /// Also measure the effect of changes to the images that should not matter: calipers and labels added, removed or moved,
    /// gain, depth. Takes eleven more passes an image
    #[arg(long)]
    interventions: bool,
    /// Also prompt every image for any lesion in many wordings, some of them never used in training, and prompt likewise on a
    /// window beside its lesion, where the right answer is an empty mask. Takes two more passes an image
    #[arg(long)]
    requests: bool,
    /// Evaluate only this many images, spread evenly over the split
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Bootstrap resamples of patients for the intervals
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    resamples: u32,
    /// Seed of the resamples, of shuffled words and of composed pairs: equal seeds give equal figures
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads to run images on [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Folder for an HTML report with figures, charts and the best, median and worst images; keep it out of repositories
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// A training run's log.jsonl, whose curves the report shows
    #[arg(long, value_name = "FILE", requires = "report")]
    log: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// The model to evaluate.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Bundle to evaluate
    #[arg(short, long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    /// Checkpoint to evaluate; it is packed in memory first
    #[arg(long, value_name = "CKPT")]
    checkpoint: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    Table,
    /// One JSON object with all figures, including those of every image
    Json,
}

impl Evaluate {
    pub fn run(self) -> Result<(), Failure> {
        let log = self.log.as_deref().map(TrainingLog::load).transpose()?;
        let samples = self.samples()?;
        let model = Model::from_bundle(Arc::new(self.bundle(&samples)?), ModelOptions::default())?;
        let defaults = EvaluateOptions::default();
        let options = EvaluateOptions {
            seed: self.seed,
            resamples: self.resamples as usize,
            threads: self.threads.map_or(defaults.threads, usize::from),
            prompt_study: !self.no_prompt_study,
            interventions: self.interventions,
            requests: self.requests,
        };
        let progress = progress_bar(images_to_run(samples.len(), &options));
        let evaluation = evaluate(&model, &samples, &options, || progress.inc(1));
        progress.finish_and_clear();
        let evaluation = evaluation?;
        let page = match &self.report {
            Some(folder) => Some(report::write(folder, &evaluation, &model, &samples, log.as_ref())?),
            None => None,
        };
        match self.format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&evaluation)?),
            Format::Table => {
                print_tables(&evaluation);
                page.iter().for_each(|page| println!("report written to {}", page.display()));
            }
        }
        Ok(())
    }

    fn samples(&self) -> Result<Vec<Sample>, Failure> {
        let options = LoadOptions { layout: self.layout, wording: self.wording.clone() };
        let load = |split| load_samples(&self.data, split, &options);
        let samples = match (self.fold, &self.leave_device, self.split) {
            (Some((fold, count)), ..) => split_fold(load(Split::Train)?, fold, count, self.seed)?.1,
            (_, Some(device), _) => {
                let mut all = load(Split::Train)?;
                all.extend(load(Split::Val)?);
                split_device(all, device)?.1
            }
            (_, _, Some(split)) => load(split)?,
            (None, None, None) => return Err("no images are named; pass --split, --fold or --leave-device".into()),
        };
        // Before prompts are replaced: a table need only cover the evaluated images.
        let mut samples = match self.limit.and_then(|limit| usize::try_from(limit).ok()) {
            Some(limit) => spread(samples, limit),
            None => samples,
        };
        if let Some(table) = &self.prompts {
            replace_prompts(&mut samples, table)?;
        }
        Ok(samples)
    }

    fn bundle(&self, samples: &[Sample]) -> Result<Bundle, Failure> {
        match (&self.source.model, &self.source.checkpoint) {
            (Some(bundle), _) => Ok(Bundle::open(bundle)?),
            (None, Some(checkpoint)) => self.pack_in_memory(checkpoint, samples),
            (None, None) => Err("no model is named; pass -m or --checkpoint".into()),
        }
    }

    /// Packs a checkpoint with `pack`'s defaults, in memory, with the requested masks.
    fn pack_in_memory(&self, path: &Path, samples: &[Sample]) -> Result<Bundle, Failure> {
        let mut checkpoint = Checkpoint::load(path)?;
        if let Some(size) = self.size {
            checkpoint = checkpoint.resized(size)?;
        }
        let mut graph = checkpoint.architecture.describe()?;
        match self.masks {
            MaskUse::Learned => {}
            MaskUse::Open => {
                checkpoint = checkpoint.with_open_masks()?;
                graph = checkpoint.architecture.describe()?;
            }
            MaskUse::Mean => {
                let means = mean_masks(&checkpoint, spread(samples.to_vec(), MOST_IMAGES_OF_A_MEAN))?;
                (graph, checkpoint.weights) = means.hold(&checkpoint.architecture, checkpoint.weights)?;
            }
        }
        let threshold = checkpoint.provenance.threshold_or_default();
        let name = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
        let fit = checkpoint.fit();
        let options = PackOptions { name, precision: Precision::F32, fit, threshold, tokenizer_json: None };
        Ok(Bundle::from_bytes(pack_network(graph, checkpoint, options, None)?.to_bytes()?)?)
    }
}

fn mean_masks(checkpoint: &Checkpoint, samples: Vec<Sample>) -> Result<MeanMasks, Failure> {
    let Architecture { input_size, text, .. } = &checkpoint.architecture;
    let mut reader = CalibrationReader::new(*input_size, checkpoint.fit(), text.context, &clip_tokenizer_json())?;
    samples.iter().try_for_each(|sample| reader.add_sample(sample))?;
    let mut means = MeanMasks::new(&checkpoint.architecture, &checkpoint.weights)?;
    reader.finish()?.items.iter().try_for_each(|item| means.add(&item.image))?;
    Ok(means)
}

/// `count` of the samples at even distances, in their order: tables are often sorted by class.
fn spread(samples: Vec<Sample>, count: usize) -> Vec<Sample> {
    let total = samples.len();
    let count = count.min(total);
    let is_chosen = |index: usize| (index + 1) * count / total > index * count / total;
    samples.into_iter().enumerate().filter(|(index, _)| is_chosen(*index)).map(|(_, sample)| sample).collect()
}

fn progress_bar(images: usize) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {eta} left");
    ProgressBar::with_draw_target(Some(images as u64), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print_tables(evaluation: &Evaluation) {
    let Evaluation { images, patients, model, input_size, threshold, seconds, .. } = evaluation;
    let sha256: String = evaluation.model_sha256.chars().take(12).collect();
    println!(
        "{model} ({sha256}) at {input_size} x {input_size} pixels, threshold {threshold}: \
         {images} images of {patients} patients in {seconds:.1} s"
    );
    if !evaluation.trained {
        println!("the model was never trained: its figures are at chance level");
    }
    println!("{}", measures(evaluation));
    if let Some(table) = groups(evaluation) {
        println!("{table}");
    }
    if let Some(table) = prompts(evaluation) {
        println!("{table}");
    }
    if let Some(study) = &evaluation.requests {
        println!("{}", requests(study));
    }
    if let Some(table) = evaluation.interventions.as_deref().and_then(interventions) {
        println!("{table}");
    }
}

/// An empty table with its first column to the left and numbers to the right.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn measures(evaluation: &Evaluation) -> Table {
    let mut table = table(&["", "mean of images", "95 % interval", "mean of patients", "95 % interval"]);
    let Evaluation { means, intervals, dice_by_patient, iou_by_patient, nsd_by_patient, hd95_by_patient, .. } =
        evaluation;
    let nsd = format!("NSD ({NSD_TOLERANCE_PX} px)");
    let of = |choose: fn(&causalclipseg_convert::evaluate::Intervals) -> [[f64; 2]; 2]| intervals.as_ref().map(choose);
    let rows = [
        ("Dice", means.dice, dice_by_patient, of(|i| [i.dice, i.dice_by_patient]), 4),
        ("IoU", means.iou, iou_by_patient, of(|i| [i.iou, i.iou_by_patient]), 4),
        (&nsd, means.nsd, nsd_by_patient, of(|i| [i.nsd, i.nsd_by_patient]), 4),
        ("HD95 (px)", means.hd95, hd95_by_patient, of(|i| [i.hd95, i.hd95_by_patient]), 2),
    ];
    for (name, of_images, of_patients, intervals, digits) in rows {
        let interval = |which: usize| {
            intervals
                .map_or("-".to_string(), |ends| format!("{:.digits$} to {:.digits$}", ends[which][0], ends[which][1]))
        };
        let (of_images, of_patients) = (format!("{of_images:.digits$}"), format!("{of_patients:.digits$}"));
        table.add_row([name.to_string(), of_images, interval(0), of_patients, interval(1)]);
    }
    table
}

fn groups(evaluation: &Evaluation) -> Option<Table> {
    let mut table = table(&["", "images", "Dice", "IoU", "NSD", "HD95"]);
    let groups = evaluation.by_pathology.iter().chain(&evaluation.by_device);
    for (name, Group { images, means }) in groups {
        let [dice, iou, nsd, hd95] = means.to_array();
        let numbers = [format!("{dice:.4}"), format!("{iou:.4}"), format!("{nsd:.4}"), format!("{hd95:.2}")];
        table.add_row([name.clone(), images.to_string()].into_iter().chain(numbers));
    }
    (!table.is_empty()).then_some(table)
}

fn interventions(scores: &[InterventionScores]) -> Option<Table> {
    let mut table =
        table(&["should not matter", "images", "Dice before", "after", "change", "95 % interval", "agreement"]);
    for InterventionScores { intervention, all, change_interval, by_device } in scores {
        let row = |name: String, effect: &Effect, interval: Option<[f64; 2]>| {
            let Effect { images, dice_before, dice_after, change, agreement } = effect;
            let interval = interval.map_or("-".to_string(), |[low, high]| format!("{low:+.4} to {high:+.4}"));
            let numbers = [format!("{dice_before:.4}"), format!("{dice_after:.4}"), format!("{change:+.4}")];
            [name, images.to_string()].into_iter().chain(numbers).chain([interval, format!("{agreement:.4}")])
        };
        table.add_row(row(intervention.to_string(), all, *change_interval));
        for (device, effect) in by_device {
            table.add_row(row(format!("  {device}"), effect, None));
        }
    }
    (!table.is_empty()).then_some(table)
}

fn requests(study: &RequestStudy) -> Table {
    let RequestStudy {
        lesions, beside_lesion, without_lesion, own, none, plain, held_out, by_request, presence, ..
    } = study;
    let header = [
        "requests for any lesion".to_string(),
        format!("Dice of {lesions}"),
        "refused".to_string(),
        format!("empty of {beside_lesion} windows beside"),
        format!("empty of {without_lesion} without"),
    ];
    let mut table = table(&header.each_ref().map(String::as_str));
    for scores in [own, none, plain, held_out].into_iter().chain(by_request) {
        let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.4}"));
        let RequestScores { request, dice, refused, empty_beside, empty_without } = scores;
        let numbers = [dice, refused, empty_beside, empty_without].map(|value| number(*value));
        table.add_row(std::iter::once(request.clone()).chain(numbers));
    }
    if let Some(presence) = presence {
        for (name, curve) in [("score", &presence.by_score), ("largest probability", &presence.by_max_probability)] {
            table.add_row([
                format!("is it there, by {name}: area {:.4}", curve.area),
                format!("at {:.3}:", curve.threshold),
                format!("{:.4}", 1.0 - curve.sensitivity),
                format!("{:.4}", curve.specificity),
                String::new(),
            ]);
        }
    }
    if let Some(found) = &study.calibration {
        table.add_row([
            format!("scores and Dice differ by, of {} answers", found.answers),
            format!("{:.4}", found.error_before),
            "calibrated".to_string(),
            format!("{:.4}", found.error_after),
            String::new(),
        ]);
    }
    table
}

fn prompts(evaluation: &Evaluation) -> Option<Table> {
    let mut table = table(&["the prompt's influence", "", "of"]);
    let mut add = |what: &str, value: Option<f64>, of: String| {
        let value = value.map_or("-".to_string(), |value| format!("{value:.4}"));
        table.add_row([what.to_string(), value, of]);
    };
    let images = format!("{} images", evaluation.images);
    if let Some(study) = &evaluation.prompts {
        add("Dice, true prompt", Some(study.own), images.clone());
        add("Dice, empty prompt", Some(study.empty), images.clone());
        add("Dice, words shuffled", Some(study.shuffled), images);
        let images = format!("{} images", study.contradictory_images);
        add("Dice, contradictory prompt", study.contradictory, images);
    }
    if let Some(pairs) = &evaluation.pairs {
        let all = NamedOther { named: pairs.named, other: pairs.other, prompts: pairs.prompts };
        let kinds = [("", Some(all)), (", by place", pairs.by_place), (", by pathology", pairs.by_pathology)];
        for (kind, found) in kinds.into_iter().filter_map(|(kind, found)| Some((kind, found?))) {
            let of = format!("{} prompts", found.prompts);
            add(&format!("Dice, named lesion of two{kind}"), Some(found.named), of.clone());
            add(&format!("Dice, other lesion of two{kind}"), Some(found.other), of);
        }
    }
    if let Some(absent) = &evaluation.absent {
        for (kind, found) in [
            ("absent lesion or organ", Some(absent.all)),
            ("lesion at an empty place", absent.by_place),
            ("wrong pathology", absent.by_pathology),
            ("another organ", absent.by_organ),
            ("right pathology", absent.right_pathology),
        ] {
            if let Some(EmptyAnswers { prompts, empty_fraction }) = found {
                add(&format!("share of empty masks, {kind}"), Some(empty_fraction), format!("{prompts} prompts"));
            }
        }
    }
    (!table.is_empty()).then_some(table)
}
