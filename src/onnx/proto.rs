//! The file as a message: read, checked, and reduced to what one prompt needs.
//!
//! tract trusts a file in several places. These checks refuse what would make it panic, read other files, or allocate
//! memory out of proportion to the file.

use super::error::OnnxProblem;
use super::{MAX_FILE_BYTES, MAX_NODES};
use crate::bundle::{MAX_CONTEXT, MAX_ELEMENTS, MAX_INPUT_SIZE};
use std::collections::HashSet;
use std::path::Path;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::Framework;

/// Operators that run graphs of their own, or random numbers: no network of this kind needs one.
const REFUSED_OPERATORS: [&str; 11] = [
    "If",
    "Loop",
    "Scan",
    "SequenceMap",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "NonMaxSuppression",
];
/// The most numbers of an attribute, and the most characters of a name.
const MAX_LIST: usize = 1 << 20;
/// The most axes of a tensor.
const MAX_RANK: usize = 8;

/// The bytes of a file that is no longer than ONNX allows.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, OnnxProblem> {
    // Opening a pipe would wait, and some systems open folders: check before.
    let metadata = std::fs::metadata(path).map_err(OnnxProblem::Read)?;
    if !metadata.is_file() {
        return Err(OnnxProblem::NotAFile);
    }
    match metadata.len() {
        0 => Err(OnnxProblem::Empty),
        bytes if bytes > MAX_FILE_BYTES => Err(OnnxProblem::TooLarge(bytes)),
        _ => std::fs::read(path).map_err(OnnxProblem::Read),
    }
}

/// The checked message. It refers to no other file and has every number that its shapes promise.
pub(super) fn parse(bytes: &[u8]) -> Result<ModelProto, OnnxProblem> {
    let mut reader = bytes;
    let decoded = tract_onnx::onnx().proto_model_for_read(&mut reader);
    let model = decoded.map_err(|error| OnnxProblem::Format(format!("{error:#}").replace('\n', " ")))?;
    let Some(graph) = &model.graph else { return Err(OnnxProblem::Format("it holds no graph".into())) };
    check(graph)?;
    Ok(model)
}

fn check(graph: &GraphProto) -> Result<(), OnnxProblem> {
    if graph.node.len() > MAX_NODES || graph.initializer.len() > MAX_NODES {
        return Err(OnnxProblem::Nodes(graph.node.len().max(graph.initializer.len())));
    }
    if graph.node.is_empty() || graph.output.is_empty() {
        return Err(OnnxProblem::Format("its graph is empty".into()));
    }
    if !graph.sparse_initializer.is_empty() {
        let tensor = graph.sparse_initializer[0].values.as_ref().map_or(String::new(), |values| values.name.clone());
        return Err(OnnxProblem::Tensor { tensor, reason: "sparse tensors are not read".into() });
    }
    graph.initializer.iter().try_for_each(check_tensor)?;
    graph.node.iter().try_for_each(check_node)?;
    let mut known: HashSet<&str> = HashSet::new();
    known.extend(graph.input.iter().map(|input| input.name.as_str()));
    known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    // tract wires nodes in the order of the file, and ONNX requires that order.
    for node in &graph.node {
        if let Some(missing) = node.input.iter().find(|input| !input.is_empty() && !known.contains(input.as_str())) {
            let reason = format!("nothing before it yields its input `{missing}`");
            return Err(OnnxProblem::Node { node: label(node), reason });
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !known.insert(output) {
                let reason = format!("`{output}` exists already");
                return Err(OnnxProblem::Node { node: label(node), reason });
            }
        }
    }
    match graph.output.iter().find(|output| !known.contains(output.name.as_str())) {
        Some(output) => Err(OnnxProblem::Format(format!("nothing yields its output `{}`", output.name))),
        None => Ok(()),
    }
}

fn label(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name };
    format!("{name} ({})", node.op_type)
}

fn check_node(node: &NodeProto) -> Result<(), OnnxProblem> {
    let refuse = |reason: String| OnnxProblem::Node { node: label(node), reason };
    if REFUSED_OPERATORS.contains(&node.op_type.as_str()) {
        return Err(refuse("this operator is not among those that are read".into()));
    }
    if node.output.iter().all(String::is_empty) {
        return Err(refuse("it yields nothing".into()));
    }
    for attribute in &node.attribute {
        let AttributeProto { t, g, tensors, graphs, sparse_tensor, sparse_tensors, .. } = attribute;
        if g.is_some() || !graphs.is_empty() || sparse_tensor.is_some() || !sparse_tensors.is_empty() {
            return Err(refuse(format!("its attribute `{}` is a graph or sparse", attribute.name)));
        }
        if attribute.floats.len().max(attribute.ints.len()).max(attribute.strings.len()) > MAX_LIST {
            return Err(refuse(format!("its attribute `{}` is too long", attribute.name)));
        }
        t.iter().chain(tensors).try_for_each(check_tensor)?;
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto) -> Result<(), OnnxProblem> {
    let refuse = |reason: String| OnnxProblem::Tensor { tensor: tensor.name.clone(), reason };
    let is_external = tensor.data_location == Some(DataLocation::External as i32);
    if is_external || !tensor.external_data.is_empty() {
        return Err(refuse("its numbers are in another file, which is not read".into()));
    }
    let elements = elements(tensor).ok_or_else(|| refuse(format!("a shape of {:?}", tensor.dims)))?;
    let held = |length: usize| match length == elements {
        true => Ok(()),
        false => Err(refuse(format!("{length} numbers for a shape of {:?}", tensor.dims))),
    };
    let Some(bytes) = element_bytes(tensor.data_type) else {
        return Err(refuse(format!("data type {} is not read", tensor.data_type)));
    };
    if !tensor.raw_data.is_empty() {
        return match elements.checked_mul(bytes) == Some(tensor.raw_data.len()) {
            true => Ok(()),
            false => Err(refuse(format!("{} bytes for a shape of {:?}", tensor.raw_data.len(), tensor.dims))),
        };
    }
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => held(tensor.float_data.len()),
        Ok(DataType::Double) => held(tensor.double_data.len()),
        Ok(DataType::Int64) => held(tensor.int64_data.len()),
        Ok(DataType::Uint64 | DataType::Uint32) => held(tensor.int64_data.len()),
        _ => held(tensor.int32_data.len()),
    }
}

