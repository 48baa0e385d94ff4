//! Peers that send rubbish, half messages, too much, or nothing. The node goes on.

use super::*;
use crate::command::SUCCESS;
use crate::{NetError, fuzz_acceptor};
use std::io::Read;
use std::net::TcpStream;

fn node(folder: &Path) -> (Node, SocketAddr) {
    let limits = Limits {
        associations: 3,
        negotiation: Duration::from_millis(300),
        silence: Duration::from_millis(300),
        object_bytes: 1 << 20,
        pdu_bytes: 32 << 10,
        ..quick()
    };
    start(NodeOptions { limits, ..options(&folder.join("queue"), vec![]) })
}

/// A request for an association, byte by byte as `Connector` writes it.
fn request() -> Vec<u8> {
    let recorder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = recorder.local_addr().unwrap();
    let recording = std::thread::spawn(move || {
        let (mut tcp, _) = recorder.accept().unwrap();
        let mut head = [0; 6];
        tcp.read_exact(&mut head).unwrap();
        let mut rest = vec![0; u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize];
        tcp.read_exact(&mut rest).unwrap();
        [head.to_vec(), rest].concat()
    });
    assert!(open("MODALITY", &to("NODE", address), US).is_err());
    recording.join().unwrap()
}

/// Sends bytes and reads until the node closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // It may close before it has read all.
    let _ = tcp.write_all(bytes);
    let mut answer = Vec::new();
    match tcp.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it does not close: {error}"),
        _ => answer,
    }
}

#[test]
fn rubbish_ends_its_own_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path());
    let request = request();
    let data_unit = |length: u32| [&request[..], &[4, 0], &length.to_be_bytes()].concat();
    let rubbish: Vec<(&str, Vec<u8>)> = vec![
        ("a web request", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("zeros", vec![0; 100_000]),
        ("ones", vec![0xff; 100_000]),
        ("a request of four gigabytes", vec![1, 0, 0xff, 0xff, 0xff, 0xff]),
        ("a data unit first", vec![4, 0, 0, 0, 0, 2, 1, 1]),
        ("a data unit of four gigabytes", data_unit(u32::MAX)),
        ("a data unit beyond the announced length", data_unit((32 << 10) + 1)),
        ("a data unit that stops", [data_unit(1000), vec![0; 10]].concat()),
        ("a value longer than its unit", [data_unit(6), vec![0xff, 0xff, 0xff, 0xff, 1, 3]].concat()),
        ("a command that is none", [data_unit(16), vec![0, 0, 0, 12, 1, 3], vec![0xff; 10]].concat()),
        ("a context that was not accepted", [data_unit(6), vec![0, 0, 0, 2, 99, 3]].concat()),
        ("a second request", [&request[..], &request[..]].concat()),
        ("nothing", vec![]),
        ("half a request", request[..request.len() / 2].to_vec()),
    ];
    for (what, bytes) in rubbish {
        let begun = Instant::now();
        exchange(address, &bytes);
        assert!(begun.elapsed() < Duration::from_secs(3), "{what}: the connection stayed open");
        echo(&to("NODE", address)).unwrap_or_else(|error| panic!("after {what}: {error}"));
    }
    let file = instance(folder.path(), US, "1.2.3", 10);
    assert_eq!(send(&to("NODE", address), &file).unwrap(), SUCCESS);
    assert!(!node.is_broken());
}

#[test]
fn each_cut_and_each_changed_byte_of_a_request_is_survived() {
    let request = request();
    let mut store = request.clone();
    // C-STORE in one data unit, command and data.
    let command = crate::command::Command {
        field: 1,
        message_id: 1,
        has_data: true,
        sop_class: Some(US.into()),
        sop_instance: Some("1.2".into()),
        ..Default::default()
    };
    let mut values = Vec::new();
    for (kind, data) in [(3u8, command.write()), (2, vec![1; 40])] {
        values.extend(u32::try_from(data.len() + 2).unwrap().to_be_bytes());
        values.extend([1, kind]);
        values.extend(data);
    }
    store.extend([4, 0]);
    store.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
    store.extend(values);
    let with_piece = |piece: u8, bytes: &[u8]| fuzz_acceptor(&[&[piece], bytes].concat());
    assert_eq!(with_piece(255, &store), 40);
    assert_eq!(with_piece(0, &store), 40);
    for length in 0..store.len() {
        assert_eq!(with_piece(255, &store[..length]), 0);
    }
    for at in 0..store.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, store[at] ^ 1] {
            let mut changed = store.clone();
            changed[at] = value;
            assert!(with_piece(255, &changed) <= store.len() as u64);
        }
    }
}

