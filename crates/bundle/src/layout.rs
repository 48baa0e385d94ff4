//! The layout of the file. Nothing that the file says is used before it is checked here.

use crate::digest::Sha256;
use crate::error::Problem;
use crate::manifest::{Dtype, Manifest, Packing, Part, TensorEntry};
use crate::{packing, token_table};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// The magic number. The first byte is not ASCII, and line ends and control-Z follow: a transfer in text mode is
/// detected at once.
pub const MAGIC: [u8; 8] = *b"\x89CCS\r\n\x1a\n";
/// The format version that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// The alignment of parts and tensors, in bytes: a cache line, and the widest vector register.
pub const ALIGNMENT: u64 = 64;
/// The size of the header: magic, version, flags, manifest length, manifest sum.
pub(crate) const HEADER_BYTES: u64 = 56;
/// The longest manifest that is read.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// The most tensors that are read.
pub const MAX_TENSORS: usize = 16_384;
pub(crate) const MAX_RANK: usize = 8;
/// The size of an Ed25519 signature.
pub(crate) const SIGNATURE_BYTES: u64 = 64;

/// The parts that every bundle has, in this order.
pub(crate) const PARTS: [&str; 4] = ["graph", TOKENIZER, WEIGHTS, "self_test"];
pub(crate) const TOKENIZER: &str = "tokenizer";
pub(crate) const WEIGHTS: &str = "weights";

/// The checked positions of everything in a file.
#[derive(Debug)]
pub(super) struct Layout {
    pub manifest_bytes: Range<usize>,
    pub parts: BTreeMap<String, Range<usize>>,
    /// In the part `tokenizer`, after the compressed tokenizer.json.
    pub token_table: Option<Range<usize>>,
    pub signature: Option<Range<usize>>,
}

pub(super) fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

/// Reads the header and the manifest, and checks that every part is at the position that the format defines.
pub(super) fn read(file: &[u8]) -> Result<(Manifest, Layout), Problem> {
    let found = file.len() as u64;
    let manifest_bytes = manifest_range(file)?;
    let text = &file[manifest_bytes.clone()];
    if Sha256::of(text).0 != file[24..56] {
        return Err(Problem::Damaged("manifest".into()));
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| Problem::Manifest(error.to_string()))?;
    manifest.check()?;

    let overflow = |what: &str| Problem::layout(what, "its end overflows");
    let names: Vec<&str> = manifest.parts.iter().map(|part| part.name.as_str()).collect();
    if names != PARTS {
        return Err(Problem::layout("part list", format!("it is {names:?}, not {PARTS:?}")));
    }
    if let Some(part) = manifest.parts.iter().find(|part| part.compression.is_some() && part.name != TOKENIZER) {
        return Err(Problem::layout(format!("part `{}`", part.name), "only the tokenizer may be compressed"));
    }
    for part in &manifest.parts {
        check_token_table(part)
            .and_then(|()| check_stretches(part))
            .map_err(|reason| Problem::layout(format!("part `{}`", part.name), reason))?;
    }
    // Parts follow one another with only padding between: no overlap, no hidden bytes.
    let data = align(manifest_bytes.end as u64).ok_or_else(|| overflow("manifest"))?;
    let mut end = manifest_bytes.end as u64;
    let mut ranges = Vec::new();
    for part in &manifest.parts {
        let what = || format!("part `{}`", part.name);
        let start = data.checked_add(part.offset).ok_or_else(|| overflow(&what()))?;
        let expected = align(end).ok_or_else(|| overflow(&what()))?;
        if start != expected {
            return Err(Problem::layout(what(), format!("it starts at byte {start}, not at {expected}")));
        }
        ranges.push(end..start);
        end = start.checked_add(part.bytes).ok_or_else(|| overflow(&what()))?;
        ranges.push(start..end);
    }
    if manifest.signed_by.is_some() {
        let start = align(end).ok_or_else(|| overflow("signature"))?;
        ranges.push(end..start);
        end = start.checked_add(SIGNATURE_BYTES).ok_or_else(|| overflow("signature"))?;
        ranges.push(start..end);
    }
    match found {
        _ if found < end => return Err(Problem::Truncated { expected: end, found }),
        _ if found > end => return Err(Problem::Trailing { expected: end, found }),
        _ => {}
    }
    // The file holds `end` bytes, so every offset fits a usize from here on.
    let mut stretches = ranges.iter().map(|range| range.start as usize..range.end as usize);
    let mut parts = BTreeMap::new();
    let mut filled = |name: &str| match (stretches.next(), stretches.next()) {
        (Some(padding), Some(content)) if file[padding.clone()].iter().all(|byte| *byte == 0) => Ok(content),
        _ => Err(Problem::layout(format!("padding before {name}"), "it is not zero")),
    };
    for name in PARTS {
        parts.insert(name.to_string(), filled(name)?);
    }
    let signature = manifest.signed_by.as_ref().map(|_| filled("the signature")).transpose()?;
    // The check above bounded it by the length of its part.
    let token_table = manifest.parts.iter().find_map(|part| {
        let within = parts.get(&part.name)?;
        Some(within.start + part.token_table? as usize..within.end)
    });
    Ok((manifest, Layout { manifest_bytes, parts, token_table, signature }))
}

