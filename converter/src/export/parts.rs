//! The files of an export: which part of the network each holds, and what its inputs and outputs are called.

use crate::model::stage;
use causalclipseg::graph::{Graph, GraphError, NodeId};
use std::collections::BTreeMap;

/// A value's node in the description and its tensor in the files.
type Port = (&'static str, &'static str);

const IMAGE: Port = (stage::IMAGE, "image");
const TOKENS: Port = (stage::TOKENS, "tokens");
const STATE: Port = (stage::STATE, "state");
const FEATURES: Port = (stage::FEATURES, "features");
const CONFOUNDERS: Port = (stage::CONFOUNDERS, "confounders");
const LOGITS: Port = (stage::PRED, "logits");
const CONFOUNDER_LOGITS: Port = (stage::PRED_AD, "logits");

/// One file's share of the network.
pub(super) struct Part {
    pub file_name: &'static str,
    pub graph: Graph,
    pub tensor_names: BTreeMap<NodeId, String>,
}

/// The file that holds the whole network, which the runtime opens.
pub(super) const WHOLE: &str = "model.onnx";

/// What the network is cut down to before it is rewritten, so that no work goes into heads that no file holds.
pub(super) fn wanted(graph: &Graph, confounders: bool) -> Result<Graph, GraphError> {
    let inputs = [graph.find(stage::IMAGE)?, graph.find(stage::TOKENS)?];
    let mut outputs = vec![graph.find(stage::PRED)?];
    if confounders {
        outputs.push(graph.find(stage::PRED_AD)?);
    }
    graph.subgraph(&inputs, &outputs)
}

/// The text encoder, the image encoder with the neck, the head that joins them, and all three in one.
pub(super) fn cut(graph: &Graph, confounders: bool) -> Result<Vec<Part>, GraphError> {
    let image_outputs: &[Port] = if confounders { &[FEATURES, CONFOUNDERS] } else { &[FEATURES] };
    let mut parts = vec![
        part(graph, "text.onnx", &[TOKENS], &[STATE])?,
        part(graph, "image.onnx", &[IMAGE], image_outputs)?,
        part(graph, "head.onnx", &[FEATURES, STATE], &[LOGITS])?,
    ];
    if confounders {
        parts.push(part(graph, "confounder_head.onnx", &[CONFOUNDERS, STATE], &[CONFOUNDER_LOGITS])?);
    }
    parts.push(part(graph, WHOLE, &[IMAGE, TOKENS], &[LOGITS])?);
    Ok(parts)
}

fn part(graph: &Graph, file_name: &'static str, inputs: &[Port], outputs: &[Port]) -> Result<Part, GraphError> {
    let find = |ports: &[Port]| ports.iter().map(|(node, _)| graph.find(node)).collect::<Result<Vec<_>, _>>();
    let graph = graph.subgraph(&find(inputs)?, &find(outputs)?)?;
    let tensor_names = inputs
        .iter()
        .chain(outputs)
        .map(|(node, tensor)| Ok((graph.find(node)?, tensor.to_string())))
        .collect::<Result<_, GraphError>>()?;
    Ok(Part { file_name, graph, tensor_names })
}
