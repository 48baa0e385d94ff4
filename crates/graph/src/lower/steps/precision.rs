//! Products of bytes with weights in f32, which a quantised network keeps where int8 would cost most accuracy: the step
//! computes in f32, between conversions of its inputs and outputs.

use super::{Destination, Element, Filters, Step, StepKind, StepList, Tensor, TensorId};

/// Inserts the conversions. `is_int8` says which products have int8 weights.
pub fn settle(list: StepList, is_int8: impl Fn(&Filters) -> bool) -> StepList {
    let StepList { mut tensors, steps, outputs } = list;
    let mut settled = Vec::with_capacity(steps.len());
    for mut step in steps {
        let wide = match &step.kind {
            StepKind::Convolution { filters, .. } | StepKind::PromptTail { filters, .. } => !is_int8(filters),
            StepKind::Attention { .. } => true,
            _ => false,
        };
        let reads_bytes = step.reads.iter().any(|read| tensors[read.0].element != Element::F32);
        if !wide || !(reads_bytes || matches!(step.kind, StepKind::Convolution { .. })) {
            settled.push(step);
            continue;
        }
        for index in 0..step.reads.len() {
            let read = step.reads[index];
            if tensors[read.0].element != Element::F32 {
                let copy = in_f32(&mut tensors, read);
                settled.push(conversion(&tensors, read, copy));
                step.reads[index] = copy;
            }
        }
        if let StepKind::PromptTail { products, .. } = &mut step.kind {
            *products = Element::F32;
        }
        // A product may be a part of a concatenation: then only that part is converted.
        let out_channels = match &step.kind {
            StepKind::Convolution { filters, .. } => Some(filters.out_channels),
            _ => None,
        };
        let rounded = step.writes.filter(|written| tensors[written.tensor.0].element != Element::F32);
        if let Some((to, channels)) = rounded.zip(out_channels) {
            let wide = in_f32(&mut tensors, to.tensor);
            tensors[wide.0].channels = channels;
            step.writes = Some(Destination { tensor: wide, first_channel: 0 });
            settled.push(step);
            settled.push(Step { writes: Some(to), ..conversion(&tensors, wide, to.tensor) });
        } else {
            settled.push(step);
        }
    }
    StepList { tensors, steps: settled, outputs }
}

fn in_f32(tensors: &mut Vec<Tensor>, of: TensorId) -> TensorId {
    let tensor = Tensor { element: Element::F32, ..tensors[of.0].clone() };
    tensors.push(tensor);
    TensorId(tensors.len() - 1)
}

fn conversion(tensors: &[Tensor], from: TensorId, to: TensorId) -> Step {
    Step {
        name: format!("{}/convert", tensors[from.0].name),
        kind: StepKind::Convert,
        reads: vec![from],
        writes: Some(Destination { tensor: to, first_channel: 0 }),
        multiply_accumulates: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::WeightLayout;
    use super::*;
    use crate::graph::ScaleZeroPoint;

    fn product(weight: &str, reads: usize, writes: usize) -> Step {
        let filters = Filters {
            weight: weight.into(),
            layout: WeightLayout::Convolution,
            bias: None,
            out_channels: 4,
            kernel: 1,
            in_channels: 4,
        };
        let kind = StepKind::Convolution { filters, stride: 1, padding: 0, map: None, residual: false, relu: false };
        Step {
            name: weight.into(),
            kind,
            reads: vec![TensorId(reads)],
            writes: Some(Destination { tensor: TensorId(writes), first_channel: 0 }),
            multiply_accumulates: 1,
        }
    }

    #[test]
    fn only_wide_products_are_converted_around() {
        let element = Element::U8(ScaleZeroPoint { scale: 1.0, zero_point: 3 });
        let tensor =
            Tensor { name: "t".into(), height: 2, width: 2, channels: 4, border: 0, element, per_token: false };
        let list = StepList {
            tensors: vec![tensor; 3],
            steps: vec![product("narrow", 0, 1), product("wide", 1, 2)],
            outputs: vec![TensorId(2)],
        };
        let settled = settle(list, |filters| filters.weight == "narrow");
        let kinds: Vec<(&str, usize, usize)> = (settled.steps.iter())
            .map(|step| (step.name.as_str(), step.reads[0].0, step.writes.unwrap().tensor.0))
            .collect();
        assert_eq!(kinds, [("narrow", 0, 1), ("t/convert", 1, 3), ("wide", 3, 4), ("t/convert", 4, 2)]);
        assert_eq!(settled.tensors[3].element, Element::F32);
        assert_eq!(settled.tensors[4].element, Element::F32);
    }

    #[test]
    fn a_wide_product_in_a_concatenation_converts_its_part_alone() {
        let element = Element::U8(ScaleZeroPoint { scale: 1.0, zero_point: 3 });
        let tensor =
            Tensor { name: "t".into(), height: 2, width: 2, channels: 4, border: 1, element, per_token: false };
        let joined = Tensor { channels: 8, ..tensor.clone() };
        for first_channel in [0, 4] {
            let mut step = product("wide", 0, 1);
            let part = Some(Destination { tensor: TensorId(1), first_channel });
            step.writes = part;
            let list = StepList {
                tensors: vec![tensor.clone(), joined.clone()],
                steps: vec![step],
                outputs: vec![TensorId(1)],
            };
            let settled = settle(list, |_| false);
            let [_, product, conversion] = &settled.steps[..] else { panic!("{:?}", settled.steps) };
            let wide = product.writes.unwrap();
            assert_eq!((wide.first_channel, settled.tensors[wide.tensor.0].channels), (0, 4));
            assert_eq!((&conversion.reads[..], conversion.writes), (&[wide.tensor][..], part));
        }
    }
}