/// Readers without knowledge of the table expand what precedes it, which only compressed text permits.
fn check_token_table(part: &Part) -> Result<(), String> {
    let Some(offset) = part.token_table else { return Ok(()) };
    if part.name != TOKENIZER || part.compression.is_none() {
        return Err("only a compressed tokenizer may have a table of tokens".into());
    }
    if offset == 0
        || !offset.is_multiple_of(ALIGNMENT)
        || part.bytes.checked_sub(offset).is_none_or(|left| left < token_table::MIN_BYTES)
    {
        return Err(format!("its table of tokens cannot be at byte {offset} of {}", part.bytes));
    }
    Ok(())
}

fn check_stretches(part: &Part) -> Result<(), String> {
    let Some(stretches) = &part.stretches else { return Ok(()) };
    if part.name != WEIGHTS {
        return Err("only the weights may have sums of stretches".into());
    }
    let (length, count) = (stretches.bytes, stretches.sha256.len() as u64);
    if length == 0 || part.bytes.div_ceil(length) != count {
        return Err(format!("{count} stretches of {length} bytes do not cover its {} bytes", part.bytes));
    }
    Ok(())
}

/// Checks the header and returns the position of the manifest.
fn manifest_range(file: &[u8]) -> Result<Range<usize>, Problem> {
    let found = file.len() as u64;
    if file.is_empty() {
        return Err(Problem::Empty);
    }
    // A short file that starts as a bundle does was cut; any other is not a bundle.
    let known = file.len().min(MAGIC.len());
    if file[..known] != MAGIC[..known] {
        return Err(Problem::Magic);
    }
    if found < HEADER_BYTES {
        return Err(Problem::Truncated { expected: HEADER_BYTES, found });
    }
    let word = |at: usize| u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
    match word(8) {
        FORMAT_VERSION => {}
        0 => return Err(Problem::layout("header", "format version 0 does not exist")),
        newer => return Err(Problem::NewerVersion(newer)),
    }
    if word(12) != 0 {
        return Err(Problem::UnknownFlags(word(12)));
    }
    let length = u64::from(word(16)) | u64::from(word(20)) << 32;
    if length > MAX_MANIFEST_BYTES {
        return Err(Problem::ManifestLength(length));
    }
    let expected = HEADER_BYTES + length;
    if found < expected {
        return Err(Problem::Truncated { expected, found });
    }
    Ok(HEADER_BYTES as usize..expected as usize)
}

/// The header that precedes a manifest.
pub(super) fn header(manifest: &[u8]) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(FORMAT_VERSION.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    header.extend((manifest.len() as u64).to_le_bytes());
    header.extend(Sha256::of(manifest).0);
    header
}

