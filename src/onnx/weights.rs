//! The weights that a description names, read from the file's initializers.

use super::description::{NetworkDescription, WeightPart};
use crate::bundle::{MAX_ELEMENTS, Problem, StoredTensor};
use crate::graph::{Graph, Op, Shape, Weights};
use ndarray::{ArrayD, IxDyn};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

/// A file's initializers by name. Each has the elements that its shape promises.
pub(super) struct Initializers<'p>(HashMap<&'p str, &'p TensorProto>);

/// Numbers as an initializer stores them, row-major.
enum Numbers<'p> {
    F32(Cow<'p, [f32]>),
    I8(Cow<'p, [i8]>),
    I32(Cow<'p, [i32]>),
}

/// One weight in int8.
pub(super) struct Int8Weight {
    shape: Vec<usize>,
    stored: Vec<i8>,
    /// One scale for each index of the first axis.
    scales: Vec<f32>,
}

/// The weights of a described graph.
pub(super) struct FileWeights {
    /// All weights in f32, integers multiplied by their scales.
    pub values: Weights,
    /// The weights that the file stores as 8-bit integers.
    pub integers: BTreeMap<String, Int8Weight>,
}

impl<'p> Initializers<'p> {
    pub(crate) fn of(graph: &'p GraphProto) -> Self {
        Self(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect())
    }

    fn numbers(&self, name: &str) -> Result<Numbers<'p>, String> {
        let tensor = self.0.get(name).copied().ok_or_else(|| format!("the file has no tensor `{name}`"))?;
        let words = || tensor.raw_data.chunks_exact(4).map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
        let is_raw = !tensor.raw_data.is_empty();
        Ok(match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float) if is_raw => Numbers::F32(words().map(f32::from_le_bytes).collect()),
            Ok(DataType::Float) => Numbers::F32(Cow::Borrowed(&tensor.float_data)),
            Ok(DataType::Int32) if is_raw => Numbers::I32(words().map(i32::from_le_bytes).collect()),
            Ok(DataType::Int32) => Numbers::I32(Cow::Borrowed(&tensor.int32_data)),
            Ok(DataType::Int8) if is_raw => Numbers::I8(Cow::Borrowed(bytemuck::cast_slice(&tensor.raw_data))),
            Ok(DataType::Int8) => Numbers::I8(tensor.int32_data.iter().map(|value| *value as i8).collect()),
            _ => return Err(format!("the tensor `{name}` has a type that weights cannot have")),
        })
    }

    /// An f32 tensor's only number.
    pub(crate) fn scalar(&self, name: &str) -> Option<f32> {
        match self.numbers(name).ok()? {
            Numbers::F32(values) => (values.len() == 1).then(|| values.first().copied()).flatten(),
            _ => None,
        }
    }

    /// A u8 tensor's only number.
    pub(crate) fn byte(&self, name: &str) -> Option<u8> {
        let tensor = self.0.get(name)?;
        let is_byte = DataType::try_from(tensor.data_type) == Ok(DataType::Uint8);
        let byte = match tensor.raw_data[..] {
            [byte] => Some(byte),
            [] if tensor.int32_data.len() == 1 => u8::try_from(tensor.int32_data[0]).ok(),
            _ => None,
        };
        byte.filter(|_| is_byte)
    }

    fn dims(&self, name: &str) -> &'p [i64] {
        self.0.get(name).map_or(&[], |tensor| &tensor.dims)
    }
}

