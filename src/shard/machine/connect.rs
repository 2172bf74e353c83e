//! The way up: from nothing to a session.

use std::time::{Duration, Instant};

use super::Machine;
use super::disconnect::Retry;
use super::output::{Delivery, Output};
use super::phase::Phase;
use crate::protocol::{self, MAX_OUTGOING_BYTES};
use crate::shard::cause::Cause;
use crate::shard::heartbeat::{self, Heart};
use crate::shard::measure::Measure;
use crate::shard::session::{Ready, Session};
use crate::shard::timers::Timer;
use crate::shard::watchdog::Watchdog;

/// Patience with name lookup, TCP, TLS and the websocket upgrade together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Patience with a server that says no HELLO.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(15);

/// Patience with a server that answers heartbeats but not IDENTIFY. Long, because that is what an
/// outage looks like, Discord asks to stay connected through it, and every identify costs budget.
const READY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Patience with a server that neither replays nor says RESUMED.
const RESUMED_TIMEOUT: Duration = Duration::from_secs(120);

impl Machine {
    /// Starts an attempt: straight to the socket with a session, through the gate without.
    pub(super) fn begin(&mut self, now: Instant, reason: &'static str) {
        if self.session.is_some() {
            self.connect(now, reason);
        } else {
            self.ticket += 1;
            self.in_line = true;
            self.in_line_since = Some(now);
            self.push(Output::GateEnter { ticket: self.ticket });
            self.enter(Phase::Queued, reason.into(), None);
        }
    }

    /// Has the driver open a websocket.
    pub(super) fn connect(&mut self, now: Instant, reason: &'static str) {
        let resume_url = self.session.as_ref().and_then(|session| session.resume_url.as_ref());
        self.via_resume_url = resume_url.is_some();
        let gateway = resume_url.unwrap_or(&self.settings.gateway);
        let url = gateway.connect_url(self.settings.compression);
        self.push(Output::Connect { url });
        self.timers.set(Timer::Connect, now + CONNECT_TIMEOUT);
        self.enter(Phase::Connecting, reason.into(), None);
    }

    /// The connection begins to speak.
    pub(super) fn hello(&mut self, data: &[u8], now: Instant) {
        let interval = match heartbeat::interval_of_hello(data) {
            Ok(interval) => interval,
            Err(error) => {
                let reason = format!("a HELLO without sense: {error}").into();
                self.leave(now, Cause::BadData, reason, Retry::Backoff);
                return;
            }
        };
        self.timers.stop(Timer::Hello);
        let heart = Heart::new(interval, now, &mut self.rng);
        self.timers.set(Timer::Heartbeat, heart.next());
        self.heart = Some(heart);
        self.limiter.renew(interval);
        if let Some(until) = self.commands_rest_until.filter(|until| *until > now) {
            self.limiter.hold_commands(until);
        }
        if self.session.is_some() {
            self.resume(now);
        } else {
            self.phase = Phase::Armed;
            self.push(Output::GateArm { ticket: self.ticket });
        }
    }

    /// Sends IDENTIFY.
    pub(super) fn identify(&mut self, now: Instant) {
        self.in_line = false;
        if let Some(since) = self.in_line_since.take() {
            let waited = now.saturating_duration_since(since);
            self.push(Output::Measured(Measure::IdentifyWait, waited));
        }
        let mut payload = protocol::identify(&self.settings.identify, self.presence.as_deref());
        if payload.as_str().len() > MAX_OUTGOING_BYTES {
            // The presence fits a payload of its own but not beside the rest; it follows after READY.
            payload = protocol::identify(&self.settings.identify, None);
        } else {
            self.settle_held_presence();
        }
        self.limiter.record(now);
        self.counters.identifies += 1;
        self.push(Output::Send(payload));
        self.enter(Phase::Identifying, "the gate let it pass".into(), None);
        self.await_session(now);
    }

    /// Sends RESUME.
    fn resume(&mut self, now: Instant) {
        let Some(session) = &self.session else { return };
        let payload = protocol::resume(&self.settings.identify.token, &session.id, session.seq);
        self.limiter.record(now);
        self.counters.resumes += 1;
        self.push(Output::Send(payload));
        self.enter(Phase::Resuming { fruitful: false }, "resuming its session".into(), None);
        self.await_session(now);
    }

    /// Counts the patience with READY, RESUMED or the rest of the replay from now on.
    pub(super) fn await_session(&mut self, now: Instant) {
        let patience = match self.phase {
            Phase::Identifying => READY_TIMEOUT,
            Phase::Resuming { .. } => RESUMED_TIMEOUT,
            _ => return,
        };
        self.timers.set(Timer::Session, now + patience);
    }

    /// READY: a new session.
    pub(super) fn ready(&mut self, seq: Option<u64>, data: &[u8], now: Instant) -> Delivery {
        let ready = serde_json::from_slice::<Ready>(data).map_err(|error| error.to_string());
        match ready.and_then(|ready| self.session_of(ready, seq.unwrap_or(0))) {
            Ok(session) => {
                self.session = Some(session);
                self.fruitless_resumes = 0;
                self.enter_ready("identified", now);
                Delivery::New
            }
            Err(error) => {
                self.session = None;
                let reason = format!("an unreadable READY: {error}").into();
                self.leave(now, Cause::BadData, reason, Retry::Backoff);
                Delivery::Drop
            }
        }
    }

    /// The session that a READY starts, unless it could never be resumed.
    fn session_of(&self, ready: Ready, seq: u64) -> Result<Session, String> {
        let session = ready.into_session(seq, &self.settings.gateway);
        let resume = protocol::resume(&self.settings.identify.token, &session.id, u64::MAX);
        if resume.as_str().len() > MAX_OUTGOING_BYTES {
            return Err(format!("a session_id of {} bytes", session.id.len()));
        }
        Ok(session)
    }

    /// The session stands.
    pub(super) fn enter_ready(&mut self, reason: &'static str, now: Instant) {
        self.timers.stop(Timer::Session);
        self.backoff.reset();
        self.watchdog.get_or_insert_with(|| Watchdog::new(now)).session_stands(now);
        self.enter(Phase::Ready, reason.into(), None);
        self.send_held(now);
    }
}
