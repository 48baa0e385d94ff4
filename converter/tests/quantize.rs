//! From a checkpoint to 8 bits: the quantised network, its bundle and its interchange files compute the same.

use assert_cmd::Command;
use causalclipseg::bundle::{Bundle, Dtype, Packing, Precision};
use causalclipseg::engine::{Engine, EngineOptions, InputValue, ReferencePlan};
use causalclipseg::frame::Fit;
use causalclipseg::graph::{Graph, GraphBuilder, Op, ScaleZeroPoint, Shape, Weights};
use causalclipseg::{Model, ModelOptions};
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::export::{ExportError, ExportOptions, NumberFormat, export_quantised, write_model};
use causalclipseg_convert::model::{Architecture, Form, TextEncoder};
use causalclipseg_convert::pack::{PackError, PackOptions, pack, pack_quantised};
use causalclipseg_convert::phantom::Phantom;
use causalclipseg_convert::quantize::*;
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use tract_onnx::prelude::*;

/// The smallest network of the family, with CLIP's vocabulary.
fn checkpoint() -> Checkpoint {
    let mini = Architecture::mini();
    let text = TextEncoder { vocabulary: 49_408, ..mini.text.clone() };
    let architecture = Architecture { text, ..mini };
    let weights = architecture.golden_weights().unwrap();
    Checkpoint {
        architecture,
        weights,
        provenance: BTreeMap::from([("trained".to_string(), "false".to_string())]).try_into().unwrap(),
    }
}

fn phantoms(count: u64) -> CalibrationSet {
    let mut reader = CalibrationReader::new(64, Fit::Stretch, 77, &clip_tokenizer_json()).unwrap();
    for index in 0..count {
        reader.add_phantom(&Phantom::generate(9, index, Some((120, 96)))).unwrap();
    }
    reader.finish().unwrap()
}

fn options(form: Form) -> QuantiseOptions {
    QuantiseOptions { form, scan: 2, most_wide: 0, ..QuantiseOptions::default() }
}

/// Generated once for all tests.
static REWRITTEN: LazyLock<(QuantisedCheckpoint, Report)> =
    LazyLock::new(|| quantise(&checkpoint(), phantoms(10), &options(Form::Rewritten), |_| {}).unwrap());

fn pack_options() -> PackOptions {
    PackOptions {
        name: "mini".into(),
        precision: Precision::Int8,
        fit: Fit::Stretch,
        threshold: 0.5,
        tokenizer_json: None,
    }
}

fn export_options(form: Form, input_size: Option<usize>, confounders: bool) -> ExportOptions {
    ExportOptions { form, precision: NumberFormat::Int8, input_size, confounders, fit: Fit::Stretch }
}

fn run(graph: &Graph, weights: &Weights, set: &CalibrationSet) -> Vec<f32> {
    logits(graph, weights, set).unwrap().into_iter().flatten().collect()
}

fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let power = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    let noise = power(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (noise / power(&mut expected.iter().copied())).sqrt()
}

#[test]
fn logits_stay_near() {
    let (quantised, report) = &*REWRITTEN;
    let (graph, weights) = prepare(&checkpoint(), Form::Rewritten).unwrap();
    // Images that were not used for any choice.
    let mut unseen = phantoms(14);
    unseen.items.drain(..10);
    let error = relative_error(
        &run(&strip_fused(&quantised.graph), &quantised.computed_weights(), &unseen),
        &run(&graph, &weights, &unseen),
    );
    assert!(error < 0.06, "{error}");
    assert!(report.deviation.relative_error < 0.06, "{report:?}");
    assert_eq!((report.calibration_images, report.held_out_images, report.weight_bits), (8, 2, 8));
    // Only layers that depend on the sentence alone may stay in f32 here.
    assert!(report.wide.len() <= 2 && report.weight_bytes * 3 < report.weight_bytes_f32, "{:?}", report.wide);
    let layers = quantised.graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv { .. } | Op::Linear { .. }));
    assert_eq!(report.layers.len(), layers.count());
    assert!(report.layers.iter().all(|layer| layer.sqnr_db > 10.0), "{:?}", report.layers);
    // Choices are kept only where they reduce the error.
    let best = report.trials.iter().map(|trial| trial.deviation.relative_error).fold(f64::INFINITY, f64::min);
    assert!(report.deviation.relative_error <= best * 1.2);
    assert_eq!(report.sensitivity.len(), 2);
}

