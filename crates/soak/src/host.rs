//! The program around the client: takes events, sends commands, and notes what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use shardwright::config::Delivery;
use shardwright::queue::{Event, EventKind, FLAG_REPLAYED, NO_SHARD, PollError};
use shardwright::shard::StopMode;
use shardwright::{Client, Config};
use shardwright_sim::Simulator;
use tokio::runtime::Handle;

use crate::at::At;
use crate::came::{Came, SessionLog};
use crate::disk::Disk;
use crate::network::Weather;
use crate::numbers::{Failed, Numbers};
use crate::trouble::UNNUMBERED;
use crate::world::World;

/// Events taken at once.
const BATCH: usize = 256;

/// More problems than this tell nothing new.
const MAX_PROBLEMS: usize = 20;

/// A session that was known for less than this when its host died may not be stored yet.
const YOUNG: Duration = Duration::from_secs(1);

/// A client that did not run for longer than this does not try to resume.
const STALE: Duration = Duration::from_secs(14 * 60);

/// One shard as the host sees it.
#[derive(Debug, Default)]
struct View {
    state: String,
    session: Option<String>,
}

/// The host and what it was told.
pub(crate) struct Host<'a> {
    pub(crate) world: &'a World,
    pub(crate) simulator: Simulator,
    weather: Weather,
    pub(crate) client: Client,
    /// Where it keeps its sessions, if it does.
    disk: Option<Disk>,
    /// What it took and has not finished, with `at_least_once`.
    hand: Vec<Event>,
    /// Whether the client stops or has stopped, and since when.
    pub(crate) stopping: Option<Duration>,
    /// Whether nobody looks at its events any more.
    is_dead: bool,
    /// Whether its stream of events has ended.
    pub(crate) closed: bool,
    shards: BTreeMap<u32, View>,
    /// The sessions that came, by id, unless the bot is resharded.
    pub(crate) sessions: BTreeMap<String, SessionLog>,
    /// The world's events that came, if the bot is resharded.
    pub(crate) numbers: Numbers,
    /// Reshards without a reply: since when, and to how many shards.
    pub(crate) resharding: BTreeMap<u64, (Duration, u32)>,
    /// Reshards that failed.
    pub(crate) failed: Vec<Failed>,
    /// Reshards that were done.
    pub(crate) resharded: u64,
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
    pub(crate) restarts: Vec<Duration>,
    /// When it died.
    pub(crate) died: Vec<Duration>,
    /// The largest queue that was seen.
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    /// What must not be.
    pub(crate) problems: Vec<String>,
    pub(crate) rng: fastrand::Rng,
}

impl<'a> Host<'a> {
    /// A host with a started client.
    pub(crate) fn start(world: &'a World, simulator: &Simulator, weather: &Weather) -> Self {
        let disk = world.keeps.map(|_| Disk::new());
        Self {
            client: started(world, weather, disk.as_ref()),
            disk,
            hand: Vec::new(),
            is_dead: false,
            world,
            simulator: simulator.clone(),
            weather: weather.clone(),
            stopping: None,
            closed: false,
            shards: BTreeMap::new(),
            sessions: BTreeMap::new(),
            numbers: Numbers::default(),
            resharding: BTreeMap::new(),
            failed: Vec::new(),
            resharded: 0,
            open: BTreeSet::new(),
            replies: 0,
            dropped: 0,
            fatal: BTreeMap::new(),
            gave_up: BTreeSet::new(),
            restarts: Vec::new(),
            died: Vec::new(),
            events_max: 0,
            bytes_max: 0,
            problems: Vec::new(),
            rng: fastrand::Rng::with_seed(world.seed),
        }
    }

    // -- life ---------------------------------------------------------------------------------

    /// Stops the client.
    pub(crate) fn stop(&mut self, mode: StopMode) {
        self.stopping.get_or_insert(self.simulator.now());
        self.client.stop(mode);
        if mode == StopMode::Close {
            self.sessions.values_mut().for_each(|log| log.given_up = true);
        }
    }

    /// Dies: what was written by now is all that is left of it. Only for a host that keeps its sessions.
    pub(crate) fn die(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        disk.die();
        let now = self.simulator.now();
        self.is_dead = true;
        self.died.push(now);
        self.hand.clear();
        self.open.clear();
        for log in self.sessions.values_mut().filter(|log| now < log.began + YOUNG) {
            log.given_up = true;
        }
        // The nearest to a kill that there is within a process.
        self.stop(StopMode::Abort);
    }

    /// Starts a new client in place of one that has stopped.
    pub(crate) fn start_anew(&mut self) {
        if !self.open.is_empty() {
            let problem = format!("the client ended with {} commands unanswered", self.open.len());
            self.problem(&problem);
            self.open.clear();
        }
        if !self.is_dead {
            self.client.save_sessions();
        }
        let now = self.simulator.now();
        let is_stale = self.stopping.is_some_and(|since| now > since + STALE);
        for log in self.sessions.values_mut() {
            log.last = 0;
            log.given_up |= self.disk.is_none() || is_stale;
        }
        for (from, total) in std::mem::take(&mut self.resharding).into_values() {
            self.failed.push(Failed { total, from, to: now, why: "the host restarted".to_owned() });
        }
        self.client = started(self.world, &self.weather, self.disk.as_ref());
        (self.stopping, self.closed, self.is_dead) = (None, false, false);
        self.shards.clear();
        self.fatal.clear();
        self.restarts.push(now);
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
        self.finish();
        while !self.closed {
            let mut events = Vec::new();
            match queue.poll(BATCH, Some(Duration::ZERO), |event| events.push(event)) {
                Ok(0) => return,
                Ok(_) if self.is_dead => {}
                Ok(_) => {
                    self.finish();
                    self.hand = events;
                    // Taken is done, unless what is not finished comes again.
                    if self.world.keeps != Some(Delivery::AtLeastOnce) {
                        self.finish();
                    }
                }
                Err(PollError::Closed) => self.closed = true,
                Err(error) => self.problem(&format!("poll: {error}")),
            }
        }
        self.finish();
    }

