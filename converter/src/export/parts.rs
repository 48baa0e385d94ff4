//! The files of an export: the part of the network in each, and the names of its inputs and outputs.

use crate::model::stage;
use causalclipseg::graph::{Graph, GraphError, NodeId, Parts};
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

/// One file's part of the network.
pub(super) struct Part {
    pub file_name: &'static str,
    pub graph: Graph,
    pub tensor_names: BTreeMap<NodeId, String>,
}

/// The file with the complete network, which the runtime opens.
pub(super) const WHOLE: &str = "model.onnx";

/// Cuts the network into the text encoder, the image encoder with the neck, the head that joins them, and all three in
/// one.
pub(super) fn cut(graph: &Graph, confounders: bool) -> Result<Vec<Part>, GraphError> {
    let parts = Parts::at_stages(graph, confounders)?;
    let image_ports: &[Port] = if confounders { &[IMAGE, FEATURES, CONFOUNDERS] } else { &[IMAGE, FEATURES] };
    let mut files = vec![
        part("text.onnx", parts.prompt_encoder()?, &[TOKENS, STATE])?,
        part("image.onnx", parts.image_encoder()?, image_ports)?,
    ];
    let head_ports: [(&str, &[Port]); 2] =
        [("head.onnx", &[FEATURES, STATE, LOGITS]), ("confounder_head.onnx", &[CONFOUNDERS, STATE, CONFOUNDER_LOGITS])];
    for (head, (file_name, ports)) in parts.heads().iter().zip(head_ports) {
        files.push(part(file_name, parts.head(head)?.graph, ports)?);
    }
    files.push(part(WHOLE, graph.with_heads(false)?, &[IMAGE, TOKENS, LOGITS])?);
    Ok(files)
}

fn part(file_name: &'static str, graph: Graph, ports: &[Port]) -> Result<Part, GraphError> {
    let name = |(node, tensor): &Port| Ok((graph.find(node)?, tensor.to_string()));
    let tensor_names = ports.iter().map(name).collect::<Result<_, GraphError>>()?;
    Ok(Part { file_name, graph, tensor_names })
}
