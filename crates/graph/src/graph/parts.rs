//! Cuts a network into its image part, its prompt part and its heads, in the same way for engines, exports and costs.
//!
//! The image part depends on the image alone and runs once a frame; the prompt part depends on the tokens alone and
//! runs once a sentence; a head combines a map of the one with a vector of the other, and runs once for each pair.

use super::{Graph, GraphError, NodeId, Op, Shape, stage};
use std::fmt;

/// The inputs that a node's value depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The image alone.
    Image,
    /// The prompt's tokens alone.
    Prompt,
    /// Both: the node belongs to a head.
    Both,
    /// No input at all, or another one.
    Neither,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Image => "the image alone",
            Side::Prompt => "the prompt alone",
            Side::Both => "both the image and the prompt",
            Side::Neither => "neither the image nor the prompt",
        })
    }
}

/// One head: the node that it yields and the two values that it is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The head's output, a map of one channel.
    pub output: NodeId,
    /// A map that depends on the image alone.
    pub map: NodeId,
    /// A vector that depends on the tokens alone.
    pub vector: NodeId,
}

/// The cut of a complete network.
#[derive(Clone, Debug)]
pub struct Parts<'g> {
    graph: &'g Graph,
    image: NodeId,
    tokens: NodeId,
    heads: Vec<Head>,
}

/// A graph of one head. Its inputs are the map and the vector, in the order of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadGraph {
    /// The nodes from map and vector to the logits.
    pub graph: Graph,
    /// Whether the map is the first input.
    pub map_first: bool,
}

/// The outputs of a network: the lesion's logits, and those of the adversarial head if `confounders`.
fn outputs(confounders: bool) -> &'static [&'static str] {
    if confounders { &[stage::PRED, stage::PRED_AD] } else { &[stage::PRED] }
}

impl<'g> Parts<'g> {
    /// Cuts where values that depend on the image and on the prompt meet, so that published and rewritten graphs are
    /// each cut at their own place. With `confounders` the adversarial head is included, as the second one.
    ///
    /// # Errors
    /// The network lacks an input or output, or its head does not combine one map and one vector.
    pub fn find(graph: &'g Graph, confounders: bool) -> Result<Self, GraphError> {
        let (image, tokens) = (graph.find(stage::IMAGE)?, graph.find(stage::TOKENS)?);
        let sides = graph.sides(Some(image), Some(tokens));
        let heads = outputs(confounders).iter().map(|output| find_head(graph, &sides, output));
        Ok(Self { graph, image, tokens, heads: heads.collect::<Result<_, _>>()? })
    }

