//! The training loop on a synthetic task: a bright disc on the left and one on the right, and a prompt that names one.

use burn::tensor::Device;
use causalclipseg::bundle::Provenance;
use causalclipseg::frame::Fit;
use causalclipseg::graph::Weights;
use causalclipseg_convert::checkpoint::{Checkpoint, Storage};
use causalclipseg_convert::data::Recipe;
use causalclipseg_convert::model::{Architecture, Edition, ImageEncoder, TextEncoder, stage};
use causalclipseg_convert::train::network::{
    Leaves, MaskMode, Mode, Network, NodeTensor, PassPlan, TokenBatch, UpsampledConv,
};
use causalclipseg_convert::train::{
    Adam, Batch, Data, Decay, DistillationConfig, Ending, EpochRecord, Example, Game, GameConfig, LossConfig, Observer,
    OptimizerConfig, Outcome, Phase, Question, Run, Schedule, Source, SourceError, Teacher, TrainError, TrainingConfig,
    VariantsConfig, read_log,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

const FIT: Fit = Fit::Letterbox { padding: [0.5; 3] };

fn architecture() -> Architecture {
    Architecture {
        edition: Edition::Tiny,
        input_size: 32,
        image: ImageEncoder { layers: [1, 1, 1, 1], width: 4 },
        text: TextEncoder { vocabulary: 16, context: 8, width: 8, layers: 1, heads: 1 },
        embed: 16,
        decoder: 16,
        ..Architecture::mini()
    }
}

fn start() -> Checkpoint {
    let weights = architecture().random_weights(3).unwrap();
    Checkpoint { architecture: architecture(), weights, provenance: Provenance::default() }
}

/// Discs whose place and grey value follow from the draw; token 5 names the left one and 6 the right one.
struct Discs(usize);

impl Source for Discs {
    fn count(&self) -> usize {
        self.0
    }

    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError> {
        let draw = epoch * 31 + index * 7;
        let side = draw % 2;
        let radius = size as i64 / 8 + (draw % 3) as i64;
        let centre = |side: usize| [(size * (1 + 2 * side) / 4) as i64, (size / 2 + draw % 5) as i64 - 2];
        let inside = |x: usize, y: usize, side: usize| {
            let [cx, cy] = centre(side);
            (x as i64 - cx).pow(2) + (y as i64 - cy).pow(2) <= radius * radius
        };
        let pixels = || (0..size * size).map(|i| (i % size, i / size));
        let image = pixels().map(|(x, y)| if inside(x, y, 0) || inside(x, y, 1) { 220 } else { 40 }).collect();
        let mask = pixels().map(|(x, y)| u8::from(inside(x, y, side))).collect();
        let questions = vec![Question { tokens: vec![1, 5 + side as u32, 15], mask }];
        Ok(Example { image, questions, fitted: None })
    }
}

fn config() -> TrainingConfig {
    TrainingConfig {
        phases: vec![Phase { epochs: 2, size: 32, batch: 4 }, Phase { epochs: 1, size: 64, batch: 2 }],
        game: GameConfig { warmup_epochs: 1, ..GameConfig::default() },
        optimizer: OptimizerConfig { learning_rate: 3e-3, ..OptimizerConfig::default() },
        average_decay: 0.9,
        fit: FIT,
        ..TrainingConfig::default()
    }
}

fn words() -> BTreeSet<String> {
    BTreeSet::from(["bright".into(), "disc".into()])
}

fn data() -> Data<'static> {
    Data {
        training: &Discs(12),
        validation: &Discs(4),
        validation_pairs: None,
        origin: "discs".into(),
        words: words(),
        digest: String::new(),
    }
}

struct Silent;
impl Observer for Silent {}

/// Raises the flag after so many batches.
struct Interrupter<'a>(usize, &'a AtomicBool);

impl Observer for Interrupter<'_> {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: &Outcome) {
        self.0 = self.0.saturating_sub(1);
        if self.0 == 0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

