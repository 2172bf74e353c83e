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
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config()));
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

/// Bounds for all that a websocket keeps.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_INCOMING_BYTES))
        .max_frame_size(Some(MAX_INCOMING_BYTES))
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt, copy, duplex, sink, split};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// A message, and where its frames end.
    #[derive(Debug, Clone)]
    struct Framed {
        is_text: bool,
        payload: Vec<u8>,
        cuts: Vec<usize>,
        /// A ping stands between its frames.
        pings: bool,
    }

    fn framed() -> impl Strategy<Value = Framed> {
        let text = ("\\PC{0,300}".prop_map(String::into_bytes), Just(true));
        let binary = (vec(any::<u8>(), 0..70_000), Just(false));
        let payload = prop_oneof![4 => text, 1 => binary];
        (payload, vec(1..2_000_usize, 0..6), any::<bool>())
            .prop_map(|((payload, is_text), cuts, pings)| Framed { is_text, payload, cuts, pings })
    }

    impl Framed {
        /// As a server writes it: <https://datatracker.ietf.org/doc/html/rfc6455#section-5.2>.
        fn write(&self, out: &mut Vec<u8>) {
            let mut opcode = if self.is_text { 1 } else { 2 };
            let mut left = &self.payload[..];
            for cut in &self.cuts {
                let (part, rest) = left.split_at((*cut).min(left.len()));
                write_frame(out, opcode, part);
                (opcode, left) = (0, rest);
                if self.pings {
                    write_frame(out, 0x89, b"?");
                }
            }
            write_frame(out, 0x80 | opcode, left);
        }
    }

    fn write_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
        out.push(first);
        match payload.len() {
            len @ 0..126 => out.push(len as u8),
            len @ 126..0x1_0000 => {
                out.push(126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        out.extend(payload);
    }

    /// All messages that come, up to the end of the connection.
    async fn receive(socket: BoxedIo) -> Vec<(bool, Vec<u8>)> {
        let inner = WebSocketStream::from_raw_socket(socket, Role::Client, Some(config())).await;
        let mut socket = WebSocket { inner, unflushed: false };
        let mut messages = Vec::new();
        loop {
            match poll_fn(|cx| socket.poll(cx, true)).await {
                Received::Text(text) => messages.push((true, text.to_vec())),
                Received::Binary(bytes) => messages.push((false, bytes.to_vec())),
                Received::Flushed => {}
                Received::Closed { .. } => return messages,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Scenario 51: however a server cuts messages into frames, and the network frames into
        /// pieces, messages arrive whole and in order.
        #[test]
        fn messages_arrive_whole_however_they_are_framed(
            messages in vec(framed(), 1..6),
            piece in prop_oneof![1..20_usize, 1..9_000_usize],
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                message.write(&mut bytes);
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let received = runtime.block_on(async {
                let (client, server) = duplex(piece);
                let (mut pongs, mut server) = split(server);
                let write = async move {
                    server.write_all(&bytes).await?;
                    server.shutdown().await
                };
                let mut nowhere = sink();
                let pongs = copy(&mut pongs, &mut nowhere);
                let (received, written, _) = tokio::join!(receive(Box::new(client)), write, pongs);
                written.map(|()| received)
            })?;
            let sent: Vec<_> = messages.into_iter().map(|m| (m.is_text, m.payload)).collect();
            prop_assert!(received == sent, "{} of {} arrived", received.len(), sent.len());
        }
    }
}
