//! What a DICOM peer sends: negotiation, C-ECHO, C-STORE and a report on storage commitment.

const VERIFICATION: &str = "1.2.840.10008.1.1";
const ULTRASOUND: &str = "1.2.840.10008.5.1.4.1.1.6.1";
const COMMITMENT: &str = "1.2.840.10008.1.20.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";

/// An item of a negotiation.
fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 0][..], &u16::try_from(value.len()).unwrap_or(0).to_be_bytes(), value].concat()
}

fn unit(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, 0][..], &u32::try_from(value.len()).unwrap_or(0).to_be_bytes(), value].concat()
}

fn request() -> Vec<u8> {
    let mut value = [&[0, 1, 0, 0][..], format!("{:16}{:16}", "NODE", "PEER").as_bytes(), &[0; 32]].concat();
    value.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, class) in [(1, VERIFICATION), (3, ULTRASOUND), (5, COMMITMENT)] {
        let context = [vec![id, 0, 0, 0], item(0x30, class.as_bytes()), item(0x40, IMPLICIT.as_bytes())].concat();
        value.extend(item(0x20, &context));
    }
    let role = [&[0, 20][..], COMMITMENT.as_bytes(), &[0, 1]].concat();
    let user = [item(0x51, &[0, 0, 64, 0]), item(0x52, b"1.2.3"), item(0x54, &role)].concat();
    value.extend(item(0x50, &user));
    unit(1, &value)
}

/// A data element in Implicit VR Little Endian.
fn element(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(0);
    [&group.to_le_bytes()[..], &number.to_le_bytes(), &length.to_le_bytes(), value].concat()
}

fn message(context: u8, field: u16, class: &str, data: &[u8]) -> Vec<u8> {
    let kind: u16 = if data.is_empty() { 0x0101 } else { 1 };
    let command = [
        element(0, 2, class.as_bytes()),
        element(0, 0x100, &field.to_le_bytes()),
        element(0, 0x110, &1u16.to_le_bytes()),
        element(0, 0x800, &kind.to_le_bytes()),
        element(0, 0x1000, b"1.2.3.4 "),
        element(0, 0x1002, &1u16.to_le_bytes()),
    ]
    .concat();
    let value = |header: u8, bytes: &[u8]| {
        let length = u32::try_from(bytes.len() + 2).unwrap_or(0);
        [&length.to_be_bytes()[..], &[context, header], bytes].concat()
    };
    let mut values = value(3, &command);
    if !data.is_empty() {
        values.extend(value(2, data));
    }
    unit(4, &values)
}

/// The seeds: the first byte is the size of the pieces.
pub fn dicom_peer() -> Vec<(String, Vec<u8>)> {
    let reference = [element(8, 0x1150, b"1.2 "), element(8, 0x1155, b"1.2.3.4 ")].concat();
    let sequence = element(0xfffe, 0xe000, &reference);
    let report = [element(8, 0x1195, b"2.25.1"), element(8, 0x1199, &sequence)].concat();
    let release = unit(5, &[0; 4]);
    let all = |message: Vec<u8>| [vec![255], request(), message, release.clone()].concat();
    vec![
        ("echo".into(), all(message(1, 0x30, VERIFICATION, &[]))),
        ("store".into(), all(message(3, 1, ULTRASOUND, &element(8, 0x18, b"1.2.3.4 ")))),
        ("report".into(), all(message(5, 0x100, COMMITMENT, &report))),
    ]
}
