//! Where a client stands, and how it gets there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::command::Command;
use super::fleet::Fleet;
use super::shared::{Shared, lock};
use crate::error::{Error, ErrorKind};
use crate::queue::NO_SHARD;
use crate::shard::ShardState;

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
    pub(super) id: u64,
    pub(super) command: Command,
    /// As the host wrote it, if it may have to go to another process.
    pub(super) text: Option<Box<str>>,
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
pub(super) struct Progress {
    /// Shards that were ready once.
    pub(super) ready: BTreeSet<u32>,
    /// Why shards, or with [`NO_SHARD`] the client, are refused for good.
    pub(super) fatal: BTreeMap<u32, String>,
}

impl Progress {
    /// Why it will not be complete, unless a person changes something.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.fatal.values().next().map(|reason| Error::new(ErrorKind::Fatal, reason.clone()))
    }
}

impl Shared {
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

    /// Where the client stands.
    pub(super) fn stage(&self) -> RwLockReadGuard<'_, Stage> {
        self.stage.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to change it.
    pub(super) fn stage_mut(&self) -> RwLockWriteGuard<'_, Stage> {
        self.stage.write().unwrap_or_else(PoisonError::into_inner)
    }
}
