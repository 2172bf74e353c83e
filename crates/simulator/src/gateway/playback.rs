//! The task of a connection that gets a [recording](super::recording) in place of a session.

use std::hint::spin_loop;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::sleep;

use super::close::Close;
use super::compression::Transport;
use super::frame::{self, FrameError, FrameReader, Incoming};
use super::recording::{Recording, Track};
use crate::ledger::{By, Outcome};
use crate::state::{Shared, State};

/// Waits as long as this are slept through; tokio's clock is too coarse for shorter ones.
const SLEPT: Duration = Duration::from_millis(2);

/// Plays a recording to a client, to the end of its connection.
pub(super) async fn run<R, W>(
    shared: &Shared,
    id: u64,
    mut reader: FrameReader<R>,
    mut io: W,
    recording: &Recording,
    transport: Transport,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let end = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        end = play(shared, id, &mut reader, &mut io, recording, transport) => end,
    };
    let (code, reason) = match end {
        Ok(Incoming::Close { code, reason }) => (code, reason),
        Ok(_) => (None, "the stream ended without a close frame".to_owned()),
        Err(error) => (None, error.to_string()),
    };
    shared.with(|state| state.connection_closed(id, By::Client, code, reason));
    let _ = io.shutdown().await;
}

/// Ends with the client's close frame; with anything else where the stream ended before it.
async fn play<R, W>(
    shared: &Shared,
    id: u64,
    reader: &mut FrameReader<R>,
    io: &mut W,
    recording: &Recording,
    transport: Transport,
) -> Result<Incoming, FrameError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let track = recording.track(transport);
    io.write_all(&track.hello).await?;
    loop {
        let message = match reader.next().await? {
            Some(Incoming::Message(message)) => message,
            Some(Incoming::Ping(_) | Incoming::Pong) => continue,
            Some(end @ Incoming::Close { .. }) => return answer(io, end).await,
            None => return Ok(Incoming::Pong),
        };
        match shared.with(|state| state.identify_to_recording(id, &message)) {
            Ok(true) => break,
            Ok(false) => {}
            Err(close) => {
                shared.with(|state| state.refuse(id, &close));
                let mut bytes = Vec::new();
                frame::write_close(&mut bytes, Some(close.code), &close.reason);
                io.write_all(&bytes).await?;
                reader.drain().await;
                return Ok(Incoming::Pong);
            }
        }
    }
    let pace = shared.with(|state| state.options.events_per_second);
    let end = {
        let mut writing = pin!(async {
            io.write_all(&track.intro).await?;
            recording.wait_for_others().await;
            if pace > 0.0 {
                return write_paced(io, track, pace).await;
            }
            io.write_all(&track.events).await.map(|()| Vec::new())
        });
        let mut written = false;
        loop {
            tokio::select! {
                result = &mut writing, if !written => {
                    let sent_unix_ns = result?;
                    written = true;
                    shared.with(|state| state.played(id, track, sent_unix_ns));
                }
                incoming = reader.next() => match incoming? {
                    // In the middle of a frame there is no room for an answer.
                    Some(end @ Incoming::Close { .. }) if !written => return Ok(end),
                    Some(end @ Incoming::Close { .. }) => break end,
                    None => return Ok(Incoming::Pong),
                    Some(_) => {}
                }
            }
        }
    };
    answer(io, end).await
}

/// Writes so many events per second; when each left, in nanoseconds since 1970. What is late goes out at once, so
/// that the pace is kept on the whole.
async fn write_paced<W: AsyncWrite + Unpin>(
    io: &mut W,
    track: &Track,
    events_per_second: f64,
) -> io::Result<Vec<u64>> {
    let step = Duration::from_secs_f64(1.0 / events_per_second);
    let mut due = Instant::now();
    let mut sent_unix_ns = Vec::with_capacity(track.ends.len());
    let mut from = 0;
    for &end in &track.ends {
        due += step;
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            // To yield would wake another thread, which would look for work on the client's processor.
            if left >= SLEPT { sleep(left).await } else { spin_loop() }
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        sent_unix_ns.push(since.as_nanos() as u64);
        io.write_all(&track.events[from..end]).await?;
        from = end;
    }
    Ok(sent_unix_ns)
}

/// Answers the client's close frame with the same code.
async fn answer<W: AsyncWrite + Unpin>(io: &mut W, end: Incoming) -> Result<Incoming, FrameError> {
    if let Incoming::Close { code, .. } = &end {
        let mut bytes = Vec::new();
        frame::write_close(&mut bytes, *code, "");
        io.write_all(&bytes).await?;
    }
    Ok(end)
}

impl State {
    /// Takes in what a client sends before the recording begins; whether it is an IDENTIFY.
    fn identify_to_recording(&mut self, id: u64, message: &[u8]) -> Result<bool, Close> {
        let payload: Value = serde_json::from_slice(message).map_err(|_| Close::DECODE_ERROR)?;
        let d = &payload["d"];
        match payload["op"].as_u64() {
            Some(2) => {}
            Some(6) => {
                return Err(Close::INVALID_SEQ.because("A recording cannot be resumed."));
            }
            _ => return Ok(false),
        }
        self.seen.counts.identifies += 1;
        let good = d["token"].as_str().is_some_and(|token| self.is_token(token));
        let outcome = if good {
            self.seen.counts.identified += 1;
            Outcome::Accepted { session: "recorded".to_owned(), replayed: 0 }
        } else {
            let close = Close::AUTHENTICATION_FAILED;
            Outcome::Closed { code: close.code, why: close.reason.into_owned() }
        };
        let record = self.identify_record(id, d, outcome);
        let shard = record.shard;
        self.seen.identify(record);
        self.seen.update(id, |record| record.shard = Some(shard));
        if good { Ok(true) } else { Err(Close::AUTHENTICATION_FAILED) }
    }

    /// Notes that a client was sent the whole recording.
    fn played(&mut self, id: u64, track: &Track, sent_unix_ns: Vec<u64>) {
        self.seen.counts.readies += 1;
        self.seen.counts.bytes_out += track.payload_bytes;
        self.seen.counts.payloads_out += track.payloads;
        self.seen.update(id, |record| {
            record.bytes_out += track.payload_bytes;
            record.payloads_out += track.payloads;
            record.sent_unix_ns = sent_unix_ns;
        });
    }
}