    /// Cuts behind the stages that have names, [`stage::FEATURES`], [`stage::CONFOUNDERS`] and [`stage::STATE`]: heads
    /// then include the layer that computes a sentence's kernel.
    ///
    /// # Errors
    /// The network lacks one of these stages, or the stages do not separate the inputs.
    pub fn at_stages(graph: &'g Graph, confounders: bool) -> Result<Self, GraphError> {
        let (image, tokens) = (graph.find(stage::IMAGE)?, graph.find(stage::TOKENS)?);
        let sides = graph.sides(Some(image), Some(tokens));
        let vector = expect_side(graph, &sides, stage::STATE, Side::Prompt)?;
        let maps = [stage::FEATURES, stage::CONFOUNDERS];
        let head = |(output, map): (&&str, &str)| -> Result<Head, GraphError> {
            let map = expect_side(graph, &sides, map, Side::Image)?;
            Ok(Head { output: expect_side(graph, &sides, output, Side::Both)?, map, vector })
        };
        let heads = outputs(confounders).iter().zip(maps).map(head).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { graph, image, tokens, heads })
    }

    /// The lesion's head, then the adversarial one if requested.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The part from the image to each head's map.
    pub fn image_encoder(&self) -> Result<Graph, GraphError> {
        self.graph.subgraph(&[self.image], &distinct(self.heads.iter().map(|head| head.map)))
    }

    /// The part from the tokens to each head's vector; one vector where the heads share it.
    pub fn prompt_encoder(&self) -> Result<Graph, GraphError> {
        self.graph.subgraph(&[self.tokens], &distinct(self.heads.iter().map(|head| head.vector)))
    }

    /// For each head, the index of the output of [`Self::image_encoder`] that is its map: heads may share one.
    pub fn maps_of_heads(&self) -> Vec<usize> {
        places(self.heads.iter().map(|head| head.map))
    }

    /// For each head, the index of the output of [`Self::prompt_encoder`] that is its vector: heads may share one.
    pub fn vectors_of_heads(&self) -> Vec<usize> {
        places(self.heads.iter().map(|head| head.vector))
    }

    /// All work of a frame: from the image and each head's vector to the logits.
    pub fn image_pass(&self) -> Result<Graph, GraphError> {
        let vectors = self.heads.iter().map(|head| head.vector);
        let inputs = distinct([self.image].into_iter().chain(vectors));
        self.graph.subgraph(&inputs, &self.outputs())
    }

    /// One head alone, from its map and its vector to its logits.
    pub fn head(&self, head: &Head) -> Result<HeadGraph, GraphError> {
        let graph = self.graph.subgraph(&[head.map, head.vector], &[head.output])?;
        // A part keeps its graph's order.
        Ok(HeadGraph { graph, map_first: head.map < head.vector })
    }

    /// The complete network, from image and tokens to the logits.
    pub fn whole(&self) -> Result<Graph, GraphError> {
        self.graph.subgraph(&[self.image, self.tokens], &self.outputs())
    }

    /// Multiply-accumulates of one frame under this many prompts whose encodings are cached, in units of 10^9: the image's
    /// part once, and the heads once for each prompt.
    pub fn frame_gmac(&self, prompts: usize) -> Result<f64, GraphError> {
        let count = |graph: &Graph| graph.ids().map(|id| graph.multiply_accumulates(id, 0) as f64).sum::<f64>();
        let heads = self.heads.iter().map(|head| Ok(count(&self.head(head)?.graph)));
        let of_a_prompt: f64 = heads.sum::<Result<f64, GraphError>>()?;
        Ok((count(&self.image_encoder()?) + of_a_prompt * prompts as f64) / 1e9)
    }

    fn outputs(&self) -> Vec<NodeId> {
        self.heads.iter().map(|head| head.output).collect()
    }
}

impl Graph {
    /// The inputs that each node depends on, given an image input and a tokens input; a graph may lack either.
    pub fn sides(&self, image: Option<NodeId>, tokens: Option<NodeId>) -> Vec<Side> {
        let depends = |input: Option<NodeId>| match input {
            Some(input) => self.dependents(input),
            None => vec![false; self.nodes.len()],
        };
        let both = depends(image).into_iter().zip(depends(tokens));
        both.map(|of| match of {
            (true, true) => Side::Both,
            (true, false) => Side::Image,
            (false, true) => Side::Prompt,
            (false, false) => Side::Neither,
        })
        .collect()
    }

    /// The image input and the tokens input of a network or a part of one, identified by their shapes.
    pub fn image_and_tokens(&self) -> (Option<NodeId>, Option<NodeId>) {
        let find = |is_tokens: bool| {
            let is_wanted = |id: &NodeId| {
                let node = self.node(*id);
                node.op == Op::Input && matches!(node.shape, Shape::Tokens { .. }) == is_tokens
            };
            self.ids().filter(is_wanted).last()
        };
        (find(false), find(true))
    }

    /// The network without its adversarial head, or with it if `confounders`: from image and tokens to those logits.
    ///
    /// # Errors
    /// The graph lacks these inputs or outputs.
    pub fn with_heads(&self, confounders: bool) -> Result<Graph, GraphError> {
        let outputs = outputs(confounders).iter().map(|output| self.find(output)).collect::<Result<Vec<_>, _>>()?;
        self.subgraph(&[self.find(stage::IMAGE)?, self.find(stage::TOKENS)?], &outputs)
    }

    /// The cost of a frame without the adversarial head; see [`Parts::frame_gmac`].
    pub fn frame_gmac(&self, prompts: usize) -> Result<f64, GraphError> {
        Parts::find(self, false)?.frame_gmac(prompts)
    }
}

fn refuse(output: &str, reason: String) -> GraphError {
    GraphError::Cut { output: output.to_string(), reason }
}

/// The node with a name, which has to depend on the given side.
fn expect_side(graph: &Graph, sides: &[Side], name: &str, side: Side) -> Result<NodeId, GraphError> {
    let id = graph.find(name)?;
    match sides[id.0] {
        found if found == side => Ok(id),
        found => Err(refuse(name, format!("it depends on {found}, not on {side}"))),
    }
}

