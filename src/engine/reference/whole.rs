//! A network that came as a tract model: image and tokens in, logits out, with nothing known about its structure.

use crate::engine::EngineError;
use crate::graph::Shape;
use ndarray::{Array2, Ix2};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_core::internal::*;

/// A planned model with the inputs image, f32 `[1, 3, S, S]`, and tokens, i64 `[1, context]`, padded with zeros after the
/// end of text, and the output logits, f32 `[1, 1, S, S]`. Shared freely between threads.
///
/// A panic inside tract is returned as an error, since such models are read from files.
pub struct WholeNetwork {
    plan: Arc<TypedRunnableModel>,
    image_first: bool,
    size: usize,
    context: usize,
}

impl WholeNetwork {
    /// Optimises and plans a model. Its inputs may come in either order.
    ///
    /// # Errors
    /// The model has other inputs or outputs, or tract cannot plan it.
    pub fn new(model: TypedModel) -> Result<Self, EngineError> {
        let (image_first, size, context) = contained("read the network's interface", || interface(&model))?;
        let plan = contained("optimise the network", || model.into_optimized()?.into_runnable())?;
        Ok(Self { plan, image_first, size, context })
    }

    /// The shape of its image input.
    pub fn input(&self) -> Shape {
        Shape::Map { channels: 3, height: self.size, width: self.size }
    }

    /// The most tokens that a prompt may have, start and end of text included.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The logits of one prompt, S x S. `pixels`: normalised, channel by channel, row by row; `tokens`: unpadded.
    pub fn run(&self, pixels: &[f32], tokens: &[u32]) -> Result<Array2<f32>, EngineError> {
        if tokens.is_empty() || tokens.len() > self.context {
            return Err(EngineError::TokenCount { count: tokens.len(), context: self.context });
        }
        let mut padded: Vec<i64> = tokens.iter().map(|id| i64::from(*id)).collect();
        padded.resize(self.context, 0);
        contained("run the network", || {
            let image = Tensor::from_shape(&[1, 3, self.size, self.size], pixels)?.into_tvalue();
            let tokens = Tensor::from_shape(&[1, self.context], &padded)?.into_tvalue();
            let inputs = if self.image_first { tvec![image, tokens] } else { tvec![tokens, image] };
            let outputs = self.plan.run(inputs)?;
            let logits = outputs.into_iter().next().context("no output")?.into_tensor();
            let logits = logits.into_shape(&[self.size, self.size])?.into_plain_array::<f32>()?;
            Ok(logits.into_dimensionality::<Ix2>()?)
        })
    }
}

/// Whether the image is the first input, the image's side, and the context.
fn interface(model: &TypedModel) -> TractResult<(bool, usize, usize)> {
    let concrete = |fact: &TypedFact| -> TractResult<(DatumType, TVec<usize>)> {
        let shape = fact.shape.as_concrete().with_context(|| format!("its shape is open: {fact:?}"))?;
        Ok((fact.datum_type, shape.into()))
    };
    let [first, second] = model.input_outlets()? else { bail!("it has {} inputs, not 2", model.inputs.len()) };
    let (first, second) = (concrete(model.outlet_fact(*first)?)?, concrete(model.outlet_fact(*second)?)?);
    let image_first = first.0 == f32::datum_type();
    let (image, tokens) = if image_first { (first, second) } else { (second, first) };
    let (size, context) = match (&*image.1, &*tokens.1) {
        (&[1, 3, height, width], &[1, context]) if height == width && height > 0 && context > 0 => (height, context),
        (image, tokens) => bail!("it takes {image:?} and {tokens:?}, not [1, 3, S, S] and [1, context]"),
    };
    ensure!(image.0 == f32::datum_type() && tokens.0 == i64::datum_type(), "its inputs are not f32 and i64");
    let [output] = model.output_outlets()? else { bail!("it has {} outputs, not 1", model.outputs.len()) };
    let output = concrete(model.outlet_fact(*output)?)?;
    ensure!(output.0 == f32::datum_type() && *output.1 == [1, 1, size, size], "it yields {output:?}, not f32 logits");
    Ok((image_first, size, context))
}

thread_local! {
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would be returned as an error, for a program whose panic hook should then be quiet.
pub fn is_contained() -> bool {
    IS_CONTAINED.get()
}

/// Runs work inside tract; its errors and panics become one line.
pub(crate) fn contained<T>(what: &'static str, work: impl FnOnce() -> TractResult<T>) -> Result<T, EngineError> {
    let before = IS_CONTAINED.replace(true);
    // A panic leaves only `work`'s own values half done, and they are dropped with it.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(before);
    match outcome {
        Ok(result) => result.map_err(EngineError::reference(what)),
        Err(panic) => Err(EngineError::Reference { what, reason: format!("tract panicked: {}", message(&*panic)) }),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    // A backtrace may follow.
    text.and_then(|text| text.lines().next()).unwrap_or("without a message").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_core::ops::math::add;

    /// Logits that are the image's first channel plus the second token's id.
    fn model(size: usize) -> TypedModel {
        let mut model = TypedModel::default();
        let tokens = model.add_source("tokens", i64::fact([1, 5])).unwrap();
        let image = model.add_source("image", f32::fact([1, 3, size, size])).unwrap();
        let channel = model.wire_node("first", tract_core::ops::array::Slice::new(1, 0, 1), &[image]).unwrap();
        let first = model.wire_node("word", tract_core::ops::array::Slice::new(1, 1, 2), &[tokens]).unwrap();
        let word = model.wire_node("cast", tract_core::ops::cast::cast(f32::datum_type()), &first).unwrap();
        let word = model.wire_node("axis", AxisOp::Add(2), &word).unwrap();
        let word = model.wire_node("axis2", AxisOp::Add(3), &word).unwrap();
        let logits = model.wire_node("logits", add(), &[channel[0], word[0]]).unwrap();
        model.select_output_outlets(&logits).unwrap();
        model
    }

    #[test]
    fn inputs_stand_in_either_order() {
        let network = WholeNetwork::new(model(4)).unwrap();
        assert_eq!((network.input(), network.context()), (Shape::Map { channels: 3, height: 4, width: 4 }, 5));
        let pixels: Vec<f32> = (0..48).map(|index| index as f32).collect();
        let logits = network.run(&pixels, &[9, 7]).unwrap();
        assert_eq!(logits.as_slice().unwrap()[..3], [7.0, 8.0, 9.0]);
        assert!(network.run(&pixels, &[]).is_err() && network.run(&pixels, &[1; 6]).is_err());
        assert!(network.run(&pixels[1..], &[1]).unwrap_err().to_string().contains("cannot run"));
    }

    #[test]
    fn other_interfaces_and_panics_are_errors() {
        let mut one = TypedModel::default();
        let x = one.add_source("x", f32::fact([1, 3, 4, 4])).unwrap();
        one.select_output_outlets(&[x]).unwrap();
        assert!(WholeNetwork::new(one).err().unwrap().to_string().contains("1 inputs, not 2"));
        let error = contained::<()>("try", || panic!("at {}\nBacktrace", is_contained())).unwrap_err().to_string();
        assert_eq!(error, "the reference engine cannot try: tract panicked: at true");
        assert!(!is_contained());
    }
}
