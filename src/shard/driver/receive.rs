//! From the socket to the stage.

use std::sync::Arc;
use std::task::Poll;

use tracing::{trace, warn};

use super::{Clock, Driver, now};
use crate::protocol::{OpCode, guild_id_of};
use crate::queue::FLAG_REPLAYED;
use crate::sessions::session_tag;
use crate::shard::guilds::Guilds;
use crate::shard::machine::{Delivery, Input};
use crate::shard::stage::Dispatch;
use crate::transport::Received;

/// Websocket messages handled before timers and mail get their turn.
const BURST: usize = 256;

impl Driver {
    /// Takes in what the socket has, up to a burst, and stops early when the machine wants something
    /// done. For ever while there is neither a socket nor an attempt to open one.
    pub(super) async fn io(&mut self) {
        let mut handled = 0;
        std::future::poll_fn(|cx| {
            self.clock = Clock::now();
            if let Some(opening) = &mut self.connecting {
                return opening.as_mut().poll(cx).map(|result| self.opened(result));
            }
            while handled < BURST && !self.machine.has_output() {
                if self.stage.is_full() && !self.blocked {
                    break;
                }
                // Taken out while what it received is looked at.
                let Some(mut socket) = self.socket.take() else { break };
                let read = !(self.blocked && self.machine.may_pause_reads());
                let Poll::Ready(received) = socket.poll(cx, read) else {
                    self.socket = Some(socket);
                    break;
                };
                handled += 1;
                if self.received(received) {
                    self.socket = Some(socket);
                }
            }
            if handled == 0 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        // A socket that always has more must not keep the thread.
        if handled == BURST {
            tokio::task::yield_now().await;
        }
    }

    /// One piece of news from the socket; whether that goes on.
    pub(super) fn received(&mut self, received: Received<'_>) -> bool {
        match received {
            Received::Text(payload) => {
                self.counts.bytes_received += payload.len() as u64;
                self.plain(payload);
            }
            Received::Binary(message) => {
                self.counts.bytes_received += message.len() as u64;
                if self.inflate.is_some() { self.compressed(message) } else { self.plain(message) }
            }
            Received::Flushed => self.machine.handle(Input::Flushed, now()),
            Received::Closed { code, reason } => {
                self.lost(code, reason);
                return false;
            }
        }
        true
    }

    /// A payload as it is.
    pub(super) fn plain(&mut self, payload: &[u8]) {
        self.counts.bytes_inflated += payload.len() as u64;
        if let Some(dispatch) = self.payload(payload) {
            self.stage.add_received(payload, dispatch);
        }
    }

    /// A compressed message.
    pub(super) fn compressed(&mut self, message: &[u8]) {
        let Some(inflate) = &mut self.inflate else { return };
        self.stage.prepare();
        let mut text = std::mem::take(&mut self.stage.text);
        let offset = text.len();
        match inflate.inflate(message, &mut text) {
            Ok(true) => {
                self.counts.bytes_inflated += (text.len() - offset) as u64;
                if let Some(dispatch) = self.payload(&text[offset..]) {
                    self.stage.add_inflated(offset, dispatch);
                } else {
                    text.truncate(offset);
                }
            }
            Ok(false) => {}
            Err(error) => {
                text.truncate(offset);
                let reason = error.to_string();
                self.machine.handle(Input::BadCompression { reason }, now());
            }
        }
        self.stage.put_back(text);
    }

    /// One whole payload; what the host gets of it.
    pub(super) fn payload(&mut self, payload: &[u8]) -> Option<Dispatch> {
        let Clock { now, wall_ns } = self.clock;
        let envelope = match self.scanner.scan(payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                warn!(shard = self.shard_id, bytes = payload.len(), "{error}");
                self.machine.handle(Input::BadPayload { seq: error.seq }, now);
                return None;
            }
        };
        let (name, data) = (envelope.name.of(payload), envelope.data.of(payload));
        trace!(shard = self.shard_id, op = envelope.op, seq = envelope.seq, bytes = payload.len());
        if envelope.op != u64::from(OpCode::Dispatch.number()) {
            self.machine.handle(Input::Control { op: envelope.op, data }, now);
            return None;
        }
        self.counts.events += 1;
        self.counts.last_event_at = Some(now);
        let flags = match self.machine.dispatch(envelope.seq, name, data, now) {
            Delivery::New => 0,
            Delivery::Replayed => FLAG_REPLAYED,
            Delivery::Drop => return None,
        };
        match name {
            b"GUILD_MEMBERS_CHUNK" if self.members.chunk(data, now) => return None,
            b"RATE_LIMITED" if self.members.rate_limited(data, now) => return None,
            b"READY" => {
                self.members.ready(now);
                self.begin_session();
            }
            b"RESUMED" => self.members.resumed(now),
            _ => {}
        }
        if Guilds::concerns(name) {
            self.observe_guilds(envelope.seq, name, data);
        }
        let is_wanted = |names: &Arc<[Vec<u8>]>| {
            names.binary_search_by(|known| known.as_slice().cmp(name)).is_ok()
        };
        if !self.surroundings.events.as_ref().is_none_or(is_wanted) {
            return None;
        }
        Some(Dispatch {
            seq: envelope.seq.unwrap_or(0),
            guild_id: guild_id_of(name, data),
            received_ns: wall_ns,
            flags,
            name: envelope.name,
            data: envelope.data,
        })
    }

    /// READY came: what follows belongs to another session.
    pub(super) fn begin_session(&mut self) {
        self.surroundings.line.answered();
        if let (Some(progress), Some(session)) =
            (&self.surroundings.progress, self.machine.session())
        {
            // After READY: replayed, it would begin another session, and all that follows would be new.
            progress.begin(session_tag(&session.id), session.seq);
        }
    }

    /// Takes note of a dispatch about guilds.
    pub(super) fn observe_guilds(&mut self, seq: Option<u64>, name: &[u8], data: &[u8]) {
        let mut guilds = self.surroundings.guilds.lock();
        guilds.observe(seq, name, data);
        self.guild_counts = guilds.counts();
        drop(guilds);
        self.guilds_are_complete =
            self.guild_patience.observed(name, self.guild_counts, self.clock.now);
    }
}
