//! Websocket frames: found where they stand in the bytes that a server sent, and written as a client.
//!
//! tungstenite hands out each message as a reference of its own to the bytes, which costs more than all
//! else that is done to an uncompressed event (`make bench`). Here a message is looked at where it lies,
//! and its bytes are used again once all of them were.
//!
//! Source: <https://datatracker.ietf.org/doc/html/rfc6455#section-5.2>.

use std::ops::Range;

use crate::config::MAX_INCOMING_BYTES;

/// Bytes read at once. Taken when there is something to read, given back when all was looked at.
const READ_BYTES: usize = 64 << 10;

/// The longest payload of a ping, pong or close frame.
const MAX_CONTROL_BYTES: usize = 125;

/// What a frame, or the last one of several, brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A message.
    Message {
        /// Whether it is text; else it is binary.
        is_text: bool,
        /// Where it stands.
        place: Place,
    },
    /// A ping, to be answered with the same bytes.
    Ping(Place),
    /// The goodbye of the server: the code, if it gave one, and its reason.
    Close(Option<u16>, String),
}

/// Where a payload stands; [`Incoming::payload`] has it until the next one is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the bytes as they were received.
    Here(Range<usize>),
    /// In the pieces that were put together.
    Pieces,
}

/// Bytes of a server that are not used up.
#[derive(Debug, Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// Whether the message is text whose last frame has not come.
    begun: Option<bool>,
    /// What has come of it; and then, until the next message, the whole of it.
    pieces: Vec<u8>,
}

impl Incoming {
    /// What follows what was received already.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Where to append what is read, with room for it.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 4 {
            // As much again as there is: a long message is not moved for each piece of it.
            self.bytes.reserve(READ_BYTES.max(self.bytes.len()));
        }
        &mut self.bytes
    }

    /// Nothing more is there to be read: a shard that waits keeps no room for what may come.
    pub fn rest(&mut self) {
        let left = self.bytes.len() - self.at;
        if left < READ_BYTES / 4 && self.bytes.capacity() > left {
            self.bytes = self.bytes[self.at..].to_vec();
            self.at = 0;
        }
    }

    /// The next message, ping or close frame that is there as a whole.
    ///
    /// # Errors
    /// What the server did that a websocket does not allow, or that takes too much memory.
    pub fn find(&mut self) -> Result<Option<Found>, String> {
        if self.begun.is_none() && !self.pieces.is_empty() {
            self.pieces = Vec::new();
        }
        loop {
            let Some(head) = Head::read(&self.bytes[self.at..])? else { return Ok(None) };
            if self.pieces.len() + head.len > MAX_INCOMING_BYTES {
                return Err(format!("a message of more than {MAX_INCOMING_BYTES} bytes"));
            }
            let start = self.at + head.start;
            if self.bytes.len() - start < head.len {
                return Ok(None);
            }
            let here = start..start + head.len;
            self.at = here.end;
            let is_text = match (head.opcode, self.begun) {
                (TEXT | BINARY, None) if head.is_final => {
                    let (is_text, place) = (head.opcode == TEXT, Place::Here(here));
                    return Ok(Some(Found::Message { is_text, place }));
                }
                (TEXT | BINARY, None) => head.opcode == TEXT,
                (CONTINUATION, Some(is_text)) => is_text,
                (PING, _) => return Ok(Some(Found::Ping(Place::Here(here)))),
                (PONG, _) => continue,
                (CLOSE, _) => return close(&self.bytes[here]).map(Some),
                (TEXT | BINARY, Some(_)) => {
                    return Err("a message that begins within another one".into());
                }
                (CONTINUATION, None) => return Err("the rest of a message that never began".into()),
                (opcode, _) => return Err(format!("a websocket frame with the opcode {opcode}")),
            };
            self.pieces.extend_from_slice(&self.bytes[here]);
            self.begun = (!head.is_final).then_some(is_text);
            if head.is_final {
                return Ok(Some(Found::Message { is_text, place: Place::Pieces }));
            }
        }
    }

    /// A payload that was just found.
    pub fn payload(&self, place: Place) -> &[u8] {
        match place {
            Place::Here(range) => &self.bytes[range],
            Place::Pieces => &self.pieces,
        }
    }
}

const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// The first bytes of a frame.
struct Head {
    is_final: bool,
    opcode: u8,
    /// Where its payload begins.
    start: usize,
    /// The length of the payload.
    len: usize,
}

impl Head {
    /// Reads it, if it is there as a whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (is_final, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err("a websocket frame with a reserved bit".into());
        }
        if second & 0x80 != 0 {
            return Err("a masked websocket frame, which only clients send".into());
        }
        let (start, len) = match second & 0x7f {
            126 => match rest.first_chunk() {
                Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(len) => (10, u64::from_be_bytes(*len)),
                None => return Ok(None),
            },
            len => (2, u64::from(len)),
        };
        // More than any message may have stays more.
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_INCOMING_BYTES + 1);
        if opcode >= CLOSE && (!is_final || len > MAX_CONTROL_BYTES) {
            return Err("a control frame that is too long or in pieces".into());
        }
        Ok(Some(Self { is_final, opcode, start, len }))
    }
}

