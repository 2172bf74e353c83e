//! The life of a client, from start to stop: one task.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::crew::Crew;
use super::fleet::Fleet;
use super::leases::Order;
use super::records::Kind;
use super::reshard::{self, Request, Reshard, Step, Target};
use super::shared::{InCaseOfPanic, Shared, lock};
use super::stage::Stage;
use super::startup::{self, GatewayInfo, Plan};
use super::turns::{Notice, Turns};
use crate::config::WhenLow;
use crate::error::{Error, ErrorKind};
use crate::identify::line::{Admission, Desk, Said};
use crate::identify::{Claim, Gate, GateEvent, SessionStartLimit, line};
use crate::queue::NO_SHARD;
use crate::sessions::LastStart;
use crate::shard::driver::Mail;
use crate::shard::{ShardState, StopMode};

/// The longest first wait between two questions to `/gateway/bot` at the start.
const STARTUP_RETRY: Duration = Duration::from_secs(1);

/// The longest wait of all.
const STARTUP_RETRY_MAX: Duration = Duration::from_secs(60);

impl Shared {
    /// Everything from start to stop.
    pub(super) async fn live(self: Arc<Self>) {
        let _end = InCaseOfPanic(|| {
            self.refuse(NO_SHARD, "the client met a bug in the engine; see the log", None);
            drop(self.take_tasks());
            self.end();
        });
        if let Some(post) = &self.post {
            let hear = post.hear(Arc::downgrade(&self));
            let mut tasks = lock(&self.tasks);
            tasks.spawn(hear);
            tasks.spawn(Arc::clone(&self).stay_known());
            if let Some(returned) = lock(&self.returned).take() {
                tasks.spawn(Arc::clone(&self).send_replies(returned));
            }
        }
        let mut stop = self.stop.subscribe();
        self.mind_store();
        self.keep_records();
        let plan = tokio::select! {
            // First: a stop from before this task began would not be a change to those that look later.
            biased;
            _ = stop.wait_for(Option::is_some) => None,
            plan = self.prepare_shards() => plan,
        };
        if let Some(plan) = plan {
            self.run_shards(plan, &mut stop).await;
        } else {
            // Refused: the host sees why, and stops.
            self.set_refused();
            let _ = stop.wait_for(Option::is_some).await;
        }
        self.set_stopped();
        self.give_back().await;
        if let Some(post) = &self.post {
            post.close().await;
        }
        self.take_tasks().shutdown().await;
        if let Some(store) = &self.store {
            self.store_last_records().await;
            store.close().await;
        }
        self.end();
    }

    /// Keeps the store usable, for as long as the client lives.
    fn mind_store(self: &Arc<Self>) {
        if self.store.is_none() {
            return;
        }
        let shared = Arc::clone(self);
        lock(&self.tasks).spawn(async move {
            if let Some(store) = &shared.store {
                store.mind().await;
            }
        });
    }

    /// Plans the start, and sees that no other process has the same shards.
    async fn prepare_shards(&self) -> Option<Plan> {
        let plan = self.prepare().await?;
        if self.shared_leases().is_some() {
            return self.join(plan).await;
        }
        self.claim_shards(&plan).await.then_some(plan)
    }

    /// Plans the start: with what was kept, if that is enough to resume everything, else with what
    /// `/gateway/bot` says.
    async fn prepare(&self) -> Option<Plan> {
        let mut last = None;
        if let Some(keeper) = &self.keeper {
            keeper.open().await;
            let known = if self.stands_by() { None } else { keeper.last_start().await };
            if let Some((start, resumable)) = known {
                let is_shared = self.shared_leases().is_some();
                let is_enough = |plan: &Plan| {
                    let all =
                        if is_shared { (0..plan.total.get()).collect() } else { plan.ids.clone() };
                    plan.total.get() == start.shard_total
                        && all.iter().all(|id| resumable.contains(id))
                };
                let plan = startup::plan_without_info(&self.config, Some(&start));
                if let Some(plan) = plan.filter(is_enough) {
                    return Some(plan);
                }
                last = (!resumable.is_empty()).then_some(start);
            }
        }
        self.plan(last.as_ref()).await
    }