#[test]
fn silence_within_an_object_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path());
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.write_all(&request()).unwrap();
    let command = crate::command::Command {
        field: 1,
        message_id: 1,
        has_data: true,
        sop_class: Some(US.into()),
        sop_instance: Some("1.2.3".into()),
        ..Default::default()
    };
    for (kind, data) in [(3u8, command.write()), (0, vec![1; 10_000])] {
        let length = u32::try_from(data.len()).unwrap();
        tcp.write_all(
            &[&[4, 0][..], &(length + 6).to_be_bytes(), &(length + 2).to_be_bytes(), &[1, kind], &data].concat(),
        )
        .unwrap();
    }
    let incoming = folder.path().join("queue/incoming");
    wait_for("reception", || names(&incoming).len() == 1);
    wait_for("the end", || names(&incoming).is_empty());
    assert_eq!((node.statistics().broken_associations, node.statistics().received), (1, 0));
}

#[test]
fn an_object_beyond_the_limit_ends_its_association() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path());
    let file = instance(folder.path(), US, "1.2.3", 2 << 20);
    assert!(matches!(send(&to("NODE", address), &file), Err(NetError::Aborted | NetError::Io(_) | NetError::Closed)));
    wait_for("the end", || node.statistics().broken_associations == 1);
    assert_eq!(queued(&folder.path().join("queue")), Vec::<String>::new());
    let file = instance(folder.path(), US, "1.2.4", 1 << 19);
    assert_eq!(send(&to("NODE", address), &file).unwrap(), SUCCESS);
}

#[test]
fn associations_beyond_the_limit_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { associations: 3, ..quick() };
    let (node, address) = start(NodeOptions { limits, ..options(&folder.path().join("queue"), vec![]) });
    let open_ones: Vec<_> = (0..3).map(|_| open("MODALITY", &to("NODE", address), US).unwrap()).collect();
    for _ in 0..3 {
        match open("MODALITY", &to("NODE", address), US) {
            Err(NetError::Rejected(reason)) => assert!(reason.contains("limit"), "{reason}"),
            other => panic!("{:?}", other.map(|_| "accepted")),
        }
    }
    // Many that say nothing, too.
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    for association in open_ones {
        association.release().unwrap();
    }
    drop(silent);
    wait_for("a free place", || echo(&to("NODE", address)).is_ok());
    assert!(node.statistics().refused_associations >= 3);
}

#[test]
fn a_queue_that_cannot_be_written_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (node, address) = node(folder.path());
    let incoming = folder.path().join("queue/incoming");
    fs::remove_dir(&incoming).unwrap();
    fs::write(&incoming, "in the way").unwrap();
    let file = instance(folder.path(), US, "1.2.3", 500_000);
    for _ in 0..2 {
        assert_eq!(send(&to("NODE", address), &file).unwrap(), 0xa700);
    }
    fs::remove_file(&incoming).unwrap();
    fs::create_dir(&incoming).unwrap();
    assert_eq!(send(&to("NODE", address), &file).unwrap(), SUCCESS);
    assert_eq!(node.statistics().refused, 2);
}

#[test]
fn a_full_queue_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let away = "ARCHIVE@127.0.0.1:1".parse().unwrap();
    let mut options = options(&folder.path().join("queue"), vec![away]);
    options.queue.jobs = 2;
    let (_node, address) = start(options);
    let statuses: Vec<u16> = (0..3)
        .map(|number| send(&to("NODE", address), &instance(folder.path(), US, &format!("1.2.{number}"), 0)).unwrap())
        .collect();
    assert_eq!(statuses, [SUCCESS, SUCCESS, 0xa700]);
}

#[test]
fn two_nodes_do_not_share_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (_node, _) = node(folder.path());
    let error = Node::start(options(&folder.path().join("queue"), vec![]), None, TwoResults).err().unwrap().to_string();
    assert!(error.contains("another node uses this queue"), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Node::start(options(&file, vec![]), None, TwoResults).err().unwrap().to_string();
    assert!(error.contains("cannot be used") && error.lines().count() == 1, "{error}");
}
