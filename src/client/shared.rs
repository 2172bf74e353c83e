//! What the tasks of a client and its host share, and what the host's threads do with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::command::Command;
use super::fleet::Fleet;
use super::forward::{self, Forward};
use super::guilds;
use super::keeper::Keeper;
use super::latch::Latch;
use super::leases::Leases;
use super::post::{self, Post};
use super::records::{Kind, Records};
use super::replies::{Replies, Return};
use super::reshard;
use super::standby::{NoteTaking, Standby};
use super::startup;
use crate::config::{self, Config};
use crate::error::{Error, ErrorKind};
use crate::health::{Overview, QueueOverview, StoreOverview};
use crate::histogram::Timings;
use crate::identify::SessionStartLimit;
use crate::protocol::CloseCode;
use crate::queue::{Event, EventKind, EventQueue, NO_SHARD};
use crate::rest::Rest;
use crate::shard::driver::{self, Owner};
use crate::shard::{CollectedBytes, Measure, Outcome, ShardState, StateChange, StopMode};
use crate::store::{self, Store};
use crate::transport::{Dialer, Network};

/// A client.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) dialer: Dialer,
    pub(super) rest: Rest,
    pub(super) queue: Arc<EventQueue>,
    pub(super) replies: Replies,
    /// Replies to other processes, until the client starts.
    pub(super) returned: Mutex<Option<mpsc::UnboundedReceiver<Return>>>,
    /// What keeps its sessions, if they are to survive the process.
    pub(super) keeper: Option<Keeper>,
    /// Its way to the other processes of the bot, if there is one.
    pub(super) post: Option<Post>,
    /// Which shards are its own among those processes.
    pub(super) leases: Option<Leases>,
    /// What it waits for, if it is to take over from other processes.
    pub(super) standby: Option<Standby>,
    /// What it notes for others that are to take over from it.
    pub(super) notes: Mutex<Option<NoteTaking>>,
    /// What keeps documents, if the config names one.
    pub(super) store: Option<Store>,
    /// What the engine itself keeps there.
    pub(super) records: Option<Records>,
    /// Asks the task of the client's life for another number of shards.
    pub(super) reshards: mpsc::UnboundedSender<reshard::Request>,
    /// Its end of that, until the client starts.
    pub(super) reshard_requests: Mutex<Option<mpsc::UnboundedReceiver<reshard::Request>>>,
    /// Where it stands.
    stage: RwLock<Stage>,
    /// How to stop, once that is wanted.
    pub(super) stop: watch::Sender<Option<StopMode>>,
    /// Tasks of commands that take a while, and that of the endpoint.
    pub(super) tasks: Mutex<JoinSet<()>>,
    /// What has come of the shards so far.
    progress: Mutex<Progress>,
    /// Every shard was ready once, or one never will be, or the client stopped.
    pub(super) decided: Latch,
    /// Nothing runs any more.
    pub(super) stopped: Latch,
    /// The session start limit as the gate counts it.
    pub(super) limit: Mutex<Option<SessionStartLimit>>,
    /// What its shards collect of members.
    pub(super) collected: Arc<CollectedBytes>,
    /// Where the endpoint listens.
    pub(super) metrics_address: Mutex<Option<SocketAddr>>,
    /// What its shards take the time of.
    timings: Timings,
    /// When it was made.
    made_at: Instant,
}

/// Where a client stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Made.
    New,
    /// Started, and `/gateway/bot` has not answered.
    Starting {
        /// What everything runs on.
        runtime: Handle,
        /// Commands for shards that are not there yet.
        held: Vec<Held>,
    },
    /// Has shards.
    Running {
        /// What everything runs on.
        runtime: Handle,
        /// The shards.
        fleet: Fleet,
        /// While the bot is resharded: the new set, and from the switch on the old one.
        other: Option<Fleet>,
    },
    /// Stops or has stopped.
    Stopped {
        /// The shards it had, for its status.
        fleet: Option<Fleet>,
    },
}

/// A command that waits until there are shards.
#[derive(Debug)]
pub(super) struct Held {
    id: u64,
    command: Command,
    /// As the host wrote it, if it may have to go to another process.
    text: Option<Box<str>>,
}

