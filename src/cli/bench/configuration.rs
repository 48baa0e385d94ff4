//! The configuration that one row of the report measures.

use super::super::model_source::ModelName;
use causalclipseg::engine::Device;
use causalclipseg::kernels::Isa;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum EngineName {
    /// The fastest that runs the model
    Auto,
    /// Plain tract in f32
    Reference,
}

/// The device that computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ComputeDevice {
    Cpu,
    Gpu,
}

/// One point of the cross product of all axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Configuration {
    pub model: ModelName,
    /// Side length of the network's input, in pixels; `None`: the model's own.
    pub size: Option<usize>,
    pub threads: usize,
    /// Sessions that run at once.
    pub sessions: usize,
    pub prompts: usize,
    pub device: Device,
    pub engine: EngineName,
    /// The instruction set; `None`: the fastest that the CPU has.
    pub isa: Option<Isa>,
}

/// The values of every axis.
#[derive(Clone, Debug)]
pub(super) struct Axes {
    pub models: Vec<ModelName>,
    pub sizes: Vec<usize>,
    pub threads: Vec<usize>,
    pub sessions: Vec<usize>,
    pub prompts: Vec<usize>,
    pub devices: Vec<Device>,
    pub engines: Vec<EngineName>,
    pub isas: Vec<Isa>,
}

impl Axes {
    /// Every combination once, the last axes changing fastest.
    pub(crate) fn configurations(&self) -> Vec<Configuration> {
        let optional = |sizes: &[usize]| -> Vec<Option<usize>> {
            if sizes.is_empty() { vec![None] } else { sizes.iter().copied().map(Some).collect() }
        };
        let isas: Vec<Option<Isa>> =
            if self.isas.is_empty() { vec![None] } else { self.isas.iter().copied().map(Some).collect() };
        let mut all: Vec<Configuration> = Vec::new();
        for model in &self.models {
            for size in optional(&self.sizes) {
                for device in self.devices.iter().copied() {
                    for engine in self.engines.iter().copied() {
                        for isa in isas.iter().copied() {
                            for [threads, sessions, prompts] in self.counts() {
                                let model = model.clone();
                                let one =
                                    Configuration { model, size, threads, sessions, prompts, device, engine, isa };
                                // `--threads 1,1` is one configuration.
                                if !all.contains(&one) {
                                    all.push(one);
                                }
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// Every combination of threads, sessions and prompts.
    fn counts(&self) -> Vec<[usize; 3]> {
        let mut all = Vec::new();
        for threads in self.threads.iter().copied() {
            for sessions in self.sessions.iter().copied() {
                all.extend(self.prompts.iter().map(|prompts| [threads, sessions, *prompts]));
            }
        }
        all
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, threads, sessions, prompts, .. } = self;
        write!(f, "{model}")?;
        if let Some(size) = self.size {
            write!(f, " at {size}")?;
        }
        write!(f, ", {threads} {}, {prompts} {}", plural(*threads, "thread"), plural(*prompts, "prompt"))?;
        if *sessions > 1 {
            write!(f, ", {sessions} sessions")?;
        }
        if self.device != Device::Cpu {
            write!(f, ", {}", self.device)?;
        }
        if self.engine == EngineName::Reference {
            write!(f, ", reference engine")?;
        }
        match self.isa {
            Some(isa) => write!(f, ", {isa}"),
            None => Ok(()),
        }
    }
}

pub(super) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_string() } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cross_product_holds_every_combination_once() {
        let axes = Axes {
            models: vec![ModelName::Embedded, ModelName::File("a.ccs".into())],
            sizes: vec![],
            threads: vec![1, 2, 1],
            sessions: vec![1],
            prompts: vec![1, 8],
            devices: vec![Device::Cpu],
            engines: vec![EngineName::Auto, EngineName::Reference],
            isas: vec![Isa::Generic, Isa::Avx2],
        };
        let all = axes.configurations();
        assert_eq!(all.len(), 2 * 2 * 2 * 2 * 2);
        let names: std::collections::BTreeSet<String> = all.iter().map(Configuration::to_string).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(all[1].prompts, 8);
        assert_eq!(all[0].to_string(), "the embedded model, 1 thread, 1 prompt, generic");
        assert_eq!(all.last().unwrap().to_string(), "a.ccs, 2 threads, 8 prompts, reference engine, avx2");
        let more = Axes { sessions: vec![1, 3], ..axes.clone() }.configurations();
        assert_eq!(
            (more.len(), more[2].to_string()),
            (64, "the embedded model, 1 thread, 1 prompt, 3 sessions, generic".into())
        );
        let one = Axes { isas: vec![], sizes: vec![224, 320], ..axes }.configurations();
        assert_eq!((one[0].isa, one[0].size), (None, Some(224)));
    }
}