/// The cut above the node named `output`.
fn find_head(graph: &Graph, sides: &[Side], output: &str) -> Result<Head, GraphError> {
    let refuse = |reason: String| refuse(output, reason);
    let id = graph.find(output)?;
    if sides[id.0] != Side::Both {
        return Err(refuse("it does not depend on both the image and the tokens".into()));
    }
    let (mut maps, mut vectors) = (Vec::new(), Vec::new());
    let mut seen = vec![false; graph.nodes.len()];
    let mut pending = vec![id];
    while let Some(id) = pending.pop() {
        if std::mem::replace(&mut seen[id.0], true) {
            continue;
        }
        match sides[id.0] {
            Side::Both => pending.extend(&graph.node(id).inputs),
            Side::Image => maps.push(id),
            Side::Prompt => vectors.push(id),
            Side::Neither => return Err(refuse(format!("`{}` depends on neither", graph.node(id).name))),
        }
    }
    match (maps.as_slice(), vectors.as_slice()) {
        (&[map], &[vector]) if matches!(graph.node(id).shape, Shape::Map { channels: 1, .. }) => {
            Ok(Head { output: id, map, vector })
        }
        ([_], [_]) => Err(refuse("it is not a map of one channel".into())),
        _ => Err(refuse(format!("{} maps and {} vectors meet there, not one of each", maps.len(), vectors.len()))),
    }
}

/// The index of each node among the distinct ones, in the order of first appearance.
fn places(ids: impl Iterator<Item = NodeId> + Clone) -> Vec<usize> {
    let all = distinct(ids.clone());
    ids.filter_map(|id| all.iter().position(|other| *other == id)).collect()
}