impl Stage {
    /// The shards, if there are or were any.
    pub(super) fn fleet(&self) -> Option<&Fleet> {
        match self {
            Self::Running { fleet, .. } => Some(fleet),
            Self::Stopped { fleet } => fleet.as_ref(),
            Self::New | Self::Starting { .. } => None,
        }
    }

    /// Both sets of shards, while the bot is resharded.
    pub(super) fn fleets(&self) -> impl Iterator<Item = &Fleet> {
        let other = match self {
            Self::Running { other, .. } => other.as_ref(),
            _ => None,
        };
        self.fleet().into_iter().chain(other)
    }

    /// Its name in the status.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// What has come of the shards so far.
#[derive(Debug, Default)]
struct Progress {
    /// Shards that were ready once.
    ready: BTreeSet<u32>,
    /// Why shards, or with [`NO_SHARD`] the client, are refused for good.
    fatal: BTreeMap<u32, String>,
}

impl Progress {
    /// Why it will not be complete, unless a person changes something.
    fn refusal(&self) -> Option<Error> {
        self.fatal.values().next().map(|reason| Error::new(ErrorKind::Fatal, reason.clone()))
    }
}

impl Shared {
    /// A client that does nothing yet.
    pub(super) fn new(config: Config, network: Arc<dyn Network>) -> Result<Self, Error> {
        let dialer = Dialer::new(&config, network)?;
        let io = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot make a file descriptor: {error}"))
        };
        let (reshards, reshard_requests) = mpsc::unbounded_channel();
        let (returns, returned) = mpsc::unbounded_channel();
        let queue = Arc::new(EventQueue::new(&config.queue).map_err(io)?);
        let post = Post::new(&config)?;
        let store = Store::new(&config)?;
        Ok(Self {
            rest: Rest::new(&config, dialer.clone()),
            dialer,
            keeper: Keeper::new(&config, || post.as_ref().map(Post::sessions))?,
            leases: post.as_ref().map(|_| Leases::new(&config)),
            standby: Standby::new(&config, &queue),
            notes: Mutex::default(),
            records: store.as_ref().map(|_| Records::new(post.as_ref().map(Post::worker))),
            store,
            post,
            config,
            replies: Replies::new(Arc::clone(&queue), returns),
            returned: Mutex::new(Some(returned)),
            queue,
            reshards,
            reshard_requests: Mutex::new(Some(reshard_requests)),
            stage: RwLock::new(Stage::New),
            stop: watch::Sender::new(None),
            tasks: Mutex::default(),
            progress: Mutex::default(),
            decided: Latch::new().map_err(io)?,
            stopped: Latch::new().map_err(io)?,
            limit: Mutex::default(),
            collected: Arc::default(),
            metrics_address: Mutex::default(),
            timings: Timings::new(),
            made_at: Instant::now(),
        })
    }

    // -- commands -----------------------------------------------------------------------------

    /// Routes a command, or holds it until there are shards.
    pub(super) fn accept(self: &Arc<Self>, command: Command, text: &str) -> Result<u64, Error> {
        let needs_shards = !matches!(
            command,
            Command::Rest(_)
                | Command::GatewayInfo
                | Command::Backplane(_)
                | Command::Reshard { .. }
                | Command::Store(_)
        );
        match command {
            Command::Backplane(_) if self.post.is_none() => return Err(post::missing()),
            Command::Store(_) if self.store.is_none() => return Err(store::missing()),
            _ => {}
        }
        let stage = self.stage();
        match &*stage {
            Stage::New => Err(Error::new(ErrorKind::State, "start the client first")),
            Stage::Stopped { .. } => Err(Error::new(ErrorKind::Closed, "the client has stopped")),
            Stage::Starting { runtime, .. } | Stage::Running { runtime, .. } if !needs_shards => {
                let id = self.replies.open()?;
                self.spawn(runtime, id, command);
                Ok(id)
            }
            // Known at once, if it is only that no shard is there yet.
            stage if matches!(command, Command::Guilds(_) | Command::GuildStats) => {
                let fleet = stage.fleet();
                fleet.map_or(Ok(()), |fleet| fleet.check(&command))?;
                let id = self.replies.open()?;
                self.replies.finish(id, 0, guilds::answer(fleet, &command));
                Ok(id)
            }
            Stage::Running { runtime, fleet, .. } => {
                if let Err(error) = fleet.check(&command) {
                    let Some(forward) = self.plan_forward(&command, text, fleet) else {
                        return Err(error);
                    };
                    let id = self.replies.open()?;
                    self.spawn_forward(runtime, id, forward);
                    return Ok(id);
                }
                let id = self.replies.open()?;
                fleet.dispatch(id, command, &self.replies);
                Ok(id)
            }
            Stage::Starting { .. } => {
                drop(stage);
                self.hold(command, text)
            }
        }
    }

