//! What goes out on a connection, and how a connection ends.

use std::time::Duration;

use serde_json::Value;

use super::close::{self, Close};
use super::conn::{Gate, Out, OutDispatch};
use super::dispatch::control_text;
use super::session::SessionKey;
use crate::control::{Ending, Stage};
use crate::ledger::{By, Closed};
use crate::state::State;
use crate::wire::Cut;

/// Dispatches handed to a connection at once.
const BATCH: usize = 64;

/// Bytes of dispatches handed to a connection at once, roughly.
const BATCH_BYTES: usize = 256 * 1024;

/// What a `GUILD_CREATE` counts as in a batch.
const MADE_BYTES: usize = 64 * 1024;

/// What a connection's writer does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Write these.
    Send(Vec<Out>),
    /// Wait to be woken, at most until then.
    Wait(Option<Duration>),
    /// Stop: the connection has ended.
    End,
}

impl State {
    /// Takes what is to be written next: first what stands outside the log, then the log.
    pub(crate) fn take(&mut self, id: u64) -> Turn {
        let now = self.clock.now();
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return Turn::End };
        if std::mem::take(&mut conn.ready_leaves) {
            conn.ready = Some(now);
        }
        conn.release(now);
        let mut out: Vec<Out> = conn.waiting.drain(..).collect();
        if !conn.greeted && out.iter().any(|out| matches!(out, Out::Hello(_))) {
            conn.greeted = true;
            // The interval is known from here on; a slow line may have taken seconds to come here.
            conn.last_beat = now;
            self.seen.update(id, |record| record.hello = Some(now));
        }
        if let Some(end) = out.iter().position(|out| matches!(out, Out::Close { .. } | Out::End(_)))
        {
            out.truncate(end + 1);
            return Turn::Send(out);
        }
        if conn.closing {
            return match out.is_empty() {
                true if conn.abandoned => Turn::Wait(None),
                true => Turn::End,
                false => Turn::Send(out),
            };
        }
        if conn.gate == Gate::Open
            && !conn.halted
            && let Some(key) = conn.session
            && let Some(session) = self.gateway.sessions.get(key)
        {
            if !session.log.reaches_back_to(conn.cursor) {
                self.too_slow(id, key);
                return self.take(id);
            }
            let mut bytes = 0;
            for entry in session.log.after(conn.cursor).take(BATCH) {
                conn.cursor = entry.seq;
                conn.dispatched += 1;
                match &*entry.t {
                    "READY" => {
                        (conn.ready, conn.ready_leaves) = (Some(now), true);
                        self.seen.counts.readies += 1;
                        self.seen.changed = true;
                    }
                    "RESUMED" => {
                        (conn.ready, conn.ready_leaves) = (Some(now), true);
                        self.seen.changed = true;
                    }
                    _ if entry.seq <= conn.replay_until => self.seen.counts.replayed += 1,
                    _ => {}
                }
                let corrupt = conn.corrupt > 0;
                conn.corrupt = conn.corrupt.saturating_sub(1);
                bytes += match entry.body.kept_bytes() {
                    0 => MADE_BYTES,
                    kept => kept,
                };
                let guild = entry.body.guild();
                out.push(Out::Dispatch(Box::new(OutDispatch {
                    t: entry.t.clone(),
                    seq: entry.seq,
                    body: entry.body.clone(),
                    live: guild.map(|guild| self.live.guild(guild)).unwrap_or_default(),
                    viewer: session.viewer,
                    payload_compression: session.payload_compression,
                    corrupt,
                    split: conn.split.take(),
                })));
                if let Some(end) = &conn.end
                    && end.stage == Stage::AfterDispatches(conn.dispatched)
                {
                    out.push(Out::End(end.how.clone()));
                    conn.halted = true;
                    break;
                }
                if bytes >= BATCH_BYTES {
                    break;
                }
            }
        }
        if out.is_empty() { Turn::Wait(conn.next_due()) } else { Turn::Send(out) }
    }

    /// A client that does not read until its session's log has run over loses the session.
    fn too_slow(&mut self, id: u64, key: SessionKey) {
        self.begin_close(id, Some(4000), "Too slow: the backlog has run over.");
        self.gateway.sessions.remove(key);
    }

    /// Sends a payload outside the session's log.
    pub(crate) fn send_control(&mut self, id: u64, op: u64, d: &Value) {
        self.push(id, Out::Payload(control_text(op, d)));
    }

    /// Queues something for a connection.
    pub(crate) fn push(&mut self, id: u64, out: Out) {
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return };
        if !conn.closing && !conn.push(out) {
            conn.waiting.clear();
            self.begin_close(id, Some(4000), "Too slow: too many unread payloads.");
        }
    }

    /// Closes a connection for a broken rule.
    pub(super) fn refuse(&mut self, id: u64, close: &Close) {
        self.violation(Some(id), close.rule, close.reason.clone());
        self.begin_close(id, Some(close.code), &close.reason);
    }

    /// Sends a close frame as the last thing, and lets the session go.
    pub(crate) fn begin_close(&mut self, id: u64, code: Option<u16>, reason: &str) {
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return };
        if conn.closing {
            return;
        }
        conn.closing = true;
        conn.waiting.push_back(Out::Close { code, reason: reason.to_owned() });
        self.connection_closed(id, By::Server, code, reason);
    }

    /// Answers the client's close frame with the same code, unless a fault forbids it.
    pub(crate) fn peer_closed(&mut self, id: u64, code: Option<u16>, reason: &str) -> bool {
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return false };
        if conn.closing {
            return true;
        }
        conn.closing = true;
        let echo = !conn.ignore_close;
        conn.abandoned = conn.ignore_close;
        if echo {
            conn.waiting.push_back(Out::Close { code, reason: String::new() });
        }
        if close::ends_session(code)
            && let Some(key) = conn.session
        {
            self.gateway.sessions.remove(key);
        }
        self.connection_closed(id, By::Client, code, reason);
        echo
    }

    /// Notes the end of a connection; its session begins to wait for a RESUME.
    pub(crate) fn connection_closed(
        &mut self,
        id: u64,
        by: By,
        code: Option<u16>,
        reason: impl Into<String>,
    ) {
        let now = self.clock.now();
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return };
        conn.closing = true;
        conn.link.notify.notify_one();
        if let Some(key) = conn.session {
            self.gateway.sessions.detach(key, id, now);
        }
        let closed = Closed { at: now, by, code, reason: reason.into() };
        let mut first = false;
        self.seen.update(id, |record| {
            if record.closed.is_none() {
                first = true;
                record.closed = Some(closed);
            }
        });
        self.seen.counts.closed += u64::from(first);
    }

    /// Forgets a connection whose task has ended.
    pub(crate) fn forget_connection(&mut self, id: u64) {
        self.connection_closed(id, By::Server, None, "the simulator stopped");
        self.gateway.connections.remove(&id);
    }

    /// Drops a connection's socket. Silence leaves the connection open as far as the gateway
    /// knows; the heartbeats will tell.
    pub(crate) fn drop_socket(&mut self, id: u64, how: Cut) {
        let Some(conn) = self.gateway.connections.get(&id) else { return };
        conn.link.wire.drop_stream(how);
        let reason = match how {
            Cut::Fin => "dropped with FIN",
            Cut::Reset => "dropped with RST",
            Cut::Silence => return,
        };
        self.connection_closed(id, By::Server, None, reason);
    }

    /// Carries out a planned end.
    pub(crate) fn end_connection(&mut self, id: u64, how: &Ending) {
        match how {
            Ending::Drop(how) => self.drop_socket(id, *how),
            Ending::Close { code, reason } => self.begin_close(id, *code, reason),
            Ending::Payload(payload) => {
                if let Some(conn) = self.gateway.connections.get_mut(&id) {
                    conn.halted = false;
                    conn.end = None;
                }
                self.push(id, Out::Payload(payload.to_string()));
            }
        }
    }
}
