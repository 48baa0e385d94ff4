//! The tokenizer.json in a bundle: a third as large compressed, and read once.

use crate::error::Problem;
use crate::manifest::Compression;
use std::borrow::Cow;
use std::io::{Read, Write};

/// The size limit of a tokenizer.json; CLIP's has 1.5 million bytes.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

pub(super) fn compress(json: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let compressed = encoder.write_all(json).and_then(|()| encoder.finish());
    compressed.map_err(Problem::Memory)
}

/// Expands the text; stops at [`MAX_TOKENIZER_BYTES`], whatever size the file claims.
pub(super) fn expand(bytes: &[u8], compression: Option<Compression>) -> Result<Cow<'_, [u8]>, Problem> {
    let Some(Compression::Zlib) = compression else { return Ok(Cow::Borrowed(bytes)) };
    let mut json = Vec::new();
    let mut decoder = flate2::read::ZlibDecoder::new(bytes).take(MAX_TOKENIZER_BYTES + 1);
    let read = decoder.read_to_end(&mut json);
    read.map_err(|error| Problem::layout("tokenizer", error.to_string()))?;
    if json.len() as u64 > MAX_TOKENIZER_BYTES {
        let what = "the size of the tokenizer".to_string();
        return Err(Problem::Limit { what, found: json.len() as u64, limit: MAX_TOKENIZER_BYTES });
    }
    Ok(Cow::Owned(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        let json = b"{\"vocab\": {}}".repeat(1000);
        let compressed = compress(&json).unwrap();
        assert!(compressed.len() < json.len() / 10);
        assert_eq!(expand(&compressed, Some(Compression::Zlib)).unwrap(), json);
        assert_eq!(expand(&json, None).unwrap(), json);
    }

    #[test]
    fn damage_and_bombs_are_refused() {
        let compressed = compress(&b"{}".repeat(1000)).unwrap();
        for bytes in [&compressed[..compressed.len() / 2], b"{}", b""] {
            assert!(expand(bytes, Some(Compression::Zlib)).is_err());
        }
        let bomb = compress(&vec![b' '; MAX_TOKENIZER_BYTES as usize + 1]).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(matches!(expand(&bomb, Some(Compression::Zlib)), Err(Problem::Limit { .. })));
    }
}
