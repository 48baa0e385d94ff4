//! Damaged messages, and sources that give their bytes in pieces.

use super::golden::cases;
use causalclipseg::igtl::{
    Content, DeviceName, Envelope, FrameAssembler, Geometry, HEADER_BYTES, Header, Image, ImageHeader, Limits,
    MessageReader, Outgoing, ProtocolError, ReadError, Received, Timestamp, TypeName,
};
use std::io::{self, Cursor, Read};
use std::time::Duration;

/// Yields as many bytes at a time as `pieces` says, over and over, without pauses.
struct Pieces<'a> {
    rest: &'a [u8],
    pieces: Vec<usize>,
    next: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.next += 1;
        match self.pieces[self.next % self.pieces.len()] {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            piece => {
                let length = piece.min(self.rest.len()).min(into.len());
                into[..length].copy_from_slice(&self.rest[..length]);
                self.rest = &self.rest[length..];
                Ok(length)
            }
        }
    }
}

/// Reads to the end, as a node does, and counts messages, skipped and damaged ones, and whether the data ended within
/// one.
fn read_all(source: &mut impl Read, limits: Limits) -> ([usize; 3], Result<bool, ReadError>) {
    let mut reader = MessageReader::new(limits);
    let mut assembler = FrameAssembler::new(limits.frame_bytes, None);
    let mut counts = [0; 3];
    for _ in 0..100_000 {
        match reader.next(source) {
            Ok(Received::Message(message)) => {
                counts[0] += 1;
                if let Content::Image(image) = message.content {
                    let _ = assembler.frame(message.header.device, &image);
                }
            }
            Ok(Received::Skipped(_)) => counts[1] += 1,
            Ok(Received::Damaged(..)) => counts[2] += 1,
            Ok(Received::Nothing) => {}
            Ok(Received::Closed { within_message }) => return (counts, Ok(within_message)),
            Err(error) => return (counts, Err(error)),
        }
    }
    panic!("the reader never ends");
}

#[test]
fn pieces_of_any_size_give_the_same_messages() {
    let all: Vec<u8> = cases().iter().flat_map(|case| case.bytes.clone()).collect();
    for pieces in [vec![1], vec![1, 0], vec![57, 0, 1], vec![58], vec![59, 3], vec![1_000_000], vec![7, 0, 0, 130]] {
        let mut source = Pieces { rest: &all, pieces: pieces.clone(), next: 0 };
        let (counts, end) = read_all(&mut source, Limits::default());
        assert_eq!((counts, end.unwrap()), ([37, 1, 0], false), "{pieces:?}");
    }
}

#[test]
fn messages_without_a_body_are_whole() {
    let mut bytes = Vec::new();
    let envelope = Envelope::new(DeviceName::new("").unwrap(), Timestamp(0));
    for kind in ["GET_STATUS", "VIDEO", "STT_IMAGE"] {
        envelope.write(Outgoing::Empty(TypeName::new(kind).unwrap()), &mut bytes);
    }
    for pieces in [vec![1], vec![58, 0], vec![1000]] {
        let mut source = Pieces { rest: &bytes, pieces, next: 0 };
        let (counts, end) = read_all(&mut source, Limits::default());
        assert_eq!((counts, end.unwrap()), ([2, 1, 0], false));
    }
}

#[test]
fn messages_cut_at_any_byte_are_never_taken() {
    for case in cases() {
        for cut in 0..case.bytes.len() {
            let (counts, end) = read_all(&mut Cursor::new(&case.bytes[..cut]), Limits::default());
            assert_eq!((counts, end.unwrap()), ([0; 3], cut > 0), "{} cut at {cut}", case.fields["kind"]);
        }
    }
}

/// Every byte of every message is replaced with other values, with a wrong and with a corrected checksum: nothing
/// panics, and with a wrong checksum the contents are never used.
#[test]
fn mutations_never_panic() {
    let limits = Limits { frame_bytes: 4096, text_bytes: 4096, skipped_bytes: 4096, ..Limits::default() };
    for case in cases() {
        for at in 0..case.bytes.len() {
            for value in [0, 1, 2, 3, 0x7f, 0x80, 0xff, case.bytes[at] ^ 1, case.bytes[at].wrapping_add(1)] {
                let mut bytes = case.bytes.clone();
                bytes[at] = value;
                let _ = read_all(&mut Cursor::new(&bytes), Limits { check_crc: false, ..limits });
                let (counts, _) = read_all(&mut Cursor::new(&bytes), limits);
                let changed_body = at >= HEADER_BYTES && value != case.bytes[at];
                let skipped = case.fields["kind"] == "TRANSFORM";
                assert!(!changed_body || skipped || counts == [0, 0, 1], "byte {at} of {}: {counts:?}", case.fields);
            }
        }
    }
}

