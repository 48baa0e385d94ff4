//! Complete networks on a GPU, against the engines of the CPU; and the fallback to the CPU. Without an adapter the
//! tests say so and pass. Debian's `mesa-vulkan-drivers` has a software adapter.

mod fallback;
mod masks;
mod shipped;
mod whole;

use causalclipseg::engine::{Device, Engine, EngineOptions, GpuPrecision, PromptKernel, Workspace, adapters};
use ndarray::Array2;

/// Whether a GPU can be tested here.
fn has_adapter() -> bool {
    let has = !adapters().is_empty();
    if !has {
        println!("skipped: no GPU adapter on this machine");
    }
    has
}

fn on_gpu(gpu_precision: GpuPrecision) -> EngineOptions {
    EngineOptions::default()
        .with_device(Device::Gpu { index: None })
        .with_gpu_precision(gpu_precision)
        .with_confounders(true)
}

/// The logits of both heads for each prompt, from one image pass.
fn logits(engine: &Engine, workspace: &mut Workspace, pixels: &[f32], prompts: &[&[u32]]) -> Vec<Array2<f32>> {
    let kernels: Vec<PromptKernel> = prompts.iter().map(|tokens| engine.encode_prompt(tokens).unwrap()).collect();
    engine.run(workspace, pixels, kernels.iter()).unwrap();
    let of_prompt = |index| {
        [engine.logits(workspace, index), engine.confounder_logits(workspace, index)]
            .map(|logits| logits.unwrap().to_owned())
    };
    (0..prompts.len()).flat_map(of_prompt).collect()
}

fn largest(values: &Array2<f32>) -> f32 {
    values.iter().fold(0f32, |most, value| most.max(value.abs()))
}

fn assert_close(found: &[Array2<f32>], expected: &[Array2<f32>], share: f32, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let (difference, most) = (largest(&(found - expected)), largest(expected));
        println!("{what}: {:.1e} of the largest magnitude", difference / most);
        assert!(most > 0.0 && difference <= share * most, "{what}: {difference} of {most}");
    }
}
