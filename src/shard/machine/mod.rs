//! The life of one shard as a state machine without IO.
//!
//! No socket, no clock, no chance of its own: the driver hands in what happened ([`Machine::handle`],
//! [`Machine::dispatch`], [`Machine::timeout`]), each with the time, and then takes out what to do
//! ([`Machine::poll_output`]) until there is nothing, and when to come back
//! ([`Machine::poll_timeout`]). Chance comes from the seed. So a test lives through days of drops and
//! resumes in microseconds, and a seed repeats them.
//!
//! Source for the life itself: <https://discord.com/developers/docs/events/gateway#connection-lifecycle>.

mod commands;
mod connect;
mod connected;
mod counters;
mod disconnect;
mod input;
mod output;
mod phase;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use self::commands::Waiting;
use self::connect::{CONNECT_TIMEOUT, HELLO_TIMEOUT};
pub use self::counters::Counters;
use self::disconnect::Retry;
pub use self::input::{Command, Input, Settings, StopMode};
pub use self::output::{Delivery, Outcome, Output, StateChange};
use self::phase::Phase;
use super::backoff::Backoff;
use super::cause::Cause;
use super::heartbeat::{self, Heart};
use super::limiter::Limiter;
use super::measure::Measure;
use super::session::Session;
use super::state::ShardState;
use super::timers::{Timer, Timers};
use super::watchdog::Watchdog;

/// The longest reason of a change of state. Close reasons, with advice around them, are shorter.
const MAX_REASON_BYTES: usize = 1_024;

/// One shard.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    /// All chance in this shard's life.
    rng: fastrand::Rng,
    phase: Phase,
    timers: Timers,
    /// The session, from READY until it is known to be over.
    session: Option<Session>,
    /// Whether the current attempt goes to the session's resume URL.
    via_resume_url: bool,
    /// RESUMEs in a row after which nothing came.
    fruitless_resumes: u32,
    backoff: Backoff,
    /// The heartbeat, from HELLO to the end of the connection.
    heart: Option<Heart>,
    limiter: Limiter,
    /// Reads are paused, so that missing ACKs prove nothing.
    reads_paused: bool,
    /// The place in line at the gate; a new one for each time in line.
    ticket: u64,
    /// Stands in line at the gate.
    in_line: bool,
    /// What ended the last connection or attempt.
    cause: Cause,
    /// Since when it stands there.
    in_line_since: Option<Instant>,
    /// The presence that the next identify carries.
    presence: Option<Box<RawValue>>,
    /// Commands that wait for a session or for room in the limiter, oldest first. The client bounds
    /// how many there can be.
    held: VecDeque<Waiting>,
    /// Commands handed to the socket that have not left it.
    unflushed: VecDeque<Waiting>,
    /// When commands may go out again after a 4008.
    commands_rest_until: Option<Instant>,
    /// Unreadable payloads in a row.
    bad_in_a_row: u32,
    /// Time between the last heartbeat and its ACK.
    latency: Option<Duration>,
    /// When the newest heartbeat that was answered went out.
    acked_beat_at: Option<Instant>,
    /// Looks for a silence that is not the shard's own; from the first session on.
    watchdog: Option<Watchdog>,
    counters: Counters,
    /// What the driver has not taken yet.
    outputs: VecDeque<Output>,
}