    /// Keeps a command until there are shards, unless they have come just now.
    fn hold(self: &Arc<Self>, command: Command, text: &str) -> Result<u64, Error> {
        let mut stage = self.stage_mut();
        let Stage::Starting { held, .. } = &mut *stage else {
            drop(stage);
            return self.accept(command, text);
        };
        if let Some(error) = lock(&self.progress).refusal() {
            return Err(error);
        }
        let id = self.replies.open()?;
        let text = self.post.is_some().then(|| text.into());
        held.push(Held { id, command, text });
        Ok(id)
    }

    /// How a command for shards that are not here gets to them, if there is a way.
    fn plan_forward(&self, command: &Command, text: &str, fleet: &Fleet) -> Option<Forward> {
        self.post.as_ref()?;
        Forward::plan(command, text, fleet.total)
    }

    /// Sends a command to other processes.
    fn spawn_forward(self: &Arc<Self>, runtime: &Handle, id: u64, forward: Forward) {
        let shared = Arc::clone(self);
        self.spawn_work(runtime, id, async move {
            let result = forward::carry_out(&shared, &forward).await;
            match result {
                Ok((status, data)) => shared.replies.finish(id, status, data),
                Err(error) => shared.replies.fail(id, &error),
            }
        });
    }

    /// Runs a command that takes a while in a task of its own.
    pub(super) fn spawn(self: &Arc<Self>, runtime: &Handle, id: u64, command: Command) {
        let shared = Arc::clone(self);
        self.spawn_work(runtime, id, async move {
            let result = match command {
                Command::Rest(request) => {
                    let response = shared.rest.request(*request).await;
                    response.map(|response| (i32::from(response.status), response.body))
                }
                Command::Backplane(request) => match &shared.post {
                    Some(post) => post.carry_out(*request, &shared).await,
                    None => Err(post::missing()),
                },
                Command::Store(request) => match &shared.store {
                    Some(store) => {
                        let reply = store.run(&request).await;
                        reply.map(|(status, data)| (status, data.into()))
                    }
                    None => Err(store::missing()),
                },
                Command::Reshard { target } => {
                    // The reply comes when it is done.
                    if let Err(error) = shared.request_reshard(Some(id), target).await {
                        shared.replies.fail(id, &error);
                    }
                    return;
                }
                _ => startup::ask(&shared.rest).await.map(|response| (0, response.body)),
            };
            match result {
                Ok((status, body)) => shared.replies.finish(id, status, body),
                Err(error) => shared.replies.fail(id, &error),
            }
        });
    }

    /// Runs a command's work in a task, which can be cancelled.
    fn spawn_work(
        self: &Arc<Self>,
        runtime: &Handle,
        id: u64,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        let work = async move {
            let _answer = InCaseOfPanic(|| {
                let text = "the command met a bug in the engine; see the log";
                shared.replies.fail(id, &Error::new(ErrorKind::Panic, text));
            });
            work.await;
        };
        let mut tasks = lock(&self.tasks);
        // Those that ended are forgotten here, so that the set holds what runs.
        while tasks.try_join_next().is_some() {}
        self.replies.attach(id, tasks.spawn_on(work, runtime));
    }

    // -- stages -------------------------------------------------------------------------------

    /// The shards are there: what was held for them goes to them.
    pub(super) fn set_running(self: &Arc<Self>, fleet: Fleet) {
        let mut stage = self.stage_mut();
        let (runtime, held) = match &mut *stage {
            Stage::Starting { runtime, held } => {
                let (runtime, held) = (runtime.clone(), std::mem::take(held));
                *stage = Stage::Running { runtime: runtime.clone(), fleet, other: None };
                (runtime, held)
            }
            _ => return,
        };
        if let Some(post) = &self.post {
            post.hurry();
        }
        let Some(fleet) = stage.fleet() else { return };
        for Held { id, command, text } in held {
            match fleet.check(&command) {
                Ok(()) => fleet.dispatch(id, command, &self.replies),
                Err(error) => {
                    let text = text.as_deref().unwrap_or_default();
                    match self.plan_forward(&command, text, fleet) {
                        Some(forward) => self.spawn_forward(&runtime, id, forward),
                        None => self.replies.fail(id, &error),
                    }
                }
            }
        }
        // Fast ones may be ready already.
        if self.is_complete(fleet, lock(&self.progress).ready.len()) {
            self.complete();
        }
    }

