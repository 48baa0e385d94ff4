//! The buffers in which results come back. Each frame in flight has one of its own, since the host reads it while the
//! next frames write theirs; frames that are done leave theirs to the next.

use super::context::GpuContext;
use super::error::{GpuError, one_line};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wgpu::BufferUsages;

/// The most buffers that wait for a frame. More frames in flight are possible, and their buffers are then freed.
const MOST_SPARE: usize = 8;
/// How long another thread may take to say that a buffer is mapped, after the device has finished.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct ReadBacks {
    spare: Mutex<Vec<wgpu::Buffer>>,
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value behind these locks is valid at any time.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReadBacks {
    /// A buffer of at least so many bytes.
    pub(crate) fn take(&self, gpu: &GpuContext, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
        let mut spare = locked(&self.spare);
        match spare.iter().position(|buffer| buffer.size() >= bytes) {
            Some(index) => Ok(spare.swap_remove(index)),
            None => {
                // A larger one takes the place of one that is too small.
                spare.pop();
                drop(spare);
                gpu.buffer("results", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)
            }
        }
    }

    /// Keeps an unmapped buffer for another frame.
    pub(crate) fn give_back(&self, buffer: wgpu::Buffer) {
        let mut spare = locked(&self.spare);
        if spare.len() < MOST_SPARE {
            spare.push(buffer);
        }
    }

    /// Bytes of the buffers that wait for a frame.
    pub(crate) fn bytes(&self) -> u64 {
        locked(&self.spare).iter().map(wgpu::Buffer::size).sum()
    }
}

pub(super) fn failed(reason: &str) -> GpuError {
    GpuError::Driver { what: "read results back", reason: one_line(reason) }
}

type Outcome = Option<Result<(), wgpu::BufferAsyncError>>;

/// The result of mapping a buffer, after waiting for the device.
pub(super) struct Mapping {
    shared: Arc<(Mutex<Outcome>, Condvar)>,
}

pub(super) fn map(buffer: &wgpu::Buffer) -> Mapping {
    let shared = Arc::new((Mutex::new(None), Condvar::new()));
    let told = shared.clone();
    buffer.map_async(wgpu::MapMode::Read, .., move |outcome| {
        *locked(&told.0) = Some(outcome);
        told.1.notify_all();
    });
    Mapping { shared }
}

impl Mapping {
    /// Where several threads wait for the device, one of them may be told of all mappings, and passes them on a moment
    /// after the others' waits ended.
    pub(crate) fn outcome(&self) -> Result<(), GpuError> {
        let (outcome, told) = &*self.shared;
        let waited = told.wait_timeout_while(locked(outcome), PATIENCE, |outcome| outcome.is_none());
        let (outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(failed(&error.to_string())),
            None => Err(failed("the device did not answer")),
        }
    }
}
