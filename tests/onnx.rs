//! Interchange files that are damaged or hostile: an error of one line or a network that runs, and never a panic.

use causalclipseg::bundle::Bundle;
use causalclipseg::engine::{Device, Engine, Workspace};
use causalclipseg::onnx::{NETWORK_KEY, OnnxFile, OnnxNetwork};
use prost::Message;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use toy_networks::foreign::{self, integers, model, node};
use tract_onnx::pb::{AttributeProto, ModelProto, StringStringEntryProto, TensorProto, ValueInfoProto};

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs");
        let tokenizer = Bundle::open(&shipped).unwrap().tokenizer_json().unwrap().into_owned();
        foreign::write(folder.path(), &tokenizer);
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("model.onnx")
    }

    /// Opens bytes as a file, and runs the network. Returns the error, if any.
    fn attempt(&self, bytes: &[u8]) -> Option<String> {
        std::fs::write(self.path(), bytes).unwrap();
        let error = match OnnxFile::open(&self.path()) {
            Ok(file) => run(&file),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        error
    }

    fn attempt_model(&self, change: impl FnOnce(&mut ModelProto)) -> Option<String> {
        let mut changed = model();
        change(&mut changed);
        self.attempt(&changed.encode_to_vec())
    }
}

fn run(file: &OnnxFile) -> Option<String> {
    let OnnxNetwork::AsItIs { network, description, .. } = file.network() else { return None };
    let engine = Engine::whole(network.clone(), Device::Cpu);
    let prompt = engine.encode_prompt(&[49_406, 3144, 49_407]).unwrap();
    let pixels = vec![0.5; 3 * description.input_size * description.input_size];
    engine.run(&mut Workspace::default(), &pixels, std::iter::once(&prompt)).err().map(|error| error.to_string())
}

#[test]
fn the_file_itself_runs() {
    let desk = Desk::new();
    assert_eq!(desk.attempt(&model().encode_to_vec()), None);
}

#[test]
fn cut_files_are_errors() {
    let desk = Desk::new();
    let bytes = model().encode_to_vec();
    // A file that ends between two messages of the outermost level is valid, but contains less.
    let opened = (0..bytes.len()).filter(|length| desk.attempt(&bytes[..*length]).is_none()).count();
    assert!(opened <= 6, "{opened}");
}

#[test]
fn flipped_bits_and_noise_do_not_panic() {
    let desk = Desk::new();
    let bytes = model().encode_to_vec();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut opened, mut panicked) = (0, 0);
    let rounds: usize = std::env::var("ONNX_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1500);
    for round in 0..rounds {
        let mut damaged = bytes.clone();
        match round % 3 {
            0 => {
                let at = rng.random_range(0..damaged.len());
                damaged[at] ^= 1 << rng.random_range(0..8);
            }
            1 => {
                for _ in 0..rng.random_range(2..8) {
                    let at = rng.random_range(0..damaged.len());
                    damaged[at] = rng.random();
                }
            }
            _ => {
                let from = rng.random_range(0..damaged.len());
                let length = rng.random_range(0..damaged.len() - from).min(40);
                let at = rng.random_range(0..damaged.len());
                let piece = damaged[from..from + length].to_vec();
                damaged.splice(at..at, piece);
            }
        }
        match desk.attempt(&damaged) {
            None => opened += 1,
            Some(error) if error.contains("panicked") => {
                println!("{error}");
                panicked += 1;
            }
            Some(_) => {}
        }
    }
    let mut noise = vec![0; 400];
    for _ in 0..100 {
        rng.fill_bytes(&mut noise);
        assert!(desk.attempt(&noise).is_some());
    }
    println!("{opened} of {rounds} opened, {panicked} panicked inside of tract");
    // Many changed bits only change a number.
    assert!(opened > rounds / 50 && opened < rounds, "{opened}");
}

