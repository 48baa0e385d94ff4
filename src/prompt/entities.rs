//! HTML character references, by the rules of the HTML standard (13.5, named character references; 13.2.5.80, numeric
//! ones) in the version of Python's `html.unescape`, which CLIP's tokenizer calls.

use std::sync::LazyLock;

/// Names in byte order, with or without their semicolon, and the code points of each.
static NAMED: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let table = include_str!("html_entities.txt");
    table.lines().filter_map(|line| line.split_once(' ')).map(|(name, points)| (name, characters(points))).collect()
});

/// The Windows-1252 meaning of a control code from 0x80 to 0x9F; any other character is unchanged.
pub(super) fn windows_1252(c: char) -> char {
    match u32::from(c) {
        point @ 0x80..=0x9F => WINDOWS_1252[point as usize - 0x80],
        _ => c,
    }
}

/// The meaning of the C1 control codes 0x80 to 0x9F in browsers: Windows-1252, where it assigns them.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The longest name that is looked up, in characters.
const LONGEST_NAME: usize = 32;

fn characters(points: &str) -> String {
    points.split(' ').filter_map(|point| char::from_u32(u32::from_str_radix(point, 16).ok()?)).collect()
}

fn named(name: &str) -> Option<&'static str> {
    let at = NAMED.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(&NAMED[at].1)
}

/// Replaces every character reference once.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let read = rest.strip_prefix('#').map_or_else(|| read_named(rest), read_numeric);
        match read {
            Some((characters, after)) => {
                out.push_str(&characters);
                rest = after;
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    out
}

/// Reads the text after an ampersand: the characters, and what follows the reference.
fn read_named(text: &str) -> Option<(String, &str)> {
    let stops = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let length = text.chars().take(LONGEST_NAME).take_while(|c| !stops(*c)).map(char::len_utf8).sum::<usize>();
    let with_semicolon = length + usize::from(length > 0 && text[length..].starts_with(';'));
    // The longest known name wins: `&notit;` is `¬it;`.
    let ends = text[..with_semicolon].char_indices().map(|(at, c)| at + c.len_utf8());
    let mut ends: Vec<usize> = ends.filter(|end| *end >= 2).collect();
    ends.reverse();
    ends.into_iter().find_map(|end| Some((named(&text[..end])?.to_string(), &text[end..])))
}

/// Reads the text after `&#`.
fn read_numeric(text: &str) -> Option<(String, &str)> {
    let (digits, radix) = match text.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let after = digits[length..].strip_prefix(';').unwrap_or(&digits[length..]);
    let point = digits[..length].chars().try_fold(0u32, |point, digit| {
        point.checked_mul(radix)?.checked_add(digit.to_digit(radix)?).filter(|point| *point <= 0x10_FFFF)
    });
    Some((point.map_or("\u{fffd}".into(), numbered), after))
}

fn numbered(point: u32) -> String {
    match point {
        0x80..=0x9F => char::from_u32(point).map(windows_1252).unwrap_or('\u{fffd}').into(),
        0 => "\u{fffd}".into(),
        // Control codes and noncharacters are dropped.
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0xFDD0..=0xFDEF => String::new(),
        _ if point & 0xFFFE == 0xFFFE => String::new(),
        _ => char::from_u32(point).unwrap_or('\u{fffd}').into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_browsers_do() {
        for (text, expected) in [
            ("&lt;3 &amp; &GT;", "<3 & >"),
            ("&amp;lt;", "&lt;"),
            ("&notit; &notin; &nosuch;", "¬it; ∉ &nosuch;"),
            ("&eacute &eacutex", "é éx"),
            ("&#181;m &#xb5;m &#XB5m", "µm µm µm"),
            ("&#150;&#x80;", "–€"),
            ("&#0;&#xD800;&#x110000;&#99999999999999999999;", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("&#1;&#xFFFE;", ""),
            ("&# &#x; & &; &", "&# &#x; & &; &"),
            ("&乳腺;&é", "&乳腺;&é"),
            ("&NotEqualTilde;", "≂̸"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert_eq!(NAMED.len(), 2231);
        assert!(NAMED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NAMED.iter().all(|(_, characters)| !characters.is_empty()));
    }
}
