//! The one-file model: everything that a device needs to run one network, extension `.ccs`.
//!
//! # Layout
//! All integers are little-endian.
//!
//! | byte | what |
//! |---|---|
//! | 0 | magic, 8 bytes ([`MAGIC`]) |
//! | 8 | u32 format version ([`FORMAT_VERSION`]) |
//! | 12 | u32 flags, zero: a reader refuses what it does not know |
//! | 16 | u64 length of the manifest in bytes |
//! | 24 | SHA-256 of the manifest |
//! | 56 | the [`Manifest`], JSON |
//!
//! Then, each at the next multiple of 64 bytes with zeros between: `graph` (JSON of [`Graph`]), `tokenizer` (a
//! tokenizer.json, compressed, and its [`TokenTable`]), `weights` (the tensors, each at a multiple of 64), `self_test` (JSON of [`SelfTest`]),
//! and 64 bytes of Ed25519 signature where the manifest names a key. The signature covers the manifest's bytes, which
//! contain the SHA-256 of every part, so it covers the file. Of weights above a MiB it also has sums of stretches of a
//! MiB, which [`Check::EverythingOnTwoThreads`] compares instead of the one sum.
//!
//! # What opening checks
//! Nothing in the file is trusted: every length, offset and shape is checked, including overflow, the graph's shapes
//! are inferred again, and its sizes are bounded. By default every part's SHA-256 is checked too, so that a damaged
//! file is never run; [`Check::Structure`] leaves that out for the weights, whose bytes can only cause wrong masks.

mod digest;
mod error;
mod familiarity;
mod input;
mod layout;
mod limits;
mod manifest;
mod packing;
mod provenance;
mod reliability;
mod replace;
mod self_test;
mod signature;
mod tensor;
mod token_table;
mod tokenizer;
mod vocabulary;
mod writer;

pub use digest::Sha256;
pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use error::{BundleError, Problem};
pub use familiarity::{Appearance, FamiliarInputs, INPUTS_KEY};
pub use input::{Fit, Normalisation};
pub use layout::{ALIGNMENT, FORMAT_VERSION, MAGIC, MAX_MANIFEST_BYTES, MAX_TENSORS};
pub use limits::{MAX_CONTEXT, MAX_ELEMENTS, MAX_NODES, check as check_graph};
pub use manifest::{
    Compression, Dtype, MAX_INPUT_SIZE, Manifest, Packing, Part, Quantisation, Stretches, TensorEntry, is_threshold,
};
pub use manifest::{ModelDescription, Precision};
pub use provenance::{DEFAULT_THRESHOLD, Note, Provenance, ProvenanceError};
pub use reliability::{RELIABILITY_KEY, Reliability};
pub use replace::{WriteError, replace_file};
pub use self_test::{SelfTest, SelfTestError, SelfTestVector, self_test_image};
pub use tensor::{StoredTensor, TensorView};
pub use token_table::TokenTable;
pub use tokenizer::MAX_TOKENIZER_BYTES;
pub use vocabulary::{KnownWords, WORDS_KEY, words};
pub use writer::BundleBuilder;

use causalclipseg_graph::graph::{Graph, Op, Shape, Weights};
use layout::Layout;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::OnceLock;

/// How much of a file is read when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Everything: the complete file is read once and its sums compared (measured on one x86 core with SHA
    /// instructions: 1.4 GB/s).
    #[default]
    Everything,
    /// As [`Check::Everything`], with a second thread during the call for half of the weights. It is not started where the calling
    /// thread may use one core only, or where the file has one sum for all weights, as files of earlier versions have.
    EverythingOnTwoThreads,
    /// Structure and the sums of all parts except the weights, whose pages stay untouched until they are used.
    Structure,
}

/// An opened model.
#[derive(Debug)]
pub struct Bundle {
    file: Backing,
    manifest: Manifest,
    layout: Layout,
    graph: Graph,
    self_test: SelfTest,
    tensors: HashMap<String, usize>,
    /// Whether the table of tokens has a layout that this program reads.
    has_token_table: bool,
    sha256: OnceLock<Sha256>,
}

enum Backing {
    Mapped(memmap2::Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

// Implemented by hand: the bytes of a model do not belong in a log.
impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Backing::Mapped(_) => "mapped",
            Backing::Static(_) => "static",
            Backing::Owned(_) => "owned",
        };
        write!(f, "{} {kind} bytes", self.len())
    }
}

