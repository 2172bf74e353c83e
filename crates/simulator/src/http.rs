//! One connection from its first byte: HTTP/1.1, from which REST, control and the gateway branch
//! off by path.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::control::{AcceptPlan, http as control};
use crate::gateway::connection::{self, Leave};
use crate::gateway::handshake::{Answer, Opened, is_upgrade};
use crate::rest::{self, Reply};
use crate::state::Shared;
use crate::wire::{Cut, WireControl};

/// A gateway connection whose 101 is on its way.
struct Upgrade {
    opened: Box<Opened>,
    leave: Leave,
}

/// Where the service leaves the connection it has upgraded.
type Slot = Arc<Mutex<Option<Upgrade>>>;

/// Carries out what is planned for this stream before anything is read. `false` if that is all.
pub(crate) async fn admit<IO>(shared: &Shared, io: &mut IO, wire: &WireControl) -> bool
where
    IO: AsyncRead + Unpin,
{
    let cut = match shared.with(|state| state.gateway.accepts.next()) {
        None => return true,
        Some(AcceptPlan::Pace(pace)) => {
            wire.set_pace(Some(pace));
            return true;
        }
        Some(AcceptPlan::Hang) => Cut::Silence,
        Some(AcceptPlan::Drop(cut)) => cut,
    };
    wire.drop_stream(cut);
    tokio::select! {
        () = shared.stop.cancelled() => {}
        // The wire reads to the client's end and gives nothing away.
        _ = io.read_u8() => {}
    }
    false
}

/// Serves a stream to its end.
pub(crate) async fn serve<IO>(shared: Arc<Shared>, io: IO, wire: Arc<WireControl>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slot = Slot::default();
    let service = service_fn({
        let (shared, wire, slot) = (shared.clone(), wire.clone(), slot.clone());
        move |request| {
            let (shared, wire, slot) = (shared.clone(), wire.clone(), slot.clone());
            async move { Ok::<_, Infallible>(answer(&shared, request, &wire, &slot).await) }
        }
    });
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service)
        .without_shutdown();
    let parts = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        parts = connection => parts,
    };
    // An error here is a client's that went away or spoke no HTTP; there is nobody to tell.
    let Ok(parts) = parts else { return };
    let upgrade = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Upgrade { opened, leave }) = upgrade {
        wire.set_pace(None);
        connection::run(shared, parts.io.into_inner(), &parts.read_buf, &opened, leave).await;
    } else {
        let mut io = parts.io.into_inner();
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut io).await;
    }
}

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    wire: &Arc<WireControl>,
    slot: &Slot,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let in_api = path == "/api" || path.starts_with("/api/");
    let in_control = path == "/sim" || path.starts_with("/sim/");
    let reply = if in_control && shared.with(|state| state.options.control_http) {
        let (parts, body) = request.into_parts();
        match read(body).await {
            Some(body) => control::handle(shared, &parts.method, &parts.uri, &body).await,
            None => error(413, "the body is too large"),
        }
    } else if in_api {
        let (parts, body) = request.into_parts();
        let request = rest::Request {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: read(body).await,
        };
        rest::handle(shared, request, wire).await
    } else if request.method() == Method::GET && is_upgrade(request.headers()) {
        return upgrade(shared, &request, wire, slot).await;
    } else {
        error(
            404,
            "The gateway is a websocket at `/`, REST is under `/api/v10/`, control under `/sim`.",
        )
    };
    let now = shared.clock.unix_ms();
    response(&reply, now)
}

/// A body that fits.
async fn read(body: Incoming) -> Option<Vec<u8>> {
    let body = Limited::new(body, rest::MAX_BODY).collect().await.ok()?;
    Some(body.to_bytes().to_vec())
}

fn error(status: u16, problem: &str) -> Reply {
    Reply::json(status, serde_json::json!({"error": problem}).to_string())
}

async fn upgrade(
    shared: &Arc<Shared>,
    request: &Request<Incoming>,
    wire: &Arc<WireControl>,
    slot: &Slot,
) -> Response<Full<Bytes>> {
    let (uri, headers) = (request.uri(), request.headers());
    match shared.with(|state| state.handshake(uri, headers, wire.clone())) {
        Answer::Hang => pending().await,
        Answer::Refuse { status, body, headers } => {
            response(&Reply { status, body, headers }, shared.clock.unix_ms())
        }
        Answer::Accept { key, opened, dribble } => {
            wire.set_pace(dribble);
            let leave = Leave::new(shared.clone(), opened.id);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Upgrade { opened, leave });
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            if let Ok(key) = HeaderValue::from_str(&key) {
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
            }
            response
        }
    }
}

/// An HTTP response. Headers that HTTP does not allow, which only a fault can ask for, are left
/// out.
fn response(reply: &Reply, unix_ms: u64) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(reply.body.clone()));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(date) = HeaderValue::from_str(&http_date(unix_ms)) {
        headers.insert(header::DATE, date);
    }
    if !reply.body.is_empty() {
        let looks_like_json = reply.body.starts_with(['{', '[', '"']);
        let kind = if looks_like_json { "application/json" } else { "text/html" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
    response
}

fn http_date(unix_ms: u64) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or_default();
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_http_dates() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
