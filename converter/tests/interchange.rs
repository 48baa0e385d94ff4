//! Exported files in the runtime yield the same masks as the same checkpoint's bundle, also after other tools changed
//! the file.

use causalclipseg::bundle::{Precision, Sha256};
use causalclipseg::frame::{Fit, Frame, PixelFormat};
use causalclipseg::graph::Op;
use causalclipseg::onnx::{NETWORK_KEY, NetworkDescription, OnnxFile, OnnxNetwork};
use causalclipseg::{Finding, Model, ModelFile, ModelOptions, Session};
use causalclipseg_convert::checkpoint::Checkpoint;
use causalclipseg_convert::export::{ExportOptions, NumberFormat, export, export_quantised};
use causalclipseg_convert::model::{Architecture, Form, TextEncoder};
use causalclipseg_convert::pack::{PackOptions, pack, pack_quantised};
use causalclipseg_convert::phantom::Phantom;
use causalclipseg_convert::quantize::{
    CalibrationReader, CalibrationSet, QuantiseOptions, QuantisedCheckpoint, quantise,
};
use causalclipseg_convert::tokenizer::clip_tokenizer_json;
use prost::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use tempfile::TempDir;
use tract_onnx::pb::{ModelProto, TensorProto};

const PROMPTS: [&str; 2] = ["The small bright mass on the left.", "a dark cyst"];
const FIT: Fit = Fit::Letterbox { padding: [0.5; 3] };
/// Tolerance in probability; the two sum in different orders.
const F32_TOLERANCE: f32 = 1e-4;

/// The smallest network of the family, with CLIP's vocabulary.
fn checkpoint() -> Checkpoint {
    let mini = Architecture::mini();
    let text = TextEncoder { vocabulary: 49_408, ..mini.text.clone() };
    let architecture = Architecture { text, ..mini };
    let weights = architecture.golden_weights().unwrap();
    let metadata = [("trained", "false"), ("commit", "0123abc"), ("threshold", "0.45")];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
    Checkpoint { architecture, weights, provenance: BTreeMap::from(metadata).try_into().unwrap() }
}

fn phantoms(count: u64) -> CalibrationSet {
    let mut reader = CalibrationReader::new(64, Fit::Stretch, 77, &clip_tokenizer_json()).unwrap();
    for index in 0..count {
        reader.add_phantom(&Phantom::generate(9, index, Some((120, 96)))).unwrap();
    }
    reader.finish().unwrap()
}

fn quantised(form: Form) -> QuantisedCheckpoint {
    let options = QuantiseOptions { form, scan: 0, thorough: false, most_wide: 0, ..QuantiseOptions::default() };
    quantise(&checkpoint(), phantoms(4), &options, |_| {}).unwrap().0
}

fn options(form: Form, precision: NumberFormat) -> ExportOptions {
    ExportOptions { form, precision, input_size: None, confounders: false, fit: FIT }
}

/// An export's folder.
struct Export(TempDir);

impl Export {
    fn f32(form: Form) -> Self {
        let folder = tempfile::tempdir().unwrap();
        export(&checkpoint(), &options(form, NumberFormat::F32), folder.path(), |_| {}).unwrap();
        Self(folder)
    }

    fn int8(checkpoint: &QuantisedCheckpoint) -> Self {
        let folder = tempfile::tempdir().unwrap();
        export_quantised(checkpoint, &options(checkpoint.form, NumberFormat::Int8), folder.path(), |_| {}).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model.onnx")
    }

