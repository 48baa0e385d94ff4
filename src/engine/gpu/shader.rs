//! Shaders: WGSL in separate files, and the lines that turn one into a variant.

use super::context::GpuContext;
use super::error::GpuError;
use super::template;
use half::f16;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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

    /// Numbers from the GPU's memory.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Storage::F32 => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            Storage::F16 => bytes.as_chunks().0.iter().map(|half| f16::from_le_bytes(*half).to_f32()).collect(),
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
    /// A product with weights.
    Convolution,
    /// Parts of a product with weights, for [`Shader::Reduce`].
    SplitConvolution,
    /// [`Shader::Convolution`] on matrix units.
    MatrixConvolution,
    /// [`Shader::SplitConvolution`] on matrix units.
    SplitMatrixConvolution,
    /// Adds the parts of a product.
    Reduce,
    /// A product and a pointwise product of its result.
    Pair,
    AveragePool,
    Gate,
    Add,
    Attention,
    Carafe,
    Blend,
    Tail,
    Logits,
    Mask,
    /// The most that a device can do.
    Peak,
}

/// The text of a product: sizes, operands, the end of a sum, and the loop over the inner dimension. The outputs are bound
/// behind the operands.
macro_rules! products {
    ($end:literal, $sums:literal) => {
        products!($end, $sums, "3u")
    };
    ($end:literal, $sums:literal, $first_output:literal) => {
        concat!(
            "const FIRST_OUTPUT: u32 = ",
            $first_output,
            ";\n",
            include_str!("shaders/product_shape.wgsl"),
            include_str!("shaders/fetch.wgsl"),
            include_str!(concat!("shaders/", $end, ".wgsl")),
            include_str!(concat!("shaders/", $sums, ".wgsl")),
        )
    };
}

impl Shader {
    /// Whether it reads weights.
    fn is_product(self) -> bool {
        use Shader::{Convolution, MatrixConvolution, Pair, SplitConvolution, SplitMatrixConvolution};
        matches!(self, Convolution | SplitConvolution | MatrixConvolution | SplitMatrixConvolution | Pair)
    }

    /// Whether it runs on matrix units.
    fn is_matrix(self) -> bool {
        matches!(self, Shader::MatrixConvolution | Shader::SplitMatrixConvolution)
    }

    /// Those that tiles are for.
    pub(crate) const PRODUCTS: [Self; 6] = [
        Self::Convolution,
        Self::SplitConvolution,
        Self::MatrixConvolution,
        Self::SplitMatrixConvolution,
        Self::Reduce,
        Self::Pair,
    ];

