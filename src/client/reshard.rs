//! Another number of shards while the bot runs: a new set of shards comes up behind the running one
//! and takes over, without a gap.
//!
//! The life of the client calls [`Reshard::step`] a few times a second; each step looks at both sets
//! and goes on when they are ready for it. What the host hears of the events of both is decided in
//! [`Overlap`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::fleet::{Fleet, Member};
use super::shared::{Shared, lock};
use super::startup::{self, GatewayInfo, Plan};
use crate::config::MAX_SHARDS;
use crate::error::{Error, ErrorKind};
use crate::queue::NO_SHARD;
use crate::shard::ShardState;
use crate::shard::driver::Mail;
use crate::shard::overlap::Overlap;

/// Time between two steps.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// Patience with the new set beyond what its identifies take.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Patience with guilds that READY listed and that are not sent.
const GUILDS_PATIENCE: Duration = Duration::from_secs(15);

/// Time between two heartbeats that are asked for.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Patience with shards that do not answer: they are found out and resume in that time.
const PROOF_PATIENCE: Duration = Duration::from_secs(300);

/// How long both sets deliver. The old one still sends what it was told to.
const DRAIN: Duration = Duration::from_secs(2);

/// Patience with commands that wait in the old set for their rate limit.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

/// How long Discord itself may take longer with an event for one session than for another.
const SETTLE: Duration = Duration::from_secs(5);

/// How many shards are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// So many.
    Shards(u32),
    /// What `/gateway/bot` recommends.
    Recommended,
    /// That, or more: what there is was refused.
    More,
}

/// What the life of the client is asked for.
#[derive(Debug)]
pub(super) enum Request {
    /// A reshard that can begin.
    Begin {
        /// The command to reply to, if it was one.
        command_id: Option<u64>,
        /// What the new set is started with.
        plan: Plan,
    },
    /// Discord refuses this number of shards; it is for the engine to find a better one.
    Rescue,
}

/// A reshard under way.
#[derive(Debug)]
pub(super) struct Reshard {
    command_id: Option<u64>,
    plan: Plan,
    from: u32,
    overlap: Arc<Overlap>,
    began: Instant,
    stage: Stage,
    stage_began: Instant,
    /// When heartbeats were asked for.
    asked_at: Option<Instant>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The old set learns of it.
    Joining,
    /// The new set identifies.
    Starting,
    /// All of the new set are ready; their guilds are coming.
    Filling,
    /// Both sets show that they are alive, and with that, that the old one has brought what was there
    /// before the new one came.
    Proving,
    /// The new set has taken over; the old one sends and delivers what it still has.
    Draining,
    /// The old set is gone.
    Settling,
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing to do yet.
    Wait,
    /// Start the new set.
    Launch,
    /// The new set is the one from now on.
    Switch,
    /// End the old set.
    Close,
    /// All is done.
    Done,
    /// It cannot be done: end the new set.
    Fail(Error),
}

impl Reshard {
    /// Begins: the shards of the running set are told.
    pub(super) fn begin(
        command_id: Option<u64>,
        plan: Plan,
        shared: &Shared,
        fleet: &Fleet,
    ) -> Self {
        let max_held_bytes = shared.config.queue.max_bytes;
        let overlap = Arc::new(Overlap::new(Arc::clone(&shared.queue), max_held_bytes));
        fleet.tell_all(|| Mail::Overlap(Arc::clone(&overlap)));
        let from = fleet.total.get();
        info!("resharding from {from} to {} shards", plan.total);
        let now = Instant::now();
        let stage = Stage::Joining;
        Self {
            command_id,
            plan,
            from,
            overlap,
            began: now,
            stage,
            stage_began: now,
            asked_at: None,
        }
    }

    /// Whether the new set has taken over.
    pub(super) fn has_switched(&self) -> bool {
        matches!(self.stage, Stage::Draining | Stage::Settling)
    }

    /// What the new set is started with.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What both sets have in common.
    pub(super) fn overlap(&self) -> &Arc<Overlap> {
        &self.overlap
    }

