//! The fast engine against the reference engine on complete networks, and its other guarantees.
#![expect(unreachable_pub, reason = "modules of one test program")]

mod allocations;
mod int8;
mod stages;

use causalclipseg::engine::{Engine, EngineChoice, EngineOptions, PromptKernel, WeightSource, Workspace};
use causalclipseg::graph::Graph;
use causalclipseg::kernels::Kernels;
use ndarray::Array2;
use toy_networks::networks::{self, image, mini, open_mini, tiny};

/// Sentences in the mini network's vocabulary, where 511 is the end of text.
const PROMPTS: [&[u32]; 3] = [&[510, 3, 77, 511], &[510, 511], &[510, 9, 8, 7, 6, 5, 4, 300, 200, 100, 511]];

fn engine<'a>(graph: &Graph, source: impl Into<WeightSource<'a>>, options: EngineOptions) -> Engine {
    let has_confounders = graph.find("pred_ad").is_ok();
    Engine::new(graph, source, options.with_confounders(has_confounders)).unwrap()
}

/// The logits of all heads for each prompt, from one image pass.
fn logits(engine: &Engine, pixels: &[f32], prompts: &[&[u32]]) -> Vec<Array2<f32>> {
    let kernels: Vec<PromptKernel> = prompts.iter().map(|tokens| engine.encode_prompt(tokens).unwrap()).collect();
    let mut workspace = Workspace::default();
    engine.run(&mut workspace, pixels, kernels.iter()).unwrap();
    let of_prompt = |index| {
        let confounders = engine.has_confounders().then(|| engine.confounder_logits(&workspace, index));
        let heads = [engine.logits(&workspace, index)].into_iter().chain(confounders);
        heads.map(|logits| logits.unwrap().to_owned()).collect::<Vec<_>>()
    };
    (0..prompts.len()).flat_map(of_prompt).collect()
}

fn assert_close(found: &[Array2<f32>], expected: &[Array2<f32>], share: f32, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        let difference = (found - expected).iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!(largest > 0.0 && difference <= share * largest, "{what}: {difference} of {largest}");
    }
}

#[test]
fn f32_equals_the_reference_on_every_instruction_set() {
    for (name, network, size) in [
        ("mini", mini(64), 64),
        ("mini at 96", mini(96), 96),
        ("mini without maskers", open_mini(64), 64),
        ("tiny", tiny(32), 32),
    ] {
        let pixels = image(size);
        let vocabulary_end = networks::end_of_text(&network.graph);
        let prompts: Vec<Vec<u32>> = PROMPTS
            .iter()
            .map(|tokens| tokens.iter().map(|id| if *id == 511 { vocabulary_end } else { *id }).collect())
            .collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let reference = EngineOptions::default().with_choice(EngineChoice::Reference);
        let expected = logits(&engine(&network.graph, &network.weights, reference), &pixels, &prompts);
        for kernels in Kernels::available() {
            let options = EngineOptions::default().with_isa(Some(kernels.isa()));
            let fast = engine(&network.graph, &network.weights, options);
            assert!(fast.cpu().is_some(), "{name} fell back to the reference");
            let found = logits(&fast, &pixels, &prompts);
            assert_close(&found, &expected, 1e-4, &format!("{name} on {}", kernels.isa()));
        }
    }
}

#[test]
fn threads_and_company_change_no_bit() {
    let network = mini(96);
    let pixels = image(96);
    let alone = logits(&engine(&network.graph, &network.weights, EngineOptions::default()), &pixels, &PROMPTS[..1]);
    for threads in [1, 2, 3, 5] {
        let options = EngineOptions::default().with_threads(threads);
        let fast = engine(&network.graph, &network.weights, options);
        for round in 0..3 {
            let together = logits(&fast, &pixels, &PROMPTS);
            assert_eq!(together[..2], alone[..], "{threads} threads, round {round}");
        }
    }
}

#[test]
fn a_workspace_serves_any_number_of_prompts_in_turn() {
    let network = mini(64);
    let fast = engine(&network.graph, &network.weights, EngineOptions::default());
    let kernels: Vec<PromptKernel> = PROMPTS.iter().map(|tokens| fast.encode_prompt(tokens).unwrap()).collect();
    let mut workspace = Workspace::default();
    let pixels = image(64);
    let mut first = Vec::new();
    for count in [1, 3, 0, 2, 1] {
        fast.run(&mut workspace, &pixels, kernels[..count].iter()).unwrap();
        assert!(fast.logits(&workspace, count).is_err());
        if count > 0 {
            first.push(fast.logits(&workspace, 0).unwrap().to_owned());
        }
    }
    assert!(first.windows(2).all(|pair| pair[0] == pair[1]));
    let many = vec![kernels[0].clone(); causalclipseg::engine::MAX_PROMPTS + 1];
    let error = fast.run(&mut workspace, &pixels, many.iter()).unwrap_err();
    assert!(error.to_string().contains("257 prompts"), "{error}");
}

/// The published form has steps that only the rewrites remove.
#[test]
fn unknown_networks_fall_back_to_the_reference() {
    let network = networks::published_mini();
    let options = EngineOptions::default().with_confounders(true);
    let fallen = Engine::new(&network.graph, &network.weights, options).unwrap();
    assert!(fallen.cpu().is_none());
    let rewritten = mini(64);
    let fast = engine(&rewritten.graph, &rewritten.weights, EngineOptions::default());
    let pixels = image(64);
    assert_close(&logits(&fast, &pixels, &PROMPTS), &logits(&fallen, &pixels, &PROMPTS), 1e-4, "published");
}

#[test]
fn the_fast_engine_names_what_it_refuses() {
    let network = mini(64);
    let fast = engine(&network.graph, &network.weights, EngineOptions::default());
    let error = |tokens: &[u32]| fast.encode_prompt(tokens).unwrap_err().to_string();
    assert!(error(&[]).contains("0 tokens"));
    assert!(error(&[1; 100]).contains("100 tokens"));
    assert!(error(&[1, 512, 511]).contains("token id 512"));
    assert!(error(&[1, 2]).contains("do not end with 511"));
    let kernel = fast.encode_prompt(&[511]).unwrap();
    let mut pixels = image(64);
    pixels[9] = f32::NAN;
    assert!(fast.segment(&pixels, &kernel).unwrap_err().to_string().contains("element 9"));
    assert!(fast.segment(&pixels[1..], &kernel).unwrap_err().to_string().contains("12287 numbers"));
}
