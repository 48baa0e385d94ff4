//! A bundle's tensors: borrowed bytes, and their values in f32.

use crate::error::Problem;
use crate::manifest::{Dtype, Packing, Quantisation};
use crate::packing;
use bytemuck::AnyBitPattern;
use half::f16;
use ndarray::{ArrayD, IxDyn};

/// A tensor as it is stored in the file, little-endian.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// The name in the manifest.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, outermost first.
    pub shape: &'a [usize],
    /// Its bytes, which start at a multiple of 64, in the file and in memory.
    pub bytes: &'a [u8],
    /// The scale and zero point of its integers.
    pub quantisation: Option<&'a Quantisation>,
    /// The order of the elements; row-major where it is `None`.
    pub packing: Option<Packing>,
}

impl<'a> TensorView<'a> {
    /// The elements of an i8 tensor, in their order in the file.
    pub fn as_i8(&self) -> Option<&'a [i8]> {
        self.elements(Dtype::I8)
    }

    /// The elements of an i32 tensor, in their order in the file.
    pub fn as_i32(&self) -> Option<&'a [i32]> {
        self.elements(Dtype::I32)
    }

    /// The elements of an f32 tensor, in their order in the file.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        self.elements(Dtype::F32)
    }

    /// The elements without a copy, therefore only where the machine's numbers are little-endian too.
    fn elements<T: AnyBitPattern>(&self, dtype: Dtype) -> Option<&'a [T]> {
        let fits = self.dtype == dtype && (cfg!(target_endian = "little") || dtype.bytes() == 1);
        fits.then(|| bytemuck::try_cast_slice(self.bytes).ok()).flatten()
    }

    /// The stored numbers in f32 and row-major, integers without their scale.
    fn stored(&self) -> Result<Vec<f32>, Problem> {
        match self.packing {
            None => Ok(self.row_major()),
            Some(Packing::Blocked) => packing::unpack(self.bytes, self.shape, self.dtype),
        }
    }

    fn row_major(&self) -> Vec<f32> {
        let words = |bytes: &[u8]| [bytes[0], bytes[1], bytes[2], bytes[3]];
        match self.dtype {
            Dtype::F32 => self.bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(words(bytes))).collect(),
            Dtype::F16 => {
                self.bytes.chunks_exact(2).map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()).collect()
            }
            Dtype::I32 => self.bytes.chunks_exact(4).map(|bytes| i32::from_le_bytes(words(bytes)) as f32).collect(),
            Dtype::I8 => self.bytes.iter().map(|byte| f32::from(*byte as i8)).collect(),
            Dtype::U8 => self.bytes.iter().map(|byte| f32::from(*byte)).collect(),
        }
    }

    /// The tensor's values; `scale` is the tensor that its quantisation names. NaN and infinite numbers are refused.
    pub(super) fn decode(&self, scale: Option<TensorView>) -> Result<ArrayD<f32>, Problem> {
        let mut values = self.stored()?;
        if let (Some(quantisation), Some(scale)) = (self.quantisation, scale) {
            let scales = scale.stored()?;
            let per_channel = (values.len() / scales.len().max(1)).max(1);
            for (channel, scale) in values.chunks_mut(per_channel).zip(scales) {
                channel.iter_mut().for_each(|value| *value = (*value - quantisation.zero_point as f32) * scale);
            }
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Problem::NotFinite { tensor: self.name.to_string(), index, value: values[index] });
        }
        ArrayD::from_shape_vec(IxDyn(self.shape), values)
            .map_err(|error| Problem::layout(format!("tensor `{}`", self.name), error.to_string()))
    }
}

/// A tensor to store.
#[derive(Clone, Debug)]
pub struct StoredTensor {
    /// The name in the graph, or in another tensor's quantisation.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, outermost first.
    pub shape: Vec<usize>,
    /// Its bytes, little-endian, in the order of `packing`.
    pub bytes: Vec<u8>,
    /// The scale and zero point of its integers.
    pub quantisation: Option<Quantisation>,
    /// The order of the elements; row-major where it is `None`; [`Self::pack`] changes it.
    pub packing: Option<Packing>,
}

impl StoredTensor {
    /// A tensor of row-major numbers without a scale.
    pub fn plain(name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { name: name.to_string(), dtype, shape: shape.to_vec(), bytes, quantisation: None, packing: None }
    }

    /// Stores values as f32 or f16; the quantiser creates all other types.
    pub fn encode(name: &str, values: &ArrayD<f32>, dtype: Dtype) -> Result<Self, Problem> {
        let refuse = |index, value| Problem::NotFinite { tensor: name.to_string(), index, value };
        let mut bytes = Vec::with_capacity(values.len() * dtype.bytes());
        for (index, value) in values.iter().copied().enumerate() {
            match dtype {
                _ if !value.is_finite() => return Err(refuse(index, value)),
                Dtype::F32 => bytes.extend(value.to_le_bytes()),
                Dtype::F16 if f16::from_f32(value).is_finite() => bytes.extend(f16::from_f32(value).to_le_bytes()),
                Dtype::F16 => return Err(Problem::Unrepresentable { tensor: name.to_string(), index, value }),
                _ => {
                    return Err(Problem::layout(
                        format!("tensor `{name}`"),
                        format!("f32 is not encoded as {dtype:?}"),
                    ));
                }
            }
        }
        Ok(Self::plain(name, dtype, values.shape(), bytes))
    }
}
