//! A node among peers, good and bad, over loopback.

mod archive;
mod bad_peers;
mod crashes;
mod delivery;
#[cfg(feature = "tls")]
mod encryption;
mod protocol;
mod watching;

use crate::association::{Association, Connector, Proposal};
use crate::elements;
use crate::instance::{InstanceFile, write_head};
use crate::node::{Commitment, Handler, HandlerError, Node, NodeOptions};
use crate::sop::{EXPLICIT, IMPLICIT};
use crate::{AeTitle, Destination, Limits, uid};
use dicom_dictionary_std::{tags, uids};
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const US: &str = uids::ULTRASOUND_IMAGE_STORAGE;
const SEG: &str = uids::SEGMENTATION_STORAGE;
const SR: &str = uids::COMPREHENSIVE_SR_STORAGE;

fn title(text: &str) -> AeTitle {
    text.parse().unwrap()
}

fn to(title: &str, address: SocketAddr) -> Destination {
    format!("{title}@{address}").parse().unwrap()
}

/// Waits until something is so.
#[track_caller]
fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes an instance that refers to another one, and has some bytes of pixels.
fn write_instance(path: &Path, class: &str, instance: &str, source: &str, pixels: usize) {
    let mut file = fs::File::create(path).unwrap();
    write_head(&mut file, class, instance, IMPLICIT, "TEST").unwrap();
    let mut data = Vec::new();
    elements::put_uid(&mut data, tags::SOP_CLASS_UID, class);
    elements::put_uid(&mut data, tags::SOP_INSTANCE_UID, instance);
    elements::put_uid(&mut data, tags::REFERENCED_SOP_INSTANCE_UID, source);
    elements::put(&mut data, tags::PIXEL_DATA, &vec![7; pixels]);
    file.write_all(&data).unwrap();
}

/// The UID of the instance that a data set is about.
fn source_of(data: &[u8]) -> String {
    let all = elements::elements(data).unwrap();
    elements::text(&all, tags::REFERENCED_SOP_INSTANCE_UID).unwrap_or_default().to_string()
}

/// A file to send.
fn instance(folder: &Path, class: &str, instance: &str, pixels: usize) -> InstanceFile {
    let path = folder.join(format!("{instance}.dcm"));
    write_instance(&path, class, instance, "1.1", pixels);
    InstanceFile::open(&path).unwrap()
}

/// Writes a SEG and an SR about each instance, and leaves something behind.
struct TwoResults;

impl Handler for TwoResults {
    fn process(&mut self, instance: &Path, out: &Path) -> Result<Vec<PathBuf>, HandlerError> {
        let source = InstanceFile::open(instance).map_err(|error| HandlerError::Refused(error.to_string()))?;
        if source.sop_instance.ends_with(".666") {
            return Err(HandlerError::Refused("no pixels".into()));
        }
        assert!(!source.sop_instance.ends_with(".667"), "a defect");
        let results = [("b_seg.dcm", SEG), ("a_sr.dcm", SR)];
        let written = results.map(|(name, class)| {
            write_instance(&out.join(name), class, &uid::new().unwrap(), &source.sop_instance, 300_000);
            out.join(name)
        });
        fs::write(out.join("leftover.txt"), "x").unwrap();
        Ok(written.to_vec())
    }
}

fn quick() -> Limits {
    Limits {
        negotiation: Duration::from_secs(2),
        silence: Duration::from_secs(2),
        object_time: Duration::from_secs(10),
        response: Duration::from_secs(10),
        ..Limits::default()
    }
}

fn options(queue: &Path, destinations: Vec<Destination>) -> NodeOptions {
    NodeOptions {
        destinations,
        limits: quick(),
        commitment: Commitment::Off,
        retry: [Duration::from_millis(50), Duration::from_millis(400)],
        ..NodeOptions::new(title("NODE"), queue)
    }
}

fn start(options: NodeOptions) -> (Node, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start(options, Some(listener), TwoResults).unwrap();
    let address = node.address().unwrap();
    (node, address)
}

fn connector(calling: &str) -> Connector {
    Connector {
        title: title(calling),
        limits: quick(),
        stop: Default::default(),
        #[cfg(feature = "tls")]
        tls: None,
    }
}

fn echo(to: &Destination) -> Result<(), crate::NetError> {
    crate::sender::ask_echo(&connector("ANY"), to)
}

fn open(calling: &str, to: &Destination, class: &str) -> Result<Association, crate::NetError> {
    let proposals = [EXPLICIT, IMPLICIT].map(|transfer_syntax| Proposal { class: class.into(), transfer_syntax });
    connector(calling).open(to, &proposals)
}

/// Sends an instance as a modality does. The status, or what went wrong.
fn send(to: &Destination, file: &InstanceFile) -> Result<u16, crate::NetError> {
    let mut association = open("MODALITY", to, &file.sop_class)?;
    let status = crate::sender::store(&mut association, file)?.ok_or(crate::NetError::NotAccepted("class"))?;
    association.release()?;
    Ok(status)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What a queue's folders hold.
fn queued(queue: &Path) -> Vec<String> {
    ["incoming", "received", "work", "ready"].iter().flat_map(|folder| names(&queue.join(folder))).collect()
}