    /// Another file beside the tokenizer, with other contents.
    fn changed(&self, change: impl FnOnce(&mut ModelProto)) -> PathBuf {
        let mut model = ModelProto::decode(&std::fs::read(self.model()).unwrap()[..]).unwrap();
        change(&mut model);
        self.write("changed.onnx", &model.encode_to_vec())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Writes another file with a changed description.
    fn redescribed(&self, change: impl FnOnce(&mut NetworkDescription)) -> PathBuf {
        self.changed(|model| {
            let property = model.metadata_props.iter_mut().find(|property| property.key == NETWORK_KEY).unwrap();
            let mut description: NetworkDescription = serde_json::from_str(&property.value).unwrap();
            change(&mut description);
            property.value = serde_json::to_string(&description).unwrap();
        })
    }
}

fn without_description(model: &mut ModelProto) {
    model.metadata_props.retain(|property| property.key != NETWORK_KEY);
}

static PUBLISHED: LazyLock<Export> = LazyLock::new(|| Export::f32(Form::Published));
static REWRITTEN: LazyLock<Export> = LazyLock::new(|| Export::f32(Form::Rewritten));
static QUANTISED: LazyLock<QuantisedCheckpoint> = LazyLock::new(|| quantised(Form::Rewritten));
static INT8: LazyLock<Export> = LazyLock::new(|| Export::int8(&QUANTISED));

fn segment(model: &Model) -> Vec<Finding> {
    let phantom = Phantom::generate(3, 1, Some((150, 110)));
    let frame = Frame::packed(&phantom.pixels, PixelFormat::Gray8, phantom.width, phantom.height).unwrap();
    let prompts = PROMPTS.map(|text| model.prompt(text).unwrap());
    Session::new(model, Default::default()).unwrap().run(&frame, &prompts).unwrap().findings.clone()
}

/// The reason why plain tract runs a file, or `None` where its network is known.
fn reason(file: &ModelFile) -> Option<String> {
    let ModelFile::Onnx(file) = file else { panic!("not an interchange file") };
    match file.network() {
        OnnxNetwork::Known { deviation, .. } => {
            assert!(*deviation < 2e-3);
            None
        }
        OnnxNetwork::AsItIs { reason, .. } => Some(reason.clone()),
    }
}

fn open(path: &Path) -> (Model, Option<String>) {
    let file = ModelFile::open(path).unwrap();
    let reason = reason(&file);
    (Model::from_file(file, ModelOptions::default()).unwrap(), reason)
}

fn bundled(builder: causalclipseg::bundle::BundleBuilder) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mini.ccs");
    builder.write(&path).unwrap();
    Model::open(&path, ModelOptions::default()).unwrap()
}

fn pack_options(precision: Precision) -> PackOptions {
    PackOptions { name: "mini".into(), precision, fit: FIT, threshold: 0.45, tokenizer_json: None }
}

/// The same checkpoint's bundle.
static BUNDLE: LazyLock<Vec<Finding>> =
    LazyLock::new(|| segment(&bundled(pack(checkpoint(), pack_options(Precision::F32), None).unwrap())));

fn largest_difference(found: &[Finding], expected: &[Finding]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let of_prompt = |(found, expected): (&Finding, &Finding)| {
        let pairs = found.probability().values().into_iter().zip(expected.probability().values());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    found.iter().zip(expected).map(of_prompt).fold(0.0, f32::max)
}

fn different_pixels(found: &[Finding], expected: &[Finding]) -> usize {
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| a.mask().pixels().iter().zip(b.mask().pixels()).filter(|(a, b)| a != b).count()).sum()
}

#[test]
fn f32_files_give_the_bundles_masks() {
    for export in [&*PUBLISHED, &*REWRITTEN] {
        let (model, reason) = open(&export.model());
        assert_eq!(reason, None);
        assert!(model.engine().cpu().is_some(), "the fast engine runs it");
        let description = model.description();
        assert_eq!((description.threshold, description.fit, description.trained), (0.45, FIT, false));
        assert_eq!((description.edition.as_str(), description.provenance.get("commit").unwrap()), ("tiny", "0123abc"));
        assert_eq!(model.sha256(), Sha256::of(&std::fs::read(export.model()).unwrap()));
        let found = segment(&model);
        let difference = largest_difference(&found, &BUNDLE);
        println!("{difference:.1e}, {} pixels", different_pixels(&found, &BUNDLE));
        assert!(difference < F32_TOLERANCE, "{difference}");
        assert!(different_pixels(&found, &BUNDLE) <= 10);
        // Masks must depend on the sentence, or equal masks would prove little.
        assert!(largest_difference(&found[..1], &BUNDLE[1..]) > 10.0 * F32_TOLERANCE);
    }
}

