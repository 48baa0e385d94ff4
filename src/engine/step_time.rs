//! The time of one image pass, step by step.

/// One step of an image pass, as it ran.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// The node of the network that it computes, or the first of those that it fuses.
    pub name: String,
    /// The operator, or the fused operators.
    pub kind: String,
    /// Multiply-accumulates in 10⁹; zero where it only moves or adds.
    pub gmac: f64,
    /// Bytes of activations that it reads and writes.
    pub bytes: u64,
    /// Its duration.
    pub nanoseconds: u64,
}
