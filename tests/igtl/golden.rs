//! Messages that pyigtl packed.

use causalclipseg::igtl::{
    ByteOrder, Content, CoordinateSystem, Envelope, FrameAssembler, ImageHeader, Limits, Message, MessageReader,
    Outgoing, Received, ScalarType,
};
use serde_json::Value;
use std::io::Cursor;
use std::path::Path;

/// 2023-11-14T22:13:20.5 in microseconds.
const TIMESTAMP_US: u64 = 1_700_000_000_500_000;

pub struct Case {
    pub bytes: Vec<u8>,
    pub fields: Value,
}

pub fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openigtlink.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let case = |fields: Value| {
        let hex = fields["hex"].as_str().unwrap().as_bytes();
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        Case { bytes: hex.chunks(2).map(digits).collect(), fields }
    };
    cases.into_iter().map(case).collect()
}

/// Reads one message from bytes that hold all of it.
fn with_message(bytes: &[u8], check: impl FnOnce(&Message<'_>)) {
    let mut reader = MessageReader::new(Limits::default());
    match reader.next(&mut Cursor::new(bytes)).unwrap() {
        Received::Message(message) => check(&message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_of_another_implementation_are_read() {
    let mut seen = std::collections::BTreeMap::new();
    for Case { bytes, fields } in cases() {
        let kind = fields["kind"].as_str().unwrap();
        *seen.entry(kind.to_string()).or_insert(0) += 1;
        if kind == "TRANSFORM" {
            let mut reader = MessageReader::new(Limits::default());
            let read = reader.next(&mut Cursor::new(&bytes)).unwrap();
            assert!(matches!(read, Received::Skipped(header) if header.kind == "TRANSFORM"), "{read:?}");
            continue;
        }
        with_message(&bytes, |message| {
            let header = &message.header;
            assert_eq!(u64::from(header.version), fields["version"].as_u64().unwrap());
            assert_eq!(header.timestamp.micros(), TIMESTAMP_US);
            assert_eq!(message.message_id, if header.version > 1 { 77 } else { 0 });
            let metadata: Vec<(String, String)> =
                serde_json::from_value(fields.get("metadata").cloned().unwrap_or_else(|| Value::Array(vec![])))
                    .unwrap();
            assert_eq!(message.metadata, metadata);
            match &message.content {
                Content::Image(image) => {
                    check_image(&image.header, &fields);
                    let mut assembler = FrameAssembler::new(1 << 20, Some(1.0));
                    // Values 0, 1, 2 ... with 1 as white: read correctly, all but the first are white.
                    if image.header.components == 1 && image.header.scalar != ScalarType::Uint8 {
                        let frame = assembler.frame(header.device, image).unwrap();
                        assert_eq!((frame.width(), frame.height()), (3, 2));
                        let [x, y] = frame.mm_per_pixel().unwrap();
                        assert!((x - 0.2).abs() < 1e-6 && (y - 0.3).abs() < 1e-6);
                    } else {
                        assert_eq!(image.pixels, (0..6 * image.header.components).collect::<Vec<u8>>());
                    }
                }
                Content::Text(text) => assert_eq!(text, fields["text"].as_str().unwrap()),
                Content::PolyData(data) => {
                    assert_eq!(serde_json::to_value(&data.points).unwrap(), fields["points"]);
                    assert_eq!(serde_json::to_value(&data.lines).unwrap(), fields["lines"]);
                }
                other => panic!("{other:?}"),
            }
        });
    }
    assert_eq!(seen.values().sum::<i32>(), 38, "{seen:?}");
}

fn check_image(header: &ImageHeader, fields: &Value) {
    assert_eq!(header.scalar as u64, fields["scalar"].as_u64().unwrap());
    assert_eq!(header.byte_order == ByteOrder::Big, fields["big"].as_bool().unwrap());
    assert_eq!(u64::from(header.components), fields["components"].as_u64().unwrap());
    assert_eq!(header.coordinates == CoordinateSystem::Lps, fields.get("lps").is_some());
    assert_eq!((header.size, header.part_size, header.part_offset), ([3, 2, 1], [3, 2, 1], [0; 3]));
    // The matrix puts the first pixel's centre at (10, -20, 30).
    let first = header.geometry.position_mm([0.0; 3], header.size);
    for (found, expected) in first.iter().zip([10.0, -20.0, 30.0]) {
        assert!((found - expected).abs() < 1e-5, "{first:?}");
    }
}

/// A message that was read and written again equals the other implementation's, byte for byte.
#[test]
fn messages_are_written_as_another_implementation_writes_them() {
    let mut written_again = 0;
    for Case { bytes, fields } in cases() {
        // With header version 2, pyigtl writes an index of metadata even where there is none.
        if fields["kind"] == "TRANSFORM" || (fields["version"] == 2 && fields.get("metadata").is_none()) {
            continue;
        }
        with_message(&bytes, |message| {
            let metadata: Vec<(&str, &str)> =
                message.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let envelope = Envelope {
                version: message.header.version,
                device: message.header.device,
                timestamp: message.header.timestamp,
                message_id: message.message_id,
                metadata: &metadata,
            };
            let content = match &message.content {
                Content::Image(image) => Outgoing::Image(*image),
                Content::Text(text) => Outgoing::Text(text),
                Content::PolyData(data) => Outgoing::PolyData(data),
                other => panic!("{other:?}"),
            };
            let mut written = Vec::new();
            envelope.write(content, &mut written);
            assert_eq!(written, bytes, "{fields}");
            written_again += 1;
        });
    }
    assert_eq!(written_again, 20);
}
