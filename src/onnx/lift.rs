//! Converts a described file to a bundle in memory, which every engine runs, and checks that it is the same network.

use super::description::{NETWORK_KEY, NetworkDescription};
use super::probe::{Distance, Probe};
use super::proto::Interface;
use super::weights::{FileWeights, Initializers};
use super::{rounding, whole_network};
use crate::bundle::{Bundle, BundleBuilder, Precision};
use crate::engine::{Engine, EngineError, EngineOptions};
use crate::graph::{Graph, Op, Parts, Shape, stage};
use crate::lower::{rewrite, steps, strip_fused};
use ndarray::Array2;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;
use tract_onnx::pb::ModelProto;

/// The tolerance of f32 logits, as a share of the largest: the sums differ in order only. The engines' own tests allow
/// as much. An int8 file is compared without rounding, with the weights and biases that its integers represent, so the
/// same holds there.
const F32_TOLERANCE: f32 = 1e-4;
/// The tolerance of int8 against the same network without rounding, as a relative error: some fifty layers round, and
/// the scales were not calibrated on the probe. It finds an engine or a scale that is broken, not one that is slightly
/// off; the numbers themselves were compared before.
const INT8_ERROR: f32 = 0.5;

/// A file whose network this program knows.
pub(super) struct Lifted {
    pub bundle: Arc<Bundle>,
    /// The largest difference of any logit from the file's own, as a share of the largest. In int8: without rounding.
    pub deviation: f32,
}

/// Reads the description, and the weights that it refers to, and compares the resulting network with the file's own
/// graph on plain tract.
///
/// # Errors
/// Why the file has to run unchanged, on one line.
pub(super) fn lift(
    proto: &mut ModelProto,
    interface: Interface,
    properties: &BTreeMap<String, String>,
    tokenizer_json: &[u8],
) -> Result<Lifted, String> {
    let json = properties
        .get(NETWORK_KEY)
        .ok_or("it has no description of its network, as is usual for other programs' files")?;
    let description = NetworkDescription::read(json)?;
    check(&description, interface)?;
    let Some(file) = &mut proto.graph else { return Err("it holds no graph".into()) };
    rounding::check_grids(&description.graph, file)?;
    let weights = FileWeights::read(&description, &Initializers::of(file))?;
    let probe = Probe::new(&description.graph, interface.size, interface.context);
    let is_rounded = description.graph.nodes.iter().any(|node| node.quantisation.is_some());
    let expected = unrounded_logits(proto, is_rounded, &probe).map_err(line)?;
    let claim = Claim { description, weights, probe, expected, tokenizer_json };
    if is_rounded { claim.lift_int8() } else { claim.lift_f32() }
}

/// The logits of plain tract for the file on the probe. Two int8 engines differ by their roundings, which would hide an
/// error: values that the file rounds are passed through unrounded.
fn unrounded_logits(proto: &mut ModelProto, is_rounded: bool, probe: &Probe) -> Result<Vec<Array2<f32>>, EngineError> {
    let mut as_it_was = None;
    if let Some(file) = proto.graph.as_mut().filter(|_| is_rounded) {
        let unrounded = rounding::without_rounding(&file.node);
        as_it_was = Some(std::mem::replace(&mut file.node, unrounded));
    }
    let logits = whole_network(proto).and_then(|network| {
        let begun = Instant::now();
        let logits = probe.run_file(&network);
        log::debug!("two runs on plain tract: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
        logits
    });
    if let (Some(file), Some(nodes)) = (&mut proto.graph, as_it_was) {
        file.node = nodes;
    }
    logits
}

/// A description, the parts of the file that it refers to, and the logits that it has to agree with.
struct Claim<'a> {
    description: NetworkDescription,
    weights: FileWeights,
    probe: Probe,
    /// The file's own logits, with nothing rounded.
    expected: Vec<Array2<f32>>,
    tokenizer_json: &'a [u8],
}

