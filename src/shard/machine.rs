//! The life of one shard as a state machine without IO.
//!
//! No socket, no clock, no chance of its own: the driver hands in what happened ([`Machine::handle`],
//! [`Machine::dispatch`], [`Machine::timeout`]), each with the time, and then takes out what to do
//! ([`Machine::poll_output`]) until there is nothing, and when to come back
//! ([`Machine::poll_timeout`]). Chance comes from the seed. So a test lives through days of drops and
//! resumes in microseconds, and a seed repeats them.
//!
//! Source for the life itself: <https://discord.com/developers/docs/events/gateway#connection-lifecycle>.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::backoff::Backoff;
use super::cause::{Cause, Reconnects};
use super::heartbeat::{self, Heart};
use super::limiter::Limiter;
use super::measure::Measure;
use super::session::{Ready, Session};
use super::state::ShardState;
use super::timers::{Timer, Timers};
use super::watchdog::{Alarm, Silence, Watchdog};
use crate::protocol::{
    self, CloseCode, Compression, GatewayUrl, Identify, MAX_OUTGOING_BYTES, Next, OpCode, Payload,
};

/// Patience with name lookup, TCP, TLS and the websocket upgrade together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Patience with a server that says no HELLO.
const HELLO_TIMEOUT: Duration = Duration::from_secs(15);

/// Patience with a server that answers heartbeats but not IDENTIFY. Long, because that is what an
/// outage looks like, Discord asks to stay connected through it, and every identify costs budget.
const READY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Patience with a server that neither replays nor says RESUMED.
const RESUMED_TIMEOUT: Duration = Duration::from_secs(120);

/// Resumes in a row that brought nothing before the session is given up.
const MAX_FRUITLESS_RESUMES: u32 = 5;

/// Unreadable payloads in a row before the connection is given up.
const MAX_BAD_PAYLOADS: u32 = 5;

/// The longest reason of a change of state. Close reasons, with advice around them, are shorter.
const MAX_REASON_BYTES: usize = 1_024;

/// How long commands rest after Discord closed a connection for sending too much (4008).
const RATE_LIMITED_REST: Duration = Duration::from_secs(10);

/// What makes a shard this shard.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What its identifies say; shard id and total among it.
    pub identify: Identify,
    /// The presence from the config, as the `d` of op 3.
    pub presence: Option<Box<RawValue>>,
    /// The gateway's address, from `/gateway/bot` or the config.
    pub gateway: GatewayUrl,
    /// Transport compression, the same on every connection.
    pub compression: Compression,
}

/// Something to be sent for the host.
#[derive(Debug, Clone)]
pub struct Command {
    /// The id that its reply carries.
    pub id: u64,
    /// What to send.
    pub payload: Payload,
    /// For a presence update its `d`, to be repeated in later identifies. A newer presence replaces
    /// one that still waits.
    pub presence: Option<Box<RawValue>>,
}

/// How a client stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Close so that the sessions live on at Discord.
    Resumable,
    /// Close for good; the bot goes offline.
    Close,
    /// Drop the sockets without a word.
    Abort,
}