impl Machine {
    /// A shard that does nothing until [`Input::Start`]; with a session from an earlier life it
    /// resumes that instead of identifying.
    pub fn new(settings: Settings, session: Option<Session>, seed: u64) -> Self {
        Self {
            presence: settings.presence.clone(),
            settings,
            rng: fastrand::Rng::with_seed(seed),
            phase: Phase::Idle,
            timers: Timers::default(),
            session,
            via_resume_url: false,
            fruitless_resumes: 0,
            backoff: Backoff::default(),
            heart: None,
            limiter: Limiter::new(heartbeat::MIN_INTERVAL),
            reads_paused: false,
            ticket: 0,
            in_line: false,
            cause: Cause::Restart,
            in_line_since: None,
            held: VecDeque::new(),
            unflushed: VecDeque::new(),
            commands_rest_until: None,
            bad_in_a_row: 0,
            latency: None,
            acked_beat_at: None,
            watchdog: None,
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Where the shard stands.
    pub fn state(&self) -> ShardState {
        self.phase.state()
    }

    /// The session, if there is one.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Time between the last heartbeat and its ACK.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }

    /// When the newest heartbeat that was answered went out: all that Discord had sent by then has come.
    pub fn acked_beat_at(&self) -> Option<Instant> {
        self.acked_beat_at
    }

    /// Whether no event has come for longer than is normal here.
    pub fn is_silent(&self) -> bool {
        self.watchdog.as_ref().is_some_and(Watchdog::is_worried)
    }

    /// What it counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Commands that wait to be sent.
    pub fn commands_held(&self) -> usize {
        self.held.len()
    }

    /// Commands that may go out at once.
    pub fn commands_left(&self, now: Instant) -> usize {
        self.limiter.commands_left(now)
    }

    /// Whether a host that does not keep up is a reason to leave the socket unread: before IDENTIFY and
    /// RESUME nothing comes that is for the host, and HELLO must not wait, nor the heartbeats it asks
    /// for.
    pub fn may_pause_reads(&self) -> bool {
        !matches!(self.phase, Phase::Greeting | Phase::Armed)
    }

    /// Whether there is something to do.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// The next thing to do; ask until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Machine::timeout`] wants to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        if self.phase == Phase::Stopped {
            if let Input::Command(command) = input {
                self.settle(command.id, Outcome::Stopped);
            }
            return;
        }
        match input {
            Input::Start if self.phase == Phase::Idle => self.begin(now, "starting"),
            Input::Stop(mode) => self.stop(mode),
            Input::Restart { resume } => self.restart(resume, now),
            Input::GateNear { ticket } => {
                if self.phase == Phase::Queued && ticket == self.ticket {
                    self.connect(now, "its turn to identify is near");
                }
            }
            Input::GateGranted { ticket } => {
                if self.phase == Phase::Armed && ticket == self.ticket {
                    self.identify(now);
                }
            }
            Input::Connected if self.phase == Phase::Connecting => {
                self.phase = Phase::Greeting;
                self.timers.stop(Timer::Connect);
                self.timers.set(Timer::Hello, now + HELLO_TIMEOUT);
            }
            Input::ConnectFailed { reason } if self.phase == Phase::Connecting => {
                self.connect_failed(now, reason.into());
            }
            Input::Control { op, data } if self.phase.has_socket() => self.control(op, data, now),
            Input::BadPayload { seq } if self.phase.has_socket() => self.bad_payload(seq, now),
            Input::BadCompression { reason } if self.phase.has_socket() => {
                let reason = format!("unreadable compressed data: {reason}");
                self.leave(now, Cause::BadData, reason.into(), Retry::Backoff);
            }
            Input::Closed { code, reason } if self.phase.has_socket() => {
                self.closed(code, &reason, now);
            }
            // A second start, and what a connection says after it was given up.
            Input::Start
            | Input::Connected
            | Input::ConnectFailed { .. }
            | Input::Control { .. }
            | Input::BadPayload { .. }
            | Input::BadCompression { .. }
            | Input::Closed { .. } => {}
            Input::Flushed => {
                while let Some(Waiting { command, since }) = self.unflushed.pop_front() {
                    let took = now.saturating_duration_since(since);
                    self.push(Output::Measured(Measure::OutboundWait, took));
                    self.settle(command.id, Outcome::Sent);
                }
            }
            Input::Beat => {
                if self.phase == Phase::Ready {
                    self.heartbeat_requested(now);
                }
            }
            Input::Command(command) => self.command(command, now),
            Input::Cancel { command_id } => {
                self.held.retain(|waiting| waiting.command.id != command_id);
                self.unflushed.retain(|waiting| waiting.command.id != command_id);
            }
            Input::ReadsPaused(paused) => {
                self.reads_paused = paused;
                if let Some(heart) = &mut self.heart {
                    heart.sign_of_life(now);
                }
                if let Some(watchdog) = &mut self.watchdog {
                    watchdog.listen_anew(now);
                }
                self.await_session(now);
            }
        }
    }