impl FileWeights {
    /// Reads every parameter of the described graph.
    ///
    /// # Errors
    /// The weight that is missing, misshapen or not finite, on one line.
    pub(crate) fn read(description: &NetworkDescription, file: &Initializers) -> Result<Self, String> {
        let graph = &description.graph;
        let needed = rows_read(graph);
        let mut weights = Self { values: Weights::new(), integers: BTreeMap::new() };
        for parameter in graph.parameters() {
            let name = &parameter.name;
            let refuse = |reason: String| format!("its weight `{name}` cannot be read: {reason}");
            let parts = description.weights.get(name).ok_or_else(|| refuse("it is not described".into()))?;
            let mut assembly = Assembly::new(&parameter.shape).map_err(refuse)?;
            for part in parts {
                assembly.add(part, file).map_err(refuse)?;
            }
            let everything = 0..assembly.rows();
            let needed = needed.get(name).map_or(std::slice::from_ref(&everything), Vec::as_slice);
            assembly.check(needed).map_err(refuse)?;
            if let Some(integers) = assembly.int8() {
                weights.integers.insert(name.clone(), integers);
            }
            let value = ArrayD::from_shape_vec(IxDyn(&parameter.shape), assembly.values);
            weights.values.insert(name.clone(), value.map_err(|error| refuse(error.to_string()))?);
        }
        Ok(weights)
    }
}

impl Int8Weight {
    /// The weight as a bundle stores it; `for_kernels`: in the kernels' order.
    pub(crate) fn store(&self, name: &str, for_kernels: bool) -> Result<Vec<StoredTensor>, Problem> {
        StoredTensor::int8(name, &self.shape, &self.stored, &self.scales, for_kernels)
    }
}

/// A parameter that is assembled from its parts.
struct Assembly {
    shape: Vec<usize>,
    /// The number of elements of one index of the first axis.
    width: usize,
    values: Vec<f32>,
    /// The integers and scales beside the values, as long as every part has 8-bit integers.
    stored: Option<(Vec<i8>, Vec<f32>)>,
    is_there: Vec<bool>,
}

impl Assembly {
    fn new(shape: &[usize]) -> Result<Self, String> {
        let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let elements = elements.filter(|elements| (1..=MAX_ELEMENTS).contains(elements));
        let elements = elements.ok_or_else(|| format!("a shape of {shape:?}"))?;
        let rows = shape.first().copied().unwrap_or(1);
        Ok(Self {
            shape: shape.to_vec(),
            width: elements / rows,
            values: vec![0.0; elements],
            stored: Some((vec![0; elements], vec![1.0; rows])),
            is_there: vec![false; rows],
        })
    }

    fn rows(&self) -> usize {
        self.is_there.len()
    }