    pub(crate) fn source(self) -> &'static str {
        match self {
            Shader::LoadImage => include_str!("shaders/load_image.wgsl"),
            Shader::Convolution => products!("epilogue", "convolution"),
            Shader::SplitConvolution => products!("partial", "convolution"),
            Shader::MatrixConvolution => products!("epilogue", "matrix_convolution"),
            Shader::SplitMatrixConvolution => products!("partial", "matrix_convolution"),
            Shader::Pair => products!("epilogue", "pair", "5u"),
            Shader::Reduce => concat!(
                "const FIRST_OUTPUT: u32 = 2u;\n",
                include_str!("shaders/product_shape.wgsl"),
                include_str!("shaders/epilogue.wgsl"),
                include_str!("shaders/reduce.wgsl")
            ),
            Shader::AveragePool => include_str!("shaders/average_pool.wgsl"),
            Shader::Gate => include_str!("shaders/gate.wgsl"),
            Shader::Add => include_str!("shaders/add.wgsl"),
            Shader::Attention => include_str!("shaders/attention.wgsl"),
            Shader::Carafe => include_str!("shaders/carafe.wgsl"),
            Shader::Blend => concat!(include_str!("shaders/blend_terms.wgsl"), include_str!("shaders/blend.wgsl")),
            Shader::Tail => concat!(include_str!("shaders/blend_terms.wgsl"), include_str!("shaders/tail.wgsl")),
            Shader::Logits => include_str!("shaders/logits.wgsl"),
            Shader::Peak => include_str!("shaders/peak.wgsl"),
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

    fn constant(&self, name: &str) -> Option<u32> {
        let (_, value) = self.constants.iter().find(|(own, _)| *own == name)?;
        Some(match value {
            VariantConstant::Flag(flag) => u32::from(*flag),
            VariantConstant::Number(number) => *number,
        })
    }

    /// The complete text.
    pub(crate) fn text(&self, storage: Storage) -> String {
        let mut text = String::new();
        let sums_in_f16 = self.constant("F16") == Some(1);
        if storage == Storage::F16 || self.weights == WeightForm::F16 || sums_in_f16 || self.shader.is_matrix() {
            text += "enable f16;\n";
        }
        if self.shader.is_matrix() {
            text += "enable wgpu_cooperative_matrix;\n";
        }
        text += match storage {
            Storage::F32 => "alias Stored4 = vec4<f32>;\nfn pack4(value: vec4<f32>) -> Stored4 { return value; }\n",
            // The largest f16: a sum beyond it is clamped and stays finite.
            Storage::F16 => {
                "alias Stored4 = vec4<f16>;\nfn pack4(value: vec4<f32>) -> Stored4 \
                 { return Stored4(clamp(value, vec4<f32>(-65504.0), vec4<f32>(65504.0))); }\n"
            }
        };
        if self.shader.is_product() {
            // In f16 integers are divided by `INTEGER_UNIT`, so that their products stay far from its largest number.
            let (alias, value) = match self.weights {
                WeightForm::F32 => ("vec4<f32>", "weight"),
                WeightForm::F16 => ("vec4<f16>", "vec4<f32>(weight)"),
                WeightForm::Int8 => ("u32", "vec4<f32>(unpack4xI8(weight)) / f32(INTEGER_UNIT)"),
            };
            text += &format!("alias Weight4 = {alias};\n");
            text += &format!("fn unpack_weight(weight: Weight4) -> vec4<f32> {{ return {value}; }}\n");
            text += if sums_in_f16 { "alias Tile4 = vec4<f16>;\n" } else { "alias Tile4 = vec4<f32>;\n" };
        }
        text += &format!("const LANES: u32 = {LANES}u;\n");
        for (name, value) in &self.constants {
            text += &match value {
                VariantConstant::Flag(flag) => format!("const {name}: bool = {flag};\n"),
                VariantConstant::Number(number) => format!("const {name}: u32 = {number}u;\n"),
            };
        }
        let source = template::expand(self.shader.source(), &|name| match name {
            "DEPTH_QUADS" => self.constant("DEPTH").map(|depth| depth / 4),
            _ => self.constant(name),
        });
        text + include_str!("shaders/common.wgsl") + &source
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
        let pipeline = self.compile(variant, &text)?;
        self.ready.insert(text, pipeline.clone());
        Ok(pipeline)
    }

    /// Compiles variants side by side, on as many threads as the host has cores.
    pub(crate) fn prepare<'v>(&mut self, variants: impl Iterator<Item = &'v Variant>) -> Result<(), GpuError> {
        let mut missing: HashMap<String, &Variant> = HashMap::new();
        for variant in variants {
            let text = variant.text(self.storage);
            if !self.ready.contains_key(&text) {
                missing.insert(text, variant);
            }
        }
        let next = Mutex::new(missing.into_iter());
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let this = &*self;
        let compile_some = || {
            let mut done = Vec::new();
            loop {
                // Taken in a statement of its own, so that the lock is not held while a shader is compiled.
                let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((text, variant)) = taken else { return Ok(done) };
                let pipeline = this.compile(variant, &text)?;
                done.push((text, pipeline));
            }
        };
        type Compiled = Result<Vec<(String, wgpu::ComputePipeline)>, GpuError>;
        let compiled: Vec<Compiled> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(compile_some)).collect();
            let own = compile_some();
            let joined = others.into_iter().map(|other| other.join().unwrap_or_else(|_| Ok(Vec::new())));
            std::iter::once(own).chain(joined).collect()
        });
        for done in compiled {
            self.ready.extend(done?);
        }
        Ok(())
    }

    fn compile(&self, variant: &Variant, text: &str) -> Result<wgpu::ComputePipeline, GpuError> {
        self.gpu.guarded("compile a shader", || {
            let device = &self.gpu.device;
            let label = format!("{:?}", variant.shader);
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(&label), source };
            let module = if variant.shader.is_product() {
                // Counting the turns of each loop keeps drivers from unrolling it.
                let checks =
                    wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
                #[expect(unsafe_code, reason = "wgpu cannot see that the loops end")]
                // SAFETY: indices are still checked. The only check left out is that loops end: those of these shaders
                // count up to a number that is computed before the loop, from sizes below 2^31.
                unsafe {
                    device.create_shader_module_trusted(descriptor, checks)
                }
            } else {
                device.create_shader_module(descriptor)
            };
            Ok(device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
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
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Binding;
    use super::super::product::Product;
    use super::super::tile::{Arithmetic, Tile};
    use super::*;
    use wgpu::naga;

    /// No driver for tests has matrix units: their shaders are only checked to be valid, and to become SPIR-V.
    #[test]
    fn shaders_for_matrix_units_are_valid() {
        let any = Binding::Image;
        for form in [WeightForm::F16, WeightForm::Int8] {
            for (size, parts) in [(64, 1), (64, 2), (32, 1), (32, 2)] {
                let product = Product {
                    in_height: 7,
                    in_width: 7,
                    in_quads: 32,
                    out_width: 7,
                    pixels: 49,
                    out_quads: 32,
                    y_quads: 32,
                    y_first: 0,
                    residual_quads: 32,
                    kernel: 3,
                    stride: 1,
                    padding: 1,
                    form,
                    has_map: false,
                    has_residual: true,
                    relu: true,
                    x: any,
                    weights: any,
                    channels: any,
                    y: any,
                    map: any,
                    residual: any,
                };
                let tile = Tile { pixels: size, channels: size, parts, arithmetic: Arithmetic::Matrix };
                for dispatch in product.dispatches(tile) {
                    let text = dispatch.variant.text(Storage::F16);
                    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| {
                        panic!("{}\n{text}", error.emit_to_string(&text));
                    });
                    let flags = naga::valid::ValidationFlags::all();
                    let mut validator = naga::valid::Validator::new(flags, naga::valid::Capabilities::all());
                    let info = validator.validate(&module).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
                    let options = naga::back::spv::Options { lang_version: (1, 6), ..Default::default() };
                    let words = naga::back::spv::write_vec(&module, &info, &options, None).unwrap();
                    assert!(words.len() > 100);
                }
            }
        }
    }
}
