//! A network of a few nodes that has every kind of connection of the real one.

use super::*;
use crate::graph::{GraphBuilder, NodeId, Op, Parts, ScaleZeroPoint, TAPS, Weights};
use crate::tract_op::SegmentOp;
use ndarray::{ArrayD, IxDyn};

const SIDE: usize = 6;
const VOCABULARY: usize = 12;
const CONTEXT: usize = 5;

fn head(g: &mut GraphBuilder, prefix: &str, map: NodeId, state: NodeId) -> NodeId {
    let conv =
        Op::Conv { weight: format!("{prefix}.conv"), bias: None, out_channels: 4, kernel: 3, stride: 1, padding: 1 };
    let x = g.add(conv, &[map]).unwrap();
    let linear =
        Op::Linear { weight: format!("{prefix}.txt"), bias: None, weight_rows: 37, first_row: 0, out: 4 * TAPS + 1 };
    let kernel = g.add(linear, &[state]).unwrap();
    g.named(prefix, Op::PromptConv { folded: false }, &[x, kernel]).unwrap()
}

fn network() -> (Graph, Weights) {
    let mut g = GraphBuilder::new();
    // The prompt's part comes first here, which no engine may depend on.
    let tokens = g.input("tokens", Shape::Tokens { context: CONTEXT }).unwrap();
    let image = g.input("image", Shape::Map { channels: 3, height: SIDE, width: SIDE }).unwrap();
    let embed = Op::Embed { table: "table".into(), vocabulary: VOCABULARY, width: 8 };
    let x = g.add(embed, &[tokens]).unwrap();
    let x = g.add(Op::AddPositions { table: "positions".into(), rows: CONTEXT, skip: 0 }, &[x]).unwrap();
    let x = g.add(Op::Attention { heads: 2, causal: true }, &[x, x, x]).unwrap();
    let state = g.add(Op::EndOfText, &[x, tokens]).unwrap();
    let causal = g.add(Op::Relu, &[image]).unwrap();
    let rest = g.add(Op::Complement, &[image]).unwrap();
    let pred = head(&mut g, "pred", causal, state);
    let pred_ad = head(&mut g, "pred_ad", rest, state);
    let graph = g.finish(&[pred, pred_ad]);
    let weights = graph.parameters().into_iter().enumerate().map(|(number, parameter)| {
        let mut index = 0;
        let value = ArrayD::from_shape_simple_fn(parameter.shape, || {
            index += 1;
            ((number * 31 + index * 7919) % 201) as f32 / 100.0 - 1.0
        });
        (parameter.name, value)
    });
    let weights = weights.collect();
    (graph, weights)
}

fn pixels() -> Vec<f32> {
    (0..3 * SIDE * SIDE).map(|index| ((index * 37) % 101) as f32 / 50.0 - 1.0).collect()
}

