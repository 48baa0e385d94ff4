//! The calls in torch's pickles: a storage's persistent id, the tensor rebuild forms and the ordered dictionary. None
//! of them is executed; each is read as data.

use super::PickleProblem;
use super::pickle::{Machine, PickleValue, ValueId};
use super::tensor::{MOST_DIMENSIONS, StorageRef, TensorRef};

type Step<T> = Result<T, PickleProblem>;

/// `("storage", <storage class>, key, location, elements)`; any other persistent id is opaque.
pub(super) fn storage(machine: &Machine, id: ValueId) -> Step<PickleValue> {
    let PickleValue::Tuple(parts) = machine.get(id) else { return Ok(PickleValue::Opaque) };
    let [tag, class, key, ..] = parts.as_slice() else { return Ok(PickleValue::Opaque) };
    match (machine.get(*tag), machine.get(*class), machine.get(*key)) {
        (PickleValue::Text(tag), PickleValue::Global(class), PickleValue::Text(key)) if &**tag == "storage" => {
            Ok(PickleValue::Storage(StorageRef { class: class.clone(), key: key.clone() }))
        }
        _ => Err(PickleProblem::Expected("a storage's class and key")),
    }
}

/// The value of `function(*arguments)`.
pub(super) fn call(machine: &mut Machine, function: &str, arguments: &[ValueId]) -> Step<PickleValue> {
    match function {
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => tensor(machine, arguments, None),
        "torch._utils._rebuild_tensor_v3" => tensor(machine, arguments, arguments.get(6)),
        // A parameter is its tensor; a TorchScript list or tagged value is its first argument.
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch.jit._pickle.restore_type_tag" => first(machine, arguments),
        list if list.starts_with("torch.jit._pickle.build_") => first(machine, arguments),
        "torch._tensor._rebuild_from_type_v2" => rebuilt_from_type(machine, arguments),
        "collections.OrderedDict" => ordered_dictionary(machine, arguments),
        "collections.defaultdict" | "builtins.dict" | "__builtin__.dict" => Ok(PickleValue::Dict(Vec::new())),
        _ => Ok(PickleValue::Object { items: Vec::new(), state: None }),
    }
}

/// `(storage, offset, shape, strides, ...)`, offset and strides in elements.
fn tensor(machine: &Machine, arguments: &[ValueId], dtype: Option<&ValueId>) -> Step<PickleValue> {
    let [storage, offset, shape, strides, ..] = arguments else {
        return Err(PickleProblem::Expected("a tensor's storage, offset, shape and strides"));
    };
    let PickleValue::Storage(storage) = machine.get(*storage) else {
        return Err(PickleProblem::Expected("a tensor's storage"));
    };
    let (shape, strides) = (sizes(machine, *shape)?, sizes(machine, *strides)?);
    if shape.len() != strides.len() {
        return Err(PickleProblem::Expected("a stride for each dimension"));
    }
    let element = match dtype.map(|dtype| machine.get(*dtype)) {
        Some(PickleValue::Global(dtype)) => dtype.clone(),
        _ => storage.class.clone(),
    };
    let offset = size(machine, *offset)?;
    Ok(PickleValue::Tensor(TensorRef { storage: storage.key.clone(), element, offset, shape, strides }))
}

fn sizes(machine: &Machine, id: ValueId) -> Step<Vec<usize>> {
    let (PickleValue::Tuple(items) | PickleValue::List(items)) = machine.get(id) else {
        return Err(PickleProblem::Expected("a tensor's shape or strides"));
    };
    if items.len() > MOST_DIMENSIONS {
        return Err(PickleProblem::Over { what: "dimensions", most: MOST_DIMENSIONS });
    }
    items.iter().map(|item| size(machine, *item)).collect()
}

fn size(machine: &Machine, id: ValueId) -> Step<usize> {
    match machine.get(id) {
        PickleValue::Int(size) => {
            usize::try_from(*size).map_err(|_| PickleProblem::Expected("a size that is not negative"))
        }
        _ => Err(PickleProblem::Expected("an integer")),
    }
}

/// The first argument's own value. Containers are copied, so their entries are counted.
fn first(machine: &mut Machine, arguments: &[ValueId]) -> Step<PickleValue> {
    let Some(first) = arguments.first() else { return Err(PickleProblem::Expected("an argument")) };
    let entries = match machine.get(*first) {
        PickleValue::Tuple(items) | PickleValue::List(items) => items.len(),
        PickleValue::Dict(items) | PickleValue::Object { items, .. } => items.len(),
        _ => 0,
    };
    machine.count_entries(entries)?;
    Ok(machine.get(*first).clone())
}

/// `(function, type, arguments, state)`: a tensor subclass, rebuilt as the plain tensor.
fn rebuilt_from_type(machine: &mut Machine, arguments: &[ValueId]) -> Step<PickleValue> {
    let [function, _, inner, ..] = arguments else {
        return Err(PickleProblem::Expected("a function and its arguments"));
    };
    let (PickleValue::Global(function), PickleValue::Tuple(inner)) = (machine.get(*function), machine.get(*inner))
    else {
        return Ok(PickleValue::Opaque);
    };
    match &**function {
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => tensor(machine, inner, None),
        "torch._utils._rebuild_tensor_v3" => tensor(machine, inner, inner.get(6)),
        _ => Ok(PickleValue::Opaque),
    }
}

/// `()`, or `([[key, value], ...],)` as Python 2 wrote it.
fn ordered_dictionary(machine: &mut Machine, arguments: &[ValueId]) -> Step<PickleValue> {
    let Some(entries) = arguments.first() else { return Ok(PickleValue::Dict(Vec::new())) };
    let (PickleValue::List(entries) | PickleValue::Tuple(entries)) = machine.get(*entries) else {
        return Ok(PickleValue::Opaque);
    };
    let entries = entries.clone();
    machine.count_entries(entries.len())?;
    let pair = |entry: &ValueId| match machine.get(*entry) {
        PickleValue::List(pair) | PickleValue::Tuple(pair) => match pair.as_slice() {
            [key, value] => Ok((*key, *value)),
            _ => Err(PickleProblem::Expected("a key and a value")),
        },
        _ => Err(PickleProblem::Expected("a key and a value")),
    };
    Ok(PickleValue::Dict(entries.iter().map(pair).collect::<Step<_>>()?))
}