fn elements(tensor: &TensorProto) -> Option<usize> {
    if tensor.dims.len() > MAX_RANK {
        return None;
    }
    let sizes = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok());
    let elements = sizes.into_iter().try_fold(1usize, |product, size| product.checked_mul(size?))?;
    // A dimension of zero hides others from the product.
    let is_bounded = tensor.dims.iter().all(|dim| *dim <= MAX_ELEMENTS as i64);
    (elements <= MAX_ELEMENTS && is_bounded).then_some(elements)
}

/// The size of an element, for the types of a network's weights and shapes.
fn element_bytes(data_type: i32) -> Option<usize> {
    Some(match DataType::try_from(data_type).ok()? {
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        DataType::Float16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 1,
        _ => return None,
    })
}

/// The sizes of a file's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Side of the image, in pixels.
    pub size: usize,
    pub context: usize,
}

/// Finds image, tokens and logits, and replaces any number of prompts by one. Other shapes in the file are dropped:
/// tract infers them.
pub(super) fn fix_interface(graph: &mut GraphProto) -> Result<Interface, OnnxProblem> {
    let initializers: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    // Old files list their weights among the inputs.
    let mut inputs = graph.input.clone();
    inputs.retain(|input| !initializers.contains(input.name.as_str()));
    let describe = |inputs: &[ValueInfoProto], graph: &GraphProto| {
        let list = |values: &[ValueInfoProto]| values.iter().map(describe_value).collect::<Vec<_>>().join(", ");
        format!("{} and yields {}", list(inputs), list(&graph.output))
    };
    let refuse = || OnnxProblem::Interface { found: describe(&inputs, graph) };
    let [first, second] = &inputs[..] else { return Err(refuse()) };
    let (image, tokens) = match (element_type(first), element_type(second)) {
        (Some(DataType::Float), Some(DataType::Int64)) => (0, 1),
        (Some(DataType::Int64), Some(DataType::Float)) => (1, 0),
        _ => return Err(refuse()),
    };
    let size = match &dims(&inputs[image])[..] {
        [batch, Some(3), Some(height), Some(width)] if height == width && batch.is_none_or(|batch| batch == 1) => {
            *height
        }
        _ => return Err(refuse()),
    };
    let context = match &dims(&inputs[tokens])[..] {
        [prompts, Some(context)] if prompts.is_none_or(|prompts| prompts == 1) => *context,
        _ => return Err(refuse()),
    };
    let is_read = size > 0 && size.is_multiple_of(32) && size <= MAX_INPUT_SIZE && (2..=MAX_CONTEXT).contains(&context);
    let is_output = graph.output.len() == 1 && element_type(&graph.output[0]).is_none_or(|of| of == DataType::Float);
    if !is_read || !is_output {
        return Err(refuse());
    }
    set_dims(&mut inputs[image], &[1, 3, size, size]);
    set_dims(&mut inputs[tokens], &[1, context]);
    graph.input = inputs;
    graph.value_info.clear();
    graph.output.iter_mut().for_each(|output| output.r#type = None);
    Ok(Interface { size, context })
}

fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

fn element_type(value: &ValueInfoProto) -> Option<DataType> {
    DataType::try_from(tensor_type(value)?.elem_type).ok()
}

/// Each axis, where it is fixed.
fn dims(value: &ValueInfoProto) -> Vec<Option<usize>> {
    let shape = tensor_type(value).and_then(|tensor| tensor.shape.as_ref());
    let fixed = |dim: &Dimension| match dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
        _ => None,
    };
    shape.iter().flat_map(|shape| &shape.dim).map(fixed).collect()
}

fn set_dims(value: &mut ValueInfoProto, sizes: &[usize]) {
    let fixed =
        |size: &usize| Dimension { value: Some(dimension::Value::DimValue(*size as i64)), ..Default::default() };
    if let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|of| of.value.as_mut())
        && let Some(shape) = &mut tensor.shape
    {
        shape.dim = sizes.iter().map(fixed).collect();
    }
}

fn describe_value(value: &ValueInfoProto) -> String {
    let of = element_type(value).map_or("?".to_string(), |of| of.as_str_name().to_lowercase());
    let sizes: Vec<String> =
        dims(value).into_iter().map(|size| size.map_or("?".to_string(), |size| size.to_string())).collect();
    format!("{} ({of} [{}])", value.name.chars().take(64).collect::<String>(), sizes.join(", "))
}
