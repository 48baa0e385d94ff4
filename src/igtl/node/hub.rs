//! The connected peers, the frames in progress, and messages to all peers.

use super::counters::{Counters, count};
use super::names::ResultNames;
use super::outbox::Slot;
use super::peer::Peer;
use super::{LAST_WORDS, NodeOptions};
use crate::igtl::{Envelope, ImageHeader, Outgoing, Status, Timestamp, status_code};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most frames between the stream's input and its output, whatever the number of peers that submit.
const MAX_FRAMES: usize = 64;
/// The number of used message buffers that are kept for reuse.
const MAX_BUFFERS: usize = 64;

/// Data about a frame's message that its results need.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameOrigin {
    /// The peer that sent it.
    pub peer: u64,
    pub message_id: u32,
    pub timestamp: Timestamp,
    /// The timestamp, or where there is none, when the frame arrived; microseconds since 1970.
    pub timestamp_us: u64,
    pub image: ImageHeader,
}

pub(super) struct Hub {
    pub options: NodeOptions,
    pub names: ResultNames,
    pub counters: Counters,
    peers: Mutex<Vec<Arc<Peer>>>,
    frames: Mutex<Frames>,
    buffers: Mutex<Vec<Arc<Vec<u8>>>>,
    /// The current prompts.
    prompts: Mutex<Vec<String>>,
    stopping: AtomicBool,
    stopped: OnceLock<String>,
    next_peer: AtomicU64,
}

#[derive(Default)]
struct Frames {
    next_ticket: u64,
    under_way: VecDeque<(u64, FrameOrigin)>,
}

impl Hub {
    pub(crate) fn new(options: NodeOptions, names: ResultNames, prompts: &[&str]) -> Self {
        Self {
            options,
            names,
            counters: Counters::default(),
            peers: Mutex::default(),
            frames: Mutex::default(),
            buffers: Mutex::default(),
            prompts: Mutex::new(prompts.iter().map(|prompt| prompt.to_string()).collect()),
            stopping: AtomicBool::new(false),
            stopped: OnceLock::new(),
            next_peer: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Records that the stream has stopped for good.
    pub(crate) fn give_up(&self, reason: &str) {
        if self.stopped.set(reason.into()).is_ok() {
            self.tell_everybody(&Status::new(status_code::UNKNOWN_ERROR, format!("segmenting has stopped: {reason}")));
        }
    }

    pub(crate) fn next_peer_id(&self) -> u64 {
        self.next_peer.fetch_add(1, Ordering::Relaxed)
    }

    /// Admits a peer; `false` where there are too many.
    pub(crate) fn admit(&self, peer: &Arc<Peer>) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let there_is_room = peers.len() < self.options.max_peers;
        count(if there_is_room { &self.counters.connections } else { &self.counters.turned_away });
        if there_is_room {
            peers.push(peer.clone());
        }
        there_is_room
    }

    pub(crate) fn dismiss(&self, peer: &Peer) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other.id() != peer.id());
    }

    pub(crate) fn peer_count(&self) -> usize {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The recipients of a frame's results: its sender, and all peers that never sent a frame.
    pub(crate) fn recipients(&self, sender: u64) -> Vec<Arc<Peer>> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.iter().filter(|peer| peer.id() == sender || !peer.sends_frames()).cloned().collect()
    }

    /// Keeps a frame's origin until its result, and returns the ticket by which the result finds it.
    pub(crate) fn note_frame(&self, origin: FrameOrigin) -> u64 {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = frames.next_ticket;
        frames.next_ticket += 1;
        // Origins of frames that newer ones replaced.
        if frames.under_way.len() >= MAX_FRAMES {
            frames.under_way.pop_front();
        }
        frames.under_way.push_back((ticket, origin));
        ticket
    }

    pub(crate) fn take_frame(&self, ticket: u64) -> Option<FrameOrigin> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let place = frames.under_way.iter().position(|(other, _)| *other == ticket)?;
        frames.under_way.remove(place).map(|(_, origin)| origin)
    }

    pub(crate) fn prompts(&self) -> Vec<String> {
        self.prompts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_prompts(&self, prompts: Vec<String>) {
        *self.prompts.lock().unwrap_or_else(PoisonError::into_inner) = prompts;
    }

    /// A buffer with the output of `write`, in the memory of an earlier message where possible.
    pub(crate) fn buffer(&self, write: impl FnOnce(&mut Vec<u8>)) -> Arc<Vec<u8>> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        // A buffer that is no longer in use.
        let free = buffers.iter_mut().position(|buffer| Arc::get_mut(buffer).is_some());
        let mut buffer = free.map_or_else(Arc::default, |place| buffers.swap_remove(place));
        drop(buffers);
        if let Some(bytes) = Arc::get_mut(&mut buffer) {
            bytes.clear();
            write(bytes);
        }
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < MAX_BUFFERS {
            buffers.push(buffer.clone());
        }
        buffer
    }

    pub(crate) fn status_message(&self, version: u16, status: &Status) -> Arc<Vec<u8>> {
        let envelope = Envelope { version, ..Envelope::new(self.names.status(), Timestamp::now()) };
        self.buffer(|out| envelope.write(Outgoing::Status(status), out))
    }

    fn tell_everybody(&self, status: &Status) {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for peer in peers {
            peer.outbox().push(Slot::Reply, self.status_message(peer.version(), status));
        }
    }

    /// Sends the last message to every peer.
    pub(crate) fn say_goodbye(&self) {
        self.tell_everybody(&Status::new(status_code::EXITING, "the node ends"));
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        peers.iter().for_each(|peer| peer.outbox().close(LAST_WORDS));
    }
}
