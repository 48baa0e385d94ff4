//! A complete network on plain tract, in three parts: what depends on the image alone, what depends on the prompt
//! alone, and the head where they meet.

use super::{InputValue, ReferencePlan};
use crate::engine::{EngineError, EngineOptions, Limit, Logits, PromptKernel, StepTime};
use crate::graph::{Graph, HeadGraph, Parts, Shape, Weights, stage};
use ndarray::{Array2, ArrayD, Ix2, IxDyn};
use std::sync::Arc;
use std::time::Instant;
use tract_core::internal::Tensor;
use tract_core::internal::multithread::Executor;

/// The engine. Shared freely between threads.
pub(crate) struct ReferenceEngine {
    image: ReferencePlan,
    prompt: ReferencePlan,
    heads: Vec<HeadPlan>,
    input: Shape,
}

struct HeadPlan {
    plan: ReferencePlan,
    /// The indices of the outputs of the image's part and of the prompt's part that the head reads.
    map: usize,
    vector: usize,
    map_first: bool,
}

impl ReferenceEngine {
    pub(crate) fn new(graph: &Graph, weights: &Weights, options: &EngineOptions) -> Result<Self, EngineError> {
        let executor = executor(options.threads)?;
        let parts = Parts::find(graph, options.confounders)?;
        let plan = |part: &Graph| ReferencePlan::on(executor.clone(), part, weights);
        let reads = parts.maps_of_heads().into_iter().zip(parts.vectors_of_heads());
        let heads = parts.heads().iter().zip(reads).map(|(head, (map, vector))| -> Result<HeadPlan, EngineError> {
            let HeadGraph { graph, map_first } = parts.head(head)?;
            Ok(HeadPlan { plan: plan(&graph)?, map, vector, map_first })
        });
        Ok(Self {
            image: plan(&parts.image_encoder()?)?,
            prompt: plan(&parts.prompt_encoder()?)?,
            heads: heads.collect::<Result<_, _>>()?,
            input: graph.node(graph.find(stage::IMAGE)?).shape,
        })
    }

    pub(crate) fn has_confounders(&self) -> bool {
        self.heads.len() > 1
    }

    pub(crate) fn encode_prompt(&self, tokens: &[u32]) -> Result<PromptKernel, EngineError> {
        let vectors = self.prompt.run(&[InputValue::Tokens(tokens)])?;
        let of_head = |head: &HeadPlan| vectors.get(head.vector).map(|vector| vector.iter().copied().collect());
        let vectors = self.heads.iter().map(of_head).collect::<Option<_>>();
        let vectors = vectors.ok_or_else(|| EngineError::Internal("the prompt's kernel is missing".into()))?;
        Ok(PromptKernel::new(vectors))
    }

    /// Runs the image's part once and times its nodes.
    pub(crate) fn time_image_steps(&self, pixels: &[f32]) -> Result<Vec<StepTime>, EngineError> {
        self.image.time_steps(&[InputValue::Array(&self.image_array(pixels)?)])
    }

    fn image_array(&self, pixels: &[f32]) -> Result<ArrayD<f32>, EngineError> {
        let Shape::Map { channels, height, width } = self.input else {
            return Err(EngineError::Internal("an image that is not a map".into()));
        };
        let reference = EngineError::reference("take the image");
        ArrayD::from_shape_vec(IxDyn(&[channels, height, width]), pixels.to_vec()).map_err(reference)
    }

    /// The logits of each prompt, for each head, and the seconds that the heads took.
    pub(crate) fn run<'k>(
        &self,
        pixels: &[f32],
        prompts: impl ExactSizeIterator<Item = &'k PromptKernel> + Clone,
        limit: &Limit,
    ) -> Result<(Logits, f64), EngineError> {
        let image = self.image_array(pixels)?;
        let begun = Instant::now();
        let maps = self.image.run_tensors(vec![self.image.tensor(0, InputValue::Array(&image))?])?;
        log::debug!("image: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        let mut found = [Vec::new(), Vec::new()];
        for (index, head) in self.heads.iter().enumerate() {
            let map = maps.get(head.map).ok_or_else(|| EngineError::Internal("no map of a head".into()))?;
            for prompt in prompts.clone() {
                limit.check()?;
                let vector = prompt.vectors.get(index).ok_or(EngineError::NoConfounders)?;
                found[index].push(head.run(map.clone(), vector)?);
            }
        }
        Ok((found, begun.elapsed().as_secs_f64()))
    }
}

impl HeadPlan {
    fn run(&self, map: Arc<Tensor>, vector: &[f32]) -> Result<Array2<f32>, EngineError> {
        let begun = Instant::now();
        let place = if self.map_first { 1 } else { 0 };
        let vector = ArrayD::from_shape_vec(IxDyn(&[vector.len()]), vector.to_vec());
        let vector = vector.map_err(EngineError::reference("take the prompt"))?;
        let kernel = self.plan.tensor(place, InputValue::Array(&vector))?;
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

#[cfg(feature = "reference-threads")]
fn executor(threads: usize) -> Result<Executor, EngineError> {
    if threads <= 1 {
        return Ok(Executor::SingleThread);
    }
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("causalclipseg-{index}"));
    let refuse = |error: rayon::ThreadPoolBuildError| EngineError::Threads { threads, reason: error.to_string() };
    Ok(Executor::MultiThread(Arc::new(pool.build().map_err(refuse)?)))
}

#[cfg(not(feature = "reference-threads"))]
fn executor(threads: usize) -> Result<Executor, EngineError> {
    if threads > 1 {
        log::info!("plain tract runs on one thread of {threads}: this build has no feature `reference-threads`");
    }
    Ok(Executor::SingleThread)
}
