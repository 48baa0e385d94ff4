//! The options of an evaluation.

#[derive(Clone, Copy, Debug)]
pub struct EvaluateOptions {
    /// Seed of the bootstrap, of the shuffled words and of the pairs. Equal seeds give equal figures.
    pub seed: u64,
    /// The number of bootstrap resamples.
    pub resamples: usize,
    pub threads: usize,
    /// Also measures the prompt's influence: six heads an image instead of one, and a pass over a composed pair for each image.
    pub prompt_study: bool,
    /// Also measures the effect of changes to the images that should not matter: up to eleven more passes an image.
    pub interventions: bool,
    /// Also prompts every image, and a window of it beside its lesion, for a lesion in many wordings: two more passes an image.
    pub requests: bool,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { seed: 0, resamples: 2000, threads, prompt_study: true, interventions: false, requests: false }
    }
}
