//! Accepts peers, or connects to them repeatedly; and the threads that serve them.

use super::peer::Peer;
use super::{LOOK_AROUND, Shared, join, requests, spawn};
use crate::igtl::connect::{FIRST_RETRY, LAST_RETRY, reach};
use crate::igtl::{Status, status_code};
use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The interval between two checks for new connections.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(20);

/// The threads of all connections.
#[derive(Default)]
pub(super) struct Connections {
    readers: Mutex<Vec<JoinHandle<()>>>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

impl Connections {
    /// Keeps a thread that accepts, connects or reads.
    pub(crate) fn keep(&self, thread: JoinHandle<()>) {
        keep(&self.readers, thread);
    }

    /// Waits for all threads that accept, connect or read.
    pub(crate) fn join_readers(&self) {
        join_all(&self.readers);
    }

    /// Waits for all threads that write.
    pub(crate) fn join_writers(&self) {
        join_all(&self.writers);
    }
}

/// Adds a thread and forgets those that have ended, so that their number stays that of the connections.
fn keep(threads: &Mutex<Vec<JoinHandle<()>>>, thread: JoinHandle<()>) {
    let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
}

fn join_all(threads: &Mutex<Vec<JoinHandle<()>>>) {
    // A thread that is about to end may have started another.
    loop {
        let batch = std::mem::take(&mut *threads.lock().unwrap_or_else(PoisonError::into_inner));
        if batch.is_empty() {
            return;
        }
        batch.into_iter().for_each(join);
    }
}

/// Accepts peers until the node stops.
pub(super) fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while !shared.hub.is_stopping() {
        match listener.accept() {
            Ok((socket, address)) => {
                if let Err(error) = welcome(shared, socket) {
                    log::warn!("{address}: the connection is not served ({error})");
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(ACCEPT_INTERVAL),
            Err(error) => {
                // For example out of file handles, which is temporary.
                log::warn!("a connection was not accepted ({error})");
                thread::sleep(LOOK_AROUND);
            }
        }
    }
}

fn welcome(shared: &Arc<Shared>, socket: TcpStream) -> io::Result<()> {
    let Some(peer) = open(shared, socket)? else { return Ok(()) };
    let of_reader = shared.clone();
    let of_thread = peer.clone();
    let reader = spawn("causalclipseg-read", move || {
        serve(&of_reader, &of_thread);
    });
    match reader {
        Ok(reader) => shared.connections.keep(reader),
        Err(error) => {
            shared.hub.dismiss(&peer);
            peer.outbox().close(Duration::ZERO);
            return Err(error);
        }
    }
    Ok(())
}

/// Connects, serves, and connects again, until the node stops.
pub(super) fn connect(shared: &Arc<Shared>, address: &str) {
    let mut wait = FIRST_RETRY;
    while !shared.hub.is_stopping() {
        match reach(address).and_then(|socket| open(shared, socket)) {
            Ok(Some(peer)) => {
                log::info!("connected to {address}");
                if serve(shared, &peer) {
                    wait = FIRST_RETRY;
                }
                if !shared.hub.is_stopping() {
                    log::warn!("the connection to {address} has ended; connecting again");
                }
            }
            Ok(None) => {}
            Err(error) => log::warn!("{address} can't be reached ({error}); trying again in {} ms", wait.as_millis()),
        }
        let begun = Instant::now();
        while begun.elapsed() < wait && !shared.hub.is_stopping() {
            thread::sleep(LOOK_AROUND.min(wait));
        }
        wait = (wait * 2).min(LAST_RETRY);
    }
}

/// Admits a peer and starts its writer; `None` where there are too many.
fn open(shared: &Arc<Shared>, socket: TcpStream) -> io::Result<Option<Arc<Peer>>> {
    let hub = &shared.hub;
    let peer = Arc::new(Peer::new(hub.next_peer_id(), socket)?);
    if !hub.admit(&peer) {
        let limit = hub.options.max_peers;
        log::warn!("{}: refused, there are {limit} peers already", peer.address());
        let status = Status::new(status_code::BUSY, format!("{limit} peers are connected already: try again later"));
        // The peer need not read it.
        let _ = peer.socket().write_all(&hub.status_message(1, &status));
        return Ok(None);
    }
    let (of_writer, writing) = (shared.clone(), peer.clone());
    match spawn("causalclipseg-write", move || writing.write(&of_writer.hub)) {
        Ok(writer) => {
            keep(&shared.connections.writers, writer);
            Ok(Some(peer))
        }
        Err(error) => {
            hub.dismiss(&peer);
            Err(error)
        }
    }
}

/// Reads from a peer until it or the node ends. Returns whether it sent anything.
fn serve(shared: &Shared, peer: &Arc<Peer>) -> bool {
    let any = requests::read(shared, peer);
    if !shared.hub.is_stopping() {
        shared.hub.dismiss(peer);
        // A reply may still be waiting to be sent.
        peer.outbox().close(LOOK_AROUND);
    }
    any
}
