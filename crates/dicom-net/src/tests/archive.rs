//! A peer that keeps what it is sent, and can be told to misbehave.

use super::{SEG, SR, connector, quick, title};
use crate::association::{Acceptor, Association, Proposal, Received};
use crate::command::{C_ECHO_RQ, C_STORE_RQ, Command, N_ACTION_RQ, N_EVENT_REPORT_RQ, SUCCESS};
use crate::sop::{COMMITMENT, COMMITMENT_INSTANCE, EXPLICIT, IMPLICIT};
use crate::wire::{Wire, prepare};
use crate::{Destination, NetError, commitment};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stored {
    pub class: String,
    pub instance: String,
    pub transfer_syntax: String,
    pub data: Vec<u8>,
}

/// What the archive answers to an instance; `None` breaks the connection instead.
pub(super) type Answer = dyn Fn(&Stored, usize) -> Option<u16> + Send + Sync;

/// How the archive commits.
#[derive(Clone)]
pub(super) enum Commits {
    Never,
    /// On the association that asks.
    AtOnce,
    /// On one that it opens.
    Later(Destination),
    /// It accepts requests and reports nothing.
    Silently,
    /// It first says that it kept nothing.
    AtSecond(Destination),
}

pub(super) struct Options {
    pub answer: Box<Answer>,
    pub commits: Mutex<Commits>,
    pub transfer_syntaxes: Vec<String>,
    pub classes: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            answer: Box::new(|_, _| Some(SUCCESS)),
            commits: Mutex::new(Commits::Never),
            transfer_syntaxes: vec![EXPLICIT.into(), IMPLICIT.into()],
            classes: vec![SEG.into(), SR.into()],
        }
    }
}

#[derive(Default)]
struct Kept {
    stored: Vec<Stored>,
    requests: Vec<commitment::Report>,
    /// Including what was not answered.
    seen: usize,
}

#[derive(Clone)]
pub(super) struct Archive {
    address: SocketAddr,
    options: Arc<Options>,
    kept: Arc<Mutex<Kept>>,
    stop: Arc<AtomicBool>,
}

