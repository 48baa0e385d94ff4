//! Peers that send invalid data, incomplete messages, huge sizes or nothing, and peers that never read: the node
//! continues.

use super::client::{Client, PATIENCE};
use super::node::{start, toy_model};
use causalclipseg::igtl::{
    DeviceName, Envelope, Geometry, Header, Image, ImageHeader, Limits, NodeOptions, Outgoing, Timestamp, TypeName,
    status_code,
};
use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

const SIZE: [u16; 2] = [32, 32];

fn message() -> Vec<u8> {
    let header = ImageHeader::new(1, SIZE[0], SIZE[1], Geometry::default());
    let mut message = Vec::new();
    let envelope = Envelope::new(DeviceName::new("Image").unwrap(), Timestamp(5));
    envelope.write(Outgoing::Image(Image { header, pixels: &[200; 1024] }), &mut message);
    message
}

/// Asserts that the node still answers other peers.
fn still_serves(address: SocketAddr) {
    let mut client = Client::connect(address);
    // Frames of other peers that are still on their way may be newer, and replace this one.
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        client.socket.write_all(&message()).unwrap();
        if let Some(mask) = client.mask_within(Duration::from_secs(2)) {
            return assert_eq!(mask, [1; 1024]);
        }
    }
    panic!("the node does not serve");
}

#[test]
fn nothing_that_a_peer_sends_stops_the_node() {
    let limits = Limits { stall: Duration::from_millis(300), ..Limits::default() };
    let (node, address) =
        start(toy_model(), &["a bright mass"], NodeOptions { limits, max_peers: 64, ..NodeOptions::default() });

    // Invalid data, and another protocol.
    let rubbish: Vec<u8> = (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&rubbish[..], b"GET / HTTP/1.1\r\nHost: cart\r\nAccept: */*\r\nConnection: close\r\n\r\n"] {
        let mut client = Client::connect(address);
        // The node may close while this is being sent.
        let _ = client.socket.write_all(bytes);
        client.wait_for_end();
        still_serves(address);
    }

    // Half a message, then silence; the peer gets a status and is disconnected.
    for sent in [10, 58, 200] {
        let mut client = Client::connect(address);
        client.socket.write_all(&message()[..sent]).unwrap();
        client.status(status_code::UNKNOWN_ERROR, "stalled");
        client.wait_for_end();
    }
    still_serves(address);

    // Half a message, then the end.
    for sent in [1, 57, 58, 59, 500] {
        let mut client = Client::connect(address);
        client.socket.write_all(&message()[..sent]).unwrap();
        client.socket.shutdown(Shutdown::Write).unwrap();
        client.wait_for_end();
    }
    still_serves(address);

    // A size of gigabytes.
    for body_bytes in [1 << 31, u64::MAX] {
        let mut client = Client::connect(address);
        let (kind, device) = (TypeName::new("IMAGE").unwrap(), DeviceName::new("Image").unwrap());
        let header = Header { version: 1, kind, device, timestamp: Timestamp(0), body_bytes, crc: 0 };
        client.socket.write_all(&header.to_bytes()).unwrap();
        client.status(status_code::OVERFLOW, "more than the limit");
        client.wait_for_end();
    }
    still_serves(address);

    // After a wrong checksum only that message is lost.
    let mut client = Client::connect(address);
    let mut damaged = message();
    *damaged.last_mut().unwrap() ^= 0x10;
    client.socket.write_all(&damaged).unwrap();
    client.status(status_code::CHECKSUM, "damaged on the way");
    client.socket.write_all(&message()).unwrap();
    assert_eq!(client.mask(), [1; 1024]);

    // Peers that disconnect at once, many times; and one that sends nothing at all.
    let silent = Client::connect(address);
    for _ in 0..20 {
        drop(Client::connect(address));
    }
    still_serves(address);
    drop(silent);

    let statistics = node.stop();
    assert_eq!(statistics.damaged_messages, 1, "{statistics:?}");
    assert_eq!(statistics.broken_connections, 2 + 3 + 5 + 2, "{statistics:?}");
    assert_eq!(statistics.stream.failed, 0);
}

/// A peer sends images and never reads its results: its results are dropped, and others get theirs.
#[test]
fn a_peer_that_never_reads_holds_nobody_up() {
    let limits = Limits { stall: Duration::from_secs(60), ..Limits::default() };
    let (node, address) = start(toy_model(), &["a bright mass"], NodeOptions { limits, ..NodeOptions::default() });
    let mut deaf = Client::connect(address);
    let pixels = vec![200; 1 << 20];
    let header = ImageHeader::new(1, 1024, 1024, Geometry::default());
    let begun = Instant::now();
    while node.statistics().superseded_results == 0 {
        assert!(begun.elapsed() < PATIENCE, "no result gives way: {:?}", node.statistics());
        deaf.send("Image", Timestamp(1), Outgoing::Image(Image { header, pixels: &pixels }));
    }
    still_serves(address);
    let begun = Instant::now();
    node.stop();
    assert!(begun.elapsed() < Duration::from_secs(10), "a deaf peer holds up the end: {:?}", begun.elapsed());
}