impl Deref for Backing {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Backing::Mapped(map) => map,
            Backing::Static(bytes) => bytes,
            Backing::Owned(bytes) => bytes,
        }
    }
}

impl Bundle {
    /// Maps a file and checks all of it.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        Self::open_with(path, Check::Everything)
    }

    /// Maps a file. It must not be written to in place while it is open; replacing it (as [`BundleBuilder::write`] does)
    /// is fine.
    pub fn open_with(path: &Path, check: Check) -> Result<Self, BundleError> {
        let mapped = map(path).and_then(|file| Self::read(file, check));
        mapped.map_err(|problem| BundleError::from(problem).at(path))
    }

    /// A model that is part of the program. Where it is at a multiple of 64 bytes, as in [`Aligned`], nothing is copied.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self, BundleError> {
        Self::from_static_with(bytes, Check::Everything)
    }

    /// As [`Self::from_static`].
    pub fn from_static_with(bytes: &'static [u8], check: Check) -> Result<Self, BundleError> {
        let backing = match is_aligned(bytes) {
            true => Backing::Static(bytes),
            false => aligned_copy(bytes)?,
        };
        Ok(Self::read(backing, check)?)
    }

    /// A model in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, BundleError> {
        Ok(Self::read(in_memory(bytes)?, Check::Everything)?)
    }

    /// A model that this program just assembled.
    fn from_trusted_bytes(bytes: Vec<u8>) -> Result<Self, BundleError> {
        Ok(Self::read(in_memory(bytes)?, Check::Structure)?)
    }

    fn read(file: Backing, check: Check) -> Result<Self, Problem> {
        let (manifest, layout) = layout::read(&file)?;
        for part in manifest.parts.iter().filter(|part| check != Check::Structure || part.name != layout::WEIGHTS) {
            match &part.stretches {
                Some(stretches) if check == Check::EverythingOnTwoThreads => {
                    let may_use = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                    check_stretches(&file, &layout, part, stretches, may_use > 1)?;
                }
                _ => check_sum(&file, &layout, part)?,
            }
        }
        let token_table = layout.token_table.clone().map(|table| TokenTable::check(&file[table])).transpose()?;
        let has_token_table = token_table.flatten().is_some();
        let tensors = layout::index_tensors(&manifest.tensors, layout.parts[layout::WEIGHTS].len())?;
        let json = |part: &str, error: serde_json::Error| Problem::layout(format!("part `{part}`"), error.to_string());
        let graph: Graph =
            serde_json::from_slice(&file[layout.parts["graph"].clone()]).map_err(|e| json("graph", e))?;
        limits::check(&graph)?;
        graph.validate()?;
        graph.check_weights(|name| tensors.get(name).map(|at| manifest.tensors[*at].shape.as_slice()))?;
        check_input(&graph, manifest.model.input_size)?;
        let self_test: SelfTest =
            serde_json::from_slice(&file[layout.parts["self_test"].clone()]).map_err(|e| json("self_test", e))?;
        self_test.check().map_err(|reason| Problem::layout("part `self_test`", reason))?;
        Ok(Self { file, manifest, layout, graph, self_test, tensors, has_token_table, sha256: OnceLock::new() })
    }

    #[doc(hidden)]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The network, validated; every weight that it reads is present in its shape.
    #[doc(hidden)]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A tensor as it is stored in the file.
    #[doc(hidden)]
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, BundleError> {
        let at = self.tensors.get(name).ok_or_else(|| Problem::NoTensor(name.to_string()))?;
        let entry = &self.manifest.tensors[*at];
        // Opening checked that offset and length are inside the part.
        let start = entry.offset as usize;
        let bytes = &self.part("weights")[start..start + entry.bytes as usize];
        let TensorEntry { name, dtype, shape, quantisation, packing, .. } = entry;
        Ok(TensorView { name, dtype: *dtype, shape, bytes, quantisation: quantisation.as_ref(), packing: *packing })
    }

    /// The part of the file with the tensors.
    #[doc(hidden)]
    pub fn weight_bytes(&self) -> &[u8] {
        self.part("weights")
    }

    /// The position of a tensor in [`Self::weight_bytes`].
    #[doc(hidden)]
    pub fn weight_range(&self, name: &str) -> Result<Range<usize>, BundleError> {
        let at = self.tensors.get(name).ok_or_else(|| Problem::NoTensor(name.to_string()))?;
        let TensorEntry { offset, bytes, .. } = self.manifest.tensors[*at];
        // Opening checked that offset and length are inside the part.
        Ok(offset as usize..(offset + bytes) as usize)
    }

    /// Every weight that the graph reads, in f32. Refuses NaN and infinite numbers by the tensor's name.
    #[doc(hidden)]
    pub fn weights(&self) -> Result<Weights, BundleError> {
        let parameters = self.graph.parameters();
        parameters.into_iter().map(|parameter| Ok((parameter.name.clone(), self.values(&parameter.name)?))).collect()
    }

    /// One tensor in f32, with its packing and its quantisation undone.
    #[doc(hidden)]
    pub fn values(&self, name: &str) -> Result<ndarray::ArrayD<f32>, BundleError> {
        let tensor = self.tensor(name)?;
        let scale = tensor.quantisation.map(|quantisation| self.tensor(&quantisation.scale)).transpose()?;
        Ok(tensor.decode(scale)?)
    }

    /// The tokenizer.json, expanded; empty where the model was packed without one.
    #[doc(hidden)]
    pub fn tokenizer_json(&self) -> Result<Cow<'_, [u8]>, BundleError> {
        let part = self.manifest.parts.iter().find(|part| part.name == layout::TOKENIZER);
        let compression = part.and_then(|part| part.compression);
        let mut bytes = self.part(layout::TOKENIZER);
        if let Some(table) = &self.layout.token_table {
            bytes = &bytes[..bytes.len() - table.len()];
        }
        Ok(tokenizer::expand(bytes, compression)?)
    }

    /// The tokenizer as numbers, where the file has it; [`Self::tokenizer_json`] has the same tokenizer.
    #[doc(hidden)]
    pub fn token_table(&self) -> Option<TokenTable<'_>> {
        let table = self.layout.token_table.clone().filter(|_| self.has_token_table)?;
        Some(TokenTable::checked(&self.file[table]))
    }

    #[doc(hidden)]
    pub fn self_test(&self) -> &SelfTest {
        &self.self_test
    }

    /// Compares every recorded sum with the bytes, the table of tokens with the tokenizer.json, and the signature, if there is
    /// one, with the key beside it. That finds damage; only [`Self::verify_signature`] finds manipulation.
    pub fn verify_integrity(&self) -> Result<(), BundleError> {
        let (manifest, _) = layout::read(&self.file)?;
        for part in &manifest.parts {
            check_sum(&self.file, &self.layout, part)?;
            if let Some(stretches) = &part.stretches {
                check_stretches(&self.file, &self.layout, part, stretches, false)?;
            }
        }
        if let Some(table) = self.token_table()
            && token_table::from_json(&self.tokenizer_json()?).as_deref() != Some(table.bytes())
        {
            return Err(Problem::layout("table of tokens", "it is not that of the tokenizer.json").into());
        }
        if let (Some(key), Some(signature)) = (&self.manifest.signed_by, &self.layout.signature) {
            signature::verify_named(self.manifest_bytes(), &self.file[signature.clone()], key)?;
        }
        Ok(())
    }

    /// Checks that `key`'s owner signed this model. Together with the sums that opening compared
    /// ([`Check::Everything`]), this covers the complete file.
    pub fn verify_signature(&self, key: &VerifyingKey) -> Result<(), BundleError> {
        let (Some(named), Some(signature)) = (&self.manifest.signed_by, &self.layout.signature) else {
            return Err(Problem::NotSigned.into());
        };
        if *named != digest::to_hex(key.as_bytes()) {
            return Err(Problem::SignedByAnother(named.clone()).into());
        }
        Ok(signature::verify(self.manifest_bytes(), &self.file[signature.clone()], key)?)
    }

    /// The SHA-256 sum of the complete file, to identify it in reports. Computed at the first call, since opening need
    /// not wait for it.
    pub fn sha256(&self) -> Sha256 {
        *self.sha256.get_or_init(|| Sha256::of(&self.file))
    }

    /// The size of the complete file, in bytes.
    pub fn file_bytes(&self) -> usize {
        self.file.len()
    }

    /// The file's bytes.
    #[doc(hidden)]
    pub fn into_bytes(self) -> Vec<u8> {
        match self.file {
            Backing::Owned(bytes) => bytes,
            other => other.to_vec(),
        }
    }

    fn manifest_bytes(&self) -> &[u8] {
        &self.file[self.layout.manifest_bytes.clone()]
    }

    fn part(&self, name: &str) -> &[u8] {
        let range: &Range<usize> = &self.layout.parts[name];
        &self.file[range.clone()]
    }
}

