//! The wire: one attempt of one request over HTTP, on connections that are kept for the next.
//!
//! Every connection comes from the [`Dialer`], so that proxy, TLS and the networks of tests are the
//! same as for the gateway. Redirects are answers like any other: following one could carry the token
//! to another host.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tower_service::Service;

use crate::config::{MAX_REST_REQUESTS, MAX_REST_RESPONSE_BYTES};
use crate::transport::{BoxedIo, Dialer};

/// Time to connect, TLS and proxy included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from a connection to the head of the answer, for a request without body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The slowest upload that is waited for: for each such number of bytes there is a second more.
const MIN_UPLOAD_BYTES_PER_SECOND: u64 = 64 << 10;

/// Time from the head of an answer to its end.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A request as it goes out. Cloned for each attempt; the body is shared.
pub(super) type Outgoing = http::Request<Full<Bytes>>;

/// The connections to the API.
#[derive(Debug)]
pub(super) struct Wire {
    client: Client<Connector, Full<Bytes>>,
}

/// An answer of which at least the head came.
#[derive(Debug)]
pub(super) struct Received {
    /// The status.
    pub(super) status: StatusCode,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The body, or how it broke off.
    pub(super) body: Result<Bytes, BodyError>,
}

/// How a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is longer than any answer of Discord.
    #[error("the answer is longer than {MAX_REST_RESPONSE_BYTES} bytes")]
    TooLarge,
    /// The connection was lost.
    #[error("the connection was lost in the middle of the answer: {0}")]
    Lost(String),
    /// It did not end in time.
    #[error("the answer did not end within {} s", BODY_TIMEOUT.as_secs())]
    Timeout,
}

/// No answer at all.
#[derive(Debug)]
pub(super) struct Failure {
    /// Whether Discord may have seen the request.
    pub(super) may_be_sent: bool,
    /// Whether patience ran out, not the connection.
    pub(super) is_timeout: bool,
    /// What happened, for people.
    pub(super) why: String,
}

impl Wire {
    /// No connections yet.
    pub(super) fn new(dialer: Dialer) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_REST_REQUESTS)
            .build(Connector(dialer));
        Self { client }
    }

    /// Sends a request once and reads the answer, within the timeouts above.
    ///
    /// # Errors
    /// When not even the head of an answer came.
    pub(super) async fn send(&self, mut request: Outgoing) -> Result<Received, Failure> {
        let upload_bytes = request.body().size_hint().lower();
        let upload = Duration::from_secs(upload_bytes / MIN_UPLOAD_BYTES_PER_SECOND);
        let patience = CONNECT_TIMEOUT + ANSWER_TIMEOUT + upload;
        // Tells whether the request ever got a connection.
        let connection = capture_connection(&mut request);
        let has_connection = || connection.connection_metadata().is_some();
        let answer = match timeout(patience, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                // "Canceled" is hyper's word for a message that was not begun.
                let not_begun =
                    source::<hyper::Error>(&error).is_some_and(hyper::Error::is_canceled);
                return Err(Failure {
                    may_be_sent: has_connection() && !not_begun,
                    is_timeout: source::<io::Error>(&error)
                        .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut),
                    why: root(&error),
                });
            }
            Err(_) => {
                let why = format!("no answer within {} s", patience.as_secs());
                return Err(Failure { may_be_sent: has_connection(), is_timeout: true, why });
            }
        };
        let (head, body) = answer.into_parts();
        let body = timeout(BODY_TIMEOUT, read(body)).await.unwrap_or(Err(BodyError::Timeout));
        Ok(Received { status: head.status, headers: head.headers, body })
    }
}

/// Reads a body up to the bound.
async fn read(body: hyper::body::Incoming) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > MAX_REST_RESPONSE_BYTES as u64 {
        return Err(BodyError::TooLarge);
    }
    match Limited::new(body, MAX_REST_RESPONSE_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(error) => Err(BodyError::Lost(root(&*error))),
    }
}

/// The first cause of this type.
fn source<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// What is at the bottom of an error. The layers above only say who passed it on.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error, its cause, the cause of that, and so on.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Opens connections for hyper.
#[derive(Debug, Clone)]
struct Connector(Dialer);

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.0.clone();
        Box::pin(async move {
            let tls = uri.scheme_str() == Some("https");
            let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
            // IPv6 addresses are in brackets in URLs, and nowhere else.
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let stream = timeout(CONNECT_TIMEOUT, dialer.dial(tls, host, port)).await;
            let stream = stream.unwrap_or_else(|_| {
                let patience = CONNECT_TIMEOUT.as_secs();
                let why = format!("cannot connect to {host} port {port} within {patience} s");
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            })?;
            Ok(TokioIo::new(Stream(stream)))
        })
    }
}

/// A byte stream that hyper's pool takes.
struct Stream(BoxedIo);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
