//! While a connection stands: its heartbeat, and what Discord says that is no dispatch.

use std::time::Instant;

use super::Machine;
use super::disconnect::Retry;
use super::output::Output;
use super::phase::Phase;
use crate::protocol::{self, OpCode};
use crate::shard::cause::Cause;
use crate::shard::measure::Measure;
use crate::shard::timers::Timer;
use crate::shard::watchdog::{Alarm, Silence};

/// Unreadable payloads in a row before the connection is given up.
const MAX_BAD_PAYLOADS: u32 = 5;

impl Machine {
    /// A payload that is no dispatch.
    pub(super) fn control(&mut self, op: u64, data: &[u8], now: Instant) {
        self.bad_in_a_row = 0;
        if let Some(heart) = &mut self.heart {
            heart.sign_of_life(now);
        }
        match OpCode::from_number(op) {
            Some(OpCode::Hello) if self.phase == Phase::Greeting => self.hello(data, now),
            Some(OpCode::Heartbeat) => self.heartbeat_requested(now),
            Some(OpCode::HeartbeatAck) => {
                let (beat_at, latency) =
                    self.heart.as_mut().map_or((None, None), |heart| heart.ack(now));
                self.acked_beat_at = beat_at.or(self.acked_beat_at);
                if let Some(latency) = latency {
                    self.latency = Some(latency);
                    self.push(Output::Measured(Measure::HeartbeatLatency, latency));
                }
            }
            Some(OpCode::Reconnect) => {
                // A server that sends its clients away before it has served them is in trouble.
                let retry = if self.phase == Phase::Ready { Retry::Now } else { Retry::Backoff };
                self.leave(now, Cause::Op7, "Discord asked to reconnect (op 7)".into(), retry);
            }
            Some(OpCode::InvalidSession) => self.invalid_session(data == b"true", now),
            // A second HELLO, an opcode that only clients send, or one that does not exist yet.
            _ => {}
        }
    }

    /// Op 9, whose meaning depends on what was asked.
    ///
    /// Source: <https://discord.com/developers/docs/events/gateway-events#invalid-session>.
    fn invalid_session(&mut self, resumable: bool, now: Instant) {
        let reason = match (self.phase, resumable) {
            (Phase::Identifying, _) => "Discord refused IDENTIFY (op 9)",
            (_, true) => "Discord interrupted the session (op 9, resumable)",
            (_, false) => "Discord ended the session (op 9)",
        };
        if !resumable {
            self.session = None;
        }
        self.leave(now, Cause::InvalidSession, reason.into(), Retry::InvalidSession);
    }

    /// The regular beat, and the check of the last one.
    pub(super) fn heartbeat_due(&mut self, now: Instant) {
        let Some(heart) = &mut self.heart else { return };
        if heart.wakes(now) {
            // What came meanwhile is still to be read, so that what is missing proves nothing.
            heart.sign_of_life(now);
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.listen_anew(now);
            }
        }
        if heart.is_dead(now) && !self.reads_paused {
            let reason = "heartbeats are not answered".into();
            self.leave(now, Cause::Zombie, reason, Retry::Backoff);
            return;
        }
        heart.beat(now);
        self.timers.set(Timer::Heartbeat, heart.next());
        self.send_heartbeat();
        self.watch(now);
    }

    /// Looks for a session that is half dead, now that the heartbeat is on its way.
    fn watch(&mut self, now: Instant) {
        if self.phase != Phase::Ready || self.reads_paused {
            return;
        }
        let Some(alarm) = self.watchdog.as_mut().and_then(|watchdog| watchdog.check(now)) else {
            return;
        };
        let (Alarm::Odd(silence) | Alarm::Resume(silence)) = alarm;
        let Silence { lasted, per_minute } = silence;
        let seconds = lasted.as_secs();
        let text = format!(
            "no event for {seconds} s, where {per_minute:.0} a minute are normal; heartbeats are \
             answered"
        );
        if let Alarm::Resume(_) = alarm {
            self.push(Output::Warning(format!("{text}; resuming the session")));
            self.leave(now, Cause::Silent, text.into(), Retry::Backoff);
        } else {
            self.push(Output::Warning(text));
        }
    }

    /// Op 1: Discord wants a beat now.
    pub(super) fn heartbeat_requested(&mut self, now: Instant) {
        let Some(heart) = &mut self.heart else { return };
        if self.limiter.try_requested_beat(now) {
            heart.requested_beat(now);
            self.send_heartbeat();
        }
    }

    /// Sends a heartbeat with the newest sequence number.
    fn send_heartbeat(&mut self) {
        let seq = self.session.as_ref().map(|session| session.seq);
        self.push(Output::Send(protocol::heartbeat(seq)));
    }

    /// A message that is no payload: one is an accident, many are a broken connection.
    pub(super) fn bad_payload(&mut self, seq: Option<u64>, now: Instant) {
        self.advance(seq);
        self.counters.bad_payloads += 1;
        self.bad_in_a_row += 1;
        if self.bad_in_a_row >= MAX_BAD_PAYLOADS {
            let reason = format!("{MAX_BAD_PAYLOADS} unreadable payloads in a row");
            self.leave(now, Cause::BadData, reason.into(), Retry::Backoff);
        }
    }

    /// Moves the session's sequence forward; `false` if this number was there before.
    pub(super) fn advance(&mut self, seq: Option<u64>) -> bool {
        let (Some(seq), Some(session)) = (seq, &mut self.session) else { return true };
        let new = seq > session.seq;
        session.seq = session.seq.max(seq);
        new
    }
}
