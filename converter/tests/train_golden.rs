//! The training network against the published one, and its gradients against finite differences.

use burn::tensor::{Device, Tensor, TensorData};
use causalclipseg::graph::Weights;
use causalclipseg_convert::model::{Architecture, Edition, ImageEncoder, TextEncoder, stage};
use causalclipseg_convert::train::network::{
    Leaves, MaskMode, Mode, Network, NodeTensor, NodeTensors, PassPlan, TokenBatch, UpsampledConv,
};
use safetensors::SafeTensors;
use std::collections::BTreeSet;
use std::path::Path;

fn mini() -> Architecture {
    Architecture {
        edition: Edition::Tiny,
        input_size: 64,
        image: ImageEncoder { layers: [1, 1, 1, 1], width: 8 },
        text: TextEncoder { vocabulary: 512, context: 77, width: 64, layers: 2, heads: 1 },
        embed: 32,
        decoder: 32,
        ..Architecture::mini()
    }
}

struct Golden(Vec<u8>);

impl Golden {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/mini.safetensors");
        Self(std::fs::read(path).expect("the reference vectors are part of the repository"))
    }

    fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        let numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        (view.shape().to_vec(), numbers)
    }

    fn tokens(&self) -> Vec<u32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor("tokens").unwrap();
        data.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    }

    fn image(&self, device: &Device) -> Tensor<4> {
        let (shape, numbers) = self.floats("image");
        Tensor::from_data(TensorData::new(numbers, [shape[0], shape[1], shape[2], shape[3]]), device)
    }
}

fn numbers(values: &NodeTensors, name: &str) -> Vec<f32> {
    let data = match values.get(name).unwrap_or_else(|| panic!("no {name}")) {
        NodeTensor::Map(x) => x.to_data(),
        NodeTensor::Sequence(x) => x.to_data(),
        NodeTensor::Vector(x) => x.to_data(),
        NodeTensor::Tokens(_) => panic!("{name} is not a float"),
    };
    data.iter::<f32>().collect()
}

const STAGES: [&str; 14] = [
    "v3", "v4", "v5", "words", "state", "fq4", "fq5", "mask3", "mask4", "mask5", "fq_sup", "fq_inf", "pred", "pred_ad",
];

#[test]
fn every_stage_equals_the_published_network() {
    let device = Device::flex();
    let golden = Golden::read();
    let weights = mini().golden_weights().unwrap();
    for form in [UpsampledConv::Direct, UpsampledConv::Blend] {
        let mut network = Network::new(mini().describe().unwrap(), &weights, &device).unwrap();
        let plan = PassPlan::new(network.graph(), &STAGES, MaskMode::Learned, form, false).unwrap();
        let tokens = TokenBatch::new(&[golden.tokens()], &device);
        let values = network.forward(&plan, golden.image(&device), &tokens, Mode::Evaluation, &Leaves::none());
        for name in STAGES {
            let (_, expected) = golden.floats(name);
            let found = numbers(&values, name);
            assert_eq!(found.len(), expected.len(), "{name}");
            let largest = expected.iter().fold(0f32, |max, v| max.max(v.abs()));
            let error = expected.iter().zip(&found).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
            println!("{form:?} {name}: error {:.1e} of {largest:.2}", error / largest);
            assert!(error <= 1e-4 * largest, "{form:?} {name}: error {error} of {largest}");
        }
    }
}

/// Two images, so that batch norm has a batch, and prompts of two lengths.
fn training_inputs(device: &Device) -> (Tensor<4>, TokenBatch) {
    let golden = Golden::read();
    let image = golden.image(device);
    let other = image.clone().flip([2, 3]).mul_scalar(0.7);
    let tokens = golden.tokens();
    let prompts = [tokens.clone(), vec![tokens[0], 7, 9, 511]];
    (Tensor::cat(vec![image, other], 0), TokenBatch::new(&prompts, device))
}

