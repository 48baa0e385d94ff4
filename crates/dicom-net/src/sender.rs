//! Sends results on: C-STORE, and storage commitment where the destination offers it.

use crate::address::Destination;
use crate::association::{Association, Connector, Context, Proposal, Received};
use crate::command::{C_ECHO_RQ, C_STORE_RQ, Command, N_ACTION_RQ, N_EVENT_REPORT_RQ, SUCCESS};
use crate::commitment;
use crate::error::NetError;
use crate::instance::InstanceFile;
use crate::listener::take_report;
use crate::node::{Commitment, NodeOptions};
use crate::queue::{Queue, Shipment};
use crate::sop::{COMMITMENT, COMMITMENT_INSTANCE, EXPLICIT, IMPLICIT, VERIFICATION};
use crate::statistics::{Counters, count};
use crate::uid;
use crate::wire::TICK;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a report is awaited on the association that asked for it.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);
/// How long the sender sleeps at most before it looks for what is due.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// Asks a node whether it is there (C-ECHO), as the node of these options would call it.
///
/// # Errors
/// There is no connection, or the node refuses the association, or the service.
pub fn echo(options: &NodeOptions, to: &Destination) -> Result<(), NetError> {
    let connector = Connector {
        title: options.title.clone(),
        limits: options.limits.clone(),
        stop: Arc::default(),
        #[cfg(feature = "tls")]
        tls: options.send_tls.clone(),
    };
    ask_echo(&connector, to)
}

pub(crate) fn ask_echo(connector: &Connector, to: &Destination) -> Result<(), NetError> {
    let proposal = Proposal { class: VERIFICATION.into(), transfer_syntax: IMPLICIT };
    let mut association = connector.open(to, &[proposal])?;
    let context = association.contexts_of(VERIFICATION).next().ok_or(NetError::NotAccepted("C-ECHO"))?.id;
    let request = Command {
        field: C_ECHO_RQ,
        message_id: association.new_message(),
        sop_class: Some(VERIFICATION.into()),
        ..Command::default()
    };
    let status = association.ask(context, &request, None)?;
    association.release()?;
    if status == SUCCESS { Ok(()) } else { Err(NetError::Rejected(format!("C-ECHO was answered with {status:04X}"))) }
}

/// Stores one instance; returns the status. `None` where no accepted context fits it.
pub(crate) fn store(association: &mut Association, instance: &InstanceFile) -> Result<Option<u16>, NetError> {
    let fits = |syntax: &str| {
        association.contexts_of(&instance.sop_class).find(|context| context.transfer_syntax == syntax).cloned()
    };
    let as_stored = fits(&instance.transfer_syntax);
    // Only uncompressed little-endian data sets are encoded anew.
    let plain = [EXPLICIT, IMPLICIT].contains(&instance.transfer_syntax.as_str());
    let Some(Context { id, transfer_syntax, .. }) = as_stored.or_else(|| fits(IMPLICIT).filter(|_| plain)) else {
        return Ok(None);
    };
    let request = Command {
        field: C_STORE_RQ,
        message_id: association.new_message(),
        has_data: true,
        sop_class: Some(instance.sop_class.clone()),
        sop_instance: Some(instance.sop_instance.clone()),
        ..Command::default()
    };
    let status = if transfer_syntax == instance.transfer_syntax {
        association.ask(id, &request, Some(&mut instance.data_set()?))
    } else {
        association.ask(id, &request, Some(&mut instance.implicit_data_set()?.as_slice()))
    };
    status.map(Some)
}

/// Why a shipment did not arrive.
enum Setback {
    /// The destination cannot be reached, or has no room: everything waits.
    Unavailable(String),
    /// It does not take this: other jobs go on.
    Refused(String),
}

