//! Takes up the jobs that an earlier node left.

use super::delivery::{ReadyJob, results_in};
use super::{Queue, REASON, State, disk};
use crate::uid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

impl Queue {
    pub(super) fn recover(&self) -> io::Result<()> {
        for folder in ["incoming", "work"] {
            for (_, path) in entries(&self.folder(folder))? {
                disk::remove(&path)?;
            }
        }
        let mut state = self.state();
        self.forget_old(&mut state)?;
        for (id, path) in entries(&self.folder("ready"))? {
            if !path.is_dir() || uid::checked(&id).is_none() {
                continue;
            }
            if state.done.contains(&id) {
                disk::discard(&path, &self.folder("work"))?;
                continue;
            }
            // Set by hand: a failed delivery that is tried again.
            let _ = fs::remove_file(path.join(REASON));
            match results_in(&path) {
                Ok(results) if results.is_empty() => {
                    log::warn!("{}: a job without results; it is left alone", path.display());
                }
                Ok(results) => {
                    let mut job = ReadyJob::new(&id, results, &self.destinations);
                    job.restore(&path, &self.destinations, self.commits);
                    state.ready.push(job);
                }
                Err(error) => log::warn!("{}: its results cannot be read ({error}); it is left alone", path.display()),
            }
        }
        // Those whose last delivery was recorded just before the end.
        let ids: Vec<String> = state.ready.iter().map(|job| job.id.clone()).collect();
        for id in ids {
            self.settle(&mut state, &id)?;
        }
        for (name, path) in entries(&self.folder("received"))? {
            if let Some(id) = name.strip_suffix(".attempts")
                && !self.received(id).exists()
            {
                fs::remove_file(&path)?;
                continue;
            }
            let Some(id) = name.strip_suffix(".dcm").and_then(uid::checked) else { continue };
            // The step after this was the last one before the end.
            if state.knows(id) {
                fs::remove_file(&path)?;
                continue;
            }
            state.waiting.push_back(id.to_string());
        }
        if state.jobs() > 0 {
            log::info!("{} jobs of an earlier run are taken up", state.jobs());
        }
        Ok(())
    }

    /// Drops the records of instances that were done long ago.
    pub(crate) fn tidy(&self) {
        let mut state = self.state();
        if let Err(error) = self.forget_old(&mut state) {
            log::warn!("{}: old records cannot be removed ({error})", self.folder("done").display());
        }
    }

    fn forget_old(&self, state: &mut State) -> io::Result<()> {
        let oldest = SystemTime::now().checked_sub(self.options.remember);
        state.done.clear();
        for (id, path) in entries(&self.folder("done"))? {
            let changed = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::now());
            if oldest.is_some_and(|oldest| changed < oldest) {
                fs::remove_file(&path)?;
            } else if uid::checked(&id).is_some() {
                state.done.insert(id);
            }
        }
        Ok(())
    }
}

/// Names and paths in a folder, the oldest first.
fn entries(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let changed = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        entries.push((changed, entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    entries.sort();
    Ok(entries.into_iter().map(|(_, name, path)| (name, path)).collect())
}
