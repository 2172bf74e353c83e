//! The task of a connection that gets a [recording](super::recording) in place of a session.

use std::pin::pin;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::close::Close;
use super::frame::{self, FrameError, FrameReader, Incoming};
use super::recording::Track;
use crate::ledger::{By, Outcome};
use crate::state::{Shared, State};

/// Plays a recording to a client, to the end of its connection.
pub(super) async fn run<R, W>(
    shared: &Shared,
    id: u64,
    mut reader: FrameReader<R>,
    mut io: W,
    track: &Track,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let end = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        end = play(shared, id, &mut reader, &mut io, track) => end,
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
    track: &Track,
) -> Result<Incoming, FrameError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
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
    let end = {
        let mut writing = pin!(io.write_all(&track.rest));
        let mut written = false;
        loop {
            tokio::select! {
                result = &mut writing, if !written => {
                    result?;
                    written = true;
                    shared.with(|state| state.played(id, track));
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
    fn played(&mut self, id: u64, track: &Track) {
        self.seen.counts.readies += 1;
        self.seen.counts.bytes_out += track.payload_bytes;
        self.seen.counts.payloads_out += track.payloads;
        self.seen.update(id, |record| {
            record.bytes_out += track.payload_bytes;
            record.payloads_out += track.payloads;
        });
    }
}
