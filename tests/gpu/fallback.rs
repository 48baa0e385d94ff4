//! Fallback to the CPU: from the start, and in the middle of a stream.

use super::{assert_close, has_adapter, logits, on_gpu};
use causalclipseg::engine::{Device, Engine, GpuPrecision, RanOn, Workspace};
use toy_networks::networks::{image, mini};

const PROMPTS: [&[u32]; 2] = [&[510, 3, 77, 511], &[510, 511]];

#[test]
fn a_device_lost_between_frames_costs_no_frame() {
    if !has_adapter() {
        return;
    }
    let network = mini(64);
    let gpu = Engine::new(&network.graph, &network.weights, on_gpu(GpuPrecision::F32)).unwrap();
    let mut workspace = Workspace::default();
    let before = logits(&gpu, &mut workspace, &image(64), &PROMPTS);
    assert_eq!((workspace.ran_on(), gpu.fallback()), (RanOn::Gpu, None));
    gpu.lose_gpu();
    for _ in 0..3 {
        let after = logits(&gpu, &mut workspace, &image(64), &PROMPTS);
        assert_eq!(workspace.ran_on(), RanOn::Cpu);
        assert_close(&after, &before, 1e-4, "after the loss");
    }
    let reason = gpu.fallback().unwrap();
    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    println!("fallback: {reason}");
    assert!(gpu.gpu().is_none() && workspace.gpu_times().is_none());
    // Steps are still timed, on the CPU.
    let kernel = gpu.encode_prompt(PROMPTS[0]).unwrap();
    assert!(!gpu.time_steps(&mut workspace, &image(64), [&kernel].into_iter()).unwrap().is_empty());
}

#[test]
fn frames_of_many_threads_survive_a_loss() {
    if !has_adapter() {
        return;
    }
    let network = mini(64);
    let gpu = Engine::new(&network.graph, &network.weights, on_gpu(GpuPrecision::F32)).unwrap();
    let kernel = gpu.encode_prompt(PROMPTS[0]).unwrap();
    let pixels = image(64);
    let run = |workspace: &mut Workspace| {
        gpu.run(workspace, &pixels, [&kernel].into_iter()).unwrap();
        assert!(gpu.logits(workspace, 0).unwrap().iter().all(|logit| logit.is_finite()));
    };
    let frames = |thread: usize| {
        let mut workspace = Workspace::default();
        for frame in 0..6 {
            if thread == 0 && frame == 2 {
                gpu.lose_gpu();
            }
            run(&mut workspace);
        }
        workspace
    };
    let workspaces: Vec<Workspace> = std::thread::scope(|scope| {
        let frames = &frames;
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || frames(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // A thread may have run all its frames before the loss; the next is after it.
    for mut workspace in workspaces {
        run(&mut workspace);
        assert_eq!(workspace.ran_on(), RanOn::Cpu);
    }
    assert!(gpu.fallback().is_some());
}

#[test]
fn an_adapter_that_is_not_there_is_no_failure() {
    let network = mini(64);
    let device = Device::Gpu { index: Some(4096) };
    let options = on_gpu(GpuPrecision::F32).with_device(device);
    let engine = Engine::new(&network.graph, &network.weights, options).unwrap();
    assert!(engine.fallback().unwrap().contains("4096"));
    let mut workspace = Workspace::default();
    logits(&engine, &mut workspace, &image(64), &PROMPTS);
    assert_eq!(workspace.ran_on(), RanOn::Cpu);
}

/// `auto` selects a hardware GPU or the CPU without a fallback, never a software driver.
#[test]
fn auto_is_as_asked_whatever_is_there() {
    let network = mini(64);
    let options = on_gpu(GpuPrecision::F32).with_device(Device::Auto);
    let engine = Engine::new(&network.graph, &network.weights, options).unwrap();
    assert_eq!(engine.fallback(), None);
    let is_software = causalclipseg::engine::adapters().iter().all(|adapter| adapter.kind == "software");
    assert_eq!(engine.gpu().is_none(), is_software);
}

/// The published form has steps without a shader.
#[test]
fn unknown_networks_run_on_the_cpu() {
    if !has_adapter() {
        return;
    }
    let network = toy_networks::networks::published_mini();
    let engine = Engine::new(&network.graph, &network.weights, on_gpu(GpuPrecision::F32)).unwrap();
    assert!(engine.fallback().is_some() && engine.gpu().is_none());
    let mut workspace = Workspace::default();
    logits(&engine, &mut workspace, &image(64), &PROMPTS);
}

#[test]
fn compiled_shaders_are_kept_and_a_damaged_file_is_passed_over() {
    if !causalclipseg::engine::adapters().first().is_some_and(|adapter| adapter.pipeline_cache) {
        println!("skipped: no adapter that keeps compiled shaders");
        return;
    }
    let network = mini(64);
    let folder = tempfile::tempdir().unwrap().keep();
    let options = on_gpu(GpuPrecision::F32).with_pipeline_cache(Some(folder.clone()));
    let mut first = None;
    for round in ["empty", "kept", "damaged"] {
        if round == "damaged" {
            let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
        let engine = Engine::new(&network.graph, &network.weights, options.clone()).unwrap();
        let ready = engine.gpu().unwrap().summary().ready_seconds;
        println!("{round} cache: ready in {:.0} ms", 1e3 * ready);
        let found = logits(&engine, &mut Workspace::default(), &image(64), &PROMPTS);
        let first = first.get_or_insert_with(|| found.clone());
        assert_close(&found, first, 1e-6, round);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
