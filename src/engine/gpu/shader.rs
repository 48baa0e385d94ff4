//! Shaders: WGSL in separate files, and the lines that turn one into a variant.

use super::context::GpuContext;
use super::error::GpuError;
use std::collections::HashMap;

/// Number format of tensors in the GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Storage {
    F32,
    F16,
}

impl Storage {
    /// Bytes of four channels.
    pub(crate) fn quad_bytes(self) -> u64 {
        match self {
            Storage::F32 => 16,
            Storage::F16 => 8,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
        }
    }
}

/// Number format of a product's weights in the GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WeightForm {
    F32,
    F16,
    /// 8-bit integers, multiplied by a scale for each output channel.
    Int8,
}

impl WeightForm {
    /// Bytes of four output channels.
    pub(crate) fn quad_bytes(self) -> u64 {
        match self {
            WeightForm::F32 => 16,
            WeightForm::F16 => 8,
            WeightForm::Int8 => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shader {
    LoadImage,
    Convolution,
    AveragePool,
    Gate,
    Add,
    Attention,
    Carafe,
    Blend,
    Tail,
    Logits,
    Mask,
}

impl Shader {
    fn source(self) -> &'static str {
        match self {
            Shader::LoadImage => include_str!("shaders/load_image.wgsl"),
            Shader::Convolution => include_str!("shaders/convolution.wgsl"),
            Shader::AveragePool => include_str!("shaders/average_pool.wgsl"),
            Shader::Gate => include_str!("shaders/gate.wgsl"),
            Shader::Add => include_str!("shaders/add.wgsl"),
            Shader::Attention => include_str!("shaders/attention.wgsl"),
            Shader::Carafe => include_str!("shaders/carafe.wgsl"),
            Shader::Blend => concat!(include_str!("shaders/blend_terms.wgsl"), include_str!("shaders/blend.wgsl")),
            Shader::Tail => concat!(include_str!("shaders/blend_terms.wgsl"), include_str!("shaders/tail.wgsl")),
            Shader::Logits => include_str!("shaders/logits.wgsl"),
            Shader::Mask => include_str!("shaders/mask.wgsl"),
        }
    }
}

/// The number of invocations of a workgroup, unless a shader sets another.
pub(super) const LANES: u32 = 64;

/// A constant of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariantConstant {
    Flag(bool),
    Number(u32),
}

/// A shader with its constants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variant {
    pub shader: Shader,
    pub weights: WeightForm,
    pub constants: Vec<(&'static str, VariantConstant)>,
}

impl Variant {
    pub(crate) fn new(shader: Shader, constants: Vec<(&'static str, VariantConstant)>) -> Self {
        Self { shader, weights: WeightForm::F32, constants }
    }

    /// The complete text.
    fn text(&self, storage: Storage) -> String {
        let mut text = String::new();
        if storage == Storage::F16 || self.weights == WeightForm::F16 {
            text += "enable f16;\n";
        }
        text += match storage {
            Storage::F32 => "alias Stored4 = vec4<f32>;\nfn pack4(value: vec4<f32>) -> Stored4 { return value; }\n",
            // The largest f16: a sum beyond it is clamped and stays finite.
            Storage::F16 => {
                "alias Stored4 = vec4<f16>;\nfn pack4(value: vec4<f32>) -> Stored4 \
                 { return Stored4(clamp(value, vec4<f32>(-65504.0), vec4<f32>(65504.0))); }\n"
            }
        };
        if self.shader == Shader::Convolution {
            let (alias, value) = match self.weights {
                WeightForm::F32 => ("vec4<f32>", "weight"),
                WeightForm::F16 => ("vec4<f16>", "vec4<f32>(weight)"),
                WeightForm::Int8 => ("u32", "vec4<f32>(unpack4xI8(weight))"),
            };
            text += &format!("alias Weight4 = {alias};\n");
            text += &format!("fn unpack_weight(weight: Weight4) -> vec4<f32> {{ return {value}; }}\n");
        }
        text += &format!("const LANES: u32 = {LANES}u;\n");
        for (name, value) in &self.constants {
            text += &match value {
                VariantConstant::Flag(flag) => format!("const {name}: bool = {flag};\n"),
                VariantConstant::Number(number) => format!("const {name}: u32 = {number}u;\n"),
            };
        }
        text + include_str!("shaders/common.wgsl") + self.shader.source()
    }
}

/// Compiled variants, each once.
pub(super) struct Pipelines<'g> {
    gpu: &'g GpuContext,
    storage: Storage,
    cache: Option<&'g wgpu::PipelineCache>,
    ready: HashMap<String, wgpu::ComputePipeline>,
}

impl<'g> Pipelines<'g> {
    pub(crate) fn new(gpu: &'g GpuContext, storage: Storage, cache: Option<&'g wgpu::PipelineCache>) -> Self {
        Self { gpu, storage, cache, ready: HashMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(crate) fn get(&mut self, variant: &Variant) -> Result<wgpu::ComputePipeline, GpuError> {
        let text = variant.text(self.storage);
        if let Some(pipeline) = self.ready.get(&text) {
            return Ok(pipeline.clone());
        }
        let pipeline = self.gpu.guarded("compile a shader", || {
            let label = format!("{:?}", variant.shader);
            let module = self.gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(&label),
                source: wgpu::ShaderSource::Wgsl(text.as_str().into()),
            });
            Ok(self.gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&label),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                // Every shader writes workgroup memory before it reads it.
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.cache,
            }))
        })?;
        self.ready.insert(text, pipeline.clone());
        Ok(pipeline)
    }
}
