//! Bundles of an input, with correct sums, and what is done with those that open.

use causalclipseg::bundle::{ALIGNMENT, Bundle, BundleBuilder, FORMAT_VERSION, MAGIC, MAX_TOKENIZER_BYTES, Sha256};
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::graph::Shape;
use causalclipseg::prompt::Tokenizer;
use causalclipseg::{Model, ModelOptions, Session, SessionOptions};
use serde_json::Value;
use std::sync::Arc;

/// Separates the parts of an input: no text contains it.
pub const SEPARATOR: [u8; 4] = [0xff, 0xfe, 0xfd, 0xfc];
const HEADER_BYTES: usize = 56;
/// The most numbers of all values of a network that is run: more only takes longer.
const MOST_NUMBERS: usize = 1 << 18;
/// The memory of a model that is run.
const MEMORY_CAP_BYTES: u64 = 64 << 20;

/// How far a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    Refused,
    Opened,
    Planned,
    Run,
}

/// The file of an input. After an even byte follow its parts (manifest, graph, tokenizer.json, table of tokens, weights,
/// self-test): the manifest then has their positions and sums, and the tokenizer.json its compression. After an odd byte follows the
/// file, whose sums are put right.
pub fn file_of(input: &[u8]) -> Option<Vec<u8>> {
    let (&form, rest) = input.split_first()?;
    Some(if form % 2 == 0 { of_parts(rest) } else { with_sums(rest) })
}

fn of_parts(input: &[u8]) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    let part = |number: usize| parts.get(number).copied().unwrap_or_default();
    let mut tokenizer = if part(2).is_empty() { Vec::new() } else { stored(part(2)) };
    let table = (!part(3).is_empty()).then(|| {
        append_aligned(&mut tokenizer, part(3));
        tokenizer.len() - part(3).len()
    });
    let contents = [part(1), tokenizer.as_slice(), part(4), part(5)];
    let mut data = Vec::new();
    let mut ranges = Vec::new();
    for content in contents {
        append_aligned(&mut data, content);
        ranges.push(data.len() - content.len());
    }
    let Ok(mut manifest) = serde_json::from_slice::<Value>(part(0)) else { return put_together(part(0), &data) };
    if let Some(listed) = manifest.get_mut("parts").and_then(Value::as_array_mut) {
        for (number, (listed, content)) in listed.iter_mut().zip(contents).enumerate() {
            let Some(listed) = listed.as_object_mut() else { continue };
            listed.insert("offset".into(), ranges[number].into());
            listed.insert("bytes".into(), content.len().into());
            listed.insert("sha256".into(), Sha256::of(content).to_string().into());
            if let (true, Some(at)) = (listed.contains_key("token_table"), table) {
                listed.insert("token_table".into(), at.into());
            }
            set_stretches(listed, content);
        }
    }
    put_together(&manifest.to_string().into_bytes(), &data)
}

fn with_sums(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let Some(length) = file.get(16..24).and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?))) else {
        return file;
    };
    let end = HEADER_BYTES.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    let Some(text) = file.get(HEADER_BYTES..end).map(<[u8]>::to_vec) else { return file };
    let data = file.get(end.next_multiple_of(ALIGNMENT as usize)..).unwrap_or_default().to_vec();
    if let Ok(mut manifest) = serde_json::from_slice::<Value>(&text) {
        for listed in manifest.get_mut("parts").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(listed) = listed.as_object_mut() else { continue };
            let number =
                |key: &str| listed.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
            let Some((offset, bytes)) = number("offset").zip(number("bytes")) else { continue };
            let Some(content) = offset.checked_add(bytes).and_then(|end| data.get(offset..end)) else { continue };
            listed.insert("sha256".into(), Sha256::of(content).to_string().into());
            set_stretches(listed, content);
        }
        let text = manifest.to_string().into_bytes();
        let mut mended = put_together(&text, &data);
        mended[..16].copy_from_slice(&file[..16]);
        return mended;
    }
    file[24..56].copy_from_slice(&Sha256::of(&text).0);
    file
}

