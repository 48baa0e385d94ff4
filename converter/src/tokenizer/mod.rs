//! CLIP's tokenizer as a tokenizer.json, generated from its table of merges (see README.md here for its origin).

use serde_json::{Map, Value, json};

const MERGES: &str = include_str!("clip_merges.txt");
const END_OF_WORD: &str = "</w>";
const SPECIAL_TOKENS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

/// CLIP's definition of a word: contractions' tails, letters, a single digit, or a run of other characters except white
/// space.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The tokenizer.json of packed models: 49,408 tokens, of which the last two start and end a text.
///
/// It covers the part of OpenAI's tokenizer that the format can express. The rest, HTML references and the repair of
/// quotes, ligatures and widths, is code: [`causalclipseg::prompt`].
pub fn clip_tokenizer_json() -> Vec<u8> {
    let vocabulary = vocabulary();
    let special_tokens: Vec<Value> = SPECIAL_TOKENS.iter().map(|token| special(token, &vocabulary[*token])).collect();
    let [start, end] = SPECIAL_TOKENS;
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special_tokens,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {
            "type": "RobertaProcessing", "trim_offsets": false, "add_prefix_space": false,
            "cls": [start, vocabulary[start]], "sep": [end, vocabulary[end]],
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": END_OF_WORD, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary,
            "merges": MERGES.lines().collect::<Vec<_>>(),
        },
    });
    json.to_string().into_bytes()
}

/// Ids by token: the bytes, the bytes at a word's end, the result of each merge, the special tokens.
fn vocabulary() -> Map<String, Value> {
    let bytes = byte_characters();
    let tokens = bytes.iter().map(char::to_string);
    let tokens = tokens.chain(bytes.iter().map(|c| format!("{c}{END_OF_WORD}")));
    let tokens = tokens.chain(MERGES.lines().map(|merge| merge.replace(' ', "")));
    let tokens = tokens.chain(SPECIAL_TOKENS.map(str::to_string));
    tokens.enumerate().map(|(id, token)| (token, id.into())).collect()
}

/// The characters that represent bytes in byte-level BPE (Radford et al., 2019), in the order of CLIP's ids: printable
/// bytes of Latin-1 as themselves, then the others by characters from U+0100 on.
fn byte_characters() -> Vec<char> {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8).filter(|byte| !is_printable(byte)).count() as u8;
    let stand_ins = (0..others).filter_map(|number| char::from_u32(0x100 + u32::from(number)));
    (0..=255u8).filter(is_printable).map(char::from).chain(stand_ins).collect()
}

fn special(token: &str, id: &Value) -> Value {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        // Searched before the words are split, as in CLIP's own expression.
        "normalized": false, "special": true,
    })
}