    /// Whether all shards are here that should be, and so many of them ready is all of them.
    pub(super) fn is_complete(&self, fleet: &Fleet, ready: usize) -> bool {
        let running = fleet.running().count();
        running == ready && self.shared_leases().is_none_or(|leases| leases.is_share(running))
    }

    /// The share of all shards changed: those that are ready may be enough.
    pub(super) fn look_complete(&self) {
        let stage = self.stage();
        let ready = lock(&self.progress).ready.len();
        if matches!(*stage, Stage::Running { .. })
            && stage.fleet().is_some_and(|fleet| self.is_complete(fleet, ready))
        {
            self.complete();
        }
    }

    /// A shard is ready; how many have been.
    pub(super) fn note_ready(&self, shard_id: u32) -> usize {
        let mut progress = lock(&self.progress);
        progress.ready.insert(shard_id);
        progress.fatal.remove(&shard_id);
        progress.ready.len()
    }

    /// A shard begins anew, or is here no longer.
    pub(super) fn unready_again(&self, shard_id: u32) {
        let mut progress = lock(&self.progress);
        progress.ready.remove(&shard_id);
        progress.fatal.remove(&shard_id);
    }

    /// Refuses the client, unless it was refused before.
    pub(super) fn refuse_once(&self, reason: &str) {
        if !lock(&self.progress).fatal.contains_key(&NO_SHARD) {
            self.refuse(NO_SHARD, reason, None);
        }
    }

    /// Every shard is ready.
    pub(super) fn complete(&self) {
        if let Some(leases) = &self.leases {
            leases.note_complete();
        }
        self.decided.set();
        if let Some(post) = &self.post {
            // Somebody may wait for that, to restart the next worker.
            post.hurry();
        }
        if let Some(records) = &self.records {
            records.ready();
        }
    }

    /// The new set of shards takes over, and the old one is on its way out. Tells the host.
    pub(super) fn switch_fleets(&self) {
        let mut stage = self.stage_mut();
        let Stage::Running { fleet, other: Some(other), .. } = &mut *stage else { return };
        std::mem::swap(fleet, other);
        let (from, to) = (other.total, fleet.total);
        let mut progress = lock(&self.progress);
        *progress = Progress::default();
        for (shard_id, member) in &fleet.members {
            let state = member.status.get().state;
            if state == ShardState::Ready {
                progress.ready.insert(*shard_id);
            }
            let reason = format!("resharded from {from} to {to}");
            self.say(*shard_id, ShardState::Idle, state, reason);
        }
        if let Some(post) = &self.post {
            post.hurry();
        }
        if let Some(records) = &self.records {
            records.switched();
        }
    }

    /// Launches the other set of shards. Nobody looks for it meanwhile: the first of them may be at the gate
    /// before the last is launched, and what the gate says to a shard that is not found would be lost.
    pub(super) fn launch_other(&self, launch: impl FnOnce() -> Fleet) {
        if let Stage::Running { other, .. } = &mut *self.stage_mut() {
            *other = Some(launch());
        }
    }

    /// Forgets the other set of shards.
    pub(super) fn forget_other(&self) {
        if let Stage::Running { other, .. } = &mut *self.stage_mut() {
            *other = None;
        }
    }

    /// There will be no shards: what was held for them fails.
    pub(super) fn set_refused(&self) {
        let Stage::Starting { held, .. } = &mut *self.stage_mut() else { return };
        let Some(error) = lock(&self.progress).refusal() else { return };
        for Held { id, .. } in held.drain(..) {
            self.replies.fail(id, &error);
        }
    }

    /// No commands any more; the shards are still on their way out.
    pub(super) fn set_stopped(&self) {
        let mut stage = self.stage_mut();
        let before = std::mem::replace(&mut *stage, Stage::Stopped { fleet: None });
        *stage = match before {
            Stage::Running { fleet, .. } => Stage::Stopped { fleet: Some(fleet) },
            Stage::Stopped { fleet } => Stage::Stopped { fleet },
            Stage::New | Stage::Starting { .. } => Stage::Stopped { fleet: None },
        };
    }

