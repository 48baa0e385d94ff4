//! A step list as a GPU runs it, planned before there is a GPU: every dispatch with its shader, its constants and its
//! buffers, and the memory that they need.

use super::constants::{Constant, form_of, quads};
use super::error::GpuError;
use super::product::Product;
use super::shader::{LANES, Shader, Storage, Variant, VariantConstant, WeightForm};
use super::slots::Slots;
use super::step_list::{neighbours, with_products};
use super::tile::{Choose, Tile};
use crate::engine::WeightSource;
use crate::engine::cpu::kind_name;
use crate::graph::TAPS;
use crate::lower::steps::{Destination, Element, Step, StepKind, StepList, Tensor, TensorId};

/// A channels-last map, its channels padded to a multiple of four with zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Extent {
    pub(crate) fn quads(self) -> usize {
        quads(self.channels)
    }

    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// The buffer that a shader's binding refers to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Binding {
    /// The frame's planes.
    Image,
    Tensor(TensorId),
    /// A constant, as an index of [`GpuPlan::constants`].
    Constant(usize),
    /// The sums of the parts of a divided product.
    Partials,
}

/// One call of a shader.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dispatch {
    pub variant: Variant,
    /// The shader's `Shape`, word by word.
    pub shape: Vec<u32>,
    pub bindings: Vec<Binding>,
    pub groups: [u32; 3],
}

/// The last stage of a head. Its dispatches depend on the number of sentences.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tail {
    pub head: usize,
    pub products: TensorId,
    /// The bias, as an index of [`GpuPlan::constants`].
    pub bias: usize,
    /// The extent of the products; `channels` are those of the features.
    pub low: Extent,
    pub scale: usize,
}

impl Tail {
    pub(crate) fn height(&self) -> usize {
        self.low.height * self.scale
    }

    pub(crate) fn width(&self) -> usize {
        self.low.width * self.scale
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    Dispatch(Dispatch),
    Product(Product, Tile),
    Tail(Tail),
}

impl Work {
    pub(crate) fn product(&self) -> Option<&Product> {
        match self {
            Work::Product(product, _) => Some(product),
            Work::Dispatch(_) | Work::Tail(_) => None,
        }
    }

    /// The dispatches that do not depend on the number of sentences.
    pub(crate) fn dispatches(&self) -> Vec<Dispatch> {
        match self {
            Work::Dispatch(dispatch) => vec![dispatch.clone()],
            Work::Product(product, tile) => product.dispatches(*tile),
            Work::Tail(_) => Vec::new(),
        }
    }
}

/// A step with its dispatches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub name: String,
    pub kind: &'static str,
    pub multiply_accumulates: u64,
    pub bytes: u64,
    /// Whether it belongs to a head, from the last map at low resolution on.
    pub is_head: bool,
    pub work: Work,
}

/// Everything that a network does for one frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GpuPlan {
    pub storage: Storage,
    pub extents: Vec<Extent>,
    pub slots: Slots,
    pub constants: Vec<Constant>,
    pub jobs: Vec<Job>,
    /// The number of floats of all the frame's planes.
    pub image_floats: usize,
    /// Bytes of the sums of the parts of divided products.
    pub partial_bytes: u64,
    /// The first jobs of all pairs of products that can run in one dispatch, and those that do.
    pub pairs: Vec<usize>,
    pub joined: Vec<usize>,
}

/// Two products that follow each other.
fn products(jobs: &[Job]) -> Option<[&Product; 2]> {
    match jobs {
        [Job { work: Work::Product(first, _), .. }, Job { work: Work::Product(second, _), .. }] => {
            Some([first, second])
        }
        _ => None,
    }
}

/// The most pixels of an attention, since its scores are kept in a group's shared memory.
const MOST_KEYS: usize = 3072;

/// The number of groups for a number of items, in two dimensions since one dimension is limited.
pub(super) fn spread(items: usize) -> [u32; 3] {
    const ROW: usize = 32768;
    let groups = items.div_ceil(LANES as usize).max(1);
    [groups.min(ROW) as u32, groups.div_ceil(ROW) as u32, 1]
}

