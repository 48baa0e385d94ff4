//! Every exact rewrite computes the same as the graph before it, on the reference engine.
#![expect(unreachable_pub, reason = "modules of one test program")]

mod agreement;
mod coordinate_bias;
mod fold_batch_norm;
mod project_as_linear;
mod prompt_fold;
mod upsampled_conv;
