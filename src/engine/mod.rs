//! Runs a network: one image pass for any number of prompts, one prompt pass for any number of images, and a short head
//! where they meet.
//!
//! [`ReferencePlan`] runs any graph, whole or in part, on plain tract operators.

mod error;
mod reference;
mod split;
mod step_time;
#[cfg(test)]
mod tests;

pub use error::EngineError;
pub(crate) use reference::coordinate;
pub use reference::{ReferencePlan, Value};
pub use split::Head;
pub use step_time::StepTime;

use crate::graph::{Graph, NodeId, Op, Shape, Weights};
use ndarray::{Array2, ArrayD, Ix2, IxDyn};
use std::sync::Arc;
use std::time::Instant;
use tract_core::internal::Tensor;
use tract_core::internal::multithread::Executor;

/// How an [`Engine`] is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Also computes what the adversarial head needs, so that [`Engine::confounder_logits`] answers. Off, it costs
    /// nothing.
    pub confounders: bool,
    /// Threads that share the work of one pass. Up to 1, everything runs on the calling thread; above, on a pool that the
    /// engine keeps. Sums keep their order, so results do not depend on it.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { confounders: false, threads: 1 }
    }
}

/// A network in three parts, ready to run. Shared freely between threads.
pub struct Engine {
    image: ReferencePlan,
    prompt: ReferencePlan,
    head: HeadPlan,
    confounder_head: Option<HeadPlan>,
    input: Shape,
    context: usize,
    end_of_text: Option<u32>,
}

/// What an image pass leaves for the heads.
#[derive(Clone)]
pub struct ImageFeatures {
    maps: Vec<Arc<Tensor>>,
}

/// What a prompt pass leaves for the heads: the convolution that its sentence generates.
#[derive(Clone)]
pub struct PromptKernel {
    vectors: Vec<Arc<Tensor>>,
}

struct HeadPlan {
    plan: ReferencePlan,
    map_first: bool,
}

