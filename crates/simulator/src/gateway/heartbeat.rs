//! Heartbeats: taking them in, acknowledging them, missing them.
//!
//! <https://docs.discord.com/developers/events/gateway#sending-heartbeats>

use std::time::Duration;

use serde_json::Value;

use super::close::Close;
use super::conn::Out;
use super::dispatch::control_text;
use crate::control::Acks;
use crate::ledger::{HeartbeatRecord, Rule};
use crate::state::State;

/// What the watcher of a connection's heartbeats does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Look again then.
    Until(Duration),
    /// Nothing any more.
    Nothing,
}

impl State {
    /// Takes in an op 1.
    pub(super) fn heartbeat(&mut self, id: u64, d: &Value) -> Result<(), Close> {
        let now = self.clock.now();
        let seq = match d {
            Value::Null => None,
            number if number.is_u64() => number.as_u64(),
            _ => {
                return Err(
                    Close::INVALID_PAYLOAD.because("A heartbeat's d is an integer or null.")
                );
            }
        };
        let late = Duration::from_millis(self.options.heartbeat_late_ms);
        let shard = self.shard_of(id);
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return Ok(()) };

        let mut broken = Vec::new();
        if let Some(interval) = conn.interval
            && now > conn.last_beat + interval + late
        {
            let over = now.saturating_sub(conn.last_beat + interval);
            broken.push((Rule::HeartbeatLate, format!("{} ms after it was due", over.as_millis())));
        }
        let requested = conn.beat_requested.take();
        if let Some(asked) = requested
            && now > asked + late
        {
            let after = now.saturating_sub(asked).as_millis();
            let detail = format!("asked for a heartbeat with op 1, one came {after} ms later");
            broken.push((Rule::HeartbeatRequestIgnored, detail));
        }
        if conn.session.is_some() {
            if seq > Some(conn.cursor) {
                let detail = format!("d is {seq:?}, but only {} was sent", conn.cursor);
                broken.push((Rule::HeartbeatSeq, detail));
            } else if seq < conn.last_beat_seq {
                let detail = format!("d went back from {:?} to {seq:?}", conn.last_beat_seq);
                broken.push((Rule::HeartbeatSeq, detail));
            }
            conn.last_beat_seq = seq;
            let long_ready = !conn.ready_leaves && conn.ready.is_some_and(|at| now > at + late);
            if seq.is_none() && long_ready {
                broken.push((Rule::HeartbeatSeq, "d is null long after READY".to_owned()));
            }
        }
        conn.last_beat = now;

        let ack = Out::Payload(control_text(11, &Value::Null));
        let acked = match &mut conn.acks {
            Acks::Normal => conn.push(ack),
            Acks::DelayMs(ms) => {
                let at = now + Duration::from_millis(*ms);
                conn.push_at(at, ack);
                true
            }
            Acks::Swallow(left) => {
                *left -= 1;
                if *left == 0 {
                    conn.acks = Acks::Normal;
                }
                false
            }
            Acks::SwallowAll => false,
        };
        if self.options.trim_replay_on_heartbeat
            && let (Some(key), Some(seq)) = (conn.session, seq)
            && let Some(session) = self.gateway.sessions.get_mut(key)
        {
            session.log.trim(seq.min(conn.cursor));
        }
        self.seen.counts.heartbeats += 1;
        self.seen.counts.acks += u64::from(acked);
        self.seen.heartbeat(HeartbeatRecord {
            at: now,
            connection: id,
            shard,
            d: seq,
            requested: requested.is_some(),
            acked,
        });
        for (rule, detail) in broken {
            self.violation(Some(id), rule, detail);
        }
        Ok(())
    }

    /// Sets how a connection's heartbeats are acknowledged.
    pub(crate) fn set_acks(&mut self, id: u64, acks: Acks) {
        if let Some(conn) = self.gateway.connections.get_mut(&id) {
            conn.acks = if acks == Acks::Swallow(0) { Acks::Normal } else { acks };
        }
    }

    /// Asks a client for a heartbeat.
    pub(crate) fn request_heartbeat(&mut self, id: u64) {
        let now = self.clock.now();
        if let Some(conn) = self.gateway.connections.get_mut(&id) {
            conn.beat_requested = Some(now);
        }
        self.send_control(id, 1, &Value::Null);
    }

    /// Closes a connection whose heartbeats have stopped, or says when to look again.
    pub(crate) fn watch_heartbeat(&mut self, id: u64) -> Watch {
        let now = self.clock.now();
        let grace = Duration::from_millis(self.options.heartbeat_grace_ms);
        let Some(conn) = self.gateway.connections.get(&id) else { return Watch::Nothing };
        let Some(interval) = conn.interval.filter(|_| !conn.closing) else { return Watch::Nothing };
        let deadline = conn.last_beat + interval + grace;
        if now < deadline {
            return Watch::Until(deadline);
        }
        // A half-open link is the simulator's own doing, not the client's.
        if conn.link.wire.dropped().is_none() {
            let silent = now.saturating_sub(conn.last_beat).as_millis();
            self.violation(Some(id), Rule::HeartbeatMissed, format!("none for {silent} ms"));
        }
        let code = self.options.heartbeat_timeout_code;
        self.begin_close(id, Some(code), "Session timed out: no heartbeat.");
        Watch::Nothing
    }
}
