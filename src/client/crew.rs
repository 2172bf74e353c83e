//! The tasks that the shards of a client run in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

use super::fleet::{Fleet, Member};
use super::shared::Shared;
use super::startup::Plan;
use crate::identify::line::Line;
use crate::protocol::Identify;
use crate::queue::Lease;
use crate::sessions::TakenFile;
use crate::shard::detour::Detour;
use crate::shard::driver::{self, Owner, Surroundings};
use crate::shard::overlap::{Overlap, Side};
use crate::shard::status::{ShardStatus, Snapshot};
use crate::shard::{GuildIndex, Session, Settings};

/// The rest after a bug, so that one that strikes at once does not make a busy loop.
const REST_AFTER_DEATH: Duration = Duration::from_secs(2);

/// Everything needed to run shards, and those that run.
pub(super) struct Crew {
    shared: Arc<Shared>,
    plan: Plan,
    line: Line,
    /// Tells this set of shards from another one.
    set: u8,
    /// What events pass through while another set of shards runs.
    detour: Option<Detour>,
    /// How far the host has come, for `at_most_once`.
    taken: Option<TakenFile>,
    /// Names of the dispatches that the host gets, sorted.
    events: Option<Arc<[Vec<u8>]>>,
    tasks: JoinSet<()>,
    shard_of_task: HashMap<Id, u32>,
}

impl Crew {
    /// Nobody runs yet.
    pub(super) fn new(
        shared: Arc<Shared>,
        plan: Plan,
        line: Line,
        taken: Option<TakenFile>,
    ) -> Self {
        let events = shared.config.events.as_ref().map(|names| {
            let mut names: Vec<_> = names.iter().map(|name| name.clone().into_bytes()).collect();
            names.sort_unstable();
            names.into()
        });
        let detour = shared.standby.as_ref().map(|standby| Detour::Hold(standby.hold()));
        Self {
            shared,
            plan,
            line,
            set: 0,
            detour,
            taken,
            events,
            tasks: JoinSet::new(),
            shard_of_task: HashMap::new(),
        }
    }

    /// The crew of the set that is to take over from this one.
    pub(super) fn successor(
        &mut self,
        plan: Plan,
        taken: Option<TakenFile>,
        overlap: &Arc<Overlap>,
    ) -> Self {
        self.detour = Some(Detour::Overlap(Arc::clone(overlap), Side::Old));
        let set = self.set.wrapping_add(1);
        let next = Self::new(Arc::clone(&self.shared), plan, self.line.of_set(set), taken);
        let detour = Some(Detour::Overlap(Arc::clone(overlap), Side::New));
        Self { set, detour, ..next }
    }

    /// The other set is gone.
    pub(super) fn stand_alone(&mut self) {
        self.detour = None;
    }

    /// Starts all shards of the plan, with the sessions there are for them and the presence that the host
    /// gave by a command.
    pub(super) fn launch_all(
        &mut self,
        mut sessions: BTreeMap<u32, (Session, Arc<GuildIndex>)>,
        presence: Option<&RawValue>,
    ) -> Fleet {
        let ids = self.plan.ids.clone();
        let launch = |id| {
            let (session, guilds) = sessions.remove(&id).unzip();
            let presence = presence.map(ToOwned::to_owned);
            let (guilds, status) = (guilds.unwrap_or_default(), Arc::new(ShardStatus::new()));
            (id, self.launch(id, session, presence, guilds, status, Duration::ZERO, None))
        };
        let members = ids.into_iter().map(launch).collect();
        Fleet { set: self.set, total: self.plan.total, members, last_presence: None }
    }

    /// Starts a shard for as long as its lease lasts, with the session there is for it and the presence that
    /// the host gave by a command.
    pub(super) fn launch_leased(
        &mut self,
        shard_id: u32,
        lease: Arc<Lease>,
        known: Option<(Session, Arc<GuildIndex>)>,
        presence: Option<Box<RawValue>>,
    ) -> Member {
        let (session, guilds) = known.unzip();
        let (guilds, status) = (guilds.unwrap_or_default(), Arc::new(ShardStatus::new()));
        self.launch(shard_id, session, presence, guilds, status, Duration::ZERO, Some(lease))
    }

    /// Whether nobody runs.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts a shard again after its task died; with its session, and the presence that the host
    /// gave it, if it had them, and its guilds.
    pub(super) fn relaunch(
        &mut self,
        shard_id: u32,
        last: Option<Snapshot>,
        guilds: Arc<GuildIndex>,
        lease: Option<Arc<Lease>>,
    ) -> Member {
        let status = Arc::new(last.as_ref().map_or_else(ShardStatus::new, ShardStatus::after));
        let (session, presence) = last.map_or((None, None), |last| (last.session, last.presence));
        self.launch(shard_id, session, presence, guilds, status, REST_AFTER_DEATH, lease)
    }

    /// Waits for the next shard that dies of a bug; `None` once all have ended as they should.
    pub(super) async fn next_death(&mut self) -> Option<u32> {
        loop {
            match self.tasks.join_next_with_id().await? {
                Ok((task, ())) => {
                    self.shard_of_task.remove(&task);
                }
                Err(error) => {
                    let shard_id = self.shard_of_task.remove(&error.id());
                    if error.is_panic() && shard_id.is_some() {
                        return shard_id;
                    }
                }
            }
        }
    }

    /// Drops all shards where they stand.
    pub(super) async fn abort(mut self) {
        self.tasks.shutdown().await;
    }

    /// Starts a shard.
    #[allow(clippy::too_many_arguments, reason = "all that its beginnings differ in")]
    fn launch(
        &mut self,
        shard_id: u32,
        session: Option<Session>,
        presence: Option<Box<RawValue>>,
        guilds: Arc<GuildIndex>,
        status: Arc<ShardStatus>,
        rest: Duration,
        lease: Option<Arc<Lease>>,
    ) -> Member {
        let (mailbox, mail) = mpsc::unbounded_channel();
        let mut settings = self.settings(shard_id);
        if presence.is_some() {
            settings.presence.clone_from(&presence);
            status.update(|status| status.presence = presence);
        }
        let keeper = self.shared.keeper.as_ref();
        let taken = self.taken.as_ref();
        let progress =
            keeper.map(|keeper| keeper.progress(taken, shard_id, session.as_ref(), lease.as_ref()));
        let surroundings = Surroundings {
            progress: progress.clone(),
            detour: self.detour.clone(),
            queue: Arc::clone(&self.shared.queue),
            line: self.line.clone(),
            dialer: self.shared.dialer.clone(),
            events: self.events.clone(),
            status: Arc::clone(&status),
            guilds: Arc::clone(&guilds),
            collected: Arc::clone(&self.shared.collected),
            owner: Arc::clone(&self.shared) as Arc<dyn Owner>,
        };
        let seed = fastrand::u64(..);
        let task = self.tasks.spawn(async move {
            sleep(rest).await;
            driver::run(settings, session, seed, mail, surroundings).await;
        });
        self.shard_of_task.insert(task.id(), shard_id);
        Member { mailbox, status, progress, guilds, lease, leaving: false }
    }

    /// What makes a shard this shard.
    fn settings(&self, shard_id: u32) -> Settings {
        let config = &self.shared.config;
        Settings {
            identify: Identify {
                token: config.token.clone(),
                intents: config.intents,
                properties: config.properties.clone(),
                large_threshold: config.large_threshold,
                shard_id,
                shard_total: self.plan.total.get(),
            },
            presence: config.presence.clone(),
            gateway: self.plan.gateway.clone(),
            compression: config.compression,
        }
    }
}
