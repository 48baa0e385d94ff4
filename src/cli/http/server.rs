//! The thread that accepts connections and answers requests.

use super::super::Failure;
use super::{Reply, Request};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The most connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 32;
/// The time that a client has for the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes.
const HEADER_BYTES: usize = 16 << 10;
/// A connection ends after this long, between two requests; browsers open another. So one that stalls does not keep its place.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// The time after that for a reply that is under way.
const LAST_REPLY_TIME: Duration = Duration::from_secs(5);

/// The pages and data of a server.
pub(crate) trait Site: Send + Sync + 'static {
    /// Answers a request; may wait for an event.
    fn answer(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// A server on its own thread, which runs until the process ends.
pub(crate) struct Server {
    address: SocketAddr,
}

impl Server {
    /// Listens on 127.0.0.1 at `port`; at a free one for 0.
    ///
    /// # Errors
    /// The port is in use or forbidden, or the system creates no thread.
    pub(crate) fn start(port: u16, site: Arc<impl Site>) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
            format!("127.0.0.1:{port} can't be listened on ({error}); choose another port with --port, or 0 for any that is free")
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => accept(&listener, address.port(), &site).await,
                    Err(error) => log::error!("pages are not served: {error}"),
                }
            });
        };
        thread::Builder::new().name("causalclipseg-http".into()).spawn(serve)?;
        Ok(Self { address })
    }

    /// The address of the first page.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn accept(listener: &tokio::net::TcpListener, port: u16, site: &Arc<impl Site>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Never closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let site = site.clone();
                tokio::spawn(async move {
                    serve(socket, port, site).await;
                    drop(place);
                });
            }
            Err(error) => {
                // For example out of file handles, which is temporary.
                log::warn!("a connection was not accepted ({error})");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the requests of one connection.
async fn serve(socket: TcpStream, port: u16, site: Arc<impl Site>) {
    let answer = |request| {
        let site = site.clone();
        async move {
            let reply = match Request::receive(port, request).await {
                Ok(request) => site.answer(request).await,
                Err(refusal) => refusal,
            };
            Ok::<_, Infallible>(reply.into_response())
        }
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service_fn(answer)));
    // A client that breaks the protocol or goes away ends its own connection only.
    let outcome = match tokio::time::timeout(CONNECTION_TIME, connection.as_mut()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_REPLY_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        log::debug!("a connection ended: {error}");
    }
}