    /// Finishes what it has in its hands, and releases it.
    fn finish(&mut self) {
        let events = std::mem::take(&mut self.hand);
        events.iter().for_each(|event| self.take(event));
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
                    self.resharded(event);
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
        if reason.starts_with("resharded from ") {
            // It is another one than had this number before.
            self.shards.remove(&shard_id);
            self.fatal.remove(&shard_id);
        }
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
            // Its nonce is that of the request.
            "GUILD_MEMBERS_CHUNK" => Ok(Shows { session_id: None, nonce: None }),
            _ if self.world.reshards.is_some() => serde_json::from_slice(event.data()),
            "READY" | "MESSAGE_CREATE" => serde_json::from_slice::<Shows<'_>>(event.data()),
            _ => serde_json::from_slice::<IgnoredAny>(event.data())
                .map(|_| Shows { session_id: None, nonce: None }),
        };
        let Ok(shows) = shows else {
            self.problem(&format!("shard {shard_id}: {name} {seq} is not the JSON that was sent"));
            return;
        };
        let number = shows.nonce.and_then(|nonce| nonce.as_str()?.parse().ok());
        let problem = if self.world.reshards.is_some() {
            self.numbered(event, number)
        } else {
            if name == "READY" {
                self.session_began(shard_id, shows.session_id.unwrap_or_default());
            }
            self.sequenced(event, Came { seq, name: name.clone(), number })
        };
        if let Err(problem) = problem {
            self.problem(&format!("shard {shard_id}: {name} {seq} {problem}"));
        }
    }

    /// READY of a new session.
    fn session_began(&mut self, shard_id: u32, id: &str) {
        self.shards.entry(shard_id).or_default().session = Some(id.to_owned());
        let log = SessionLog::new(shard_id, self.simulator.now());
        if self.sessions.insert(id.to_owned(), log).is_some() {
            self.problem(&format!("shard {shard_id}: a session had two READYs"));
        }
    }

    /// A dispatch is the next of its session.
    fn sequenced(&mut self, event: &Event, came: Came) -> Result<(), String> {
        let is_first = self.shards.get(&event.shard_id).is_none_or(|view| view.session.is_none());
        if is_first && self.disk.is_some() {
            self.session_goes_on(event.shard_id);
        }
        let view = self.shards.entry(event.shard_id).or_default();
        let log = view.session.as_ref().and_then(|id| self.sessions.get_mut(id));
        match log {
            // A queue that drops may drop a READY too.
            None if self.world.drops_oldest() => Ok(()),
            None => Err("came before READY".to_owned()),
            // Sent by a trouble, and no part of a session.
            Some(_) if came.seq == 0 && came.name == UNNUMBERED => Ok(()),
            Some(log) if came.seq <= log.last && came.name != "READY" && self.world.drops_oldest() => {
                // The READY of another session was dropped.
                view.session = None;
                Ok(())
            }
            Some(log) => log.add(came, is_replayed(event), self.world.keeps.unwrap_or_default()),
        }
    }

    /// The first event of a shard after a restart is none of a new session: it goes on with that which
    /// was resumed first.
    fn session_goes_on(&mut self, shard_id: u32) {
        let since = self.restarts.last().copied().unwrap_or_default();
        let resumed = self.simulator.look(|seen| {
            let mut resumes = seen.resumes.iter().rev().take_while(|resume| resume.at >= since);
            let mut first = None;
            while let Some(resume) = resumes.next() {
                if resume.outcome.is_accepted() && resume.shard.map(|of| of[0]) == Some(shard_id) {
                    first = Some(resume.session.clone());
                }
            }
            first
        });
        let Some(id) = resumed else { return };
        let now = self.simulator.now();
        // One whose READY died with the host is new.
        self.sessions.entry(id.clone()).or_insert_with(|| SessionLog::new(shard_id, now));
        self.shards.entry(shard_id).or_default().session = Some(id);
    }

    /// A dispatch of whichever session: one of the world's events is new, and the next of its guild.
    fn numbered(&mut self, event: &Event, number: Option<u64>) -> Result<(), String> {
        let Some(number) = number else { return Ok(()) };
        let now = (self.restarts.len(), self.world.keeps.unwrap_or_default());
        self.numbers.add(number, event.guild_id, is_replayed(event), now)
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

    /// Notes what must not be.
    pub(crate) fn problem(&mut self, problem: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{}: {problem}", At(self.simulator.now())));
        }
    }
}

/// Whether it is said to have been sent before.
fn is_replayed(event: &Event) -> bool {
    event.flags & FLAG_REPLAYED != 0
}

/// A client that was started.
fn started(world: &World, weather: &Weather, disk: Option<&Disk>) -> Client {
    let mut config = world.config.clone();
    if let Some(disk) = disk {
        config["sessions"] = json!(disk.sessions());
    }
    let config = Config::from_json(&config.to_string(), |_| None).expect("a good config");
    let client = Client::new(config, Arc::new(weather.clone())).expect("a client");
    client.start(&Handle::current()).expect("not started before");
    client
}

/// JSON of the engine's own.
pub(crate) fn json(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or(Value::Null)
}
