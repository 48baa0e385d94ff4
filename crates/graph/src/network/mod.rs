//! The network of CausalCLIPSeg (Chen et al., MICCAI 2024), described once: [`Architecture::describe`] yields the graph
//! that the training loop, the ONNX writer, the bundle packer and the benchmark's generated models all walk.

mod architecture;
mod image_encoder;
mod neck;
mod projector;
mod rounding;
mod text_encoder;
mod weights;

pub use crate::graph::stage;
pub use crate::lower::{strip_before_relu, strip_fused};
pub use architecture::{Architecture, ArchitectureError, Edition, ImageEncoder, Masks, TextEncoder, UnknownEdition};
pub use rounding::{Rounding, roundings};
pub use weights::{golden_image, golden_tensor};

use crate::graph::{Graph, GraphBuilder, GraphError, NodeId, Op, Shape};

impl Architecture {
    /// The published network: inputs `image` and `tokens`, outputs `pred` and, where the network has maskers, `pred_ad`.
    pub fn describe(&self) -> Result<Graph, GraphError> {
        let mut g = GraphBuilder::new();
        let (height, width) = (self.input_size, self.input_size);
        let image = g.input(stage::IMAGE, Shape::Map { channels: 3, height, width })?;
        let tokens = g.input(stage::TOKENS, Shape::Tokens { context: self.text.context })?;
        let [v3, v4, v5] = image_encoder::describe(&mut g, self, image)?;
        let (features, confounders) = neck::describe(&mut g, self, [v3, v4, v5])?;
        let state = text_encoder::describe(&mut g, self, tokens)?;
        let pred = projector::describe(&mut g, self, "proj", features, state)?;
        g.rename(pred, stage::PRED)?;
        let mut outputs = vec![pred];
        if let Some(confounders) = confounders {
            let pred_ad = projector::describe(&mut g, self, "proj_ad", confounders, state)?;
            g.rename(pred_ad, stage::PRED_AD)?;
            outputs.push(pred_ad);
        }
        Ok(g.finish(&outputs))
    }
}

/// A convolution without bias and its batch norm, as the checkpoint names the pair.
struct ConvNorm<'a> {
    conv: &'a str,
    norm: &'a str,
    out_channels: usize,
    kernel: usize,
    stride: usize,
}

impl ConvNorm<'_> {
    fn describe(&self, g: &mut GraphBuilder, x: NodeId) -> Result<NodeId, GraphError> {
        let conv = Op::Conv {
            weight: format!("{}.weight", self.conv),
            bias: None,
            out_channels: self.out_channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.kernel / 2,
        };
        let x = g.add(conv, &[x])?;
        g.add(Op::BatchNorm { prefix: self.norm.to_string() }, &[x])
    }

    fn describe_with_relu(&self, g: &mut GraphBuilder, x: NodeId) -> Result<NodeId, GraphError> {
        let x = self.describe(g, x)?;
        g.add(Op::Relu, &[x])
    }
}

/// Convolution, batch norm and ReLU as the authors' `Sequential` names them: `<prefix>.0` and `<prefix>.1`.
fn conv_norm_relu(
    g: &mut GraphBuilder,
    prefix: &str,
    x: NodeId,
    out_channels: usize,
    kernel: usize,
) -> Result<NodeId, GraphError> {
    let (conv, norm) = (format!("{prefix}.0"), format!("{prefix}.1"));
    ConvNorm { conv: &conv, norm: &norm, out_channels, kernel, stride: 1 }.describe_with_relu(g, x)
}

/// A linear layer with a bias under `<prefix>.weight` and `<prefix>.bias`.
fn linear(g: &mut GraphBuilder, prefix: &str, x: NodeId, out: usize) -> Result<NodeId, GraphError> {
    let (weight, bias) = (format!("{prefix}.weight"), Some(format!("{prefix}.bias")));
    g.add(Op::Linear { weight, bias, weight_rows: out, first_row: 0, out }, &[x])
}
