//! Finds the tensors in a parsed pickle, by name.

use super::limits::within;
use super::pickle::{Pickle, PickleValue, ValueId};
use super::tensor::TensorRef;
use super::{Limits, ReadError};

/// Keys under which training code stores the network's state beside its optimizer's.
const WRAPPERS: [&str; 7] = ["state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"];

/// Attributes of a pickled torch module with its parts, which are not part of their names.
const MODULE_PARTS: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// Every tensor of the pickle's state dict or module, named by the keys that lead to it.
pub(super) fn tensors(pickle: &Pickle, limits: &Limits) -> Result<Vec<(String, TensorRef)>, ReadError> {
    let mut walk = Walk { pickle, limits, path: Vec::new(), visited: 0, found: Vec::new() };
    walk.enter(unwrapped(pickle), "")?;
    Ok(walk.found)
}

/// The innermost wrapped dictionary: for `{"epoch": 3, "state_dict": {...}}` the value of `state_dict`.
fn unwrapped(pickle: &Pickle) -> ValueId {
    let mut root = pickle.root();
    for _ in 0..4 {
        let PickleValue::Dict(items) = pickle.get(root) else { break };
        if items.iter().any(|(_, value)| matches!(pickle.get(*value), PickleValue::Tensor(_))) {
            break;
        }
        let wrapped = WRAPPERS.iter().find_map(|wrapper| {
            let is_wrapped = |(key, value): &&(ValueId, ValueId)| {
                pickle.text(*key).is_some_and(|key| &**key == *wrapper)
                    && matches!(pickle.get(*value), PickleValue::Dict(_) | PickleValue::Object { .. })
            };
            items.iter().rev().find(is_wrapped)
        });
        match wrapped {
            Some((_, inner)) => root = *inner,
            None => break,
        }
    }
    root
}

struct Walk<'a> {
    pickle: &'a Pickle,
    limits: &'a Limits,
    /// The containers around the current one.
    path: Vec<ValueId>,
    /// The number of visited values: a dictionary may be in many others, so a short pickle can describe a very large
    /// tree.
    visited: usize,
    found: Vec<(String, TensorRef)>,
}

impl Walk<'_> {
    fn enter(&mut self, id: ValueId, name: &str) -> Result<(), ReadError> {
        self.visited += 1;
        within("the number of values", self.visited as u64, self.limits.container_entries as u64)?;
        match self.pickle.get(id) {
            PickleValue::Tensor(tensor) => {
                self.found.push((name.to_string(), tensor.clone()));
                within("the number of tensors", self.found.len() as u64, self.limits.tensors as u64)
            }
            PickleValue::Dict(items) => self.inside(id, name, |walk| walk.items(items, name, false)),
            PickleValue::Object { items, state } => self.inside(id, name, |walk| {
                walk.items(items, name, false)?;
                match state.map(|state| (state, walk.pickle.get(state))) {
                    Some((id, PickleValue::Dict(items))) => walk.inside(id, name, |walk| walk.items(items, name, true)),
                    _ => Ok(()),
                }
            }),
            _ => Ok(()),
        }
    }

    fn inside(
        &mut self,
        id: ValueId,
        name: &str,
        visit: impl FnOnce(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if self.path.contains(&id) {
            return Err(ReadError::Cyclic { name: name.to_string() });
        }
        // An object counts twice, once for its state.
        within("the nesting", self.path.len() as u64, 2 * self.limits.nesting as u64)?;
        self.path.push(id);
        visit(self)?;
        self.path.pop();
        Ok(())
    }

    fn items(&mut self, items: &[(ValueId, ValueId)], name: &str, is_state: bool) -> Result<(), ReadError> {
        for (key, value) in items {
            let Some(key) = self.pickle.text(*key).cloned() else { continue };
            within("a name's number of bytes", (name.len() + key.len()) as u64, self.limits.name_bytes as u64)?;
            let inner = match name {
                name if is_state && MODULE_PARTS.contains(&&*key) => name.to_string(),
                "" => key.to_string(),
                name => format!("{name}.{key}"),
            };
            self.enter(*value, &inner)?;
        }
        Ok(())
    }
}