#[test]
fn a_checkpoint_is_read_back() {
    let (quantised, _) = &*REWRITTEN;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mini.safetensors");
    quantised.save(&path).unwrap();
    let read = QuantisedCheckpoint::load(&path).unwrap();
    assert_eq!(
        (&read.graph, &read.weights, &read.quantised),
        (&quantised.graph, &quantised.weights, &quantised.quantised)
    );
    assert_eq!((read.form, &read.calibration["policy"]), (quantised.form, &quantised.calibration["policy"]));
    let error = Checkpoint::load(&path).unwrap_err().to_string();
    assert!(error.contains("is quantised") && error.contains("--precision int8"), "{error}");

    let damaged = |damage: fn(&mut QuantisedCheckpoint)| {
        let mut broken = quantised.clone();
        damage(&mut broken);
        broken.save(&path).unwrap();
        QuantisedCheckpoint::load(&path).unwrap_err().to_string()
    };
    type Damage = fn(&mut QuantisedCheckpoint);
    let damages: [(&str, Damage); 6] = [
        ("missing", |q| drop(q.quantised.pop_first())),
        ("positive numbers", |q| q.quantised.values_mut().next().unwrap().scales[0] = 0.0),
        ("positive numbers", |q| q.quantised.values_mut().next().unwrap().scales.truncate(1)),
        ("-128", |q| q.quantised.values_mut().next().unwrap().stored.fill(-128)),
        ("that is not quantised", |q| q.graph.nodes.iter_mut().for_each(|node| node.quantisation = None)),
        ("holds NaN", |q| q.weights.values_mut().next().unwrap().fill(f32::NAN)),
    ];
    for (what, damage) in damages {
        let error = damaged(damage);
        assert!(error.contains(what) && error.contains("quantise it again"), "`{what}` is not in: {error}");
    }
}

#[test]
fn a_bundle_holds_what_was_quantised() {
    let (quantised, _) = &*REWRITTEN;
    let builder = pack_quantised(quantised.clone(), pack_options(), None).unwrap();
    let bundle = std::sync::Arc::new(Bundle::from_bytes(builder.to_bytes().unwrap()).unwrap());
    assert_eq!(bundle.manifest().precision, Precision::Int8);
    assert_eq!(bundle.manifest().model.calibration.as_ref().unwrap()["weight_bits"], 8);
    assert_eq!(bundle.graph(), &strip_fused(&quantised.graph));
    let weights = bundle.weights().unwrap();
    for (name, value) in quantised.computed_weights() {
        match bundle.tensor(&name).unwrap().dtype {
            Dtype::F16 => assert!((&weights[&name] - &value).iter().all(|d| d.abs() < 2e-3), "{name}"),
            _ => assert_eq!(weights[&name], value, "{name}"),
        }
    }
    for node in &bundle.graph().nodes {
        if let Op::Conv { weight, .. } | Op::Linear { weight, .. } = &node.op
            && quantised.quantised.contains_key(weight)
        {
            let tensor = bundle.tensor(weight).unwrap();
            assert_eq!((tensor.dtype, tensor.packing), (Dtype::I8, Some(Packing::Blocked)), "{weight}");
            let sums = bundle.tensor(&format!("{weight}.sums")).unwrap();
            let of_rows = quantised.quantised[weight].stored.outer_iter();
            let expected: Vec<i32> = of_rows.map(|row| row.iter().map(|v| i32::from(*v)).sum()).collect();
            assert_eq!(sums.as_i32().unwrap(), expected, "{weight}");
            assert!(node.inputs.iter().all(|input| bundle.graph().node(*input).quantisation.is_some()), "{weight}");
        }
    }
    let f32_bytes = pack(checkpoint(), PackOptions { precision: Precision::F32, ..pack_options() }, None).unwrap();
    let (int8, f32) = (bundle.file_bytes() as f64, f32_bytes.to_bytes().unwrap().len() as f64);
    assert!(int8 < 0.35 * f32, "{int8} of {f32}");
    let model = Model::from_bundle(bundle.clone(), ModelOptions::default()).unwrap();
    assert!(model.self_test().unwrap().unwrap() < 0.05);
}

