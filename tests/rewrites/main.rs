//! Every exact rewrite computes what the graph before it does, on the reference engine.

mod agreement;
mod coordinate_bias;
mod fold_batch_norm;
mod project_as_linear;
mod prompt_fold;
mod upsampled_conv;
