//! A pickle machine that executes nothing: it builds plain values, and every call in the pickle that is not one of
//! torch's known rebuild forms yields an opaque object.
//!
//! Values are stored in one list and refer to each other by index, so a cyclic pickle is an ordinary list with no recursion
//! in building or dropping it. The opcodes are those of protocols 2 to 5 (PEP 307, PEP 3154, PEP 574) as Python's
//! `pickletools` documents them.

use super::tensor::{StorageRef, TensorRef};
use super::torch_forms;
use super::{Limits, PickleError, PickleProblem};
use std::collections::HashMap;
use std::rc::Rc;

/// The index of a value in its [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(u32);

#[derive(Clone, Debug)]
pub enum PickleValue {
    Int(i64),
    Text(Rc<str>),
    Tuple(Vec<ValueId>),
    List(Vec<ValueId>),
    Dict(Vec<(ValueId, ValueId)>),
    /// A class or function, as `module.name`; it is never looked up.
    Global(Rc<str>),
    /// An instance of an unknown class, with the items and the state that the pickle assigns to it.
    Object {
        items: Vec<(ValueId, ValueId)>,
        state: Option<ValueId>,
    },
    Storage(StorageRef),
    Tensor(TensorRef),
    /// An irrelevant value: none, a truth value, a float, bytes, a set, an integer beyond 64 bits.
    Opaque,
}

/// A parsed pickle.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<PickleValue>,
    root: ValueId,
}

impl Pickle {
    pub fn root(&self) -> ValueId {
        self.root
    }

    pub fn get(&self, id: ValueId) -> &PickleValue {
        &self.values[id.0 as usize]
    }