struct GpuPlanner<'a> {
    list: &'a StepList,
    source: &'a WeightSource<'a>,
    storage: Storage,
    choose: &'a dyn Choose,
    constants: Vec<Constant>,
    image_floats: usize,
}

impl GpuPlan {
    /// # Errors
    /// [`GpuError::Unsupported`] with the first step that no shader is known for.
    pub(crate) fn new(
        list: &StepList,
        source: &WeightSource,
        storage: Storage,
        choose: &dyn Choose,
    ) -> Result<Self, GpuError> {
        let (list, heads) = with_products(list)?;
        for tensor in &list.tensors {
            if tensor.per_token || tensor.element != Element::F32 {
                let node = tensor.name.clone();
                return Err(GpuError::Unsupported { node, reason: "a tensor of bytes, or one by token".into() });
            }
        }
        let extent = |tensor: &Tensor| Extent { height: tensor.height, width: tensor.width, channels: tensor.channels };
        let extents: Vec<Extent> = list.tensors.iter().map(extent).collect();
        let bytes = |extent: &Extent| (extent.pixels() * extent.quads()) as u64 * storage.quad_bytes();
        let tensor_bytes: Vec<u64> = extents.iter().map(bytes).collect();
        let pairs = neighbours(&list);
        let slots = Slots::plan(&list, &tensor_bytes, &pairs);
        let mut planning = GpuPlanner { list: &list, source, storage, choose, constants: Vec::new(), image_floats: 0 };
        let mut jobs = Vec::with_capacity(list.steps.len());
        for (step, is_head) in list.steps.iter().zip(&heads) {
            let touched = step.reads.iter().copied().chain(step.writes.map(|written| written.tensor));
            jobs.push(Job {
                name: step.name.clone(),
                kind: kind_name(&step.kind),
                multiply_accumulates: step.multiply_accumulates,
                bytes: touched.map(|id| tensor_bytes[id.0]).sum(),
                is_head: *is_head,
                work: planning.work(step)?,
            });
        }
        let GpuPlanner { constants, image_floats, .. } = planning;
        let mut plan = Self {
            storage,
            extents,
            slots,
            constants,
            jobs,
            image_floats,
            partial_bytes: 0,
            pairs,
            joined: Vec::new(),
        };
        plan.pairs
            .retain(|first| plan.jobs.get(*first..first + 2).and_then(products).is_some_and(|[a, b]| a.can_precede(b)));
        plan.choose(choose);
        Ok(plan)
    }

    /// Gives each product the tile that is chosen for it, and joins the pairs that are chosen.
    pub(crate) fn choose(&mut self, choose: &dyn Choose) {
        for job in &mut self.jobs {
            if let Work::Product(product, tile) = &mut job.work {
                *tile = choose.tile(product);
            }
        }
        let is_joined = |first: &usize| self.pair(*first).is_some_and(|[a, b]| choose.is_pair(a, b));
        self.joined = self.pairs.iter().copied().filter(is_joined).collect();
        let bytes = self.jobs.iter().map(|job| match &job.work {
            Work::Product(product, tile) => product.partial_bytes(*tile),
            Work::Dispatch(_) | Work::Tail(_) => 0,
        });
        self.partial_bytes = bytes.max().unwrap_or(0);
    }

    /// The products of a job and the next.
    pub(crate) fn pair(&self, first: usize) -> Option<[&Product; 2]> {
        products(self.jobs.get(first..first + 2)?)
    }

