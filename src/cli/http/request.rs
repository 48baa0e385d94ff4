//! One request, checked, and its reply.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use std::time::Duration;

/// The largest body of a request, in bytes: many times what a page sends.
const BODY_BYTES: usize = 64 << 10;
/// The time that a client has to send a body.
const BODY_TIME: Duration = Duration::from_secs(5);

/// A request whose sender is a page of this server, or a program on this machine.
pub(crate) struct Request {
    pub method: Method,
    /// Begins with a slash; as it came, without decoding.
    pub path: String,
    /// What follows the question mark.
    pub query: String,
    pub body: Bytes,
}

/// The answer to a request.
pub(crate) struct Reply {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Request {
    /// Checks a request to the server at `port`, and receives its body.
    ///
    /// # Errors
    /// The reply to a request that was meant for another host, comes from another site's page, or has too large a body.
    pub(crate) async fn receive(port: u16, request: hyper::Request<Incoming>) -> Result<Self, Reply> {
        let (parts, body) = request.into_parts();
        // A page elsewhere can reach a server on this machine by a name of its own for 127.0.0.1, or by sending a form.
        let host = text(&parts.headers, header::HOST).unwrap_or_default();
        if !is_this_machine(host, port) {
            return Err(Reply::refusal(StatusCode::FORBIDDEN, "use the address that the command printed"));
        }
        let is_own_page = |origin: &str| origin.strip_prefix("http://").is_some_and(|origin| origin == host);
        if text(&parts.headers, header::ORIGIN).is_some_and(|origin| !is_own_page(origin)) {
            return Err(Reply::refusal(StatusCode::FORBIDDEN, "this server answers its own pages only"));
        }
        let too_large = || {
            let reason = format!("the request has more than {BODY_BYTES} bytes");
            Err(Reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, reason))
        };
        // What is announced, before any of it arrives.
        if body.size_hint().lower() > BODY_BYTES as u64 {
            return too_large();
        }
        let body = match tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await {
            Err(_) => return Err(Reply::refusal(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return too_large(),
            Ok(Err(_)) => return Err(Reply::refusal(StatusCode::BAD_REQUEST, "the request ended too early")),
            Ok(Ok(body)) => body.to_bytes(),
        };
        let query = parts.uri.query().unwrap_or_default().to_string();
        Ok(Self { method: parts.method, path: parts.uri.path().to_string(), query, body })
    }
}

/// A header's text, where it has one.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether a Host header names this machine by its loopback addresses.
fn is_this_machine(host: &str, port: u16) -> bool {
    let Some((name, number)) = host.rsplit_once(':') else { return false };
    ["127.0.0.1", "localhost", "[::1]"].contains(&name) && number.parse() == Ok(port)
}

impl Reply {
    pub(crate) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type, body: body.into() }
    }

    pub(crate) fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new("application/json", body),
            Err(error) => Self::refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// A refusal with its reason in plain text.
    pub(crate) fn refusal(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: reason.into().into() }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let mut set = |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, self.content_type);
        set(header::CACHE_CONTROL, "no-store");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        // Pages load nothing from elsewhere, and other sites cannot show them in a frame.
        set(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self' data:; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; frame-ancestors 'none'",
        );
        set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        set(HeaderName::from_static("cross-origin-embedder-policy"), "require-corp");
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for host in ["127.0.0.1:80", "localhost:80", "[::1]:80"] {
            assert!(is_this_machine(host, 80), "{host}");
        }
        for host in
            ["", "127.0.0.1", "127.0.0.1:81", "evil.example:80", "localhost.evil.example:80", "localhost:", ":80"]
        {
            assert!(!is_this_machine(host, 80), "{host}");
        }
    }
}
