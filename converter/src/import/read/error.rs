//! Why a file cannot be read.

use std::fmt;

/// Each message is one line of what, why and what to do, to be read after the file's name. Names out of the file are
/// escaped: they may contain line breaks or a terminal's control codes.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("is empty; download or copy it again")]
    Empty,
    #[error(
        "is neither a torch archive (.pt, .pth, TorchScript) nor a safetensors file; save the weights as one of these"
    )]
    Unrecognised,
    #[error(
        "is in torch's format from before 1.6, which is not read; resave it in Python with `torch.save(torch.load(path, map_location=\"cpu\"), new_path)`"
    )]
    Legacy,
    #[error(
        "is a bare pickle, not a torch archive; resave its state dict in Python with `torch.save(state_dict, path)`"
    )]
    BarePickle,
    #[error("is not an intact zip archive ({}); download or copy it again", .reason.escape_debug())]
    Zip { reason: String },
    #[error("has no `data.pkl` inside, so it is not a torch archive; save the weights with `torch.save`")]
    NoPickle,
    #[error("was saved on a big-endian machine, which is not read; resave it on a little-endian one")]
    BigEndian,
    #[error(
        "holds `{}`, which inflates from {stored} to {inflated} bytes, over {most} times as much: a zip bomb, or not weights; resave it uncompressed with `torch.save`",
        .entry.escape_debug()
    )]
    ZipBomb { entry: String, stored: u64, inflated: u64, most: u64 },
    #[error("is over a limit: {what} is {value}, and {most} is the most; resave the weights alone")]
    Limit { what: &'static str, value: u64, most: u64 },
    #[error("has a damaged or hostile pickle: {0}; resave its state dict with `torch.save`")]
    Pickle(#[from] PickleError),
    #[error("holds a value that contains itself, under `{}`; resave its state dict alone", .name.escape_debug())]
    Cyclic { name: String },
    #[error(
        "has a tensor `{}` that cannot be read: {}; resave the weights contiguous, as f32 or f16",
        .name.escape_debug(), .reason.escape_debug()
    )]
    Tensor { name: String, reason: String },
    #[error("is not an intact safetensors file ({}); download or copy it again", .reason.escape_debug())]
    Safetensors { reason: String },
    #[error("contains no tensors of floats; give the file with the weights")]
    NoTensors,
}

/// An error in a pickle, and its position in bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{problem} at byte {position}")]
pub struct PickleError {
    pub position: usize,
    pub problem: PickleProblem,
}

#[derive(Debug, PartialEq, Eq)]
pub enum PickleProblem {
    /// The pickle ends before its STOP.
    Truncated,
    /// An opcode that neither torch nor TorchScript writes.
    Opcode(u8),
    /// An operand is taken from an empty stack.
    StackUnderflow,
    /// A memo entry is read before it is written.
    NoMemo(u32),
    /// More than the limit of what is named.
    Over { what: &'static str, most: usize },
    /// A value of another kind than torch writes.
    Expected(&'static str),
    /// A text is not UTF-8.
    NotUtf8,
}

impl fmt::Display for PickleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "it ends too early"),
            Self::Opcode(opcode) => write!(f, "the opcode {opcode:#04x} is not one that torch writes"),
            Self::StackUnderflow => write!(f, "an operand is missing"),
            Self::NoMemo(index) => write!(f, "memo {index} is read before it is written"),
            Self::Over { what, most } => write!(f, "more than {most} {what}"),
            Self::Expected(kind) => write!(f, "{kind} was expected"),
            Self::NotUtf8 => write!(f, "a text is not UTF-8"),
        }
    }
}
