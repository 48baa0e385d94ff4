//! Connects to a server by name.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The first and the longest wait between two attempts to connect; waits double in between.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(250);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(8);

/// Tries all addresses of a name, `HOST:PORT`.
pub(super) fn reach(address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