/// A smooth scalar of the outputs with a gradient everywhere.
fn objective(values: &NodeTensors) -> Tensor<1> {
    let term = |name: &str, seed: usize| {
        let Some(NodeTensor::Map(map)) = values.get(name) else { panic!("no {name}") };
        let count = map.dims().iter().product::<usize>();
        let weights: Vec<f32> = (0..count).map(|i| ((i * 7919 + seed) % 1013) as f32 / 1013.0 - 0.5).collect();
        let weights = Tensor::<4>::from_data(TensorData::new(weights, map.dims()), &map.device().inner());
        map.clone().mul(weights).sum()
    };
    term(stage::PRED, 1).add(term(stage::PRED_AD, 2).mul_scalar(0.5))
}

fn value_at(weights: &Weights, plan: &PassPlan) -> f32 {
    let device = Device::flex();
    let mut network = Network::new(mini().describe().unwrap(), weights, &device).unwrap();
    let (images, tokens) = training_inputs(&device);
    objective(&network.forward(plan, images, &tokens, Mode::Training, &Leaves::none())).into_scalar::<f32>()
}

#[test]
fn gradients_equal_finite_differences_in_every_part() {
    let device = Device::flex();
    let weights = mini().golden_weights().unwrap();
    let names = [
        "backbone.visual.conv2.weight",
        "backbone.visual.bn1.weight",
        "backbone.visual.layer2.0.bn2.bias",
        "backbone.visual.layer3.0.downsample.0.weight",
        "backbone.visual.attnpool.positional_embedding",
        "backbone.visual.attnpool.q_proj.weight",
        "backbone.visual.attnpool.connect.0.weight",
        "backbone.token_embedding.weight",
        "backbone.positional_embedding",
        "backbone.transformer.resblocks.0.attn.in_proj_weight",
        "backbone.transformer.resblocks.1.ln_2.weight",
        "backbone.text_projection",
        "neck_ad.f2_v_proj.0.weight",
        "neck_ad.carafe.encoder.weight",
        "neck_ad.carafe.out.weight",
        "neck_ad.masker3.coordconv.conv1.0.weight",
        // Its bias has no slope: batch norm takes the mean away again.
        "neck_ad.masker4.conv.weight",
        "neck_ad.masker5.bn.weight",
        "neck_ad.aggr.0.weight",
        "neck_ad.aggr.1.bias",
        "proj.vis.1.0.weight",
        "proj.vis.3.0.weight",
        "proj.vis.3.1.weight",
        "proj.vis.4.weight",
        "proj.vis.4.bias",
        "proj.txt.weight",
        "proj_ad.vis.3.0.weight",
        "proj_ad.txt.bias",
    ];
    for form in [UpsampledConv::Blend, UpsampledConv::Direct] {
        let mut network = Network::new(mini().describe().unwrap(), &weights, &device).unwrap();
        let plan =
            PassPlan::new(network.graph(), &[stage::PRED, stage::PRED_AD], MaskMode::Learned, form, true).unwrap();
        let chosen: BTreeSet<String> = names.iter().map(|name| name.to_string()).collect();
        let leaves = Leaves::new(&network.parameters, &chosen);
        let (images, tokens) = training_inputs(&device);
        let loss = objective(&network.forward(&plan, images, &tokens, Mode::Training, &leaves));
        let gradients = loss.backward();
        for (name, leaf) in leaves.iter() {
            let gradient: Vec<f32> = leaf.grad(&gradients).expect(name).to_data().iter::<f32>().collect();
            // Along the gradient itself, where rounding of the loss matters least.
            let length = gradient.iter().map(|g| (*g as f64).powi(2)).sum::<f64>().sqrt();
            assert!(length > 0.0, "{name} has no gradient");
            let scale = weights[name].iter().map(|w| (*w as f64).powi(2)).sum::<f64>().sqrt();
            let mut errors = Vec::new();
            for relative in [1e-3, 3e-4, 1e-4, 3e-5] {
                let step = relative * scale.max(0.1);
                let at = |sign: f64| {
                    let mut moved = weights.clone();
                    for (w, g) in moved.get_mut(name).unwrap().iter_mut().zip(&gradient) {
                        *w += (sign * step * *g as f64 / length) as f32;
                    }
                    value_at(&moved, &plan) as f64
                };
                let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
                errors.push((slope - length).abs() / length);
            }
            // A ReLU that flips within a step spoils that step's difference, rounding the shortest one's.
            let error = errors.iter().copied().fold(f64::MAX, f64::min);
            println!("{form:?} {name}: {error:.1e}");
            assert!(error < 0.02, "{form:?} {name}: relative errors {errors:?} of a slope of {length}");
        }
    }
}

