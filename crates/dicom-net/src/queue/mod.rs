//! The queue on disk. A job is an instance, named after its SOP Instance UID; the folder that it is in is its state, and it
//! changes state by one rename.
//!
//! ```text
//! incoming/N.part         being received; removed at a start
//! received/UID.dcm        received and answered with success; waits for the handler
//! work/UID/               being written by the handler; removed at a start
//! ready/UID/001.dcm ...   results, with the UIDs that they keep; to-AET@HOST.json says what a destination has
//! done/UID                all destinations have the results: an instance that comes again is known
//! failed/UID/             what could not be segmented or delivered, with reason.txt
//! ```
//!
//! Files are written beside, flushed to the disk, and renamed; then their folder is flushed. A crash repeats at most the last
//! step: a later state wins over an earlier one of the same name.

mod delivery;
mod disk;
mod reception;
mod recovery;

pub(crate) use delivery::{Delivery, Shipment};
pub(crate) use reception::{Outcome, Reception};

use crate::address::Destination;
use delivery::{Progress, ReadyJob};
use disk::{remove_folder, sync_folder};
use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FOLDERS: [&str; 6] = ["incoming", "received", "work", "ready", "done", "failed"];
pub(crate) const REASON: &str = "reason.txt";

/// Why a queue cannot be used or an instance not be queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum QueueError {
    #[error("{}: the queue cannot be used ({source}); check the folder and the disk", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: another node uses this queue; stop it, or choose another folder", .0.display())]
    InUse(PathBuf),
    #[error("the queue is full: {0} instances wait")]
    Full(usize),
}

/// What a queue keeps.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// The most instances that wait for the handler or for a destination.
    pub jobs: usize,
    /// How long an instance is known after its results were delivered.
    pub remember: Duration,
    /// After how many crashes within its handler an instance has failed.
    pub crashes: u32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { jobs: 10_000, remember: Duration::from_secs(30 * 24 * 3600), crashes: 5 }
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    processing: Option<String>,
    ready: Vec<ReadyJob>,
    done: HashSet<String>,
}

impl State {
    fn jobs(&self) -> usize {
        self.waiting.len() + self.ready.len() + usize::from(self.processing.is_some())
    }

    fn knows(&self, id: &str) -> bool {
        self.processing.as_deref() == Some(id)
            || self.done.contains(id)
            || self.ready.iter().any(|job| job.id == id)
            || self.waiting.iter().any(|waiting| waiting == id)
    }
}

/// Jobs on disk. One process at a time uses a queue.
pub(crate) struct Queue {
    root: PathBuf,
    options: QueueOptions,
    destinations: Vec<Destination>,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether results are done only with a commitment to keep them.
    commits: bool,
    next_part: AtomicU64,
    /// Jobs that were done.
    pub(crate) done: AtomicU64,
    /// Held until the end.
    _lock: File,
}