    /// Asks `/gateway/bot` until it answers; `None` when it refused the token. `last` is what the last
    /// process started with, if any session of it can be resumed.
    async fn plan(&self, last: Option<&LastStart>) -> Option<Plan> {
        let mut longest = STARTUP_RETRY;
        loop {
            let info = GatewayInfo::ask(&self.rest).await;
            let last_total = last.map(|last| last.shard_total);
            let error = match info.and_then(|info| startup::plan(&self.config, &info, last_total)) {
                Ok(plan) => return Some(plan),
                Err(error) if error.kind() == ErrorKind::Fatal => {
                    self.refuse(NO_SHARD, &error.to_string(), None);
                    return None;
                }
                Err(error) => error,
            };
            warn!("{error}");
            if let Some(plan) = startup::plan_without_info(&self.config, last) {
                warn!("going on with the gateway and the shards that are known");
                return Some(plan);
            }
            let reason = format!("{error}; asking again within {} s", longest.as_secs());
            self.say(NO_SHARD, ShardState::Idle, ShardState::Disconnected, reason);
            sleep(longest.mul_f64(fastrand::f64())).await;
            longest = (longest * 2).min(STARTUP_RETRY_MAX);
        }
    }

    /// Starts the shards and runs them until the client stops.
    async fn run_shards(
        self: &Arc<Self>,
        plan: Plan,
        stop: &mut watch::Receiver<Option<StopMode>>,
    ) {
        info!(gateway = %plan.gateway, total = plan.total, here = plan.ids.len(), "starting shards");
        let reserve = self.config.budget_reserve;
        let usable = plan.limit.remaining.saturating_sub(reserve);
        if (usable as usize) < plan.ids.len() {
            warn!(
                "{} shards are to start, but only {usable} session starts may be used before the \
                 limit resets; the rest will wait",
                plan.ids.len()
            );
        }
        let mut gate = Gate::new(plan.limit, reserve);
        let said = Said { remaining: plan.limit.remaining, at: Instant::now() };
        let mut said = plan.is_asked.then_some(said);
        let (mut taken, mut sessions) = (None, BTreeMap::new());
        if let Some(keeper) = &self.keeper {
            said = keeper.recall(&mut gate, plan.is_asked).await.or(said);
            if plan.is_asked {
                keeper.note_limit(plan.limit).await;
            }
            taken = keeper.open_taken(plan.total).await;
            // Those of leased shards come with their leases, and a set that is to take over begins anew.
            if self.shared_leases().is_none() && !self.stands_by() {
                sessions = keeper.load(&plan, taken.as_ref()).await;
            }
        }
        let desk = GateDesk { shared: Arc::downgrade(self), turns: Turns::new() };
        let (line, gatekeeper) = line::open(gate, plan.is_asked, said, desk);
        let (orders, ordered) = mpsc::unbounded_channel();
        let holding = if self.shared_leases().is_some() {
            let shared = Arc::clone(self);
            tokio::spawn(shared.hold_share(plan.clone(), taken.clone(), orders))
        } else {
            drop(orders);
            tokio::spawn(Arc::clone(self).stay_claimed())
        };
        let standing_by = tokio::spawn(Arc::clone(self).stand_by(plan.clone()));
        let mut crew = Crew::new(Arc::clone(self), plan, line, taken);
        self.set_running(crew.launch_all(sessions, None));
        let gatekeeper = tokio::spawn(gatekeeper);
        let storing = tokio::spawn(Arc::clone(self).keep_sessions());
        self.mind(crew, stop, ordered, holding.abort_handle()).await;
        gatekeeper.abort();
        storing.abort();
        standing_by.abort();
        holding.abort();
        let mode = stop.borrow().unwrap_or(StopMode::Abort);
        self.close_leases(mode).await;
        self.store_sessions().await;
        self.leave_notes().await;
    }

    /// Stores the sessions as they are now.
    pub(super) async fn store_sessions(&self) {
        let Some(keeper) = &self.keeper else { return };
        let show = |look: &mut dyn FnMut(&Fleet)| {
            if let Some(fleet) = self.stage().fleet() {
                look(fleet);
            }
        };
        keeper.store(show).await;
    }