/// A pass differentiates what it was asked to, and nothing else.
#[test]
fn fixed_masks_carry_no_gradient_and_ones_need_no_masker() {
    let device = Device::flex();
    let weights = mini().golden_weights().unwrap();
    let masker = "neck_ad.masker4.conv.weight".to_string();
    let encoder = "neck_ad.f2_v_proj.0.weight".to_string();
    let names = BTreeSet::from([masker.clone(), encoder.clone()]);
    let gradients_of = |masks| {
        let mut network = Network::new(mini().describe().unwrap(), &weights, &device).unwrap();
        let plan =
            PassPlan::new(network.graph(), &[stage::PRED, stage::PRED_AD], masks, UpsampledConv::Blend, true).unwrap();
        // With fixed masks, the maskers are not trained.
        let names = match masks {
            MaskMode::Learned => names.clone(),
            _ => BTreeSet::from([encoder.clone()]),
        };
        let leaves = Leaves::new(&network.parameters, &names);
        let (images, tokens) = training_inputs(&device);
        let loss = objective(&network.forward(&plan, images, &tokens, Mode::Training, &leaves));
        let gradients = loss.backward();
        let found: Vec<(String, Vec<f32>)> = leaves
            .iter()
            .filter_map(|(name, leaf)| Some((name.clone(), leaf.grad(&gradients)?.to_data().iter::<f32>().collect())))
            .collect();
        found
    };
    let learned = gradients_of(MaskMode::Learned);
    let fixed = gradients_of(MaskMode::Fixed);
    let ones = gradients_of(MaskMode::Ones);
    assert_eq!(learned.len(), 2);
    assert_eq!((fixed.len(), ones.len()), (1, 1));
    assert_ne!(learned[0].1, fixed[0].1, "the encoder's gradient through the mask is missing from the learned one");
    assert_ne!(fixed[0].1, ones[0].1);
}

/// Several prompts of one image are answered as each alone would be.
#[test]
fn prompts_that_share_an_image_are_answered_apart() {
    let device = Device::flex();
    let weights = mini().golden_weights().unwrap();
    let mut network = Network::new(mini().describe().unwrap(), &weights, &device).unwrap();
    let (images, _) = training_inputs(&device);
    let own = Golden::read().tokens();
    let prompts = [own.clone(), vec![own[0], 7, 9, 511], vec![own[0], 511], vec![own[0], 3, 511]];
    for form in [UpsampledConv::Blend, UpsampledConv::Direct] {
        let plan = PassPlan::new(network.graph(), &[stage::PRED], MaskMode::Learned, form, false).unwrap();
        let mut answer = |images: Tensor<4>, prompts: &[Vec<u32>]| {
            let tokens = TokenBatch::new(prompts, &device);
            numbers(&network.forward(&plan, images, &tokens, Mode::Evaluation, &Leaves::none()), stage::PRED)
        };
        let together = answer(images.clone(), &prompts);
        let apart: Vec<f32> =
            (0..4).flat_map(|at| answer(images.clone().narrow(0, at / 2, 1), &prompts[at..at + 1])).collect();
        assert_eq!(together.len(), apart.len());
        let largest = apart.iter().fold(0f32, |max, v| max.max(v.abs()));
        let error = together.iter().zip(&apart).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(error <= 1e-5 * largest, "{form:?}: error {error} of {largest}");
        let pixels = together.len() / 4;
        assert_ne!(together[..pixels], together[pixels..2 * pixels]);
    }
}
