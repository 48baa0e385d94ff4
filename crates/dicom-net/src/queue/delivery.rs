//! What each destination has of a job's results.

use crate::address::Destination;
use crate::instance::InstanceFile;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

/// The most transactions whose reports are still awaited for one job.
const MAX_TRANSACTIONS: usize = 16;

/// What is known about a job's results at one destination; kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Delivery {
    /// UIDs of results that the destination answered with success.
    pub sent: BTreeSet<String>,
    /// Those that it committed to keep.
    pub committed: BTreeSet<String>,
    /// Requests for commitment, the newest last.
    pub transactions: Vec<String>,
    /// How often commitment was requested without a report since.
    pub requests: u32,
    /// How often a result was refused.
    pub refusals: u32,
    /// No commitment is waited for: the destination offers none, or does not report.
    pub uncommitted: bool,
}

impl Delivery {
    pub(crate) fn all_sent(&self, results: &[InstanceFile]) -> bool {
        results.iter().all(|result| self.sent.contains(&result.sop_instance))
    }

    pub(crate) fn is_complete(&self, results: &[InstanceFile], commits: bool) -> bool {
        let committed = || results.iter().all(|result| self.committed.contains(&result.sop_instance));
        self.all_sent(results) && (!commits || self.uncommitted || committed())
    }

    pub(crate) fn add_transaction(&mut self, uid: &str) {
        self.transactions.push(uid.to_string());
        if self.transactions.len() > MAX_TRANSACTIONS {
            self.transactions.remove(0);
        }
        self.requests += 1;
    }
}

/// A delivery, and when it goes on.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub delivery: Delivery,
    pub due: Instant,
    /// Whether the destination has all.
    pub settled: bool,
}

/// Results, and their progress at each destination.
pub(super) struct ReadyJob {
    pub id: String,
    pub results: Vec<InstanceFile>,
    pub progress: Vec<Progress>,
}

impl ReadyJob {
    pub(super) fn new(id: &str, results: Vec<InstanceFile>, destinations: &[Destination]) -> Self {
        // Without results there is nothing to send.
        let settled = results.is_empty();
        let fresh = || Progress { delivery: Delivery::default(), due: Instant::now(), settled };
        Self { id: id.into(), results, progress: destinations.iter().map(|_| fresh()).collect() }
    }

    /// Whether all destinations have all.
    pub(super) fn is_settled(&self) -> bool {
        self.progress.iter().all(|progress| progress.settled)
    }

    /// Takes up what an earlier node knew.
    pub(super) fn restore(&mut self, folder: &Path, destinations: &[Destination], commits: bool) {
        for (progress, to) in self.progress.iter_mut().zip(destinations) {
            let known = fs::read(folder.join(to.file_name())).ok();
            // A file that cannot be read costs a repeated delivery of the same instances.
            progress.delivery = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            // It may be fixed by now.
            progress.delivery.refusals = 0;
            progress.settled = progress.delivery.is_complete(&self.results, commits);
        }
    }
}

/// What is sent to a destination.
#[derive(Clone, Debug)]
pub(crate) struct Shipment {
    pub id: String,
    pub results: Vec<InstanceFile>,
    pub delivery: Delivery,
}

/// The results in a job's folder, in their order.
pub(super) fn results_in(folder: &Path) -> io::Result<Vec<InstanceFile>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "dcm") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| InstanceFile::open(path)).collect()
}
