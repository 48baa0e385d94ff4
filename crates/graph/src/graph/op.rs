//! The operators: what each computes, the shape of its result, the weights that it reads.

use super::Shape;
use serde::{Deserialize, Serialize};

/// Taps of a 3 x 3 kernel, row by row: tap `3 * ky + kx` reads the pixel at (y + ky - 1, x + kx - 1).
pub const TAPS: usize = 9;

/// Epsilon of every batch norm and layer norm in the network.
pub const NORM_EPSILON: f32 = 1e-5;

/// The value that [`Op::AppendCoordinates`] appends: position `index` of `count` points from -1 to 1; a single point is
/// at -1.
pub fn coordinate(index: usize, count: usize) -> f32 {
    match count {
        0 | 1 => -1.0,
        _ => (2.0 * index as f64 / (count - 1) as f64 - 1.0) as f32,
    }
}

/// A weight that an operator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the weights.
    pub name: String,
    /// Its extents, row-major.
    pub shape: Vec<usize>,
}

/// One operator. A field that names a weight has the weight's name; `prefix` means `<prefix>.weight` and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A value from outside: the image, the tokens, or the place where a part of a network was cut from the rest.
    Input,
    /// 2-D convolution, square kernel, zero padding. Weight: out x in x kernel x kernel; bias: out.
    Conv {
        /// The name of the weight.
        weight: String,
        /// The name of the bias, where there is one.
        bias: Option<String>,
        /// Channels of the result.
        out_channels: usize,
        /// Side of the kernel, in taps.
        kernel: usize,
        /// Pixels between neighbouring outputs, along each axis.
        stride: usize,
        /// Zeros on each side of the map, in pixels.
        padding: usize,
    },
    /// Batch norm by running statistics over a map's channels (`.weight`, `.bias`, `.running_mean`, `.running_var`).
    BatchNorm {
        /// The beginning of its weights' names.
        prefix: String,
    },
    /// max(x, 0).
    Relu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x * sigmoid(1.702 x), the text encoder's activation.
    QuickGelu,
    /// 1 - x: what a mask leaves to the confounders.
    Complement,
    /// Mean over `size` x `size` windows that do not overlap.
    AveragePool {
        /// Side of a window, in pixels.
        size: usize,
    },
    /// Bilinear upsampling, align_corners = false.
    Upsample {
        /// The factor by which each side is enlarged.
        scale: usize,
    },
    /// The sum of two values of one shape.
    Add,
    /// The product of two values of one shape, element by element.
    Multiply,
    /// Joins maps along channels.
    Concat,
    /// Appends two channels with x, then y, each from -1 to 1 over the frame.
    AppendCoordinates,
    /// CARAFE's reassembly. Inputs: a map, and kernel logits of `scale² * 9` channels at the map's size. Each output pixel
    /// is the mean of the 3 x 3 neighbourhood below it (zero outside), weighted by a softmax of its nine logits.
    Carafe {
        /// The factor by which each side is enlarged.
        scale: usize,
    },
    /// A map's pixels, row by row, as a sequence.
    GridToSequence,
    /// The reverse of [`Op::GridToSequence`].
    SequenceToGrid {
        /// Rows of the map, in pixels.
        height: usize,
        /// Columns of the map, in pixels.
        width: usize,
    },
    /// Adds row `skip + i` of `table` (`rows` x width) to row i.
    AddPositions {
        /// Name of the table.
        table: String,
        /// Rows of the table.
        rows: usize,
        /// The number of rows at the table's start that are not used.
        skip: usize,
    },
    /// A linear layer, x W^T + b. Weight: `weight_rows` x in, of which rows `first_row .. first_row + out` are used.
    Linear {
        /// Name of the weight.
        weight: String,
        /// Name of the bias, where there is one.
        bias: Option<String>,
        /// Rows of the weight.
        weight_rows: usize,
        /// The first row that is used.
        first_row: usize,
        /// The number of elements of a row of the result.
        out: usize,
    },
    /// A product with a matrix, x M. Matrix: in x `out`.
    Project {
        /// Name of the matrix.
        matrix: String,
        /// The number of elements of a row of the result.
        out: usize,
    },
    /// Layer norm over the elements of a row (`.weight`, `.bias`).
    LayerNorm {
        /// The beginning of its weights' names.
        prefix: String,
    },
    /// Multi-head scaled dot-product attention of queries, keys and values.
    Attention {
        /// The number of heads that the width is divided among.
        heads: usize,
        /// Whether a row attends only to itself and the rows before it.
        causal: bool,
    },
    /// A row of `table` (`vocabulary` x `width`) for each token.
    Embed {
        /// Name of the table.
        table: String,
        /// Rows of the table.
        vocabulary: usize,
        /// The number of elements of a row.
        width: usize,
    },
    /// The row of the largest id, which is the end of text. Inputs: a sequence and its tokens.
    EndOfText,
    /// The convolution that the sentence generates. Inputs: a map of C channels and a prompt vector; yields one channel
    /// of logits, zero padded. The vector is C x 3 x 3 weights and a bias or, `folded`, 9 x C weights (tap by tap),
    /// nine constants that each tap adds inside the frame, and a bias.
    PromptConv {
        /// Whether the vector has the form that [`crate::lower::prompt_fold`] produces.
        folded: bool,
    },
    /// Adds a constant map (channels x height x width).
    AddMap {
        /// Name of the map.
        map: String,
    },
    /// Blends `9 * C` tap products at low resolution (tap by tap): upsamples each by `scale`, shifts it to where its
    /// tap reads (zero outside the frame), sums the nine into C channels and adds the bias of each channel. See
    /// [`crate::lower`] for why.
    BlendTaps {
        /// The factor by which each side is enlarged.
        scale: usize,
        /// Name of the bias, where there is one.
        bias: Option<String>,
    },
}

