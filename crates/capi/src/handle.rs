//! Handles: numbers that identify the objects stored here.

use crate::failure::{CCS_STATUS_HANDLE, Failure, ccs_status, guard};
use crate::process;
use crate::session::OpenSession;
use crate::stream::OpenStream;
use runtime::{Model, Prompt};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// An opened model.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_model {
    /// 0 is not a handle.
    pub id: u64,
}

/// A sentence, encoded by one model.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_prompt {
    /// 0 is not a handle.
    pub id: u64,
}

/// Runs a model on frames, one call at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_session {
    /// 0 is not a handle.
    pub id: u64,
}

/// A thread that segments frames as they come.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ccs_stream {
    /// 0 is not a handle.
    pub id: u64,
}

#[derive(Clone)]
pub(super) enum Object {
    Model(Arc<Model>),
    Prompt(Prompt),
    Session(Arc<OpenSession>),
    Stream(Arc<OpenStream>),
}

impl Object {
    fn kind(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Prompt(_) => "prompt",
            Self::Session(_) => "session",
            Self::Stream(_) => "stream",
        }
    }
}

static OBJECTS: LazyLock<RwLock<HashMap<u64, Object>>> = LazyLock::new(Default::default);
/// Lasts 584 years at one handle a nanosecond.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Stores an object and returns its handle's number.
pub(super) fn keep(object: Object) -> u64 {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    OBJECTS.write().unwrap_or_else(PoisonError::into_inner).insert(id, object);
    id
}

fn unknown(kind: &str, id: u64) -> Failure {
    let reason = match id {
        0 => "create one first",
        _ => "it was freed, never existed, or is of another kind",
    };
    Failure::new(CCS_STATUS_HANDLE, format!("{id} is not the handle of a {kind}: {reason}"))
}

fn find<T>(kind: &str, id: u64, pick: impl FnOnce(&Object) -> Option<T>) -> Result<T, Failure> {
    let objects = OBJECTS.read().unwrap_or_else(PoisonError::into_inner);
    objects.get(&id).and_then(pick).ok_or_else(|| unknown(kind, id))
}

pub(super) fn model(handle: ccs_model) -> Result<Arc<Model>, Failure> {
    find("model", handle.id, |object| if let Object::Model(model) = object { Some(model.clone()) } else { None })
}

pub(super) fn prompt(handle: ccs_prompt) -> Result<Prompt, Failure> {
    find("prompt", handle.id, |object| if let Object::Prompt(prompt) = object { Some(prompt.clone()) } else { None })
}

pub(super) fn session(handle: ccs_session) -> Result<Arc<OpenSession>, Failure> {
    find(
        "session",
        handle.id,
        |object| if let Object::Session(session) = object { Some(session.clone()) } else { None },
    )
}

pub(super) fn stream(handle: ccs_stream) -> Result<Arc<OpenStream>, Failure> {
    find("stream", handle.id, |object| if let Object::Stream(stream) = object { Some(stream.clone()) } else { None })
}

/// Removes an object; the caller drops it outside the lock.
pub(super) fn take(kind: &'static str, id: u64) -> Result<Object, Failure> {
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    if objects.get(&id).is_none_or(|object| object.kind() != kind) {
        return Err(unknown(kind, id));
    }
    objects.remove(&id).ok_or_else(|| unknown(kind, id))
}

/// Frees a handle; does nothing for 0.
pub(super) fn free(kind: &'static str, id: u64) -> ccs_status {
    guard(|| if id == 0 { Ok(()) } else { take(kind, id).map(drop) })
}

/// The number of handles that are not freed yet, of all kinds and threads: for finding leaks. 0 in a fork, where handles can't be
/// used.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_open_handles() -> u64 {
    if process::is_forked() {
        return 0;
    }
    OBJECTS.read().unwrap_or_else(PoisonError::into_inner).len() as u64
}
