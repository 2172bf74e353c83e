//! Websocket frames ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455)), the server's half.
//!
//! Written out by hand for two reasons. The simulator must be able to send frames that no library
//! would: split at odd places, corrupt, unfinished. And the clients it is to test use the usual
//! libraries; a mistake shared by both ends would not show.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Largest message taken in. A gateway payload may have 4096 bytes, so anything near this is
/// refused; the bound keeps a client from filling memory before it is told.
const MAX_MESSAGE: usize = 64 * 1024;

/// Bytes asked for at each read.
const READ_STEP: usize = 4096;

/// Opcodes of websocket frames.
pub(crate) mod opcode {
    /// Goes on with the message of the frame before.
    pub(crate) const CONTINUATION: u8 = 0;
    /// UTF-8 text.
    pub(crate) const TEXT: u8 = 1;
    /// Bytes.
    pub(crate) const BINARY: u8 = 2;
    /// The end.
    pub(crate) const CLOSE: u8 = 8;
    /// A question for a pong.
    pub(crate) const PING: u8 = 9;
    /// The answer to a ping.
    pub(crate) const PONG: u8 = 10;
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole message.
    Message(Vec<u8>),
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// A close frame.
    Close { code: Option<u16>, reason: String },
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client broke the websocket protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// A message beyond [`MAX_MESSAGE`].
    #[error("a message of more than {MAX_MESSAGE} bytes")]
    TooLarge,
}

/// Reads frames and puts messages together. Its `next` may be dropped at any await.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: Vec<u8>,
    message: Option<Vec<u8>>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that has already been given these first bytes.
    pub(crate) fn new(io: R, first: &[u8]) -> Self {
        Self { io, buffer: first.to_vec(), message: None }
    }

    /// The next message or control frame; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Incoming>, FrameError> {
        loop {
            while let Some((frame, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                if let Some(incoming) = self.take(frame)? {
                    return Ok(Some(incoming));
                }
            }
            self.buffer.reserve(READ_STEP);
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads and forgets to the end of the stream. A socket that is closed with bytes left unread
    /// sends a reset, which may overtake the close frame.
    pub(crate) async fn drain(&mut self) {
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ_STEP);
            if !matches!(self.io.read_buf(&mut self.buffer).await, Ok(1..)) {
                return;
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Incoming>, FrameError> {
        let Frame { fin, code, payload } = frame;
        if code >= opcode::CLOSE {
            if !fin || payload.len() > 125 {
                return Err(FrameError::Protocol("a control frame that is long or fragmented"));
            }
            return match code {
                opcode::CLOSE => close(&payload).map(Some),
                opcode::PING => Ok(Some(Incoming::Ping(payload))),
                opcode::PONG => Ok(Some(Incoming::Pong)),
                _ => Err(FrameError::Protocol("an opcode that does not exist")),
            };
        }
        let message = match (code, self.message.take()) {
            (opcode::CONTINUATION, Some(mut message)) => {
                message.extend_from_slice(&payload);
                message
            }
            (opcode::TEXT | opcode::BINARY, None) => payload,
            (opcode::CONTINUATION, None) => {
                return Err(FrameError::Protocol("a continuation of nothing"));
            }
            (opcode::TEXT | opcode::BINARY, Some(_)) => {
                return Err(FrameError::Protocol("a new message inside a fragmented one"));
            }
            _ => return Err(FrameError::Protocol("an opcode that does not exist")),
        };
        if message.len() > MAX_MESSAGE {
            return Err(FrameError::TooLarge);
        }
        if fin {
            return Ok(Some(Incoming::Message(message)));
        }
        self.message = Some(message);
        Ok(None)
    }
}

struct Frame {
    fin: bool,
    code: u8,
    payload: Vec<u8>,
}

/// Takes one whole frame off the front, with the bytes it had.
fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>, FrameError> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Protocol("reserved bits without an extension"));
    }
    if second & 0x80 == 0 {
        return Err(FrameError::Protocol("a frame of a client must be masked"));
    }
    let (length, rest) = match (second & 0x7F, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, rest) => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        (126, _) => return Ok(None),
        (short, rest) => (u64::from(short), rest),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(FrameError::TooLarge);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let used = bytes.len() - rest.len() + length;
    Ok(Some((Frame { fin: first & 0x80 != 0, code: first & 0x0F, payload }, used)))
}

