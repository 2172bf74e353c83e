//! Transport compression: one context per connection, and a bound on what comes out.
//!
//! Source: <https://discord.com/developers/docs/events/gateway#transport-compression>.

use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use crate::config::MAX_INCOMING_BYTES;
use crate::protocol::Compression;

/// What ends a payload of `zlib-stream`.
const ZLIB_SUFFIX: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The largest zstd window that is allocated for a server, as a power of two: the 8 MiB that every
/// decoder is asked to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Room made for the first inflated bytes of a payload, in multiples of its compressed size.
const EXPECTED_RATIO: usize = 6;

/// The least room made at once.
const MIN_ROOM: usize = 1 << 10;

/// Compressed data that cannot be read. The context is of no use afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It is not what it should be.
    #[error("{0}")]
    Corrupt(String),
    /// It is a bomb, or a payload that no gateway sends.
    #[error("a payload of more than {MAX_INCOMING_BYTES} bytes")]
    TooLarge,
}

/// The decompression of one connection.
pub enum Inflate {
    /// `zlib-stream`.
    Zlib {
        /// The context, alive as long as the connection.
        context: Decompress,
        /// The last bytes of the compressed stream, to see the suffix wherever it was cut.
        tail: [u8; 4],
        /// Inflated bytes of a payload whose end has not come. Payloads in one message, all but the
        /// rarest, never pass through it.
        partial: Vec<u8>,
    },
    /// `zstd-stream`.
    Zstd(DCtx<'static>),
}

impl Inflate {
    /// The context of a new connection, or `None` where nothing is compressed.
    pub fn new(compression: Compression) -> Option<Self> {
        match compression {
            Compression::None => None,
            Compression::Zlib => Some(Self::Zlib {
                context: Decompress::new(true),
                tail: [0xff; 4],
                partial: Vec::new(),
            }),
            Compression::Zstd => {
                let mut context = DCtx::create();
                // Only an unknown parameter could be refused.
                let _ = context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
                Some(Self::Zstd(context))
            }
        }
    }

