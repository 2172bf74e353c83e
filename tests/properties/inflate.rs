//! Decompression of any stream, cut anywhere, up to the envelopes in it.

use flate2::{Compress, FlushCompress};
use proptest::collection::vec;
use proptest::prelude::*;
use shardwright::protocol::{Compression, Scanner};
use shardwright::transport::Inflate;

use crate::envelope::{check, payloads};
use crate::targets;

/// Sizes to cut a stream by, in turn.
fn cuts() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![
        Just([1; 4]),
        any::<[u8; 4]>(),
        any::<[bool; 4]>().prop_map(|cuts| cuts.map(u8::from))
    ]
}

/// An input of the fuzz target: the functions there compress, cut, inflate and compare with the
/// libraries' own decoders.
fn round_trip(is_zstd: bool) -> impl Strategy<Value = Vec<u8>> {
    let part =
        prop_oneof![vec(any::<u8>(), 0..255), "[a-e\":{}]{0,255}".prop_map(String::into_bytes)];
    (cuts(), any::<u8>(), vec((any::<u8>(), part), 1..12)).prop_map(move |(cuts, level, parts)| {
        let mut input = vec![2 | u8::from(is_zstd)];
        input.extend(cuts);
        input.push(level);
        for (times, part) in parts {
            input.extend([times, part.len() as u8]);
            input.extend(part);
        }
        input
    })
}

/// A stream that is right up to some byte, and cut anywhere.
fn broken(is_zstd: bool) -> impl Strategy<Value = Vec<u8>> {
    let flips = vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4);
    (cuts(), vec("[a-e\":{}]{1,255}", 1..6), flips).prop_map(move |(cuts, payloads, flips)| {
        let mut stream = Vec::new();
        for payload in &payloads {
            stream.extend(compress(is_zstd, payload.as_bytes()));
        }
        for (at, flip) in flips {
            let at = at.index(stream.len());
            stream[at] ^= flip;
        }
        let mut input = vec![u8::from(is_zstd)];
        input.extend(cuts);
        input.extend(stream);
        input
    })
}

/// One payload in a stream of its own, flushed.
fn compress(is_zstd: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 1_024);
    if is_zstd {
        let mut context = zstd_safe::CCtx::create();
        let mut output = zstd_safe::OutBuffer::around(&mut out);
        let flush = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush;
        let mut input = zstd_safe::InBuffer::around(payload);
        assert_eq!(context.compress_stream2(&mut output, &mut input, flush), Ok(0));
    } else {
        let mut context = Compress::new(flate2::Compression::default(), true);
        context.compress_vec(payload, &mut out, FlushCompress::Sync).expect("room");
    }
    out
}

proptest! {
    /// Scenarios 51 and 53: any payloads, cut anywhere, one context for all.
    #[test]
    fn zlib_is_the_reference_for_any_cut(input in round_trip(false)) {
        targets::inflate::run(&input);
    }

    /// Scenario 53: any payloads, one context for all.
    #[test]
    fn zstd_is_the_reference(input in round_trip(true)) {
        targets::inflate::run(&input);
    }

    /// Scenario 54, and promise 6: noise is refused where the reference refuses it, or read alike.
    #[test]
    fn noise_is_read_as_by_the_reference(input in prop_oneof![broken(false), broken(true)]) {
        targets::inflate::run(&input);
    }

    /// The whole way of a connection: payloads, compressed, in messages cut anywhere, to envelopes.
    #[test]
    fn payloads_arrive_whole_however_they_are_cut(
        payloads in payloads(),
        cuts in vec(1..400_usize, 1..8),
    ) {
        let mut zlib = Compress::new(flate2::Compression::fast(), true);
        let mut inflate = Inflate::new(Compression::Zlib).expect("compressed");
        let mut cuts = cuts.iter().cycle();
        // It walks the first 16 payloads of a connection to their ends, whatever order they are in.
        let mut scanner = Scanner::default();
        let mut text = Vec::new();
        for payload in payloads.iter().take(16) {
            let mut message = Vec::with_capacity(payload.text.len() + 1_024);
            zlib.compress_vec(payload.text.as_bytes(), &mut message, FlushCompress::Sync)?;
            let mut left = &message[..];
            while !left.is_empty() {
                let (piece, rest) = left.split_at((*cuts.next().expect("for ever")).min(left.len()));
                left = rest;
                let is_whole = inflate.inflate(piece, &mut text)?;
                prop_assert_eq!(is_whole, left.is_empty());
            }
            check(&mut scanner, &text, payload);
            text.clear();
        }
    }
}
