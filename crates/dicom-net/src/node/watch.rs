//! Takes the files of a folder once they are completely written.
//!
//! A file is complete when its size and time have not changed for a while. Files that are taken move to `done` within the
//! folder, bad ones to `failed`, with the reason beside them.

use crate::queue::{Outcome, Queue, QueueError};
use crate::statistics::{Counters, count};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

const DONE: &str = "done";
const FAILED: &str = "failed";
/// Endings of files that programs are still writing.
const UNFINISHED: [&str; 6] = ["part", "partial", "tmp", "temp", "crdownload", "filepart"];
/// The most files that are looked at in one pass.
const MAX_FILES: usize = 10_000;

/// The SOP Instance UID of a file, or why it cannot be processed.
type Identify = dyn Fn(&Path) -> Result<String, String> + Send + Sync;

/// A folder to watch.
#[derive(Clone)]
pub struct WatchOptions {
    /// The folder; folders in it are not looked into.
    pub folder: PathBuf,
    /// How long a file must not change before it is taken.
    pub settle: Duration,
    /// How often the folder is looked at.
    pub interval: Duration,
    /// Reads a file as far as its UID.
    pub identify: Arc<Identify>,
}

/// A file that may still be written.
struct Seen {
    length: u64,
    changed: Option<SystemTime>,
    since: Instant,
}

pub(super) struct Watcher {
    options: WatchOptions,
    limit: u64,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
}

/// Why a file is not taken.
enum Refusal {
    /// It is bad.
    File(String),
    /// The queue has no room; the file stays.
    Queue(QueueError),
}

impl Watcher {
    pub(super) fn new(
        options: WatchOptions,
        limit: u64,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        for name in [DONE, FAILED] {
            fs::create_dir_all(options.folder.join(name))?;
        }
        Ok(Self { options, limit, queue, counters, stop })
    }

    pub(super) fn run(&self) {
        let mut seen = HashMap::new();
        let mut complained = false;
        while !self.stop.load(Ordering::Acquire) {
            match self.pass(&mut seen) {
                Ok(()) => complained = false,
                // Once, not every second.
                Err(error) if !complained => {
                    complained = true;
                    log::warn!("{}: {error}; its files wait", self.options.folder.display());
                }
                Err(_) => {}
            }
            let until = Instant::now() + self.options.interval;
            while Instant::now() < until && !self.stop.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(50).min(self.options.interval));
            }
        }
    }

    fn pass(&self, seen: &mut HashMap<OsString, Seen>) -> Result<(), String> {
        let entries = fs::read_dir(&self.options.folder).map_err(|error| format!("cannot be read ({error})"))?;
        let mut present = HashMap::new();
        for entry in entries.flatten().take(MAX_FILES) {
            // Links may lead anywhere.
            if let Ok(metadata) = entry.path().symlink_metadata()
                && metadata.is_file()
                && !is_unfinished(&entry.path())
            {
                present.insert(entry.file_name(), metadata);
            }
        }
        seen.retain(|name, _| present.contains_key(name));
        let mut names: Vec<_> = present.into_iter().collect();
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, metadata) in names {
            if self.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            if self.is_settled(seen, &name, &metadata) {
                self.take(&self.options.folder.join(&name), &metadata)?;
                seen.remove(&name);
            }
        }
        Ok(())
    }

    fn is_settled(&self, seen: &mut HashMap<OsString, Seen>, name: &OsString, metadata: &Metadata) -> bool {
        let (length, changed) = (metadata.len(), metadata.modified().ok());
        match seen.get(name) {
            Some(known) if known.length == length && known.changed == changed => {
                known.since.elapsed() >= self.options.settle
            }
            _ => {
                seen.insert(name.clone(), Seen { length, changed, since: Instant::now() });
                false
            }
        }
    }

    fn take(&self, path: &Path, metadata: &Metadata) -> Result<(), String> {
        match self.enqueue(path, metadata) {
            Ok(outcome) => {
                count(if outcome == Outcome::Queued { &self.counters.received } else { &self.counters.duplicates });
                log::info!("{} is queued", path.display());
                self.aside(path, DONE).map(drop)
            }
            Err(Refusal::Queue(error)) => Err(error.to_string()),
            Err(Refusal::File(reason)) => {
                count(&self.counters.failed);
                log::error!("{}: {reason}; it is moved to `{FAILED}`", path.display());
                let moved = self.aside(path, FAILED)?;
                let mut beside = moved.into_os_string();
                beside.push(".reason.txt");
                fs::write(&beside, format!("{reason}\n"))
                    .map_err(|error| format!("the reason cannot be written ({error})"))
            }
        }
    }

    fn enqueue(&self, path: &Path, metadata: &Metadata) -> Result<Outcome, Refusal> {
        let bad = |error: io::Error| match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Refusal::Queue(QueueError::Io { path: path.into(), source: error })
            }
            _ => Refusal::File(format!("cannot be read ({error})")),
        };
        if metadata.len() > self.limit {
            return Err(Refusal::File(format!("has {} bytes, more than the limit of {}", metadata.len(), self.limit)));
        }
        let instance = (self.options.identify)(path).map_err(Refusal::File)?;
        let instance =
            crate::uid::checked(&instance).ok_or_else(|| Refusal::File("its SOP Instance UID is not one".into()))?;
        let mut reception = self.queue.receive(instance).map_err(Refusal::Queue)?;
        let mut file = File::open(path).map_err(bad)?.take(self.limit);
        io::copy(&mut file, &mut reception).map_err(bad)?;
        reception.finish().map_err(Refusal::Queue)
    }

    /// Moves a file into a folder within the watched one, under a name that is free there.
    fn aside(&self, path: &Path, folder: &str) -> Result<PathBuf, String> {
        let folder = self.options.folder.join(folder);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let free = (0..10_000).map(|number| match number {
            0 => folder.join(&name),
            _ => folder.join(format!("{number}-{name}")),
        });
        let target = free.into_iter().find(|target| target.symlink_metadata().is_err()).unwrap_or(folder.join(&name));
        let failed = |error| format!("{} cannot be moved to {} ({error})", path.display(), folder.display());
        fs::create_dir_all(&folder).and_then(|()| fs::rename(path, &target)).map_err(failed)?;
        Ok(target)
    }
}

fn is_unfinished(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    hidden || ending.is_some_and(|ending| UNFINISHED.contains(&ending.as_str()))
}
