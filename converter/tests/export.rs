//! Exported files against the authors' own outputs (tests/golden/README.md), run by an engine that reads plain ONNX.

use causalclipseg::bundle::{Note, Provenance};
use causalclipseg::frame::Fit;
use causalclipseg::graph::{Graph, GraphBuilder, NodeId, Op, Shape, Weights};
use causalclipseg_convert::checkpoint::{Checkpoint, CheckpointError};
use causalclipseg_convert::export::{ExportError, ExportOptions, GraphWriteError, NumberFormat, export, write_model};
use causalclipseg_convert::model::{Architecture, Edition, Form, golden_image};
use ndarray::{Array4, ArrayD};
use prost::Message;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

/// The reference values that exported files yield.
const REFERENCES: [(&str, &[&str], &[&str]); 5] = [
    ("text.onnx", &["tokens"], &["state"]),
    ("image.onnx", &["image"], &["fq_sup", "fq_inf"]),
    ("head.onnx", &["fq_sup", "state"], &["pred"]),
    ("confounder_head.onnx", &["fq_inf", "state"], &["pred_ad"]),
    ("model.onnx", &["image", "tokens"], &["pred"]),
];

const FORMS: [Form; 2] = [Form::Published, Form::Rewritten];

fn options(form: Form) -> ExportOptions {
    ExportOptions { form, precision: NumberFormat::F32, input_size: None, confounders: true, fit: Fit::Stretch }
}

fn golden_checkpoint(architecture: Architecture) -> Checkpoint {
    let weights = architecture.golden_weights().unwrap();
    Checkpoint { architecture, weights, provenance: Provenance::default() }
}

/// Opens a file in tract with one shape for each input, and runs it.
fn run(file: &Path, inputs: &[Tensor]) -> Vec<ArrayD<f32>> {
    let mut model = tract_onnx::onnx().model_for_path(file).unwrap();
    for (index, input) in inputs.iter().enumerate() {
        model.set_input_fact(index, InferenceFact::dt_shape(input.datum_type(), input.shape())).unwrap();
    }
    let outputs: Vec<_> = model.output_outlets().unwrap().to_vec();
    for index in 0..outputs.len() {
        model.set_output_fact(index, InferenceFact::default()).unwrap();
    }
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    let outputs = plan.run(inputs.iter().map(|input| input.clone().into_tvalue()).collect()).unwrap();
    outputs
        .iter()
        .map(|output| {
            let values = output.to_plain_array_view::<f32>().unwrap().iter().copied().collect();
            ArrayD::from_shape_vec(output.shape().to_vec(), values).unwrap()
        })
        .collect()
}

fn tokens(prompts: &[Vec<i64>], context: usize) -> Tensor {
    let padded: Vec<i64> =
        prompts.iter().flat_map(|ids| ids.iter().copied().chain(std::iter::repeat_n(0, context - ids.len()))).collect();
    Tensor::from_shape(&[prompts.len(), context], &padded).unwrap()
}

fn tensor(value: &ArrayD<f32>) -> Tensor {
    Tensor::from_shape(value.shape(), &value.iter().copied().collect::<Vec<_>>()).unwrap()
}

/// Largest difference as a share of the largest expected magnitude.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    let difference = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(found.iter().all(|value| value.is_finite()) && largest > 0.0);
    difference / largest
}

/// Reference vectors of one configuration: complete tensors, and those that keep every 16th value.
struct Golden(Vec<u8>);

impl Golden {
    fn read(name: &str) -> Self {
        let path = format!("{}/../tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Self(std::fs::read(path).expect("the reference vectors are in the repository"))
    }

    fn tokens(&self) -> Vec<i64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor("tokens").unwrap();
        view.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn compare(&self, name: &str, found: &ArrayD<f32>, tolerance: f32, what: &str) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let (view, step) = match file.tensor(name) {
            Ok(view) => (view, 1),
            Err(_) => (file.tensor(&format!("{name}.every16th")).unwrap(), 16),
        };
        let expected: Vec<f32> =
            view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let found: Vec<f32> = found.iter().copied().step_by(step).collect();
        let difference = difference(&found, &expected);
        println!("{what} {name}: {difference:.1e}");
        assert!(difference <= tolerance, "{what} {name}: {difference:e}");
    }
}