    pub fn text(&self, id: ValueId) -> Option<&Rc<str>> {
        match self.get(id) {
            PickleValue::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Runs a pickle up to its STOP; bytes after it are not read.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Pickle, PickleError> {
    let mut machine = Machine {
        input: Input { bytes, at: 0 },
        limits,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        container_entries: 0,
    };
    match machine.run() {
        Ok(root) => Ok(Pickle { values: machine.values, root }),
        Err(problem) => Err(PickleError { position: machine.input.at, problem }),
    }
}

type Step<T> = Result<T, PickleProblem>;

pub(super) struct Machine<'a> {
    input: Input<'a>,
    limits: &'a Limits,
    values: Vec<PickleValue>,
    stack: Vec<ValueId>,
    /// The heights of the stack at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, ValueId>,
    container_entries: usize,
}

impl Machine<'_> {
    fn run(&mut self) -> Step<ValueId> {
        for _ in 0..self.limits.opcodes {
            let opcode = self.input.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
            if self.stack.len() + self.marks.len() > self.limits.stack {
                return Err(PickleProblem::Over { what: "values on the stack", most: self.limits.stack });
            }
        }
        Err(PickleProblem::Over { what: "opcodes", most: self.limits.opcodes })
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            // Framing and protocol are not needed here.
            0x80 => self.input.take(1).map(drop),
            0x95 => self.input.take(8).map(drop),
            b'N' | 0x88 | 0x89 | 0x8f => self.push(PickleValue::Opaque),
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.number(opcode),
            b'X' | b'U' | b'T' | 0x8c | 0x8d => self.text_operand(opcode),
            b'B' | b'C' | 0x8e | 0x96 => self.bytes_operand(opcode),
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.push(PickleValue::Global(format!("{module}.{name}").into()))
            }
            0x93 => self.stack_global(),
            b'q' | b'r' | 0x94 => self.memoize(opcode),
            b'h' | b'j' => self.recall(opcode),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.discard(),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b')' => self.push(PickleValue::Tuple(Vec::new())),
            b']' => self.push(PickleValue::List(Vec::new())),
            b'}' => self.push(PickleValue::Dict(Vec::new())),
            b't' | 0x85..=0x87 => self.tuple(opcode),
            b'l' | b'd' | 0x91 => self.collection(opcode),
            b'a' | b'e' | 0x90 => self.append(opcode),
            b's' | b'u' => self.set_items(opcode),
            b'Q' => self.persistent_id(),
            b'R' => self.reduce(),
            0x81 | 0x92 => self.new_object(opcode),
            b'b' => self.build(),
            opcode => Err(PickleProblem::Opcode(opcode)),
        }
    }

    pub(super) fn get(&self, id: ValueId) -> &PickleValue {
        &self.values[id.0 as usize]
    }

    /// Counts entries that a container receives: a pickle can copy a long list with two bytes.
    pub(super) fn count_entries(&mut self, entries: usize) -> Step<()> {
        self.container_entries += entries;
        let most = self.limits.container_entries;
        if self.container_entries > most {
            return Err(PickleProblem::Over { what: "entries in containers", most });
        }
        Ok(())
    }

    fn push(&mut self, value: PickleValue) -> Step<()> {
        let index = u32::try_from(self.values.len())
            .map_err(|_| PickleProblem::Over { what: "values", most: u32::MAX as usize })?;
        self.values.push(value);
        self.stack.push(ValueId(index));
        Ok(())
    }

    /// Takes the top of the stack; values below the latest mark belong to an outer container.
    fn pop(&mut self) -> Step<ValueId> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(PickleProblem::StackUnderflow);
        }
        self.stack.pop().ok_or(PickleProblem::StackUnderflow)
    }

    fn top(&self) -> Step<ValueId> {
        self.stack.last().copied().ok_or(PickleProblem::StackUnderflow)
    }

    /// POP removes a mark where one is on top.
    fn discard(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn pop_to_mark(&mut self) -> Step<Vec<ValueId>> {
        let height = self.marks.pop().ok_or(PickleProblem::StackUnderflow)?;
        Ok(self.stack.split_off(height.min(self.stack.len())))
    }

    fn number(&mut self, opcode: u8) -> Step<()> {
        let value = match opcode {
            b'K' => PickleValue::Int(self.input.byte()?.into()),
            b'M' => PickleValue::Int(u16::from_le_bytes(self.input.array()?).into()),
            b'J' => PickleValue::Int(i32::from_le_bytes(self.input.array()?).into()),
            b'G' => {
                self.input.take(8)?;
                PickleValue::Opaque
            }
            _ => {
                let length = if opcode == 0x8a { self.input.byte()? as u64 } else { self.input.length4()? };
                little_endian(self.input.take(length)?).map_or(PickleValue::Opaque, PickleValue::Int)
            }
        };
        self.push(value)
    }

    fn text_operand(&mut self, opcode: u8) -> Step<()> {
        let length = match opcode {
            b'U' | 0x8c => self.input.byte()? as u64,
            0x8d => self.input.length8()?,
            _ => self.input.length4()?,
        };
        let bytes = self.input.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(PickleValue::Text(text.into())),
            // Python 2 stored raw bytes in these two.
            Err(_) if matches!(opcode, b'U' | b'T') => self.push(PickleValue::Opaque),
            Err(_) => Err(PickleProblem::NotUtf8),
        }
    }

    fn bytes_operand(&mut self, opcode: u8) -> Step<()> {
        let length = match opcode {
            b'C' => self.input.byte()? as u64,
            b'B' => self.input.length4()?,
            _ => self.input.length8()?,
        };
        self.input.take(length)?;
        self.push(PickleValue::Opaque)
    }

    fn stack_global(&mut self) -> Step<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (PickleValue::Text(module), PickleValue::Text(name)) = (self.get(module), self.get(name)) else {
            return Err(PickleProblem::Expected("a global's module and name"));
        };
        // The texts may come from the memo, so their length is not limited by the size of the pickle.
        if module.len() + name.len() > self.limits.name_bytes {
            return Err(PickleProblem::Over { what: "bytes in a global's name", most: self.limits.name_bytes });
        }
        let global = format!("{module}.{name}").into();
        self.push(PickleValue::Global(global))
    }

    fn memoize(&mut self, opcode: u8) -> Step<()> {
        let index = match opcode {
            b'q' => self.input.byte()?.into(),
            b'r' => u32::from_le_bytes(self.input.array()?),
            _ => self.memo.len() as u32,
        };
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Step<()> {
        let index = match opcode {
            b'h' => self.input.byte()?.into(),
            _ => u32::from_le_bytes(self.input.array()?),
        };
        let value = *self.memo.get(&index).ok_or(PickleProblem::NoMemo(index))?;
        self.stack.push(value);
        Ok(())
    }

    fn tuple(&mut self, opcode: u8) -> Step<()> {
        let items = match opcode {
            b't' => self.pop_to_mark()?,
            opcode => {
                let mut items = (0x85..=opcode).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.count_entries(items.len())?;
        self.push(PickleValue::Tuple(items))
    }

    fn collection(&mut self, opcode: u8) -> Step<()> {
        let items = self.pop_to_mark()?;
        self.count_entries(items.len())?;
        self.push(match opcode {
            b'l' => PickleValue::List(items),
            b'd' => PickleValue::Dict(pairs(&items)?),
            _ => PickleValue::Opaque,
        })
    }

    fn append(&mut self, opcode: u8) -> Step<()> {
        let items = if opcode == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        self.count_entries(items.len())?;
        let target = self.top()?;
        if let PickleValue::List(list) = &mut self.values[target.0 as usize] {
            list.extend(items);
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Step<()> {
        let entries = if opcode == b's' {
            let (value, key) = (self.pop()?, self.pop()?);
            vec![(key, value)]
        } else {
            pairs(&self.pop_to_mark()?)?
        };
        self.count_entries(entries.len())?;
        let target = self.top()?;
        match &mut self.values[target.0 as usize] {
            PickleValue::Dict(items) | PickleValue::Object { items, .. } => {
                items.extend(entries);
                Ok(())
            }
            PickleValue::Opaque => Ok(()),
            _ => Err(PickleProblem::Expected("a dictionary")),
        }
    }

    fn persistent_id(&mut self) -> Step<()> {
        let id = self.pop()?;
        let storage = torch_forms::storage(self, id)?;
        self.push(storage)
    }

    fn reduce(&mut self) -> Step<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let PickleValue::Tuple(arguments) = self.get(arguments) else {
            return Err(PickleProblem::Expected("a tuple of arguments"));
        };
        let value = match self.get(function) {
            PickleValue::Global(name) => {
                let (name, arguments) = (name.clone(), arguments.clone());
                self.count_entries(arguments.len())?;
                torch_forms::call(self, &name, &arguments)?
            }
            _ => PickleValue::Object { items: Vec::new(), state: None },
        };
        self.push(value)
    }

    fn new_object(&mut self, opcode: u8) -> Step<()> {
        let operands = if opcode == 0x81 { 2 } else { 3 };
        for _ in 0..operands {
            self.pop()?;
        }
        self.push(PickleValue::Object { items: Vec::new(), state: None })
    }

    /// BUILD sets an object's state; an ordered dictionary's (torch stores version numbers there) is dropped.
    fn build(&mut self) -> Step<()> {
        let given = self.pop()?;
        let target = self.top()?;
        if let PickleValue::Object { state, .. } = &mut self.values[target.0 as usize] {
            *state = Some(given);
        }
        Ok(())
    }
}

fn pairs(items: &[ValueId]) -> Step<Vec<(ValueId, ValueId)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(PickleProblem::Expected("a value for each key")),
    }
}

/// A two's-complement integer of up to eight bytes.
fn little_endian(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let fill = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: u64) -> Step<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
        let length = length.ok_or(PickleProblem::Truncated)?;
        self.at += length;
        Ok(&rest[..length])
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N as u64)?.try_into().map_err(|_| PickleProblem::Truncated)
    }

    fn byte(&mut self) -> Step<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn length4(&mut self) -> Step<u64> {
        Ok(u32::from_le_bytes(self.array()?).into())
    }

    fn length8(&mut self) -> Step<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Text up to the end of the line, which is skipped.
    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(PickleProblem::Truncated)?;
        self.at += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| PickleProblem::NotUtf8)
    }
}