    fn add(&mut self, part: &WeightPart, file: &Initializers) -> Result<(), String> {
        let WeightPart { tensor, scale, first_row, rows, transposed, skip } = part;
        let end = first_row.checked_add(*rows).filter(|end| *end <= self.rows());
        let end = end.ok_or_else(|| format!("{rows} rows from {first_row} on, of {}", self.rows()))?;
        let length = rows * self.width;
        if *transposed && file.dims(tensor) != [self.width as i64, *rows as i64] {
            return Err(format!("`{tensor}` is {:?}, not [{}, {rows}]", file.dims(tensor), self.width));
        }
        let layout = PartPosition { skip: *skip, rows: *rows, width: self.width, transposed: *transposed };
        let scales = match scale {
            None => None,
            Some(name) => match file.numbers(name)? {
                Numbers::F32(scales) if scales.len() == *rows => Some(scales),
                _ => return Err(format!("`{name}` is not {rows} scales")),
            },
        };
        if let Some(bad) =
            scales.as_ref().and_then(|all| all.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)))
        {
            return Err(format!("a scale of {bad}"));
        }
        let of_row = |index: usize| scales.as_ref().and_then(|all| all.get(index / self.width.max(1))).copied();
        let (values, integers): (Vec<f32>, Option<Vec<i8>>) = match (file.numbers(tensor)?, &scales) {
            (Numbers::F32(all), None) => (layout.take(&all).ok_or_else(|| short(tensor, length))?, None),
            (Numbers::I8(all), Some(_)) => {
                let stored = layout.take(&all).ok_or_else(|| short(tensor, length))?;
                let values = stored.iter().enumerate();
                (values.map(|(at, value)| f32::from(*value) * of_row(at).unwrap_or(1.0)).collect(), Some(stored))
            }
            (Numbers::I32(all), Some(_)) => {
                let stored = layout.take(&all).ok_or_else(|| short(tensor, length))?;
                let values = stored.iter().enumerate();
                (values.map(|(at, value)| *value as f32 * of_row(at).unwrap_or(1.0)).collect(), None)
            }
            (_, Some(_)) => return Err(format!("`{tensor}` has scales but is not of integers")),
            (_, None) => return Err(format!("`{tensor}` is of integers but has no scales")),
        };
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("`{tensor}` holds {value}"));
        }
        let place = first_row * self.width..end * self.width;
        self.values[place.clone()].copy_from_slice(&values);
        match (&mut self.stored, integers, scales) {
            (Some((stored, all)), Some(integers), Some(scales)) => {
                stored[place].copy_from_slice(&integers);
                all[*first_row..end].copy_from_slice(&scales);
            }
            (stored, ..) => *stored = None,
        }
        self.is_there[*first_row..end].fill(true);
        Ok(())
    }

    /// Checks that the file has all rows that a node reads; the others stay zero.
    fn check(&self, needed: &[Range<usize>]) -> Result<(), String> {
        let missing =
            needed.iter().flat_map(Clone::clone).find(|row| !self.is_there.get(*row).is_some_and(|there| *there));
        missing.map_or(Ok(()), |row| Err(format!("the file does not hold its row {row}")))
    }

    fn int8(&mut self) -> Option<Int8Weight> {
        let (stored, scales) = self.stored.take()?;
        Some(Int8Weight { shape: self.shape.clone(), stored, scales })
    }
}

fn short(tensor: &str, length: usize) -> String {
    format!("`{tensor}` does not hold the {length} numbers that are described")
}

/// The position of a part's numbers in its initializer.
struct PartPosition {
    skip: usize,
    rows: usize,
    width: usize,
    transposed: bool,
}

impl PartPosition {
    fn take<T: Copy>(&self, all: &[T]) -> Option<Vec<T>> {
        let Self { skip, rows, width, transposed } = *self;
        let part = all.get(skip..skip.checked_add(rows * width)?)?;
        if !transposed {
            return Some(part.to_vec());
        }
        Some((0..rows).flat_map(|row| (0..width).map(move |column| part[column * rows + row])).collect())
    }
}

