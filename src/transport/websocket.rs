//! The websocket: tokio-tungstenite with all its buffers bounded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::{BoxedIo, Dialer};
use crate::config::MAX_INCOMING_BYTES;
use crate::protocol::{CloseCode, GatewayUrl};

/// Bytes read at once. Allocated for each connection, and there may be a thousand.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// Bytes that wait to be written before a connection counts as broken: far more than 120 payloads of
/// 4096 bytes, the most that goes out in a minute.
const MAX_WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Patience with a server that does not answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One gateway connection.
pub(crate) struct WebSocket {
    inner: WebSocketStream<BoxedIo>,
    /// Something was written and not flushed.
    unflushed: bool,
}

/// What a websocket has to tell.
#[derive(Debug)]
pub(crate) enum Received {
    /// A text message: JSON as it is.
    Text(Bytes),
    /// A binary message: compressed.
    Binary(Bytes),
    /// All that was written has left.
    Flushed,
    /// The connection is over.
    Closed {
        /// The code of the server's close frame.
        code: Option<u16>,
        /// Its text, or what broke.
        reason: String,
    },
}

impl WebSocket {
    /// Connects, through proxy and TLS, up to the websocket upgrade.
    ///
    /// # Errors
    /// What failed, for people. Never the server's body: it may be a megabyte of HTML.
    pub(crate) async fn open(dialer: &Dialer, url: &str) -> Result<Self, String> {
        let gateway = GatewayUrl::parse(url)?;
        let stream = dialer
            .dial(gateway.tls, &gateway.host, gateway.port)
            .await
            .map_err(|error| error.to_string())?;
        let request = url.into_client_request().map_err(|error| error.to_string())?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
            .max_message_size(Some(MAX_INCOMING_BYTES))
            .max_frame_size(Some(MAX_INCOMING_BYTES));
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        match upgrade.await {
            Ok((inner, _)) => Ok(Self { inner, unflushed: false }),
            Err(WsError::Http(response)) => Err(format!(
                "the gateway answered the websocket upgrade with HTTP {}",
                response.status()
            )),
            Err(error) => Err(format!("the websocket upgrade failed: {error}")),
        }
    }

    /// Puts a text message in the buffer; [`WebSocket::poll`] sends it.
    ///
    /// # Errors
    /// When the connection is over, or takes nothing any more.
    pub(crate) fn send(&mut self, text: String) -> Result<(), String> {
        self.unflushed = true;
        Pin::new(&mut self.inner).start_send(Message::Text(text.into())).map_err(|e| e.to_string())
    }

    /// Moves bytes both ways until there is something to tell. With `read` off nothing is taken from
    /// the socket, so that the server feels it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Received> {
        if self.unflushed {
            match Pin::new(&mut self.inner).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    return Poll::Ready(Received::Flushed);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Pending => {}
            }
        }
        if read { self.poll_read(cx) } else { Poll::Pending }
    }

    /// The next message; pings and pongs are tungstenite's business.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            let message = match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(broken(&error)),
                None => return Poll::Ready(over(None, "the server closed the connection")),
            };
            match message {
                Message::Text(text) => return Poll::Ready(Received::Text(text.into())),
                Message::Binary(bytes) => return Poll::Ready(Received::Binary(bytes)),
                Message::Close(Some(frame)) => {
                    return Poll::Ready(over(Some(frame.code.into()), frame.reason.as_str()));
                }
                Message::Close(None) => {
                    return Poll::Ready(over(None, "the server sent a close frame without a code"));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Says goodbye with this code and waits for the answer, not for ever.
    pub(crate) async fn close(mut self, code: CloseCode) {
        let frame = CloseFrame { code: WireCode::from(code.0), reason: Utf8Bytes::default() };
        let goodbye = async {
            self.inner.send(Message::Close(Some(frame))).await?;
            while let Some(message) = self.inner.next().await {
                message?;
            }
            Ok::<(), WsError>(())
        };
        // However it ends, the socket is dropped.
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// The end of a connection by an error.
fn broken(error: &WsError) -> Received {
    let reason = match error {
        WsError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection without a close frame".to_owned()
        }
        error => error.to_string(),
    };
    Received::Closed { code: None, reason }
}

/// The end of a connection.
fn over(code: Option<u16>, reason: &str) -> Received {
    Received::Closed { code, reason: reason.to_owned() }
}