    /// Looks at both sets, `other` being the new one before the switch and the old one after it.
    pub(super) fn step(&mut self, fleet: &Fleet, other: Option<&Fleet>) -> Step {
        let age = self.stage_began.elapsed();
        match (self.stage, other) {
            (Stage::Joining, _) if self.overlap.joined() >= fleet.members.len() => {
                self.enter(Stage::Starting, Step::Launch)
            }
            (Stage::Starting | Stage::Filling, Some(new)) => self.look_at_new(new, age),
            (Stage::Proving, Some(new)) => self.look_for_proof(fleet, new),
            (Stage::Draining, Some(old)) => {
                let idle = old.members.values().all(|old| old.status.get().commands_held == 0);
                if age >= DRAIN && idle || age >= DRAIN_PATIENCE {
                    return self.enter(Stage::Settling, Step::Close);
                }
                Step::Wait
            }
            (Stage::Settling, _) => self.look_at_the_end(fleet, age),
            _ => Step::Wait,
        }
    }

    /// What of the new set shows that it cannot take over.
    fn hopeless(&self, new: &Fleet) -> Option<Error> {
        let mut shards = new.members.iter().map(|(id, new)| (*id, new.status.get()));
        let text = if let Some((id, shard)) = shards.find(|(_, it)| it.state == ShardState::Fatal) {
            let why = shard.last_error.unwrap_or_default();
            format!("shard {id} of {} was refused: {why}", self.plan.total)
        } else if self.overlap.is_over_bound() {
            "the running shards lag so far behind the new ones that `queue.max_bytes` is reached"
                .to_owned()
        } else {
            return None;
        };
        Some(Error::new(ErrorKind::State, text))
    }

    /// Before the switch.
    fn look_at_new(&mut self, new: &Fleet, age: Duration) -> Step {
        if let Some(error) = self.hopeless(new) {
            return Step::Fail(error);
        }
        let shards: Vec<_> = new.members.values().map(|new| new.status.get()).collect();
        let ready = shards.iter().filter(|it| it.state == ShardState::Ready).count();
        if ready < shards.len() {
            self.stage = Stage::Starting;
            if self.began.elapsed() > self.patience() {
                let (all, age_s) = (shards.len(), self.began.elapsed().as_secs());
                let text = format!("only {ready} of {all} new shards were ready in {age_s} s");
                return Step::Fail(Error::new(ErrorKind::State, text));
            }
            return Step::Wait;
        }
        if self.stage == Stage::Starting {
            return self.enter(Stage::Filling, Step::Wait);
        }
        let complete = shards.iter().all(|it| it.guilds_unavailable == 0);
        if complete || age >= GUILDS_PATIENCE {
            return self.enter(Stage::Proving, Step::Wait);
        }
        Step::Wait
    }

