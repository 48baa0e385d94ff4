//! The one-file model: everything that a device needs to run one network, extension `.ccs`. A [`Bundle`] is mapped and
//! checked completely; nothing in the file is trusted. The format is described in `crates/bundle`.

#[doc(hidden)]
pub use causalclipseg_bundle::{
    ALIGNMENT, BundleBuilder, Compression, Dtype, FORMAT_VERSION, MAGIC, MAX_CONTEXT, MAX_ELEMENTS, MAX_INPUT_SIZE,
    MAX_MANIFEST_BYTES, MAX_NODES, MAX_TENSORS, MAX_TOKENIZER_BYTES, Manifest, Packing, Part, Quantisation,
    RELIABILITY_KEY, SelfTest, SelfTestVector, SigningKey, StoredTensor, Stretches, TensorEntry, TensorView,
    TokenTable, self_test_image,
};
pub use causalclipseg_bundle::{
    Aligned, Bundle, BundleError, Check, DEFAULT_THRESHOLD, ModelDescription, Note, Precision, Problem, Provenance,
    ProvenanceError, Reliability, SelfTestError, Sha256, VerifyingKey,
};
