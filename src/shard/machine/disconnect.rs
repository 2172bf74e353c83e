//! The way down: how a connection ends, and when the next attempt is made.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::Machine;
use super::input::StopMode;
use super::output::{Outcome, Output};
use super::phase::Phase;
use crate::protocol::{CloseCode, Next};
use crate::shard::cause::Cause;
use crate::shard::timers::Timer;

/// Resumes in a row that brought nothing before the session is given up.
const MAX_FRUITLESS_RESUMES: u32 = 5;

/// How long commands rest after Discord closed a connection for sending too much (4008).
const RATE_LIMITED_REST: Duration = Duration::from_secs(10);

/// When the next attempt is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Retry {
    /// At once.
    Now,
    /// After the next backoff.
    Backoff,
    /// After 1 to 5 s, as Discord asks after an invalid session.
    InvalidSession,
}

/// How a connection, or an attempt, ended.
#[derive(Debug)]
struct End {
    cause: Cause,
    /// The same for people.
    reason: Cow<'static, str>,
    /// The close code, if there was one.
    code: Option<u16>,
    /// The websocket stands and has to be closed.
    close: bool,
}

impl Machine {
    /// The server, or the network, closed the connection.
    pub(super) fn closed(&mut self, code: Option<u16>, reason: &str, now: Instant) {
        let text = match (code.map(CloseCode), reason) {
            (Some(code), "") => format!("closed with {code}"),
            (Some(code), reason) => format!("closed with {code}; the server said {reason:?}"),
            (None, reason) => format!("lost the connection: {reason}"),
        };
        match code.map_or(Next::Resume, |code| CloseCode(code).next()) {
            Next::Fatal => {
                self.session = None;
                self.end_connection(false);
                self.enter(Phase::Fatal, text.into(), code);
                self.settle_all(Outcome::Fatal);
                return;
            }
            Next::Identify => self.session = None,
            Next::ResumeOnce => {
                self.fruitless_resumes = self.fruitless_resumes.max(MAX_FRUITLESS_RESUMES - 1);
            }
            Next::Resume => {}
        }
        if code.is_some_and(|code| CloseCode(code).is_rate_limited()) {
            self.commands_rest_until = Some(now + RATE_LIMITED_REST);
        }
        let cause = if code.is_some() { Cause::ClosedByServer } else { Cause::ConnectionLost };
        let end = End { cause, reason: text.into(), code, close: false };
        self.wait(now, end, Retry::Backoff);
    }

    /// Leaves a standing connection for a new one, so that the session lives.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        cause: Cause,
        reason: Cow<'static, str>,
        retry: Retry,
    ) {
        self.wait(now, End { cause, reason, code: None, close: true }, retry);
    }

    /// The attempt to connect failed.
    pub(super) fn connect_failed(&mut self, now: Instant, reason: Cow<'static, str>) {
        self.drop_resume_url();
        let end = End { cause: Cause::ConnectFailed, reason, code: None, close: false };
        self.wait(now, end, Retry::Backoff);
    }

    /// A resume URL that leads nowhere is not tried twice; the session can be resumed at the
    /// gateway's own address too.
    pub(super) fn drop_resume_url(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|_| self.via_resume_url) {
            session.resume_url = None;
        }
    }

    /// Plans the next attempt.
    fn wait(&mut self, now: Instant, end: End, retry: Retry) {
        let End { cause, reason, code, close } = end;
        self.cause = cause;
        if self.phase == (Phase::Resuming { fruitful: false }) {
            self.fruitless_resumes += 1;
            if self.fruitless_resumes >= MAX_FRUITLESS_RESUMES {
                self.fruitless_resumes = 0;
                self.session = None;
            }
        }
        self.end_connection(close);
        let delay = match retry {
            Retry::Now => Duration::ZERO,
            Retry::Backoff => self.backoff.next(&mut self.rng),
            Retry::InvalidSession => Duration::from_millis(self.rng.u64(1_000..5_000)),
        };
        self.timers.set(Timer::Backoff, now + delay);
        self.enter(Phase::Waiting, reason, code);
    }

    /// Ends what belongs to a connection. Commands that may not have left it go back in line.
    fn end_connection(&mut self, close: bool) {
        if close {
            self.push(Output::Close(CloseCode::RESUMABLE));
        }
        if std::mem::take(&mut self.in_line) {
            self.push(Output::GateLeave { ticket: self.ticket });
        }
        self.timers.clear();
        self.heart = None;
        self.latency = None;
        self.bad_in_a_row = 0;
        while let Some(waiting) = self.unflushed.pop_back() {
            self.held.push_front(waiting);
        }
    }

    /// A new connection because the host wants one.
    pub(super) fn restart(&mut self, resume: bool, now: Instant) {
        if !resume {
            self.session = None;
        }
        match self.phase {
            // In line already, or not to be woken.
            Phase::Idle | Phase::Queued | Phase::Stopped => {}
            Phase::Waiting | Phase::Fatal => {
                if self.phase == Phase::Fatal {
                    self.cause = Cause::Restart;
                }
                self.end_connection(false);
                self.counters.reconnects.count(self.cause);
                self.begin(now, "restarted by the host");
            }
            Phase::Connecting => {
                self.push(Output::Drop);
                let (cause, reason) = (Cause::Restart, "restarted by the host".into());
                self.wait(now, End { cause, reason, code: None, close: false }, Retry::Now);
            }
            _ => self.leave(now, Cause::Restart, "restarted by the host".into(), Retry::Now),
        }
    }

    /// The client stops, another process has the shard's lease, or another set of shards took over.
    pub(super) fn stop(&mut self, mode: StopMode) {
        match mode {
            StopMode::Resumable if self.phase.has_socket() => {
                self.push(Output::Close(CloseCode::RESUMABLE));
            }
            StopMode::Close if self.phase.has_socket() => {
                self.push(Output::Close(CloseCode::NORMAL));
            }
            _ => self.push(Output::Drop),
        }
        if mode == StopMode::Close {
            self.session = None;
        }
        self.end_connection(false);
        self.enter(Phase::Stopped, "no longer run by this process".into(), None);
        self.settle_all(Outcome::Stopped);
    }
}