    /// Minds the shards until the client stops.
    async fn mind(
        self: &Arc<Self>,
        mut crew: Crew,
        stop: &mut watch::Receiver<Option<StopMode>>,
        mut ordered: mpsc::UnboundedReceiver<Order>,
        holding: AbortHandle,
    ) {
        // A client that shares all shards may have none at the moment.
        let mut may_be_empty = self.shared_leases().is_some();
        let Some(mut requests) = lock(&self.reshard_requests).take() else { return };
        let mut reshard: Option<Reshard> = None;
        let mut other: Option<Crew> = None;
        let mut wants_rescue = false;
        loop {
            if wants_rescue && reshard.is_none() && other.is_none() {
                wants_rescue = false;
                tokio::spawn(Arc::clone(self).rescue());
            }
            tokio::select! {
                biased;
                _ = stop.changed() => {
                    let mode = stop.borrow_and_update().unwrap_or(StopMode::Abort);
                    // Nothing starts or goes elsewhere any more.
                    holding.abort();
                    ordered.close();
                    may_be_empty = false;
                    if let Stage::Running { other: Some(other), .. } = &*self.stage() {
                        other.tell_all(|| Mail::Stop(StopMode::Close));
                    }
                    self.set_stopped();
                    if let Some(fleet) = self.stage().fleet() {
                        fleet.tell_all(|| Mail::Stop(mode));
                    }
                    if mode == StopMode::Abort {
                        break;
                    }
                }
                Some(order) = ordered.recv() => {
                    if may_be_empty {
                        self.obey(order, &mut crew);
                    }
                }
                death = crew.next_death(), if !(may_be_empty && crew.is_empty()) => match death {
                    Some(shard_id) => self.relaunch(&mut crew, shard_id),
                    None if may_be_empty => {}
                    None => break,
                },
                death = death_of(&mut other) => match (death, reshard.take()) {
                    (Some(shard_id), Some(this)) if !this.has_switched() => {
                        let text = format!("shard {shard_id} of the new ones met a bug in the engine");
                        self.fail_reshard(this, &Error::new(ErrorKind::Panic, text));
                    }
                    (Some(shard_id), this) => {
                        error!(shard = shard_id, "the task of an old shard panicked; this is a bug in the engine");
                        self.replies.shard_died(shard_id);
                        reshard = this;
                    }
                    (None, this) => (other, reshard) = (None, this),
                },
                Some(request) = requests.recv() => {
                    let is_idle = reshard.is_none() && other.is_none();
                    reshard = match request {
                        Request::Begin { command_id, plan } if is_idle => {
                            let stage = self.stage();
                            stage.fleet().map(|fleet| {
                                let (from, to) = (fleet.total, plan.total);
                                let text = format!("resharding from {from} to {to} shards begins");
                                self.record_news(Kind::Reshard, None, text, None);
                                Reshard::begin(command_id, plan, self, fleet)
                            })
                        }
                        Request::Begin { command_id: Some(id), .. } => {
                            let text = "another reshard is under way; wait for its reply";
                            self.replies.fail(id, &Error::new(ErrorKind::State, text));
                            reshard
                        }
                        Request::Rescue => {
                            wants_rescue = true;
                            reshard
                        }
                        Request::Begin { .. } => reshard,
                    };
                }
                () = sleep(reshard::STEP), if reshard.is_some() => {
                    if let Some(this) = reshard.take() {
                        reshard = self.step(this, &mut crew, &mut other).await;
                    }
                }
            }
        }
        crew.abort().await;
        if let Some(other) = other {
            other.abort().await;
        }
    }

    /// Looks for a number of shards that Discord takes.
    async fn rescue(self: Arc<Self>) {
        if let Err(error) = self.request_reshard(None, Target::More).await {
            self.refuse(NO_SHARD, &format!("there is no resharding: {error}"), None);
        }
    }