fn final_weights(folder: &Path) -> Checkpoint {
    Checkpoint::load(&folder.join("final.safetensors")).unwrap()
}

/// A log without its speeds. Sums are rounded: an interrupted run passes them through JSON, which may change the last bit.
fn log(folder: &Path) -> Vec<EpochRecord> {
    let round = |value: Option<f64>| value.map(|value| (value * 1e9).round() / 1e9);
    let still = |record: EpochRecord| EpochRecord {
        pred: round(record.pred),
        pred_ad: round(record.pred_ad),
        phi: round(record.phi),
        mask_means: record.mask_means.map(round),
        gradient_norm: round(record.gradient_norm),
        seconds: 0.0,
        images_per_second: 0.0,
        ..record
    };
    read_log(&folder.join("log.jsonl")).unwrap().into_iter().map(still).collect()
}

#[test]
fn an_interrupted_run_ends_as_an_uninterrupted_one() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let go_on = AtomicBool::new(false);
    let mut run = Run::start(config(), start(), data(), &whole, &devices).unwrap();
    assert!(matches!(run.go(&go_on, &mut Silent).unwrap(), Ending::Finished { best: Some(_) }));

    // Within the warm-up, within the game, and within the second resolution.
    let mut run = Run::start(config(), start(), data(), &parts, &devices).unwrap();
    for batches in [2, 3, 3] {
        let stop = AtomicBool::new(false);
        let ending = run.go(&stop, &mut Interrupter(batches, &stop)).unwrap();
        assert!(matches!(ending, Ending::Interrupted { .. }), "{ending:?}");
        run = Run::resume(data(), &parts, &devices).unwrap();
    }
    run.go(&go_on, &mut Silent).unwrap();
    let (a, b) = (final_weights(&whole), final_weights(&parts));
    assert_eq!(a.architecture, b.architecture);
    assert_eq!((a.provenance.get("words"), b.provenance.get("words")), (Some("bright disc"), Some("bright disc")));
    assert_eq!(a.architecture.input_size, 64);
    assert_eq!((a.provenance.fit(), b.provenance.fit()), (Some(FIT), Some(FIT)));
    for (name, expected) in &a.weights {
        assert_eq!(expected, &b.weights[name], "{name} differs");
    }
    assert_eq!(log(&whole), log(&parts));
    assert_eq!(log(&whole).len(), 3);
}

/// The same discs with a known confounder, here the side itself.
struct Marked(Discs);

impl Source for Marked {
    fn count(&self) -> usize {
        self.0.count()
    }

    fn draw(&self, epoch: usize, index: usize, size: usize) -> Result<Example, SourceError> {
        self.0.draw(epoch, index, size)
    }

    fn confounders(&self) -> usize {
        2
    }

    fn confounder(&self, epoch: usize, index: usize) -> Option<usize> {
        Some((epoch * 31 + index * 7) % 2)
    }
}

/// Each variant changes what is learned, the same in every run and across an interruption, also of the resolution, and leaves
/// nothing of its own in checkpoints.
#[test]
fn each_variant_trains_and_resumes() {
    let off = VariantsConfig::default();
    let variants = [
        off.clone(),
        VariantsConfig { amplitude: 1.0, ..off.clone() },
        VariantsConfig { factorisation: 1.0, ..off.clone() },
        VariantsConfig { top_k: 0.5, ..off.clone() },
        VariantsConfig { consistency: 1.0, ..off.clone() },
        VariantsConfig { naming: 1.0, ..off.clone() },
    ];
    let data = || Data { training: &Marked(Discs(12)), ..data() };
    let devices = [Device::flex()];
    let mut learned: Vec<Checkpoint> = Vec::new();
    for variants in variants {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let config = || TrainingConfig {
            variants: variants.clone(),
            recipe: Recipe::PLAIN,
            game: GameConfig { warmup_epochs: 0, ..GameConfig::default() },
            ..config()
        };
        let go_on = AtomicBool::new(false);
        Run::start(config(), start(), data(), &whole, &devices).unwrap().go(&go_on, &mut Silent).unwrap();
        let stop = AtomicBool::new(false);
        let mut run = Run::start(config(), start(), data(), &parts, &devices).unwrap();
        run.go(&stop, &mut Interrupter(7, &stop)).unwrap();
        Run::resume(data(), &parts, &devices).unwrap().go(&go_on, &mut Silent).unwrap();
        let found = final_weights(&whole);
        assert_eq!(found.weights, final_weights(&parts).weights, "{variants:?}");
        assert!(found.weights.keys().all(|name| !name.starts_with("naming.")));
        assert!(learned.iter().all(|other| other.weights != found.weights), "{variants:?} changes nothing");
        learned.push(found);
    }
    let naming = TrainingConfig { variants: VariantsConfig { naming: 1.0, ..off }, recipe: Recipe::PLAIN, ..config() };
    let folder = tempfile::tempdir().unwrap();
    let nothing = Run::start(naming, start(), self::data(), folder.path(), &devices).err().unwrap();
    assert!(matches!(nothing, TrainError::NothingToName { found: 0 }), "{nothing}");
}