fn distinct(ids: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut found = Vec::new();
    for id in ids {
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, TAPS};

    /// Two heads over one image: features and confounders, each with a layer that computes its kernel from the state.
    fn network() -> Graph {
        let mut g = GraphBuilder::new();
        let image = g.input(stage::IMAGE, Shape::Map { channels: 4, height: 6, width: 5 }).unwrap();
        let tokens = g.input(stage::TOKENS, Shape::Tokens { context: 7 }).unwrap();
        let features = g.named(stage::FEATURES, Op::Relu, &[image]).unwrap();
        let words = Op::Embed { table: "table".into(), vocabulary: 9, width: 3 };
        let words = g.add(words, &[tokens]).unwrap();
        let state = g.named(stage::STATE, Op::EndOfText, &[words, tokens]).unwrap();
        let confounders = g.named(stage::CONFOUNDERS, Op::Complement, &[image]).unwrap();
        let mut outputs = Vec::new();
        for (name, map) in [(stage::PRED, features), (stage::PRED_AD, confounders)] {
            let rows = 4 * TAPS + 1;
            let (weight, bias) = (format!("{name}.txt.weight"), None);
            let layer = Op::Linear { weight, bias, weight_rows: rows, first_row: 0, out: rows };
            let kernel = g.named(&format!("{name}.kernel"), layer, &[state]).unwrap();
            outputs.push(g.named(name, Op::PromptConv { folded: false }, &[map, kernel]).unwrap());
        }
        g.finish(&outputs)
    }

    fn names(graph: &Graph, is_wanted: impl Fn(NodeId) -> bool) -> Vec<&str> {
        graph.ids().filter(|id| is_wanted(*id)).map(|id| graph.node(id).name.as_str()).collect()
    }

    fn inputs(graph: &Graph) -> Vec<&str> {
        names(graph, |id| graph.node(id).op == Op::Input)
    }

    fn outputs_of(graph: &Graph) -> Vec<&str> {
        graph.outputs.iter().map(|output| graph.node(*output).name.as_str()).collect()
    }

    #[test]
    fn each_part_has_its_own_inputs_and_outputs() {
        let graph = network();
        let parts = Parts::find(&graph, true).unwrap();
        let (image, prompt, pass) =
            (parts.image_encoder().unwrap(), parts.prompt_encoder().unwrap(), parts.image_pass().unwrap());
        assert_eq!((inputs(&image), outputs_of(&image)), (vec!["image"], vec!["fq_sup", "fq_inf"]));
        assert_eq!((inputs(&prompt), outputs_of(&prompt)), (vec!["tokens"], vec!["pred.kernel", "pred_ad.kernel"]));
        assert_eq!(
            (inputs(&pass), outputs_of(&pass)),
            (vec!["image", "pred.kernel", "pred_ad.kernel"], vec!["pred", "pred_ad"])
        );
        for (head, expected) in parts.heads().iter().zip([["fq_sup", "pred.kernel"], ["fq_inf", "pred_ad.kernel"]]) {
            let HeadGraph { graph, map_first } = parts.head(head).unwrap();
            assert_eq!(inputs(&graph), expected);
            assert!(map_first);
        }
        let whole = parts.whole().unwrap();
        assert_eq!((inputs(&whole), outputs_of(&whole)), (vec!["image", "tokens"], vec!["pred", "pred_ad"]));
        let one = Parts::find(&graph, false).unwrap();
        assert_eq!(one.heads(), &parts.heads()[..1]);
        assert_eq!(outputs_of(&one.whole().unwrap()), ["pred"]);
        assert_eq!(graph.with_heads(false).unwrap(), one.whole().unwrap());
        for part in [image, prompt, pass, whole] {
            part.validate().unwrap();
        }
    }

    #[test]
    fn stages_cut_before_the_kernels() {
        let graph = network();
        let parts = Parts::at_stages(&graph, true).unwrap();
        let (image, prompt) = (parts.image_encoder().unwrap(), parts.prompt_encoder().unwrap());
        assert_eq!((inputs(&image), outputs_of(&image)), (vec!["image"], vec!["fq_sup", "fq_inf"]));
        assert_eq!((inputs(&prompt), outputs_of(&prompt)), (vec!["tokens"], vec!["state"]));
        assert_eq!((parts.maps_of_heads(), parts.vectors_of_heads()), (vec![0, 1], vec![0, 0]));
        for (head, map) in parts.heads().iter().zip(["fq_sup", "fq_inf"]) {
            assert_eq!(
                inputs(&parts.head(head).unwrap().graph),
                if map == "fq_sup" { [map, "state"] } else { ["state", map] }
            );
        }
        let mut swapped = graph.clone();
        let (features, state) = (swapped.find(stage::FEATURES).unwrap(), swapped.find(stage::STATE).unwrap());
        swapped.nodes[features.0].name = "other".into();
        swapped.nodes[state.0].name = stage::FEATURES.into();
        assert!(Parts::at_stages(&swapped, false).is_err());
    }

    #[test]
    fn the_sides_are_told_of_whole_networks_and_of_parts() {
        let graph = network();
        let (image, tokens) = graph.image_and_tokens();
        assert_eq!((image, tokens), (Some(NodeId(0)), Some(NodeId(1))));
        let sides = graph.sides(image, tokens);
        let of = |name: &str| sides[graph.find(name).unwrap().0];
        assert_eq!([of("fq_sup"), of("state"), of("pred")], [Side::Image, Side::Prompt, Side::Both]);
        let image_part = Parts::find(&graph, false).unwrap().image_encoder().unwrap();
        let (image, tokens) = image_part.image_and_tokens();
        assert_eq!(tokens, None);
        assert!(image_part.sides(image, tokens).iter().all(|side| *side == Side::Image));
    }

    #[test]
    fn what_does_not_come_apart_is_refused() {
        let mut graph = network();
        let error = |graph: &Graph| Parts::find(graph, true).unwrap_err().to_string();
        let (pred, ad) = (graph.find(stage::PRED).unwrap(), graph.find(stage::PRED_AD).unwrap());
        let whole = graph.clone();
        // Two maps of the image meet there.
        let confounders = graph.find(stage::CONFOUNDERS).unwrap();
        let sum = Op::Add;
        graph.nodes[ad.0].op = sum;
        graph.nodes[ad.0].inputs = vec![pred, confounders];
        assert!(error(&graph).contains("2 maps and 1 vectors meet there"), "{}", error(&graph));
        graph = whole.clone();
        graph.nodes[ad.0].inputs = vec![confounders, confounders];
        assert!(error(&graph).contains("`pred_ad`") && error(&graph).contains("both"), "{}", error(&graph));
        graph = whole;
        graph.nodes[ad.0].name = "other".into();
        assert!(error(&graph).contains("pred_ad"));
        assert!(Parts::find(&graph, false).is_ok());
    }

    #[test]
    fn a_frame_pays_for_the_image_once_and_for_each_prompt_its_head() {
        let graph = network();
        // The sentence's convolution: 9 taps x 4 channels x 6 x 5 outputs, in a map of one channel.
        let head = graph.multiply_accumulates(graph.find(stage::PRED).unwrap(), 0) as f64 / 1e9;
        assert!(head > 0.0);
        for prompts in [0, 1, 5] {
            assert!((graph.frame_gmac(prompts).unwrap() - head * prompts as f64).abs() < 1e-15);
        }
    }
}