#[test]
fn int8_files_run_as_the_bundle_does() {
    let expected = bundled(pack_quantised(QUANTISED.clone(), pack_options(Precision::Int8), None).unwrap());
    let (model, reason) = open(&INT8.model());
    assert_eq!(reason, None);
    assert!(model.engine().cpu().is_some());
    let file = ModelFile::open(&INT8.model()).unwrap();
    let (graph, bundle) = (file.bundle().unwrap().graph(), file.bundle().unwrap());
    assert_eq!(bundle.manifest().precision, Precision::Int8);
    for node in &graph.nodes {
        if let Op::Conv { weight, .. } = &node.op
            && let Some(integers) = QUANTISED.quantised.get(weight)
        {
            assert_eq!(bundle.values(weight).unwrap(), integers.dequantise(), "{weight}");
            assert!(bundle.tensor(weight).unwrap().packing.is_some(), "{weight}");
        }
    }
    let (found, expected) = (segment(&model), segment(&expected));
    let pixels = 2 * 150 * 110;
    let (difference, off) = (largest_difference(&found, &expected), different_pixels(&found, &expected));
    println!("int8: {difference:.1e} in probability, {off} of {pixels} pixels");
    // The bundle has its tables in f16, the file in f32: a value here and there rounds to the next step.
    assert!(off * 100 <= pixels, "{off} of {pixels}");
}

#[test]
fn published_int8_runs_on_the_reference_engine() {
    let export = Export::int8(&quantised(Form::Published));
    let (model, reason) = open(&export.model());
    assert_eq!(reason, None);
    assert!(model.engine().cpu().is_none());
    let off = different_pixels(&segment(&model), &BUNDLE);
    println!("published int8 against f32: {off} pixels");
    assert!(off * 10 <= 2 * 150 * 110, "{off}");
}

/// Plain tract's result decides, whatever the file's description says.
#[test]
fn a_description_that_lies_is_found_out() {
    type Lie = fn(&mut NetworkDescription);
    let lies: [(&str, Lie); 9] = [
        ("causal", |d| {
            let attention = d.graph.nodes.iter_mut().find_map(|node| match &mut node.op {
                Op::Attention { causal, .. } if *causal => Some(causal),
                _ => None,
            });
            *attention.unwrap() = false;
        }),
        ("heads", |d| {
            let attention = d.graph.nodes.iter_mut().find_map(|node| match &mut node.op {
                Op::Attention { heads, .. } if *heads > 1 => Some(heads),
                _ => None,
            });
            *attention.unwrap() /= 2;
        }),
        ("relu", |d| d.graph.nodes.iter_mut().rfind(|node| node.op == Op::Relu).unwrap().op = Op::Complement),
        ("swapped weights", |d| {
            let shapes: BTreeMap<String, Vec<usize>> =
                d.graph.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect();
            let pair = shapes.iter().flat_map(|a| shapes.iter().map(move |b| (a, b)));
            let (a, b) = pair
                .filter(|(a, b)| a.0 < b.0 && a.1 == b.1 && a.1.len() == 4)
                .map(|(a, b)| (a.0.clone(), b.0.clone()))
                .next()
                .unwrap();
            let (of_a, of_b) = (d.weights[&a].clone(), d.weights[&b].clone());
            d.weights.extend([(a, of_b), (b, of_a)]);
        }),
        ("a missing weight", |d| drop(d.weights.pop_first())),
        ("a weight of another name", |d| d.weights.first_entry().unwrap().get_mut()[0].tensor = "nobody".into()),
        ("another version", |d| d.version += 1),
        ("another size", |d| d.model.input_size = 96),
        ("no threshold", |d| d.model.threshold = 2.0),
    ];
    for (what, lie) in lies {
        let (model, reason) = open(&REWRITTEN.redescribed(lie));
        println!("{what}: {}", reason.as_deref().unwrap_or("believed"));
        assert!(reason.is_some(), "{what}");
        // The description's statements about the model are used as far as possible.
        if what != "another version" && what != "another size" && what != "no threshold" {
            let difference = largest_difference(&segment(&model), &BUNDLE);
            assert!(difference < F32_TOLERANCE, "{what}: {difference}");
        }
    }
    // The smallest possible error: one weight of one layer, in a tensor that the graph does not read.
    let path = REWRITTEN.changed(|model| {
        let graph = model.graph.as_mut().unwrap();
        let position = graph.initializer.iter().position(|tensor| tensor.name == "proj.vis.0.1.bias").unwrap_or(0);
        let mut copy: TensorProto = graph.initializer[position].clone();
        let name = copy.name.clone();
        let first = f32::from_le_bytes(copy.raw_data[..4].try_into().unwrap());
        copy.raw_data[..4].copy_from_slice(&(first + 0.5).to_le_bytes());
        copy.name = "changed".into();
        graph.initializer.push(copy);
        let property = model.metadata_props.iter_mut().find(|property| property.key == NETWORK_KEY).unwrap();
        let mut description: NetworkDescription = serde_json::from_str(&property.value).unwrap();
        for part in description.weights.values_mut().flatten().filter(|part| part.tensor == name) {
            part.tensor = "changed".into();
        }
        property.value = serde_json::to_string(&description).unwrap();
    });
    let (model, reason) = open(&path);
    assert!(reason.unwrap().contains("not of the network that it holds"));
    assert!(largest_difference(&segment(&model), &BUNDLE) < F32_TOLERANCE);
}

