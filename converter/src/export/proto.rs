//! Constructors for the ONNX messages that the writer uses. Field numbers and types come with `tract_onnx::pb`, which is
//! generated from the ONNX project's own schema.

use tract_onnx::pb::{
    AttributeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto, type_proto,
};

/// The operator set of the files: the first with `LayerNormalization`, and supported by every engine in use.
const OPSET: i64 = 17;

/// The file format's version that belongs to operator set 17.
pub(super) const IR_VERSION: i64 = 8;

pub(super) fn opset() -> OperatorSetIdProto {
    OperatorSetIdProto { domain: String::new(), version: OPSET }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: value, ..attribute(name, AttributeType::Int) }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: value, ..attribute(name, AttributeType::Float) }
}

pub(super) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_string(), r#type: kind as i32, ..Default::default() }
}

pub(super) fn float_tensor(name: &str, dims: &[usize], values: impl Iterator<Item = f32>) -> TensorProto {
    // ONNX requires little-endian for raw data.
    tensor(name, dims, DataType::Float, values.flat_map(f32::to_le_bytes).collect())
}

pub(super) fn int_tensor(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, &[values.len()], DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(super) fn int8_tensor(name: &str, dims: &[usize], values: &[i8]) -> TensorProto {
    tensor(name, dims, DataType::Int8, values.iter().map(|value| *value as u8).collect())
}

pub(super) fn int32_tensor(name: &str, values: &[i32]) -> TensorProto {
    tensor(name, &[values.len()], DataType::Int32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(super) fn uint8_scalar(name: &str, value: u8) -> TensorProto {
    tensor(name, &[], DataType::Uint8, vec![value])
}

fn tensor(name: &str, dims: &[usize], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_string(),
        dims: dims.iter().map(|dim| *dim as i64).collect(),
        data_type: data_type as i32,
        raw_data,
        ..Default::default()
    }
}

/// One axis of a graph's input or output.
pub(super) enum Axis {
    Fixed(usize),
    /// The number of prompts, which the caller chooses.
    Prompts,
}

pub(super) fn value_info(name: &str, data_type: DataType, axes: &[Axis]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dimension = |axis: &Axis| {
        let value = match axis {
            Axis::Fixed(size) => Value::DimValue(*size as i64),
            Axis::Prompts => Value::DimParam("prompts".to_string()),
        };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = TensorShapeProto { dim: axes.iter().map(dimension).collect() };
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape: Some(shape) };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

pub(super) fn property(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_string(), value: value.to_string() }
}