#[test]
fn a_damaged_message_is_reported_and_the_next_one_read() {
    let [first, .., last] = &cases()[..] else { panic!() };
    let mut bytes = first.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.extend(&first.bytes);
    bytes.extend(&last.bytes);
    let mut reader = MessageReader::new(Limits::default());
    let mut source = Cursor::new(&bytes);
    match reader.next(&mut source).unwrap() {
        Received::Damaged(header, error @ ProtocolError::Checksum { .. }) => {
            assert_eq!(header.kind, "IMAGE");
            assert!(error.to_string().contains("damaged on the way"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(reader.next(&mut source), Ok(Received::Message(_))));
    assert!(matches!(reader.next(&mut source), Ok(Received::Skipped(_))));
    assert!(matches!(reader.next(&mut source), Ok(Received::Closed { within_message: false })));
}

/// The size in a header is believed only within the limits, and memory grows with the received bytes.
#[test]
fn huge_sizes_are_refused_before_memory_is_taken() {
    let limits = Limits::default();
    for kind in ["IMAGE", "STRING", "STATUS", "POLYDATA", "GET_IMAGE", "TRANSFORM", "VIDEO"] {
        for body_bytes in [1 << 30, 1 << 40, u64::MAX] {
            let header = Header {
                version: 1,
                kind: TypeName::new(kind).unwrap(),
                device: DeviceName::new("x").unwrap(),
                timestamp: Timestamp(0),
                body_bytes,
                crc: 0,
            };
            let mut reader = MessageReader::new(limits);
            let mut source = Cursor::new([&header.to_bytes()[..], &[0; 100]].concat());
            let error = reader.next(&mut source).unwrap_err();
            assert!(matches!(error, ReadError::Protocol(ProtocolError::TooLarge { .. })), "{kind}: {error}");
            assert!(error.to_string().contains(&body_bytes.to_string()), "{error}");
            assert_eq!((source.position(), reader.kept_bytes()), (58, 0), "{kind}");
        }
    }
    // Within the limits, but the contents never arrive.
    let header = Header {
        version: 1,
        kind: TypeName::new("IMAGE").unwrap(),
        device: DeviceName::new("x").unwrap(),
        timestamp: Timestamp(0),
        body_bytes: limits.frame_bytes,
        crc: 0,
    };
    let mut reader = MessageReader::new(limits);
    let received = reader.next(&mut Cursor::new([&header.to_bytes()[..], &[0; 100]].concat())).unwrap();
    assert!(matches!(received, Received::Closed { within_message: true }));
    assert!(reader.kept_bytes() <= 64 << 10, "{}", reader.kept_bytes());
}

#[test]
fn a_message_that_does_not_go_on_is_given_up() {
    let bytes = &cases()[0].bytes;
    for sent in [1, 58, 60] {
        let limits = Limits { stall: Duration::from_millis(300), ..Limits::default() };
        let mut reader = MessageReader::new(limits);
        let mut source = Pieces { rest: &bytes[..sent], pieces: vec![0, sent], next: 0 };
        while !source.rest.is_empty() {
            assert!(matches!(reader.next(&mut source), Ok(Received::Nothing)));
        }
        source.pieces = vec![0];
        assert!(matches!(reader.next(&mut source), Ok(Received::Nothing)));
        std::thread::sleep(Duration::from_millis(400));
        let error = reader.next(&mut source).unwrap_err();
        assert!(matches!(error, ReadError::Stalled { .. }), "{sent}: {error}");
    }
    // A message that arrives byte by byte has a time limit too.
    let limits = Limits { message: Duration::from_millis(50), ..Limits::default() };
    let long = vec![0; 1 << 20];
    let mut message = Vec::new();
    let header = ImageHeader::new(1, 1024, 1024, Geometry::default());
    Envelope::new(DeviceName::new("x").unwrap(), Timestamp(0))
        .write(Outgoing::Image(Image { header, pixels: &long }), &mut message);
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(1));
            into[0] = self.0[0];
            self.0 = &self.0[1..];
            Ok(1)
        }
    }
    let error = MessageReader::new(limits).next(&mut Slow(&message)).unwrap_err();
    assert!(matches!(error, ReadError::Stalled { .. }), "{error}");
}