fn set_stretches(listed: &mut serde_json::Map<String, Value>, content: &[u8]) {
    let Some(stretches) = listed.get_mut("stretches").and_then(Value::as_object_mut) else { return };
    let length = stretches.get("bytes").and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok());
    if let Some(length) = length.filter(|length| *length >= 64) {
        let sums = content.chunks(length).map(|stretch| Value::from(Sha256::of(stretch).to_string())).collect();
        stretches.insert("sha256".into(), Value::Array(sums));
    }
}

/// A zlib stream (RFC 1950) of stored blocks.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    let (mut low, mut high) = (1u32, 0u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    stream.extend((high << 16 | low).to_be_bytes());
    stream
}

fn append_aligned(file: &mut Vec<u8>, content: &[u8]) {
    file.resize(file.len().next_multiple_of(ALIGNMENT as usize), 0);
    file.extend(content);
}

/// A file with this manifest and its correct sum.
fn put_together(manifest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(FORMAT_VERSION.to_le_bytes());
    file.extend([0; 4]);
    file.extend((manifest.len() as u64).to_le_bytes());
    file.extend(Sha256::of(manifest).0);
    file.extend(manifest);
    append_aligned(&mut file, data);
    file
}

/// Opens a file, and where that succeeds uses all that it contains. Nothing may panic, and what opens can be written again.
pub fn open_and_use(file: Vec<u8>) -> Reached {
    let Ok(bundle) = Bundle::from_bytes(file) else { return Reached::Refused };
    let bundle = Arc::new(bundle);
    let _ = bundle.verify_integrity();
    let _ = bundle.weights();
    for tensor in &bundle.manifest().tensors {
        if let Ok(values) = bundle.values(&tensor.name) {
            assert_eq!(values.shape(), tensor.shape);
        }
    }
    if let Ok(json) = bundle.tokenizer_json() {
        assert!(json.len() as u64 <= MAX_TOKENIZER_BYTES);
        let again = BundleBuilder::from_bundle(&bundle).and_then(|builder| builder.to_bytes());
        again.expect("what opens can be written again");
    }
    use_table(&bundle);
    let numbers = bundle.graph().nodes.iter().map(|node| elements(node.shape)).fold(0, usize::saturating_add);
    if numbers > MOST_NUMBERS { Reached::Opened } else { run(bundle) }
}

fn use_table(bundle: &Arc<Bundle>) {
    let Some(tokenizer) = Tokenizer::from_table(bundle) else { return };
    for text in ["", "A dark mass.", "it's 12 mm 病变 \u{0}", "<|endoftext|>mas mas<|startoftext|>"] {
        if let Ok(tokens) = tokenizer.encode(text, 200) {
            assert!(tokens.ids().iter().all(|id| *id <= tokenizer.end_of_text()));
        }
    }
}

fn elements(shape: Shape) -> usize {
    match shape {
        Shape::Map { channels, height, width } => channels.saturating_mul(height).saturating_mul(width),
        Shape::Sequence { length, width } => length.unwrap_or(77).saturating_mul(width),
        Shape::Vector { width } => width,
        Shape::Tokens { context } => context,
    }
}

fn run(bundle: Arc<Bundle>) -> Reached {
    let options = ModelOptions::default().with_memory_cap_bytes(Some(MEMORY_CAP_BYTES));
    let Ok(model) = Model::from_bundle(bundle, options) else { return Reached::Opened };
    let _ = model.self_test();
    let Ok(prompt) = model.prompt("A mass.") else { return Reached::Planned };
    let Ok(mut session) = Session::new(&model, SessionOptions::default()) else { return Reached::Planned };
    let pixels: Vec<u8> = (0..20 * 10).map(|at| (at * 7 % 256) as u8).collect();
    let frame = Frame::packed(&pixels, PixelFormat::Gray8, 20, 10).expect("a frame of its size");
    match session.run(&frame, &[prompt]) {
        Ok(report) => {
            assert_eq!(report.findings.len(), 1);
            Reached::Run
        }
        Err(_) => Reached::Planned,
    }
}
