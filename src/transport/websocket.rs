//! The websocket: one gateway connection, its buffers bounded.
//!
//! What is not on the way of events, the upgrade from HTTP, is tungstenite's.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use super::frames::{self, Found, Incoming, Place};
use super::upgrade::upgrade;
use super::{BoxedIo, Dialer};
use crate::protocol::{CloseCode, GatewayUrl};

/// Bytes that wait to be written before a connection counts as broken: far more than 120 payloads of
/// 4096 bytes, the most that goes out in a minute.
const MAX_WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Bytes that may wait to be written when a ping is still answered. Who pings and does not read gets no
/// more answers, which would only pile up here.
const MAX_BEFORE_PONG_BYTES: usize = 4 << 10;

/// Patience with a server that does not answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One gateway connection.
pub(crate) struct WebSocket {
    io: BoxedIo,
    incoming: Incoming,
    /// Frames that wait to be written.
    outgoing: Vec<u8>,
    /// Bytes of them that are.
    written: usize,
    /// Something was written that may still be on its way to the socket.
    is_dirty: bool,
    /// Who sent something is to be told when it has left.
    tells: bool,
}

/// What a websocket has to tell.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// A text message: JSON as it is.
    Text(&'a [u8]),
    /// A binary message: compressed.
    Binary(&'a [u8]),
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
    /// What failed, for people.
    pub(crate) async fn open(dialer: &Dialer, url: &str) -> Result<Self, String> {
        let gateway = GatewayUrl::parse(url)?;
        let mut io = dialer
            .dial(gateway.tls, &gateway.host, gateway.port)
            .await
            .map_err(|error| error.to_string())?;
        let bytes = upgrade(&mut io, url).await?;
        Ok(Self::new(io, bytes))
    }

    /// A websocket whose server sent these bytes already.
    fn new(io: BoxedIo, bytes: Vec<u8>) -> Self {
        let incoming = Incoming::new(bytes);
        Self { io, incoming, outgoing: Vec::new(), written: 0, is_dirty: false, tells: false }
    }

    /// Puts a text message in the buffer; [`WebSocket::poll`] sends it.
    ///
    /// # Errors
    /// When too much waits already.
    pub(crate) fn send(&mut self, text: &str) -> Result<(), String> {
        if self.outgoing.len() + text.len() > MAX_WRITE_BUFFER_BYTES {
            return Err("the server does not read what is sent to it".into());
        }
        self.tells = true;
        self.write(frames::TEXT, text.as_bytes());
        Ok(())
    }

    /// Moves bytes both ways until there is something to tell. With `read` off nothing is taken from
    /// the socket, so that the server feels it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Received<'_>> {
        if self.is_dirty {
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) if std::mem::take(&mut self.tells) => {
                    return Poll::Ready(Received::Flushed);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if !read {
            return Poll::Pending;
        }
        match ready!(self.poll_read(cx)) {
            Ok((true, place)) => Poll::Ready(Received::Text(self.incoming.payload(place))),
            Ok((false, place)) => Poll::Ready(Received::Binary(self.incoming.payload(place))),
            Err(over) => Poll::Ready(over),
        }
    }

    /// Whether the next message is text, and where it stands; or the end of the connection. Pings are
    /// answered on the way.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(bool, Place), Received<'static>>> {
        loop {
            match self.incoming.find() {
                Ok(Some(Found::Message { is_text, place })) => {
                    return Poll::Ready(Ok((is_text, place)));
                }
                Ok(Some(Found::Ping(place))) => {
                    if self.outgoing.len() <= MAX_BEFORE_PONG_BYTES {
                        let payload = self.incoming.payload(place).to_vec();
                        self.write(frames::PONG, &payload);
                        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                            return Poll::Ready(Err(broken(&error)));
                        }
                    }
                }
                Ok(Some(Found::Close(code, reason))) => {
                    // The answer that is asked of us; whether it arrives is all the same.
                    self.write(
                        frames::CLOSE,
                        &code.map_or_else(Vec::new, |code| code.to_be_bytes().to_vec()),
                    );
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(Received::Closed { code, reason }));
                }
                Ok(None) => match pin!(self.io.read_buf(self.incoming.room())).poll(cx) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(broken(&io::ErrorKind::UnexpectedEof.into())));
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
                    Poll::Pending => {
                        self.incoming.rest();
                        return Poll::Pending;
                    }
                },
                Err(reason) => return Poll::Ready(Err(Received::Closed { code: None, reason })),
            }
        }
    }

    /// Puts a frame in the buffer.
    fn write(&mut self, opcode: u8, payload: &[u8]) {
        let mut mask = [0; 4];
        // Without chance, which the system always has, a mask of zeros does no harm: it is there against
        // browsers that are told what to send.
        let _ = SystemRandom::new().fill(&mut mask);
        frames::write(&mut self.outgoing, opcode, payload, mask);
        self.is_dirty = true;
    }

    /// Writes what waits.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            let left = &self.outgoing[self.written..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.outgoing = Vec::new();
        self.written = 0;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.is_dirty = false;
        Poll::Ready(Ok(()))
    }

    /// Says goodbye with this code and waits for the answer, not for ever.
    pub(crate) async fn close(mut self, code: CloseCode) {
        self.write(frames::CLOSE, &code.0.to_be_bytes());
        let goodbye = std::future::poll_fn(|cx| {
            loop {
                if let Received::Closed { .. } = ready!(self.poll(cx, true)) {
                    return Poll::Ready(());
                }
            }
        });
        // However it ends, the socket is dropped.
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// The end of a connection by an error.
fn broken(error: &io::Error) -> Received<'static> {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the server closed the connection without a close frame".to_owned()
        }
        _ => error.to_string(),
    };
    Received::Closed { code: None, reason }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt, copy, duplex, sink, split};

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
        let mut socket = WebSocket::new(socket, Vec::new());
        let mut messages = Vec::new();
        let all = poll_fn(|cx| {
            loop {
                match ready!(socket.poll(cx, true)) {
                    Received::Text(text) => messages.push((true, text.to_vec())),
                    Received::Binary(bytes) => messages.push((false, bytes.to_vec())),
                    Received::Flushed => {}
                    Received::Closed { .. } => return Poll::Ready(()),
                }
            }
        });
        all.await;
        messages
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
