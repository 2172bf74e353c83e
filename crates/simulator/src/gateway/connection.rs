//! The task of one gateway connection: reads frames, writes what the state has for it, and
//! watches the heartbeats. It decides nothing.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::Turn;
use super::compression::Encoder;
use super::conn::{Link, Out, OutDispatch};
use super::dispatch::dispatch_text;
use super::frame::{self, FrameError, FrameReader, Incoming, opcode};
use super::handshake::Opened;
use super::heartbeat::Watch;
use super::playback;
use crate::control::Split;
use crate::ledger::{By, Rule};
use crate::state::Shared;
use crate::wire::{Cut, Pace};

/// How long a peer may take to answer a close frame or to read what was left for it.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes overwritten in a corrupted message. `FF` begins a block of a type that neither deflate
/// nor zstd has, so the client's decompressor must fail and cannot produce other text instead.
const CORRUPT: [u8; 8] = [0xFF; 8];

/// Removes the connection from the state however its task ends, also before it has begun.
#[derive(Debug)]
pub(crate) struct Leave {
    shared: Arc<Shared>,
    id: u64,
}

impl Leave {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id }
    }
}

impl std::ops::Drop for Leave {
    fn drop(&mut self) {
        self.shared.with(|state| state.forget_connection(self.id));
    }
}

/// Serves a connection after its handshake; `first` are bytes already read from it.
pub(crate) async fn run<IO>(
    shared: Arc<Shared>,
    io: IO,
    first: &[u8],
    opened: &Opened,
    _leave: Leave,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let id = opened.id;
    let link = opened.link.clone();
    if let Some(rate) = opened.bytes_per_second {
        link.wire.set_pace(Some(Pace::per_second(rate)));
    }
    let (read, write) = tokio::io::split(io);
    if let Some(recording) = &shared.recording {
        let reader = FrameReader::new(read, first);
        return playback::run(&shared, id, reader, write, recording, opened.transport).await;
    }
    let reading = read_loop(&shared, id, FrameReader::new(read, first));
    let writing = write_loop(&shared, opened, write);
    let watching = watch_loop(&shared, id);
    tokio::pin!(reading, writing, watching);

    let mut deadline: Option<Instant> = None;
    let (mut read_done, mut write_done, mut rest) = (false, false, None);
    while !(read_done && write_done) {
        let linger = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            end = &mut reading, if !read_done => {
                read_done = true;
                match end {
                    // The socket is gone: nothing can be written any more.
                    ReadEnd::Gone => return,
                    ReadEnd::Closing => {}
                }
            }
            io = &mut writing, if !write_done => {
                write_done = true;
                rest = Some(io);
            }
            () = &mut watching => {}
            () = linger => break,
        }
        // A half-open socket stays until the client lets go; all else has its time.
        deadline = match link.wire.dropped() {
            Some(Cut::Silence) => None,
            _ if read_done || write_done => deadline.or_else(|| Some(Instant::now() + LINGER)),
            _ => None,
        };
    }
    if let Some(mut io) = rest {
        // Says goodbye in TLS too.
        let _ = timeout(LINGER, io.shutdown()).await;
    }
}

/// Why reading ended.
enum ReadEnd {
    /// The stream is over.
    Gone,
    /// A close frame was received or is to be sent; the writer has to finish.
    Closing,
}

async fn read_loop<R: AsyncRead + Unpin>(
    shared: &Shared,
    id: u64,
    mut reader: FrameReader<ReadHalf<R>>,
) -> ReadEnd {
    loop {
        match reader.next().await {
            Ok(Some(Incoming::Message(message))) => {
                shared.with(|state| state.receive(id, &message));
            }
            Ok(Some(Incoming::Ping(data))) => {
                shared.with(|state| state.push(id, Out::Frame { code: opcode::PONG, data }));
            }
            Ok(Some(Incoming::Pong)) => {}
            Ok(Some(Incoming::Close { code, reason })) => {
                if shared.with(|state| state.peer_closed(id, code, &reason)) {
                    return ReadEnd::Closing;
                }
            }
            Ok(None) => {
                let reason = "the stream ended without a close frame";
                shared.with(|state| state.connection_closed(id, By::Client, None, reason));
                return ReadEnd::Gone;
            }
            Err(FrameError::Io(error)) => {
                let reason = error.to_string();
                shared.with(|state| state.connection_closed(id, By::Client, None, reason));
                return ReadEnd::Gone;
            }
            Err(error) => {
                let (rule, code) = match error {
                    FrameError::TooLarge => (Rule::PayloadTooLarge, 4002),
                    _ => (Rule::BadFrame, 1002),
                };
                shared.with(|state| {
                    state.violation(Some(id), rule, error.to_string());
                    state.begin_close(id, Some(code), &error.to_string());
                });
                reader.drain().await;
                return ReadEnd::Closing;
            }
        }
    }
}