#[test]
fn a_run_on_replicas_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let devices = vec![Device::flex(); 2];
    let config = || TrainingConfig {
        replicas: 2,
        phases: vec![Phase { epochs: 1, size: 32, batch: 6 }],
        game: GameConfig { warmup_epochs: 0, ..GameConfig::default() },
        ..config()
    };
    let run = |name: &str| {
        let folder = folder.path().join(name);
        Run::start(config(), start(), data(), &folder, &devices)
            .unwrap()
            .go(&AtomicBool::new(false), &mut Silent)
            .unwrap();
        final_weights(&folder)
    };
    let [a, b] = ["a", "b"].map(run);
    assert_eq!(a.weights, b.weights);
    assert_ne!(a.weights, start().weights);
}

#[test]
fn two_runs_of_one_seed_write_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = |name: &str| {
        let folder = folder.path().join(name);
        let mut run = Run::start(config(), start(), data(), &folder, &[Device::flex()]).unwrap();
        run.go(&AtomicBool::new(false), &mut Silent).unwrap();
        ["best.safetensors", "final.safetensors"].map(|name| std::fs::read(folder.join(name)).unwrap())
    };
    assert!(checkpoint("a") == checkpoint("b"), "the checkpoints differ");
}

#[test]
fn frozen_weights_and_their_statistics_stay() {
    let folder = tempfile::tempdir().unwrap();
    let frozen = |prefix: &str| TrainingConfig {
        game: GameConfig { warmup_epochs: 0, frozen: vec![prefix.into()], ..GameConfig::default() },
        phases: vec![Phase { epochs: 1, size: 32, batch: 4 }],
        average_decay: 0.0,
        ..config()
    };
    let path = folder.path().join("run");
    let mut run = Run::start(frozen("backbone.visual."), start(), data(), &path, &[Device::flex()]).unwrap();
    run.go(&AtomicBool::new(false), &mut Silent).unwrap();
    let (before, after) = (start().weights, final_weights(&path).weights);
    let moved = |name: &String| before[name] != after[name];
    let (kept, learned): (Vec<_>, Vec<_>) = before.keys().partition(|name| name.starts_with("backbone.visual."));
    assert!(kept.len() > 20 && !kept.into_iter().any(moved));
    assert!(learned.iter().filter(|name| moved(name)).count() * 10 > learned.len() * 9);
    let error = Run::start(frozen("backbon_"), start(), data(), &folder.path().join("b"), &[Device::flex()]).err();
    assert!(error.unwrap().to_string().contains("`backbon_`"));
    // A step whose weights are all frozen has no gradient: it is refused before the first, not blamed on the device.
    let whole = |prefixes: &[&str]| GameConfig {
        frozen: prefixes.iter().map(|prefix| prefix.to_string()).collect(),
        ..GameConfig::default()
    };
    let theta = ["backbone.", "neck_ad.f", "neck_ad.carafe", "neck_ad.aggr", "proj"];
    let plain = GameConfig { adversarial: false, ..whole(&["neck_ad.masker"]) };
    for (game, player) in [
        (whole(&["neck_ad.masker"]), Some("the maskers")),
        (whole(&theta), Some("the network beside")),
        (GameConfig { causal: false, ..whole(&theta) }, Some("the network beside")),
        (whole(&["backbone.", "neck_ad.", "proj"]), Some("the network beside")),
        (plain, None),
    ] {
        let config = TrainingConfig { game, ..frozen("proj") };
        let folder = folder.path().join(player.unwrap_or("plain").replace(' ', "_"));
        let started = Run::start(config, start(), data(), &folder, &[Device::flex()]);
        assert_eq!(
            started.as_ref().err().map(|error| error.to_string().contains(player.unwrap_or("-"))),
            player.map(|_| true)
        );
        assert_eq!(folder.exists(), player.is_none(), "a refused run leaves no folder");
    }
    let open = start().with_open_masks().unwrap();
    let error = Run::start(frozen("backbone."), open, data(), &folder.path().join("c"), &[Device::flex()]).err();
    assert!(error.unwrap().to_string().contains("--open-masks"));
}

