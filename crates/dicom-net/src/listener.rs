//! Receives: C-ECHO, C-STORE of ultrasound, and reports on storage commitment.

use crate::association::{Acceptor, Association, Received, turn_away};
use crate::command::{
    C_ECHO_RQ, C_STORE_RQ, CANNOT_UNDERSTAND, Command, N_EVENT_REPORT_RQ, OUT_OF_RESOURCES, PROCESSING_FAILURE,
    RESPONSE, SUCCESS, UNRECOGNIZED_OPERATION, WRONG_CLASS,
};
use crate::commitment::{self, MAX_REPORT_BYTES};
use crate::error::NetError;
use crate::instance::write_head;
use crate::queue::{Outcome, Queue, QueueError, Reception};
use crate::statistics::{Counters, count};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::wire::{Stream, Wire, prepare};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often the listener looks for connections and for its end.
const LOOK_AROUND: Duration = Duration::from_millis(20);
/// The most connections that are told that there are enough; more are closed at once.
const MAX_TURNED_AWAY: usize = 8;

/// What associations share.
pub(crate) struct Listener {
    pub acceptor: Acceptor,
    pub queue: Arc<Queue>,
    pub counters: Arc<Counters>,
    pub stop: Arc<AtomicBool>,
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

/// Counts a connection while it lives.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(counter: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(counter.clone());
        (counter.fetch_add(1, Ordering::AcqRel) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Listener {
    /// Accepts connections until the end.
    pub(crate) fn run(self: &Arc<Self>, listener: &TcpListener) {
        if let Err(error) = listener.set_nonblocking(true) {
            log::error!("connections cannot be accepted ({error}); start the node again");
            return;
        }
        let (associations, turned_away) = (Arc::default(), Arc::default());
        while !self.stop.load(Ordering::Acquire) {
            match listener.accept() {
                Ok((tcp, address)) => {
                    log::debug!("a connection from {address}");
                    self.admit(tcp, &associations, &turned_away);
                }
                // Nobody, or a peer that is gone again, or too many open files.
                Err(_) => thread::sleep(LOOK_AROUND),
            }
        }
    }

    fn admit(self: &Arc<Self>, tcp: TcpStream, associations: &Arc<AtomicUsize>, turned_away: &Arc<AtomicUsize>) {
        let limits = &self.acceptor.limits;
        let node = self.clone();
        let builder = thread::Builder::new().name("dicom-peer".into());
        let spawned = if let Some(place) = Place::take(associations, limits.associations) {
            builder.spawn(move || {
                let _place = place;
                node.converse(tcp);
            })
        } else if let Some(place) = Place::take(turned_away, MAX_TURNED_AWAY) {
            count(&self.counters.refused_associations);
            log::warn!("an association was refused: {} are open, which is the limit", limits.associations);
            builder.spawn(move || {
                let _place = place;
                if let Ok(wire) = node.wire(tcp) {
                    turn_away(wire, Duration::from_secs(2));
                }
            })
        } else {
            count(&self.counters.refused_associations);
            return;
        };
        if let Err(error) = spawned {
            log::warn!("a connection was closed: no thread for it ({error})");
        }
    }

    fn wire(&self, tcp: TcpStream) -> Result<Wire, NetError> {
        prepare(&tcp, &self.acceptor.limits)?;
        #[cfg(feature = "tls")]
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => tls.accept(tcp, self.acceptor.limits.negotiation)?,
            None => Box::new(tcp),
        };
        #[cfg(not(feature = "tls"))]
        let stream: Box<dyn Stream> = Box::new(tcp);
        Ok(Wire::new(stream, self.stop.clone(), &self.acceptor.limits))
    }

    fn converse(&self, tcp: TcpStream) {
        let address = tcp.peer_addr().map_or_else(|_| "a peer that is gone".into(), |address| address.to_string());
        let accepted = self.wire(tcp).and_then(|wire| self.acceptor.accept(wire));
        match accepted {
            Ok(mut association) => {
                count(&self.counters.associations);
                if let Err(error) = self.serve(&mut association) {
                    if !matches!(error, NetError::Stopped) {
                        count(&self.counters.broken_associations);
                        log::warn!("the association with `{}` at {address} ended: {error}", association.peer());
                    }
                    association.abort(&error);
                }
            }
            // A port that is looked for.
            Err(NetError::Closed) => log::debug!("{address} connected and said nothing"),
            Err(NetError::Stopped) => {}
            Err(error @ NetError::Refused { .. }) => {
                count(&self.counters.refused_associations);
                log::warn!("{address}: {error}");
            }
            Err(error) => {
                count(&self.counters.broken_associations);
                log::warn!("the connection from {address} ended: {error}");
            }
        }
    }

    fn serve(&self, association: &mut Association) -> Result<(), NetError> {
        let limits = &self.acceptor.limits;
        let begun = Instant::now();
        loop {
            if begun.elapsed() > limits.association_time {
                return Err(NetError::Timeout);
            }
            let Received::Command(context, command) = association.receive(limits.silence)? else { return Ok(()) };
            match command.field {
                C_ECHO_RQ if !command.has_data => association.send(context, &command.answer(SUCCESS), None)?,
                C_STORE_RQ if command.has_data => self.store(association, context, &command)?,
                N_EVENT_REPORT_RQ => self.report(association, context, &command)?,
                field => {
                    if command.has_data {
                        association.receive_data(context, limits.object_bytes, |_| ())?;
                    }
                    // An answer is not answered, nor is what cancels.
                    if field & RESPONSE == 0 && field != 0x0fff {
                        association.send(context, &command.answer(UNRECOGNIZED_OPERATION), None)?;
                    }
                }
            }
        }
    }

    /// Receives an instance. Success is answered when it is on the disk.
    fn store(&self, association: &mut Association, context: u8, command: &Command) -> Result<(), NetError> {
        let negotiated = association.context(context).cloned().ok_or(NetError::Malformed("an unknown context"))?;
        let peer = association.peer().to_string();
        let begin = || -> Result<(String, Reception<'_>), (u16, String)> {
            let class = command.sop_class.as_deref().unwrap_or_default();
            if class != negotiated.abstract_syntax || !self.acceptor.stores(class) {
                return Err((WRONG_CLASS, "its class is not that of its presentation context".into()));
            }
            let instance =
                command.sop_instance.clone().ok_or((CANNOT_UNDERSTAND, "it has no SOP Instance UID".into()))?;
            let mut reception =
                self.queue.receive(&instance).map_err(|error| (status_of(&error), error.to_string()))?;
            write_head(&mut reception, class, &instance, &negotiated.transfer_syntax, &peer)
                .map_err(|error| (OUT_OF_RESOURCES, format!("it cannot be written ({error})")))?;
            Ok((instance, reception))
        };
        let mut outcome = begin();
        // What is refused is still sent, and must be read.
        let length = association.receive_data(context, self.acceptor.limits.object_bytes, |piece| {
            if let Ok((_, reception)) = &mut outcome
                && let Err(error) = reception.write_all(piece)
            {
                outcome = Err((OUT_OF_RESOURCES, format!("it cannot be written ({error})")));
            }
        })?;
        let finished = outcome.and_then(|(instance, reception)| {
            if length == 0 {
                return Err((CANNOT_UNDERSTAND, "it is empty".into()));
            }
            let outcome = reception.finish().map_err(|error| (status_of(&error), error.to_string()))?;
            Ok((instance, outcome))
        });
        let status = match finished {
            Ok((instance, Outcome::Queued)) => {
                count(&self.counters.received);
                log::info!("received {instance} from `{peer}`, {length} bytes");
                SUCCESS
            }
            Ok((instance, Outcome::Known)) => {
                count(&self.counters.duplicates);
                log::info!("{instance} from `{peer}` is known, and is not processed again");
                SUCCESS
            }
            Err((status, reason)) => {
                count(&self.counters.refused);
                log::warn!("an instance of `{peer}` was refused with status {status:04X}: {reason}");
                status
            }
        };
        association.send(context, &command.answer(status), None)
    }

    fn report(&self, association: &mut Association, context: u8, command: &Command) -> Result<(), NetError> {
        take_report(association, context, command, &self.queue, &self.counters)
    }
}

/// Receives and answers a report on storage commitment, on an association of either side.
pub(crate) fn take_report(
    association: &mut Association,
    context: u8,
    command: &Command,
    queue: &Queue,
    counters: &Counters,
) -> Result<(), NetError> {
    let data = if command.has_data { association.receive_small(context, MAX_REPORT_BYTES)? } else { Vec::new() };
    let status = match commitment::report(&data) {
        Ok(report) => match queue.report(&report, association.peer()) {
            Ok(Some(kept)) => {
                counters.committed.fetch_add(kept as u64, Ordering::Relaxed);
                log::info!("`{}` keeps {kept} results, and {} not", association.peer(), report.failed.len());
                SUCCESS
            }
            Ok(None) => {
                log::info!("`{}` reports on a transaction that is over", association.peer());
                SUCCESS
            }
            Err(error) => {
                log::warn!("a report on storage commitment cannot be kept ({error}); it is asked for again");
                PROCESSING_FAILURE
            }
        },
        Err(_) => CANNOT_UNDERSTAND,
    };
    association.send(context, &command.answer(status), None)
}

fn status_of(error: &QueueError) -> u16 {
    match error {
        QueueError::Io { .. } | QueueError::Full(_) => OUT_OF_RESOURCES,
        QueueError::InUse(_) => PROCESSING_FAILURE,
    }
}
