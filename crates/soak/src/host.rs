//! The program around the client: takes events, sends commands, and notes what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::config::Delivery;
use shardwright::queue::{Event, EventKind, NO_SHARD, PollError};
use shardwright::shard::StopMode;
use shardwright::{Client, Config};
use shardwright_sim::Simulator;
use tokio::runtime::Handle;

use crate::at::At;
use crate::came::SessionLog;
use crate::disk::Disk;
use crate::life::Freeze;
use crate::network::Weather;
use crate::numbers::Numbers;
use crate::world::World;

/// Events taken at once.
const BATCH: usize = 256;

/// More problems than this tell nothing new.
const MAX_PROBLEMS: usize = 20;

/// A session that was known for less than this when its host died may not be stored yet.
const YOUNG: Duration = Duration::from_secs(1);

/// A client that wakes takes so long to note that it lives.
const WAKE: Duration = Duration::from_secs(1);

/// A client that did not run for longer than this does not try to resume.
const STALE: Duration = Duration::from_secs(14 * 60);

/// One shard as the host sees it.
#[derive(Debug, Default)]
pub(crate) struct View {
    state: String,
    pub(crate) session: Option<String>,
}

/// The host and what it was told.
pub(crate) struct Host<'a> {
    pub(crate) world: &'a World,
    pub(crate) simulator: Simulator,
    weather: Weather,
    pub(crate) client: Client,
    /// Where it keeps its sessions, if it does.
    pub(crate) disk: Option<Disk>,
    /// What it took and has not finished, with `at_least_once`.
    hand: Vec<Event>,
    /// Whether the client stops or has stopped, and since when.
    pub(crate) stopping: Option<Duration>,
    /// Whether it ends its sessions, those too that it has not heard of yet.
    closes: bool,
    /// Whether nobody looks at its events any more.
    is_dead: bool,
    /// Whether its stream of events has ended.
    pub(crate) closed: bool,
    pub(crate) shards: BTreeMap<u32, View>,
    /// The sessions that came, by id, unless the bot is resharded.
    pub(crate) sessions: BTreeMap<String, SessionLog>,
    /// The world's events that came, if the bot is resharded.
    pub(crate) numbers: Numbers,
    /// Reshards without a reply.
    pub(crate) resharding: BTreeSet<u64>,
    /// Why reshards failed.
    pub(crate) failed: Vec<String>,
    /// Reshards that were done.
    pub(crate) resharded: u64,
    /// When another set of shards took over, and how many they are.
    pub(crate) switches: Vec<(Duration, u32)>,
    /// By life: how many shards the set had that it began with, if the bot was to be resharded in it.
    pub(crate) first_totals: BTreeMap<usize, u32>,
    /// Commands without a reply.
    pub(crate) open: BTreeSet<u64>,
    /// Commands that were answered.
    pub(crate) replies: u64,
    /// Events that a queue dropped.
    pub(crate) dropped: u64,
    /// Until when the client before the last restart did its work.
    awake_until: Duration,
    /// Shards refused for good, with the code.
    pub(crate) fatal: BTreeMap<u32, u64>,
    /// Shards that were told to forget their session.
    pub(crate) gave_up: BTreeSet<u32>,
    /// When a new client was started, after the first.
    pub(crate) restarts: Vec<Duration>,
    /// When it died.
    pub(crate) died: Vec<Duration>,
    /// When its machine stood still.
    pub(crate) freezes: Vec<Freeze>,
    /// The largest queue that was seen.
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    /// Of all that it was told, in its order.
    pub(crate) digest: DefaultHasher,
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
            closes: false,
            is_dead: false,
            world,
            simulator: simulator.clone(),
            weather: weather.clone(),
            stopping: None,
            closed: false,
            shards: BTreeMap::new(),
            sessions: BTreeMap::new(),
            numbers: Numbers::default(),
            resharding: BTreeSet::new(),
            failed: Vec::new(),
            resharded: 0,
            switches: Vec::new(),
            first_totals: BTreeMap::new(),
            open: BTreeSet::new(),
            replies: 0,
            dropped: 0,
            awake_until: Duration::ZERO,
            fatal: BTreeMap::new(),
            gave_up: BTreeSet::new(),
            restarts: Vec::new(),
            died: Vec::new(),
            freezes: Vec::new(),
            events_max: 0,
            bytes_max: 0,
            digest: DefaultHasher::new(),
            problems: Vec::new(),
            rng: fastrand::Rng::with_seed(world.seed),
        }
    }

    // -- life ---------------------------------------------------------------------------------

    /// Stops the client.
    pub(crate) fn stop(&mut self, mode: StopMode) {
        self.stopping.get_or_insert(self.simulator.now());
        self.client.stop(mode);
        self.closes |= mode == StopMode::Close;
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
        // One that stopped as its machine woke had been away since before that.
        let awake_until = |since: Duration| match self.freezes.last() {
            Some(freeze) if since <= freeze.to + WAKE => freeze.from,
            _ => since,
        };
        self.awake_until = self.stopping.map_or(now, awake_until);
        let is_stale = now > self.awake_until + STALE;
        for log in self.sessions.values_mut() {
            log.last = 0;
            log.given_up |= self.closes || self.disk.is_none() || is_stale;
        }
        if !std::mem::take(&mut self.resharding).is_empty() {
            self.numbers.cut_short.insert(self.restarts.len());
        }
        self.client = started(self.world, &self.weather, self.disk.as_ref());
        (self.stopping, self.closed, self.closes, self.is_dead) = (None, false, false, false);
        self.shards.clear();
        self.fatal.clear();
        self.restarts.push(now);
    }

    /// The machine stood still.
    pub(crate) fn stood_still(&mut self, freeze: Freeze) {
        // A client that was only just started looks for its sessions as it wakes.
        let is_starting = self.restarts.last().is_some_and(|at| freeze.from <= *at + WAKE);
        if is_starting && freeze.to > self.awake_until + STALE {
            self.sessions.values_mut().for_each(|log| log.given_up = true);
        }
        self.freezes.push(freeze);
    }

    /// Whether every shard is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.client.healthy().is_ok()
    }

    // -- events -------------------------------------------------------------------------------

    /// Takes what is in the queue. Whether there was anything to take, or to finish from before.
    pub(crate) fn poll(&mut self) -> bool {
        let queue = Arc::clone(self.client.queue());
        self.events_max = self.events_max.max(queue.len());
        self.bytes_max = self.bytes_max.max(queue.bytes());
        let mut has_worked = self.finish();
        while !self.closed {
            let mut events = Vec::new();
            match queue.poll(BATCH, Some(Duration::ZERO), |event| events.push(event)) {
                Ok(0) => return has_worked,
                Ok(_) if self.is_dead => {}
                Ok(_) => {
                    has_worked = true;
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
        self.finish() || has_worked
    }

    /// Finishes what it has in its hands, if anything, and releases it.
    fn finish(&mut self) -> bool {
        let events = std::mem::take(&mut self.hand);
        for event in &events {
            self.take(event);
        }
        !events.is_empty()
    }

    /// Takes one event.
    fn take(&mut self, event: &Event) {
        let data = event.data();
        (event.kind, event.shard_id, event.seq, event.flags, data).hash(&mut self.digest);
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
        if let Some((_, total)) = reason.split_once("resharded from ") {
            // It is another one than had this number before.
            let total = total.rsplit(' ').next().and_then(|total| total.parse().ok()).unwrap_or(0);
            self.switches.push((self.simulator.now(), total));
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
