//! The HTTP endpoint of a client: `/metrics` for Prometheus, `/healthz` and `/readyz` for probes.
//!
//! It is up from start to stop. It says nothing that is secret, but to whoever can reach it: the
//! address is the host's choice, and loopback unless it has a reason.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::shared::{Shared, lock};
use crate::config::MAX_METRICS_CONNECTIONS;
use crate::error::{Error, ErrorKind};
use crate::metrics;

/// Patience with a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Patience with a connection, from accept to the last byte of its one answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The rest after a connection could not be accepted: the system has no descriptor left, and asking
/// again at once would find it so.
const REST_AFTER_ERROR: Duration = Duration::from_secs(1);

/// The newer format, for those that ask for it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The older one, for everybody else.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Response = http::Response<Full<Bytes>>;

impl Shared {
    /// Opens the endpoint, if the config has an address for it.
    ///
    /// # Errors
    /// `Io` when the address cannot be had.
    pub(super) fn open_endpoint(self: &Arc<Self>, runtime: &Handle) -> Result<(), Error> {
        let Some(address) = self.config.metrics_address else { return Ok(()) };
        let listener = bind(address, runtime).map_err(|error| {
            let text = format!("`metrics_address`: cannot listen on {address}: {error}");
            Error::new(ErrorKind::Io, text)
        })?;
        let bound = listener.local_addr().unwrap_or(address);
        *lock(&self.metrics_address) = Some(bound);
        lock(&self.tasks).spawn_on(serve(listener, Arc::clone(self)), runtime);
        Ok(())
    }
}

/// Listens on an address.
fn bind(address: SocketAddr, runtime: &Handle) -> std::io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let _in_runtime = runtime.enter();
    tokio::net::TcpListener::from_std(listener)
}

/// Answers requests, until it is dropped, and all connections with it.
async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    if let Ok(address) = listener.local_addr() {
        info!("metrics and probes on http://{address}");
    }
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_METRICS_CONNECTIONS => {
                match accepted {
                    Ok((stream, _)) => connections.push(converse(stream, Arc::clone(&shared))),
                    Err(error) => {
                        warn!("the metrics endpoint cannot accept a connection: {error}");
                        sleep(REST_AFTER_ERROR).await;
                    }
                }
            }
            Some(()) = connections.next() => {}
        }
    }
}

/// One connection: one request, one answer. A scrape now and then needs no more, and a connection
/// that is not kept cannot be kept open by anybody.
async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(shared, &request).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that goes away, or says something else than HTTP, is nothing to tell of.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

/// The answer to a request.
async fn answer(shared: Arc<Shared>, request: &http::Request<Incoming>) -> Response {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        let text = "there are /metrics, /healthz and /readyz\n";
        return response(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "GET or HEAD\n";
        let mut response =
            response(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", text);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => page(shared, takes_openmetrics(request)).await,
        "/healthz" => probe(is_alive(&shared), "healthy"),
        _ => probe(shared.overview().verdict(), "ready"),
    }
}

/// The metrics. Thousands of shards are some megabytes of text: not on a thread that shards run on.
async fn page(shared: Arc<Shared>, openmetrics: bool) -> Response {
    let write = move || metrics::to_openmetrics(&shared.overview());
    let Ok(text) = tokio::task::spawn_blocking(write).await else {
        let text = "a bug in the engine; see the log\n";
        return response(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text);
    };
    let mut response = if openmetrics {
        response(StatusCode::OK, OPENMETRICS, text)
    } else {
        response(StatusCode::OK, PROMETHEUS_TEXT, metrics::to_prometheus_text(&text))
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether who asks knows the newer format.
fn takes_openmetrics(request: &http::Request<Incoming>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter();
    accepted.any(|value| {
        value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"))
    })
}

/// Whether it makes sense to let the process live: it does not end what a new one would not mend
/// either, such as one shard that Discord refuses.
fn is_alive(shared: &Shared) -> Result<(), Error> {
    let overview = shared.overview();
    match overview.fatal.filter(|_| overview.is_refused) {
        Some(reason) => Err(Error::new(ErrorKind::Fatal, reason)),
        None if overview.stage == "stopped" => {
            Err(Error::new(ErrorKind::Closed, "the client has stopped"))
        }
        None => Ok(()),
    }
}

/// The answer to a probe: `{"ready":false,"reason":"…"}`.
fn probe(verdict: Result<(), Error>, what: &str) -> Response {
    let mut body = json!({ what: verdict.is_ok() });
    let status = match verdict {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            body["reason"] = Value::String(error.to_string());
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    response(status, "application/json", format!("{body}\n"))
}

/// An answer.
fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