/// Checks the tensor table against the length of the weights part; returns the index of each tensor by its name.
pub(super) fn index_tensors(tensors: &[TensorEntry], weights_bytes: usize) -> Result<HashMap<String, usize>, Problem> {
    if tensors.len() > MAX_TENSORS {
        let what = "the number of tensors".to_string();
        return Err(Problem::Limit { what, found: tensors.len() as u64, limit: MAX_TENSORS as u64 });
    }
    let mut index = HashMap::new();
    for (position, tensor) in tensors.iter().enumerate() {
        check_tensor(tensor, weights_bytes as u64)
            .map_err(|reason| Problem::layout(format!("tensor `{}`", tensor.name), reason))?;
        if index.insert(tensor.name.clone(), position).is_some() {
            return Err(Problem::layout(format!("tensor `{}`", tensor.name), "it is listed twice"));
        }
    }
    let mut by_offset: Vec<&TensorEntry> = tensors.iter().filter(|tensor| tensor.bytes > 0).collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        // Ends were checked to lie inside the part, so the sum does not overflow.
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let reason = format!("it overlaps `{}`", pair[0].name);
            return Err(Problem::layout(format!("tensor `{}`", pair[1].name), reason));
        }
    }
    for tensor in tensors {
        let find = |name: &str| index.get(name).map(|position| &tensors[*position]);
        check_quantisation(tensor, find)
            .and_then(|()| check_sums(tensor, find))
            .map_err(|reason| Problem::layout(format!("tensor `{}`", tensor.name), reason))?;
    }
    Ok(index)
}

fn check_tensor(tensor: &TensorEntry, weights_bytes: u64) -> Result<(), String> {
    if tensor.shape.len() > MAX_RANK {
        return Err(format!("it has {} dimensions, at most {MAX_RANK} are read", tensor.shape.len()));
    }
    if tensor.shape.contains(&0) {
        return Err(format!("a dimension of {:?} is zero", tensor.shape));
    }
    let elements = tensor.shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent as u64));
    let needed = match tensor.packing {
        None => elements.and_then(|elements| elements.checked_mul(tensor.dtype.bytes() as u64)),
        Some(Packing::Blocked) => packing::blocked_bytes(&tensor.shape, tensor.dtype),
    };
    if needed != Some(tensor.bytes) {
        let packed = tensor.packing.map_or("", |_| ", packed");
        return Err(format!("{} bytes do not hold {:?} of {:?}{}", tensor.bytes, tensor.shape, tensor.dtype, packed));
    }
    if !tensor.offset.is_multiple_of(ALIGNMENT) {
        return Err(format!("its offset {} is not a multiple of {ALIGNMENT}", tensor.offset));
    }
    match tensor.offset.checked_add(tensor.bytes) {
        Some(end) if end <= weights_bytes => Ok(()),
        _ => {
            Err(format!("it lies outside the weights: {} bytes at {} of {weights_bytes}", tensor.bytes, tensor.offset))
        }
    }
}

fn check_quantisation<'a>(tensor: &TensorEntry, find: impl Fn(&str) -> Option<&'a TensorEntry>) -> Result<(), String> {
    let Some(quantisation) = &tensor.quantisation else { return Ok(()) };
    let scale = find(&quantisation.scale).ok_or(format!("its scale `{}` is missing", quantisation.scale))?;
    let channels = tensor.shape.first().copied().unwrap_or(1);
    let fits = scale.shape == [channels] || scale.shape == [1];
    if !tensor.dtype.is_integer() || scale.dtype != Dtype::F32 || !fits {
        return Err(format!(
            "{:?} of {:?} with a scale of {:?} {:?} (integers with one f32 scale, or one for each of {channels}, are read)",
            tensor.dtype, tensor.shape, scale.dtype, scale.shape
        ));
    }
    Ok(())
}

/// Kernels include an activation's zero point by the sums of the weights, and support no zero point of the weights
/// themselves.
fn check_sums<'a>(tensor: &TensorEntry, find: impl Fn(&str) -> Option<&'a TensorEntry>) -> Result<(), String> {
    if tensor.packing.is_none() || tensor.dtype != Dtype::I8 {
        return Ok(());
    }
    let channels = &tensor.shape[..1];
    let quantisation = tensor.quantisation.as_ref().ok_or("it is packed int8 without a scale")?;
    if quantisation.zero_point != 0 {
        return Err(format!("it is packed int8 with a zero point of {}", quantisation.zero_point));
    }
    let name = format!("{}.sums", tensor.name);
    match find(&name) {
        Some(sums) if sums.dtype == Dtype::I32 && sums.shape == channels => Ok(()),
        Some(sums) => Err(format!("its sums are {:?} {:?}, not i32 {channels:?}", sums.dtype, sums.shape)),
        None => Err(format!("its sums `{name}` are missing")),
    }
}