#[test]
fn each_player_moves_its_own_weights() {
    let device = Device::flex();
    let play = |rules: GameConfig, epoch: usize| {
        let mut network = Network::new(architecture().describe().unwrap(), &start().weights, &device).unwrap();
        let [theta, phi] = Game::optimizers(&OptimizerConfig::default()).map(Adam::new);
        let mut game = Game::new(network.graph(), rules, LossConfig::default(), theta, phi).unwrap();
        let batch = Batch::draw(&Discs(4), 0, &[0, 1, 2, 3], 32).unwrap();
        let outcome = game.play(&mut network, &batch, epoch, 1, 1.0);
        let moved = |part: &str| {
            let is_part = |name: &str| name.contains(part) && !name.contains(".running_");
            let after = network.parameters.to_weights();
            after.iter().any(|(name, value)| is_part(name) && *value != start().weights[name])
        };
        let all = ["neck_ad.masker", "backbone.visual", "backbone.transformer", "neck_ad.aggr", "proj.", "proj_ad."];
        (all.map(moved), outcome)
    };
    let rules = GameConfig::default();
    // Step 1 of a phi-step every second one: theta alone.
    let (moved, outcome) = play(GameConfig { phi_every: 2, ..rules.clone() }, 5);
    assert_eq!(moved, [false, true, true, true, true, true]);
    assert!(outcome.phi.is_none() && outcome.masks.is_some());
    let (moved, outcome) = play(rules.clone(), 5);
    assert!(moved.into_iter().all(|moved| moved) && outcome.phi.is_some());
    let (moved, outcome) = play(rules.clone(), 0);
    assert_eq!(moved, [false, true, true, true, true, true]);
    assert!(outcome.masks.is_none() && outcome.pred_ad.is_some());
    let (moved, outcome) = play(GameConfig { adversarial: false, ..rules }, 5);
    assert_eq!(moved, [true, true, true, true, true, false]);
    assert!(outcome.pred_ad.is_none());
    let (moved, outcome) = play(GameConfig { causal: false, ..GameConfig::default() }, 5);
    assert_eq!(moved, [false, true, true, true, true, false]);
    assert!(outcome.pred_ad.is_none() && outcome.masks.is_none());
}

/// A teacher's checkpoint in a folder, with other weights than the start's.
fn teacher(folder: &Path, architecture: Architecture) -> DistillationConfig {
    let path = folder.join("teacher.safetensors");
    let weights = architecture.random_weights(9).unwrap();
    let checkpoint = Checkpoint { architecture, weights, provenance: Provenance::default() };
    checkpoint.save(&path, Storage::F32).unwrap();
    DistillationConfig { teacher: Some(path), weight: 1.0, ..DistillationConfig::default() }
}

