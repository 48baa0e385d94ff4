//! Times the nodes of a plan one by one.

use super::super::{EngineError, StepTime};
use super::{InputValue, ReferencePlan};
use crate::graph::Graph;
use std::collections::HashMap;
use std::time::Instant;
use tract_core::internal::*;

/// The known facts of each node of our graph: its operator and its multiply-accumulates.
pub(super) type Costs = HashMap<String, (&'static str, u64)>;

pub(super) fn costs(graph: &Graph) -> Costs {
    let of_node = |id| {
        let node = graph.node(id);
        (node.name.clone(), (node.op.label(), graph.multiply_accumulates(id, 0)))
    };
    graph.ids().map(of_node).collect()
}

impl ReferencePlan {
    /// Runs the plan once and times its nodes. tract splits one of our nodes into several; they are one step here.
    pub(in super::super) fn time_steps(&self, inputs: &[InputValue]) -> Result<Vec<StepTime>, EngineError> {
        let values = self.inputs.iter().zip(inputs).map(|(input, value)| input.tensor(*value));
        let values = values.collect::<Result<Vec<Tensor>, EngineError>>()?;
        let values: TVec<TValue> = values.into_iter().map(|tensor| Arc::new(tensor).into_tvalue()).collect();
        let mut steps: Vec<StepTime> = Vec::new();
        let mut place: HashMap<String, usize> = HashMap::new();
        let mut run = || -> TractResult<()> {
            self.plan.spawn()?.run_plan_with_eval(values.clone(), |context, state, node, inputs| {
                let read: u64 = inputs.iter().map(bytes).sum();
                let begun = Instant::now();
                let outputs = tract_core::plan::eval(context, state, node, inputs)?;
                let nanoseconds = begun.elapsed().as_nanos() as u64;
                let name = node.name.split('/').next().unwrap_or_default();
                let at = *place.entry(name.to_string()).or_insert_with(|| {
                    let (kind, multiply_accumulates) = self.costs.get(name).copied().unwrap_or(("tract", 0));
                    let gmac = multiply_accumulates as f64 / 1e9;
                    steps.push(StepTime { name: name.to_string(), kind: kind.into(), gmac, bytes: 0, nanoseconds: 0 });
                    steps.len() - 1
                });
                if let Some(step) = steps.get_mut(at) {
                    step.nanoseconds += nanoseconds;
                    step.bytes += read + outputs.iter().map(bytes).sum::<u64>();
                }
                TractResult::Ok(outputs)
            })?;
            Ok(())
        };
        run().map_err(EngineError::reference("time the network's steps"))?;
        Ok(steps)
    }
}

fn bytes(value: &TValue) -> u64 {
    (value.len() * value.datum_type().size_of()) as u64
}