    /// Inflates one websocket message and appends it to `out`; `false` when the payload goes on in
    /// the next message, and `out` is as it was.
    ///
    /// # Errors
    /// [`InflateError`]; the connection is of no use any more.
    pub fn inflate(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<bool, InflateError> {
        let start = out.len();
        match self {
            Self::Zlib { context, tail, partial } => {
                for byte in &message[message.len().saturating_sub(4)..] {
                    tail.rotate_left(1);
                    tail[3] = *byte;
                }
                let whole = *tail == ZLIB_SUFFIX;
                if whole && partial.is_empty() {
                    inflate_zlib(context, message, out, start)?;
                } else {
                    inflate_zlib(context, message, partial, 0)?;
                }
                if whole {
                    // Taken, not drained: a long payload must not leave its room behind.
                    out.append(&mut std::mem::take(partial));
                }
                Ok(whole)
            }
            Self::Zstd(context) => {
                inflate_zstd(context, message, out, start)?;
                Ok(true)
            }
        }
    }
}

/// Appends what `message` inflates to.
fn inflate_zlib(
    context: &mut Decompress,
    message: &[u8],
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(), InflateError> {
    let mut left = message;
    make_room(out, start, message.len() * EXPECTED_RATIO);
    loop {
        let consumed = context.total_in();
        let status = context
            .decompress_vec(left, out, FlushDecompress::Sync)
            .map_err(|error| InflateError::Corrupt(error.to_string()))?;
        left = &left[(context.total_in() - consumed) as usize..];
        if status == Status::StreamEnd {
            return Err(InflateError::Corrupt("the zlib stream ended".into()));
        }
        let has_room = out.len() < out.capacity();
        check_size(out, start)?;
        if has_room {
            // Whatever is left of the input was not taken for another reason.
            return if left.is_empty() {
                Ok(())
            } else {
                Err(InflateError::Corrupt("the zlib stream is stuck".into()))
            };
        }
        make_room(out, start, MIN_ROOM);
    }
}

/// Appends what `message` inflates to.
fn inflate_zstd(
    context: &mut DCtx<'_>,
    message: &[u8],
    out: &mut Vec<u8>,
    start: usize,
) -> Result<(), InflateError> {
    if message.is_empty() {
        return Ok(()); // Asked a few times for nothing, the library takes the stream for broken.
    }
    let mut input = InBuffer::around(message);
    make_room(out, start, message.len() * EXPECTED_RATIO);
    loop {
        let written = out.len();
        context
            .decompress_stream(&mut OutBuffer::around_pos(out, written), &mut input)
            .map_err(|code| InflateError::Corrupt(zstd_safe::get_error_name(code).into()))?;
        // A full buffer can mean that more waits inside, even with all input taken.
        let has_room = out.len() < out.capacity();
        check_size(out, start)?;
        if has_room && input.pos() == message.len() {
            return Ok(());
        }
        if !has_room {
            make_room(out, start, MIN_ROOM);
        }
    }
}

/// Makes room for at least `bytes` more, doubling the payload that starts at `start` as it grows, but
/// hardly beyond what a payload may have.
fn make_room(out: &mut Vec<u8>, start: usize, bytes: usize) {
    let payload = out.len() - start;
    let allowed = (MAX_INCOMING_BYTES + 1).saturating_sub(payload);
    out.reserve(bytes.max(payload).max(MIN_ROOM).min(allowed));
}

/// Whether the payload that starts at `start` is one that a gateway sends.
fn check_size(out: &[u8], start: usize) -> Result<(), InflateError> {
    if out.len() - start > MAX_INCOMING_BYTES { Err(InflateError::TooLarge) } else { Ok(()) }
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zlib { .. } => "Inflate::Zlib",
            Self::Zstd(_) => "Inflate::Zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, FlushCompress};
    use zstd_safe::CCtx;

    use super::*;

    fn text(seed: u64, bytes: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let words = ["\"guild_id\":", "\"content\":\"hello\",", "{", "},", "123456789", "\u{e9}"];
        let mut text = Vec::new();
        while text.len() < bytes {
            text.extend_from_slice(words[rng.usize(..words.len())].as_bytes());
        }
        text.truncate(bytes);
        text
    }

    /// A stream of payloads as a server compresses them, one flush per payload.
    fn deflate(compression: Compression, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut zlib = Compress::new(flate2::Compression::default(), true);
        let mut zstd = CCtx::create();
        payloads
            .iter()
            .map(|payload| {
                let mut out = Vec::with_capacity(payload.len() + 1_024);
                if compression == Compression::Zlib {
                    zlib.compress_vec(payload, &mut out, FlushCompress::Sync).expect("room");
                } else {
                    let mut input = InBuffer::around(payload);
                    let mut output = OutBuffer::around(&mut out);
                    let flush = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush;
                    let left = zstd.compress_stream2(&mut output, &mut input, flush);
                    assert_eq!(left, Ok(0), "all flushed");
                }
                out
            })
            .collect()
    }

    /// Scenario 52: the context of one connection is of no use on the next.
    #[test]
    fn a_stream_cannot_be_joined_late() {
        for compression in [Compression::Zlib, Compression::Zstd] {
            let messages = deflate(compression, &[text(1, 500), text(1, 500)]);
            let mut late = Inflate::new(compression).expect("compressed");
            assert!(late.inflate(&messages[1], &mut Vec::new()).is_err());
        }
    }

    /// Scenario 31: a long payload that came in several messages leaves no room behind.
    #[test]
    fn room_for_pieces_is_given_back() {
        let messages = deflate(Compression::Zlib, &[text(1, 1 << 20)]);
        let (first, last) = messages[0].split_at(messages[0].len() / 2);
        let mut inflate = Inflate::new(Compression::Zlib).expect("compressed");
        let mut out = Vec::new();
        assert_eq!(inflate.inflate(first, &mut out), Ok(false));
        assert_eq!(inflate.inflate(last, &mut out), Ok(true));
        assert_eq!(out.len(), 1 << 20);
        let Inflate::Zlib { partial, .. } = inflate else { panic!("it is zlib") };
        assert_eq!(partial.capacity(), 0);
    }

    /// Scenario 82. Found by the fuzz target `inflate`.
    #[test]
    fn empty_messages_change_nothing() {
        for compression in [Compression::Zlib, Compression::Zstd] {
            let messages = deflate(compression, &[text(1, 500), text(2, 500)]);
            let mut inflate = Inflate::new(compression).expect("compressed");
            let mut out = Vec::new();
            assert_eq!(inflate.inflate(&messages[0], &mut out), Ok(true));
            (0..100).for_each(|_| assert_eq!(inflate.inflate(b"", &mut out), Ok(true)));
            assert_eq!(inflate.inflate(&messages[1], &mut out), Ok(true));
            assert_eq!(out, [text(1, 500), text(2, 500)].concat());
        }
    }

    /// Promise 6: a bomb stops at the bound, with memory near it.
    #[test]
    fn bombs_are_defused() {
        for compression in [Compression::Zlib, Compression::Zstd] {
            let bomb = deflate(compression, &[vec![b' '; MAX_INCOMING_BYTES + 2]]);
            let mut out = Vec::new();
            let result = Inflate::new(compression).expect("compressed").inflate(&bomb[0], &mut out);
            assert_eq!(result, Err(InflateError::TooLarge), "{compression:?}");
            assert!(out.capacity() <= MAX_INCOMING_BYTES * 2 + 1_024, "{}", out.capacity());
            let most = deflate(compression, &[vec![b' '; MAX_INCOMING_BYTES]]);
            let mut inflate = Inflate::new(compression).expect("compressed");
            assert_eq!(inflate.inflate(&most[0], &mut Vec::new()), Ok(true));
        }
    }
}