impl Claim<'_> {
    fn lift_f32(self) -> Result<Lifted, String> {
        let Self { description: NetworkDescription { model, graph, .. }, weights, probe, expected, tokenizer_json } =
            self;
        let (graph, values) = rewrite(graph, weights.values).map_err(line)?;
        let builder = BundleBuilder::new(model, graph, &values, Precision::F32).map_err(line)?;
        drop(values);
        let bundle = open(builder, tokenizer_json)?;
        let deviation = distance(&probe, &engine(&bundle)?, &expected)?.largest;
        accept(deviation, F32_TOLERANCE)?;
        Ok(Lifted { bundle, deviation })
    }

    fn lift_int8(self) -> Result<Lifted, String> {
        let Self { description: NetworkDescription { model, graph, .. }, weights, probe, expected, tokenizer_json } =
            self;
        let FileWeights { values, integers } = weights;
        let mut plain = graph.clone();
        plain.nodes.iter_mut().for_each(|node| node.quantisation = None);
        let (plain, plain_values) = rewrite(plain, values.clone()).map_err(line)?;
        let plain = Engine::new(&plain, &plain_values, EngineOptions::default()).map_err(line)?;
        drop(plain_values);
        let deviation = distance(&probe, &plain, &expected)?.largest;
        drop(plain);
        accept(deviation, F32_TOLERANCE)?;

        let fused = strip_fused(&graph);
        let graph = if has_steps(&fused) { fused } else { graph };
        let for_kernels: HashSet<&String> = graph.nodes.iter().filter_map(|node| kernel_weight(&node.op)).collect();
        let mut tensors = Vec::new();
        for (name, weight) in &integers {
            tensors.extend(weight.store(name, for_kernels.contains(name)).map_err(line)?);
        }
        drop((for_kernels, integers));
        let builder = BundleBuilder::new(model, graph, &values, Precision::Int8).map_err(line)?;
        drop(values);
        let bundle = open(tensors.into_iter().fold(builder, BundleBuilder::tensor), tokenizer_json)?;
        let error = distance(&probe, &engine(&bundle)?, &expected)?.relative_error;
        log::debug!(
            "logits {deviation:.1e} from the file's without rounding; int8 has a relative error of {error:.1e}"
        );
        accept(error, INT8_ERROR)?;
        Ok(Lifted { bundle, deviation })
    }
}

fn distance(probe: &Probe, engine: &Engine, expected: &[Array2<f32>]) -> Result<Distance, String> {
    Ok(Distance::between(&probe.run_engine(engine).map_err(line)?, expected))
}

fn line(error: impl Display) -> String {
    error.to_string()
}

/// Refuses sizes that are too large to run, and a description with another interface than the file's.
fn check(description: &NetworkDescription, interface: Interface) -> Result<(), String> {
    let NetworkDescription { model, graph, .. } = description;
    let invalid = |reason: String| format!("its description of the network is not valid ({reason})");
    causalclipseg_bundle::check_graph(graph).map_err(|problem| invalid(format!("it {problem}")))?;
    graph.validate().map_err(|error| invalid(error.to_string()))?;
    model.check().map_err(invalid)?;
    let shape = |name: &str| Some(graph.node(graph.find(name).ok()?).shape);
    let Interface { size, context } = interface;
    let is_same = shape(stage::IMAGE) == Some(Shape::Map { channels: 3, height: size, width: size })
        && shape(stage::TOKENS) == Some(Shape::Tokens { context })
        && shape(stage::PRED) == Some(Shape::Map { channels: 1, height: size, width: size })
        && graph.nodes.iter().filter(|node| node.op == Op::Input).count() == 2
        && model.input_size == size;
    if is_same { Ok(()) } else { Err("its description is of a network with other inputs or outputs".into()) }
}

fn open(builder: BundleBuilder, tokenizer_json: &[u8]) -> Result<Arc<Bundle>, String> {
    let bundle = builder.tokenizer_json(tokenizer_json.to_vec()).open();
    bundle.map(Arc::new).map_err(|error| error.to_string())
}

fn engine(bundle: &Arc<Bundle>) -> Result<Engine, String> {
    Engine::new(bundle.graph(), bundle, EngineOptions::default()).map_err(|error| error.to_string())
}

fn accept(found: f32, tolerance: f32) -> Result<(), String> {
    match found <= tolerance {
        true => Ok(()),
        false => Err(format!(
            "its description is not of the network that it holds: logits are {found:.1e} apart, and {tolerance:.1e} is allowed"
        )),
    }
}

/// Whether the fast engine has steps for the image's part of a graph.
fn has_steps(graph: &Graph) -> bool {
    let part = Parts::find(graph, false).and_then(|parts| parts.image_pass());
    part.is_ok_and(|part| steps::lower(&part).is_ok())
}

fn kernel_weight(op: &Op) -> Option<&String> {
    match op {
        Op::Conv { weight, .. } | Op::Linear { weight, .. } => Some(weight),
        _ => None,
    }
}
