//! Changed bundles with correct sums: whatever the parts contain, opening and using them ends with a result or an error.

#[expect(unreachable_pub, reason = "a module of the fuzz targets' library")]
#[path = "../../fuzz/src/bundle.rs"]
mod fuzzed;
#[expect(unreachable_pub, reason = "a module of the seeds' program")]
#[path = "../../fuzz/seeds/src/bundle.rs"]
mod seeds;

use fuzzed::{Reached, SEPARATOR, file_of, open_and_use};

/// The seeds of the fuzz target reach the code that it is for.
#[test]
fn the_seeds_open_and_run() {
    assert_eq!(seeds::SEPARATOR, SEPARATOR);
    for (name, input) in seeds::bundles() {
        let reached = open_and_use(file_of(&input).unwrap());
        // Plain tract, where it is built in, has no memory cap, so it is not run.
        let expected = if name.starts_with("published") { Reached::Opened } else { Reached::Run };
        assert_eq!(reached, expected, "{name}");
    }
}

/// Bytes of small bundles' texts and tables, and some of their weights'. The fuzz target changes several at once.
#[test]
fn mutations_never_panic() {
    const VALUES: [u8; 5] = [b'9', b'-', b'{', 0, 0xff];
    let mut counts = [0; 4];
    for (name, input) in seeds::bundles() {
        let step = match name.as_str() {
            "plain_parts" | "int8_parts" => 1,
            "decoder_parts" | "published_parts" | "plain_file" => 5,
            _ => 97,
        };
        let (mut part, mut at) = (0, 1);
        while at < input.len() {
            if input[at..].starts_with(&SEPARATOR) {
                (part, at) = (part + 1, at + SEPARATOR.len());
                continue;
            }
            let mut changed = input.clone();
            changed[at] = if at % 2 == 0 { input[at] ^ 1 << (at / 2 % 8) } else { VALUES[at / 2 % VALUES.len()] };
            counts[open_and_use(file_of(&changed).unwrap()) as usize] += 1;
            // Weights are long, and alike everywhere.
            at += if part == 4 { 97 } else { step };
        }
    }
    // Sums do not hide the rest: many changed files are opened, and run.
    assert!(counts[Reached::Refused as usize] > 1000 && counts[Reached::Run as usize] > 1000, "{counts:?}");
}

/// The whole numbers of texts, each replaced by others: limits, multiples of the alignment, what overflows.
#[test]
fn other_numbers_never_panic() {
    const VALUES: [&str; 6] = ["0", "64", "1048576", "-1", "18446744073709551552", "1e30"];
    let mut counts = [0; 4];
    // The tokenizer.json of the others has a number for each token.
    for (_, input) in seeds::bundles().into_iter().take(8).filter(|(name, _)| name.ends_with("_parts")) {
        let mut at = 1;
        while at < input.len() {
            let digits = input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            // Not within the names of weights and sums, nor in tables.
            if digits > 0 && [b':', b'[', b','].contains(&input[at - 1]) && b",]}".contains(&input[at + digits]) {
                for value in VALUES {
                    let changed = [&input[..at], value.as_bytes(), &input[at + digits..]].concat();
                    counts[open_and_use(file_of(&changed).unwrap()) as usize] += 1;
                }
            }
            at += digits.max(1);
        }
    }
    assert!(counts[Reached::Refused as usize] > 1000 && counts[Reached::Run as usize] > 100, "{counts:?}");
}