impl Archive {
    pub(super) fn start(options: Options) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), options)
    }

    pub(super) fn start_at(address: SocketAddr, options: Options) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let archive = Self {
            address: listener.local_addr().unwrap(),
            options: Arc::new(options),
            kept: Arc::default(),
            stop: Arc::default(),
        };
        let all = archive.clone();
        std::thread::spawn(move || {
            listener.set_nonblocking(true).unwrap();
            while !all.stop.load(Ordering::Acquire) {
                let Ok((tcp, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let one = all.clone();
                std::thread::spawn(move || {
                    // Peers that are killed break off.
                    let _ = one.serve(tcp);
                });
            }
        });
        archive
    }

    pub(super) fn destination(&self) -> Destination {
        super::to("ARCHIVE", self.address)
    }

    pub(super) fn commits(&self) -> std::sync::MutexGuard<'_, Commits> {
        self.options.commits.lock().unwrap()
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn stored(&self) -> Vec<Stored> {
        self.kept.lock().unwrap().stored.clone()
    }

    pub(super) fn requests(&self) -> Vec<commitment::Report> {
        self.kept.lock().unwrap().requests.clone()
    }

    /// For each source and class the instances that arrived: each once, however often it was repeated.
    pub(super) fn results(&self) -> BTreeMap<(String, String), BTreeMap<String, Vec<u8>>> {
        let mut results: BTreeMap<_, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for stored in self.stored() {
            let of_source = results.entry((super::source_of(&stored.data), stored.class)).or_default();
            let before = of_source.insert(stored.instance, stored.data.clone());
            assert!(before.is_none_or(|before| before == stored.data), "an instance changed its content");
        }
        results
    }

    fn serve(&self, tcp: TcpStream) -> Result<(), NetError> {
        prepare(&tcp, &quick())?;
        let acceptor = Acceptor {
            title: title("ARCHIVE"),
            callers: vec![title("NODE")],
            classes: self.options.classes.clone(),
            transfer_syntaxes: self.options.transfer_syntaxes.clone(),
            limits: quick(),
        };
        let wire = Wire::new(Box::new(tcp), self.stop.clone(), &acceptor.limits);
        let mut association = acceptor.accept(wire)?;
        while let Received::Command(context, command) = association.receive(Duration::from_secs(5))? {
            match command.field {
                C_ECHO_RQ => association.send(context, &command.answer(SUCCESS), None)?,
                C_STORE_RQ => self.store(&mut association, context, &command)?,
                N_ACTION_RQ => self.commit(&mut association, context, &command)?,
                other => panic!("{other:x}"),
            }
        }
        Ok(())
    }

    fn store(&self, association: &mut Association, context: u8, command: &Command) -> Result<(), NetError> {
        let data = association.receive_small(context, 1 << 30)?;
        let stored = Stored {
            class: command.sop_class.clone().unwrap(),
            instance: command.sop_instance.clone().unwrap(),
            transfer_syntax: association.context(context).unwrap().transfer_syntax.clone(),
            data,
        };
        let seen = {
            let mut kept = self.kept.lock().unwrap();
            kept.seen += 1;
            kept.seen
        };
        let answer = (self.options.answer)(&stored, seen);
        // A real archive has stored it also where its answer is lost.
        if answer.is_none_or(|status| status == SUCCESS) {
            self.kept.lock().unwrap().stored.push(stored);
        }
        association.send(context, &command.answer(answer.ok_or(NetError::Closed)?), None)
    }

    fn commit(&self, association: &mut Association, context: u8, command: &Command) -> Result<(), NetError> {
        let data = association.receive_small(context, 1 << 20)?;
        let mut report = commitment::report(&data).unwrap();
        let count = {
            let mut kept = self.kept.lock().unwrap();
            kept.requests.push(report.clone());
            kept.requests.len()
        };
        let commits = self.options.commits.lock().unwrap().clone();
        if matches!(commits, Commits::Never) {
            return association.send(context, &command.answer(0x0110), None);
        }
        association.send(context, &command.answer(SUCCESS), None)?;
        match commits {
            Commits::Silently | Commits::Never => {}
            Commits::AtOnce => {
                let event = event(association.new_message(), 1);
                let data = request_of(&report);
                association.ask(context, &event, Some(&mut data.as_slice()))?;
            }
            Commits::Later(node) => self.report(&node, &report),
            Commits::AtSecond(node) => {
                if count == 1 {
                    report.failed = std::mem::take(&mut report.kept);
                }
                self.report(&node, &report);
            }
        }
        Ok(())
    }

    pub(super) fn report(&self, node: &Destination, report: &commitment::Report) {
        let (node, report) = (node.clone(), report.clone());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            let proposals = [Proposal { class: COMMITMENT.into(), transfer_syntax: IMPLICIT }];
            let mut association = connector("ARCHIVE").open(&node, &proposals).unwrap();
            let context = association.contexts_of(COMMITMENT).next().unwrap().id;
            let event = event(association.new_message(), if report.failed.is_empty() { 1 } else { 2 });
            assert_eq!(association.ask(context, &event, Some(&mut request_of(&report).as_slice())).unwrap(), SUCCESS);
            association.release().unwrap();
        });
    }
}

fn event(message_id: u16, kind: u16) -> Command {
    Command {
        field: N_EVENT_REPORT_RQ,
        message_id,
        has_data: true,
        sop_class: Some(COMMITMENT.into()),
        sop_instance: Some(COMMITMENT_INSTANCE.into()),
        kind: Some(kind),
        ..Command::default()
    }
}

/// A report's data set.
fn request_of(report: &commitment::Report) -> Vec<u8> {
    use crate::elements::{put, put_sequence, put_uid};
    use dicom_dictionary_std::tags;
    let mut data = Vec::new();
    put_uid(&mut data, tags::TRANSACTION_UID, &report.transaction);
    let item = |instance: &String, failed: bool| {
        let mut item = Vec::new();
        put_uid(&mut item, tags::REFERENCED_SOP_CLASS_UID, SEG);
        put_uid(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, instance);
        if failed {
            put(&mut item, tags::FAILURE_REASON, &0x0112u16.to_le_bytes());
        }
        item
    };
    if !report.failed.is_empty() {
        put_sequence(&mut data, tags::FAILED_SOP_SEQUENCE, report.failed.iter().map(|instance| item(instance, true)));
    }
    put_sequence(&mut data, tags::REFERENCED_SOP_SEQUENCE, report.kept.iter().map(|instance| item(instance, false)));
    data
}