/// What happened to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client starts it.
    Start,
    /// The client stops.
    Stop(StopMode),
    /// The host wants a new connection, whatever the old one does.
    Restart {
        /// Go on with the session; without it the shard identifies anew.
        resume: bool,
    },
    /// The gate says that this shard's turn is close: time to connect.
    GateNear {
        /// The place in line this is about; old ones are ignored.
        ticket: u64,
    },
    /// The gate says: identify now.
    GateGranted {
        /// The place in line this is about; old ones are ignored.
        ticket: u64,
    },
    /// The websocket stands.
    Connected,
    /// The websocket could not be opened.
    ConnectFailed {
        /// Why, for people.
        reason: String,
    },
    /// A payload that is no dispatch.
    Control {
        /// Its opcode's number.
        op: u64,
        /// Its `d`.
        data: &'a [u8],
    },
    /// A message that is no payload.
    BadPayload {
        /// Its sequence number, where that could be read.
        seq: Option<u64>,
    },
    /// The inflate context is broken; nothing after this can be read.
    BadCompression {
        /// Why, for people.
        reason: String,
    },
    /// The connection is gone.
    Closed {
        /// The close code, if there was a close frame with one.
        code: Option<u16>,
        /// The server's text or the error.
        reason: String,
    },
    /// All that was to be sent has left.
    Flushed,
    /// The host wants something sent.
    Command(Command),
    /// The host no longer wants it.
    Cancel {
        /// The command's id.
        command_id: u64,
    },
    /// Whether the socket is left unread because the host does not keep up.
    ReadsPaused(bool),
    /// Somebody wants to know whether the connection is alive: a heartbeat goes out now.
    Beat,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a websocket, with new inflate contexts.
    Connect {
        /// The full URL.
        url: String,
    },
    /// Send one text message and say [`Input::Flushed`] once it has left.
    Send(Payload),
    /// Close the websocket with this code. Nothing of it is to be read or reported any more.
    Close(CloseCode),
    /// Drop the socket or the attempt to open one, at once and without a word.
    Drop,
    /// Stand in line at the identify gate.
    GateEnter {
        /// The place in line.
        ticket: u64,
    },
    /// Tell the gate that HELLO came: from now on the turn can be used.
    GateArm {
        /// The place in line.
        ticket: u64,
    },
    /// Leave the line.
    GateLeave {
        /// The place in line.
        ticket: u64,
    },
    /// Tell the host.
    State(StateChange),
    /// A command is done.
    Settled {
        /// The command's id.
        command_id: u64,
        /// How it went.
        outcome: Outcome,
    },
    /// Something took so long.
    Measured(Measure, Duration),
    /// Say this to whoever reads the log.
    Warning(String),
}

/// A change of state and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The state before.
    pub from: ShardState,
    /// The state now.
    pub to: ShardState,
    /// The cause, for people.
    pub reason: Cow<'static, str>,
    /// The close code that caused it, if one did.
    pub close_code: Option<u16>,
    /// Why there will be a new connection, if that is the change.
    pub lost: Option<Cause>,
}

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written to the socket, or a newer one of its kind took its place.
    Sent,
    /// The shard is refused for good and sends nothing.
    Fatal,
    /// The client stopped first.
    Stopped,
}

/// What becomes of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is the host's.
    New,
    /// It is the host's, and was replayed after a resume.
    Replayed,
    /// It was delivered before, or belongs to no session.
    Drop,
}

/// Where the shard stands, in more detail than the host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before [`Input::Start`].
    Idle,
    /// In line at the gate, no socket.
    Queued,
    /// The driver opens the websocket.
    Connecting,
    /// The websocket stands; HELLO is awaited.
    Greeting,
    /// HELLO came; the gate's word is awaited.
    Armed,
    /// IDENTIFY is sent.
    Identifying,
    /// RESUME is sent.
    Resuming {
        /// Something was replayed.
        fruitful: bool,
    },
    /// READY or RESUMED came.
    Ready,
    /// No connection; the backoff timer runs.
    Waiting,
    /// Refused for good.
    Fatal,
    /// The client stopped.
    Stopped,
}

impl Phase {
    /// The state that hosts see.
    fn state(self) -> ShardState {
        match self {
            Self::Idle => ShardState::Idle,
            Self::Queued => ShardState::Queued,
            Self::Connecting | Self::Greeting | Self::Armed => ShardState::Connecting,
            Self::Identifying => ShardState::Identifying,
            Self::Resuming { .. } => ShardState::Resuming,
            Self::Ready => ShardState::Ready,
            Self::Waiting => ShardState::Disconnected,
            Self::Fatal => ShardState::Fatal,
            Self::Stopped => ShardState::Stopped,
        }
    }

