//! The websocket frames of a connection, however the network cuts them, against a reader that has all of
//! it at once and copies everything.
//!
//! Input: how many bytes come at a time, less one, and what the server sent.

use shardwright::config::MAX_INCOMING_BYTES;
use shardwright::transport::{Found, Incoming};

use super::input::Input;

/// Bytes that a connection may keep room for besides those it has to keep.
const SPARE_BYTES: usize = 128 << 10;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let piece = usize::from(input.byte()) + 1;
    let sent = input.rest();
    let expected = read(sent);
    let mut incoming = Incoming::new(Vec::new());
    let mut seen = Vec::new();
    for piece in sent.chunks(piece) {
        let room = incoming.room();
        room.extend_from_slice(piece);
        assert!(room.capacity() <= 2 * room.len() + SPARE_BYTES, "{}", room.capacity());
        while let Some(news) = find(&mut incoming) {
            let is_over = matches!(news, News::Close(..) | News::Refused);
            seen.push(news);
            if is_over {
                assert!(seen == expected, "{seen:?}, not {expected:?}");
                return;
            }
        }
        incoming.rest();
    }
    assert!(seen == expected, "{seen:?}, not {expected:?}");
}

/// What a server's bytes mean.
#[derive(Debug, PartialEq)]
enum News {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close(Option<u16>),
    /// No server may send this.
    Refused,
}

/// The next of them, as the engine reads it.
fn find(incoming: &mut Incoming) -> Option<News> {
    Some(match incoming.find() {
        Ok(None) => return None,
        Ok(Some(Found::Message { is_text: true, place })) => {
            News::Text(incoming.payload(place).to_vec())
        }
        Ok(Some(Found::Message { is_text: false, place })) => {
            News::Binary(incoming.payload(place).to_vec())
        }
        Ok(Some(Found::Ping(place))) => News::Ping(incoming.payload(place).to_vec()),
        Ok(Some(Found::Close(code, _))) => News::Close(code),
        Err(_) => News::Refused,
    })
}

/// All of them, by the letter of <https://datatracker.ietf.org/doc/html/rfc6455#section-5.2>, up to the end
/// of the connection or the first frame that is not there as a whole.
fn read(sent: &[u8]) -> Vec<News> {
    let mut all = Vec::new();
    let mut left = Input::new(sent);
    // The opcode and the text of a message whose last frame has not come.
    let mut message: Option<(u8, Vec<u8>)> = None;
    while let Some((head, payload)) = frame(&mut left) {
        let Head { is_final, opcode, has_reserved, is_masked, len } = head;
        let is_control = opcode >= 8;
        let before = message.as_ref().map_or(0, |(_, text)| text.len() as u64);
        let is_wrong = has_reserved
            || is_masked
            || (is_control && (!is_final || len > 125))
            || before.saturating_add(len) > MAX_INCOMING_BYTES as u64;
        if is_wrong {
            all.push(News::Refused);
            return all;
        }
        let Some(payload) = payload else { return all };
        match (opcode, message.take()) {
            (0, Some((kind, mut text))) => {
                text.extend(payload);
                message = Some((kind, text));
            }
            (1 | 2, None) => message = Some((opcode, payload)),
            (9, begun) => {
                all.push(News::Ping(payload));
                message = begun;
                continue;
            }
            (10, begun) => {
                message = begun;
                continue;
            }
            (8, _) if payload.len() != 1 => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                all.push(News::Close(code));
                return all;
            }
            _ => {
                all.push(News::Refused);
                return all;
            }
        }
        if is_final {
            all.extend(
                message.take().map(
                    |(kind, text)| {
                        if kind == 1 { News::Text(text) } else { News::Binary(text) }
                    },
                ),
            );
        }
    }
    all
}

/// What stands before a payload.
struct Head {
    is_final: bool,
    opcode: u8,
    has_reserved: bool,
    is_masked: bool,
    len: u64,
}

/// The next frame; without its payload where that has not come, `None` where not even the head has.
fn frame(left: &mut Input<'_>) -> Option<(Head, Option<Vec<u8>>)> {
    let [first, second] = *left.take(2).first_chunk()?;
    let mut head = Head {
        is_final: first >> 7 == 1,
        opcode: first & 15,
        has_reserved: first >> 4 & 7 != 0,
        is_masked: second >> 7 == 1,
        len: 0,
    };
    let bytes_of_len = match second & 127 {
        126 => 2,
        127 => 8,
        len => {
            head.len = len.into();
            0
        }
    };
    // What is wrong already need not be whole.
    if !head.has_reserved && !head.is_masked {
        let bytes = left.take(bytes_of_len);
        if bytes.len() < bytes_of_len {
            return None;
        }
        head.len = bytes.iter().fold(head.len, |len, byte| len << 8 | u64::from(*byte));
    }
    let payload = left.take(usize::try_from(head.len).unwrap_or(usize::MAX));
    let is_whole = payload.len() as u64 == head.len;
    let payload = is_whole.then(|| payload.to_vec());
    Some((head, payload))
}
