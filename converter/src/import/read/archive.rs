//! Torch's zip archives: `<root>/data.pkl` with one entry `<root>/data/<key>` for each storage. TorchScript archives
//! (`code/`, `constants.pkl`) have the same structure, with modules instead of dictionaries.

use super::limits::within;
use super::tensor::{Element, TensorRef, element_count};
use super::{Contents, Limits, ReadError, pickle, state_dict};
use ndarray::ArrayD;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};
use std::rc::Rc;
use zip::ZipArchive;
use zip::result::ZipError;

/// Reads every tensor of floats in an archive of `file_bytes` bytes.
pub fn read_archive<R: Read + Seek>(reader: R, file_bytes: u64, limits: &Limits) -> Result<Contents, ReadError> {
    let mut archive = Archive::open(reader, file_bytes, limits)?;
    let pickle = archive.entry("data.pkl", limits.pickle_bytes)?.ok_or(ReadError::NoPickle)?;
    if archive.entry("byteorder", 16)?.is_some_and(|order| order.starts_with(b"big")) {
        return Err(ReadError::BigEndian);
    }
    let pickle = pickle::parse(&pickle, limits)?;
    let tensors = archive.tensors(state_dict::tensors(&pickle, limits)?)?;
    if tensors.is_empty() {
        return Err(ReadError::NoTensors);
    }
    Ok(Contents { tensors, metadata: HashMap::new() })
}

struct Archive<'a, R> {
    zip: ZipArchive<R>,
    /// The path before `data.pkl`, slash included.
    root: String,
    file_bytes: u64,
    inflated_bytes: u64,
    limits: &'a Limits,
}

/// A tensor's index in the result, its position and its elements.
type Placed = (usize, TensorRef, Element);

impl<'a, R: Read + Seek> Archive<'a, R> {
    fn open(reader: R, file_bytes: u64, limits: &'a Limits) -> Result<Self, ReadError> {
        let zip = ZipArchive::new(reader).map_err(damaged)?;
        within("the archive's number of entries", zip.len() as u64, limits.entries as u64)?;
        let pickles = zip.file_names().filter_map(|name| name.strip_suffix("data.pkl"));
        let roots = pickles.filter(|root| root.is_empty() || root.ends_with('/'));
        let root = roots.min_by_key(|root| root.len()).ok_or(ReadError::NoPickle)?.to_string();
        Ok(Self { zip, root, file_bytes, inflated_bytes: 0, limits })
    }

    /// An entry's bytes, `None` where the archive has no such entry. The checksum is verified by reading to the end.
    fn entry(&mut self, name: &str, most: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let name = format!("{}{name}", self.root);
        let file = match self.zip.by_name(&name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(damaged(error)),
        };
        let (stored, inflated) = (file.compressed_size(), file.size());
        within("an entry's number of bytes", inflated, most)?;
        self.limits.inflation(&name, stored, inflated)?;
        self.inflated_bytes = self.inflated_bytes.saturating_add(inflated);
        within("the archive's inflated number of bytes", self.inflated_bytes, self.limits.inflated_bytes)?;
        // Entries that share the same stored bytes are each small, but not all together.
        self.limits.inflation(&name, self.file_bytes, self.inflated_bytes)?;
        let mut bytes = Vec::with_capacity(inflated.min(self.file_bytes) as usize);
        // The declared size is only a claim: one byte more reveals a wrong one.
        file.take(inflated + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| ReadError::Zip { reason: format!("`{name}`: {error}") })?;
        if bytes.len() as u64 != inflated {
            return Err(ReadError::Zip { reason: format!("`{name}` has another size than declared") });
        }
        Ok(Some(bytes))
    }

    /// Reads each storage once, for all tensors in it.
    fn tensors(&mut self, found: Vec<(String, TensorRef)>) -> Result<Vec<(String, ArrayD<f32>)>, ReadError> {
        let mut by_storage: BTreeMap<Rc<str>, Vec<Placed>> = BTreeMap::new();
        let mut names = Vec::with_capacity(found.len());
        let mut elements = 0u64;
        for (index, (name, tensor)) in found.into_iter().enumerate() {
            let element = Element::of_torch(&tensor.element)
                .map_err(|reason| ReadError::Tensor { name: name.clone(), reason })?;
            names.push(name);
            let Some(element) = element else { continue };
            elements = elements.saturating_add(element_count(&tensor.shape, self.limits)? as u64);
            within("the number of elements of all tensors", elements, self.limits.elements)?;
            by_storage.entry(tensor.storage.clone()).or_default().push((index, tensor, element));
        }
        let mut values = BTreeMap::new();
        for (key, tensors) in by_storage {
            let first = tensors.first().map_or("", |(index, ..)| names[*index].as_str());
            let storage = self.entry(&format!("data/{key}"), self.limits.inflated_bytes)?.ok_or_else(|| {
                ReadError::Tensor { name: first.to_string(), reason: format!("the archive has no storage `{key}`") }
            })?;
            for (index, tensor, element) in tensors {
                values.insert(index, tensor.read(&names[index], element, &storage, self.limits)?);
            }
        }
        Ok(values.into_iter().map(|(index, value)| (std::mem::take(&mut names[index]), value)).collect())
    }
}

fn damaged(error: ZipError) -> ReadError {
    ReadError::Zip { reason: error.to_string() }
}
