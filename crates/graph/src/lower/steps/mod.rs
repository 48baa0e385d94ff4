//! Converts a rewritten graph to a flat list of fused steps over channels-last tensors, which the engines run.
//!
//! A step computes several nodes of the graph: a convolution includes the constant map, the residual and the ReLU that
//! follow it; a gate computes the sigmoid of its mask; a concatenation is a buffer that its parts are written into, so
//! that the three products of an aggregation end in one sum; the last stage of the decoder streams from low-resolution
//! products to logits. A value that is never stored is never rounded: a quantised graph has no [`ScaleZeroPoint`] there.
//!
//! Lowering refuses nodes without a known step ([`Unsupported`]), and the caller then runs the graph on plain tract.

mod convolution;
mod decoder;
mod lowering;
mod precision;
mod sequence;

pub use lowering::lower;
pub use precision::settle;

use crate::graph::ScaleZeroPoint;

/// An image in bytes has this many channels, the fourth of them zero: int8 kernels take channels four at a time.
pub const CHANNEL_GROUP: usize = 4;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// Bytes, with their scale and zero point.
    U8(ScaleZeroPoint),
}

impl Element {
    /// The number of bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::U8(_) => 1,
        }
    }
}

/// The index of a tensor in [`StepList::tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorId(pub usize);

/// A channels-last tensor: `height` x `width` pixels of `channels`, with `border` pixels around that hold zero (in u8 the
/// zero point). A sequence is one row; a sequence that was a map keeps the map's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name of the node whose value it has.
    pub name: String,
    /// The height, in pixels.
    pub height: usize,
    /// The width, in pixels; the most possible tokens where `per_token`.
    pub width: usize,
    /// The number of channels.
    pub channels: usize,
    /// The pixels around the map on each side, which are zero.
    pub border: usize,
    /// How an element is stored.
    pub element: Element,
    /// Whether there is one pixel for each token of the prompt.
    pub per_token: bool,
}

/// The output of a step: a tensor, from one of its channels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The tensor.
    pub tensor: TensorId,
    /// The first channel that is written.
    pub first_channel: usize,
}

/// One fused operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The node whose value the step yields, or, for a chain, the node that costs most.
    pub name: String,
    /// The operation.
    pub kind: StepKind,
    /// The tensors that it reads, in the order that its kind defines.
    pub reads: Vec<TensorId>,
    /// The output; `None` for a step that writes no tensor: a prompt's tail, whose logits are in the caller's memory.
    pub writes: Option<Destination>,
    /// Multiply-accumulates with weights, of one image or one token.
    pub multiply_accumulates: u64,
}

impl Step {
    /// The tensor and channel that the step writes.
    ///
    /// # Errors
    /// The step writes no tensor.
    pub fn destination(&self) -> Result<Destination, Unsupported> {
        let reason = || "a step of this kind that writes no tensor".to_string();
        self.writes.ok_or_else(|| Unsupported { node: self.name.clone(), reason: reason() })
    }
}

/// The order of a weight's elements in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// out x in x kernel x kernel.
    Convolution,
    /// out x in, of which `first_row` and the rows after it are read.
    Rows {
        /// The first row that is read.
        first_row: usize,
    },
    /// in x out.
    Columns,
}

/// The weights of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    /// Name of the weight.
    pub weight: String,
    /// The order of its elements.
    pub layout: WeightLayout,
    /// Name of the bias, where there is one.
    pub bias: Option<String>,
    /// Channels of the result.
    pub out_channels: usize,
    /// The side of the kernel, in taps.
    pub kernel: usize,
    /// The number of input channels.
    pub in_channels: usize,
}

