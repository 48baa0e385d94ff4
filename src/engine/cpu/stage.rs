//! Computes a single intermediate value of a network, to compare engines stage by stage.

use super::program::{PassInput, PassMemory, Program};
use super::weights::WeightSource;
use crate::engine::EngineError;
use crate::graph::{Graph, NodeId, Shape, stage};
use crate::kernels::{Crew, Kernels};
use crate::lower::steps::{lower, settle};
use ndarray::{ArrayD, IxDyn};

/// Runs the steps from the image up to a node, and returns its value in the graph's shape (channels first). `None` if no step
/// stores it: values inside a fused step, and values that depend on tokens.
pub fn stored_value(
    graph: &Graph,
    source: WeightSource,
    node: NodeId,
    image: &[f32],
    kernels: Kernels,
) -> Result<Option<ArrayD<f32>>, EngineError> {
    let part = graph.subgraph(&[graph.find(stage::IMAGE)?], &[node])?;
    let Ok(list) = lower(&part) else { return Ok(None) };
    let program = Program::new(&settle(list, |filters| source.is_int8(filters)), &source, kernels)?;
    let (mut memory, mut crew) = (PassMemory::default(), Crew::alone());
    program.reserve(&mut memory, 1, 0);
    program.run(&mut memory, kernels, &mut crew, PassInput { image, ..PassInput::default() }, &mut [], None)?;
    let Some(values) = program.output(&mut memory, 0) else { return Ok(None) };
    let misfit = |error: ndarray::ShapeError| EngineError::Internal(error.to_string());
    let array = match graph.node(node).shape {
        Shape::Map { channels, height, width } => {
            let pixels = ArrayD::from_shape_vec(IxDyn(&[height, width, channels]), values).map_err(misfit)?;
            pixels.permuted_axes(IxDyn(&[2, 0, 1])).as_standard_layout().into_owned()
        }
        Shape::Sequence { width, .. } => {
            ArrayD::from_shape_vec(IxDyn(&[values.len() / width.max(1), width]), values).map_err(misfit)?
        }
        _ => ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).map_err(misfit)?,
    };
    Ok(Some(array))
}