impl From<NetError> for Setback {
    fn from(error: NetError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Delivers to one destination.
pub(crate) struct Sender {
    /// Its index among the queue's destinations.
    pub destination: usize,
    pub to: Destination,
    pub connector: Connector,
    pub commitment: Commitment,
    /// The first delay after a failure, which doubles up to the second.
    pub retry: [Duration; 2],
    /// How often a result may be refused.
    pub refusals: u32,
    pub queue: Arc<Queue>,
    pub counters: Arc<Counters>,
    pub stop: Arc<AtomicBool>,
}

impl Sender {
    /// Sends what is due until the end.
    pub(crate) fn run(&self) {
        let mut failures = 0;
        while !self.stop.load(Ordering::Acquire) {
            let Some(shipment) = self.queue.next_shipment(self.destination) else {
                self.queue.wait(LOOK_AROUND);
                continue;
            };
            match self.deliver(&shipment) {
                Ok(()) => failures = 0,
                Err(Setback::Refused(reason)) => {
                    failures = 0;
                    self.refused(&shipment, &reason);
                }
                Err(Setback::Unavailable(_)) if self.stop.load(Ordering::Acquire) => return,
                Err(Setback::Unavailable(reason)) => {
                    let delay = self.delay(failures);
                    failures += 1;
                    count(&self.counters.retries);
                    log::warn!("{}: {reason}; tried again in {:.1} s", self.to, delay.as_secs_f64());
                    self.pause(delay);
                }
            }
        }
    }

    fn delay(&self, failures: u32) -> Duration {
        let [first, longest] = self.retry;
        first.saturating_mul(1 << failures.min(20)).min(longest)
    }

    fn pause(&self, delay: Duration) {
        let until = Instant::now() + delay;
        while Instant::now() < until && !self.stop.load(Ordering::Acquire) {
            std::thread::sleep(LOOK_AROUND.min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn record(&self, id: &str, change: impl FnOnce(&mut crate::queue::Delivery, &mut Instant)) {
        let recorded = self.queue.record(id, self.destination, |progress| {
            change(&mut progress.delivery, &mut progress.due);
        });
        // In memory it is known; after a crash the same instance would be sent again.
        if let Err(error) = recorded {
            log::warn!("{id}: what was delivered cannot be kept ({error}); free some space");
        }
    }

    fn refused(&self, shipment: &Shipment, reason: &str) {
        let mut refusals = 0;
        let delay = self.delay(shipment.delivery.refusals);
        self.record(&shipment.id, |delivery, due| {
            delivery.refusals += 1;
            refusals = delivery.refusals;
            *due = Instant::now() + delay;
        });
        if refusals < self.refusals {
            count(&self.counters.retries);
            log::warn!("{}: {}: {reason}; tried again in {:.1} s", self.to, shipment.id, delay.as_secs_f64());
            return;
        }
        count(&self.counters.failed);
        log::error!("{}: {}: {reason}; after {refusals} attempts the results are in `failed`", self.to, shipment.id);
        if let Err(error) = self.queue.fail_results(&shipment.id, &format!("{}: {reason}", self.to)) {
            log::error!("{}: cannot be moved to `failed` ({error}); check the queue's folder", shipment.id);
        }
    }

    fn deliver(&self, shipment: &Shipment) -> Result<(), Setback> {
        if shipment.delivery.refusals >= self.refusals {
            return Err(Setback::Refused("it does not commit to keep the results".into()));
        }
        let unsent: Vec<&InstanceFile> =
            shipment.results.iter().filter(|result| !shipment.delivery.sent.contains(&result.sop_instance)).collect();
        let mut proposals = Vec::new();
        for class in unsent.iter().map(|result| &result.sop_class).collect::<BTreeSet<_>>() {
            for transfer_syntax in [EXPLICIT, IMPLICIT] {
                proposals.push(Proposal { class: class.clone(), transfer_syntax });
            }
        }
        if self.commitment.is_asked() {
            proposals.push(Proposal { class: COMMITMENT.into(), transfer_syntax: IMPLICIT });
        }
        let mut association = self.connector.open(&self.to, &proposals)?;
        match self.converse(&mut association, shipment, &unsent) {
            Ok(()) => {
                // All was answered; how the association ends does not matter.
                let _ = association.release();
                Ok(())
            }
            Err(Setback::Refused(reason)) => {
                let _ = association.release();
                Err(Setback::Refused(reason))
            }
            Err(setback) => {
                association.abort(&NetError::Timeout);
                Err(setback)
            }
        }
    }

    fn converse(
        &self,
        association: &mut Association,
        shipment: &Shipment,
        unsent: &[&InstanceFile],
    ) -> Result<(), Setback> {
        for result in unsent {
            let status = store(association, result)?;
            let name = &result.sop_instance;
            match status {
                // Warnings: stored, some attributes changed.
                Some(status) if status == SUCCESS || status & 0xf000 == 0xb000 => {
                    count(&self.counters.sent);
                    log::info!("{} has {name}", self.to);
                    self.record(&shipment.id, |delivery, _| {
                        delivery.sent.insert(name.clone());
                    });
                }
                Some(status) if status & 0xff00 == 0xa700 => {
                    return Err(Setback::Unavailable(format!("it has no room for {name} (status {status:04X})")));
                }
                Some(status) => return Err(Setback::Refused(format!("{name} was refused with status {status:04X}"))),
                None => {
                    return Err(Setback::Refused(format!(
                        "it does not accept the class {} of {name}",
                        result.sop_class
                    )));
                }
            }
        }
        if self.commitment.is_asked() && !shipment.delivery.uncommitted {
            self.ask_to_keep(association, shipment)?;
        }
        Ok(())
    }

    /// Asks for a commitment to keep all results of a job.
    fn ask_to_keep(&self, association: &mut Association, shipment: &Shipment) -> Result<(), Setback> {
        let Commitment::Asked { is_required, patience, requests } = self.commitment else { return Ok(()) };
        let give_up = |reason: &str| {
            if is_required {
                return Err(Setback::Refused(reason.to_string()));
            }
            log::info!("{}: {reason}; {} counts as delivered", self.to, shipment.id);
            self.record(&shipment.id, |delivery, _| delivery.uncommitted = true);
            Ok(())
        };
        let Some(context) = association.contexts_of(COMMITMENT).next().map(|context| context.id) else {
            return give_up("it offers no storage commitment");
        };
        if !is_required && shipment.delivery.requests >= requests {
            return give_up("it did not report on storage commitment");
        }
        let transaction =
            uid::new().ok_or_else(|| Setback::Unavailable("this system gives no random numbers".into()))?;
        // Known before the report can come, and not asked for again before it is late.
        self.record(&shipment.id, |delivery, due| {
            delivery.add_transaction(&transaction);
            *due = Instant::now() + patience;
        });
        let references: Vec<_> =
            shipment.results.iter().map(|result| (result.sop_class.clone(), result.sop_instance.clone())).collect();
        let request = Command {
            field: N_ACTION_RQ,
            message_id: association.new_message(),
            has_data: true,
            sop_class: Some(COMMITMENT.into()),
            sop_instance: Some(COMMITMENT_INSTANCE.into()),
            kind: Some(commitment::REQUEST),
            ..Command::default()
        };
        let status =
            association.ask(context, &request, Some(&mut commitment::request(&transaction, &references).as_slice()))?;
        if status != SUCCESS {
            return give_up(&format!("it refused storage commitment with status {status:04X}"));
        }
        // Some report at once, on this association; others open one to this node.
        let end = Instant::now() + REPORT_PATIENCE;
        while Instant::now() < end && self.queue.is_undelivered(&shipment.id, self.destination) {
            match association.receive(TICK) {
                Ok(Received::Command(context, command)) if command.field == N_EVENT_REPORT_RQ => {
                    take_report(association, context, &command, &self.queue, &self.counters)?;
                }
                Err(NetError::Timeout) => {}
                _ => break,
            }
        }
        Ok(())
    }
}