/// The operation of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// Converts the image from outside (3 planes of normalised f32) to channels-last.
    LoadImage,
    /// A product with weights. Reads x, then the residual where there is one.
    Convolution {
        /// The weights.
        filters: Filters,
        /// Pixels between neighbouring outputs, along each axis.
        stride: usize,
        /// Zeros on each side of the map, in pixels.
        padding: usize,
        /// Name of the constant map that is added, where there is one.
        map: Option<String>,
        /// Whether a second tensor is added.
        residual: bool,
        /// Whether max(x, 0) follows.
        relu: bool,
    },
    /// The mean over windows that do not overlap.
    AveragePool {
        /// Side of a window, in pixels.
        size: usize,
    },
    /// A mask's gate. Reads x and the mask's logits: x * sigmoid(logits), or x * (1 - sigmoid(logits)) if `complement`.
    /// In a quantised network the sigmoid is rounded to `mask_quantisation` first.
    Gate {
        /// Whether to multiply by 1 - mask.
        complement: bool,
        /// The scale and zero point with which the mask is rounded, if it is.
        mask_quantisation: Option<ScaleZeroPoint>,
    },
    /// The sum of two tensors.
    Add {
        /// Whether max(x, 0) follows.
        relu: bool,
    },
    /// Adds row `skip + i` of the table to pixel i.
    AddPositions {
        /// Name of the table.
        table: String,
        /// The number of rows at the table's start that are not used.
        skip: usize,
    },
    /// Multi-head attention. Reads queries, keys and values.
    Attention {
        /// The number of heads that the channels are divided among.
        heads: usize,
        /// Whether a row attends only to itself and the rows before it.
        causal: bool,
    },
    /// CARAFE's reassembly; reads the map and the kernel logits.
    Carafe {
        /// The factor by which each side is enlarged.
        scale: usize,
    },
    /// The blend of an upsampled convolution. Reads nine tap products a channel, tap by tap.
    Blend {
        /// The factor by which each side is enlarged.
        scale: usize,
        /// Name of the bias, where there is one.
        bias: Option<String>,
        /// Whether max(x, 0) follows.
        relu: bool,
    },
    /// The last stage of the decoder. Reads the map before the last tap products: products, blend, ReLU, the sentences'
    /// convolution. Writes logits.
    PromptTail {
        /// The weights.
        filters: Filters,
        /// How the products are stored in between.
        products: Element,
        /// The factor by which each side is enlarged.
        scale: usize,
        /// Name of the bias, where there is one.
        bias: Option<String>,
        /// Which head of the network it is, from 0.
        head: usize,
    },
    /// Layer norm over the channels of each pixel.
    LayerNorm {
        /// The beginning of its weights' names.
        prefix: String,
    },
    /// x * sigmoid(1.702 x).
    QuickGelu,
    /// Rows of the table for the prompt's tokens.
    Embed {
        /// Name of the table.
        table: String,
    },
    /// The last token's row: a prompt ends with the end of text.
    LastToken,
    /// Converts the same values to another element type.
    Convert,
}

/// The steps of a network, or a part of one, for one image or one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct StepList {
    /// The tensors that steps read and write.
    pub tensors: Vec<Tensor>,
    /// The steps, in execution order.
    pub steps: Vec<Step>,
    /// The tensors to keep at the end, in the graph's order of outputs; prompt tails keep none.
    pub outputs: Vec<TensorId>,
}

impl StepList {
    /// The steps during which each tensor needs its memory, first and last included; `None` for a tensor that no step
    /// touches. For an output, the last is behind the last step.
    pub fn lifetimes(&self) -> Vec<Option<(usize, usize)>> {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; self.tensors.len()];
        for (index, step) in self.steps.iter().enumerate() {
            for id in step.reads.iter().copied().chain(step.writes.map(|written| written.tensor)) {
                let (_, last) = lives[id.0].get_or_insert((index, index));
                *last = index;
            }
        }
        for output in &self.outputs {
            if let Some((_, last)) = &mut lives[output.0] {
                *last = self.steps.len();
            }
        }
        lives
    }

    /// The tensor with this id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// Multiply-accumulates of all steps, in units of 10^9.
    pub fn gmac(&self) -> f64 {
        self.steps.iter().map(|step| step.multiply_accumulates as f64).sum::<f64>() / 1e9
    }
}

/// A node without a known step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}`: {reason}")]
pub struct Unsupported {
    /// The node's name.
    pub node: String,
    /// The reason.
    pub reason: String,
}