#[test]
fn the_parts_compute_what_the_whole_does() {
    let (graph, weights) = network();
    let image = ArrayD::from_shape_vec(vec![3, SIDE, SIDE], pixels()).unwrap();
    let tokens = [3, 5, 11];
    let whole = ReferencePlan::new(&graph, &weights).unwrap();
    let expected = whole.run(&[InputValue::Tokens(&tokens), InputValue::Array(&image)]).unwrap();
    let engine = Engine::new(&graph, &weights, EngineOptions::default().with_confounders(true)).unwrap();
    // Padding after the end of text changes nothing.
    for prompt in [&[3, 5, 11][..], &[3, 5, 11, 0, 0]] {
        let kernel = engine.encode_prompt(prompt).unwrap();
        let (logits, confounders) = engine.segment(&pixels(), &kernel).unwrap();
        for (found, expected) in [logits, confounders.unwrap()].iter().zip(&expected) {
            assert_eq!(found.dim(), (SIDE, SIDE));
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
    let other = engine.encode_prompt(&[3, 6, 11]).unwrap();
    assert!(engine.segment(&pixels(), &other).unwrap().0.iter().zip(&expected[0]).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn bad_inputs_are_errors() {
    let (graph, weights) = network();
    let engine = Engine::new(&graph, &weights, EngineOptions::default()).unwrap();
    let message = |error: EngineError| error.to_string();
    let prompt = |tokens: &[u32]| message(engine.encode_prompt(tokens).err().unwrap());
    assert!(prompt(&[]).contains("0 tokens"));
    assert!(prompt(&[1; 6]).contains("6 tokens"));
    assert!(prompt(&[1, 12]).contains("token id 12"));
    assert!(prompt(&[u32::MAX]).contains("vocabulary of 12"));
    let mut image = pixels();
    let kernel = engine.encode_prompt(&[11]).unwrap();
    let segment = |image: &[f32]| message(engine.segment(image, &kernel).err().unwrap());
    assert!(segment(&image[1..]).contains("107 numbers"));
    assert!(segment(&[]).contains("0 numbers"));
    image[17] = f32::NAN;
    assert!(segment(&image).contains("NaN at element 17"));
    image[17] = f32::INFINITY;
    assert!(segment(&image).contains("inf at element 17"));
}

#[test]
fn confounders_cost_nothing_unless_asked_for() {
    let (graph, mut weights) = network();
    weights.retain(|name, _| !name.starts_with("pred_ad"));
    let engine = Engine::new(&graph, &weights, EngineOptions::default()).unwrap();
    let kernel = engine.encode_prompt(&[11]).unwrap();
    let mut workspace = Workspace::default();
    engine.run(&mut workspace, &pixels(), std::iter::once(&kernel)).unwrap();
    assert!(engine.logits(&workspace, 0).is_ok());
    let error = engine.confounder_logits(&workspace, 0).unwrap_err();
    assert!(matches!(error, EngineError::NoConfounders));
}

#[test]
fn graphs_and_weights_that_do_not_fit_are_errors() {
    let (graph, mut weights) = network();
    weights.remove("table");
    let error = |graph: &Graph, weights: &Weights| {
        Engine::new(graph, weights, EngineOptions::default().with_confounders(true)).err().unwrap().to_string()
    };
    assert!(error(&graph, &weights).contains("table"));
    let (_, weights) = network();
    let part = graph.subgraph(&[graph.find("image").unwrap()], &[NodeId(6)]).unwrap();
    assert!(error(&part, &weights).contains("tokens"));
    // A head that reads two maps of the image has no single cut.
    let mut merged = graph.clone();
    let pred_ad = merged.find("pred_ad").unwrap();
    let conv = merged.node(pred_ad).inputs[0];
    let pred = merged.find("pred").unwrap();
    merged.nodes[pred_ad.0] =
        crate::graph::Node { op: Op::Add, inputs: vec![pred, pred], ..merged.node(pred_ad).clone() };
    assert!(Parts::find(&merged, true).is_ok());
    merged.nodes[pred_ad.0].inputs = vec![conv, conv];
    assert!(error(&merged, &weights).contains("pred_ad"));
}

/// A node with a scale and zero point yields only values that they represent; what it reads was rounded before.
#[test]
fn grids_are_honoured() {
    let mut g = GraphBuilder::new();
    let image = g.input("image", Shape::Map { channels: 1, height: 2, width: 3 }).unwrap();
    let rest = g.add(Op::Complement, &[image]).unwrap();
    let mut graph = g.finish(&[image, rest]);
    graph.nodes[image.0].quantisation = Some(ScaleZeroPoint { scale: 0.25, zero_point: 3 });
    graph.nodes[rest.0].quantisation = Some(ScaleZeroPoint { scale: 0.5, zero_point: 0 });
    let pixels = ArrayD::from_shape_vec(IxDyn(&[1, 2, 3]), vec![0.1, 0.13, -9.0, 99.0, 0.37, 0.62]).unwrap();
    let outputs = ReferencePlan::new(&graph, &Weights::new()).unwrap().run(&[InputValue::Array(&pixels)]).unwrap();
    assert_eq!(outputs[0].as_slice().unwrap(), [0.0, 0.25, -0.75, 63.0, 0.25, 0.5]);
    // Halves are rounded to even.
    assert_eq!(outputs[1].as_slice().unwrap(), [1.0, 1.0, 2.0, 0.0, 1.0, 0.5]);
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        graph.nodes[rest.0].quantisation = Some(ScaleZeroPoint { scale, zero_point: 0 });
        assert!(graph.validate().unwrap_err().to_string().contains("scale"));
    }
}

#[test]
fn an_engine_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Engine>();
    shared::<Workspace>();
    shared::<PromptKernel>();
}

/// The engine as a tract model of one operator, and inside a larger one.
#[test]
fn the_engine_stands_in_a_tract_graph() {
    use tract_core::internal::*;

    let (graph, weights) = network();
    let engine = Arc::new(Engine::new(&graph, &weights, EngineOptions::default()).unwrap());
    let image = Tensor::from_shape(&[1, 3, SIDE, SIDE], &pixels()).unwrap();
    let prompts: [[i64; CONTEXT]; 2] = [[3, 5, 11, 0, 0], [7, 11, 0, 0, 0]];
    let tokens = Tensor::from_shape(&[2, CONTEXT], prompts.as_flattened()).unwrap();
    let mut model = SegmentOp::new(engine.clone()).into_model().unwrap();
    let logits = model.output_outlets().unwrap()[0];
    let probability = model.wire_node("probability", tract_core::ops::nn::sigmoid(), &[logits]).unwrap();
    model.select_output_outlets(&probability).unwrap();
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    for _ in 0..2 {
        let found = plan.run(tvec!(image.clone().into_tvalue(), tokens.clone().into_tvalue())).unwrap();
        assert_eq!(found[0].shape(), [2, 1, SIDE, SIDE]);
        let found = found[0].to_plain_array_view::<f32>().unwrap();
        for (prompt, ids) in prompts.iter().enumerate() {
            let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
            let kernel = engine.encode_prompt(&ids).unwrap();
            let (expected, _) = engine.segment(&pixels(), &kernel).unwrap();
            for ((y, x), logit) in expected.indexed_iter() {
                let probability = 1.0 / (1.0 + (-logit).exp());
                assert!((found[[prompt, 0, y, x]] - probability).abs() < 1e-4);
            }
        }
    }
    let refused = Tensor::from_shape(&[1, CONTEXT], &[3i64, -5, 11, 0, 0]).unwrap();
    let error = plan.run(tvec!(image.into_tvalue(), refused.into_tvalue())).unwrap_err();
    assert!(format!("{error:#}").contains("vocabulary"), "{error:#}");
}

#[test]
fn an_operator_refuses_other_shapes() {
    use tract_core::internal::*;

    let (graph, weights) = network();
    let op = SegmentOp::new(Arc::new(Engine::new(&graph, &weights, EngineOptions::default()).unwrap()));
    let image = f32::fact([1, 3, SIDE, SIDE]);
    let tokens = i64::fact([2, CONTEXT]);
    assert!(op.output_facts(&[&image, &tokens]).is_ok());
    for (image, tokens) in [
        (f32::fact([1, 3, SIDE, SIDE + 1]), tokens.clone()),
        (i64::fact([1, 3, SIDE, SIDE]), tokens.clone()),
        (image.clone(), i64::fact([2, CONTEXT + 1])),
        (image.clone(), f32::fact([2, CONTEXT])),
    ] {
        assert!(op.output_facts(&[&image, &tokens]).is_err(), "{image:?} {tokens:?}");
    }
    assert!(op.output_facts(&[&image]).is_err());
}

#[test]
fn the_fast_engine_looks_at_its_limit() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny.ccs");
    let model = crate::Model::open(&path, crate::ModelOptions::default()).unwrap();
    let (prompt, size) = (model.prompt("a dark nodule").unwrap(), model.description().input_size);
    let (engine, pixels) = (model.engine().cpu().unwrap(), vec![0.0; 3 * size * size]);
    let run = |limit: &Limit| {
        let kernels = std::iter::once(prompt.kernel().as_ref());
        engine.run(&mut CpuWorkspace::default(), &pixels, kernels, limit, false)
    };
    let mut limit = Limit::default();
    limit.begin(None);
    run(&limit).unwrap();
    limit.canceller().cancel();
    assert!(matches!(run(&limit), Err(EngineError::Cancelled)));
    limit.begin(Some(std::time::Duration::ZERO));
    assert!(matches!(run(&limit), Err(EngineError::TimeLimit { .. })));
}