    /// Whether a websocket stands.
    fn has_socket(self) -> bool {
        matches!(
            self,
            Self::Greeting | Self::Armed | Self::Identifying | Self::Resuming { .. } | Self::Ready
        )
    }
}

/// When the next attempt is made.
#[derive(Debug, Clone, Copy)]
enum Retry {
    /// At once.
    Now,
    /// After the next backoff.
    Backoff,
    /// After 1 to 5 s, as Discord asks after an invalid session.
    InvalidSession,
}

/// A command, and since when it is here.
#[derive(Debug)]
struct Waiting {
    command: Command,
    since: Instant,
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

/// Things a shard counts over its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connection attempts after the first, by what ended the one before.
    pub reconnects: Reconnects,
    /// IDENTIFYs sent.
    pub identifies: u64,
    /// RESUMEs sent.
    pub resumes: u64,
    /// Dispatches dropped because their sequence number was not new.
    pub duplicates: u64,
    /// Messages that were no payload.
    pub bad_payloads: u64,
}

impl Counters {
    /// Those of two lives of a shard together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            reconnects: self.reconnects.and(other.reconnects),
            identifies: self.identifies + other.identifies,
            resumes: self.resumes + other.resumes,
            duplicates: self.duplicates + other.duplicates,
            bad_payloads: self.bad_payloads + other.bad_payloads,
        }
    }
}

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

    // -- the way up ---------------------------------------------------------------------------

    /// Starts an attempt: straight to the socket with a session, through the gate without.
    fn begin(&mut self, now: Instant, reason: &'static str) {
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
    fn connect(&mut self, now: Instant, reason: &'static str) {
        let resume_url = self.session.as_ref().and_then(|session| session.resume_url.as_ref());
        self.via_resume_url = resume_url.is_some();
        let gateway = resume_url.unwrap_or(&self.settings.gateway);
        let url = gateway.connect_url(self.settings.compression);
        self.push(Output::Connect { url });
        self.timers.set(Timer::Connect, now + CONNECT_TIMEOUT);
        self.enter(Phase::Connecting, reason.into(), None);
    }

    /// The connection begins to speak.
    fn hello(&mut self, data: &[u8], now: Instant) {
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
    fn identify(&mut self, now: Instant) {
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
    fn await_session(&mut self, now: Instant) {
        let patience = match self.phase {
            Phase::Identifying => READY_TIMEOUT,
            Phase::Resuming { .. } => RESUMED_TIMEOUT,
            _ => return,
        };
        self.timers.set(Timer::Session, now + patience);
    }

    /// READY: a new session.
    fn ready(&mut self, seq: Option<u64>, data: &[u8], now: Instant) -> Delivery {
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
    fn enter_ready(&mut self, reason: &'static str, now: Instant) {
        self.timers.stop(Timer::Session);
        self.backoff.reset();
        self.watchdog.get_or_insert_with(|| Watchdog::new(now)).session_stands(now);
        self.enter(Phase::Ready, reason.into(), None);
        self.send_held(now);
    }

    // -- while connected ----------------------------------------------------------------------

    /// A payload that is no dispatch.
    fn control(&mut self, op: u64, data: &[u8], now: Instant) {
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
    fn heartbeat_due(&mut self, now: Instant) {
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
    fn heartbeat_requested(&mut self, now: Instant) {
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
    fn bad_payload(&mut self, seq: Option<u64>, now: Instant) {
        self.advance(seq);
        self.counters.bad_payloads += 1;
        self.bad_in_a_row += 1;
        if self.bad_in_a_row >= MAX_BAD_PAYLOADS {
            let reason = format!("{MAX_BAD_PAYLOADS} unreadable payloads in a row");
            self.leave(now, Cause::BadData, reason.into(), Retry::Backoff);
        }
    }

    /// Moves the session's sequence forward; `false` if this number was there before.
    fn advance(&mut self, seq: Option<u64>) -> bool {
        let (Some(seq), Some(session)) = (seq, &mut self.session) else { return true };
        let new = seq > session.seq;
        session.seq = session.seq.max(seq);
        new
    }

    // -- commands -----------------------------------------------------------------------------

    /// The host wants something sent.
    fn command(&mut self, command: Command, now: Instant) {
        if command.presence.is_some() {
            self.presence.clone_from(&command.presence);
            self.settle_held_presence();
        }
        if self.phase == Phase::Fatal {
            self.settle(command.id, Outcome::Fatal);
            return;
        }
        self.held.push_back(Waiting { command, since: now });
        self.send_held(now);
    }

    /// Sends what waits, as far as the limiter allows, in a session only. A presence has a limit of
    /// its own and lets others pass while it waits; there is never more than one.
    fn send_held(&mut self, now: Instant) {
        self.timers.stop(Timer::Outbound);
        if self.phase != Phase::Ready {
            return;
        }
        let mut next = 0;
        while let Some(waiting) = self.held.get(next) {
            let is_presence = waiting.command.presence.is_some();
            let presence_at = self.limiter.next_presence_at(now);
            if is_presence && presence_at > now {
                self.timers.set(Timer::Outbound, presence_at);
                next += 1;
                continue;
            }
            if !self.limiter.try_command(now) {
                let command_at = self.limiter.next_command_at(now);
                let due = if next > 0 { presence_at.min(command_at) } else { command_at };
                self.timers.set(Timer::Outbound, due);
                return;
            }
            if is_presence {
                self.limiter.record_presence(now);
            }
            if let Some(waiting) = self.held.remove(next) {
                self.push(Output::Send(waiting.command.payload.clone()));
                self.unflushed.push_back(waiting);
            }
        }
    }

    /// Drops presence updates that wait: a newer one, or an identify, says it for them.
    fn settle_held_presence(&mut self) {
        let is_presence = |waiting: &Waiting| waiting.command.presence.is_some();
        let (presence, other) = self.held.drain(..).partition(is_presence);
        self.held = other;
        let presence: VecDeque<Waiting> = presence;
        for waiting in presence {
            self.settle(waiting.command.id, Outcome::Sent);
        }
    }

    // -- the way down -------------------------------------------------------------------------

    /// The server, or the network, closed the connection.
    fn closed(&mut self, code: Option<u16>, reason: &str, now: Instant) {
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
    fn leave(&mut self, now: Instant, cause: Cause, reason: Cow<'static, str>, retry: Retry) {
        self.wait(now, End { cause, reason, code: None, close: true }, retry);
    }

    /// The attempt to connect failed.
    fn connect_failed(&mut self, now: Instant, reason: Cow<'static, str>) {
        self.drop_resume_url();
        let end = End { cause: Cause::ConnectFailed, reason, code: None, close: false };
        self.wait(now, end, Retry::Backoff);
    }

    /// A resume URL that leads nowhere is not tried twice; the session can be resumed at the
    /// gateway's own address too.
    fn drop_resume_url(&mut self) {
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
    fn restart(&mut self, resume: bool, now: Instant) {
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

    /// The client stops.
    fn stop(&mut self, mode: StopMode) {
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
        self.enter(Phase::Stopped, "the client stops".into(), None);
        self.settle_all(Outcome::Stopped);
    }

    // -- outputs ------------------------------------------------------------------------------

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

    /// Says that a command is done.
    fn settle(&mut self, command_id: u64, outcome: Outcome) {
        self.push(Output::Settled { command_id, outcome });
    }

    /// Says that all commands are done.
    fn settle_all(&mut self, outcome: Outcome) {
        while let Some(waiting) = self.held.pop_front() {
            self.settle(waiting.command.id, outcome);
        }
    }

    /// Something for the driver to do.
    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