/// Opens a file in tract with one shape for each input, and runs it.
fn run_onnx(file: &Path, inputs: &[Tensor]) -> Vec<f32> {
    let mut model = tract_onnx::onnx().model_for_path(file).unwrap();
    for (index, input) in inputs.iter().enumerate() {
        model.set_input_fact(index, InferenceFact::dt_shape(input.datum_type(), input.shape())).unwrap();
    }
    model.set_output_fact(0, InferenceFact::default()).unwrap();
    let plan = model.into_typed().unwrap().into_runnable().unwrap();
    let outputs = plan.run(inputs.iter().map(|input| input.clone().into_tvalue()).collect()).unwrap();
    outputs[0].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
}

#[test]
fn interchange_files_agree_with_the_reference_engine() {
    let published = quantise(
        &checkpoint(),
        phantoms(3),
        &QuantiseOptions { scan: 0, thorough: false, ..options(Form::Published) },
        |_| {},
    );
    for quantised in [&REWRITTEN.0, &published.unwrap().0] {
        let folder = tempfile::tempdir().unwrap();
        let options = export_options(quantised.form, None, false);
        export_quantised(quantised, &options, folder.path(), |_| {}).unwrap();
        let item = &phantoms(12).items[11];
        let image: Vec<f32> = item.image.iter().copied().collect();
        let mut tokens: Vec<i64> = item.tokens.ids().iter().map(|id| i64::from(*id)).collect();
        tokens.resize(77, 0);
        let inputs =
            [Tensor::from_shape(&[1, 3, 64, 64], &image).unwrap(), Tensor::from_shape(&[1, 77], &tokens).unwrap()];
        let found = run_onnx(&folder.path().join("model.onnx"), &inputs);
        let graph = strip_before_relu(&quantised.graph);
        let set = CalibrationSet { items: vec![item.clone()] };
        let expected = run(&graph, &quantised.computed_weights(), &set);
        // A sum that differs in its last bit rounds to another step in a few places, and fifty layers spread that: two
        // engines differ from each other as much as from the exact result. Each layer's result is compared below.
        let (true_graph, true_weights) = prepare(&checkpoint(), quantised.form).unwrap();
        let truth = run(&true_graph, &true_weights, &set);
        let (of_file, of_reference) = (relative_error(&found, &truth), relative_error(&expected, &truth));
        assert!(of_file < 1.3 * of_reference + 0.01, "{}: {of_file}, {of_reference}", quantised.form.name());
    }
}