fn check_sum(file: &[u8], layout: &Layout, part: &Part) -> Result<(), Problem> {
    if Sha256::of(&file[layout.parts[&part.name].clone()]) == part.sha256 {
        return Ok(());
    }
    Err(Problem::Damaged(format!("part `{}`", part.name)))
}

/// Compares the sums of a part's stretches, half of them on a second thread if `in_parallel`.
fn check_stretches(
    file: &[u8],
    layout: &Layout,
    part: &Part,
    stretches: &Stretches,
    in_parallel: bool,
) -> Result<(), Problem> {
    let bytes = &file[layout.parts[&part.name].clone()];
    let length = usize::try_from(stretches.bytes).unwrap_or(usize::MAX);
    // Their number is that of the sums, by the layout's check.
    let pairs: Vec<(&[u8], &Sha256)> = bytes.chunks(length).zip(&stretches.sha256).collect();
    let are_equal = |pairs: &[(&[u8], &Sha256)]| pairs.iter().all(|(bytes, sum)| Sha256::of(bytes) == **sum);
    let (first, second) = pairs.split_at(if in_parallel { pairs.len() / 2 } else { 0 });
    let equal = std::thread::scope(|scope| {
        let other = (!first.is_empty())
            .then(|| std::thread::Builder::new().name("checksums".into()).spawn_scoped(scope, || are_equal(first)));
        let is_second_equal = are_equal(second);
        is_second_equal
            && match other {
                // The closure does not panic; if it did, its half would count as damaged.
                Some(Ok(other)) => other.join().unwrap_or(false),
                // None to compare, or the system refuses another thread.
                None | Some(Err(_)) => are_equal(first),
            }
    });
    match equal {
        true => Ok(()),
        false => Err(Problem::Damaged(format!("part `{}`", part.name))),
    }
}

