//! A convolution's coordinate channels contribute a constant map.
//!
//! A convolution is linear in its channels, and the two appended channels have the same coordinates for every image. So
//! W * cat(x, c) = W_x * x + W_c * c, where the last term depends on the position alone. It is computed here once,
//! including borders: taps outside the frame read zero, not a coordinate.

use super::LowerError;
use super::edit::{is_only_reader, kernel, prune, replace, store};
use crate::graph::{Graph, Op, Shape, Weights, coordinate};
use ndarray::{Array3, Array4, Axis, Slice};

/// Replaces coordinates that only a convolution reads by a map added after it.
pub fn coordinate_bias(mut graph: Graph, weights: &mut Weights) -> Result<Graph, LowerError> {
    for id in graph.ids() {
        let Op::Conv { weight, bias, out_channels, kernel: size, stride, padding } = graph.node(id).op.clone() else {
            continue;
        };
        let source = graph.node(id).inputs[0];
        if graph.node(source).op != Op::AppendCoordinates || !is_only_reader(&graph, source, id) {
            continue;
        }
        let features = graph.node(source).inputs[0];
        let (Shape::Map { channels, height, width }, Shape::Map { height: out_height, width: out_width, .. }) =
            (graph.node(features).shape, graph.node(id).shape)
        else {
            continue;
        };
        let filters = kernel(weights, &weight)?;
        let of_features = filters.slice_axis(Axis(1), Slice::from(..channels)).to_owned();
        let of_coordinates = filters.slice_axis(Axis(1), Slice::from(channels..)).to_owned();
        let frame = Frame { height, width, out_height, out_width, stride, padding };
        let map = store(weights, &weight, "coordinates", contribution(&of_coordinates, &frame).into_dyn());
        let weight = store(weights, &weight, "features.weight", of_features.into_dyn());
        replace(
            &mut graph,
            source,
            Op::Conv { weight, bias, out_channels, kernel: size, stride, padding },
            vec![features],
        )?;
        replace(&mut graph, id, Op::AddMap { map }, vec![source])?;
    }
    Ok(prune(&graph)?)
}

struct Frame {
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
    stride: usize,
    padding: usize,
}

impl Frame {
    /// The pixel that a tap reads, or `None` outside the frame.
    fn read(&self, output: usize, tap: usize, size: usize) -> Option<usize> {
        (output * self.stride + tap).checked_sub(self.padding).filter(|pixel| *pixel < size)
    }
}

/// The contribution of `filters` (out x 2 x kernel x kernel) over the coordinates alone.
fn contribution(filters: &Array4<f32>, frame: &Frame) -> Array3<f32> {
    let (out_channels, _, kernel_height, kernel_width) = filters.dim();
    Array3::from_shape_fn((out_channels, frame.out_height, frame.out_width), |(channel, y, x)| {
        let mut sum = 0.0;
        for ky in 0..kernel_height {
            let Some(row) = frame.read(y, ky, frame.height) else { continue };
            for kx in 0..kernel_width {
                let Some(column) = frame.read(x, kx, frame.width) else { continue };
                sum += filters[(channel, 0, ky, kx)] * coordinate(column, frame.width)
                    + filters[(channel, 1, ky, kx)] * coordinate(row, frame.height);
            }
        }
        sum
    })
}