/// With frozen norms the student answers in training as in evaluation, so its copy has nothing to teach it.
#[test]
fn a_copy_teaches_nothing_and_another_network_does() {
    let device = Device::flex();
    let network = |weights: &Weights| Network::new(architecture().describe().unwrap(), weights, &device).unwrap();
    let batch = Batch::draw(&Discs(4), 0, &[0, 1, 2, 3], 32).unwrap();
    let played = |teacher: Option<Network>, weight: f32| {
        let frozen = ["backbone.", "neck_ad.", "proj.vis", "proj_ad."].map(String::from).to_vec();
        let rules = GameConfig { adversarial: false, frozen, ..GameConfig::default() };
        let [theta, phi] = Game::optimizers(&OptimizerConfig::default()).map(Adam::new);
        let mut student = network(&start().weights);
        let game = Game::new(student.graph(), rules, LossConfig::default(), theta, phi).unwrap();
        let config = DistillationConfig { weight, ..DistillationConfig::default() };
        let teacher = teacher.map(|network| Teacher::new(vec![network]).unwrap());
        game.taught(teacher, &config).play(&mut student, &batch, 5, 1, 1.0)
    };
    let copy = played(Some(network(&start().weights)), 1.0);
    let other = played(Some(network(&architecture().random_weights(9).unwrap())), 1.0);
    let without = played(None, 1.0);
    println!("{copy:?}\n{other:?}\n{without:?}");
    assert!(other.gradient_norm > 1e-3 && without.gradient_norm > 1e-3 && without.distillation.is_none());
    assert!(copy.gradient_norm < 1e-4 * other.gradient_norm && copy.distillation.unwrap().abs() < 1e-5, "{copy:?}");
    assert!(other.distillation.unwrap() > 1e-3);
    // Without weight the teacher is only measured.
    let measured = played(Some(network(&start().weights)), 0.0);
    assert_eq!((measured.pred, measured.gradient_norm), (without.pred, without.gradient_norm));
}

#[test]
fn a_student_comes_nearer_to_its_teacher_and_resumes_with_it_only() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let wide = Architecture { decoder: 32, ..architecture() };
    let config = || TrainingConfig {
        phases: vec![Phase { epochs: 6, size: 32, batch: 4 }, Phase { epochs: 2, size: 64, batch: 4 }],
        game: GameConfig { adversarial: false, ..GameConfig::default() },
        distillation: teacher(folder.path(), wide.clone()),
        validate_every: 10,
        ..config()
    };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let go_on = AtomicBool::new(false);
    Run::start(config(), start(), data(), &whole, &devices).unwrap().go(&go_on, &mut Silent).unwrap();
    let told: Vec<f64> = log(&whole).iter().map(|record| record.distillation.unwrap()).collect();
    assert!(told.len() == 8 && told[5] < 0.7 * told[0], "{told:?}");

    let stop = AtomicBool::new(false);
    let mut run = Run::start(config(), start(), data(), &parts, &devices).unwrap();
    run.go(&stop, &mut Interrupter(5, &stop)).unwrap();
    Run::resume(data(), &parts, &devices).unwrap().go(&go_on, &mut Silent).unwrap();
    assert_eq!(final_weights(&whole).weights, final_weights(&parts).weights);
    teacher(folder.path(), architecture());
    let error = Run::resume(data(), &parts, &devices).err().unwrap();
    assert!(matches!(error, TrainError::OtherTeacher(_)), "{error}");
}

