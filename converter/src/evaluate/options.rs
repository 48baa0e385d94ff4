//! What an evaluation measures.

#[derive(Clone, Copy, Debug)]
pub struct EvaluateOptions {
    /// Of the bootstrap, of the shuffled words and of the pairs. Equal seeds give equal figures.
    pub seed: u64,
    /// Of the bootstrap.
    pub resamples: usize,
    pub threads: usize,
    /// Also measure what the prompt changes: six heads an image instead of one, and a pass over a composed pair for each
    /// image.
    pub prompt_study: bool,
    /// Also measure what changes to the images that must not matter do: up to eleven passes an image more.
    pub interventions: bool,
    /// Also ask every image for a lesion in many words, and a window of it beside its lesion: two passes an image more.
    pub requests: bool,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { seed: 0, resamples: 2000, threads, prompt_study: true, interventions: false, requests: false }
    }
}
