//! The program around the client: takes events, sends commands, and notes what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use shardwright::queue::{Event, EventKind, NO_SHARD, PollError};
use shardwright::shard::StopMode;
use shardwright::{Client, Config};
use shardwright_sim::Simulator;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::at::At;
use crate::network::Weather;
use crate::trouble::UNNUMBERED;
use crate::world::World;

/// Events taken at once.
const BATCH: usize = 256;

/// More problems than this tell nothing new.
const MAX_PROBLEMS: usize = 20;

/// A dispatch as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) seq: u64,
    pub(crate) name: String,
    /// The number of the simulator's world event, where the dispatch shows one.
    pub(crate) number: Option<u64>,
}

/// All that came of one session.
#[derive(Debug)]
pub(crate) struct SessionLog {
    pub(crate) shard_id: u32,
    pub(crate) came: Vec<Came>,
}

/// One shard as the host sees it.
#[derive(Debug, Default)]
struct View {
    state: String,
    session: Option<String>,
}

/// The host and what it was told.
pub(crate) struct Host<'a> {
    world: &'a World,
    simulator: Simulator,
    weather: Weather,
    pub(crate) client: Client,
    /// Whether the client stops or has stopped.
    pub(crate) stopping: bool,
    /// Whether its stream of events has ended.
    pub(crate) closed: bool,
    shards: BTreeMap<u32, View>,
    /// The sessions that came, by id.
    pub(crate) sessions: BTreeMap<String, SessionLog>,
    /// Commands without a reply.
    pub(crate) open: BTreeSet<u64>,
    /// Commands that were answered.
    pub(crate) replies: u64,
    /// Events that a queue dropped.
    pub(crate) dropped: u64,
    /// Shards refused for good, with the code.
    pub(crate) fatal: BTreeMap<u32, u64>,
    /// Shards that were told to forget their session.
    pub(crate) gave_up: BTreeSet<u32>,
    /// When a new client was started, after the first.
    pub(crate) restarts: Vec<Instant>,
    /// The largest queue that was seen.
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    /// What must not be.
    pub(crate) problems: Vec<String>,
    rng: fastrand::Rng,
}

impl<'a> Host<'a> {
    /// A host with a started client.
    pub(crate) fn start(world: &'a World, simulator: &Simulator, weather: &Weather) -> Self {
        Self {
            client: started(world, weather),
            world,
            simulator: simulator.clone(),
            weather: weather.clone(),
            stopping: false,
            closed: false,
            shards: BTreeMap::new(),
            sessions: BTreeMap::new(),
            open: BTreeSet::new(),
            replies: 0,
            dropped: 0,
            fatal: BTreeMap::new(),
            gave_up: BTreeSet::new(),
            restarts: Vec::new(),
            events_max: 0,
            bytes_max: 0,
            problems: Vec::new(),
            rng: fastrand::Rng::with_seed(world.seed),
        }
    }

    // -- life ---------------------------------------------------------------------------------

    /// Stops the client.
    pub(crate) fn stop(&mut self, mode: StopMode) {
        self.stopping = true;
        self.client.stop(mode);
    }

    /// Starts a new client in place of one that has stopped.
    pub(crate) fn start_anew(&mut self) {
        if !self.open.is_empty() {
            let problem = format!("the client ended with {} commands unanswered", self.open.len());
            self.problem(&problem);
            self.open.clear();
        }
        self.client = started(self.world, &self.weather);
        (self.stopping, self.closed) = (false, false);
        self.shards.clear();
        self.fatal.clear();
        self.restarts.push(Instant::now());
    }