async fn watch_loop(shared: &Shared, id: u64) {
    while let Watch::Until(at) = shared.with(|state| state.watch_heartbeat(id)) {
        sleep_until(shared.clock.instant(at)).await;
    }
    pending::<()>().await;
}

/// Writes until the connection has ended, and gives the stream back.
async fn write_loop<W: AsyncWrite + Unpin>(
    shared: &Shared,
    opened: &Opened,
    io: WriteHalf<W>,
) -> WriteHalf<W> {
    let id = opened.id;
    let encoder = match Encoder::new(opened.transport, &opened.options) {
        Ok(encoder) => encoder,
        Err(error) => {
            let reason = error.to_string();
            shared.with(|state| state.begin_close(id, Some(1011), &reason));
            Encoder::Plain
        }
    };
    let mut writer = Writer { io, encoder, shared, id, link: &opened.link, bytes: 0, payloads: 0 };
    loop {
        match shared.with(|state| state.take(id)) {
            Turn::End => return writer.io,
            Turn::Wait(until) => writer.wait(until).await,
            Turn::Send(out) => {
                let result = writer.send(out, opened).await;
                writer.report();
                match result {
                    Ok(true) => {}
                    Ok(false) => return writer.io,
                    Err(error) => {
                        if writer.link.wire.dropped().is_none() {
                            let reason = error.to_string();
                            shared.with(|state| {
                                state.connection_closed(id, By::Client, None, reason);
                            });
                        }
                        return writer.io;
                    }
                }
            }
        }
    }
}

