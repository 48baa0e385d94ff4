//! Every way in which torch lays out tensors in an archive.

use super::fixtures::*;
use crate::import::read::{Contents, Limits, read};
use half::bf16;
use std::io::Cursor;

/// Six floats, 0 to 5.
fn six() -> Vec<u8> {
    (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect()
}

fn read_archive(pickle: Pickle, storages: &[(&str, &[u8])]) -> Contents {
    read(Cursor::new(archive(&pickle, storages)), &Limits::default()).unwrap()
}

fn values(contents: &Contents) -> Vec<(&str, Vec<f32>)> {
    contents.tensors.iter().map(|(name, value)| (name.as_str(), value.iter().copied().collect())).collect()
}

#[test]
fn tensors_share_a_storage() {
    let pickle = Pickle::new().dict();
    let pickle = pickle.text("a").tensor("FloatStorage", "0", 0, &[2, 2], &[1, 2]).set();
    let pickle = pickle.text("b").tensor("FloatStorage", "0", 4, &[2], &[1]).set();
    let contents = read_archive(pickle, &[("0", &six())]);
    assert_eq!(values(&contents), [("a", vec![0.0, 2.0, 1.0, 3.0]), ("b", vec![4.0, 5.0])]);
}

#[test]
fn state_dicts_are_found_inside_training_checkpoints() {
    let pickle = Pickle::new().dict();
    let pickle = pickle.text("optimizer").dict().text("m").tensor("FloatStorage", "0", 0, &[6], &[1]).set().set();
    let pickle = pickle.text("model_state_dict").dict();
    let pickle = pickle.text("w").tensor("FloatStorage", "0", 1, &[1], &[1]).set().set();
    let contents = read_archive(pickle, &[("0", &six())]);
    assert_eq!(values(&contents), [("w", vec![1.0])]);
}

/// `torch.save(model)`: an object whose state holds `_parameters` and `_modules`.
#[test]
fn pickled_modules_are_walked() {
    let weight = Pickle::new().dict().text("_parameters").dict().text("weight");
    let weight = weight.tensor("FloatStorage", "0", 2, &[2], &[1]).set().set().stop();
    let inner = &weight[2..weight.len() - 1];
    let pickle = Pickle::new().global("nets", "Net").raw(b")\x81").dict().text("_modules").dict().text("conv");
    let pickle = pickle.global("torch.nn", "Conv2d").raw(b")\x81").raw(inner).raw(b"b").set().set().raw(b"b");
    let contents = read_archive(pickle, &[("0", &six())]);
    assert_eq!(values(&contents), [("conv.weight", vec![2.0, 3.0])]);
}

#[test]
fn parameters_and_untyped_storages_are_tensors() {
    let brains: Vec<u8> = [1.0, -2.0].into_iter().flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect();
    let pickle = Pickle::new().dict().text("p").global("torch._utils", "_rebuild_parameter").raw(b"(");
    let pickle = pickle.tensor("FloatStorage", "0", 0, &[2], &[1]).raw(b"\x88Nt").raw(b"R").set();
    let pickle = pickle.text("b").global("torch._utils", "_rebuild_tensor_v3").raw(b"(");
    let pickle = pickle.storage("UntypedStorage", "1").int(0).sizes(&[2]).sizes(&[1]).raw(b"\x89N");
    let pickle = pickle.global("torch", "bfloat16").raw(b"t").raw(b"R").set();
    let contents = read_archive(pickle, &[("0", &six()), ("1", &brains)]);
    assert_eq!(values(&contents), [("p", vec![0.0, 1.0]), ("b", vec![1.0, -2.0])]);
}

#[test]
fn whole_numbers_are_left_out() {
    let pickle = Pickle::new().dict().text("count").tensor("LongStorage", "gone", 0, &[], &[]).set();
    let pickle = pickle.text("w").tensor("DoubleStorage", "0", 0, &[1], &[1]).set();
    let contents = read_archive(pickle, &[("0", &0.5f64.to_le_bytes())]);
    assert_eq!(values(&contents), [("w", vec![0.5])]);
}

/// A pickle that would run a command yields an object and nothing else.
#[test]
fn calls_are_not_made() {
    let pickle = Pickle::new().dict().text("x").global("os", "system").raw(b"(").text("exit 1").raw(b"tR").set();
    let pickle = pickle.text("w").tensor("FloatStorage", "0", 0, &[1], &[1]).set();
    let contents = read_archive(pickle, &[("0", &six())]);
    assert_eq!(values(&contents), [("w", vec![0.0])]);
}