/// What a close frame says.
fn close(payload: &[u8]) -> Result<Found, String> {
    match payload {
        [] => Ok(Found::Close(None, "the server sent a close frame without a code".to_owned())),
        [_] => Err("a close frame with half a code".into()),
        [high, low, reason @ ..] => {
            let reason = String::from_utf8_lossy(reason).into_owned();
            Ok(Found::Close(Some(u16::from_be_bytes([*high, *low])), reason))
        }
    }
}

/// Appends a whole message, or a control frame, of a client.
pub(super) fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 0x7e);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 0x7f);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a server's bytes bring, as text; the error at the end.
    fn all(bytes: &[u8]) -> Vec<String> {
        let mut incoming = Incoming::new(bytes.to_vec());
        let mut seen = Vec::new();
        loop {
            let found = match incoming.find() {
                Ok(Some(found)) => found,
                Ok(None) => return seen,
                Err(error) => {
                    seen.push(error);
                    return seen;
                }
            };
            let (kind, place) = match found {
                Found::Message { is_text: true, place } => ("text", place),
                Found::Message { is_text: false, place } => ("binary", place),
                Found::Ping(place) => ("ping", place),
                Found::Close(code, reason) => {
                    seen.push(format!("close {code:?} {reason}"));
                    continue;
                }
            };
            seen.push(format!("{kind} {}", String::from_utf8_lossy(incoming.payload(place))));
        }
    }

    #[test]
    fn messages_are_found() {
        assert_eq!(all(b"\x81\x02hi\x82\x01x\x89\x01?\x8a\x00"), ["text hi", "binary x", "ping ?"]);
        assert_eq!(
            all(b"\x01\x01a\x89\x00\x00\x01b\x80\x01c\x81\x00"),
            ["ping ", "text abc", "text "]
        );
        assert_eq!(all(b"\x88\x05\x0f\xa9bye"), ["close Some(4009) bye"]);
        assert_eq!(all(b"\x88\x00"), ["close None the server sent a close frame without a code"]);
        for part in [&b""[..], b"\x81", b"\x81\x02h", b"\x82\x7e\x00", b"\x82\x7f\x00\x00\x00\x00"]
        {
            assert_eq!(all(part), [""; 0], "{part:?}");
        }
    }

    /// Scenario 85: what no server may send ends the connection.
    #[test]
    fn what_is_not_allowed_is_said() {
        for (bytes, why) in [
            (&b"\xc1\x00"[..], "reserved bit"),
            (b"\x81\x80\x00\x00\x00\x00", "masked"),
            (b"\x83\x00", "opcode 3"),
            (b"\x8b\x00", "opcode 11"),
            (b"\x80\x00", "never began"),
            (b"\x01\x00\x81\x00", "within another"),
            (b"\x09\x00", "control frame"),
            (b"\x89\x7e\x00\x7e", "control frame"),
            (b"\x88\x01\x0f", "half a code"),
            (b"\x82\x7f\x00\x00\x00\x00\x10\x00\x00\x00", "more than"),
            (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "more than"),
        ] {
            let seen = all(bytes);
            assert!(seen.last().is_some_and(|error| error.contains(why)), "{bytes:?}: {seen:?}");
        }
    }

    /// Scenario 31: room for what was received is given back, after a huge message too.
    #[test]
    fn no_room_is_kept() {
        let mut incoming = Incoming::default();
        let message = vec![b' '; 1 << 20];
        let mut sent = b"\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x00".to_vec();
        sent.extend(&message);
        sent.extend(b"\x81\x05h");
        for piece in sent.chunks(1_000) {
            incoming.room().extend_from_slice(piece);
            assert!(incoming.bytes.capacity() <= 2 * (incoming.bytes.len() + READ_BYTES));
        }
        let found = incoming.find().expect("allowed");
        let place = Place::Here(10..10 + message.len());
        assert_eq!(found, Some(Found::Message { is_text: false, place }));
        assert_eq!(incoming.find(), Ok(None));
        incoming.rest();
        assert_eq!((incoming.bytes.as_slice(), incoming.bytes.capacity()), (&b"\x81\x05h"[..], 3));
    }

    proptest! {
        /// Promise 6: whatever a server sends, it is read or refused, within bounds.
        #[test]
        fn anything_is_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
            let seen = all(&bytes);
            prop_assert!(seen.len() <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(payload in vec(any::<u8>(), 0..70_000), mask in any::<[u8; 4]>()) {
            let mut out = Vec::new();
            write(&mut out, BINARY, &payload, mask);
            // As the server unmasks it.
            out[1] &= 0x7f;
            let head = Head::read(&out).expect("allowed").expect("whole");
            let start = head.start + 4;
            prop_assert_eq!(&out[head.start..start], mask);
            let unmasked: Vec<u8> = out[start..].iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
            prop_assert_eq!(unmasked, payload);
        }
    }
}
