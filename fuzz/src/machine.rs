//! One shard's machine with any gateway, any host and any clock around it.
//!
//! Input: a byte for the seed and whether there is a session from an earlier life, then one byte for
//! each thing that happens, with its arguments behind it: see [`World::step`]. Frames go the way that
//! the driver takes them, through a scanner that is new with each connection.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;
use shardwright::protocol::{
    CloseCode, Compression, GatewayUrl, Identify, Intents, MAX_OUTGOING_BYTES, Scanner, Token,
    send_event,
};
use shardwright::shard::{
    Command, Delivery, Input as Event, Machine, Output, Session, Settings, ShardState, StopMode,
};

use super::input::Input;
use super::{TOKEN, shows_token};

/// Things that happen in one life.
const MAX_STEPS: usize = 300;

/// The longest a shard may rest, whatever happened to it.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The longest interval between heartbeats, whatever HELLO asks for.
const LONGEST_INTERVAL: f64 = 300.0;

const MINUTE: Duration = Duration::from_secs(60);

pub fn run(bytes: &[u8]) {
    if shows_token(&String::from_utf8_lossy(bytes)) {
        return; // See `with_token`.
    }
    let mut input = Input::new(bytes);
    let mut world = World::new(input.byte());
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.handle(Event::Stop(StopMode::Resumable));
}

/// Where the connection stands.
enum Link {
    None,
    Opening,
    Up(Box<Connection>),
}

/// One connection.
struct Connection {
    scanner: Scanner,
    /// Since when it may beat, and how often.
    hello: Option<(Instant, Duration)>,
    /// When it last did.
    beat: Option<Instant>,
    stage: Stage,
    /// When payloads went out in the last minute.
    sent: VecDeque<Instant>,
}

/// How far a connection got.
#[derive(PartialEq, Eq, PartialOrd, Debug)]
enum Stage {
    New,
    /// The gate was told of it.
    Armed,
    /// The gate let it identify.
    Granted,
    /// IDENTIFY or RESUME went out.
    Introduced,
    /// READY or RESUMED came.
    Ready,
}

/// What became of a command.
#[derive(PartialEq, Eq, Debug)]
enum Fate {
    Open,
    Cancelled,
    Settled,
}

struct World {
    machine: Machine,
    start: Instant,
    now: Instant,
    link: Link,
    state: ShardState,
    /// The newest place in line at the gate.
    ticket: u64,
    /// The newest sequence number of the session, as the host knows it.
    seq: Option<u64>,
    commands: HashMap<u64, Fate>,
    presences: VecDeque<Instant>,
}

