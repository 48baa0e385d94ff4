//! A wider network of the same function, to train further: Net2Net's widening (Chen, Goodfellow, Shlens, "Net2Net: Accelerating
//! learning via knowledge transfer", ICLR 2016).
//!
//! Channel c of the wide network is a copy of channel c modulo the narrow one's channels. A layer that reads copies gets the
//! narrow weight in shares that sum to one. The shares are drawn, so that copies get different gradients and part in training.

use crate::checkpoint::Checkpoint;
use crate::model::{Architecture, ArchitectureError, Edition};
use causalclipseg::graph::{Graph, GraphError, Node, Op, Shape, TAPS, Weights};
use ndarray::{ArrayD, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The network cannot be widened to the requested sizes.
#[derive(Debug, thiserror::Error)]
pub enum WidenError {
    #[error("{what} of {wanted} is narrower than the checkpoint's {present}: a network can only gain channels")]
    Narrower { what: &'static str, present: usize, wanted: usize },
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Widens the image encoder to `width` channels after its stem and the decoder to `decoder` channels without changing the
/// function. The text encoder and the embedding keep their widths.
pub fn widen(checkpoint: Checkpoint, width: usize, decoder: usize, seed: u64) -> Result<Checkpoint, WidenError> {
    let Checkpoint { mut architecture, weights, provenance } = checkpoint;
    for (what, present, wanted) in
        [("a width", architecture.image.width, width), ("a decoder", architecture.decoder, decoder)]
    {
        if wanted < present {
            return Err(WidenError::Narrower { what, present, wanted });
        }
    }
    let narrow = architecture.describe()?;
    narrow.check_weights(|name| weights.get(name).map(ArrayD::shape))?;
    architecture.image.width = width;
    architecture.decoder = decoder;
    architecture.validate()?;
    let is = |edition: &Edition| {
        Architecture { edition: *edition, ..architecture.clone() }
            == Architecture::of(*edition, architecture.input_size)
    };
    architecture.edition = Edition::ALL.into_iter().find(is).unwrap_or(architecture.edition);
    let wide = architecture.describe()?;
    let mut widening = Widening { narrow: &weights, wide: Weights::new(), rng: ChaCha8Rng::seed_from_u64(seed) };
    widening.run(&narrow, &wide);
    Ok(Checkpoint { architecture, weights: widening.wide, provenance })
}

/// For each channel of a wide value, the narrow value's channel that it copies.
type Origins = Vec<usize>;

struct Widening<'a> {
    narrow: &'a Weights,
    wide: Weights,
    rng: ChaCha8Rng,
}

impl Widening<'_> {
    /// Both graphs describe the same layers, so their nodes correspond one to one.
    fn run(&mut self, narrow: &Graph, wide: &Graph) {
        let mut origins: Vec<Origins> = Vec::with_capacity(wide.nodes.len());
        for (before, node) in narrow.nodes.iter().zip(&wide.nodes) {
            let inputs: Vec<&Origins> = node.inputs.iter().map(|input| &origins[input.0]).collect();
            let of_inputs: Vec<usize> = before.inputs.iter().map(|input| channels(narrow.node(*input))).collect();
            if let (Op::PromptConv { .. }, [map, vector]) = (&node.op, node.inputs.as_slice()) {
                self.prompt_kernel(&wide.node(*vector).op, &origins[map.0]);
            }
            let outputs = self.node(node, &inputs, &of_inputs, channels(before));
            origins.push(outputs);
        }
    }

    /// Widens a node's weights and returns its channels' origins.
    fn node(&mut self, node: &Node, inputs: &[&Origins], of_inputs: &[usize], narrow_out: usize) -> Origins {
        let copies = |count: usize| -> Origins { (0..count).map(|channel| channel % narrow_out).collect() };
        match (&node.op, inputs) {
            (Op::Conv { weight, bias, out_channels, .. }, [input]) => {
                let outputs = copies(*out_channels);
                self.product(weight, &outputs, input, of_inputs[0]);
                self.along(bias.iter(), 0, &outputs);
                outputs
            }
            // A weight of several layers, as of the text encoder's queries, keys and values, has one width in both networks.
            (Op::Linear { weight, bias, weight_rows, out, .. }, [input]) if weight_rows == out => {
                let outputs = copies(*out);
                self.product(weight, &outputs, input, of_inputs[0]);
                self.along(bias.iter(), 0, &outputs);
                outputs
            }
            (Op::BatchNorm { prefix } | Op::LayerNorm { prefix }, [input]) => {
                let fields = ["weight", "bias", "running_mean", "running_var"].map(|field| format!("{prefix}.{field}"));
                self.along(fields.iter().filter(|name| self.narrow.contains_key(*name)), 0, input);
                input.to_vec()
            }
            (Op::AddPositions { table, .. }, [input]) => {
                self.along([table].into_iter(), 1, input);
                input.to_vec()
            }
            (Op::Linear { weight, bias, .. }, _) => {
                self.unchanged([weight].into_iter().chain(bias));
                copies(narrow_out)
            }
            (Op::Project { matrix: table, .. } | Op::Embed { table, .. }, _) => {
                self.unchanged([table].into_iter());
                copies(narrow_out)
            }
            (Op::Concat, _) => {
                let starts = of_inputs.iter().scan(0, |next, count| {
                    *next += count;
                    Some(*next - count)
                });
                inputs
                    .iter()
                    .zip(starts)
                    .flat_map(|(part, start)| part.iter().map(move |origin| start + origin))
                    .collect()
            }
            (Op::AppendCoordinates, [input]) => input.iter().copied().chain([of_inputs[0], of_inputs[0] + 1]).collect(),
            (Op::Input | Op::PromptConv { .. }, _) => copies(narrow_out),
            (_, [first, ..]) => first.to_vec(),
            (_, []) => copies(narrow_out),
        }
    }

    /// A weight of outputs x inputs x taps.
    fn product(&mut self, name: &str, outputs: &Origins, inputs: &Origins, narrow_inputs: usize) {
        let narrow = &self.narrow[name];
        let mut wide = narrow.select(Axis(0), outputs).select(Axis(1), inputs);
        if inputs.len() > narrow_inputs {
            for mut output in wide.axis_iter_mut(Axis(0)) {
                let drawn = ArrayD::from_shape_simple_fn(output.raw_dim(), || self.rng.random_range(0.05..1.0f32));
                output *= &shares(drawn, inputs, narrow_inputs);
            }
        }
        self.wide.insert(name.to_string(), wide);
    }

    /// The layer that generates a prompt's kernel: a row for each tap of each channel, and one for the bias. The map that
    /// meets the kernel has copies, so the rows are shared among them.
    fn prompt_kernel(&mut self, linear: &Op, map: &Origins) {
        let Op::Linear { weight, bias, .. } = linear else { unreachable!("a linear layer generates the kernel") };
        let narrow_channels = (self.narrow[weight].shape()[0] - 1) / TAPS;
        let drawn = ArrayD::from_shape_simple_fn(vec![map.len(), TAPS], || self.rng.random_range(0.05..1.0f32));
        let shares = shares(drawn, map, narrow_channels);
        let last = [(narrow_channels * TAPS, 1.0)];
        let rows = map.iter().enumerate().flat_map(|(channel, origin)| {
            let shares = &shares;
            (0..TAPS).map(move |tap| (origin * TAPS + tap, shares[[channel, tap]]))
        });
        let (rows, factors): (Vec<usize>, Vec<f32>) = rows.chain(last).unzip();
        for name in [weight].into_iter().chain(bias) {
            let mut wide = self.narrow[name].select(Axis(0), &rows);
            for (mut row, factor) in wide.axis_iter_mut(Axis(0)).zip(&factors) {
                row *= *factor;
            }
            self.wide.insert(name.clone(), wide);
        }
    }

    /// Weights with one element, or one column, for each channel.
    fn along<'n>(&mut self, names: impl Iterator<Item = &'n String>, axis: usize, channels: &Origins) {
        for name in names {
            self.wide.insert(name.clone(), self.narrow[name].select(Axis(axis), channels));
        }
    }

    fn unchanged<'n>(&mut self, names: impl Iterator<Item = &'n String>) {
        for name in names {
            self.wide.insert(name.clone(), self.narrow[name].clone());
        }
    }
}

