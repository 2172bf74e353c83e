//! The decompression of a connection against the libraries' own, fed byte by byte.
//!
//! Input: what to do (bit 0: zstd, bit 1: compress first), four sizes to cut messages by in turn, and
//! a compressed stream; or a level and payloads to be compressed, each with its length before it.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use shardwright::config::MAX_INCOMING_BYTES;
use shardwright::protocol::Compression;
use shardwright::transport::{Inflate, InflateError};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, zstd_sys};

use super::input::Input;

/// What ends a payload of `zlib-stream`.
const ZLIB_SUFFIX: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Bytes that stand in the buffer before each payload, and must stay.
const BEFORE: &[u8] = b"before";

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let compression = if mode & 1 == 0 { Compression::Zlib } else { Compression::Zstd };
    let cuts: [u8; 4] = std::array::from_fn(|_| input.byte());
    if mode & 2 == 0 {
        // Whatever comes of it: `compare` has looked.
        let _ = compare(compression, &cut(input.rest(), cuts));
        return;
    }
    let level = input.byte();
    let mut payloads = Vec::new();
    while !input.is_empty() {
        // A payload that repeats itself is longer than the input that asked for it.
        let times = usize::from(input.byte() % 32) + 1;
        let part = input.text();
        payloads.push(part.repeat(times));
    }
    let messages = compress(compression, level, &payloads);
    // Discord cuts zlib only: a payload of zstd is one message.
    let messages: Vec<Vec<u8>> = match compression {
        Compression::Zlib => messages.iter().flat_map(|message| cut(message, cuts)).collect(),
        _ => messages,
    };
    assert!(compare(compression, &messages).as_ref() == Ok(&payloads.concat()), "not what went in");
}

/// A stream as messages.
fn cut(stream: &[u8], cuts: [u8; 4]) -> Vec<Vec<u8>> {
    if cuts == [0; 4] {
        return vec![stream.to_vec()];
    }
    let mut input = Input::new(stream);
    let mut sizes = cuts.into_iter().cycle();
    let mut messages = Vec::new();
    while !input.is_empty() {
        messages.push(input.take(sizes.next().unwrap_or(1).into()).to_vec());
    }
    messages
}

/// Payloads as a server compresses them.
fn compress(compression: Compression, level: u8, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut zlib = Compress::new(flate2::Compression::new(u32::from(level % 10)), true);
    let mut zstd = CCtx::create();
    let _ = zstd.set_parameter(CParameter::CompressionLevel(i32::from(level % 12)));
    let compress = |payload: &Vec<u8>| {
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + 1_024);
        if compression == Compression::Zlib {
            zlib.compress_vec(payload, &mut out, FlushCompress::Sync).expect("room");
        } else {
            let flush = zstd_sys::ZSTD_EndDirective::ZSTD_e_flush;
            let mut output = OutBuffer::around(&mut out);
            let left = zstd.compress_stream2(&mut output, &mut InBuffer::around(payload), flush);
            assert_eq!(left, Ok(0), "all flushed");
        }
        out
    };
    payloads.iter().map(compress).collect()
}

/// Inflates the messages of a connection, with a look at each step. All that came out, or how it
/// ended.
fn compare(compression: Compression, messages: &[Vec<u8>]) -> Result<Vec<u8>, InflateError> {
    let mut inflate = Inflate::new(compression).expect("compressed");
    let mut reference = Reference::new(compression);
    let mut out = BEFORE.to_vec();
    let mut all = Vec::new();
    let mut stream = Vec::new();
    // What the reference has of the current payload.
    let mut expected = Vec::new();
    for message in messages {
        let is_right = reference.feed(message, &mut expected);
        stream.extend_from_slice(message);
        match inflate.inflate(message, &mut out) {
            Ok(is_whole) => {
                assert_eq!(is_right, Ok(()), "taken for right");
                let is_zstd = compression == Compression::Zstd;
                assert_eq!(is_whole, is_zstd || stream.ends_with(&ZLIB_SUFFIX));
                assert!(out.starts_with(BEFORE));
                let payload = &out[BEFORE.len()..];
                assert!(payload.len() <= MAX_INCOMING_BYTES);
                if is_whole {
                    assert!(payload == expected, "another text than the library's own");
                    all.append(&mut expected);
                } else {
                    assert_eq!(payload.len(), 0, "nothing before a payload is whole");
                }
                out.truncate(BEFORE.len());
            }
            Err(error) => {
                let right = if error == InflateError::TooLarge {
                    expected.len() > MAX_INCOMING_BYTES
                } else {
                    is_right.is_err()
                };
                assert!(right, "{error:?}, but the library reads it");
                return Err(error);
            }
        }
    }
    Ok(all)
}

/// The libraries without anything around them.
enum Reference {
    Zlib(Decompress),
    Zstd(DCtx<'static>),
}

impl Reference {
    fn new(compression: Compression) -> Self {
        if compression == Compression::Zlib {
            return Self::Zlib(Decompress::new(true));
        }
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(23)).expect("8 MiB");
        Self::Zstd(context)
    }

    /// Appends what the bytes inflate to, up to a little more than is allowed.
    fn feed(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        message.iter().try_for_each(|byte| self.feed_byte(*byte, out))
    }

    fn feed_byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), String> {
        let mut left: &[u8] = &[byte];
        loop {
            if out.len() > MAX_INCOMING_BYTES {
                return Err("too large".into());
            }
            out.reserve(1 << 10);
            let written = out.len();
            match self {
                Self::Zlib(context) => {
                    let consumed = context.total_in();
                    let status = context.decompress_vec(left, out, FlushDecompress::None);
                    match status.map_err(|error| error.to_string())? {
                        Status::StreamEnd => return Err("ended".into()),
                        Status::Ok | Status::BufError => {}
                    }
                    left = &left[(context.total_in() - consumed) as usize..];
                }
                Self::Zstd(context) => {
                    let mut input = InBuffer::around(left);
                    context
                        .decompress_stream(&mut OutBuffer::around_pos(out, written), &mut input)
                        .map_err(|code| zstd_safe::get_error_name(code).to_owned())?;
                    let consumed = input.pos();
                    left = &left[consumed..];
                }
            }
            if left.is_empty() && out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}
