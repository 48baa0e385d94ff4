//! From a described file to a bundle in memory, which every engine runs; and the proof that it is the same network.

use super::description::{NETWORK_KEY, NetworkDescription};
use super::probe::{Distance, Probe};
use super::proto::Interface;
use super::weights::{FileWeights, Initializers};
use super::{rounding, whole_network};
use crate::bundle::{Bundle, BundleBuilder, Precision, limits};
use crate::engine::{Engine, EngineOptions, Head};
use crate::graph::{Graph, Op, Shape, Weights};
use crate::lower::{rewrite, steps, strip_fused};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tract_onnx::pb::ModelProto;

/// Of f32 logits, as a share of the largest: other sums, same numbers. What the engines' own tests allow.
const F32_TOLERANCE: f32 = 1e-4;
/// The same where the file rounds its biases to the steps of integer sums, and this program reads them back.
const ROUNDED_BIAS_TOLERANCE: f32 = 2e-3;
/// Of int8 against the same network without rounding, as a relative error: some fifty layers round, and the probe is no
/// image that the grids were made for. It finds an engine or a grid that is broken, not one that is a little off; what
/// the numbers are was compared before.
const INT8_ERROR: f32 = 0.35;

/// A file whose network this program knows.
pub(super) struct Lifted {
    pub bundle: Arc<Bundle>,
    /// The largest difference of any logit from the file's own, as a share of the largest. Of int8: without rounding.
    pub deviation: f32,
}

/// Reads the description, and the weights where it says they are, and holds the network that results against the file's
/// own graph on plain tract.
///
/// # Errors
/// Why the file has to run as it is, on one line.
pub(super) fn lift(
    proto: &mut ModelProto,
    interface: Interface,
    properties: &BTreeMap<String, String>,
    tokenizer_json: &[u8],
) -> Result<Lifted, String> {
    let json = properties
        .get(NETWORK_KEY)
        .ok_or("it carries no description of its network, as other programs' files do not")?;
    let description = NetworkDescription::read(json)?;
    check(&description, interface)?;
    let Some(file) = &mut proto.graph else { return Err("it holds no graph".into()) };
    rounding::check_grids(&description.graph, file)?;
    let weights = FileWeights::read(&description, &Initializers::of(file))?;
    let is_rounded = description.graph.nodes.iter().any(|node| node.quantisation.is_some());
    let probe = Probe::new(&description.graph, interface.size, interface.context);
    // Two int8 engines differ by their roundings, which would hide what is wrong: both sides are compared without.
    let expected = if is_rounded {
        let rounded = std::mem::take(&mut file.node);
        file.node = rounding::without_rounding(&rounded);
        let expected = whole_network(proto).and_then(|network| probe.run_file(&network));
        if let Some(file) = &mut proto.graph {
            file.node = rounded;
        }
        expected
    } else {
        whole_network(proto).and_then(|network| probe.run_file(&network))
    };
    let expected = expected.map_err(|error| error.to_string())?;
    let distance = |engine: &Engine| -> Result<Distance, String> {
        let found = probe.run_engine(engine).map_err(|error| error.to_string())?;
        Ok(Distance::between(&found, &expected))
    };
    let NetworkDescription { model, graph, .. } = description;
    let FileWeights { values, integers } = weights;
    let unrounded = |graph: Graph, values: Weights| {
        let graph = Graph { nodes: graph.nodes.into_iter().map(|node| node_without_grid(node)).collect(), ..graph };
        rewrite(graph, values).map_err(|error| error.to_string())
    };
    if !is_rounded {
        let (graph, values) = unrounded(graph, values)?;
        let builder = BundleBuilder::new(model, graph, &values, Precision::F32).map_err(|error| error.to_string())?;
        drop(values);
        let bundle = open(builder, tokenizer_json)?;
        let deviation = distance(&engine(&bundle)?)?.largest;
        accept(deviation, F32_TOLERANCE)?;
        return Ok(Lifted { bundle, deviation });
    }

    let (plain, plain_values) = unrounded(graph.clone(), values.clone())?;
    let plain = Engine::new(&plain, &plain_values, EngineOptions::default()).map_err(|error| error.to_string())?;
    let deviation = distance(&plain)?.largest;
    drop((plain, plain_values));
    accept(deviation, ROUNDED_BIAS_TOLERANCE)?;

    let fused = strip_fused(&graph);
    let graph = if has_steps(&fused) { fused } else { graph };
    let for_kernels: HashSet<&String> = graph.nodes.iter().filter_map(|node| kernel_weight(&node.op)).collect();
    let mut tensors = Vec::new();
    for (name, weight) in &integers {
        let stored = weight.store(name, for_kernels.contains(name));
        tensors.extend(stored.map_err(|error| error.to_string())?);
    }
    drop((for_kernels, integers));
    let builder = BundleBuilder::new(model, graph, &values, Precision::Int8).map_err(|error| error.to_string())?;
    drop(values);
    let bundle = open(tensors.into_iter().fold(builder, BundleBuilder::tensor), tokenizer_json)?;
    let error = distance(&engine(&bundle)?)?.relative_error;
    log::debug!("int8 is {error:.1e} from the same network without rounding");
    accept(error, INT8_ERROR)?;
    Ok(Lifted { bundle, deviation })
}

/// Refuses what would be absurd to run, and a description of another interface than the file's.
fn check(description: &NetworkDescription, interface: Interface) -> Result<(), String> {
    let NetworkDescription { model, graph, .. } = description;
    let invalid = |reason: String| format!("its description of the network is not valid ({reason})");
    limits::check(graph).map_err(|problem| invalid(format!("it {problem}")))?;
    graph.validate().map_err(|error| invalid(error.to_string()))?;
    model.check().map_err(invalid)?;
    let shape = |name: &str| Some(graph.node(graph.find(name).ok()?).shape);
    let Interface { size, context } = interface;
    let is_same = shape("image") == Some(Shape::Map { channels: 3, height: size, width: size })
        && shape("tokens") == Some(Shape::Tokens { context })
        && shape("pred") == Some(Shape::Map { channels: 1, height: size, width: size })
        && graph.nodes.iter().filter(|node| node.op == Op::Input).count() == 2
        && model.input_size == size;
    if is_same { Ok(()) } else { Err("its description is of a network with other inputs or outputs".into()) }
}

fn node_without_grid(node: crate::graph::Node) -> crate::graph::Node {
    crate::graph::Node { quantisation: None, ..node }
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
    let part = || {
        let head = Head::find(graph, "pred").ok()?;
        graph.subgraph(&[graph.find("image").ok()?, head.kernel], &[head.output]).ok()
    };
    part().is_some_and(|part| steps::lower(&part).is_ok())
}

fn kernel_weight(op: &Op) -> Option<&String> {
    match op {
        Op::Conv { weight, .. } | Op::Linear { weight, .. } => Some(weight),
        _ => None,
    }
}
