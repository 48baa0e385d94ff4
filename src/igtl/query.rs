//! Messages that request messages: their type is a prefix and another message's type.

use super::TypeName;

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// One message.
    Get,
    /// Messages from now on.
    Start,
    /// No more messages.
    Stop,
}

impl Request {
    const PREFIXES: [(&'static [u8], Self); 3] = [(b"GET_", Self::Get), (b"STT_", Self::Start), (b"STP_", Self::Stop)];

    /// The request in a type name and its subject: `STT_IMAGE` starts `IMAGE`.
    pub fn of(kind: &TypeName) -> Option<(Self, TypeName)> {
        let of_prefix = |(prefix, request): &(&[u8], Self)| {
            let subject = std::str::from_utf8(kind.as_bytes().strip_prefix(*prefix)?).ok()?;
            Some((*request, TypeName::new(subject)?))
        };
        Self::PREFIXES.iter().find_map(of_prefix)
    }
}

/// The type of the answer to a start or stop: `RTS_` and the subject, cut to the field's length as the reference library
/// cuts it.
pub(crate) fn answer_type(subject: &TypeName) -> Option<TypeName> {
    let text: String = format!("RTS_{subject}").chars().take(12).collect();
    TypeName::new(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_messages() {
        let of = |text: &str| Request::of(&TypeName::new(text).unwrap());
        assert_eq!(of("STT_IMAGE"), Some((Request::Start, TypeName::new("IMAGE").unwrap())));
        assert_eq!(of("STP_POLYDATA"), Some((Request::Stop, TypeName::new("POLYDATA").unwrap())));
        assert_eq!(of("GET_STATUS"), Some((Request::Get, TypeName::new("STATUS").unwrap())));
        assert_eq!((of("IMAGE"), of("RTS_IMAGE")), (None, None));
        assert_eq!(answer_type(&TypeName::new("POLYDATA").unwrap()).unwrap(), "RTS_POLYDATA");
        assert_eq!(answer_type(&TypeName::new("TRANSFORM").unwrap()).unwrap(), "RTS_TRANSFOR");
    }
}
