//! The element in pipelines: in this process, and in gst-launch-1.0.

mod clip;
mod faults;
mod formats;
mod launch;
mod overlay;
mod pipeline;
mod playing;