/// Exports a configuration and compares the results of the files; each file gets the results of the files before it.
fn check_files(name: &str, architecture: Architecture, form: Form, files: &[&str], tolerance: f32) {
    let golden = Golden::read(name);
    let size = architecture.input_size;
    let context = architecture.text.context;
    let directory = tempfile::tempdir().unwrap();
    let paths = export(&golden_checkpoint(architecture), &options(form), directory.path(), |_| {}).unwrap();
    assert_eq!(paths.len(), REFERENCES.len() + 1, "the tokenizer too");
    let image = golden_image(size);
    let image = Tensor::from_shape(&[1, 3, size, size], &image.iter().copied().collect::<Vec<_>>()).unwrap();
    let mut values = BTreeMap::from([("image", image), ("tokens", tokens(&[golden.tokens()], context))]);
    for (file, inputs, outputs) in REFERENCES.iter().filter(|(file, ..)| files.contains(file)) {
        let inputs: Vec<Tensor> = inputs.iter().map(|input| values[input].clone()).collect();
        let found = run(&directory.path().join(file), &inputs);
        assert_eq!(found.len(), outputs.len(), "{file}");
        for (output, found) in outputs.iter().zip(&found) {
            golden.compare(output, found, tolerance, &format!("{name} {} {file}", form.name()));
            values.insert(output, tensor(found));
        }
    }
}

#[test]
fn mini_files_yield_the_reference_vectors() {
    for form in FORMS {
        check_files("mini", Architecture::mini(), form, &REFERENCES.map(|(file, ..)| file), 1e-4);
    }
}

/// The complete published networks; the rewritten one in its parts, so that every file of a large network is run once.
#[test]
fn rn101_files_yield_the_reference_vectors() {
    let architecture = Architecture::of(Edition::Rn101, 224);
    check_files("rn101", architecture.clone(), Form::Published, &["model.onnx"], 1e-3);
    check_files("rn101", architecture, Form::Rewritten, &["text.onnx", "image.onnx", "head.onnx"], 1e-3);
}

#[test]
fn rn50_files_yield_the_reference_vectors() {
    let architecture = Architecture::of(Edition::Rn50, 224);
    check_files("rn50", architecture.clone(), Form::Published, &["model.onnx"], 1e-3);
    check_files("rn50", architecture, Form::Rewritten, &["text.onnx", "image.onnx", "head.onnx"], 1e-3);
}

/// Sizes whose maps are odd, and prompts of several lengths at once.
#[test]
fn both_forms_agree_at_odd_sizes() {
    for size in [96, 160] {
        let architecture = Architecture { input_size: size, ..Architecture::mini() };
        let weights = architecture.random_weights(7).unwrap();
        let checkpoint = Checkpoint { architecture, weights, provenance: Provenance::default() };
        let context = checkpoint.architecture.text.context;
        let prompts = tokens(&[vec![510, 5, 511], vec![510, 300, 8, 9, 10, 11, 511], vec![510, 511]], context);
        let image = golden_image(size);
        let image = Tensor::from_shape(&[1, 3, size, size], &image.iter().copied().collect::<Vec<_>>()).unwrap();
        let logits = FORMS.map(|form| {
            let directory = tempfile::tempdir().unwrap();
            export(&checkpoint, &options(form), directory.path(), |_| {}).unwrap();
            run(&directory.path().join("model.onnx"), &[image.clone(), prompts.clone()]).remove(0)
        });
        let [published, rewritten] = logits.each_ref().map(|logits| logits.as_slice().unwrap());
        assert_eq!(logits[0].shape(), [3, 1, size, size]);
        assert_ne!(published[..size * size], published[size * size..2 * size * size], "prompts differ");
        let difference = difference(rewritten, published);
        assert!(difference <= 1e-4, "{size}: {difference:e}");
    }
}