    /// One step of a reshard.
    async fn step(
        &self,
        mut reshard: Reshard,
        crew: &mut Crew,
        other: &mut Option<Crew>,
    ) -> Option<Reshard> {
        let step = match &*self.stage() {
            Stage::Running { fleet, other, .. } => reshard.step(fleet, other.as_ref()),
            _ => return None,
        };
        match step {
            Step::Wait => {}
            Step::Launch => {
                let plan = reshard.plan().clone();
                let taken = match &self.keeper {
                    Some(keeper) => keeper.open_taken(plan.total).await,
                    None => None,
                };
                let (is_rescue, presence) = match self.stage().fleet() {
                    Some(fleet) => (Reshard::is_rescue(fleet), fleet.presence()),
                    None => return None,
                };
                if is_rescue {
                    reshard.overlap().switch();
                }
                let mut new = crew.successor(plan, taken, reshard.overlap());
                self.launch_other(|| new.launch_all(BTreeMap::new(), presence.as_deref()));
                *other = Some(new);
                if is_rescue {
                    reshard.rescue();
                    self.switch(&reshard, crew, other).await;
                    self.close_old(&reshard);
                }
            }
            Step::Switch => {
                // What the new set held goes first: nothing it brings later may overtake that.
                reshard.overlap().switch();
                self.switch(&reshard, crew, other).await;
            }
            Step::Close => self.close_old(&reshard),
            Step::Done => {
                crew.stand_alone();
                self.forget_other();
                let text = format!("resharded to {} shards", reshard.plan().total);
                self.record_news(Kind::Reshard, None, text, None);
                reshard.succeed(self);
                return None;
            }
            Step::Fail(error) => {
                crew.stand_alone();
                self.fail_reshard(reshard, &error);
                return None;
            }
        }
        Some(reshard)
    }

    /// The new set takes over.
    async fn switch(&self, reshard: &Reshard, crew: &mut Crew, other: &mut Option<Crew>) {
        if let Some(new) = other {
            std::mem::swap(crew, new);
        }
        self.switch_fleets();
        if let Stage::Running { fleet, other: Some(old), .. } = &*self.stage() {
            fleet.take_presence_of(old);
        }
        if let Some(keeper) = &self.keeper {
            keeper.reshard(reshard.plan()).await;
        }
    }

    /// The old set ends.
    fn close_old(&self, reshard: &Reshard) {
        if let Stage::Running { other: Some(old), .. } = &*self.stage() {
            old.tell_all(|| Mail::Stop(StopMode::Close));
        }
        reshard.overlap().settle();
    }

    /// The new set ends, and the running one goes on.
    fn fail_reshard(&self, reshard: Reshard, error: &Error) {
        if let Stage::Running { other: Some(new), .. } = &*self.stage() {
            new.tell_all(|| Mail::Stop(StopMode::Close));
        }
        self.forget_other();
        let text = format!("resharding to {} shards was given up: {error}", reshard.plan().total);
        self.record_news(Kind::Reshard, None, text, None);
        reshard.fail(self, error);
    }

    /// Stores the sessions while there are any to store.
    async fn keep_sessions(self: Arc<Self>) {
        let Some(keeper) = &self.keeper else { return };
        keeper
            .run(|look| {
                if let Some(fleet) = self.stage().fleet() {
                    look(fleet);
                }
            })
            .await;
    }

    /// Stores the sessions once more, as they are now.
    pub(super) fn save_sessions(&self) {
        if let (Some(keeper), Some(fleet)) = (&self.keeper, self.stage().fleet()) {
            keeper.save(fleet);
        }
    }

    /// A shard's task died of a bug: the host is told, its commands are answered, and it starts
    /// again where it was.
    fn relaunch(&self, crew: &mut Crew, shard_id: u32) {
        error!(shard = shard_id, "its task panicked; this is a bug in the engine");
        // Locked, so that no command goes to the dead shard between its funeral and its successor.
        let mut stage = self.stage_mut();
        self.replies.shard_died(shard_id);
        self.void_notes();
        let Stage::Running { fleet, .. } = &mut *stage else { return };
        let dead = fleet.members.get(&shard_id);
        let last = dead.map(|member| member.status.get());
        let guilds = dead.map(|member| Arc::clone(&member.guilds)).unwrap_or_default();
        let lease = dead.and_then(|member| member.lease.clone());
        if let Some(member) = dead.filter(|member| member.leaving) {
            // It was to stop, and has.
            member.status.update(|status| status.state = ShardState::Stopped);
            return;
        }
        let state = last.as_ref().map_or(ShardState::Idle, |last| last.state);
        let member = crew.relaunch(shard_id, last, guilds, lease);
        fleet.members.insert(shard_id, member);
        drop(stage);
        let reason = format!("shard {shard_id} met a bug in the engine and is started anew");
        self.record_news(Kind::Bug, Some(shard_id), "a bug in the engine; started anew", None);
        self.say(shard_id, state, ShardState::Disconnected, reason);
    }