impl Engine {
    /// Splits a network with the inputs `image` and `tokens` and the output `pred` (`pred_ad` too, for confounders) and
    /// plans its parts.
    pub fn new(graph: &Graph, weights: &Weights, options: EngineOptions) -> Result<Self, EngineError> {
        let begun = Instant::now();
        graph.validate()?;
        let executor = executor(options.threads)?;
        let mut heads = vec![Head::find(graph, "pred")?];
        if options.confounders {
            heads.push(Head::find(graph, "pred_ad")?);
        }
        let (image, tokens) = (graph.find("image")?, graph.find("tokens")?);
        let part = |input: NodeId, outputs: Vec<NodeId>| -> Result<ReferencePlan, EngineError> {
            ReferencePlan::on(executor.clone(), &graph.subgraph(&[input], &outputs)?, weights)
        };
        let plan_head = |head: &Head| -> Result<HeadPlan, EngineError> {
            let (part, map_first) = head.graph(graph)?;
            Ok(HeadPlan { plan: ReferencePlan::on(executor.clone(), &part, weights)?, map_first })
        };
        let engine = Self {
            image: part(image, heads.iter().map(|head| head.map).collect())?,
            prompt: part(tokens, heads.iter().map(|head| head.kernel).collect())?,
            head: plan_head(&heads[0])?,
            confounder_head: heads.get(1).map(plan_head).transpose()?,
            input: graph.node(image).shape,
            context: match graph.node(tokens).shape {
                Shape::Tokens { context } => context,
                other => return Err(not_tokens(other)),
            },
            end_of_text: end_of_text(graph),
        };
        log::debug!("engine ready after {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
        Ok(engine)
    }

    /// What [`Self::encode_image`] takes: channels, height and width.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Tokens that a prompt may have, start and end of text included.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Whether [`Self::confounder_logits`] answers.
    pub fn has_confounders(&self) -> bool {
        self.confounder_head.is_some()
    }

    /// Runs the text encoder on token ids (start and end of text included; what follows the end is not run, since a
    /// causal encoder's state does not depend on it).
    pub fn encode_prompt(&self, tokens: &[u32]) -> Result<PromptKernel, EngineError> {
        let begun = Instant::now();
        let end = tokens.iter().position(|id| Some(*id) == self.end_of_text);
        let tokens = end.map_or(tokens, |end| &tokens[..=end]);
        let vectors = self.prompt.run_tensors(vec![self.prompt.tensor(0, Value::Tokens(tokens))?])?;
        log::debug!("prompt of {} tokens: {:.1} ms", tokens.len(), begun.elapsed().as_secs_f64() * 1e3);
        Ok(PromptKernel { vectors })
    }

    /// Runs everything that depends on the image alone. `pixels`: normalised, channel by channel, row by row.
    pub fn encode_image(&self, pixels: &[f32]) -> Result<ImageFeatures, EngineError> {
        let begun = Instant::now();
        let array = self.image_array(pixels)?;
        let maps = self.image.run_tensors(vec![self.image.tensor(0, Value::Array(&array))?])?;
        log::debug!("image: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
        Ok(ImageFeatures { maps })
    }

    /// As [`Self::encode_image`], to find out where the time goes: runs once and times each step, in the order in which
    /// they first ran.
    pub fn time_image_steps(&self, pixels: &[f32]) -> Result<Vec<StepTime>, EngineError> {
        self.image.time_steps(&[Value::Array(&self.image_array(pixels)?)])
    }

    fn image_array(&self, pixels: &[f32]) -> Result<ArrayD<f32>, EngineError> {
        let refuse = || EngineError::Input {
            name: "image".into(),
            given: format!("{} numbers", pixels.len()),
            expected: self.input,
        };
        let Shape::Map { channels, height, width } = self.input else { return Err(refuse()) };
        ArrayD::from_shape_vec(IxDyn(&[channels, height, width]), pixels.to_vec()).map_err(|_| refuse())
    }

    /// Logits of the lesion, height x width of the network's input; the sigmoid of one is a probability.
    pub fn logits(&self, image: &ImageFeatures, prompt: &PromptKernel) -> Result<Array2<f32>, EngineError> {
        self.head.run(image.maps.first(), prompt.vectors.first())
    }

    /// Logits of the adversarial head, which sees only what the masks leave to the confounders.
    pub fn confounder_logits(&self, image: &ImageFeatures, prompt: &PromptKernel) -> Result<Array2<f32>, EngineError> {
        let head = self.confounder_head.as_ref().ok_or(EngineError::NoConfounders)?;
        head.run(image.maps.get(1), prompt.vectors.get(1))
    }
}

impl HeadPlan {
    fn run(&self, map: Option<&Arc<Tensor>>, kernel: Option<&Arc<Tensor>>) -> Result<Array2<f32>, EngineError> {
        let begun = Instant::now();
        let (Some(map), Some(kernel)) = (map.cloned(), kernel.cloned()) else {
            return Err(EngineError::NoConfounders);
        };
        let inputs = if self.map_first { vec![map, kernel] } else { vec![kernel, map] };
        let outputs = self.plan.run_tensors(inputs)?;
        log::debug!("head: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
        let read = || -> Option<Array2<f32>> {
            let logits = outputs.into_iter().next()?;
            let logits = Arc::try_unwrap(logits).unwrap_or_else(|shared| shared.as_ref().clone());
            let &[_, height, width] = logits.shape() else { return None };
            let logits = logits.into_shape(&[height, width]).ok()?.into_plain_array::<f32>().ok()?;
            logits.into_dimensionality::<Ix2>().ok()
        };
        read().ok_or_else(|| EngineError::Reference { what: "read the logits", reason: "not one map".into() })
    }
}

fn executor(threads: usize) -> Result<Executor, EngineError> {
    if threads <= 1 {
        return Ok(Executor::SingleThread);
    }
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("causalclipseg-{index}"));
    let refuse = |error: rayon::ThreadPoolBuildError| EngineError::Threads { threads, reason: error.to_string() };
    Ok(Executor::MultiThread(Arc::new(pool.build().map_err(refuse)?)))
}

/// The end of text is the largest id of the vocabulary.
fn end_of_text(graph: &Graph) -> Option<u32> {
    let vocabularies = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Embed { vocabulary, .. } => Some(vocabulary),
        _ => None,
    });
    vocabularies.min().and_then(|size| u32::try_from(size.checked_sub(1)?).ok())
}

fn not_tokens(shape: Shape) -> EngineError {
    EngineError::Split { output: "tokens".into(), reason: format!("this input is {shape}, not the ids of a sentence") }
}
