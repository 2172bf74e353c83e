//! The other side of a machine: a gateway that the test plays by hand, and a clock.

use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;
use shardwright::protocol::{Compression, GatewayUrl, Identify, Intents, Token, send_event};
use shardwright::shard::{
    Command, Delivery, Input, Machine, Measure, Outcome, Output, Session, Settings, ShardState,
    StateChange,
};

/// The heartbeat interval that [`Bench::hello`] announces.
pub(crate) const INTERVAL: Duration = Duration::from_millis(41_250);

/// The gateway of [`Bench::new`].
pub(crate) const GATEWAY: &str = "ws://gateway.test/?v=10&encoding=json&compress=zstd-stream";

/// The resume URL that [`Bench::ready`] names, as a shard connects to it.
pub(crate) const RESUME: &str = "ws://resume.test/?v=10&encoding=json&compress=zstd-stream";

/// A machine, and everything it did so far.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    start: Instant,
    /// Lets every shard that stands at the gate through at once.
    pub(crate) gate_is_open: bool,
    /// Says that each payload has left as soon as it was sent.
    pub(crate) flushes: bool,
    /// Payloads, with the time since the start.
    pub(crate) sent: Vec<(Duration, Value)>,
    /// URLs it wanted to connect to, with the time since the start.
    pub(crate) connects: Vec<(Duration, String)>,
    /// Changes of state.
    pub(crate) states: Vec<StateChange>,
    /// Codes it closed its websocket with.
    pub(crate) closes: Vec<u16>,
    /// Times it dropped its socket or attempt without a word.
    pub(crate) drops: usize,
    /// What it told the gate.
    pub(crate) gate: Vec<Gate>,
    /// Commands that are done.
    pub(crate) settled: Vec<(u64, Outcome)>,
    /// What it took the time of.
    pub(crate) measured: Vec<(Measure, Duration)>,
    /// What it warned of, with the time since the start.
    pub(crate) warnings: Vec<(Duration, String)>,
}

/// Something told to the gate, with the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Enter(u64),
    Arm(u64),
    Leave(u64),
}

/// What a shard of these tests is made of.
pub(crate) fn settings() -> Settings {
    Settings {
        identify: Identify {
            token: Token::new("test.token").expect("a token"),
            intents: Intents(513),
            properties: raw(r#"{"os":"test"}"#),
            large_threshold: None,
            shard_id: 1,
            shard_total: 4,
        },
        presence: None,
        gateway: GatewayUrl::parse("ws://gateway.test").expect("a URL"),
        compression: Compression::Zstd,
    }
}

/// JSON as it stands.
pub(crate) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("valid JSON")
}

impl Bench {
    /// A shard that was started, with an open gate.
    pub(crate) fn new(seed: u64) -> Self {
        let mut bench = Self::idle(Machine::new(settings(), None, seed));
        bench.handle(Input::Start);
        bench
    }

    /// A shard that was started with a session of an earlier life.
    pub(crate) fn with_session(seed: u64, session: Session) -> Self {
        let mut bench = Self::idle(Machine::new(settings(), Some(session), seed));
        bench.handle(Input::Start);
        bench
    }