    /// Whether all of these have answered a heartbeat since this stage began; asks those that have not.
    /// With the answer has come all that Discord had sent by then, and it is in the queue unless that is full.
    fn have_answered<'a>(&mut self, members: impl Iterator<Item = &'a Member>) -> bool {
        let since = self.stage_began.into_std();
        let is_due = self.asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY);
        if is_due {
            self.asked_at = Some(Instant::now());
        }
        let mut all = true;
        for member in members {
            let shard = member.status.get();
            let has_answered = shard.acked_beat_at >= Some(since) && !shard.blocked;
            let has = shard.state == ShardState::Ready && has_answered;
            if !has && shard.state != ShardState::Fatal {
                all = false;
                if is_due {
                    // One that has gone answers nothing.
                    let _ = member.mailbox.send(Mail::Beat);
                }
            }
        }
        all
    }

    /// Between both sets being there and the switch.
    fn look_for_proof(&mut self, fleet: &Fleet, new: &Fleet) -> Step {
        if let Some(error) = self.hopeless(new) {
            return Step::Fail(error);
        }
        if self.have_answered(fleet.members.values().chain(new.members.values())) {
            return self.enter(Stage::Draining, Step::Switch);
        }
        if self.stage_began.elapsed() > PROOF_PATIENCE {
            let text = "not all shards answer their heartbeats, or the queue stays full".to_owned();
            return Step::Fail(Error::new(ErrorKind::State, text));
        }
        Step::Wait
    }

    /// After the end of the old set: until the new one has brought all that the old one delivered.
    fn look_at_the_end(&mut self, fleet: &Fleet, age: Duration) -> Step {
        let is_fatal = |new: &Member| new.status.get().state == ShardState::Fatal;
        // Then it was said, and there is nothing to wait for.
        let is_hopeless = fleet.members.values().any(is_fatal);
        if is_hopeless || age >= SETTLE && self.have_answered(fleet.members.values()) {
            return Step::Done;
        }
        Step::Wait
    }

    /// How long the new set may take.
    fn patience(&self) -> Duration {
        let windows = self.plan.total.get().div_ceil(self.plan.limit.max_concurrency.get());
        START_PATIENCE + Duration::from_secs(15) * windows
    }

    fn enter(&mut self, stage: Stage, step: Step) -> Step {
        (self.stage, self.stage_began, self.asked_at) = (stage, Instant::now(), None);
        step
    }

    /// Whether the running set is refused altogether: then there is nothing to wait for.
    pub(super) fn is_rescue(fleet: &Fleet) -> bool {
        fleet.members.values().all(|old| old.status.get().state == ShardState::Fatal)
    }

    /// The new set speaks from now on, without a look at it.
    pub(super) fn rescue(&mut self) {
        self.enter(Stage::Settling, Step::Wait);
    }

    /// All is done: says so.
    pub(super) fn succeed(self, shared: &Shared) {
        let twins = self.overlap.twins();
        self.overlap.end();
        let (from, to, took) = (self.from, self.plan.total.get(), self.began.elapsed());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        info!("resharded from {from} to {to} shards in {:.1} s", took.as_secs_f64());
        if let Some(id) = self.command_id {
            let data = json!({"from": from, "to": to, "took_ms": took_ms, "twins": twins});
            shared.replies.finish(id, 0, data.to_string());
        }
    }

    /// It cannot be done: the running set goes on, and somebody hears why.
    pub(super) fn fail(self, shared: &Shared, error: &Error) {
        self.overlap.abandon();
        let text = format!("resharding to {} shards failed: {error}", self.plan.total);
        warn!("{text}");
        match self.command_id {
            Some(id) => shared.replies.fail(id, &Error::new(error.kind(), text)),
            // Nobody asked but Discord, which refuses what there is.
            None => shared.refuse(NO_SHARD, &text, None),
        }
    }
}

impl Shared {
    /// Asks Discord and has the client reshard, to so many shards or to what Discord recommends.
    ///
    /// # Errors
    /// Says why it cannot be begun.
    pub(super) async fn request_reshard(
        &self,
        command_id: Option<u64>,
        target: Target,
    ) -> Result<(), Error> {
        let cannot = |text: String| Err(Error::new(ErrorKind::State, text));
        if self.shared_leases().is_some() {
            let text = "with leases all processes share one number of shards, and none of them can change \
                        it alone: stop them all, and start them with {\"lease\":true,\"total\":N}";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if self.stands_by() {
            return cannot("this client waits to take over with the shards that it has".to_owned());
        }
        let info = GatewayInfo::ask(&self.rest).await?;
        let (from, here) = match self.stage().fleet() {
            Some(fleet) => (fleet.total.get(), fleet.members.len()),
            None => return cannot("the client has no shards yet".to_owned()),
        };
        let to = match target {
            Target::Shards(shards) => shards,
            Target::Recommended => info.shards,
            // Discord has refused what it recommends.
            Target::More => info.shards.max(from.saturating_mul(2)),
        };
        if here < from as usize {
            return cannot(format!(
                "this client runs {here} of {from} shards; all of a bot are resharded together"
            ));
        }
        let Some(total) = NonZeroU32::new(to).filter(|total| total.get() <= MAX_SHARDS) else {
            let text = format!("`shards` is {to}; a client runs 1 to {MAX_SHARDS}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        if to == from {
            if let Some(id) = command_id {
                let data = json!({"from": from, "to": to, "took_ms": 0, "twins": 0});
                self.replies.finish(id, 0, data.to_string());
            }
            return Ok(());
        }
        let limit = lock(&self.limit).map_or(info.session_start_limit.remaining, |limit| {
            limit.remaining.min(info.session_start_limit.remaining)
        });
        let usable = limit.saturating_sub(self.config.budget_reserve);
        if usable < to {
            let hours = info.session_start_limit.reset_after as f64 / 3_600_000.0;
            return cannot(format!(
                "resharding to {to} takes {to} session starts; only {usable} may be used until the \
                 limit resets in {hours:.1} h"
            ));
        }
        let plan = startup::plan_of(&self.config, &info, total)?;
        // A client that stops takes no more requests, and answers all commands.
        let _ = self.reshards.send(Request::Begin { command_id, plan });
        Ok(())
    }
}