impl Op {
    /// The shape of the result, or why the inputs are refused.
    pub fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        use Shape::*;
        let refuse = || Err(format!("{self:?} does not take {inputs:?}"));
        let positive = |value: usize, what: &str| match value {
            0 => Err(format!("{what} is zero")),
            value => Ok(value),
        };
        Ok(match (self, inputs) {
            (Op::Conv { out_channels, kernel, stride, padding, .. }, [Map { height, width, .. }]) => {
                positive(*kernel, "kernel")?;
                let extent = |size: usize| -> Result<usize, String> {
                    let padded = padding.checked_mul(2).and_then(|p| p.checked_add(size)).ok_or("padding overflows")?;
                    let room = padded.checked_sub(*kernel).ok_or("the kernel is larger than the map")?;
                    Ok(room / positive(*stride, "stride")? + 1)
                };
                Map {
                    channels: positive(*out_channels, "out_channels")?,
                    height: extent(*height)?,
                    width: extent(*width)?,
                }
            }
            (
                Op::BatchNorm { .. } | Op::Relu | Op::Sigmoid | Op::Complement | Op::AddMap { .. },
                [map @ Map { .. }],
            ) => *map,
            (Op::QuickGelu | Op::LayerNorm { .. }, [sequence @ Sequence { .. }]) => *sequence,
            (Op::AveragePool { size }, [Map { channels, height, width }]) => {
                let size = positive(*size, "size")?;
                if height % size != 0 || width % size != 0 {
                    return Err(format!("a {height} x {width} map does not divide by {size}"));
                }
                Map { channels: *channels, height: height / size, width: width / size }
            }
            (Op::Upsample { scale }, [Map { channels, height, width }]) => {
                let scale = positive(*scale, "scale")?;
                Map { channels: *channels, height: times(*height, scale)?, width: times(*width, scale)? }
            }
            (Op::Add | Op::Multiply, [a, b]) if a == b => *a,
            (Op::Concat, [Map { height, width, .. }, ..]) => {
                let mut total = 0usize;
                for input in inputs {
                    match input {
                        Map { channels, height: h, width: w } if h == height && w == width => {
                            total = total.checked_add(*channels).ok_or("too many channels")?;
                        }
                        _ => return refuse(),
                    }
                }
                Map { channels: total, height: *height, width: *width }
            }
            (Op::AppendCoordinates, [Map { channels, height, width }]) => {
                Map { channels: channels + 2, height: *height, width: *width }
            }
            (
                Op::Carafe { scale },
                [Map { channels, height, width }, Map { channels: logits, height: h, width: w }],
            ) => {
                let scale = positive(*scale, "scale")?;
                if (h, w) != (height, width) || *logits != times(times(scale, scale)?, TAPS)? {
                    return refuse();
                }
                Map { channels: *channels, height: times(*height, scale)?, width: times(*width, scale)? }
            }
            (Op::GridToSequence, [Map { channels, height, width }]) => {
                Sequence { length: Some(times(*height, *width)?), width: *channels }
            }
            (Op::SequenceToGrid { height, width }, [Sequence { length: Some(length), width: channels }])
                if times(*height, *width)? == *length =>
            {
                Map { channels: *channels, height: *height, width: *width }
            }
            (Op::AddPositions { rows, skip, .. }, [sequence @ Sequence { length, .. }]) => match length {
                Some(length) if skip.checked_add(*length) != Some(*rows) => return refuse(),
                _ => *sequence,
            },
            (Op::Linear { weight_rows, first_row, out, .. }, [input]) => {
                if first_row.checked_add(*out).is_none_or(|end| end > *weight_rows) {
                    return Err(format!("rows {first_row} + {out} of a weight of {weight_rows}"));
                }
                resized(*input, positive(*out, "out")?).ok_or_else(|| format!("a linear layer of {input:?}"))?
            }
            (Op::Project { out, .. }, [input]) => {
                resized(*input, positive(*out, "out")?).ok_or_else(|| format!("a projection of {input:?}"))?
            }
            (Op::Attention { heads, .. }, [q @ Sequence { width, .. }, k, v]) if q == k && k == v => {
                if *heads == 0 || width % heads != 0 {
                    return Err(format!("{heads} heads do not divide a width of {width}"));
                }
                *q
            }
            (Op::Embed { width, .. }, [Tokens { .. }]) => Sequence { length: None, width: *width },
            (Op::EndOfText, [Sequence { length: None, width }, Tokens { .. }]) => Vector { width: *width },
            (Op::PromptConv { folded }, [Map { channels, height, width }, Vector { width: vector }]) => {
                let constants = if *folded { TAPS + 1 } else { 1 };
                if times(*channels, TAPS)?.checked_add(constants) != Some(*vector) {
                    return refuse();
                }
                Map { channels: 1, height: *height, width: *width }
            }
            (Op::BlendTaps { scale, .. }, [Map { channels, height, width }])
                if *channels > 0 && channels % TAPS == 0 =>
            {
                let scale = positive(*scale, "scale")?;
                Map { channels: channels / TAPS, height: times(*height, scale)?, width: times(*width, scale)? }
            }
            _ => return refuse(),
        })
    }

    /// The weights that the operator reads when its inputs have these shapes (as [`Op::infer`] accepted them).
    pub fn parameters(&self, inputs: &[Shape]) -> Vec<Parameter> {
        let parameter = |name: &str, shape: &[usize]| Parameter { name: name.to_string(), shape: shape.to_vec() };
        let optional = |name: &Option<String>, length: usize| name.as_deref().map(|name| parameter(name, &[length]));
        let input_width = inputs.first().map_or(0, |shape| match shape {
            Shape::Map { channels, .. } => *channels,
            Shape::Sequence { width, .. } | Shape::Vector { width } => *width,
            Shape::Tokens { .. } => 0,
        });
        match self {
            Op::Conv { weight, bias, out_channels, kernel, .. } => {
                let mut all = vec![parameter(weight, &[*out_channels, input_width, *kernel, *kernel])];
                all.extend(optional(bias, *out_channels));
                all
            }
            Op::BatchNorm { prefix } => ["weight", "bias", "running_mean", "running_var"]
                .map(|field| parameter(&format!("{prefix}.{field}"), &[input_width]))
                .to_vec(),
            Op::LayerNorm { prefix } => {
                ["weight", "bias"].map(|field| parameter(&format!("{prefix}.{field}"), &[input_width])).to_vec()
            }
            Op::AddPositions { table, rows, .. } => vec![parameter(table, &[*rows, input_width])],
            Op::Linear { weight, bias, weight_rows, .. } => {
                let mut all = vec![parameter(weight, &[*weight_rows, input_width])];
                all.extend(optional(bias, *weight_rows));
                all
            }
            Op::Project { matrix, out } => vec![parameter(matrix, &[input_width, *out])],
            Op::Embed { table, vocabulary, width } => vec![parameter(table, &[*vocabulary, *width])],
            Op::AddMap { map } => match inputs {
                [Shape::Map { channels, height, width }] => vec![parameter(map, &[*channels, *height, *width])],
                _ => Vec::new(),
            },
            Op::BlendTaps { bias, .. } => optional(bias, input_width / TAPS).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

fn times(a: usize, b: usize) -> Result<usize, String> {
    a.checked_mul(b).ok_or_else(|| format!("{a} x {b} overflows"))
}

fn resized(input: Shape, width: usize) -> Option<Shape> {
    match input {
        Shape::Sequence { length, .. } => Some(Shape::Sequence { length, width }),
        Shape::Vector { .. } => Some(Shape::Vector { width }),
        _ => None,
    }
}