impl Queue {
    /// Opens a folder, created where it is missing, and takes up what an earlier node left in it. Results go to all
    /// `destinations`.
    ///
    /// # Errors
    /// The folder cannot be written to, or another node uses it.
    pub(crate) fn open(
        root: &Path,
        options: QueueOptions,
        destinations: &[Destination],
        commits: bool,
    ) -> Result<Self, QueueError> {
        let failed = |source| QueueError::Io { path: root.into(), source };
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(QueueError::InUse(root.into())),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let queue = Self {
            root: root.into(),
            options,
            destinations: destinations.to_vec(),
            state: Mutex::default(),
            changed: Condvar::new(),
            commits,
            next_part: AtomicU64::new(0),
            done: AtomicU64::new(0),
            _lock: lock,
        };
        queue.recover().map_err(failed)?;
        Ok(queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn received(&self, id: &str) -> PathBuf {
        self.root.join("received").join(format!("{id}.dcm"))
    }

    fn attempts(&self, id: &str) -> PathBuf {
        self.root.join("received").join(format!("{id}.attempts"))
    }

    /// Writes a file completely or not at all; what a crash leaves of it is removed at the next start.
    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        disk::replace(path, contents, &self.folder("work"))
    }

    /// Instances and results that are not delivered yet.
    pub(crate) fn jobs(&self) -> usize {
        self.state().jobs()
    }

    /// Waits for a change, up to `patience`.
    pub(crate) fn wait(&self, patience: Duration) {
        let state = self.state();
        drop(self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// The next instance for the handler, and the file that holds it. Instances that crashed the node too often have failed.
    pub(crate) fn next(&self) -> io::Result<Option<(String, PathBuf)>> {
        loop {
            let Some(id) = self.state().waiting.pop_front() else { return Ok(None) };
            self.state().processing = Some(id.clone());
            let attempts =
                fs::read_to_string(self.attempts(&id)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if attempts >= self.options.crashes {
                let reason = format!("the node ended {attempts} times while it segmented this instance");
                if let Err(error) = self.fail(&id, &reason) {
                    self.put_back(&id);
                    return Err(error);
                }
                continue;
            }
            // Without the mark an instance is only tried more often.
            let _ = fs::write(self.attempts(&id), (attempts + 1).to_string());
            let path = self.received(&id);
            return Ok(Some((id, path)));
        }
    }

    /// An empty folder for a job's results.
    pub(crate) fn work_folder(&self, id: &str) -> io::Result<PathBuf> {
        let folder = self.folder("work").join(id);
        remove_folder(&folder)?;
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Keeps an instance that could not be processed now, behind the others.
    pub(crate) fn put_back(&self, id: &str) {
        let _ = fs::remove_file(self.attempts(id));
        let mut state = self.state();
        state.processing = None;
        state.waiting.push_back(id.to_string());
    }

    /// Keeps the results of an instance, of the names that the handler gave them in the work folder, and forgets the
    /// instance. From here on their UIDs stay.
    pub(crate) fn finish(&self, id: &str, results: &[PathBuf]) -> io::Result<()> {
        let folder = self.folder("work").join(id);
        let mut kept = HashSet::new();
        for (index, path) in results.iter().enumerate() {
            let name = format!("{:03}.dcm", index + 1);
            let target = folder.join(&name);
            if *path != target {
                fs::rename(path, &target)?;
            }
            File::open(&target)?.sync_all()?;
            kept.insert(name);
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !kept.contains(&*entry.file_name().to_string_lossy()) {
                disk::remove(&entry.path())?;
            }
        }
        let results = delivery::results_in(&folder)?;
        sync_folder(&folder)?;
        let ready = self.folder("ready").join(id);
        fs::rename(&folder, &ready)?;
        // It is done, whatever happens from here on.
        if let Err(error) = sync_folder(&self.folder("ready")) {
            log::warn!("{}: cannot be flushed ({error})", ready.display());
        }
        // A file that stays here is removed at the next start.
        let _ = fs::remove_file(self.attempts(id));
        let _ = fs::remove_file(self.received(id));
        let results = results.into_iter().map(|result| result.moved_to(&ready)).collect();
        let mut state = self.state();
        state.processing = None;
        state.ready.push(ReadyJob::new(id, results, &self.destinations));
        drop(state);
        self.wake();
        Ok(())
    }

    /// Moves what is complete to `done`, which a full disk may have prevented before.
    pub(crate) fn settle_complete(&self) {
        let mut state = self.state();
        let complete = state.ready.iter().filter(|job| job.is_settled()).map(|job| job.id.clone());
        for id in complete.collect::<Vec<_>>() {
            if let Err(error) = self.settle(&mut state, &id) {
                log::debug!("{id} is delivered, and that cannot be recorded ({error})");
            }
        }
    }

    /// Sets an instance aside that cannot be segmented.
    pub(crate) fn fail(&self, id: &str, reason: &str) -> io::Result<()> {
        let folder = self.folder("failed").join(id);
        remove_folder(&folder)?;
        fs::create_dir(&folder)?;
        self.replace(&folder.join(REASON), format!("{reason}\n").as_bytes())?;
        match fs::rename(self.received(id), folder.join("source.dcm")) {
            // Somebody took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => log::warn!("{id} is gone from the queue"),
            renamed => renamed?,
        }
        for changed in [&folder, &self.folder("failed")] {
            if let Err(error) = sync_folder(changed) {
                log::warn!("{}: cannot be flushed ({error})", changed.display());
            }
        }
        let _ = fs::remove_file(self.attempts(id));
        let _ = remove_folder(&self.folder("work").join(id));
        let mut state = self.state();
        state.processing = None;
        Ok(())
    }

    /// Sets results aside that a destination does not take.
    pub(crate) fn fail_results(&self, id: &str, reason: &str) -> io::Result<()> {
        let mut state = self.state();
        let Some(at) = state.ready.iter().position(|job| job.id == id) else { return Ok(()) };
        let (from, to) = (self.folder("ready").join(id), self.folder("failed").join(id));
        self.replace(&from.join(REASON), format!("{reason}\n").as_bytes())?;
        remove_folder(&to)?;
        fs::rename(&from, &to)?;
        state.ready.remove(at);
        sync_folder(&self.folder("failed"))
    }

    /// The oldest results that a destination lacks and that are due.
    pub(crate) fn next_shipment(&self, destination: usize) -> Option<Shipment> {
        let now = Instant::now();
        let state = self.state();
        state.ready.iter().find_map(|job| {
            let progress = job.progress.get(destination)?;
            let is_due = progress.due <= now && !progress.settled;
            is_due.then(|| Shipment {
                id: job.id.clone(),
                results: job.results.clone(),
                delivery: progress.delivery.clone(),
            })
        })
    }

    /// Whether a destination lacks results of a job.
    pub(crate) fn is_undelivered(&self, id: &str, destination: usize) -> bool {
        let state = self.state();
        let job = state.ready.iter().find(|job| job.id == id);
        job.and_then(|job| job.progress.get(destination)).is_some_and(|progress| !progress.settled)
    }

    /// Changes and keeps what is known about a delivery; the job is done when all destinations have all.
    pub(crate) fn record(&self, id: &str, destination: usize, change: impl FnOnce(&mut Progress)) -> io::Result<()> {
        let mut state = self.state();
        let Some(job) = state.ready.iter_mut().find(|job| job.id == id) else { return Ok(()) };
        let Some(progress) = job.progress.get_mut(destination) else { return Ok(()) };
        change(progress);
        progress.settled = progress.delivery.is_complete(&job.results, self.commits);
        let kept = self.keep(id, destination, &progress.delivery);
        self.settle(&mut state, id)?;
        kept
    }

    fn keep(&self, id: &str, destination: usize, delivery: &Delivery) -> io::Result<()> {
        let Some(to) = self.destinations.get(destination) else { return Ok(()) };
        let text = serde_json::to_vec(delivery).map_err(io::Error::other)?;
        self.replace(&self.folder("ready").join(id).join(to.file_name()), &text)
    }

    /// Takes up a report on storage commitment by the title `from`. Returns the number of kept results, or `None` where
    /// the transaction is unknown.
    pub(crate) fn report(&self, report: &crate::commitment::Report, from: &str) -> io::Result<Option<usize>> {
        let found = {
            let state = self.state();
            state.ready.iter().find_map(|job| {
                let of = |(at, progress): (usize, &Progress)| {
                    let to = self.destinations.get(at)?;
                    let asked = progress.delivery.transactions.contains(&report.transaction);
                    (asked && to.title.as_str() == from).then_some(at)
                };
                job.progress.iter().enumerate().find_map(of).map(|at| (job.id.clone(), at))
            })
        };
        let Some((id, destination)) = found else { return Ok(None) };
        let mut kept = 0;
        self.record(&id, destination, |progress| {
            let delivery = &mut progress.delivery;
            for instance in report.kept.iter().filter(|instance| delivery.sent.contains(*instance)) {
                kept += usize::from(delivery.committed.insert(instance.clone()));
            }
            for instance in &report.failed {
                // Sent again, with the same UID.
                if delivery.sent.remove(instance) {
                    delivery.refusals += 1;
                }
            }
            // At once, or later each time that it is not kept.
            progress.due = Instant::now() + Duration::from_secs((1 << delivery.refusals.min(8)) - 1);
        })?;
        self.wake();
        Ok(Some(kept))
    }

    /// Moves a job to `done` if every destination has its results.
    fn settle(&self, state: &mut State, id: &str) -> io::Result<()> {
        let Some(at) = state.ready.iter().position(|job| job.id == id) else { return Ok(()) };
        let job = &state.ready[at];
        if !job.is_settled() {
            return Ok(());
        }
        let results: Vec<&str> = job.results.iter().map(|result| result.sop_instance.as_str()).collect();
        let to: Vec<String> = self.destinations.iter().map(ToString::to_string).collect();
        let record = serde_json::json!({ "results": results, "sent_to": to });
        self.replace(&self.folder("done").join(id), record.to_string().as_bytes())?;
        // What stays of the folder is removed at the next start.
        let _ = disk::discard(&self.folder("ready").join(id), &self.folder("work"));
        state.ready.remove(at);
        state.done.insert(id.to_string());
        self.done.fetch_add(1, Ordering::Relaxed);
        log::info!("{id} is done");
        Ok(())
    }
}