#[test]
fn a_teacher_of_another_form_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = architecture();
    let text = |vocabulary, context| TextEncoder { vocabulary, context, ..own.text.clone() };
    let refused = |config: DistillationConfig| {
        let run = folder.path().join("run");
        let config = TrainingConfig { distillation: config, ..self::config() };
        let error = Run::start(config, start(), data(), &run, &[Device::flex()]).err().unwrap().to_string();
        assert!(!run.exists() && !error.contains('\n'), "{error}");
        error
    };
    let config_of = |text| teacher(folder.path(), Architecture { text, ..own.clone() });
    let error = refused(config_of(text(20, 8)));
    assert!(error.contains("20 tokens, and this network's 16") && error.contains("teacher.safetensors"), "{error}");
    let error = refused(config_of(text(16, 6)));
    assert!(error.contains("up to 6 tokens, and this network of up to 8"), "{error}");
    let config = teacher(folder.path(), own.clone());
    let open = Checkpoint::load(config.teacher.as_ref().unwrap()).unwrap().with_open_masks().unwrap();
    open.save(config.teacher.as_ref().unwrap(), Storage::F32).unwrap();
    assert!(refused(config.clone()).contains("masks are open"));
    let missing = DistillationConfig { teacher: Some(folder.path().join("none.safetensors")), ..config };
    assert!(refused(missing).contains("none.safetensors"));
    let wrong = DistillationConfig { weight: 2.0, ..DistillationConfig::default() };
    assert!(refused(wrong).contains("distillation.weight"));
}

/// With and without recomputation, also on replicas and with a variant that has losses of its own inside the network.
#[test]
fn recomputed_activations_move_the_weights_alike() {
    let device = Device::flex();
    let batch = Batch::draw(&Marked(Discs(4)), 0, &[0, 1, 2, 3], 32).unwrap();
    for (replicas, variants) in [
        (1, VariantsConfig::default()),
        (2, VariantsConfig::default()),
        (1, VariantsConfig { top_k: 0.5, amplitude: 1.0, factorisation: 0.5, ..VariantsConfig::default() }),
    ] {
        let play = |recompute: usize, adversarial: bool| {
            let rules = GameConfig { recompute, adversarial, ..GameConfig::default() };
            let mut network = Network::new(architecture().describe().unwrap(), &start().weights, &device).unwrap();
            let [theta, phi] = Game::optimizers(&OptimizerConfig::default()).map(Adam::new);
            let graph = network.graph().clone();
            let game = Game::new(&graph, rules, LossConfig::default(), theta, phi).unwrap();
            let game = game.with_variants(&graph, &variants, 3).unwrap();
            let mut game = game.replicated(&vec![device.clone(); replicas]);
            let outcome = game.play(&mut network, &batch, 5, 0, 1.0);
            (outcome, network.parameters.to_weights())
        };
        for adversarial in [true, false] {
            let ((kept, weights), (again, others)) = (play(0, adversarial), play(6, adversarial));
            // Operations without a tape may round in another way.
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * a.abs();
            assert!(close(again.pred.into(), kept.pred.into()), "{again:?} {kept:?}");
            assert_eq!(again.pred_ad.is_some(), kept.pred_ad.is_some());
            assert!(close(again.gradient_norm, kept.gradient_norm), "{again:?} {kept:?}");
            assert_eq!(again.phi.is_some(), adversarial);
            assert!(again.phi.into_iter().zip(kept.phi).all(|(a, b)| (a - b).abs() < 1e-3), "{again:?} {kept:?}");
            // Adam's first step has the rate's length; a gradient near zero may change its sign by rounding.
            let rate = OptimizerConfig::default().learning_rate as f32;
            let (mut moved, mut apart) = (0, 0);
            for (name, before) in &start().weights {
                for ((a, b), before) in weights[name].iter().zip(&others[name]).zip(before) {
                    moved += usize::from(a != before);
                    apart += usize::from((a - b).abs() > 0.1 * rate);
                }
            }
            assert!(moved > 1000 && apart * 100 < moved, "{apart} of {moved} differ");
        }
    }
}