fn close(payload: &[u8]) -> Result<Incoming, FrameError> {
    match payload {
        [] => Ok(Incoming::Close { code: None, reason: String::new() }),
        [_] => Err(FrameError::Protocol("a close frame with half a code")),
        [a, b, reason @ ..] => Ok(Incoming::Close {
            code: Some(u16::from_be_bytes([*a, *b])),
            reason: String::from_utf8_lossy(reason).into_owned(),
        }),
    }
}

/// Appends one frame, as a server sends it: without a mask.
pub(crate) fn write(out: &mut Vec<u8>, fin: bool, code: u8, payload: &[u8]) {
    out.push(if fin { 0x80 | code } else { code });
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends a close frame. A reason that would not fit is cut at a character's end.
pub(crate) fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let mut payload = Vec::new();
    if let Some(code) = code {
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..end]);
    }
    write(out, true, opcode::CLOSE, &payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(fin: bool, code: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame, fin, code, payload);
        let header = frame.len() - payload.len();
        let mask = [1, 2, 3, 4];
        frame[1] |= 0x80;
        let body = frame.split_off(header);
        frame.extend_from_slice(&mask);
        frame.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    async fn read_all(bytes: &[u8]) -> (Vec<Incoming>, Option<FrameError>) {
        let mut reader = FrameReader::new(bytes, &[]);
        let mut seen = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(incoming)) => seen.push(incoming),
                Ok(None) => return (seen, None),
                Err(error) => return (seen, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn puts_fragments_together_around_a_ping() {
        let bytes = [
            masked(false, opcode::TEXT, b"{\"op\""),
            masked(true, opcode::PING, b"?"),
            masked(false, opcode::CONTINUATION, b":1,"),
            masked(true, opcode::CONTINUATION, &[b' '; 300]),
            masked(true, opcode::CLOSE, b"\x0F\xA0bye"),
        ]
        .concat();
        let (seen, error) = read_all(&bytes).await;
        assert!(error.is_none());
        assert_eq!(seen[0], Incoming::Ping(b"?".to_vec()));
        assert!(matches!(&seen[1], Incoming::Message(message) if message.len() == 308));
        assert_eq!(seen[2], Incoming::Close { code: Some(4000), reason: "bye".to_owned() });
    }

    #[tokio::test]
    async fn refuses_what_the_rfc_forbids() {
        let mut unmasked = Vec::new();
        write(&mut unmasked, true, opcode::TEXT, b"x");
        for bytes in [
            unmasked,
            masked(true, opcode::CONTINUATION, b"x"),
            masked(true, 5, b"x"),
            masked(false, opcode::PING, b"x"),
            masked(true, opcode::CLOSE, b"x"),
            [masked(false, opcode::TEXT, b"x"), masked(true, opcode::TEXT, b"x")].concat(),
        ] {
            let (_, error) = read_all(&bytes).await;
            assert!(matches!(error, Some(FrameError::Protocol(_))), "{bytes:?}");
        }
        let (_, error) = read_all(&masked(true, opcode::TEXT, &vec![0; MAX_MESSAGE + 1])).await;
        assert!(matches!(error, Some(FrameError::TooLarge)));
    }

    #[tokio::test]
    async fn any_cut_of_the_bytes_ends_quietly() {
        let bytes = masked(true, opcode::TEXT, &[b'x'; 200]);
        for end in 0..bytes.len() {
            let (seen, error) = read_all(&bytes[..end]).await;
            assert!(seen.is_empty() && error.is_none());
        }
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        let mut out = Vec::new();
        write_close(&mut out, Some(4000), &"ä".repeat(100));
        assert!(out.len() <= 127);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
