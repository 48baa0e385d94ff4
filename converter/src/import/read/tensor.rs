//! A tensor's position in a storage, and its elements as f32.

use super::limits::within;
use super::{Limits, ReadError};
use half::{bf16, f16};
use ndarray::ArrayD;
use std::rc::Rc;

/// The most dimensions. Weights have up to four; the limit keeps hostile shapes short.
pub(super) const MOST_DIMENSIONS: usize = 8;

/// A storage as named in a pickle.
#[derive(Clone, Debug)]
pub struct StorageRef {
    /// `torch.HalfStorage` and the like.
    pub class: Rc<str>,
    /// The name of its entry in the archive's `data/`.
    pub key: Rc<str>,
}

/// A view of a storage; offset and strides count elements.
#[derive(Clone, Debug)]
pub struct TensorRef {
    pub storage: Rc<str>,
    /// The storage's class, or the dtype (`torch.bfloat16`) where the storage is untyped.
    pub element: Rc<str>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
}

impl Element {
    /// The element type; `Ok(None)` for integers and truth values, which are not weights.
    pub(super) fn of_torch(name: &str) -> Result<Option<Self>, String> {
        let plain = name.strip_prefix("torch.").unwrap_or(name);
        match plain {
            "HalfStorage" | "float16" | "half" => Ok(Some(Self::F16)),
            "BFloat16Storage" | "bfloat16" => Ok(Some(Self::Bf16)),
            "FloatStorage" | "float32" | "float" => Ok(Some(Self::F32)),
            "DoubleStorage" | "float64" | "double" => Ok(Some(Self::F64)),
            "LongStorage" | "IntStorage" | "ShortStorage" | "CharStorage" | "ByteStorage" | "BoolStorage" => Ok(None),
            "int64" | "int32" | "int16" | "int8" | "uint8" | "bool" | "long" | "int" | "short" => Ok(None),
            "uint16" | "uint32" | "uint64" => Ok(None),
            _ => Err(format!("its dtype is `{name}`")),
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Converts little-endian elements to f32; a rest of fewer bytes than an element is left out.
    pub(super) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => decode_each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => decode_each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => decode_each(bytes, f32::from_le_bytes),
            Self::F64 => decode_each(bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn decode_each<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| decode(*chunk)).collect()
}

/// The number of elements of a shape, within the limit for one tensor.
pub(super) fn element_count(shape: &[usize], limits: &Limits) -> Result<usize, ReadError> {
    let count = shape.iter().try_fold(1usize, |count, dimension| count.checked_mul(*dimension));
    let count = if shape.contains(&0) { Some(0) } else { count };
    within("a tensor's number of elements", count.map_or(u64::MAX, |count| count as u64), limits.tensor_elements)?;
    Ok(count.unwrap_or(0))
}

impl TensorRef {
    /// Checks that every element is inside a storage of `stored` elements and that no more are read than it has.
    fn check(&self, count: usize, stored: usize) -> Result<(), String> {
        if count == 0 {
            return Ok(());
        }
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (dimension, stride)| {
            (dimension - 1).checked_mul(*stride).and_then(|reach| last.checked_add(reach))
        });
        if last.is_none_or(|last| last >= stored) {
            let (shape, strides, offset) = (&self.shape, &self.strides, self.offset);
            return Err(format!(
                "shape {shape:?} with strides {strides:?} from {offset} reaches past its storage of {stored} elements"
            ));
        }
        if count > stored {
            return Err(format!("its {count} elements overlap in a storage of {stored}"));
        }
        Ok(())
    }

    /// The tensor's elements, row-major, from its storage's bytes.
    pub(super) fn read(
        &self,
        name: &str,
        element: Element,
        storage: &[u8],
        limits: &Limits,
    ) -> Result<ArrayD<f32>, ReadError> {
        let refuse = |reason: String| ReadError::Tensor { name: name.to_string(), reason };
        let count = element_count(&self.shape, limits)?;
        self.check(count, storage.len() / element.bytes()).map_err(refuse)?;
        let values = if count == 0 {
            Vec::new()
        } else if self.is_row_major() {
            let first = self.offset * element.bytes();
            element.decode(&storage[first..first + count * element.bytes()])
        } else {
            self.gather(count, &element.decode(storage))
        };
        ArrayD::from_shape_vec(self.shape.clone(), values).map_err(|error| refuse(error.to_string()))
    }

    fn is_row_major(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(dimension, stride)| {
            let fits = *dimension == 1 || *stride == expected;
            expected *= dimension;
            fits
        })
    }

    /// Steps through the indices in row-major order; [`Self::check`] has passed.
    fn gather(&self, count: usize, storage: &[f32]) -> Vec<f32> {
        let mut index = vec![0; self.shape.len()];
        let mut place = self.offset;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(storage[place]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                place += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                place -= self.shape[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> TensorRef {
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        TensorRef { storage: "0".into(), element: "torch.FloatStorage".into(), offset, shape, strides }
    }

    fn read(view: &TensorRef) -> Result<Vec<f32>, String> {
        let storage: Vec<u8> = (0..12).flat_map(|value| (value as f32).to_le_bytes()).collect();
        let values = view.read("w", Element::F32, &storage, &Limits::default());
        values.map(|values| values.into_iter().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn honours_offsets_and_strides() {
        assert_eq!(read(&view(2, &[2, 2], &[2, 1])).unwrap(), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read(&view(0, &[3, 2], &[1, 3])).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(read(&view(1, &[2, 1, 2], &[6, 99, 3])).unwrap(), [1.0, 4.0, 7.0, 10.0]);
        assert_eq!(read(&view(5, &[], &[])).unwrap(), [5.0]);
        assert_eq!(read(&view(900, &[0, 7], &[7, 1])).unwrap(), [0.0; 0]);
    }

    #[test]
    fn refuses_views_past_the_storage() {
        for (view, why) in [
            (view(9, &[4], &[1]), "reaches past"),
            (view(0, &[3, 4], &[5, 1]), "reaches past"),
            (view(usize::MAX, &[2], &[1]), "reaches past"),
            (view(0, &[2, 2], &[usize::MAX, 1]), "reaches past"),
            (view(0, &[usize::MAX, 3], &[0, 0]), "over a limit"),
            (view(0, &[13], &[0]), "overlap"),
        ] {
            let message = read(&view).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn decodes_every_float() {
        assert_eq!(Element::F16.decode(&f16::from_f32(-1.5).to_le_bytes()), [-1.5]);
        assert_eq!(Element::Bf16.decode(&bf16::from_f32(3.0).to_le_bytes()), [3.0]);
        assert_eq!(Element::F64.decode(&0.25f64.to_le_bytes()), [0.25]);
        assert_eq!(Element::of_torch("torch.LongStorage"), Ok(None));
        assert_eq!(Element::of_torch("torch.bfloat16"), Ok(Some(Element::Bf16)));
        assert!(Element::of_torch("torch.QInt8Storage").is_err());
    }
}
