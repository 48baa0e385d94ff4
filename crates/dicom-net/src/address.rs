//! Titles and addresses of nodes.

use std::fmt;
use std::str::FromStr;

/// The most characters of an application entity title (PS3.5, 6.2: AE).
const MAX_TITLE: usize = 16;

/// Why a title or an address is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

/// The title of an application entity: 1 to 16 printable ASCII characters, without a backslash and without spaces at its
/// ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AeTitle(String);

impl AeTitle {
    /// The title's characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AeTitle {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let printable = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'\\';
        if text.is_empty() || text.len() > MAX_TITLE || text.trim() != text || !text.bytes().all(printable) {
            return Err(AddressError(format!(
                "`{text}` is not an AE title: give 1 to {MAX_TITLE} letters, digits or signs, without a backslash"
            )));
        }
        Ok(Self(text.into()))
    }
}

/// Where results are sent: `AET@HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The title of the called application entity.
    pub title: AeTitle,
    /// Name or address; an IPv6 address is in brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl Destination {
    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name of a file about this destination.
    pub(crate) fn file_name(&self) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "-.".contains(c) { c.to_string() } else { format!("%{:02x}", u32::from(c)) }
        };
        format!("to-{}.json", self.to_string().chars().map(plain).collect::<String>())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.title, self.host, self.port)
    }
}

impl FromStr for Destination {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong =
            || AddressError(format!("`{text}` is not AET@HOST:PORT: write for example ORTHANC@archive.local:4242"));
        let (title, address) = text.rsplit_once('@').ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let plain = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]%".contains(c));
        if host.is_empty() || host.len() > 253 || bare_ipv6 || !plain {
            return Err(wrong());
        }
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        Ok(Self { title: title.parse()?, host: host.into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_addresses() {
        for good in ["A", "CAUSALCLIPSEG", "a b_c-1", "0123456789ABCDEF"] {
            assert_eq!(good.parse::<AeTitle>().unwrap().as_str(), good);
        }
        for bad in ["", " A", "A ", "A\\B", "0123456789ABCDEFG", "ä", "a\n"] {
            assert!(bad.parse::<AeTitle>().is_err(), "{bad:?}");
        }
        let destination: Destination = "A@B@[::1]:104".parse().unwrap();
        assert_eq!((destination.title.as_str(), destination.address().as_str()), ("A@B", "[::1]:104"));
        assert_eq!("X@y.local:4242".parse::<Destination>().unwrap().to_string(), "X@y.local:4242");
        for bad in ["", "X", "X@y", "X@:1", "X@y:0", "X@y:70000", "@y:1", "X@::1:104", "X@a/b:1"] {
            assert!(bad.parse::<Destination>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn destinations_have_files_of_their_own() {
        let names: Vec<String> = ["A@b:1", "A@[::1]:1", "A b@b:1", "A_b@b:1"]
            .iter()
            .map(|text| text.parse::<Destination>().unwrap().file_name())
            .collect();
        assert!(names.iter().all(|name| !name.contains(['/', ':', ' '])), "{names:?}");
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
    }
}
