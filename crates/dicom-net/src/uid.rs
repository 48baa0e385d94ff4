//! Unique identifiers.

/// The most characters of a UID.
const MAX_UID: usize = 64;

/// The class of this implementation, in every association.
pub(crate) const IMPLEMENTATION_CLASS: &str = "2.25.291839640012374981624370419253871645201";
/// The name of this implementation, of 16 characters at most.
pub(crate) const IMPLEMENTATION_VERSION: &str = "CAUSALCLIPSEG_01";

/// A UID as peers write it, without padding; `None` unless it can be the name of a file. Letters are not allowed in the
/// standard, and harmless.
pub(crate) fn checked(text: &str) -> Option<&str> {
    let text = text.trim_matches([' ', '\0']);
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    (starts && text.len() <= MAX_UID && text.chars().all(plain)).then_some(text)
}

/// A new unique UID (PS3.5, B.2); `None` without the system's random numbers.
pub(crate) fn new() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    // The version and variant of a random UUID.
    let number = u128::from_be_bytes(random) & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    Some(format!("2.25.{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(checked("1.2.3\0"), Some("1.2.3"));
        assert_eq!(checked(&"1".repeat(64)).map(str::len), Some(64));
        for bad in ["", ".", "..", ".1", "1/2", "1\\2", "1 2", "-1", &"1".repeat(65), "ä"] {
            assert_eq!(checked(bad), None, "{bad:?}");
        }
        let (one, other) = (new().unwrap(), new().unwrap());
        assert!(one != other && checked(&one).is_some() && checked(IMPLEMENTATION_CLASS).is_some());
    }
}
