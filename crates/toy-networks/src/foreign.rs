//! An ONNX file as written by another program: pixels brighter than one half are lesion, and under a prompt with the
//! word `dark` those that are darker.

use prost::Message;
use std::path::{Path, PathBuf};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

const SIZE: i64 = 32;
const CONTEXT: i64 = 77;
/// The token id of `dark` in CLIP's vocabulary.
const DARK: i64 = 3144;

/// Writes the file and a tokenizer beside it.
pub fn write(folder: &Path, tokenizer_json: &[u8]) -> PathBuf {
    std::fs::write(folder.join("tokenizer.json"), tokenizer_json).unwrap();
    let path = folder.join("model.onnx");
    std::fs::write(&path, model().encode_to_vec()).unwrap();
    path
}

/// The file's content.
pub fn model() -> ModelProto {
    let property = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        producer_name: "somebody".into(),
        metadata_props: vec![property("mean", "0,0,0"), property("std", "1,1,1")],
        graph: Some(graph()),
        ..Default::default()
    }
}

fn graph() -> GraphProto {
    let int = |name: &str, i: i64| attribute(name, AttributeType::Int, i, vec![]);
    let node = vec![
        node("Conv", &["image", "brightness", "bias"], "bright", vec![]),
        node("Equal", &["tokens", "dark"], "is_dark", vec![]),
        node("Cast", &["is_dark"], "darkness", vec![int("to", 1)]),
        node("ReduceMax", &["darkness"], "any_dark", vec![attribute("axes", AttributeType::Ints, 0, vec![1])]),
        node("Mul", &["any_dark", "two"], "doubled", vec![]),
        node("Sub", &["one", "doubled"], "sign", vec![]),
        node("Reshape", &["sign", "map_shape"], "sign_map", vec![]),
        node("Mul", &["bright", "sign_map"], "logits", vec![]),
    ];
    let initializer = vec![
        floats("brightness", &[1, 3, 1, 1], &[20.0 / 3.0; 3]),
        floats("bias", &[1], &[-10.0]),
        floats("one", &[], &[1.0]),
        floats("two", &[], &[2.0]),
        integers("dark", &[], &[DARK]),
        integers("map_shape", &[4], &[-1, 1, 1, 1]),
    ];
    let prompts = None;
    GraphProto {
        name: "foreign".into(),
        node,
        initializer,
        input: vec![
            value("image", DataType::Float, &[Some(1), Some(3), Some(SIZE), Some(SIZE)]),
            value("tokens", DataType::Int64, &[prompts, Some(CONTEXT)]),
        ],
        output: vec![value("logits", DataType::Float, &[prompts, Some(1), Some(SIZE), Some(SIZE)])],
        ..Default::default()
    }
}

/// One operator, named like its output.
pub fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: output.into(),
        input: inputs.iter().map(|input| input.to_string()).collect(),
        output: vec![output.into()],
        attribute,
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType, i: i64, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind as i32, i, ints, ..Default::default() }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: DataType::Float as i32,
        raw_data,
        ..Default::default()
    }
}

/// A tensor of integers.
pub fn integers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    let int64_data = values.to_vec();
    TensorProto {
        name: name.into(),
        dims: dims.into(),
        data_type: DataType::Int64 as i32,
        int64_data,
        ..Default::default()
    }
}

fn value(name: &str, data_type: DataType, sizes: &[Option<i64>]) -> ValueInfoProto {
    let dimension = |size: &Option<i64>| Dimension {
        value: Some(size.map_or(Value::DimParam("prompts".into()), Value::DimValue)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: sizes.iter().map(dimension).collect() };
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape: Some(shape) };
    let of = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(of), ..Default::default() }
}
