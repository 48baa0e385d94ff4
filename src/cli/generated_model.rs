//! Networks of the published shapes with generated weights: they cost what trained ones cost, and need no download.
//! Their masks mean nothing.

use super::Failure;
use causalclipseg::bundle::{
    Bundle, BundleBuilder, ModelDescription, Note, Precision, Problem, Provenance, StoredTensor,
};
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, Op, ScaleZeroPoint, Weights};
use causalclipseg::lower::rewrite;
use causalclipseg::network::{Architecture, Edition, Rounding, roundings, strip_fused};
use ndarray::ArrayD;
use std::collections::BTreeMap;

/// The scale and zero point of unsigned values, where a quantiser would measure them. All cost the same.
const UNSIGNED: ScaleZeroPoint = ScaleZeroPoint { scale: 6.0 / 255.0, zero_point: 0 };
const SIGNED: ScaleZeroPoint = ScaleZeroPoint { scale: 12.0 / 255.0, zero_point: 128 };
const UNIT: ScaleZeroPoint = ScaleZeroPoint { scale: 1.0 / 255.0, zero_point: 0 };

/// Generates a network, rewritten and packed as a trained one is. Its weights come from the formula behind the
/// reference vectors, so every machine generates the same bundle. `tokenizer_json`: with CLIP's vocabulary.
pub(super) fn generate(
    edition: Edition,
    precision: Precision,
    size: usize,
    tokenizer_json: Vec<u8>,
) -> Result<Bundle, Failure> {
    let architecture = Architecture::of(edition, size);
    architecture.validate()?;
    let (mut graph, weights) = rewrite(architecture.describe()?, architecture.golden_weights()?)?;
    let mut integers = Vec::new();
    if precision == Precision::Int8 {
        graph = strip_fused(&with_grids(graph));
        integers = quantise(&graph, &weights)?;
    }
    let mut provenance = Provenance::default();
    provenance.note(Note::Source, "generated weights, to measure with");
    let description = ModelDescription {
        name: format!("{edition}-untrained"),
        edition: edition.to_string(),
        input_size: size,
        normalisation: Normalisation::CLIP,
        fit: Fit::Stretch,
        threshold: 0.5,
        trained: false,
        gmac: graph.frame_gmac(1)?,
        provenance,
        calibration: None,
    };
    let builder = BundleBuilder::new(description, graph, &weights, precision)?.tokenizer_json(tokenizer_json);
    drop(weights);
    let builder = integers.into_iter().fold(builder, BundleBuilder::tensor);
    Ok(Bundle::from_bytes(builder.to_bytes()?)?)
}

/// Adds a scale and zero point for every value that a quantiser rounds.
fn with_grids(mut graph: Graph) -> Graph {
    let mut quantisations: Vec<Option<ScaleZeroPoint>> = Vec::new();
    for rounding in roundings(&graph) {
        quantisations.push(match rounding {
            Rounding::F32 => None,
            Rounding::Unit => Some(UNIT),
            Rounding::Own { unsigned: true } => Some(UNSIGNED),
            // The parts of a concatenation share one scale and zero point, and some are signed.
            Rounding::Own { unsigned: false } | Rounding::Joined(_) => Some(SIGNED),
            Rounding::SameAs(source) => quantisations.get(source.0).copied().flatten(),
        });
    }
    for (node, quantisation) in graph.nodes.iter_mut().zip(quantisations) {
        node.quantisation = quantisation;
    }
    graph
}

/// The weights of convolutions, linear layers and tables as integers with a scale for each output.
fn quantise(graph: &Graph, weights: &Weights) -> Result<Vec<StoredTensor>, Problem> {
    let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for node in &graph.nodes {
        let (name, for_kernels) = match &node.op {
            Op::Conv { weight, .. } | Op::Linear { weight, .. } => (weight, true),
            Op::Embed { table, .. } => (table, false),
            _ => continue,
        };
        let Some(values) = weights.get(name).filter(|_| !tensors.contains_key(name)) else { continue };
        for tensor in integers(name, values, for_kernels)? {
            tensors.insert(tensor.name.clone(), tensor);
        }
    }
    Ok(tensors.into_values().collect())
}

/// The stored tensors of one weight: its integers, their scales and, for kernels, their sums.
fn integers(name: &str, values: &ArrayD<f32>, for_kernels: bool) -> Result<Vec<StoredTensor>, Problem> {
    let (mut integers, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for output in values.outer_iter() {
        let largest = output.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        integers.extend(output.iter().map(|value| (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8));
        scales.push(scale);
    }
    StoredTensor::int8(name, values.shape(), &integers, &scales, for_kernels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use causalclipseg::{Model, ModelOptions};
    use std::sync::Arc;

    fn tiny(precision: Precision, size: usize) -> Bundle {
        let tokenizer = super::super::model_source::open(None).unwrap().tokenizer_json().unwrap().to_vec();
        generate(Edition::Tiny, precision, size, tokenizer).unwrap()
    }

    #[test]
    fn generated_models_are_untrained_and_the_same_everywhere() {
        let bundle = tiny(Precision::F32, 64);
        let model = &bundle.manifest().model;
        assert_eq!((model.trained, model.input_size, model.edition.as_str()), (false, 64, "tiny"));
        assert!(model.name.contains("untrained") && model.gmac > 0.0);
        assert_eq!(bundle.sha256(), tiny(Precision::F32, 64).sha256());
        assert!(generate(Edition::Tiny, Precision::F32, 65, Vec::new()).is_err());
    }

    /// In int8 a generated model must run on the int8 kernels, or its figures would describe another engine.
    #[test]
    fn int8_models_run_in_int8() {
        let bundle = Arc::new(tiny(Precision::Int8, 64));
        assert!(bundle.file_bytes() * 2 < tiny(Precision::F32, 64).file_bytes());
        let model = Model::from_bundle(bundle, ModelOptions::default()).unwrap();
        assert!(model.engine().cpu().is_some());
        let prompts = [model.prompt("a cyst").unwrap()];
        let pixels = vec![90; 64 * 64];
        let frame =
            causalclipseg::frame::Frame::packed(&pixels, causalclipseg::frame::PixelFormat::Gray8, 64, 64).unwrap();
        let mut session = causalclipseg::Session::new(&model, Default::default()).unwrap();
        let report = session.run(&frame, &prompts).unwrap();
        assert!(report.findings[0].probability().values().iter().all(|value| value.is_finite()));
    }
}
