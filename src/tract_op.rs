//! The complete network as one operator in a tract model, for programs whose pre- or postprocessing is a tract graph.
//!
//! The only module whose public items use tract's types, which change with tract's version: 0.23.9.

use crate::engine::{Engine, EngineError, PromptKernel, Workspace};
use crate::graph::Shape;
use crate::model::Model;
use crate::prompt::{PromptCache, Tokens};
use std::sync::{Arc, Mutex, PoisonError};
use tract_core::internal::*;

/// The number of prompts whose encoding an operator keeps.
const CACHED_PROMPTS: usize = 16;

/// An operator with the inputs `image`, f32 `[1, channels, height, width]`, normalised, and `tokens`, i64
/// `[prompts, context]`, padded with zeros after the end of text, and the output `logits`, f32
/// `[prompts, 1, height, width]`, the same as those of `model.onnx`. It uses the model's engine.
///
/// Recent prompts are not encoded again, so a model that is run on frame after frame encodes its sentences once.
#[derive(Clone)]
pub struct SegmentOp {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Engine>,
    prompts: PromptCache<Arc<PromptKernel>>,
    /// Workspaces of runs that have ended; as many as ever ran at once.
    workspaces: Mutex<Vec<Workspace>>,
}

impl SegmentOp {
    /// The operator for a model, which may be dropped: the operator keeps what it needs.
    pub fn of(model: &Model) -> Self {
        Self::new(model.engine().clone())
    }

    /// The operator for an engine.
    #[doc(hidden)]
    pub fn new(engine: Arc<Engine>) -> Self {
        let (prompts, workspaces) = (PromptCache::new(CACHED_PROMPTS), Mutex::default());
        Self { shared: Arc::new(Shared { engine, prompts, workspaces }) }
    }

    /// A model of this operator alone, for any number of prompts.
    ///
    /// # Errors
    /// Errors of tract.
    pub fn into_model(self) -> TractResult<TypedModel> {
        let mut model = TypedModel::default();
        let [channels, height, width] = self.image_shape()?;
        let prompts = model.symbols.sym("prompts").to_dim();
        let image = model.add_source("image", f32::fact([1, channels, height, width]))?;
        let context = self.shared.engine.context().to_dim();
        let tokens = model.add_source("tokens", i64::fact(&[prompts, context]))?;
        let logits = model.wire_node("logits", self, &[image, tokens])?;
        model.select_output_outlets(&logits)?;
        Ok(model)
    }

    fn image_shape(&self) -> TractResult<[usize; 3]> {
        match self.shared.engine.input() {
            Shape::Map { channels, height, width } => Ok([channels, height, width]),
            other => bail!("the network takes {other}, not an image"),
        }
    }
}

impl Shared {
    fn encode(&self, padded: &[i64]) -> Result<Arc<PromptKernel>, EngineError> {
        // The engine refuses ids that are not in the vocabulary.
        let ids: Vec<u32> = padded.iter().map(|id| u32::try_from(*id).unwrap_or(u32::MAX)).collect();
        let encode = |tokens: &Tokens| self.engine.encode_prompt(tokens.ids()).map(Arc::new);
        self.prompts.get_or_insert_with(Tokens::from_ids(ids), encode)
    }

    /// The logits of each prompt, one after another.
    fn run(&self, pixels: &[f32], kernels: &[Arc<PromptKernel>]) -> Result<Vec<f32>, EngineError> {
        let idle = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = idle.unwrap_or_default();
        self.engine.run(&mut workspace, pixels, kernels.iter().map(Arc::as_ref))?;
        let mut found = Vec::new();
        for prompt in 0..kernels.len() {
            found.extend(self.engine.logits(&workspace, prompt)?);
        }
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        Ok(found)
    }
}

impl std::fmt::Debug for SegmentOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentOp({}, {} tokens)", self.shared.engine.input(), self.shared.engine.context())
    }
}

impl PartialEq for SegmentOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared.engine, &other.shared.engine)
    }
}

impl Eq for SegmentOp {}

impl Op for SegmentOp {
    fn name(&self) -> StaticName {
        "CausalClipSeg".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SegmentOp {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (image, tokens) = args_2!(inputs);
        let [_, height, width] = self.image_shape()?;
        let tokens = tokens.to_plain_array_view::<i64>()?;
        let tokens = tokens.as_standard_layout();
        let rows = tokens.as_slice().unwrap_or_default().chunks(self.shared.engine.context().max(1));
        let kernels = rows.map(|row| self.shared.encode(row)).collect::<Result<Vec<_>, _>>()?;
        let image = image.to_plain_array_view::<f32>()?;
        let image = image.as_standard_layout();
        let logits = self.shared.run(image.as_slice().unwrap_or_default(), &kernels)?;
        Ok(tvec!(Tensor::from_shape(&[kernels.len(), 1, height, width], &logits)?.into_tvalue()))
    }
}

impl TypedOp for SegmentOp {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [channels, height, width] = self.image_shape()?;
        let [image, tokens] = inputs else { bail!("it takes an image and tokens, not {} inputs", inputs.len()) };
        let context = self.shared.engine.context();
        let is_image = image.datum_type == f32::datum_type()
            && image.shape.as_concrete() == Some([1, channels, height, width].as_slice());
        ensure!(is_image, "the image is {image:?}, not f32 [1, {channels}, {height}, {width}]");
        let is_tokens = tokens.datum_type == i64::datum_type()
            && matches!(tokens.shape.dims(), [_, length] if *length == context.to_dim());
        ensure!(is_tokens, "the tokens are {tokens:?}, not i64 [prompts, {context}]");
        let prompts = tokens.shape[0].clone();
        Ok(tvec!(f32::fact(&[prompts, 1.to_dim(), height.to_dim(), width.to_dim()])))
    }
}