#[test]
fn lies_about_int8_are_found_out_too() {
    type Lie = fn(&mut NetworkDescription);
    fn quantisation(d: &mut NetworkDescription) -> &mut causalclipseg::graph::ScaleZeroPoint {
        d.graph.nodes.iter_mut().find_map(|node| node.quantisation.as_mut()).unwrap()
    }
    let lies: [(&str, Lie); 5] = [
        ("another scale", |d| quantisation(d).scale *= 1.001),
        ("another zero", |d| quantisation(d).zero_point ^= 1),
        ("with another scale or zero point", |d| quantisation(d).scale *= 2.0),
        ("rounds", |d| d.graph.nodes.iter_mut().rfind(|node| node.quantisation.is_some()).unwrap().quantisation = None),
        ("not of the network", |d| {
            let scales = d.weights.values_mut().flatten().filter(|part| part.scale.is_some());
            let mut scales: Vec<_> = scales.collect();
            let twin = scales.iter().skip(1).position(|part| part.rows == scales[0].rows).unwrap() + 1;
            scales[0].scale = scales[twin].scale.clone();
        }),
    ];
    for (what, lie) in lies {
        let file = ModelFile::open(&INT8.redescribed(lie)).unwrap();
        let reason = reason(&file).unwrap_or_else(|| panic!("{what} was believed"));
        println!("{what}: {reason}");
        assert!(what.starts_with("another") || reason.contains(what), "{what}: {reason}");
    }
    let (model, _) = open(&INT8.changed(without_description));
    let off = different_pixels(&segment(&model), &segment(&open(&INT8.model()).0));
    println!("int8 on plain tract: {off} pixels differ");
    assert!(off * 20 <= 2 * 150 * 110, "{off}");
}

#[test]
fn files_of_others_run_as_they_are() {
    let path = PUBLISHED.changed(|model| {
        model.metadata_props.clear();
        let graph = model.graph.as_mut().unwrap();
        // Other names, and the inputs in another order.
        graph.input.reverse();
        for node in &mut graph.node {
            node.input.iter_mut().for_each(|input| {
                if input == "image" {
                    *input = "pixels".into();
                }
            });
        }
        graph.input.iter_mut().filter(|input| input.name == "image").for_each(|input| input.name = "pixels".into());
    });
    let (model, reason) = open(&path);
    assert!(reason.unwrap().contains("has no description"));
    let description = model.description();
    assert_eq!((description.name.as_str(), description.edition.as_str()), ("changed", "unknown"));
    assert_eq!((description.fit, description.threshold, description.trained), (Fit::Stretch, 0.5, true));
    let bundle = PackOptions { fit: Fit::Stretch, threshold: 0.5, ..pack_options(Precision::F32) };
    let expected = segment(&bundled(pack(checkpoint(), bundle, None).unwrap()));
    assert!(largest_difference(&segment(&model), &expected) < F32_TOLERANCE);
    // An engine for a foreign file cannot report the cost of a frame, and has one head.
    let file = ModelFile::open(&path).unwrap();
    let capped = ModelOptions::default().with_memory_cap_bytes(Some(1 << 40));
    assert!(Model::from_file(file.clone(), capped).err().unwrap().to_string().contains("memory cap"));
    let both = ModelOptions::default().with_confounders(true);
    assert!(Model::from_file(file, both.clone()).err().unwrap().to_string().contains("no confounder map"));
    let file = ModelFile::open(&REWRITTEN.model()).unwrap();
    assert!(Model::from_file(file, both.clone()).err().unwrap().to_string().contains("no confounder map"));
}