impl World {
    fn new(seed: u8) -> Self {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let gateway = GatewayUrl::parse("wss://gateway.test").expect("a URL");
        let settings = Settings {
            identify: Identify {
                token: Token::new(TOKEN).expect("a token"),
                intents: Intents(513),
                properties: raw(r#"{"os":"test"}"#),
                large_threshold: None,
                shard_id: 1,
                shard_total: 4,
            },
            presence: (seed & 0x40 != 0).then(|| raw(r#"{"status":"idle"}"#)),
            gateway: gateway.clone(),
            compression: Compression::None,
        };
        let session = (seed & 0x80 != 0).then(|| Session {
            id: "earlier".into(),
            seq: 7,
            resume_url: Some(gateway),
        });
        let seq = session.as_ref().map(|session| session.seq);
        let now = Instant::now();
        let mut world = Self {
            machine: Machine::new(settings, session, seed.into()),
            start: now,
            now,
            link: Link::None,
            state: ShardState::Idle,
            ticket: 0,
            seq,
            commands: HashMap::new(),
            presences: VecDeque::new(),
        };
        if seed & 0x20 == 0 {
            world.handle(Event::Start);
        }
        world
    }

    /// One thing that happens.
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 32 {
            0 => self.handle(Event::Start),
            1 => self.handle(Event::Connected),
            2 => self.handle(Event::ConnectFailed { reason: "refused".into() }),
            3 => self.handle(Event::GateNear { ticket: self.ticket }),
            4 => self.handle(Event::GateGranted { ticket: self.ticket }),
            5 => {
                let ticket = input.byte().into();
                self.handle(Event::GateNear { ticket });
                self.handle(Event::GateGranted { ticket });
            }
            6 => {
                let interval = [41_250.0, 1_000.0, 60_000.0, 1e300, 999.0, -1.0, 0.0, 5_000.5];
                let interval = interval[usize::from(input.byte() % 8)];
                self.frame(&format!(r#"{{"op":10,"d":{{"heartbeat_interval":{interval:?}}}}}"#));
            }
            7 => {
                let seq = input.byte();
                let id = "s".repeat(usize::from(input.byte()) * 24);
                let url = ["wss://a.test", "ws://b.test", "x", ""][usize::from(seq % 4)];
                self.frame(&format!(
                    r#"{{"t":"READY","s":{seq},"op":0,"d":{{"session_id":"{id}","resume_gateway_url":"{url}"}}}}"#
                ));
            }
            8 => {
                // The next sequence number, or one that is off.
                let off = u64::from(input.byte());
                let seq = (self.seq.unwrap_or(0) + 1).wrapping_add(off).saturating_sub(off / 2 * 3);
                self.frame(&format!(r#"{{"t":"EVENT","s":{seq},"op":0,"d":{{"a":1}}}}"#));
            }
            9 => {
                let seq = self.seq.map_or(1, |seq| seq.saturating_add(1));
                self.frame(&format!(r#"{{"t":"RESUMED","s":{seq},"op":0,"d":{{}}}}"#));
            }
            10 => self.frame(r#"{"op":11}"#),
            11 => self.frame(r#"{"op":1,"d":null}"#),
            12 => self.frame(r#"{"op":7,"d":null}"#),
            13 => self.frame(r#"{"op":9,"d":true}"#),
            14 => self.frame(r#"{"op":9,"d":false}"#),
            15 | 16 => {
                let frame = text(input);
                self.frame(&frame);
            }
            17 => {
                let reason = text(input);
                self.handle(Event::Closed { code: None, reason });
            }
            18 => {
                let code = Some(input.word());
                let reason = text(input);
                self.handle(Event::Closed { code, reason });
            }
            19 => self.handle(Event::BadCompression { reason: "noise".into() }),
            20 => self.handle(Event::Flushed),
            21 | 22 => {
                for _ in 0..=input.byte() % 64 {
                    self.command(4, r#"{"guild_id":"1"}"#);
                }
            }
            23 => {
                let status = ["online", "idle"][usize::from(input.byte() % 2)];
                self.command(3, &format!(r#"{{"status":"{status}"}}"#));
            }
            24 => {
                let command_id = input.byte().into();
                if let Some(fate) = self.commands.get_mut(&command_id).filter(|f| **f == Fate::Open)
                {
                    *fate = Fate::Cancelled;
                }
                self.handle(Event::Cancel { command_id });
            }
            25 => {
                let paused = input.byte().is_multiple_of(2);
                self.handle(Event::ReadsPaused(paused));
            }
            26 => {
                let resume = input.byte().is_multiple_of(2);
                self.handle(Event::Restart { resume });
            }
            27 => {
                let mode = [StopMode::Resumable, StopMode::Close, StopMode::Abort];
                self.handle(Event::Stop(mode[usize::from(input.byte() % 3)]));
            }
            28 => self.advance(Duration::from_millis(input.word().into())),
            29 => self.advance(Duration::from_millis(u64::from(input.byte()) * 20)),
            30 => {
                // Timers come late, and all at once.
                self.now += Duration::from_millis(u64::from(input.word()) * 4);
                self.timeout();
            }
            _ => {
                // Other things come before timers that are due.
                self.now += Duration::from_millis(input.word().into());
            }
        }
    }

    // -- what happens -------------------------------------------------------------------------

    /// An input, and what it does to the connection.
    fn handle(&mut self, event: Event<'_>) {
        match (&event, &mut self.link) {
            (Event::Connected, Link::Opening) => {
                self.link = Link::Up(Box::new(Connection {
                    scanner: Scanner::default(),
                    hello: None,
                    beat: None,
                    stage: Stage::New,
                    sent: VecDeque::new(),
                }));
            }
            (Event::ConnectFailed { .. }, Link::Opening) | (Event::Closed { .. }, Link::Up(_)) => {
                self.link = Link::None;
            }
            (Event::GateGranted { ticket }, Link::Up(link))
                if *ticket == self.ticket && link.stage == Stage::Armed =>
            {
                link.stage = Stage::Granted;
            }
            (Event::Control { op: 10, data }, Link::Up(link)) if link.hello.is_none() => {
                let hello: Value = serde_json::from_slice(data).unwrap_or_default();
                let seconds = hello["heartbeat_interval"].as_f64().unwrap_or(0.0) / 1_000.0;
                if seconds >= 1.0 {
                    let interval = Duration::from_secs_f64(seconds.min(LONGEST_INTERVAL));
                    link.hello = Some((self.now, interval));
                }
            }
            _ => {}
        }
        self.machine.handle(event, self.now);
        self.drain(false);
    }

    /// A frame, where there is a socket to bring it.
    fn frame(&mut self, text: &str) {
        let Link::Up(link) = &mut self.link else { return };
        let envelope = match link.scanner.scan(text.as_bytes()) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.handle(Event::BadPayload { seq: error.seq });
                return;
            }
        };
        let name = envelope.name.of(text.as_bytes());
        let data = envelope.data.of(text.as_bytes());
        if envelope.op != 0 {
            self.handle(Event::Control { op: envelope.op, data });
            return;
        }
        let introduced = link.stage >= Stage::Introduced;
        let delivery = self.machine.dispatch(envelope.seq, name, data, self.now);
        let is_new = delivery != Delivery::Drop;
        assert!(introduced || !is_new, "a dispatch before IDENTIFY and RESUME");
        let starts_session = is_new && name == b"READY";
        if let Link::Up(link) = &mut self.link {
            if starts_session || is_new && name == b"RESUMED" {
                link.stage = Stage::Ready;
            }
            assert!(link.stage == Stage::Ready || delivery != Delivery::New, "new before READY");
        }
        if starts_session {
            let session = self.machine.session().expect("READY was taken");
            assert_eq!(session.seq, envelope.seq.unwrap_or(0));
        } else if is_new && name != b"RESUMED" {
            let seq = envelope.seq.unwrap_or(u64::MAX);
            assert!(self.seq.is_none_or(|before| seq > before), "delivered before");
        }
        self.drain(starts_session);
    }

    fn command(&mut self, op: u8, d: &str) {
        let id = self.commands.len() as u64;
        let d = RawValue::from_string(d.to_owned()).expect("JSON");
        let payload = send_event(op, &d).expect("short");
        self.commands.insert(id, Fate::Open);
        let presence = (op == 3).then_some(d);
        self.handle(Event::Command(Command { id, payload, presence }));
    }

    /// Lets time pass, with every timer at its time.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.timeout();
        }
        self.now = end;
    }

    fn timeout(&mut self) {
        self.machine.timeout(self.now);
        self.drain(false);
        if let Link::Up(link) = &self.link
            && let Some((since, interval)) = link.hello
        {
            let silence = self.now - link.beat.unwrap_or(since);
            assert!(silence <= interval, "no heartbeat for {silence:?} of {interval:?}");
        }
        assert!(self.machine.poll_timeout().is_none_or(|due| due > self.now), "a timer left over");
    }

    // -- what it does -------------------------------------------------------------------------

    /// Does what the driver does, and looks at everything.
    fn drain(&mut self, starts_session: bool) {
        let seq = self.machine.session().map(|session| session.seq);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Connect { url } => {
                    assert!(matches!(self.link, Link::None), "two sockets");
                    assert!(url.starts_with("wss://"), "the token in the clear: {url}");
                    self.link = Link::Opening;
                }
                Output::Send(payload) => self.sent(payload.as_str(), seq),
                Output::Close(code) => {
                    assert!(matches!(self.link, Link::Up(_)), "it closes what does not stand");
                    assert!(matches!(code, CloseCode::RESUMABLE | CloseCode::NORMAL));
                    self.link = Link::None;
                }
                Output::Drop => self.link = Link::None,
                Output::GateEnter { ticket } => {
                    assert!(ticket > self.ticket, "an old ticket");
                    self.ticket = ticket;
                }
                Output::GateArm { ticket } => {
                    assert_eq!(ticket, self.ticket);
                    let Link::Up(link) = &mut self.link else { panic!("armed without a socket") };
                    assert!(link.hello.is_some(), "armed before HELLO");
                    assert_eq!(link.stage, Stage::New);
                    link.stage = Stage::Armed;
                }
                Output::GateLeave { ticket } => assert_eq!(ticket, self.ticket),
                Output::State(change) => {
                    assert_eq!(change.from, self.state);
                    assert_ne!(change.from, change.to);
                    assert!(!change.reason.is_empty());
                    assert!(!shows_token(&change.reason), "the token: {}", change.reason);
                    self.state = change.to;
                }
                Output::Settled { command_id, .. } => {
                    let before = self.commands.insert(command_id, Fate::Settled);
                    assert_eq!(before, Some(Fate::Open), "command {command_id}");
                }
                Output::Measured(_, took) => assert!(took <= self.now - self.start, "{took:?}"),
                Output::Warning(text) => assert!(!shows_token(&text), "the token: {text}"),
            }
        }
        self.check(starts_session, seq);
    }

    /// A payload goes out.
    fn sent(&mut self, text: &str, seq: Option<u64>) {
        let now = self.now;
        let Link::Up(link) = &mut self.link else { panic!("sent without a socket: {text}") };
        assert!(link.hello.is_some(), "sent before HELLO: {text}");
        assert!(text.len() <= MAX_OUTGOING_BYTES, "{} bytes", text.len());
        link.sent.push_back(now);
        while link.sent.front().is_some_and(|at| *at + MINUTE <= now) {
            link.sent.pop_front();
        }
        assert!(link.sent.len() <= 120, "{} payloads in a minute", link.sent.len());
        let payload: Value = serde_json::from_str(text).expect("JSON");
        let d = &payload["d"];
        match payload["op"].as_u64().expect("an op") {
            1 => {
                let now_or_before = [seq, self.seq].map(|seq| seq.map_or(Value::Null, Value::from));
                assert!(now_or_before.contains(d), "a heartbeat with {d}, not {now_or_before:?}");
                link.beat = Some(now);
            }
            2 => {
                assert_eq!(
                    link.stage,
                    Stage::Granted,
                    "IDENTIFY without the gate's word, or twice"
                );
                assert_eq!(seq, None, "IDENTIFY with a session");
                link.stage = Stage::Introduced;
            }
            6 => {
                assert_eq!(link.stage, Stage::New, "RESUME beside IDENTIFY, or twice");
                assert_eq!(d["seq"].as_u64(), self.seq, "it asks for what it has not got");
                link.stage = Stage::Introduced;
            }
            op => {
                assert_eq!(link.stage, Stage::Ready, "a command before READY and RESUMED");
                if op == 3 {
                    self.presences.push_back(now);
                    let window = Duration::from_secs(20);
                    while self.presences.front().is_some_and(|at| *at + window <= now) {
                        self.presences.pop_front();
                    }
                    assert!(self.presences.len() <= 5, "{} presences", self.presences.len());
                }
            }
        }
    }

    /// What holds between any two things that happen.
    fn check(&mut self, starts_session: bool, seq: Option<u64>) {
        assert_eq!(self.state, self.machine.state());
        assert!(starts_session || self.seq.is_none() || seq.is_none() || seq >= self.seq);
        assert!(starts_session || self.seq.is_some() || seq.is_none(), "a session from nowhere");
        self.seq = seq;
        let due = self.machine.poll_timeout();
        let within = |limit: Duration| due.is_some_and(|due| due <= self.now + limit);
        match self.state {
            ShardState::Disconnected => assert!(within(LONGEST_REST), "it never comes back"),
            ShardState::Connecting if !matches!(&self.link, Link::Up(l) if l.stage >= Stage::Armed) =>
            {
                assert!(within(Duration::from_secs(15)), "it waits for ever");
            }
            ShardState::Stopped => {
                assert!(self.commands.values().all(|fate| *fate != Fate::Open), "unanswered");
                assert!(matches!(self.link, Link::None) && due.is_none());
            }
            ShardState::Fatal => assert!(matches!(self.link, Link::None)),
            _ => {}
        }
        if let Link::Up(link) = &self.link {
            assert!(
                link.hello.is_none_or(|(_, interval)| within(interval)),
                "no heartbeat planned"
            );
        }
    }
}

/// A text with the token wherever a byte 0x01 stands.
fn text(input: &mut Input<'_>) -> String {
    String::from_utf8_lossy(input.text()).replace('\u{1}', TOKEN)
}