    /// The dispatches of a job that do not depend on the number of sentences. The second job of a joined pair has none.
    pub(crate) fn dispatches(&self, job: usize) -> Vec<Dispatch> {
        if let Some([first, second]) = self.pair(job).filter(|_| self.joined.contains(&job)) {
            return vec![first.pair(second)];
        }
        let follows = job.checked_sub(1).is_some_and(|before| self.joined.contains(&before));
        match self.jobs.get(job) {
            Some(job) if !follows => job.work.dispatches(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn constant_bytes(&self) -> u64 {
        self.constants.iter().map(|constant| constant.bytes(self.storage)).sum()
    }

    pub(crate) fn tensor_bytes(&self) -> u64 {
        self.slots.bytes.iter().sum()
    }

    pub(crate) fn tails(&self) -> impl Iterator<Item = &Tail> {
        self.jobs.iter().filter_map(|job| match &job.work {
            Work::Tail(tail) => Some(tail),
            Work::Dispatch(_) | Work::Product(..) => None,
        })
    }
}

pub(super) fn words(numbers: &[usize]) -> Vec<u32> {
    // A size beyond u32 exceeds every limit that is checked before anything runs.
    numbers.iter().map(|number| u32::try_from(*number).unwrap_or(u32::MAX)).collect()
}

impl GpuPlanner<'_> {
    fn constant(&mut self, constant: Constant) -> Binding {
        self.constants.push(constant);
        Binding::Constant(self.constants.len() - 1)
    }

    fn extent(&self, id: TensorId) -> Extent {
        let Tensor { height, width, channels, .. } = *self.list.tensor(id);
        Extent { height, width, channels }
    }

    /// The position of a step's first channel, in groups of four.
    fn first_quad(&self, step: &Step, channels: usize) -> Result<usize, GpuError> {
        let Destination { tensor, first_channel: first } = step.destination()?;
        let all = self.extent(tensor).channels;
        if !first.is_multiple_of(4) || (!channels.is_multiple_of(4) && first + channels != all) {
            return Err(unsupported(step, "a part of a concatenation whose channels are not a multiple of four"));
        }
        Ok(first / 4)
    }

    fn work(&mut self, step: &Step) -> Result<Work, GpuError> {
        if let StepKind::Convolution { .. } = step.kind {
            let product = self.product(step)?;
            let tile = self.choose.tile(&product);
            return Ok(Work::Product(product, tile));
        }
        let read = |index: usize| step.reads.get(index).copied().ok_or_else(|| unsupported(step, "too few operands"));
        Ok(Work::Dispatch(match &step.kind {
            StepKind::LoadImage => self.load_image(step)?,
            StepKind::AveragePool { size } => {
                let (x, y) = (self.extent(read(0)?), self.extent(written(step)?));
                let out = Extent { height: x.height / size, width: x.width / size, channels: x.channels };
                let items = out.pixels() * out.quads();
                let first = self.first_quad(step, x.channels)?;
                let shape = words(&[x.width, out.width, x.quads(), y.quads(), first, *size, items]);
                self.pointwise(step, Shader::AveragePool, vec![], shape, items, &[Binding::Tensor(read(0)?)])?
            }
            StepKind::Gate { complement, mask_quantisation: None } => {
                let flags = vec![("COMPLEMENT", VariantConstant::Flag(*complement))];
                self.pairwise(step, Shader::Gate, flags, Binding::Tensor(read(1)?))?
            }
            StepKind::Add { relu } => {
                let flags = vec![("RELU", VariantConstant::Flag(*relu))];
                self.pairwise(step, Shader::Add, flags, Binding::Tensor(read(1)?))?
            }
            StepKind::AddPositions { table, skip } => {
                let x = self.extent(read(0)?);
                let (channels, pixels) = (x.channels, x.pixels());
                let table = self.constant(Constant::Table { name: table.clone(), skip: *skip, channels, pixels });
                self.pairwise(step, Shader::Add, vec![("RELU", VariantConstant::Flag(false))], table)?
            }
            StepKind::Attention { heads, causal } => self.attention(step, *heads, *causal)?,
            StepKind::Carafe { scale } => {
                let (x, logits, y) = (self.extent(read(0)?), self.extent(read(1)?), self.extent(written(step)?));
                let first = self.first_quad(step, x.channels)?;
                let shape = [x.height, x.width, x.quads(), 4 * logits.quads(), y.quads(), first];
                Dispatch {
                    variant: Variant::new(Shader::Carafe, vec![("SCALE", number(*scale))]),
                    shape: words(&shape),
                    bindings: vec![
                        Binding::Tensor(read(0)?),
                        Binding::Tensor(read(1)?),
                        Binding::Tensor(written(step)?),
                    ],
                    groups: [x.width as u32, x.height as u32, 1],
                }
            }
            StepKind::Blend { scale, bias, relu } => {
                let (x, y) = (self.extent(read(0)?), self.extent(written(step)?));
                let low = features(step, x)?;
                let bias = self.constant(Constant::Bias { name: bias.clone(), channels: low.channels });
                let items = low.pixels() * scale * scale * low.quads();
                let first = self.first_quad(step, low.channels)?;
                let constants = vec![("SCALE", number(*scale)), ("RELU", VariantConstant::Flag(*relu))];
                let shape = words(&[low.height, low.width, low.quads(), y.quads(), first, items]);
                let reads = [Binding::Tensor(read(0)?), bias];
                self.pointwise(step, Shader::Blend, constants, shape, items, &reads)?
            }
            StepKind::PromptTail { scale, bias, head, .. } => {
                let products = read(0)?;
                let low = features(step, self.extent(products))?;
                let Binding::Constant(bias) =
                    self.constant(Constant::Bias { name: bias.clone(), channels: low.channels })
                else {
                    return Err(unsupported(step, "a bias that is not a constant"));
                };
                return Ok(Work::Tail(Tail { head: *head, products, bias, low, scale: *scale }));
            }
            StepKind::Convolution { .. }
            | StepKind::Gate { .. }
            | StepKind::LayerNorm { .. }
            | StepKind::QuickGelu
            | StepKind::Embed { .. }
            | StepKind::LastToken
            | StepKind::Convert => return Err(unsupported(step, "this step runs on the CPU alone")),
        }))
    }

    /// A dispatch over items, each of which is one group of four channels of the output.
    fn pointwise(
        &self,
        step: &Step,
        shader: Shader,
        constants: Vec<(&'static str, VariantConstant)>,
        shape: Vec<u32>,
        items: usize,
        reads: &[Binding],
    ) -> Result<Dispatch, GpuError> {
        let bindings = reads.iter().copied().chain([Binding::Tensor(written(step)?)]).collect();
        Ok(Dispatch { variant: Variant::new(shader, constants), shape, bindings, groups: spread(items) })
    }

    /// A function of two tensors of one extent; the second one may be a constant.
    fn pairwise(
        &self,
        step: &Step,
        shader: Shader,
        constants: Vec<(&'static str, VariantConstant)>,
        second: Binding,
    ) -> Result<Dispatch, GpuError> {
        let Some(first) = step.reads.first().copied() else { return Err(unsupported(step, "too few operands")) };
        let (x, y) = (self.extent(first), self.extent(written(step)?));
        if let Binding::Tensor(second) = second
            && self.extent(second) != x
        {
            return Err(unsupported(step, "operands of different extents"));
        }
        let items = x.pixels() * x.quads();
        let shape = words(&[x.quads(), y.quads(), self.first_quad(step, x.channels)?, items]);
        self.pointwise(step, shader, constants, shape, items, &[Binding::Tensor(first), second])
    }

    fn load_image(&mut self, step: &Step) -> Result<Dispatch, GpuError> {
        let y = self.extent(written(step)?);
        if y.channels != 3 {
            return Err(unsupported(step, "an image that does not have three channels"));
        }
        self.image_floats = 3 * y.pixels();
        let shape = words(&[y.pixels()]);
        self.pointwise(step, Shader::LoadImage, vec![], shape, y.pixels(), &[Binding::Image])
    }

    fn product(&mut self, step: &Step) -> Result<Product, GpuError> {
        let StepKind::Convolution { filters, stride, padding, map, residual, relu } = &step.kind else {
            return Err(unsupported(step, "not a product"));
        };
        let Some(x_id) = step.reads.first().copied() else { return Err(unsupported(step, "too few operands")) };
        let (x, y) = (self.extent(x_id), self.extent(written(step)?));
        if x.channels != filters.in_channels {
            return Err(unsupported(step, "weights for another number of channels"));
        }
        let extent = |size: usize| (size + 2 * padding).checked_sub(filters.kernel).map(|room| room / stride + 1);
        let (Some(height), Some(width)) = (extent(x.height), extent(x.width)) else {
            return Err(unsupported(step, "a kernel larger than the map"));
        };
        // A sequence that was a map keeps the map's rows; pixels follow each other in the same order.
        if height * width != y.pixels() {
            return Err(unsupported(step, "an output of another extent"));
        }
        let (out, first) = (filters.out_channels, self.first_quad(step, filters.out_channels)?);
        let form = form_of(filters, self.source, self.storage);
        let scaled = form == WeightForm::Int8;
        let weights = self.constant(Constant::Weights { filters: filters.clone(), form });
        let channels = self.constant(Constant::Channels { filters: filters.clone(), scaled });
        let map_binding = match map {
            Some(name) => self.constant(Constant::Map { name: name.clone(), channels: out, pixels: height * width }),
            None => Binding::Tensor(x_id),
        };
        let added = match (residual, step.reads.get(1)) {
            (true, Some(id)) => *id,
            (true, None) => return Err(unsupported(step, "too few operands")),
            (false, _) => x_id,
        };
        let added_extent = self.extent(added);
        if *residual && (added_extent.pixels() != height * width || added_extent.channels != out) {
            return Err(unsupported(step, "a residual of another extent"));
        }
        Ok(Product {
            in_height: x.height,
            in_width: x.width,
            in_quads: x.quads(),
            out_width: width,
            pixels: height * width,
            out_quads: quads(out),
            y_quads: y.quads(),
            y_first: first,
            residual_quads: added_extent.quads(),
            kernel: filters.kernel,
            stride: *stride,
            padding: *padding,
            form,
            has_map: map.is_some(),
            has_residual: *residual,
            relu: *relu,
            x: Binding::Tensor(x_id),
            weights,
            channels,
            y: Binding::Tensor(written(step)?),
            map: map_binding,
            residual: Binding::Tensor(added),
        })
    }

    fn attention(&mut self, step: &Step, heads: usize, causal: bool) -> Result<Dispatch, GpuError> {
        let &[q, k, v] = step.reads.as_slice() else { return Err(unsupported(step, "not three operands")) };
        let (x, y) = (self.extent(q), self.extent(written(step)?));
        if self.extent(k) != x || self.extent(v) != x {
            return Err(unsupported(step, "operands of different extents"));
        }
        if heads == 0 || !x.channels.is_multiple_of(4 * heads) {
            return Err(unsupported(step, "heads whose channels are not a multiple of four"));
        }
        if x.pixels() > MOST_KEYS {
            return Err(unsupported(step, "attention over more pixels than a group has memory for"));
        }
        let head_width = x.channels / heads;
        let first = self.first_quad(step, x.channels)?;
        let mut shape = words(&[x.quads(), head_width / 4, y.quads(), first]);
        shape.push((1.0 / (head_width as f32).sqrt()).to_bits());
        let constants = vec![("LENGTH", number(x.pixels())), ("CAUSAL", VariantConstant::Flag(causal))];
        Ok(Dispatch {
            variant: Variant::new(Shader::Attention, constants),
            shape,
            bindings: [q, k, v, written(step)?].map(Binding::Tensor).to_vec(),
            groups: [x.pixels() as u32, heads as u32, 1],
        })
    }
}

/// The tensor that a step writes.
fn written(step: &Step) -> Result<TensorId, GpuError> {
    Ok(step.destination()?.tensor)
}

/// The extent of tap products with the channels of the features.
fn features(step: &Step, products: Extent) -> Result<Extent, GpuError> {
    let channels = products.channels / TAPS;
    if !products.channels.is_multiple_of(TAPS) || !channels.is_multiple_of(4) {
        return Err(unsupported(step, "features whose channels are not a multiple of four"));
    }
    Ok(Extent { channels, ..products })
}

pub(super) fn number(value: usize) -> VariantConstant {
    VariantConstant::Number(u32::try_from(value).unwrap_or(u32::MAX))
}

fn unsupported(step: &Step, reason: &str) -> GpuError {
    GpuError::Unsupported { node: step.name.clone(), reason: reason.to_string() }
}
