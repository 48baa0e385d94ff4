//! A node: peers send images and prompts, and receive masks, contours, reports and heartbeats.
//!
//! ```text
//! peer's reader thread --frame--> Segmenter (the stream's thread) --mask, contours, report--> outbox --> peer's writer thread
//!        |                            ^                                                      (newest wins)
//!        +--------prompt--> prompt thread
//! ```
//!
//! No peer waits for another: each has a reader and a writer of its own. Frames that come too fast are replaced by
//! newer ones in the stream, results that a peer is too slow for are replaced by newer ones in its outbox.

mod connections;
mod counters;
mod delivery;
mod hub;
mod names;
mod outbox;
mod peer;
mod prompts;
mod requests;
mod segmenter;

pub use counters::NodeStatistics;
pub use segmenter::ReportLine;

use super::{DeviceName, Limits};
use crate::Model;
use crate::frame::Region;
use crate::stream::{StreamError, StreamOptions};
use connections::Connections;
use hub::Hub;
use names::ResultNames;
use prompts::PromptThread;
use segmenter::Segmenter;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often idle threads check whether the node stops.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How long sending the last results may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a [`Node`] treats its peers.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub limits: Limits,
    /// The first part of the device names of results: followed by `Mask`, `Contour` or `Report`, and from the second
    /// prompt on by its number. 1 to 11 characters of ASCII.
    pub name: String,
    /// The device whose STRING messages are prompts: all of them, one a line; with a number appended, only that one.
    pub prompt_device: String,
    /// The device whose images are segmented; `None`: any.
    pub image_device: Option<DeviceName>,
    /// The part of each frame that the network sees; `None`: all.
    pub region: Option<Region>,
    /// See [`super::FrameAssembler::new`].
    pub white: Option<f64>,
    /// The most connected peers; further ones are told that the node is busy.
    pub max_peers: usize,
    /// The interval between two STATUS messages to each peer.
    pub heartbeat: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            name: "Lesion".into(),
            prompt_device: "Prompt".into(),
            image_device: None,
            region: None,
            white: None,
            max_peers: 8,
            heartbeat: Duration::from_secs(2),
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("`{0}` is not a valid name for results: give 1 to 11 letters, digits or underscores")]
    Name(String),
    #[error("{0} prompts are more than the {max} that a node supports", max = prompts::MAX_PROMPTS)]
    Prompts(usize),
    #[error("a thread cannot be created ({0}): close other programs or raise the limit of threads")]
    Thread(#[from] std::io::Error),
}

/// Segments what its peers send until it is stopped; dropping it stops it.
pub struct Node {
    shared: Arc<Shared>,
    prompts: Option<JoinHandle<()>>,
}

/// The state that all threads of a node share.
struct Shared {
    hub: Arc<Hub>,
    segmenter: Segmenter,
    prompts: PromptThread,
    connections: Connections,
}

impl Node {
    /// Starts the stream; `models` and `stream` are as for [`crate::stream::Stream::start`], but all except the newest
    /// frame are always dropped and the largest frame is that of the limits. `observe` receives every report, a line of
    /// JSON, on the stream's thread.
    ///
    /// # Errors
    /// The stream refuses its settings, or names do not fit into a message.
    pub fn start(
        models: Vec<Arc<Model>>,
        prompts: &[&str],
        stream: StreamOptions,
        options: NodeOptions,
        observe: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, NodeError> {
        let names = ResultNames::new(&options.name).ok_or_else(|| NodeError::Name(options.name.clone()))?;
        if prompts.len() > prompts::MAX_PROMPTS {
            return Err(NodeError::Prompts(prompts.len()));
        }
        let hub = Arc::new(Hub::new(options, names, prompts));
        let segmenter = Segmenter::start(models, prompts, stream, hub.clone(), Box::new(observe))?;
        let (prompt_thread, requests) = PromptThread::new();
        let shared = Arc::new(Shared { hub, segmenter, prompts: prompt_thread, connections: Connections::default() });
        let of_thread = shared.clone();
        let prompts = spawn("causalclipseg-prompts", move || prompts::run(&of_thread, &requests))?;
        Ok(Self { shared, prompts: Some(prompts) })
    }

    /// Accepts peers from here on.
    ///
    /// # Errors
    /// The socket cannot be waited on, or a thread cannot be created.
    pub fn listen(&self, listener: TcpListener) -> Result<(), NodeError> {
        listener.set_nonblocking(true)?;
        let shared = self.shared.clone();
        let acceptor = spawn("causalclipseg-accept", move || connections::accept(&shared, &listener))?;
        self.shared.connections.keep(acceptor);
        Ok(())
    }

    /// Connects to `HOST:PORT`, and again whenever the connection ends or fails, at growing intervals up to 8 seconds.
    ///
    /// # Errors
    /// A thread cannot be created. An unreachable peer is not an error.
    pub fn connect(&self, address: String) -> Result<(), NodeError> {
        let shared = self.shared.clone();
        let connector = spawn("causalclipseg-connect", move || connections::connect(&shared, &address))?;
        self.shared.connections.keep(connector);
        Ok(())
    }

    /// Counts and latencies so far.
    pub fn statistics(&self) -> NodeStatistics {
        self.shared.hub.counters.snapshot(self.shared.segmenter.statistics(), self.shared.hub.peer_count())
    }

    /// The current prompts.
    pub fn prompts(&self) -> Vec<String> {
        self.shared.hub.prompts()
    }

    /// Why the stream stopped, if it did: nothing is segmented any more.
    pub fn stopped(&self) -> Option<&str> {
        self.shared.hub.stopped()
    }

    /// Segments the waiting frames, sends the results and a last STATUS, and ends.
    pub fn stop(mut self) -> NodeStatistics {
        self.end();
        self.statistics()
    }

    fn end(&mut self) {
        let Some(prompts) = self.prompts.take() else { return };
        let Shared { hub, segmenter, connections, .. } = &*self.shared;
        hub.begin_stop();
        connections.join_readers();
        join(prompts);
        segmenter.finish();
        hub.say_goodbye();
        connections.join_writers();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, std::io::Error> {
    thread::Builder::new().name(name.into()).spawn(run)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        log::error!("a thread of the OpenIGTLink node panicked");
    }
}
