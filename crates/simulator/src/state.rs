//! The one state behind the simulator's lock, and who holds it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::gateway::recording::Recording;
use crate::ledger::{Rule, Seen, ViolationRecord};
use crate::options::Options;
use crate::rest::Rest;
use crate::world::World;
use crate::world::live::Live;
use crate::world::message::Messages;
use crate::world::snowflake::{Generator, Snowflake};

/// What a simulator's handles and tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: Arc<World>,
    pub(crate) clock: Clock,
    state: Mutex<State>,
    /// What every connection gets in place of a session, if it is so.
    pub(crate) recording: Option<Recording>,
    /// Wakes those who wait for the ledger to change.
    pub(crate) changed: Notify,
    /// Wakes the traffic when its rate changes.
    pub(crate) traffic: Notify,
    /// Whether someone drives the traffic; a second one must not double it.
    pub(crate) has_traffic: AtomicBool,
    /// Ends every task.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn new(options: Options) -> io::Result<Self> {
        let world = Arc::new(World::new(&options));
        let clock = Clock::start(options.started_at_unix_ms);
        let events = options.recorded_events;
        let state = State::new(options, world.clone(), clock);
        let recording = (events > 0).then(|| state.recording(events)).transpose()?;
        Ok(Self {
            world,
            clock,
            state: Mutex::new(state),
            recording,
            changed: Notify::new(),
            traffic: Notify::new(),
            has_traffic: AtomicBool::new(false),
            stop: CancellationToken::new(),
        })
    }

    /// Looks at the state or changes it, then wakes whoever waits for such a change. Must not be
    /// called from inside itself.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let changed = std::mem::take(&mut state.seen.changed);
        drop(state);
        if changed {
            self.changed.notify_waiters();
        }
        result
    }
}

/// Everything that changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) world: Arc<World>,
    pub(crate) clock: Clock,
    /// Chooses session ids and tokens.
    pub(crate) rng: fastrand::Rng,
    /// Chooses what happens in the world. Apart from the other, so that traffic does not depend
    /// on what clients do.
    pub(crate) traffic_rng: fastrand::Rng,
    /// The bot's token; `None` once it has been reset.
    pub(crate) token: Option<String>,
    pub(crate) live: Live,
    /// Guilds where something can happen.
    pub(crate) open_guilds: Vec<u32>,
    pub(crate) messages: Messages,
    pub(crate) ids: Generator,
    /// Direct channels and whom they are with.
    pub(crate) directs: BTreeMap<Snowflake, Snowflake>,
    pub(crate) gateway: Gateway,
    pub(crate) rest: Rest,
    pub(crate) seen: Seen,
    /// Where the server listens.
    pub(crate) address: Option<SocketAddr>,
}

impl State {
    fn new(options: Options, world: Arc<World>, clock: Clock) -> Self {
        let mut state = Self {
            rng: fastrand::Rng::with_seed(options.seed ^ 0x5E55_1055),
            traffic_rng: fastrand::Rng::with_seed(options.seed ^ 0x7AFF_1C00),
            token: Some(options.token.clone()),
            live: Live::default(),
            open_guilds: Vec::new(),
            messages: Messages::new(options.messages_per_channel),
            ids: Generator::default(),
            directs: BTreeMap::new(),
            gateway: Gateway::new(&options),
            rest: Rest::default(),
            seen: Seen::new(options.ledger_entries),
            address: None,
            options,
            world,
            clock,
        };
        state.refresh_open_guilds();
        state
    }

    /// Numbers of the guilds the bot is in.
    pub(crate) fn guilds(&self) -> impl Iterator<Item = u32> {
        let all = 0..self.world.first_guilds + self.live.joined;
        all.filter(|guild| !self.live.left.contains(guild))
    }

    /// The number of a guild the bot is in.
    pub(crate) fn guild_number(&self, id: Snowflake) -> Option<u32> {
        let guild = self.world.guild_number(id)?;
        let known = guild < self.world.first_guilds + self.live.joined;
        (known && !self.live.left.contains(&guild)).then_some(guild)
    }

    /// To be called when a guild came, went, failed or recovered.
    pub(crate) fn refresh_open_guilds(&mut self) {
        let closed =
            |guild: &u32| self.live.down.contains(guild) || self.live.withheld.contains(guild);
        self.open_guilds = self.guilds().filter(|guild| !closed(guild)).collect();
    }

    /// Whether this is the bot's token, with or without its prefix.
    pub(crate) fn is_token(&self, token: &str) -> bool {
        let token = token.strip_prefix("Bot ").unwrap_or(token);
        self.token.as_deref() == Some(token)
    }

    /// A new id for something that came into being now.
    pub(crate) fn next_id(&mut self) -> Snowflake {
        self.ids.next(self.clock.unix_ms())
    }

    /// The number of the world event that happens now.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.seen.counts.events += 1;
        self.seen.counts.events
    }

    /// `length` hexadecimal digits.
    pub(crate) fn next_hex(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from_digit(self.rng.u32(..16), 16).unwrap_or('0')).collect()
    }

    /// Writes down a broken rule.
    pub(crate) fn violation(
        &mut self,
        connection: Option<u64>,
        rule: Rule,
        detail: impl Into<String>,
    ) {
        let shard = connection.and_then(|id| self.shard_of(id));
        self.seen.counts.violations += 1;
        self.seen.violation(ViolationRecord {
            at: self.clock.now(),
            connection,
            shard,
            rule,
            detail: detail.into(),
        });
    }
}
