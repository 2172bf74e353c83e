//! How payloads become websocket messages: plain text, one compressed stream per connection, or
//! each payload compressed by itself.
//!
//! <https://docs.discord.com/developers/events/gateway#encoding-and-compression>

use std::fmt;
use std::io;

use flate2::{Compress, Compression, FlushCompress};
use serde::{Deserialize, Serialize};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::frame::opcode;
use crate::options::Options;

/// Room made for each step of a compressor.
const STEP: usize = 16 * 1024;

/// Transport compression, chosen in the gateway URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// None: each payload is a text message, unless payload compression was asked for.
    #[default]
    None,
    /// One zlib stream for the whole connection, flushed after each payload.
    ZlibStream,
    /// One zstd frame for the whole connection, flushed after each payload and never ended.
    ZstdStream,
}

impl Transport {
    /// The name it has in the URL, `none` for none.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ZlibStream => "zlib-stream",
            Self::ZstdStream => "zstd-stream",
        }
    }
}

/// Turns the payloads of one connection into messages.
pub(crate) enum Encoder {
    /// Text.
    Plain,
    /// Text, or a zlib stream of its own for each payload of at least `from_bytes`.
    Payload { level: u32, from_bytes: usize },
    /// `zlib-stream`.
    Zlib(Box<Compress>),
    /// `zstd-stream`.
    Zstd(CCtx<'static>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Payload { .. } => "Payload",
            Self::Zlib(_) => "Zlib",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl Encoder {
    /// The encoder a fresh connection begins with.
    pub(crate) fn new(transport: Transport, options: &Options) -> io::Result<Self> {
        Ok(match transport {
            Transport::None => Self::Plain,
            Transport::ZlibStream => {
                Self::Zlib(Box::new(Compress::new(Compression::new(options.zlib_level), true)))
            }
            Transport::ZstdStream => {
                let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
                for parameter in [
                    CParameter::CompressionLevel(options.zstd_level),
                    CParameter::WindowLog(options.zstd_window_log),
                ] {
                    context.set_parameter(parameter).map_err(zstd_error)?;
                }
                Self::Zstd(context)
            }
        })
    }

    /// Encodes a payload into `out` and says which kind of message it makes.
    pub(crate) fn encode(&mut self, payload: &str, out: &mut Vec<u8>) -> io::Result<u8> {
        match self {
            Self::Payload { level, from_bytes } if payload.len() >= *from_bytes => {
                let mut stream = Compress::new(Compression::new(*level), true);
                deflate(&mut stream, payload.as_bytes(), out, FlushCompress::Finish)?;
            }
            Self::Plain | Self::Payload { .. } => {
                out.extend_from_slice(payload.as_bytes());
                return Ok(opcode::TEXT);
            }
            Self::Zlib(stream) => {
                deflate(stream, payload.as_bytes(), out, FlushCompress::Sync)?;
            }
            Self::Zstd(context) => zstd_flush(context, payload.as_bytes(), out)?,
        }
        Ok(opcode::BINARY)
    }
}

fn deflate(
    stream: &mut Compress,
    input: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> io::Result<()> {
    let start = stream.total_in();
    loop {
        out.reserve(STEP);
        let used = usize::try_from(stream.total_in() - start).unwrap_or(usize::MAX);
        let room = out.capacity() - out.len();
        let before = stream.total_out();
        stream.compress_vec(input.get(used..).unwrap_or_default(), out, flush)?;
        // Room left over means that everything, the flush included, has been written.
        if stream.total_out() - before < room as u64 {
            return Ok(());
        }
    }
}

fn zstd_flush(context: &mut CCtx<'static>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut input = InBuffer::around(input);
    loop {
        out.reserve(STEP);
        let at = out.len();
        let mut output = OutBuffer::around_pos(out, at);
        if input.pos() < input.src.len() {
            context.compress_stream(&mut output, &mut input).map_err(zstd_error)?;
        } else if context.flush_stream(&mut output).map_err(zstd_error)? == 0 {
            return Ok(());
        }
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(format!("zstd: {}", zstd_safe::get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    fn payloads() -> Vec<String> {
        let mut rng = fastrand::Rng::with_seed(1);
        let noise = |rng: &mut fastrand::Rng, n| (0..n).map(|_| rng.alphanumeric()).collect();
        let mut payloads = vec!["{}".to_owned(), "x".repeat(1_000_000)];
        payloads.extend((0..20).map(|i| noise(&mut rng, 1 << i)));
        payloads
    }

    #[test]
    fn zlib_messages_end_in_the_suffix_and_share_a_context() {
        let mut encoder = Encoder::new(Transport::ZlibStream, &Options::default()).unwrap();
        let mut inflate = Decompress::new(true);
        for payload in payloads() {
            let mut out = Vec::new();
            assert_eq!(encoder.encode(&payload, &mut out).unwrap(), opcode::BINARY);
            assert_eq!(out[out.len() - 4..], [0, 0, 0xFF, 0xFF]);
            let mut text = Vec::with_capacity(payload.len() + 64);
            inflate.decompress_vec(&out, &mut text, FlushDecompress::Sync).unwrap();
            assert_eq!(text, payload.as_bytes());
        }
    }

    #[test]
    fn zstd_messages_decode_one_by_one_and_never_end_the_frame() {
        let options = Options { zstd_window_log: 17, ..Options::default() };
        let mut encoder = Encoder::new(Transport::ZstdStream, &options).unwrap();
        let mut context = zstd_safe::DCtx::create();
        context.set_parameter(zstd_safe::DParameter::WindowLogMax(17)).unwrap();
        for payload in payloads() {
            let mut out = Vec::new();
            assert_eq!(encoder.encode(&payload, &mut out).unwrap(), opcode::BINARY);
            let mut text = Vec::with_capacity(payload.len() + 64);
            let mut input = InBuffer::around(&out);
            while input.pos() < out.len() {
                let at = text.len();
                let mut output = OutBuffer::around_pos(&mut text, at);
                let left = context.decompress_stream(&mut output, &mut input).unwrap();
                assert_ne!(left, 0, "the frame goes on");
            }
            assert_eq!(text, payload.as_bytes());
        }
    }

    #[test]
    fn payload_compression_leaves_small_ones_alone() {
        let mut encoder = Encoder::Payload { level: 6, from_bytes: 100 };
        let mut out = Vec::new();
        assert_eq!(encoder.encode("{}", &mut out).unwrap(), opcode::TEXT);
        assert_eq!(out, b"{}");
        for payload in payloads().iter().filter(|payload| payload.len() >= 100) {
            let mut out = Vec::new();
            assert_eq!(encoder.encode(payload, &mut out).unwrap(), opcode::BINARY);
            let mut text = Vec::with_capacity(payload.len() + 64);
            let mut inflate = Decompress::new(true);
            let status = inflate.decompress_vec(&out, &mut text, FlushDecompress::Finish).unwrap();
            assert_eq!(status, flate2::Status::StreamEnd);
            assert_eq!(text, payload.as_bytes());
        }
    }
}
