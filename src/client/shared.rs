//! What the tasks of a client and its host share, and what the host's threads do with it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fleet::Fleet;
use super::keeper::Keeper;
use super::latch::Latch;
use super::leases::Leases;
use super::post::Post;
use super::records::{Kind, Records};
use super::replies::{Replies, Return};
use super::reshard;
use super::stage::{Progress, Stage};
use super::standby::{NoteTaking, Standby};
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
use crate::store::Store;
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
    pub(super) stage: RwLock<Stage>,
    /// How to stop, once that is wanted.
    pub(super) stop: watch::Sender<Option<StopMode>>,
    /// Tasks of commands that take a while, and that of the endpoint.
    pub(super) tasks: Mutex<JoinSet<()>>,
    /// What has come of the shards so far.
    pub(super) progress: Mutex<Progress>,
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