/// Two replicas that see the same images must move the weights as one does: each norm sees equal statistics, and the
/// mean of two equal gradients is either.
#[test]
fn replicas_with_equal_shares_move_as_one() {
    let device = Device::flex();
    let play = |devices: &[Device], images: &[usize]| {
        let mut network = Network::new(architecture().describe().unwrap(), &start().weights, &device).unwrap();
        let [theta, phi] = Game::optimizers(&OptimizerConfig::default()).map(Adam::new);
        let rules = GameConfig::default();
        let game = Game::new(network.graph(), rules, LossConfig::default(), theta, phi).unwrap();
        let mut game = game.replicated(devices);
        let batch = Batch::draw(&Discs(4), 0, images, 32).unwrap();
        let outcome = game.play(&mut network, &batch, 5, 1, 1.0);
        (outcome, game.theta.state(), network.parameters.to_weights())
    };
    let (alone, moments, weights) = play(&[], &[0, 1]);
    let (shared, shared_moments, shared_weights) = play(&[device.clone(), device.clone()], &[0, 1, 0, 1]);
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-6 + 1e-4 * a.abs();
    assert!(near(alone.pred, shared.pred) && near(alone.phi.unwrap(), shared.phi.unwrap()));
    assert!(near(alone.gradient_norm as f32, shared.gradient_norm as f32));
    // Moments, not weights: Adam's first step is the rate whatever the gradient, and a sign may hang on rounding.
    for (name, (first, _)) in &moments.moments {
        let largest = first.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        for (a, b) in first.iter().zip(&shared_moments.moments[name].0) {
            assert!((a - b).abs() <= 1e-3 * largest + 1e-8, "{name}: {a} and {b}");
        }
    }
    for (name, values) in weights.iter().filter(|(name, _)| name.contains(".running_")) {
        assert!(values.iter().zip(&shared_weights[name]).all(|(a, b)| near(*a, *b)), "{name}");
    }
    // Unequal shares, and more devices than a batch has pairs of images.
    let (uneven, _, _) = play(&vec![device.clone(); 3], &[0, 1, 2, 3, 0]);
    assert!(uneven.is_finite());
}

/// The published graph, evaluated as any other, then shows that no mask takes anything away.
#[test]
fn without_the_causal_module_every_mask_is_one() {
    let devices = [Device::flex()];
    let [device] = &devices;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("run");
    let game = GameConfig { causal: false, ..GameConfig::default() };
    let config = TrainingConfig { game, phases: vec![Phase { epochs: 1, size: 32, batch: 4 }], ..config() };
    Run::start(config, start(), data(), &folder, &devices).unwrap().go(&AtomicBool::new(false), &mut Silent).unwrap();
    let trained = final_weights(&folder);
    let mut network = Network::new(trained.architecture.describe().unwrap(), &trained.weights, device).unwrap();
    let outputs: Vec<&str> = stage::MASKS.into_iter().collect();
    let plan = PassPlan::new(network.graph(), &outputs, MaskMode::Learned, UpsampledConv::Direct, false).unwrap();
    let batch = Batch::draw(&Discs(4), 0, &[0, 1], 32).unwrap();
    let tokens = TokenBatch::new(&batch.tokens, device);
    let images = batch.normalised_images(device);
    let values = network.forward(&plan, images, &tokens, Mode::Evaluation, &Leaves::none());
    for name in outputs {
        let Some(NodeTensor::Map(mask)) = values.get(name) else { panic!("no {name}") };
        assert!(mask.to_data().iter::<f32>().all(|value| value == 1.0), "{name}");
    }
}

/// A budget of time ends the run within an epoch, at the last phase and at the schedule's end.
#[test]
fn a_run_with_a_budget_ends_in_time_and_annealed() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("run");
    let mut phases = config().phases;
    phases.iter_mut().for_each(|phase| phase.epochs *= 1000);
    let schedule = Schedule { warmup_epochs: 0.0, decay: Decay::Cosine { floor: 0.0 } };
    let config = TrainingConfig { budget_minutes: 4.0 / 60.0, phases, schedule, ..config() };
    let mut run = Run::start(config, start(), data(), &folder, &devices).unwrap();
    let ending = run.go(&AtomicBool::new(false), &mut Silent).unwrap();
    assert!(matches!(ending, Ending::Finished { best: Some(_) }), "{ending:?}");
    let log = read_log(&folder.join("log.jsonl")).unwrap();
    let last = log.last().unwrap();
    assert!(log.len() < 2000 && log[0].size == 32 && last.size == 64, "{} epochs", log.len());
    assert!(log[0].learning_rate > 1e-3 && last.learning_rate < 1e-9 && last.validation_dice.is_some());
    assert!(log.windows(2).all(|pair| pair[0].learning_rate >= pair[1].learning_rate));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_state() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("run");
    let optimizer = OptimizerConfig { learning_rate: 1e30, clip_norm: 0.0, ..OptimizerConfig::default() };
    let mut run = Run::start(TrainingConfig { optimizer, ..config() }, start(), data(), &folder, &devices).unwrap();
    let error = run.go(&AtomicBool::new(false), &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { epoch: 0, .. }), "{error}");
    assert!(error.to_string().contains("state.safetensors") && !error.to_string().contains('\n'));
    Run::resume(data(), &folder, &devices).unwrap();
}

