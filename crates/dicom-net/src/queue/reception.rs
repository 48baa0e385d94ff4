//! Instances on their way into the queue.

use super::disk::sync_folder;
use super::{Queue, QueueError};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// An instance that is being received. Dropped, it leaves nothing.
pub(crate) struct Reception<'a> {
    queue: &'a Queue,
    id: String,
    part: PathBuf,
    file: Option<BufWriter<File>>,
}

/// What became of a received instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Queued,
    /// An instance of the same UID is in the queue, or was processed.
    Known,
}

impl Queue {
    /// Begins to receive the instance of this UID, which is the name of a file.
    pub(crate) fn receive(&self, instance: &str) -> Result<Reception<'_>, QueueError> {
        let jobs = self.jobs();
        if jobs >= self.options.jobs {
            return Err(QueueError::Full(jobs));
        }
        let number = self.next_part.fetch_add(1, Ordering::Relaxed);
        let part = self.folder("incoming").join(format!("{number}.part"));
        let file = File::create(&part).map_err(|source| QueueError::Io { path: part.clone(), source })?;
        Ok(Reception { queue: self, id: instance.into(), part, file: Some(BufWriter::with_capacity(1 << 17, file)) })
    }
}

impl Reception<'_> {
    /// Queues the instance. When this returns, it is on the disk.
    pub(crate) fn finish(mut self) -> Result<Outcome, QueueError> {
        self.keep().map_err(|source| QueueError::Io { path: self.part.clone(), source })
    }

    fn keep(&mut self) -> io::Result<Outcome> {
        if let Some(file) = self.file.take() {
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        }
        let mut state = self.queue.state();
        if state.knows(&self.id) {
            return Ok(Outcome::Known);
        }
        fs::rename(&self.part, self.queue.received(&self.id))?;
        sync_folder(&self.queue.folder("received"))?;
        state.waiting.push_back(self.id.clone());
        drop(state);
        self.queue.wake();
        Ok(Outcome::Queued)
    }
}

impl Write for Reception<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Reception<'_> {
    fn drop(&mut self) {
        // Renamed, it is there no more.
        let _ = fs::remove_file(&self.part);
    }
}
