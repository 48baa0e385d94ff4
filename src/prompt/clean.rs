//! Text cleaning as in CLIP's tokenizer before it splits words: ftfy's repairs, HTML references, lower case. Steps that
//! a tokenizer.json can express (composition to NFC, white space) are left to it.
//!
//! One of ftfy's repairs is left out: text that was decoded with the wrong character set (`donâ€™t`) stays as it is.

use super::entities::{unescape, windows_1252};
use tokenizers::NormalizedString;

/// The most rounds: text is escaped once or twice by accident; only a hostile text needs more, and each costs its
/// length.
const MAX_ROUNDS: usize = 64;

/// Cleans a prompt. The result may still have runs of white space.
pub(super) fn clean(text: &str) -> String {
    // A tag means that the line is HTML, in which the first step would turn escaped text into tags.
    let mut text: String = text.split_inclusive('\n').map(|line| repair(line, !line.contains('<'))).collect();
    for _ in 0..2 {
        text = unescape(&text);
    }
    // Here and not only in tokenizer.json: a final sigma depends on its neighbours, which a normaliser by character misses,
    // and special tokens are looked for before normalisers run.
    text.trim().to_lowercase()
}

/// Repairs until nothing changes: text that was escaped twice is unescaped twice.
fn repair(text: &str, is_plain: bool) -> String {
    let mut text = text.to_string();
    for _ in 0..MAX_ROUNDS {
        let mut repaired = if is_plain { unescape_closed(&text) } else { text.clone() };
        repaired = drop_terminal_escapes(&repaired);
        let mut characters = String::with_capacity(repaired.len());
        repaired.chars().for_each(|c| push_plain(c, &mut characters));
        if characters == text {
            break;
        }
        text = characters;
    }
    NormalizedString::from(text).nfc().get().to_string()
}

/// Replaces only references that end in a semicolon, so that `AT&T` stays.
fn unescape_closed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let body = reference[1..].strip_prefix('#').unwrap_or(&reference[1..]);
        let length = body.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(body.len());
        let end = reference.len() - body.len() + length + 1;
        if (1..=24).contains(&length) && reference.as_bytes().get(end - 1) == Some(&b';') {
            out.push_str(&unescape(&reference[..end]));
            rest = &reference[end..];
        } else {
            out.push('&');
            rest = &reference[1..];
        }
    }
    out.push_str(rest);
    out
}

/// Drops `ESC [ digits letter`, which colours text in a terminal.
fn drop_terminal_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        let command = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match command.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(following) => rest = following,
            None => {
                out.push_str("\u{1b}[");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Writes a character in its plain form: ligatures are split, C1 codes read as Windows-1252, full-width forms become
/// narrow and curly quotes straight, controls are dropped.
fn push_plain(c: char, out: &mut String) {
    let ligature = match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => "",
    };
    match c {
        '\u{80}'..='\u{9f}' if windows_1252(c) != c => push_plain(windows_1252(c), out),
        _ if !ligature.is_empty() => ligature.chars().for_each(|c| push_plain(c, out)),
        'ʼ' | '\u{2018}'..='\u{201b}' => out.push('\''),
        '\u{201c}'..='\u{201f}' => out.push('"'),
        '\u{3000}' => out.push(' '),
        '\u{ff01}'..='\u{ffef}' => out.push_str(NormalizedString::from(c.to_string()).nfkc().get()),
        '\u{0}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
        '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => {}
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_repaired_as_clip_does() {
        for (text, expected) in [
            ("  A  Mass\n", "a  mass"),
            ("&amp;amp;lt;b&amp;gt;", "<b>"),
            // HTML keeps its first level of escapes for the two later rounds.
            ("<b>&amp;amp;lt;", "<b>&lt;"),
            ("<b>&amp;amp;lt;\n&amp;amp;lt;", "<b>&lt;\n<"),
            ("AT&T &copy 2024", "at&t © 2024"),
            ("ﬁbroadenoma ŉ", "fibroadenoma 'n"),
            ("O’Neil‘s “cyst”", "o'neil's \"cyst\""),
            ("ＡＢＣ　１２！ ｶﾞ", "abc 12! ガ"),
            ("\u{1b}[36;1mred\u{1b}[0m \u{1b}[", "red ["),
            ("a\u{85}\u{93}b\u{81}", "a…\"b\u{81}"),
            ("a\u{0}b\u{feff}c\u{7f}", "abc"),
            ("e\u{301} ΟΔΟΣ", "é οδος"),
            ("<|STARTOFTEXT|>", "<|startoftext|>"),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
    }

    #[test]
    fn deep_escapes_are_read_to_a_bound() {
        let deep = |levels: usize| clean(&format!("&{}lt;", "amp;".repeat(levels)));
        assert_eq!(deep(60), "<");
        // One level a round, two more by the rounds after the repairs.
        assert_eq!(deep(100), format!("&{}lt;", "amp;".repeat(100 - MAX_ROUNDS - 2)));
    }
}