#[test]
fn bad_files_are_one_line() {
    let export = Export::f32(Form::Rewritten);
    let refused = |path: &Path, expected: &str| {
        let error = OnnxFile::open(path).err().unwrap_or_else(|| panic!("{expected}: it was opened")).to_string();
        println!("{error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "`{expected}` is not in: {error}");
    };
    refused(&export.path("none.onnx"), "cannot be read");
    refused(export.0.path(), "is not a file");
    refused(&export.write("empty.onnx", b""), "is empty");
    refused(&export.write("text.onnx", b"no model at all"), "is not an ONNX file");
    let bytes = std::fs::read(export.model()).unwrap();
    refused(&export.write("short.onnx", &bytes[..bytes.len() / 2]), "is not an ONNX file");
    refused(&export.path("image.onnx"), "takes image (float [1, 3, 64, 64])");
    type Change = fn(&mut ModelProto);
    fn weight(model: &mut ModelProto) -> &mut TensorProto {
        model.graph.as_mut().unwrap().initializer.iter_mut().find(|tensor| tensor.dims.len() == 4).unwrap()
    }
    let changes: [(&str, Change); 8] = [
        ("no graph", |model| model.graph = None),
        ("graph is empty", |model| model.graph.as_mut().unwrap().node.clear()),
        ("bytes for a shape", |model| weight(model).raw_data.truncate(5)),
        ("a shape of", |model| weight(model).dims[0] = -1),
        ("a shape of", |model| weight(model).dims = vec![i64::MAX, 2, 0]),
        ("in another file", |model| weight(model).data_location = Some(1)),
        ("nothing before it yields", |model| model.graph.as_mut().unwrap().node[3].input[0] = "nobody".into()),
        ("nothing yields its output", |model| model.graph.as_mut().unwrap().output[0].name = "nobody".into()),
    ];
    for (expected, change) in changes {
        refused(&export.changed(change), expected);
    }
    std::fs::remove_file(export.path("tokenizer.json")).unwrap();
    refused(&export.model(), "no readable tokenizer.json beside it");
    // NaN in a weight: the description can't be used, and tract's logits are not finite.
    let (model, reason) =
        open(&REWRITTEN.changed(|model| weight(model).raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes())));
    assert!(reason.unwrap().contains("holds NaN"));
    drop(model);
}

/// The runtime's command on an export, as a user types it. The command is built with its own package; a workspace build
/// includes it.
#[test]
fn the_command_takes_an_export_for_a_bundle() {
    let command = assert_cmd::cargo::cargo_bin("causalclipseg");
    if !command.exists() {
        println!("skipped: {} is not built; build the workspace", command.display());
        return;
    }
    let export = Export::f32(Form::Rewritten);
    let phantom = Phantom::generate(3, 1, Some((150, 110)));
    let picture = image::GrayImage::from_raw(150, 110, phantom.pixels.clone()).unwrap();
    picture.save(export.path("scan.png")).unwrap();
    pack(checkpoint(), pack_options(Precision::F32), None).unwrap().write(&export.path("mini.ccs")).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&command).current_dir(export.0.path()).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {error}");
        assert_eq!(error, "", "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let masks = ["model.onnx", "mini.ccs"].map(|model| {
        let folder = format!("of_{model}");
        run(&["segment", "scan.png", "-m", model, "--allow-untrained", "-p", PROMPTS[0], "-o", &folder]);
        image::open(export.path(&folder).join("scan_mask.png")).unwrap().into_luma8()
    });
    let off = masks[0].iter().zip(masks[1].iter()).filter(|(a, b)| a != b).count();
    assert!(off <= 5 && masks[0].contains(&255), "{off}");
    assert!(run(&["verify", "model.onnx"]).contains("of plain tract's"));
    assert!(run(&["inspect", "model.onnx", "--layers"]).contains("pred"));
}
