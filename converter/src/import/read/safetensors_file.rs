//! Safetensors files, with tensors of any names.

use super::limits::within;
use super::tensor::{Element, element_count};
use super::{Contents, Limits, ReadError};
use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensors};

/// Reads every tensor of floats, and the header's metadata.
pub fn read_safetensors(bytes: &[u8], limits: &Limits) -> Result<Contents, ReadError> {
    let damaged = |error: safetensors::SafeTensorError| ReadError::Safetensors { reason: error.to_string() };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    within("the number of tensors", file.len() as u64, limits.tensors as u64)?;
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut contents = Contents { tensors: Vec::new(), metadata };
    let mut elements = 0u64;
    for (name, view) in file.iter() {
        let refuse = |reason: String| ReadError::Tensor { name: name.to_string(), reason };
        let Some(element) = element_of(view.dtype()).map_err(refuse)? else { continue };
        elements = elements.saturating_add(element_count(view.shape(), limits)? as u64);
        within("the number of elements of all tensors", elements, limits.elements)?;
        let value = ArrayD::from_shape_vec(view.shape().to_vec(), element.decode(view.data()))
            .map_err(|error| refuse(error.to_string()))?;
        contents.tensors.push((name.to_string(), value));
    }
    if contents.tensors.is_empty() {
        return Err(ReadError::NoTensors);
    }
    Ok(contents)
}

/// The element type; `Ok(None)` for integers and truth values.
fn element_of(dtype: Dtype) -> Result<Option<Element>, String> {
    match dtype {
        Dtype::F16 => Ok(Some(Element::F16)),
        Dtype::BF16 => Ok(Some(Element::Bf16)),
        Dtype::F32 => Ok(Some(Element::F32)),
        Dtype::F64 => Ok(Some(Element::F64)),
        Dtype::BOOL | Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 => Ok(None),
        Dtype::U32 | Dtype::I32 | Dtype::U64 | Dtype::I64 => Ok(None),
        other => Err(format!("its dtype is {other:?}")),
    }
}