/// Weights that are finite and absurd end neither in a state nor in the best checkpoint.
#[test]
fn absurd_weights_are_not_kept() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("run");
    let optimizer = OptimizerConfig { learning_rate: 1e30, clip_norm: 0.0, ..OptimizerConfig::default() };
    let config = TrainingConfig { optimizer, phases: vec![Phase { epochs: 2, size: 32, batch: 4 }], ..config() };
    // A single batch, after which no loss is computed.
    let data = Data { training: &Discs(4), ..data() };
    let mut run = Run::start(config, start(), data, &folder, &devices).unwrap();
    let error = run.go(&AtomicBool::new(false), &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("--resume --config FILE") && !error.to_string().contains('\n'));
    assert!(!folder.join("best.safetensors").exists());
    let state = std::fs::read(folder.join("state.safetensors")).unwrap();
    let state = safetensors::SafeTensors::deserialize(&state).unwrap();
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let weights = state.iter().filter(|(name, _)| name.starts_with("weight/"));
    assert!(weights.flat_map(|(_, view)| view.data().chunks_exact(4)).all(|bytes| number(bytes).abs() < 1e3));
}

#[test]
fn folders_are_not_overwritten_and_not_invented() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("run");
    let resumed = Run::resume(data(), &place, &devices);
    assert!(matches!(resumed, Err(TrainError::NothingToResume(_))));
    Run::start(config(), start(), data(), &place, &devices).unwrap();
    let again = Run::start(config(), start(), data(), &place, &devices);
    assert!(matches!(again, Err(TrainError::Exists(_))));
    let few = Data { training: &Discs(1), ..data() };
    let refused = Run::start(config(), start(), few, &folder.path().join("few"), &devices);
    assert!(matches!(refused, Err(TrainError::TooFew { .. })));
    let state = place.join("state.safetensors");
    let mine = folder.path().join("mine");
    let told = |digest: &str| Data { digest: digest.into(), ..data() };
    Run::start(config(), start(), told("these"), &mine, &devices).unwrap();
    Run::resume(told("these"), &mine, &devices).unwrap();
    assert!(matches!(Run::resume(told("others"), &mine, &devices), Err(TrainError::OtherData(_))));
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(Run::resume(data(), &place, &devices), Err(TrainError::State { .. })));
}

/// The two prompts of one image get two masks: the loss falls below what any single answer to both could reach.
#[test]
fn learns_to_obey_the_prompt() {
    let devices = [Device::flex()];
    let folder = tempfile::tempdir().unwrap();
    let config = TrainingConfig {
        phases: vec![Phase { epochs: 30, size: 32, batch: 8 }],
        average_decay: 0.8,
        validate_every: 30,
        ..config()
    };
    let data = Data {
        training: &Discs(64),
        validation: &Discs(8),
        validation_pairs: None,
        origin: "discs".into(),
        words: words(),
        digest: String::new(),
    };
    let mut run = Run::start(config, start(), data, &folder.path().join("run"), &devices).unwrap();
    let Ending::Finished { best: Some(best) } = run.go(&AtomicBool::new(false), &mut Silent).unwrap() else {
        panic!("the run did not finish")
    };
    // Both discs for every prompt would be 2/3.
    assert!(best.dice > 0.75, "Dice {}", best.dice);
}
