//! Bundles: a written file is read back unchanged, and a damaged or hostile file does not open.

#[path = "bundle/mutations.rs"]
mod mutations;

use causalclipseg::bundle::*;
use causalclipseg::frame::{Fit, Normalisation};
use causalclipseg::graph::{Graph, GraphBuilder, Op, Shape, Weights};
use ndarray::{ArrayD, IxDyn};
use std::collections::BTreeMap;
use std::path::Path;

const SIZE: usize = 32;

fn small_graph() -> Graph {
    let mut g = GraphBuilder::new();
    let image = g.input("image", Shape::Map { channels: 3, height: SIZE, width: SIZE }).unwrap();
    let conv = Op::Conv {
        weight: "conv.weight".into(),
        bias: Some("conv.bias".into()),
        out_channels: 2,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let conv = g.named("conv", conv, &[image]).unwrap();
    let pred = g.named("pred", Op::Relu, &[conv]).unwrap();
    g.finish(&[pred])
}

fn small_weights() -> Weights {
    let values = |shape: &[usize]| {
        let length: usize = shape.iter().product();
        ArrayD::from_shape_vec(IxDyn(shape), (0..length).map(|i| i as f32 / 8.0 - 3.0).collect()).unwrap()
    };
    Weights::from([
        ("conv.weight".to_string(), values(&[2, 3, 3, 3])),
        ("conv.bias".to_string(), values(&[2])),
        ("unused".to_string(), values(&[5])),
    ])
}

fn description() -> ModelDescription {
    ModelDescription {
        name: "small".into(),
        edition: "tiny".into(),
        input_size: SIZE,
        normalisation: Normalisation::CLIP,
        fit: Fit::Letterbox { padding: [0.5, 0.25, 0.125] },
        threshold: 0.35,
        trained: false,
        gmac: 0.001,
        provenance: BTreeMap::from([("seed".to_string(), "1".to_string())]).try_into().unwrap(),
        calibration: None,
    }
}

fn small_self_test() -> SelfTest {
    let logits: Vec<f32> = (0..SIZE * SIZE).map(|i| (i as f32 * 0.37).sin()).collect();
    SelfTest { vectors: vec![SelfTestVector::record(5, SIZE, "a cyst", 97, &logits, 1e-3)] }
}

fn builder(precision: Precision) -> BundleBuilder {
    BundleBuilder::new(description(), small_graph(), &small_weights(), precision)
        .unwrap()
        .tokenizer_json(b"{\"tokens\": []}".to_vec())
        .self_test(small_self_test())
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn small_bundle() -> Vec<u8> {
    builder(Precision::F32).sign_with(key()).to_bytes().unwrap()
}

/// The manifest as JSON, and the bytes that follow it from the first part on.
fn take_apart(file: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let length = u64::from_le_bytes(file[16..24].try_into().unwrap()) as usize;
    let manifest = serde_json::from_slice(&file[56..56 + length]).unwrap();
    (manifest, file[(56 + length).next_multiple_of(64)..].to_vec())
}

/// A file with this manifest and a correct checksum: damage that only a forger causes.
fn put_together(manifest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(FORMAT_VERSION.to_le_bytes());
    file.extend([0; 4]);
    file.extend((manifest.len() as u64).to_le_bytes());
    file.extend(Sha256::of(manifest).0);
    file.extend(manifest);
    file.resize(file.len().next_multiple_of(64), 0);
    file.extend(data);
    file
}

/// The error of a bundle whose manifest was forged by `forge`.
fn forged(forge: impl FnOnce(&mut serde_json::Value)) -> String {
    let (mut manifest, data) = take_apart(&small_bundle());
    forge(&mut manifest);
    let file = put_together(manifest.to_string().as_bytes(), &data);
    Bundle::from_bytes(file).expect_err("the forged manifest must be refused").to_string()
}

/// The error of a bundle in which a part was replaced, with its checksum and all offsets correct.
fn with_part(name: &str, content: &[u8]) -> String {
    let (mut manifest, data) = take_apart(&builder(Precision::F32).to_bytes().unwrap());
    let mut rebuilt = Vec::new();
    for part in manifest["parts"].as_array_mut().unwrap() {
        let (offset, bytes) = (part["offset"].as_u64().unwrap() as usize, part["bytes"].as_u64().unwrap() as usize);
        let content = if part["name"] == name { content } else { &data[offset..offset + bytes] };
        rebuilt.resize(rebuilt.len().next_multiple_of(64), 0);
        part["offset"] = rebuilt.len().into();
        part["bytes"] = content.len().into();
        part["sha256"] = Sha256::of(content).to_string().into();
        rebuilt.extend(content);
    }
    let file = put_together(manifest.to_string().as_bytes(), &rebuilt);
    Bundle::from_bytes(file).expect_err("the replaced part must be refused").to_string()
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.ccs");
    builder(Precision::F32).sign_with(key()).write(&path).unwrap();
    for check in [Check::Everything, Check::Structure] {
        let bundle = Bundle::open_with(&path, check).unwrap();
        assert_eq!(bundle.manifest().model, description());
        assert_eq!(bundle.manifest().precision, Precision::F32);
        assert_eq!(bundle.manifest().parameters, 2 * 27 + 2);
        assert_eq!(bundle.graph(), &small_graph());
        assert_eq!(bundle.self_test(), &small_self_test());
        assert_eq!(bundle.tokenizer_json().unwrap(), &b"{\"tokens\": []}"[..]);
        let mut expected = small_weights();
        expected.remove("unused");
        assert_eq!(bundle.weights().unwrap(), expected);
        bundle.verify_integrity().unwrap();
        assert_eq!(bundle.sha256(), Sha256::of(&std::fs::read(&path).unwrap()));
        let view = bundle.tensor("conv.weight").unwrap();
        assert_eq!((view.dtype, view.shape), (Dtype::F32, &[2, 3, 3, 3][..]));
        assert!(bundle.tensor("conv").unwrap_err().to_string().contains("has no tensor `conv`"));
        for tensor in &bundle.manifest().tensors {
            assert_eq!(tensor.offset % 64, 0);
        }
    }
    let leaked: &'static [u8] = Box::leak(std::fs::read(&path).unwrap().into_boxed_slice());
    assert_eq!(Bundle::from_static(leaked).unwrap().graph(), &small_graph());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the bundle is left in its folder");
}

#[test]
fn halves_come_close_and_vectors_stay_whole() {
    let bundle = Bundle::from_bytes(builder(Precision::F16).to_bytes().unwrap()).unwrap();
    assert_eq!(bundle.tensor("conv.weight").unwrap().dtype, Dtype::F16);
    assert_eq!(bundle.tensor("conv.bias").unwrap().dtype, Dtype::F32);
    let (found, expected) = (&bundle.weights().unwrap()["conv.weight"], &small_weights()["conv.weight"]);
    // Eighths below 8 are exact in f16.
    assert_eq!(found, expected);
    let mut weights = small_weights();
    weights.get_mut("conv.weight").unwrap()[[0, 0, 0, 1]] = 1e6;
    let error = BundleBuilder::new(description(), small_graph(), &weights, Precision::F16).err().unwrap().to_string();
    assert!(error.contains("tensor `conv.weight` holds 1000000 at index 1, which f16 cannot hold"), "{error}");
}

#[test]
fn quantised_tensors_are_carried() {
    let quantised = StoredTensor {
        quantisation: Some(Quantisation { scale: "conv.weight.scale".into(), zero_point: 3 }),
        ..StoredTensor::plain("conv.weight", Dtype::I8, &[2, 3, 3, 3], (0..54u8).collect())
    };
    let scale = StoredTensor::encode(
        "conv.weight.scale",
        &ArrayD::from_shape_vec(IxDyn(&[2]), vec![0.5, 2.0]).unwrap(),
        Dtype::F32,
    )
    .unwrap();
    let with_scale = builder(Precision::Int8).tensor(quantised.clone()).tensor(scale);
    let bundle = Bundle::from_bytes(with_scale.to_bytes().unwrap()).unwrap();
    let values = bundle.values("conv.weight").unwrap();
    assert_eq!((values[[0, 0, 0, 0]], values[[0, 0, 0, 5 % 3]]), (-1.5, -0.5));
    assert_eq!(values[[1, 2, 2, 2]], (53.0 - 3.0) * 2.0);
    let error = builder(Precision::Int8).tensor(quantised).to_bytes().unwrap_err().to_string();
    assert!(error.contains("its scale `conv.weight.scale` is missing"), "{error}");
}

#[test]
fn weights_of_kernels_are_packed() {
    let bundle = Bundle::from_bytes(builder(Precision::F32).to_bytes().unwrap()).unwrap();
    let weight = bundle.tensor("conv.weight").unwrap();
    assert_eq!(weight.packing, Some(Packing::Blocked));
    let packed = weight.as_f32().unwrap();
    assert_eq!(packed.len(), 16 * 27);
    assert_eq!(packed.as_ptr().addr() % 64, 0);
    let values = bundle.values("conv.weight").unwrap();
    for ((output, channel, row, column), value) in values.into_dimensionality::<ndarray::Ix4>().unwrap().indexed_iter()
    {
        assert_eq!(packed[((row * 3 + column) * 3 + channel) * 16 + output], *value);
    }
    let bias = bundle.tensor("conv.bias").unwrap();
    assert_eq!((bias.packing, bias.as_i8(), bias.as_f32()), (None, None, Some(&[-3.0, -2.875][..])));
}

/// Int8 weights in the kernels' order come with one scale and one sum for each output, and without a zero point.
#[test]
fn packed_int8_is_whole_or_refused() {
    type Damage = fn(&mut Vec<StoredTensor>);
    let build = |damage: Damage| {
        let scale = ArrayD::from_shape_vec(IxDyn(&[2]), vec![0.5, 2.0]).unwrap();
        let weight = StoredTensor {
            quantisation: Some(Quantisation { scale: "conv.weight.scale".into(), zero_point: 0 }),
            ..StoredTensor::plain("conv.weight", Dtype::I8, &[2, 3, 3, 3], (0..54u8).collect())
        };
        let sums: Vec<u8> = [351i32, 1080].iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let mut tensors = vec![
            weight.pack().unwrap(),
            StoredTensor::encode("conv.weight.scale", &scale, Dtype::F32).unwrap(),
            StoredTensor::plain("conv.weight.sums", Dtype::I32, &[2], sums),
        ];
        damage(&mut tensors);
        Bundle::from_bytes(tensors.into_iter().fold(builder(Precision::Int8), BundleBuilder::tensor).to_bytes()?)
    };
    let bundle = build(|_| {}).unwrap();
    let expected = (0..54).map(|index| index as f32 * if index < 27 { 0.5 } else { 2.0 });
    assert_eq!(bundle.values("conv.weight").unwrap().into_iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    assert_eq!(bundle.tensor("conv.weight").unwrap().as_i8().unwrap().len(), 16 * 9 * 4);
    assert_eq!(bundle.tensor("conv.weight.sums").unwrap().as_i32(), Some(&[351, 1080][..]));
    let damages: [(&str, Damage); 6] = [
        ("zero point of 1", |t| t[0].quantisation.as_mut().unwrap().zero_point = 1),
        ("without a scale", |t| t[0].quantisation = None),
        ("its sums `conv.weight.sums` are missing", |t| drop(t.pop())),
        ("not i32 [2]", |t| t[2].shape = vec![2, 1]),
        ("do not hold", |t| t[0].bytes.truncate(9)),
        ("do not hold", |t| t[2].packing = Some(Packing::Blocked)),
    ];
    for (what, damage) in damages {
        let error = build(damage).unwrap_err().to_string();
        assert!(error.contains(what), "`{what}` is not in: {error}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_name() {
    let mut weights = small_weights();
    weights.get_mut("conv.bias").unwrap()[[1]] = f32::NAN;
    let error = BundleBuilder::new(description(), small_graph(), &weights, Precision::F32).err().unwrap().to_string();
    assert!(error.contains("tensor `conv.bias` holds NaN at index 1"), "{error}");
    let numbers = [1.0f32, f32::INFINITY].iter().flat_map(|value| value.to_le_bytes());
    let poisoned = StoredTensor::plain("conv.bias", Dtype::F32, &[2], numbers.collect());
    let bundle = Bundle::from_bytes(builder(Precision::F32).tensor(poisoned).to_bytes().unwrap()).unwrap();
    let error = bundle.weights().unwrap_err().to_string();
    assert!(error.contains("tensor `conv.bias` holds inf at index 1"), "{error}");
}

#[test]
fn files_that_are_no_bundle_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error_of = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = Bundle::open(&path).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
        error
    };
    let good = small_bundle();
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert!(error_of("empty.ccs", b"").contains("is empty"));
    assert!(error_of("text.ccs", b"hello, this is not a bundle").contains("is not a causalclipseg bundle"));
    assert!(error_of("short.ccs", &good[..20]).contains("is cut short: 20 bytes of 56"));
    assert!(error_of("cut.ccs", &good[..good.len() - 1]).contains("is cut short"));
    assert!(error_of("long.ccs", &[&good[..], b"x"].concat()).contains("has extra bytes after its end"));
    let newer = error_of("newer.ccs", &patched(8, &2u32.to_le_bytes()));
    assert!(newer.contains("made for a newer version (format 2") && newer.contains("update causalclipseg"), "{newer}");
    assert!(error_of("flags.ccs", &patched(12, &[1])).contains("a feature that this version does not know"));
    assert!(
        error_of("huge.ccs", &patched(16, &[0xff; 8])).contains("says its manifest has 18446744073709551615 bytes")
    );
    assert!(error_of("manifest.ccs", &patched(60, b"?")).contains("is damaged: the manifest"));
    assert!(Bundle::open(folder.path()).unwrap_err().to_string().contains("is not a file"));
    assert!(Bundle::open(Path::new("no/such.ccs")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn forged_manifests_are_refused() {
    for (what, error) in [
        ("invalid manifest", forged(|m| *m = serde_json::json!([1, 2]))),
        ("invalid manifest", forged(|m| m["precision"] = "f8".into())),
        ("input size of 33", forged(|m| m["model"]["input_size"] = 33.into())),
        ("the graph takes 32 x 32", forged(|m| m["model"]["input_size"] = 64.into())),
        ("threshold", forged(|m| m["model"]["threshold"] = 0.into())),
        ("normalisation", forged(|m| m["model"]["normalisation"]["std"][1] = 0.into())),
        ("GMAC", forged(|m| m["model"]["gmac"] = (-1).into())),
        ("`seed` is `-1`, not an integer", forged(|m| m["model"]["provenance"]["seed"] = "-1".into())),
        ("`threshold` is `abc`, not a", forged(|m| m["model"]["provenance"]["threshold"] = "abc".into())),
        ("`signed_by`", forged(|m| m["signed_by"] = "me".into())),
        ("part list", forged(|m| m["parts"][1]["name"] = "graph".into())),
        ("part list", forged(|m| drop(m["parts"].as_array_mut().unwrap().pop()))),
        ("part `tokenizer`", forged(|m| m["parts"][1]["offset"] = 0.into())),
        ("only the tokenizer", forged(|m| m["parts"][0]["compression"] = "zlib".into())),
        ("overflows", forged(|m| m["parts"][0]["offset"] = u64::MAX.into())),
        ("overflows", forged(|m| m["parts"][3]["bytes"] = u64::MAX.into())),
        ("is cut short", forged(|m| m["parts"][3]["bytes"] = (1u64 << 40).into())),
        ("not a SHA-256 sum", forged(|m| m["parts"][2]["sha256"] = "00".into())),
        ("the part `weights`", forged(|m| m["parts"][2]["sha256"] = "0".repeat(64).into())),
        ("do not hold", forged(|m| m["tensors"][0]["shape"] = serde_json::json!([usize::MAX, 2]))),
        ("is zero", forged(|m| m["tensors"][0]["shape"] = serde_json::json!([0]))),
        ("dimensions", forged(|m| m["tensors"][0]["shape"] = vec![1; 9].into())),
        ("not a multiple of 64", forged(|m| m["tensors"][0]["offset"] = 4.into())),
        ("outside the weights", forged(|m| m["tensors"][0]["offset"] = (1u64 << 62).into())),
        ("outside the weights", forged(|m| m["tensors"][0]["offset"] = (u64::MAX - 63).into())),
        ("overlaps", forged(|m| m["tensors"][1]["offset"] = 0.into())),
        ("listed twice", forged(|m| m["tensors"][1]["name"] = "conv.bias".into())),
        ("missing: conv.weight", forged(|m| m["tensors"][1]["name"] = "other".into())),
        ("conv.bias is [1, 2]", forged(|m| m["tensors"][0]["shape"] = serde_json::json!([1, 2]))),
        ("packed", forged(|m| m["tensors"][1]["shape"] = serde_json::json!([54]))),
        ("limit is 16384", forged(|m| m["tensors"] = vec![m["tensors"][0].clone(); 16_385].into())),
        ("with a scale of", forged(|m| m["tensors"][0]["quantisation"] = serde_json::json!({"scale": "conv.bias"}))),
    ] {
        assert!(error.contains(what) && !error.contains('\n'), "`{what}` is not in: {error}");
    }
}

#[test]
fn hostile_parts_are_refused() {
    let edited = |edit: fn(&mut serde_json::Value)| {
        let mut graph = serde_json::to_value(small_graph()).unwrap();
        edit(&mut graph);
        with_part("graph", graph.to_string().as_bytes())
    };
    let self_test = |edit: fn(&mut SelfTestVector)| {
        let mut test = small_self_test();
        edit(&mut test.vectors[0]);
        with_part("self_test", &serde_json::to_vec(&test).unwrap())
    };
    for (what, error) in [
        ("invalid part `graph`", with_part("graph", b"{}")),
        ("invalid part `graph`", with_part("graph", &b"[".repeat(100_000))),
        ("exceeds a limit", edited(|g| g["nodes"][0]["shape"]["map"]["height"] = (1u64 << 40).into())),
        ("exceeds a limit", edited(|g| g["nodes"][0]["shape"]["map"]["channels"] = u64::MAX.into())),
        ("exceeds a limit", edited(|g| g["nodes"][1]["op"]["conv"]["padding"] = (1u64 << 63).into())),
        ("does not precede it", edited(|g| g["nodes"][1]["inputs"][0] = 1.into())),
        ("has no node", edited(|g| g["outputs"][0] = 99.into())),
        ("the graph says", edited(|g| g["nodes"][2]["shape"]["map"]["channels"] = 7.into())),
        ("two nodes are named", edited(|g| g["nodes"][2]["name"] = "conv".into())),
        ("stride is zero", edited(|g| g["nodes"][1]["op"]["conv"]["stride"] = 0.into())),
        ("invalid part `self_test`", with_part("self_test", b"")),
        ("do not cover", self_test(|v| v.every = 0)),
        ("do not cover", self_test(|v| v.logits.clear())),
    ] {
        assert!(error.contains(what) && !error.contains('\n'), "`{what}` is not in: {error}");
    }
}

#[test]
fn signatures_are_checked() {
    let other = SigningKey::from_bytes(&[8; 32]);
    let plain = Bundle::from_bytes(builder(Precision::F32).to_bytes().unwrap()).unwrap();
    assert!(plain.verify_signature(&key().verifying_key()).unwrap_err().to_string().contains("is not signed"));
    let file = small_bundle();
    let signed = Bundle::from_bytes(file.clone()).unwrap();
    signed.verify_signature(&key().verifying_key()).unwrap();
    let error = signed.verify_signature(&other.verifying_key()).unwrap_err().to_string();
    assert!(error.contains("is signed by another key"), "{error}");
    // A changed manifest with the old signature and correct checksums does not open as the key owner's.
    let (mut manifest, data) = take_apart(&file);
    manifest["model"]["threshold"] = 0.9.into();
    let forged = Bundle::from_bytes(put_together(manifest.to_string().as_bytes(), &data)).unwrap();
    let error = forged.verify_signature(&key().verifying_key()).unwrap_err().to_string();
    assert!(error.contains("wrong signature"), "{error}");
}

fn open_and_verify(file: Vec<u8>) -> Result<(), BundleError> {
    Bundle::from_bytes(file)?.verify_integrity()
}

#[test]
fn every_flipped_byte_is_noticed() {
    let good = small_bundle();
    open_and_verify(good.clone()).unwrap();
    for at in 0..good.len() {
        let mut file = good.clone();
        file[at] ^= 1 << (at % 8);
        assert!(open_and_verify(file).is_err(), "byte {at} of {}", good.len());
    }
    for at in 0..56 {
        for bit in 0..8 {
            let mut file = good.clone();
            file[at] ^= 1 << bit;
            assert!(open_and_verify(file).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let good = small_bundle();
    for length in 0..good.len() {
        assert!(open_and_verify(good[..length].to_vec()).is_err(), "{length} of {} bytes", good.len());
    }
}

#[test]
fn only_structure_is_checked_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.ccs");
    let mut file = builder(Precision::F32).to_bytes().unwrap();
    let (manifest, data) = take_apart(&file);
    let weights = file.len() - data.len() + manifest["parts"][2]["offset"].as_u64().unwrap() as usize;
    file[weights] ^= 1;
    std::fs::write(&path, file).unwrap();
    assert!(Bundle::open(&path).unwrap_err().to_string().contains("is damaged: the part `weights`"));
    let bundle = Bundle::open_with(&path, Check::Structure).unwrap();
    assert!(bundle.verify_integrity().unwrap_err().to_string().contains("is damaged: the part `weights`"));
}

#[test]
fn an_unwritable_place_is_an_error_that_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/folder/small.ccs");
    let error = builder(Precision::F32).write(&path).unwrap_err().to_string();
    assert!(error.starts_with(&folder.path().display().to_string()), "{error}");
    assert!(error.contains("the folder cannot be written to"), "{error}");
    // A folder has the name of the file.
    let error = builder(Precision::F32).write(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is not a regular file; choose another name"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