#[test]
fn hostile_files_are_refused() {
    let desk = Desk::new();
    let refused = |expected: &str, change: &dyn Fn(&mut ModelProto)| {
        let error = desk.attempt_model(change).unwrap_or_else(|| panic!("`{expected}`: it ran"));
        println!("{error}");
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    };
    let push = |model: &mut ModelProto, at: usize, inserted| model.graph.as_mut().unwrap().node.insert(at, inserted);
    let give = |model: &mut ModelProto, tensor| model.graph.as_mut().unwrap().initializer.push(tensor);
    refused("not among those that are read", &|model| push(model, 0, node("Loop", &["image"], "x", vec![])));
    refused("is a graph or sparse", &|model| {
        let body = AttributeProto { name: "body".into(), g: Some(Default::default()), ..Default::default() };
        push(model, 0, node("Whatever", &["image"], "x", vec![body]));
    });
    refused("numbers for a shape of", &|model| give(model, integers("large", &[1 << 20, 1 << 5], &[1])));
    refused("a shape of", &|model| give(model, integers("huge", &[1 << 20, 1 << 20], &[])));
    refused("`a [31m`", &|model| give(model, integers("a\u{1b}[31m", &[2], &[])));
    refused("a shape of", &|model| give(model, integers("huge", &[1; 40], &[1])));
    refused("data type 99", &|model| give(model, TensorProto { data_type: 99, ..integers("odd", &[1], &[1]) }));
    refused("in another file", &|model| {
        let location = StringStringEntryProto { key: "location".into(), value: "/etc/passwd".into() };
        give(model, TensorProto { external_data: vec![location], ..integers("outside", &[1], &[1]) });
    });
    refused("exists already", &|model| push(model, 0, node("Relu", &["image"], "bright", vec![])));
    refused("it yields nothing", &|model| push(model, 0, node("Relu", &["image"], "", vec![])));
    // An `Add` of its own input, and of a later value: a loop.
    refused("nothing before it yields", &|model| push(model, 0, node("Add", &["image", "logits"], "x", vec![])));
    refused("cannot be run", &|model| model.graph.as_mut().unwrap().node[7].op_type = "NoSuchOperator".into());
    // tract panics on an axis that does not exist.
    refused("tract panicked", &|model| model.graph.as_mut().unwrap().node[3].attribute[0].ints = vec![9]);
    refused("yields its input `tokens`", &|model| model.graph.as_mut().unwrap().input.truncate(1));
    refused("takes image", &|model| {
        let inputs = &mut model.graph.as_mut().unwrap().input;
        inputs.push(ValueInfoProto { name: "third".into(), ..inputs[0].clone() });
    });
    refused("that its `mean`", &|model| model.metadata_props[0].value = "1,2".into());
    refused("a normalisation by mean", &|model| model.metadata_props[1].value = "0,0,0".into());
    let shape = |model: &mut ModelProto, sizes: &[i64]| {
        let rank = [sizes.len() as i64];
        give(model, integers("sizes", &rank, sizes));
        let fill = node("ConstantOfShape", &["sizes"], "zeros", vec![]);
        push(model, 0, fill);
        model.graph.as_mut().unwrap().node[1].input[0] = "image".into();
    };
    refused("", &|model| {
        shape(model, &[1 << 40, 1 << 20]);
        push(model, 8, node("Add", &["logits", "zeros"], "more", vec![]));
        model.graph.as_mut().unwrap().output[0].name = "more".into();
    });
}

#[test]
fn descriptions_that_say_nothing_are_passed_over() {
    let desk = Desk::new();
    for text in
        ["", "{", "null", "[]", "{\"version\":1}", "{\"version\":-1}", "{\"version\":1,\"graph\":{\"nodes\":[]}}"]
    {
        let change = |model: &mut ModelProto| {
            model.metadata_props.push(StringStringEntryProto { key: NETWORK_KEY.into(), value: text.into() });
        };
        assert_eq!(desk.attempt_model(change), None, "{text}");
        let file = OnnxFile::open(&desk.path()).unwrap();
        let OnnxNetwork::AsItIs { reason, .. } = file.network() else { panic!("{text} was believed") };
        assert!(reason.contains("description of the network"), "{reason}");
    }
}
