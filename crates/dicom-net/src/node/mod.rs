//! A running node: threads that receive, process and send.

mod watch;
mod worker;

pub use watch::WatchOptions;

use crate::address::{AeTitle, Destination};
use crate::association::{Acceptor, Connector};
use crate::limits::Limits;
use crate::listener::Listener;
use crate::queue::{Queue, QueueError, QueueOptions};
use crate::sender::Sender;
use crate::sop::ULTRASOUND;
use crate::statistics::{Counters, NodeStatistics};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use watch::Watcher;
use worker::Worker;

/// Makes results of instances.
pub trait Handler: Send {
    /// Processes the instance in the file `instance`, and writes results into the empty folder `out`, each a DICOM file with
    /// a UID of its own. Returns their paths, in the order in which they are sent. What else is in the folder is removed.
    /// May be called again for the same instance after a crash, with the results of before removed.
    ///
    /// # Errors
    /// [`HandlerError`] says what becomes of the instance.
    fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError>;
}

/// Why an instance has no results.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// It cannot be processed: it is set aside with this reason.
    #[error("{0}")]
    Refused(String),
    /// It cannot be processed now, for example because the disk is full: it is tried again.
    #[error("{0}")]
    Later(String),
}

/// Whether destinations are asked to commit to keep results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commitment {
    /// Results are delivered when a destination answers their storage with success.
    Off,
    /// Results are delivered when the destination reports that it keeps them.
    Asked {
        /// Whether a destination must offer it. Where not, results count as delivered without it.
        is_required: bool,
        /// How long a report is awaited before it is asked for again.
        patience: Duration,
        /// How often it is asked for, where it is not required.
        requests: u32,
    },
}

impl Commitment {
    pub(crate) fn is_asked(self) -> bool {
        self != Self::Off
    }
}

/// What a node does.
#[derive(Clone)]
pub struct NodeOptions {
    /// This node's title, which peers call, and by which it calls.
    pub title: AeTitle,
    /// Titles of peers that may call; empty for any.
    pub callers: Vec<AeTitle>,
    /// UIDs of the transfer syntaxes in which instances are received.
    pub transfer_syntaxes: Vec<String>,
    /// Where all results are sent.
    pub destinations: Vec<Destination>,
    /// The queue's folder, and what it keeps.
    pub queue_folder: PathBuf,
    /// Bounds of the queue.
    pub queue: QueueOptions,
    /// Bounds on peers.
    pub limits: Limits,
    /// Whether results must be committed to.
    pub commitment: Commitment,
    /// The first delay after a failed attempt to send, and the longest; it doubles in between.
    pub retry: [Duration; 2],
    /// How often a destination may refuse a result before it is set aside.
    pub refusals: u32,
    /// A folder whose files are taken too.
    pub watch: Option<WatchOptions>,
    /// Encryption of associations that peers open.
    #[cfg(feature = "tls")]
    pub listen_tls: Option<Tls>,
    /// Encryption of associations with destinations.
    #[cfg(feature = "tls")]
    pub send_tls: Option<Tls>,
}

impl NodeOptions {
    /// The usual options of a node with this title and queue.
    pub fn new(title: AeTitle, queue_folder: impl Into<PathBuf>) -> Self {
        Self {
            title,
            callers: Vec::new(),
            transfer_syntaxes: vec![crate::sop::IMPLICIT.into(), crate::sop::EXPLICIT.into()],
            destinations: Vec::new(),
            queue_folder: queue_folder.into(),
            queue: QueueOptions::default(),
            limits: Limits::default(),
            commitment: Commitment::Asked { is_required: false, patience: Duration::from_secs(600), requests: 3 },
            retry: [Duration::from_secs(1), Duration::from_secs(300)],
            refusals: 10,
            watch: None,
            #[cfg(feature = "tls")]
            listen_tls: None,
            #[cfg(feature = "tls")]
            send_tls: None,
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NodeError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("{}: cannot be watched ({source}); create the folder or choose another", path.display())]
    Watch { path: PathBuf, source: io::Error },
    #[error("the system creates no thread ({0})")]
    Thread(io::Error),
}

/// A running node. Dropped, it ends as with [`Node::stop`].
pub struct Node {
    stop: Arc<AtomicBool>,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    address: Option<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    /// Opens the queue and starts to work; `listener` accepts the associations of peers.
    ///
    /// # Errors
    /// The queue or the watched folder cannot be used, or the system creates no threads.
    pub fn start(
        options: NodeOptions,
        listener: Option<TcpListener>,
        handler: impl Handler + 'static,
    ) -> Result<Self, NodeError> {
        let commits = options.commitment.is_asked();
        let queue = Queue::open(&options.queue_folder, options.queue.clone(), &options.destinations, commits)?;
        let mut node = Self {
            stop: Arc::default(),
            queue: Arc::new(queue),
            counters: Arc::default(),
            address: listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            threads: Vec::new(),
        };
        let worker = Worker {
            handler: Box::new(handler),
            queue: node.queue.clone(),
            counters: node.counters.clone(),
            stop: node.stop.clone(),
        };
        let watcher = options.watch.clone().map(|watch| node.watcher(watch, &options)).transpose()?;
        node.spawn("dicom-worker", move || worker.run())?;
        let connector = Connector {
            title: options.title.clone(),
            limits: options.limits.clone(),
            stop: node.stop.clone(),
            #[cfg(feature = "tls")]
            tls: options.send_tls,
        };
        for (destination, to) in options.destinations.into_iter().enumerate() {
            let sender = Sender {
                destination,
                to,
                connector: connector.clone(),
                commitment: options.commitment,
                retry: options.retry,
                refusals: options.refusals,
                queue: node.queue.clone(),
                counters: node.counters.clone(),
                stop: node.stop.clone(),
            };
            node.spawn("dicom-sender", move || sender.run())?;
        }
        if let Some(watcher) = watcher {
            node.spawn("dicom-watcher", move || watcher.run())?;
        }
        if let Some(listener) = listener {
            let acceptor = Acceptor {
                title: options.title,
                callers: options.callers,
                classes: ULTRASOUND.map(String::from).to_vec(),
                transfer_syntaxes: options.transfer_syntaxes,
                limits: options.limits,
            };
            let receiver = Arc::new(Listener {
                acceptor,
                queue: node.queue.clone(),
                counters: node.counters.clone(),
                stop: node.stop.clone(),
                #[cfg(feature = "tls")]
                tls: options.listen_tls,
            });
            node.spawn("dicom-listener", move || receiver.run(&listener))?;
        }
        Ok(node)
    }

    fn watcher(&self, watch: WatchOptions, options: &NodeOptions) -> Result<Watcher, NodeError> {
        let path = watch.folder.clone();
        let limit = options.limits.object_bytes;
        Watcher::new(watch, limit, self.queue.clone(), self.counters.clone(), self.stop.clone())
            .map_err(|source| NodeError::Watch { path, source })
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), NodeError> {
        let thread = thread::Builder::new().name(name.into()).spawn(work).map_err(NodeError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// The address on which associations are accepted.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Counts since the start.
    pub fn statistics(&self) -> NodeStatistics {
        self.counters.read(self.queue.done.load(Ordering::Relaxed), self.queue.jobs() as u64)
    }

    /// Whether a thread of the node has ended, which only a defect causes.
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished) && !self.stop.load(Ordering::Acquire)
    }

    /// Ends: accepts nothing more, and waits for the instance that is being processed. The rest stays in the queue.
    pub fn stop(mut self) -> NodeStatistics {
        self.end();
        self.statistics()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.queue.wake();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}