struct Writer<'a, W> {
    io: WriteHalf<W>,
    encoder: Encoder,
    shared: &'a Shared,
    id: u64,
    link: &'a Link,
    /// Bytes and payloads written since the last report.
    bytes: u64,
    payloads: u64,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Waits until there may be something to write.
    async fn wait(&mut self, until: Option<Duration>) {
        let woken = self.link.notify.notified();
        match until {
            None => woken.await,
            Some(at) => {
                let left = at.saturating_sub(self.shared.clock.now());
                let _ = timeout(left, woken).await;
            }
        }
    }

    /// Writes a batch. `false` when the connection has ended with it.
    async fn send(&mut self, batch: Vec<Out>, opened: &Opened) -> io::Result<bool> {
        let mut bytes = Vec::new();
        for out in batch {
            match out {
                Out::Hello(text) | Out::Payload(text) => self.payload(&text, None, &mut bytes)?,
                Out::Dispatch(dispatch) => {
                    self.learn_payload_compression(&dispatch, opened);
                    let world = &self.shared.world;
                    let d = dispatch.body.render(world, &dispatch.live, dispatch.viewer);
                    let text = dispatch_text(&dispatch.t, dispatch.seq, &d);
                    self.payload(&text, Some(&dispatch), &mut bytes)?;
                }
                Out::Frame { code, data } => frame::write(&mut bytes, true, code, &data),
                Out::Bytes(data) => bytes.extend_from_slice(&data),
                Out::Close { code, reason } => {
                    frame::write_close(&mut bytes, code, &reason);
                    self.flush(&mut bytes).await?;
                    return Ok(false);
                }
                Out::End(how) => {
                    self.flush(&mut bytes).await?;
                    self.shared.with(|state| state.end_connection(self.id, &how));
                }
            }
            // One write for many small payloads, but not one for the whole world.
            if bytes.len() > 64 * 1024 {
                self.flush(&mut bytes).await?;
            }
        }
        self.flush(&mut bytes).await?;
        Ok(true)
    }

    async fn flush(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await?;
        self.bytes += bytes.len() as u64;
        bytes.clear();
        Ok(())
    }

    /// Payload compression is asked for in IDENTIFY, so it begins with READY.
    fn learn_payload_compression(&mut self, dispatch: &OutDispatch, opened: &Opened) {
        if dispatch.payload_compression && matches!(self.encoder, Encoder::Plain) {
            self.encoder = Encoder::Payload {
                level: opened.options.zlib_level,
                from_bytes: opened.options.payload_compression_bytes,
            };
        }
    }

    /// Encodes a payload and puts it into one frame, or into what a fault asks for.
    fn payload(
        &mut self,
        text: &str,
        dispatch: Option<&OutDispatch>,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut data = Vec::new();
        let code = self.encoder.encode(text, &mut data)?;
        self.payloads += 1;
        if dispatch.is_some_and(|dispatch| dispatch.corrupt) {
            corrupt(code, &mut data);
        }
        match dispatch.and_then(|dispatch| dispatch.split) {
            None => frame::write(bytes, true, code, &data),
            Some(Split::Frames(parts)) => {
                let pieces: Vec<&[u8]> = pieces(&data, parts).collect();
                for (index, piece) in pieces.iter().enumerate() {
                    let code = if index == 0 { code } else { opcode::CONTINUATION };
                    frame::write(bytes, index + 1 == pieces.len(), code, piece);
                }
            }
            Some(Split::Messages(parts)) => {
                for piece in pieces(&data, parts) {
                    frame::write(bytes, true, code, piece);
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        let (id, bytes, payloads) =
            (self.id, std::mem::take(&mut self.bytes), std::mem::take(&mut self.payloads));
        self.shared.with(|state| {
            state.seen.counts.bytes_out += bytes;
            state.seen.counts.payloads_out += payloads;
            state.seen.update_quietly(id, |record| {
                record.bytes_out += bytes;
                record.payloads_out += payloads;
            });
        });
    }
}

/// Makes a message undecodable: compressed data at its first block, text at its first character.
fn corrupt(code: u8, data: &mut [u8]) {
    if code == opcode::TEXT {
        if let Some(first) = data.first_mut() {
            *first = b'~';
        }
    } else {
        let length = data.len().saturating_sub(4).min(CORRUPT.len());
        data[..length].copy_from_slice(&CORRUPT[..length]);
    }
}

/// Cuts into `parts` pieces, none of them empty.
fn pieces(data: &[u8], parts: usize) -> impl Iterator<Item = &[u8]> {
    data.chunks(data.len().div_ceil(parts.max(1)).max(1))
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;
    use crate::gateway::compression::Transport;
    use crate::options::Options;

    #[test]
    fn pieces_add_up() {
        let data: Vec<u8> = (0..100).collect();
        for parts in 0..150 {
            let cut: Vec<&[u8]> = pieces(&data, parts).collect();
            assert!(cut.len() <= parts.max(1));
            assert_eq!(cut.concat(), data);
        }
    }

    #[test]
    fn corrupt_data_cannot_be_decoded() {
        for transport in [Transport::ZlibStream, Transport::ZstdStream] {
            for good_before in 0..3 {
                let mut encoder = Encoder::new(transport, &Options::default()).unwrap();
                let mut stream = Vec::new();
                for _ in 0..good_before {
                    encoder.encode("{\"op\":11}", &mut stream).unwrap();
                }
                let mut bad = Vec::new();
                let code = encoder.encode("{\"op\":0,\"d\":{\"a\":1}}", &mut bad).unwrap();
                corrupt(code, &mut bad);
                stream.extend_from_slice(&bad);
                assert!(decode(transport, &stream).is_err(), "{transport:?} after {good_before}");
            }
        }
    }

    fn decode(transport: Transport, stream: &[u8]) -> Result<(), String> {
        let mut out = Vec::with_capacity(4096);
        if transport == Transport::ZlibStream {
            let mut inflate = Decompress::new(true);
            let result = inflate.decompress_vec(stream, &mut out, FlushDecompress::Sync);
            result.map(|_| ()).map_err(|error| error.to_string())
        } else {
            let mut context = zstd_safe::DCtx::create();
            let mut input = zstd_safe::InBuffer::around(stream);
            while input.pos() < stream.len() {
                let at = out.len();
                let mut output = zstd_safe::OutBuffer::around_pos(&mut out, at);
                context
                    .decompress_stream(&mut output, &mut input)
                    .map_err(|code| zstd_safe::get_error_name(code).to_owned())?;
            }
            Ok(())
        }
    }
}