    /// Takes note of a dispatch and says what becomes of it. `data` is read for READY only.
    pub fn dispatch(
        &mut self,
        seq: Option<u64>,
        name: &[u8],
        data: &[u8],
        now: Instant,
    ) -> Delivery {
        if let Some(heart) = &mut self.heart {
            heart.sign_of_life(now);
        }
        self.bad_in_a_row = 0;
        match (self.phase, name) {
            (Phase::Identifying | Phase::Resuming { .. }, b"READY") => {
                return self.ready(seq, data, now);
            }
            (Phase::Resuming { .. }, b"RESUMED") => {
                self.advance(seq);
                self.fruitless_resumes = 0;
                self.enter_ready("resumed", now);
                return Delivery::New;
            }
            (Phase::Resuming { .. }, _) => {
                self.phase = Phase::Resuming { fruitful: true };
                self.await_session(now);
            }
            (Phase::Ready, _) => {}
            // Discord dispatches nothing before READY.
            _ => return Delivery::Drop,
        }
        if !self.advance(seq) {
            self.counters.duplicates += 1;
            return Delivery::Drop;
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.event(now);
        }
        if self.phase == Phase::Ready { Delivery::New } else { Delivery::Replayed }
    }

    /// Acts on the timers that are due.
    pub fn timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Heartbeat => self.heartbeat_due(now),
                Timer::Connect => {
                    self.push(Output::Drop);
                    let reason = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
                    self.connect_failed(now, reason.into());
                }
                Timer::Hello => {
                    self.drop_resume_url();
                    let reason = format!("no HELLO within {} s", HELLO_TIMEOUT.as_secs());
                    self.leave(now, Cause::NoHello, reason.into(), Retry::Backoff);
                }
                // What is not read proves nothing.
                Timer::Session if self.reads_paused => self.await_session(now),
                Timer::Session => {
                    let reason = if self.phase == Phase::Identifying {
                        "IDENTIFY was not answered"
                    } else {
                        "RESUME was not answered"
                    };
                    self.leave(now, Cause::Unanswered, reason.into(), Retry::Backoff);
                }
                Timer::Backoff => {
                    self.counters.reconnects.count(self.cause);
                    self.begin(now, "reconnecting");
                }
                Timer::Outbound => self.send_held(now),
            }
        }
    }

    /// Changes the phase and tells the host, if it is another state for it.
    fn enter(&mut self, phase: Phase, reason: Cow<'static, str>, close_code: Option<u16>) {
        let from = self.phase.state();
        self.phase = phase;
        let to = phase.state();
        if from != to {
            let reason = self.presentable(reason);
            let lost = (phase == Phase::Waiting).then_some(self.cause);
            self.push(Output::State(StateChange { from, to, reason, close_code, lost }));
        }
    }

    /// A reason as hosts and logs may have it. A server can say anything: our token too, or a text
    /// without end, and both may stand in an error that quotes it.
    fn presentable(&self, reason: Cow<'static, str>) -> Cow<'static, str> {
        let token = self.settings.identify.token.expose();
        if !reason.contains(token) && reason.len() <= MAX_REASON_BYTES {
            return reason;
        }
        let mut text = reason.replace(token, "…");
        text.truncate(text.floor_char_boundary(MAX_REASON_BYTES));
        text.into()
    }

    /// Something for the driver to do.
    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