    /// A shard that was not started.
    pub(crate) fn idle(machine: Machine) -> Self {
        let now = Instant::now();
        Self {
            machine,
            now,
            start: now,
            gate_is_open: true,
            flushes: true,
            sent: Vec::new(),
            connects: Vec::new(),
            states: Vec::new(),
            closes: Vec::new(),
            drops: 0,
            gate: Vec::new(),
            settled: Vec::new(),
            measured: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// A shard that is ready, one second after its start, with sequence 1.
    pub(crate) fn ready_shard(seed: u64) -> Self {
        let mut bench = Self::new(seed);
        bench.advance_ms(900);
        bench.connected();
        bench.hello();
        bench.advance_ms(100);
        bench.ready();
        assert_eq!(bench.machine.state(), ShardState::Ready);
        bench
    }

    // -- time ---------------------------------------------------------------------------------

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass, with every timer at its time.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Lets time pass without a look at the timers, as when the computer was asleep.
    pub(crate) fn sleep_through(&mut self, time: Duration) {
        self.now += time;
        self.machine.timeout(self.now);
        self.drain();
    }

    /// The same as [`Bench::advance`], in milliseconds.
    pub(crate) fn advance_ms(&mut self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    /// Lets time pass until the shard connects again; how long that took.
    pub(crate) fn advance_to_connect(&mut self) -> Duration {
        let (before, count) = (self.now, self.connects.len());
        for _ in 0..1_000 {
            if self.connects.len() > count {
                return self.now - before;
            }
            let due = self.machine.poll_timeout().expect("it waits for something");
            self.advance(due.saturating_duration_since(self.now));
        }
        panic!("it never connects; it is {}", self.machine.state());
    }

    // -- what happens to it -------------------------------------------------------------------

    /// Any input.
    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.machine.handle(input, self.now);
        self.drain();
    }

    /// The websocket stands.
    pub(crate) fn connected(&mut self) {
        self.handle(Input::Connected);
    }

    /// The websocket could not be opened.
    pub(crate) fn connect_failed(&mut self) {
        self.handle(Input::ConnectFailed { reason: "refused".into() });
    }

    /// A payload that is no dispatch.
    pub(crate) fn control(&mut self, op: u64, data: &str) {
        self.handle(Input::Control { op, data: data.as_bytes() });
    }

    /// HELLO with [`INTERVAL`].
    pub(crate) fn hello(&mut self) {
        self.control(10, r#"{"heartbeat_interval":41250}"#);
    }

    /// A dispatch; what becomes of it.
    pub(crate) fn dispatch(&mut self, seq: u64, name: &str) -> Delivery {
        self.dispatch_data(Some(seq), name, "{}")
    }

    /// A dispatch with data.
    pub(crate) fn dispatch_data(&mut self, seq: Option<u64>, name: &str, data: &str) -> Delivery {
        let delivery = self.machine.dispatch(seq, name.as_bytes(), data.as_bytes(), self.now);
        self.drain();
        delivery
    }

    /// READY with sequence 1, session `s` and a resume URL.
    pub(crate) fn ready(&mut self) {
        self.ready_as("s", 1);
    }

    /// READY of another session.
    pub(crate) fn ready_as(&mut self, session: &str, seq: u64) {
        let data = format!(
            r#"{{"v":10,"guilds":[],"session_id":"{session}","resume_gateway_url":"ws://resume.test"}}"#
        );
        assert_eq!(self.dispatch_data(Some(seq), "READY", &data), Delivery::New);
    }

    /// A heartbeat's ACK.
    pub(crate) fn ack(&mut self) {
        self.control(11, "null");
    }

    /// The server closes with a code.
    pub(crate) fn closed(&mut self, code: u16) {
        self.handle(Input::Closed { code: Some(code), reason: String::new() });
    }

    /// The socket dies.
    pub(crate) fn dropped(&mut self) {
        self.handle(Input::Closed { code: None, reason: "connection reset".into() });
    }

    /// The host sends something with `d` as given.
    pub(crate) fn command(&mut self, id: u64, op: u8, d: &str) {
        let d = raw(d);
        let payload = send_event(op, &d).expect("it fits");
        let presence = (op == 3).then_some(d);
        self.handle(Input::Command(Command { id, payload, presence }));
    }

    // -- what it did --------------------------------------------------------------------------

    /// Payloads with this opcode.
    pub(crate) fn sent_with(&self, op: u64) -> Vec<&Value> {
        self.sent.iter().filter(|(_, p)| p["op"] == op).map(|(_, payload)| payload).collect()
    }

    /// When payloads with this opcode went out.
    pub(crate) fn times_of(&self, op: u64) -> Vec<Duration> {
        self.sent.iter().filter(|(_, payload)| payload["op"] == op).map(|(at, _)| *at).collect()
    }

    /// The last payload with this opcode.
    pub(crate) fn last_with(&self, op: u64) -> &Value {
        let (_, payload) = self.sent.iter().rfind(|(_, p)| p["op"] == op).expect("one was sent");
        payload
    }

    /// The last payload.
    pub(crate) fn last_sent(&self) -> &Value {
        &self.sent.last().expect("something was sent").1
    }

    /// The last URL it wanted to connect to.
    pub(crate) fn last_url(&self) -> &str {
        &self.connects.last().expect("it connected").1
    }

    /// Its state.
    pub(crate) fn state(&self) -> ShardState {
        self.machine.state()
    }

    /// Its sequence number.
    pub(crate) fn seq(&self) -> Option<u64> {
        self.machine.session().map(|session| session.seq)
    }

    /// Does what a driver does.
    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            let at = self.elapsed();
            match output {
                Output::Connect { url } => self.connects.push((at, url)),
                Output::Send(payload) => {
                    assert!(payload.as_str().len() <= 4_096);
                    let value = serde_json::from_str(payload.as_str()).expect("JSON");
                    self.sent.push((at, value));
                    if self.flushes {
                        self.machine.handle(Input::Flushed, self.now);
                    }
                }
                Output::Close(code) => self.closes.push(code.0),
                Output::Drop => self.drops += 1,
                Output::GateEnter { ticket } => {
                    self.gate.push(Gate::Enter(ticket));
                    if self.gate_is_open {
                        self.machine.handle(Input::GateNear { ticket }, self.now);
                    }
                }
                Output::GateArm { ticket } => {
                    self.gate.push(Gate::Arm(ticket));
                    if self.gate_is_open {
                        self.machine.handle(Input::GateGranted { ticket }, self.now);
                    }
                }
                Output::GateLeave { ticket } => self.gate.push(Gate::Leave(ticket)),
                Output::State(change) => self.states.push(change),
                Output::Settled { command_id, outcome } => {
                    self.settled.push((command_id, outcome));
                }
                Output::Measured(measure, took) => self.measured.push((measure, took)),
                Output::Warning(text) => self.warnings.push((at, text)),
            }
        }
    }
}