/// A map or vector of numbers without a pattern, between -1 and 1.
fn noise(dims: &[usize], seed: u64) -> ArrayD<f32> {
    let mut state = seed;
    ArrayD::from_shape_simple_fn(dims.to_vec(), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// Writes a graph and runs it on `inputs`.
fn run_graph(graph: &Graph, weights: &Weights, inputs: &[Tensor]) -> ArrayD<f32> {
    let model = write_model(graph, weights, &BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new()).unwrap().model;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("graph.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    run(&file, inputs).remove(0)
}

/// A graph of one operator on a map of 2 or 18 channels and its other inputs.
fn single(op: Op, shapes: &[Shape]) -> Graph {
    let mut g = GraphBuilder::new();
    let inputs: Vec<NodeId> =
        shapes.iter().enumerate().map(|(index, shape)| g.input(&format!("x{index}"), *shape).unwrap()).collect();
    let y = g.add(op, &inputs).unwrap();
    g.finish(&[y])
}

/// A row's bilinear reading (align_corners = false) at an output position.
fn upsampled(map: &Array4<f32>, channel: usize, y: usize, x: usize, scale: usize) -> f32 {
    let along = |place: usize, size: usize| {
        let position = ((place as f32 + 0.5) / scale as f32 - 0.5).max(0.0);
        let near = (position as usize).min(size - 1);
        (near, (near + 1).min(size - 1), position - near as f32)
    };
    let (_, _, height, width) = map.dim();
    let ((top, bottom, down), (left, right, across)) = (along(y, height), along(x, width));
    let row = |y: usize| map[(0, channel, y, left)] * (1.0 - across) + map[(0, channel, y, right)] * across;
    row(top) * (1.0 - down) + row(bottom) * down
}

#[test]
fn blended_taps_are_shifted_upsampled_maps() {
    for (height, width, scale, biased) in [(3, 5, 4, true), (1, 1, 2, false), (2, 1, 4, true)] {
        let channels = 2;
        let map = noise(&[1, 9 * channels, height, width], 3);
        let bias = biased.then(|| "bias".to_string());
        let graph = single(Op::BlendTaps { scale, bias }, &[Shape::Map { channels: 18, height, width }]);
        let weights = Weights::from([("bias".to_string(), noise(&[channels], 4))]);
        let found = run_graph(&graph, &weights, &[tensor(&map)]);
        let (tall, wide) = (height * scale, width * scale);
        let lines = map.into_dimensionality().unwrap();
        let expected: Vec<f32> = ndarray::indices((channels, tall, wide))
            .into_iter()
            .map(|(channel, y, x)| {
                let taps = (0..9).filter_map(|tap| {
                    let y = (y + tap / 3).checked_sub(1).filter(|y| *y < tall)?;
                    let x = (x + tap % 3).checked_sub(1).filter(|x| *x < wide)?;
                    Some(upsampled(&lines, tap * channels + channel, y, x, scale))
                });
                taps.sum::<f32>() + if biased { weights["bias"][[channel]] } else { 0.0 }
            })
            .collect();
        let difference = difference(found.as_slice().unwrap(), &expected);
        assert!(difference <= 1e-5, "{height}x{width}: {difference:e}");
    }
}

#[test]
fn prompt_convolutions_read_either_order_of_weights() {
    let (channels, height, width, prompts) = (3, 4, 5, 2);
    let map = noise(&[1, channels, height, width], 5);
    for folded in [false, true] {
        let length = 9 * channels + if folded { 10 } else { 1 };
        let vectors = noise(&[prompts, length], 6);
        let shapes = [Shape::Map { channels, height, width }, Shape::Vector { width: length }];
        let found =
            run_graph(&single(Op::PromptConv { folded }, &shapes), &Weights::new(), &[tensor(&map), tensor(&vectors)]);
        assert_eq!(found.shape(), [prompts, 1, height, width]);
        let expected: Vec<f32> = ndarray::indices((prompts, height, width))
            .into_iter()
            .map(|(prompt, y, x)| {
                let mut sum = vectors[[prompt, length - 1]];
                for tap in 0..9 {
                    let (y, x) = ((y + tap / 3).wrapping_sub(1), (x + tap % 3).wrapping_sub(1));
                    if y >= height || x >= width {
                        continue;
                    }
                    sum += if folded { vectors[[prompt, 9 * channels + tap]] } else { 0.0 };
                    for channel in 0..channels {
                        let index = if folded { tap * channels + channel } else { channel * 9 + tap };
                        sum += vectors[[prompt, index]] * map[[0, channel, y, x]];
                    }
                }
                sum
            })
            .collect();
        let difference = difference(found.as_slice().unwrap(), &expected);
        assert!(difference <= 1e-5, "folded {folded}: {difference:e}");
    }
}

#[test]
fn constant_maps_are_added() {
    let (map, added) = (noise(&[1, 2, 3, 3], 8), noise(&[2, 3, 3], 9));
    let graph = single(Op::AddMap { map: "added".into() }, &[Shape::Map { channels: 2, height: 3, width: 3 }]);
    let expected: Vec<f32> = map.iter().zip(&added).map(|(a, b)| a + b).collect();
    let found = run_graph(&graph, &Weights::from([("added".to_string(), added)]), &[tensor(&map)]);
    assert!(difference(found.as_slice().unwrap(), &expected) <= 1e-6);
}

#[test]
fn files_say_what_they_are() {
    let mut checkpoint = golden_checkpoint(Architecture::mini());
    checkpoint.provenance.note(Note::Commit, "0123abc");
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("new/folder");
    let options = ExportOptions { input_size: Some(96), confounders: false, ..options(Form::Published) };
    let mut told = Vec::new();
    let paths = export(&checkpoint, &options, &folder, |file| told.push(file.to_string())).unwrap();
    let files = ["text.onnx", "image.onnx", "head.onnx", "model.onnx", "tokenizer.json"];
    assert_eq!(told, files);
    assert_eq!(paths, files.map(|file| folder.join(file)));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), files.len(), "no temporary file stays");
    let model = ModelProto::decode(&std::fs::read(&paths[3]).unwrap()[..]).unwrap();
    let property = |key: &str| model.metadata_props.iter().find(|p| p.key == key).map(|p| p.value.as_str());
    assert_eq!(property("edition"), Some("tiny"));
    assert_eq!(property("form"), Some("published"));
    assert_eq!(property("input_size"), Some("96"));
    assert_eq!(property("commit"), Some("0123abc"));
    assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
    let graph = model.graph.unwrap();
    assert_eq!(graph.input.iter().map(|value| value.name.as_str()).collect::<Vec<_>>(), ["image", "tokens"]);
    assert_eq!(graph.output.iter().map(|value| value.name.as_str()).collect::<Vec<_>>(), ["logits"]);
    assert!(
        ["v3", "v4", "v5", "fq4", "mask5", "fq_sup", "state"]
            .iter()
            .all(|stage| { graph.node.iter().any(|node| node.name == *stage) })
    );
    assert!(graph.node.iter().all(|node| node.domain.is_empty()));
}

#[test]
fn refuses_what_it_cannot_export() {
    let checkpoint = golden_checkpoint(Architecture::mini());
    let directory = tempfile::tempdir().unwrap();
    let attempt = |options: ExportOptions, checkpoint: &Checkpoint| {
        export(checkpoint, &options, &directory.path().join("out"), |_| {}).unwrap_err()
    };
    let int8 = ExportOptions { precision: NumberFormat::Int8, ..options(Form::Published) };
    assert!(matches!(attempt(int8, &checkpoint), ExportError::NotQuantized));
    let size = ExportOptions { input_size: Some(100), ..options(Form::Published) };
    assert!(matches!(attempt(size, &checkpoint), ExportError::Checkpoint(CheckpointError::Size(_))));
    let mut poorer = checkpoint.clone();
    poorer.weights.remove("neck_ad.aggr.0.weight");
    let error = attempt(options(Form::Published), &poorer);
    assert!(matches!(error, ExportError::Node(GraphWriteError::NoWeight { .. })), "{error}");
    assert!(error.to_string().contains("neck_ad.aggr.0.weight"), "{error}");
    let left = std::fs::read_dir(directory.path().join("out")).map_or(0, |files| files.count());
    assert_eq!(left, 0, "nothing half-written stays");
    std::fs::write(directory.path().join("file"), "").unwrap();
    let error = export(&checkpoint, &options(Form::Published), &directory.path().join("file/out"), |_| {}).unwrap_err();
    assert!(matches!(error, ExportError::Write { .. }), "{error}");
}