    /// The tasks of commands and the endpoint, to be ended.
    pub(super) fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *lock(&self.tasks))
    }

    /// Nothing runs any more: open commands are answered and the stream of events ends.
    pub(super) fn end(&self) {
        self.set_stopped();
        self.replies.close();
        self.queue.close();
        self.decided.set();
        self.stopped.set();
    }

    // -- what is told -------------------------------------------------------------------------

    /// Tells of a change of state that a shard cannot tell of itself; with [`NO_SHARD`], of something
    /// that holds up all of them.
    pub(super) fn say(&self, shard_id: u32, from: ShardState, to: ShardState, reason: String) {
        let reason = reason.into();
        let change = StateChange { from, to, reason, close_code: None, lost: None };
        self.queue.push_own(driver::state_event(shard_id, &change));
    }

    /// Tells that a shard, or with [`NO_SHARD`] the client, is refused for good.
    pub(super) fn refuse(&self, shard_id: u32, reason: &str, close_code: Option<u16>) {
        let text = if shard_id == NO_SHARD {
            reason.to_owned()
        } else {
            format!("shard {shard_id}: {reason}")
        };
        tracing::error!("{text}");
        let shard = Some(shard_id).filter(|id| *id != NO_SHARD);
        self.record_news(Kind::Fatal, shard, reason, close_code);
        lock(&self.progress).fatal.insert(shard_id, text);
        let data = json!({"reason": reason, "close_code": close_code}).to_string();
        let mut event = Event::new(EventKind::Fatal, "", data.as_bytes());
        event.shard_id = shard_id;
        event.status = ErrorKind::Fatal.status();
        self.queue.push_own(event);
        self.decided.set();
    }

    /// Which shards are not ready, for people.
    pub(super) fn unready(&self) -> String {
        const SHOWN: usize = 10;
        let stage = self.stage();
        let Some(fleet) = stage.fleet() else {
            return "/gateway/bot has not answered yet; see the SHARD_STATE events".to_owned();
        };
        let ready = lock(&self.progress).ready.clone();
        let missing: Vec<String> = fleet
            .running()
            .filter(|(shard_id, _)| !ready.contains(shard_id))
            .map(|(shard_id, member)| format!("{shard_id} ({})", member.status.get().state))
            .collect();
        let more = if missing.len() > SHOWN { ", …" } else { "" };
        let shown = missing[..missing.len().min(SHOWN)].join(", ");
        let running = fleet.running().count();
        if self.shared_leases().is_some_and(|leases| !leases.is_share(running)) {
            return format!(
                "this client has {running} shards, which is less than its share, and {} of them have \
                 not been ready",
                missing.len()
            );
        }
        format!(
            "{} of {} shards have not been ready: {shown}{more}",
            missing.len(),
            fleet.members.len()
        )
    }

    /// What came of the start, once that is decided.
    pub(super) fn verdict(&self) -> Result<(), Error> {
        let stage = self.stage();
        let progress = lock(&self.progress);
        if let Some(error) = progress.refusal() {
            return Err(error);
        }
        let ready = progress.ready.len();
        // Leased shards come and go; that they were there once is what was asked for.
        let was_complete = self.shared_leases().is_some_and(Leases::was_complete);
        let is_complete = |fleet| self.is_complete(fleet, ready);
        let complete = was_complete || stage.fleet().is_some_and(is_complete);
        drop(progress);
        match *stage {
            _ if complete => Ok(()),
            Stage::Stopped { .. } => {
                Err(Error::new(ErrorKind::Closed, "the client stopped before it was ready"))
            }
            // A shard was refused and has been restarted since.
            _ => {
                drop(stage);
                Err(Error::new(ErrorKind::Timeout, self.unready()))
            }
        }
    }

    /// Time since it was made.
    pub(super) fn age(&self) -> Duration {
        self.made_at.elapsed()
    }

    /// How it is doing.
    pub(super) fn overview(&self) -> Overview {
        let now = Instant::now();
        let stage = self.stage();
        let (fatal, is_refused) = {
            let fatal = &lock(&self.progress).fatal;
            (fatal.values().next().cloned(), fatal.contains_key(&NO_SHARD))
        };
        let members = stage.fleet().into_iter().flat_map(Fleet::running);
        let held = stage.fleet().map_or(0, |fleet| fleet.running().count());
        let refused = self.queue.refused_total();
        Overview {
            leases: self.shared_leases().map(|leases| leases.overview(held, refused)),
            now: now.into_std(),
            stage: self.stage_name(&stage),
            uptime: now - self.made_at,
            metrics_address: *lock(&self.metrics_address),
            shard_total: stage.fleet().map(|fleet| fleet.total.get()),
            shards: members.map(|(id, member)| (*id, member.status.get())).collect(),
            fatal,
            is_refused,
            sessions_error: self.keeper.as_ref().and_then(Keeper::trouble),
            worker: self.post.as_ref().map(|post| post.worker().to_owned()),
            backplane_error: self.post.as_ref().and_then(Post::trouble),
            store_error: self.store.as_ref().and_then(Store::trouble),
            backplane: self.post.as_ref().map(Post::overview),
            store: self.store.as_ref().map(|store| StoreOverview {
                is_up: store.trouble().is_none(),
                used: store.used(),
            }),
            limit: *lock(&self.limit),
            budget_reserve: self.config.budget_reserve,
            queue: QueueOverview {
                config: self.config.queue,
                events: self.queue.len(),
                events_of_shard: self.queue.events_of_shard(),
                bytes: self.queue.bytes(),
                dropped: self.queue.dropped_total(),
                mail_dropped: self.queue.mail_dropped_total(),
                commands_in_flight: self.queue.replies_owed(),
            },
            heartbeat_latency: self.timings.of(Measure::HeartbeatLatency).get(),
            identify_wait: self.timings.of(Measure::IdentifyWait).get(),
            outbound_wait: self.timings.of(Measure::OutboundWait).get(),
            rest: self.rest.clone(),
        }
    }

    // -- locks --------------------------------------------------------------------------------
    // A panic of another thread does not spoil what they protect: every change is complete in itself.

    /// Where the client stands.
    pub(super) fn stage(&self) -> RwLockReadGuard<'_, Stage> {
        self.stage.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change it.
    pub(super) fn stage_mut(&self) -> RwLockWriteGuard<'_, Stage> {
        self.stage.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner for Shared {
    fn settled(&self, shard_id: u32, command_id: u64, outcome: Outcome) {
        self.replies.settle(command_id, shard_id, outcome);
    }

    fn collected(&self, command_id: u64, members: Result<Bytes, Error>) {
        match members {
            Ok(members) => self.replies.finish(command_id, 0, members),
            Err(error) => self.replies.fail(command_id, &error),
        }
    }

    fn changed(&self, shard_id: u32, change: &StateChange) {
        if let Some(records) = &self.records {
            records.changed(shard_id, change);
        }
        if let Some(post) = &self.post {
            post.hurry();
        }
        match change.to {
            ShardState::Ready => {
                if let Some(keeper) = &self.keeper {
                    keeper.hurry();
                }
                let ready = self.note_ready(shard_id);
                let stage = self.stage();
                if stage.fleet().is_some_and(|fleet| self.is_complete(fleet, ready)) {
                    self.complete();
                }
            }
            ShardState::Fatal
                if self.config.reshard == config::Reshard::Auto
                    && change
                        .close_code
                        .is_some_and(|code| CloseCode(code).is_about_sharding()) =>
            {
                let reason =
                    format!("shard {shard_id}: {}; looking for another number", change.reason);
                tracing::warn!("{reason}");
                self.say(NO_SHARD, change.from, ShardState::Disconnected, reason);
                let _ = self.reshards.send(reshard::Request::Rescue);
            }
            ShardState::Fatal => self.refuse(shard_id, &change.reason, change.close_code),
            _ => {}
        }
    }

    fn missed_guilds(&self, shard_id: u32, missing: usize) {
        let text = format!("{missing} guilds that READY listed have not come");
        self.record_news(Kind::GuildsMissing, Some(shard_id), text, None);
    }

    fn measured(&self, measure: Measure, took: Duration) {
        self.timings.of(measure).add(took);
    }
}

/// Does something when it is dropped by a panic.
pub(super) struct InCaseOfPanic<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for InCaseOfPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0();
        }
    }
}

/// A mutex, whatever happened to others who held it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