    /// Hands on what the identify gate says.
    async fn gate_says(&self, event: GateEvent) {
        if let (GateEvent::Granted { shard_id, .. }, Some(keeper)) = (event, &self.keeper) {
            keeper.note_identify(line::shard_of_seat(shard_id).1).await;
        }
        let (shard_id, mail) = match event {
            GateEvent::Near { shard_id, ticket } => (shard_id, Mail::GateNear { ticket }),
            GateEvent::Granted { shard_id, ticket } => (shard_id, Mail::GateGranted { ticket }),
            GateEvent::Exhausted { remaining, until } => {
                let wait_s = until.saturating_duration_since(Instant::now().into_std()).as_secs();
                let reason = format!(
                    "only {remaining} session starts are left of today's and they are kept in \
                     reserve; nobody identifies for the next {wait_s} s, when the limit resets"
                );
                if self.config.when_low == WhenLow::Refuse {
                    self.refuse(NO_SHARD, &reason, None);
                    return;
                }
                warn!("{reason}");
                self.record_news(Kind::Budget, None, reason.as_str(), None);
                self.say(NO_SHARD, ShardState::Queued, ShardState::Queued, reason);
                return;
            }
            GateEvent::Slowed { unanswered, window } => {
                let reason = format!(
                    "{unanswered} identifies in a row did not lead to READY; to spare the session start \
                     limit, the next ones go out {} s apart",
                    window.as_secs()
                );
                warn!("{reason}");
                self.record_news(Kind::Slowed, None, reason.as_str(), None);
                self.say(NO_SHARD, ShardState::Queued, ShardState::Queued, reason);
                return;
            }
        };
        let (set, shard_id) = line::shard_of_seat(shard_id);
        if let Some(fleet) = self.stage().fleets().find(|fleet| fleet.set == set) {
            fleet.tell(shard_id, mail);
        }
    }
}

/// The next death in a crew that may not be there; `None` once all have ended as they should.
async fn death_of(crew: &mut Option<Crew>) -> Option<u32> {
    match crew {
        Some(crew) => crew.next_death().await,
        None => std::future::pending().await,
    }
}

/// The identify gate's way to its client.
struct GateDesk {
    shared: Weak<Shared>,
    turns: Turns,
}

impl Desk for GateDesk {
    async fn admit(&self, claim: Claim, said: Option<Said>) -> Admission {
        let Some(shared) = self.shared.upgrade() else { return Admission::Alone };
        let Some(post) = &shared.post else { return Admission::Alone };
        // While the bot is resharded both sets stand at the gate; the larger one has all places.
        let total = shared.stage().fleets().map(|fleet| fleet.total).max();
        let reserve = shared.config.budget_reserve;
        let (admission, notice) = self.turns.ask(post, claim, said, total, reserve).await;
        match notice {
            Some(Notice::Waits(reason)) => {
                warn!("{reason}");
                shared.record_news(Kind::Turns, None, reason.as_str(), None);
                shared.say(NO_SHARD, ShardState::Queued, ShardState::Queued, reason);
            }
            Some(Notice::GoesOn) => info!("the backplane says again whose turn it is to identify"),
            None => {}
        }
        admission
    }

    async fn tell(&self, event: GateEvent) {
        if let Some(shared) = self.shared.upgrade() {
            shared.gate_says(event).await;
        }
    }

    async fn answered(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        if let Some(keeper) = &shared.keeper {
            keeper.note_answered().await;
        }
        if let Some(post) = &shared.post {
            post.answered().await;
        }
    }

    fn observe(&self, limit: SessionStartLimit) {
        if let Some(shared) = self.shared.upgrade() {
            *lock(&shared.limit) = Some(limit);
        }
    }

    async fn ask(&self) -> Option<SessionStartLimit> {
        let shared = self.shared.upgrade()?;
        let info = GatewayInfo::ask(&shared.rest).await.ok()?;
        let limit = startup::limit(info.session_start_limit);
        if let Some(keeper) = &shared.keeper {
            keeper.note_limit(limit).await;
        }
        Some(limit)
    }
}