/// The rows that nodes read, for parameters that are read in part.
fn rows_read(graph: &Graph) -> HashMap<String, Vec<Range<usize>>> {
    let mut read: HashMap<String, Vec<Range<usize>>> = HashMap::new();
    let context = graph.nodes.iter().find_map(|node| match node.shape {
        Shape::Tokens { context } => Some(context),
        _ => None,
    });
    for node in &graph.nodes {
        let mut note = |name: &String, rows: Range<usize>| read.entry(name.clone()).or_default().push(rows);
        match (&node.op, node.shape) {
            (Op::AddPositions { table, rows, skip }, Shape::Sequence { length, .. }) => {
                let length = length.or(context).unwrap_or(*rows);
                note(table, *skip..skip.saturating_add(length).min(*rows));
            }
            (Op::Linear { weight, bias, first_row, out, .. }, _) => {
                let rows = *first_row..first_row + out;
                bias.iter().for_each(|bias| note(bias, rows.clone()));
                note(weight, rows);
            }
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
        let (name, dims) = (name.to_string(), dims.to_vec());
        TensorProto { name, dims, data_type: DataType::Float as i32, float_data: values.to_vec(), ..Default::default() }
    }

    fn integers(name: &str, data_type: DataType, dims: &[i64], values: &[i32]) -> TensorProto {
        let (name, dims) = (name.to_string(), dims.to_vec());
        TensorProto { name, dims, data_type: data_type as i32, int32_data: values.to_vec(), ..Default::default() }
    }

    fn file() -> GraphProto {
        let initializer = vec![
            tensor("top", &[1, 3], &[1.0, 2.0, 3.0]),
            tensor("rest.transposed", &[3, 2], &[4.0, 7.0, 5.0, 8.0, 6.0, 9.0]),
            integers("w.int8", DataType::Int8, &[2, 2], &[1, -2, 3, 127]),
            tensor("w.scale", &[2], &[0.5, 2.0]),
            integers("b.int32", DataType::Int32, &[2], &[100_000, -3]),
            tensor("nan", &[2], &[0.0, f32::NAN]),
        ];
        GraphProto { initializer, ..Default::default() }
    }

    fn assemble(shape: &[usize], parts: &[WeightPart]) -> Result<Assembly, String> {
        let graph = file();
        let mut assembly = Assembly::new(shape)?;
        parts.iter().try_for_each(|part| assembly.add(part, &Initializers::of(&graph)))?;
        Ok(assembly)
    }

    #[test]
    fn parts_make_a_whole() {
        let rest = WeightPart { transposed: true, ..WeightPart::rows("rest.transposed", 1, 2) };
        let mut whole = assemble(&[3, 3], &[WeightPart::rows("top", 0, 1), rest]).unwrap();
        assert_eq!(whole.values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let (two, three) = (0..2, 0..3);
        assert!(whole.int8().is_none() && whole.check(from_ref(&three)).is_ok());
        let skipped = WeightPart { skip: 1, ..WeightPart::rows("top", 0, 2) };
        let some = assemble(&[3], &[skipped]).unwrap();
        assert_eq!(some.values, [2.0, 3.0, 0.0]);
        assert_eq!((some.check(from_ref(&two)), some.check(from_ref(&three)).is_err()), (Ok(()), true));
    }

    #[test]
    fn integers_are_times_their_scales() {
        let scale = Some("w.scale".to_string());
        let mut weight =
            assemble(&[2, 2], &[WeightPart { scale: scale.clone(), ..WeightPart::rows("w.int8", 0, 2) }]).unwrap();
        assert_eq!(weight.values, [0.5, -1.0, 6.0, 254.0]);
        let int8 = weight.int8().unwrap();
        assert_eq!((int8.stored, int8.scales), (vec![1, -2, 3, 127], vec![0.5, 2.0]));
        let mut bias = assemble(&[2], &[WeightPart { scale, ..WeightPart::rows("b.int32", 0, 2) }]).unwrap();
        assert_eq!((bias.values.clone(), bias.int8().is_none()), (vec![50_000.0, -6.0], true));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let part = |tensor: &str, rows| WeightPart::rows(tensor, 0, rows);
        let scaled = |tensor: &str, scale: &str, rows| WeightPart { scale: Some(scale.into()), ..part(tensor, rows) };
        let cases = [
            (part("none", 2), "no tensor `none`"),
            (part("top", 2), "does not hold the 4 numbers"),
            (part("top", 3), "3 rows from 0 on, of 2"),
            (WeightPart { first_row: usize::MAX, ..part("top", 2) }, "rows from"),
            (WeightPart { skip: usize::MAX, ..part("top", 1) }, "does not hold"),
            (WeightPart { transposed: true, ..part("top", 2) }, "is [1, 3], not [2, 2]"),
            (part("w.int8", 2), "has no scales"),
            (scaled("w.int8", "top", 2), "`top` is not 2 scales"),
            (scaled("top", "w.scale", 2), "is not of integers"),
            (scaled("w.int8", "nan", 2), "a scale of 0"),
            (part("nan", 1), "holds NaN"),
        ];
        for (part, expected) in cases {
            let error = assemble(&[2, 2], from_ref(&part)).err().unwrap_or_default();
            assert!(error.contains(expected), "{part:?}: {error}");
        }
        assert!(Assembly::new(&[usize::MAX, 2]).is_err() && Assembly::new(&[0]).is_err());
    }
}