/// The image size of the manifest must be that of the graph's input.
fn check_input(graph: &Graph, input_size: usize) -> Result<(), Problem> {
    for node in graph.nodes.iter().filter(|node| node.op == Op::Input) {
        match node.shape {
            Shape::Map { channels: 3, height, width } if (height, width) != (input_size, input_size) => {
                return Err(Problem::Manifest(format!(
                    "an input size of {input_size}, but the graph takes {height} x {width}"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of a model that are part of a program, at an address where [`Bundle::from_static`] copies nothing.
/// `static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("model.ccs"));`
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Aligned<B: ?Sized>(
    /// The bytes, from `include_bytes!`.
    pub B,
);

/// Tensors are at multiples of [`ALIGNMENT`] from the file's start, and so in memory where the file itself is aligned.
fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT as usize)
}

fn in_memory(bytes: Vec<u8>) -> Result<Backing, Problem> {
    match is_aligned(&bytes) {
        true => Ok(Backing::Owned(bytes)),
        false => aligned_copy(&bytes),
    }
}

/// Newly allocated pages, which are always aligned.
fn aligned_copy(bytes: &[u8]) -> Result<Backing, Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    let copied = memmap2::MmapMut::map_anon(bytes.len()).and_then(|mut pages| {
        pages.copy_from_slice(bytes);
        pages.make_read_only()
    });
    Ok(Backing::Mapped(copied.map_err(Problem::Memory)?))
}

fn map(path: &Path) -> Result<Backing, Problem> {
    // A folder opens on some systems and not on others, and opening a pipe would wait: check before.
    let metadata = std::fs::metadata(path).map_err(Problem::Read)?;
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = std::fs::File::open(path).map_err(Problem::Read)?;
    // An empty file cannot be mapped on every system.
    if metadata.len() == 0 {
        return Err(Problem::Empty);
    }
    #[expect(unsafe_code, reason = "a file could change under its map")]
    // SAFETY: the map is read-only and private to this process. Another process that writes to the file in place would
    // change bytes under our references: `open_with` excludes that in its contract, and our own writer replaces files
    // instead. Indices are checked at each use and never read from the map again after opening.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(Problem::Read)?;
    Ok(Backing::Mapped(map))
}