/// Numbers without a pattern, between -1 and 1.
fn noise(dims: &[usize], seed: u64) -> ndarray::ArrayD<f32> {
    let mut state = seed;
    ndarray::ArrayD::from_shape_simple_fn(dims.to_vec(), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// One layer of each kind between two quantised values, so that only that layer makes a difference.
#[test]
fn each_integer_layer_is_written_as_it_is_computed() {
    let map = Shape::Map { channels: 6, height: 4, width: 5 };
    let pixels = Shape::Sequence { length: Some(20), width: 6 };
    let conv =
        Op::Conv { weight: "w".into(), bias: Some("b".into()), out_channels: 5, kernel: 3, stride: 1, padding: 1 };
    let linear = |bias: bool, first_row| Op::Linear {
        weight: "w".into(),
        bias: bias.then(|| "b".to_string()),
        weight_rows: 12,
        first_row,
        out: 5,
    };
    let cases = [
        (conv, map, vec![1, 6, 4, 5], vec![5, 6, 3, 3]),
        (linear(true, 3), pixels, vec![1, 20, 6], vec![12, 6]),
        (linear(false, 0), pixels, vec![1, 20, 6], vec![12, 6]),
        (linear(true, 7), Shape::Vector { width: 6 }, vec![1, 6], vec![12, 6]),
        (Op::Relu, map, vec![1, 6, 4, 5], vec![]),
    ];
    for (op, shape, dims, weight_dims) in cases {
        let name = format!("{op:?}");
        let mut g = GraphBuilder::new();
        let x = g.input("x", shape).unwrap();
        let y = g.add(op, &[x]).unwrap();
        let mut graph = g.finish(&[y]);
        graph.nodes[0].quantisation = Some(ScaleZeroPoint { scale: 0.013, zero_point: 96 });
        graph.nodes[1].quantisation = Some(ScaleZeroPoint { scale: 0.017, zero_point: 120 });
        let mut weights: Weights =
            graph.parameters().into_iter().map(|parameter| (parameter.name, noise(&parameter.shape, 3))).collect();
        let mut integers = BTreeMap::new();
        if !weight_dims.is_empty() {
            let integer = QuantisedTensor::of(&weights["w"], WeightBits::Eight);
            assert_eq!(integer.stored.shape(), weight_dims);
            weights.insert("w".into(), integer.dequantise());
            integers.insert("w".to_string(), integer);
        }
        let value = noise(&dims, 8);
        let inner = value.index_axis(ndarray::Axis(0), 0).to_owned();
        let expected =
            ReferencePlan::new(&graph, &weights).unwrap().run(&[InputValue::Array(&inner)]).unwrap().remove(0);
        let model = write_model(&graph, &weights, &integers, &BTreeMap::new(), &BTreeMap::new()).unwrap().model;
        assert!(!model.graph.as_ref().unwrap().initializer.iter().any(|tensor| tensor.name == "w"), "{name}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("graph.onnx");
        std::fs::write(&file, model.encode_to_vec()).unwrap();
        let values: Vec<f32> = value.iter().copied().collect();
        let found = run_onnx(&file, &[Tensor::from_shape(&dims, &values).unwrap()]);
        assert_eq!(found.len(), expected.len(), "{name}");
        let off = found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
        assert!(off * 50 <= found.len(), "{name}: {off} of {} differ", found.len());
        let furthest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(furthest <= 0.0171, "{name}: {furthest}, more than a step");
    }
}

#[test]
fn weights_fit_seven_bits() {
    let options =
        QuantiseOptions { weight_bits: WeightBits::Seven, thorough: false, scan: 0, ..options(Form::Rewritten) };
    let (quantised, report) = quantise(&checkpoint(), phantoms(3), &options, |_| {}).unwrap();
    assert_eq!(report.weight_bits, 7);
    let is_table = |name: &str| name.contains("token_embedding");
    for (name, tensor) in quantised.quantised.iter().filter(|(name, _)| !is_table(name)) {
        assert!(tensor.stored.iter().all(|value| value.abs() <= 63), "{name}");
    }
    let error = report.deviation.relative_error;
    assert!(error < 0.15, "{error}");
}

/// Two products of neighbouring weights with any bytes fit 16 bits, except in the layers that the report names.
#[test]
fn neighbouring_weights_fit_sixteen_bits() {
    let (quantised, report) = &*REWRITTEN;
    let unlimited = report.unlimited_pairs.as_ref().expect("limits are the default");
    let is_limited = |stored: &ndarray::ArrayD<i8>| {
        stored.outer_iter().all(|output| {
            let channels = output.len_of(ndarray::Axis(0));
            (0..channels / 2).all(|pair| {
                let [first, second] = [0, 1].map(|index| output.index_axis(ndarray::Axis(0), 2 * pair + index));
                first.iter().zip(second).all(|(a, b)| a.unsigned_abs() as u16 + b.unsigned_abs() as u16 <= 128)
            })
        })
    };
    let layers: Vec<_> = quantised.quantised.iter().filter(|(name, _)| !name.contains("token_embedding")).collect();
    for (name, tensor) in &layers {
        assert!(is_limited(&tensor.stored) || unlimited.contains(name), "{name}");
    }
    assert!(unlimited.len() * 2 < layers.len(), "{unlimited:?}");
    let free = QuantiseOptions { pairs: PairLimit::Never, thorough: false, scan: 0, ..options(Form::Rewritten) };
    let (free, report) = quantise(&checkpoint(), phantoms(3), &free, |_| {}).unwrap();
    assert_eq!(report.unlimited_pairs, None);
    assert!(free.quantised.values().filter(|tensor| !is_limited(&tensor.stored)).count() * 2 > layers.len());
}

/// Masked channels, dead layers, an image of one constant grey: scales are safe, and nothing is divided by zero.
#[test]
fn what_is_always_zero_has_a_safe_scale() {
    let mut checkpoint = checkpoint();
    for name in ["neck_ad.f4_proj4.0.weight", "neck_ad.carafe.down.weight", "neck_ad.carafe.down.bias"] {
        checkpoint.weights.get_mut(name).unwrap().fill(0.0);
    }
    let bn = "neck_ad.f4_proj4.1";
    for field in ["bias", "running_mean"] {
        checkpoint.weights.get_mut(&format!("{bn}.{field}")).unwrap().fill(0.0);
    }
    let options = QuantiseOptions { scan: 0, thorough: false, ..options(Form::Rewritten) };
    let (quantised, report) = quantise(&checkpoint, phantoms(2), &options, |_| {}).unwrap();
    for node in &quantised.graph.nodes {
        assert!(
            node.quantisation.is_none_or(|quantisation| quantisation.scale.is_finite() && quantisation.scale > 0.0),
            "{}",
            node.name
        );
    }
    assert!(report.deviation.relative_error.is_finite());
    let engine = Engine::new(&strip_fused(&quantised.graph), &quantised.computed_weights(), EngineOptions::default());
    let engine = engine.unwrap();
    let kernel = engine.encode_prompt(&[49_406, 320, 49_407]).unwrap();
    let (logits, _) = engine.segment(&vec![0.0; 3 * 64 * 64], &kernel).unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()));
}

#[test]
fn bad_sets_and_weights_are_refused() {
    let attempt = |checkpoint: &Checkpoint, set: CalibrationSet| {
        quantise(checkpoint, set, &options(Form::Rewritten), |_| {}).unwrap_err().to_string()
    };
    assert!(attempt(&checkpoint(), CalibrationSet::default()).contains("no image to calibrate on"));
    let reader = || CalibrationReader::new(64, Fit::Stretch, 77, &clip_tokenizer_json()).unwrap();
    assert!(matches!(reader().finish(), Err(QuantiseError::NoImages)));
    let grey = |levels: [u8; 2]| {
        let mut phantom = Phantom::generate(1, 1, Some((96, 96)));
        phantom.pixels.iter_mut().enumerate().for_each(|(index, pixel)| *pixel = levels[index / 48 % 2]);
        let mut reader = reader();
        reader.add_phantom(&phantom).unwrap();
        reader.add_phantom(&phantom).unwrap();
        reader.finish().map(|set| set.items.len()).map_err(|error| error.to_string())
    };
    assert!(grey([90, 90]).unwrap_err().contains("all 2 calibration images are of one constant value"));
    assert!(grey([0, 3]).unwrap_err().contains("of the grey range"));
    assert_eq!(grey([0, 200]), Ok(2));
    let mut poisoned = checkpoint();
    poisoned.weights.get_mut("neck_ad.aggr.0.weight").unwrap().mapv_inplace(|value| value * f32::MAX);
    let error = attempt(&poisoned, phantoms(2));
    assert!(error.contains("yields") && error.contains("import the checkpoint again"), "{error}");
}

#[test]
fn forms_and_sizes_are_not_mixed_up() {
    let (quantised, _) = &*REWRITTEN;
    let published = QuantisedCheckpoint { form: Form::Published, ..quantised.clone() };
    assert!(matches!(pack_quantised(published.clone(), pack_options(), None), Err(PackError::PublishedForm)));
    let folder = tempfile::tempdir().unwrap();
    let attempt = |quantised: &QuantisedCheckpoint, form, input_size, confounders| {
        let options = export_options(form, input_size, confounders);
        export_quantised(quantised, &options, &folder.path().join("out"), |_| {}).unwrap_err()
    };
    assert!(matches!(attempt(quantised, Form::Published, None, false), ExportError::Form { .. }));
    assert!(matches!(attempt(quantised, Form::Rewritten, Some(96), false), ExportError::QuantisedSize { size: 64 }));
    assert!(matches!(attempt(&published, Form::Published, None, true), ExportError::NoConfounders));
    assert!(!folder.path().join("out").exists());
}

fn convert() -> Command {
    Command::cargo_bin("causalclipseg-convert").unwrap()
}

#[test]
fn the_command_goes_from_checkpoint_to_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    checkpoint().save(&path("mini.safetensors"), causalclipseg_convert::checkpoint::Storage::F32).unwrap();
    convert()
        .current_dir(&folder)
        .args(["phantom", "--count", "6", "--seed", "3", "-o", "phantoms", "--split", "0.5"])
        .assert()
        .success();
    let output = convert()
        .current_dir(&folder)
        .args(["quantize", "--checkpoint", "mini.safetensors", "--calibrate", "phantoms", "--phantoms", "2"])
        .args(["--images", "3", "--fast", "--scan", "1", "--compare", "phantoms", "--report", "report.json"])
        .args(["-o", "int8.safetensors"])
        .assert()
        .success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    for part in ["SQNR", "masks' agreement", "int8.safetensors written", "left in f32"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(path("report.json")).unwrap()).unwrap();
    assert_eq!(report["form"], "rewritten");
    assert!(report["comparison"]["mask_agreement"].as_f64().unwrap() > 0.5);
    convert()
        .current_dir(&folder)
        .args(["pack", "--checkpoint", "int8.safetensors", "--precision", "int8", "-o", "int8.ccs"])
        .assert()
        .success();
    let bundle = Bundle::open(&path("int8.ccs")).unwrap();
    let calibration = bundle.manifest().model.calibration.as_ref().unwrap();
    assert!(calibration["comparison"]["dice_int8"].is_number() && calibration.get("layers").is_none());

    for (arguments, expected) in [
        (vec!["pack", "--checkpoint", "mini.safetensors", "--precision", "int8", "-o", "x.ccs"], "is not a quantised"),
        (vec!["pack", "--checkpoint", "int8.safetensors", "-o", "x.ccs"], "is quantised"),
        (
            vec!["pack", "--checkpoint", "int8.safetensors", "--precision", "int8", "--size", "96", "-o", "x.ccs"],
            "one input size",
        ),
        (vec!["quantize", "--checkpoint", "mini.safetensors", "--calibrate", "nowhere", "-o", "x"], "nowhere"),
        (vec!["quantize", "--checkpoint", "int8.safetensors", "--phantoms", "1", "-o", "x"], "is quantised"),
    ] {
        let assert = convert().current_dir(&folder).args(&arguments).assert().code(1);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(error.contains(expected) && error.trim().lines().count() == 1, "{arguments:?}: {error}");
    }
    convert().current_dir(&folder).args(["quantize", "--checkpoint", "mini.safetensors", "-o", "x"]).assert().code(2);
    assert!(!path("x").exists() && !path("x.ccs").exists());
}