    /// Whether every shard is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.client.healthy().is_ok()
    }

    // -- events -------------------------------------------------------------------------------

    /// Takes what is in the queue.
    pub(crate) fn poll(&mut self) {
        let queue = Arc::clone(self.client.queue());
        self.events_max = self.events_max.max(queue.len());
        self.bytes_max = self.bytes_max.max(queue.bytes());
        while !self.closed {
            let mut events = Vec::new();
            match queue.poll(BATCH, Some(Duration::ZERO), |event| events.push(event)) {
                Ok(0) => return,
                Ok(_) => events.iter().for_each(|event| self.take(event)),
                Err(PollError::Closed) => self.closed = true,
                Err(error) => self.problem(&format!("poll: {error}")),
            }
        }
    }

    /// Takes one event.
    fn take(&mut self, event: &Event) {
        let data = event.data();
        if event.kind == EventKind::Dispatch {
            self.dispatch(event);
            return;
        }
        self.look_for_token(data);
        match event.kind {
            EventKind::ShardState => self.state_changed(event.shard_id, data),
            EventKind::Reply => {
                if self.open.remove(&event.command_id) {
                    self.replies += 1;
                } else {
                    self.problem(&format!("command {} was answered twice", event.command_id));
                }
            }
            EventKind::Overflow => self.dropped += u64::try_from(event.status).unwrap_or(0),
            EventKind::Fatal => {
                let code = json(data)["close_code"].as_u64().unwrap_or(0);
                self.fatal.insert(event.shard_id, code);
            }
            _ => {}
        }
    }

    /// A shard changed its state: what it left must be what it was in.
    fn state_changed(&mut self, shard_id: u32, data: &[u8]) {
        let change = json(data);
        let reason = change["reason"].as_str().unwrap_or_default();
        if reason.contains("bug in the engine") {
            self.problem(&format!("shard {shard_id}: {reason}"));
        }
        if shard_id == NO_SHARD {
            return;
        }
        let (from, to) = (change["from"].as_str(), change["to"].as_str());
        let view = self.shards.entry(shard_id).or_default();
        let before = std::mem::replace(&mut view.state, to.unwrap_or_default().to_owned());
        if !before.is_empty() && from != Some(&before) && !self.may_drop() {
            self.problem(&format!("shard {shard_id} went from {before} to {from:?} unseen"));
        }
        if to == Some("fatal") && change["close_code"] != 4014 {
            self.problem(&format!("shard {shard_id} is fatal without a cause: {change}"));
        }
    }

    /// A dispatch: the next of its session, and nothing else.
    fn dispatch(&mut self, event: &Event) {
        #[derive(Deserialize)]
        struct Shows<'a> {
            session_id: Option<&'a str>,
            nonce: Option<Value>,
        }
        let (shard_id, seq) = (event.shard_id, event.seq);
        let name = String::from_utf8_lossy(event.name()).into_owned();
        let shows = match name.as_str() {
            "READY" | "MESSAGE_CREATE" => serde_json::from_slice::<Shows<'_>>(event.data()),
            _ => serde_json::from_slice::<IgnoredAny>(event.data())
                .map(|_| Shows { session_id: None, nonce: None }),
        };
        let Ok(shows) = shows else {
            self.problem(&format!("shard {shard_id}: {name} {seq} is not the JSON that was sent"));
            return;
        };
        let view = self.shards.entry(shard_id).or_default();
        if name == "READY" {
            let id = shows.session_id.unwrap_or_default().to_owned();
            view.session = Some(id.clone());
            let log = SessionLog { shard_id, came: Vec::new() };
            if self.sessions.insert(id, log).is_some() {
                self.problem(&format!("shard {shard_id}: a session had two READYs"));
            }
        }
        let view = self.shards.entry(shard_id).or_default();
        let log = view.session.as_ref().and_then(|id| self.sessions.get_mut(id));
        let number = shows.nonce.and_then(|nonce| nonce.as_str()?.parse().ok());
        let problem = match log {
            // A queue that drops may drop a READY too.
            None if self.world.drops_oldest() => return,
            None => Some("came before READY".to_owned()),
            // Sent by a trouble, and no part of a session.
            Some(_) if seq == 0 && name == UNNUMBERED => None,
            Some(log) => {
                let last = log.came.last().map_or(0, |came| came.seq);
                if seq <= last && name != "READY" && self.world.drops_oldest() {
                    // The READY of another session was dropped.
                    self.shards.entry(shard_id).or_default().session = None;
                    return;
                }
                log.came.push(Came { seq, name: name.clone(), number });
                (seq <= last).then(|| format!("came after {last}"))
            }
        };
        if let Some(problem) = problem {
            self.problem(&format!("shard {shard_id}: {name} {seq} {problem}"));
        }
    }

    /// The token must not be told, whoever asks.
    pub(crate) fn look_for_token(&mut self, told: &[u8]) {
        let token = &self.world.options.token;
        let secret = token.rsplit('.').next().unwrap_or(token);
        if memchr::memmem::find(told, secret.as_bytes()).is_some() {
            self.problem("the token was told");
        }
    }

    /// Whether a queue that drops has dropped.
    fn may_drop(&self) -> bool {
        self.world.drops_oldest() || self.client.queue().dropped_total() > 0
    }

    /// The session that each shard has now.
    pub(crate) fn current_sessions(&self) -> impl Iterator<Item = (u32, &str)> {
        self.shards.iter().filter_map(|(id, view)| Some((*id, view.session.as_deref()?)))
    }

    // -- commands -----------------------------------------------------------------------------

    /// Sends a command of some kind.
    pub(crate) fn command(&mut self) {
        let guilds = self.simulator.guilds();
        let Some(guild) = guilds.get(self.rng.usize(..guilds.len().max(1))) else { return };
        let guild_id = guild.0.to_string();
        let command = match self.rng.u8(..8) {
            0 => json!({"type": "update_presence", "status": "dnd"}),
            1..3 => json!({"type": "request_guild_members", "guild_id": guild_id, "query": "a",
                "limit": 5, "nonce": self.rng.u32(..).to_string()}),
            3 => json!({"type": "update_voice_state", "guild_id": guild_id, "channel_id": null}),
            4 => json!({"type": "gateway_info"}),
            5 => json!({"type": "rest", "method": "GET", "path": "/users/@me"}),
            _ => {
                let channel = self.simulator.text_channels(*guild)[0].0;
                json!({"type": "rest", "method": "POST", "path": format!("/channels/{channel}/messages"),
                    "body": {"content": "hello"}})
            }
        };
        self.send(&command);
    }

    /// Sends a command to the gateway, which has the narrower limits.
    pub(crate) fn gateway_command(&mut self) {
        let guilds = self.simulator.guilds();
        let Some(guild) = guilds.get(self.rng.usize(..guilds.len().max(1))) else { return };
        let self_deaf = self.rng.bool();
        self.send(&json!({"type": "update_voice_state", "guild_id": guild.0.to_string(),
            "channel_id": null, "self_deaf": self_deaf}));
    }

    /// Sends a command; refusals that can be helped are problems.
    pub(crate) fn send(&mut self, command: &Value) {
        if self.stopping {
            return;
        }
        match self.client.send_command(&command.to_string()) {
            Ok(id) => {
                self.open.insert(id);
            }
            Err(error) if error.kind() == shardwright::ErrorKind::QueueFull => {}
            Err(error) => self.problem(&format!("{command} was refused: {error}")),
        }
    }

    /// Notes what must not be.
    pub(crate) fn problem(&mut self, problem: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{}: {problem}", At(self.simulator.now())));
        }
    }
}

/// A client that was started.
fn started(world: &World, weather: &Weather) -> Client {
    let config = Config::from_json(&world.config.to_string(), |_| None).expect("a good config");
    let client = Client::new(config, Arc::new(weather.clone())).expect("a client");
    client.start(&Handle::current()).expect("not started before");
    client
}

/// JSON of the engine's own.
fn json(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or(Value::Null)
}