/// Scales positive numbers, channels first, so that those of one origin sum to one.
fn shares(mut drawn: ArrayD<f32>, origins: &Origins, narrow_channels: usize) -> ArrayD<f32> {
    let mut of_an_origin = vec![Vec::new(); narrow_channels];
    for (channel, origin) in origins.iter().enumerate() {
        of_an_origin[*origin].push(channel);
    }
    for copies in of_an_origin.iter().filter(|copies| !copies.is_empty()) {
        let sum = drawn.select(Axis(0), copies).sum_axis(Axis(0));
        for channel in copies {
            let mut share = drawn.index_axis_mut(Axis(0), *channel);
            share /= &sum;
        }
    }
    drawn
}

/// The channels of a map, or the elements of a row.
fn channels(node: &Node) -> usize {
    match node.shape {
        Shape::Map { channels, .. } => channels,
        Shape::Sequence { width, .. } | Shape::Vector { width } => width,
        Shape::Tokens { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::start::random_start;
    use super::*;
    use crate::model::{golden_image, stage};
    use causalclipseg::engine::{InputValue, ReferencePlan};

    fn heads(checkpoint: &Checkpoint) -> Vec<ArrayD<f32>> {
        let mut graph = checkpoint.architecture.describe().unwrap();
        graph.outputs = [stage::PRED, stage::PRED_AD].map(|name| graph.find(name).unwrap()).to_vec();
        let image = golden_image(checkpoint.architecture.input_size);
        let inputs = [InputValue::Array(&image), InputValue::Tokens(&[1, 5, 15])];
        ReferencePlan::new(&graph, &checkpoint.weights).unwrap().run(&inputs).unwrap()
    }

    /// The formula's weights have norms, biases and statistics that differ from channel to channel.
    fn mini() -> Checkpoint {
        let architecture = Architecture::mini();
        let weights = architecture.golden_weights().unwrap();
        Checkpoint { architecture, weights, provenance: Default::default() }
    }

    #[test]
    fn a_widened_network_is_the_same_function() {
        let narrow = mini();
        let expected = heads(&narrow);
        for (width, decoder) in [(16, 32), (8, 64), (12, 34), (24, 80)] {
            let wide = widen(narrow.clone(), width, decoder, 5).unwrap();
            assert_eq!((wide.architecture.image.width, wide.architecture.decoder), (width, decoder));
            for (found, expected) in heads(&wide).iter().zip(&expected) {
                let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
                let error = (found - expected).iter().fold(0f32, |most, value| most.max(value.abs()));
                assert!(error < 2e-4 * largest, "{width}, {decoder}: {error} of {largest}");
            }
        }
    }

    #[test]
    fn the_tiny_edition_widens_to_the_small_one() {
        let architecture = Architecture::of(Edition::Tiny, 64);
        let small = Architecture::of(Edition::Small, 64);
        let weights = architecture.golden_weights().unwrap();
        let tiny = Checkpoint { architecture, weights, provenance: Default::default() };
        assert_eq!(widen(tiny, small.image.width, small.decoder, 5).unwrap().architecture, small);
    }

    #[test]
    fn copies_differ_in_what_reads_them() {
        let wide = widen(mini(), 16, 64, 5).unwrap();
        for name in ["backbone.visual.layer2.0.conv2.weight", "neck_ad.aggr.0.weight", "proj.vis.3.0.weight"] {
            let weight = &wide.weights[name];
            let half = weight.shape()[1] / 2;
            let [first, second] = [0, half].map(|start| weight.slice_axis(Axis(1), (start..start + half).into()));
            assert!(first.iter().zip(second).all(|(a, b)| a != b), "{name}");
        }
    }

    #[test]
    fn a_network_can_only_be_widened() {
        let narrow = random_start(Architecture::mini(), 1).unwrap();
        assert!(matches!(widen(narrow.clone(), 4, 32, 7), Err(WidenError::Narrower { .. })));
        assert!(matches!(widen(narrow.clone(), 8, 16, 7), Err(WidenError::Narrower { .. })));
        assert!(matches!(widen(narrow, 9, 32, 7), Err(WidenError::Architecture(_))));
    }
}
