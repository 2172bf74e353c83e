//! The life of a client, from start to stop: one task.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::crew::Crew;
use super::fleet::Fleet;
use super::shared::{InCaseOfPanic, Shared, Stage, lock};
use super::startup::{self, GatewayInfo, Plan};
use crate::config::WhenLow;
use crate::error::ErrorKind;
use crate::identify::line::Desk;
use crate::identify::{Gate, GateEvent, SessionStartLimit, line};
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
        let mut stop = self.stop.subscribe();
        let plan = tokio::select! {
            plan = self.prepare() => plan,
            _ = stop.wait_for(Option::is_some) => None,
        };
        if let Some(plan) = plan {
            self.run_shards(plan, &mut stop).await;
        } else {
            // Refused: the host sees why, and stops.
            self.set_refused();
            let _ = stop.wait_for(Option::is_some).await;
        }
        self.set_stopped();
        self.take_tasks().shutdown().await;
        self.end();
    }

    /// Plans the start: with what was kept, if that is enough to resume everything, else with what
    /// `/gateway/bot` says.
    async fn prepare(&self) -> Option<Plan> {
        let mut last = None;
        if let Some(keeper) = &self.keeper {
            keeper.open().await;
            if let Some((start, resumable)) = keeper.last_start().await {
                let plan = startup::plan_without_info(&self.config, Some(&start));
                let plan = plan.filter(|plan| plan.total.get() == start.shard_total);
                if plan
                    .as_ref()
                    .is_some_and(|plan| plan.ids.iter().all(|id| resumable.contains(id)))
                {
                    return plan;
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
                warn!(
                    "going on with the gateway and the shards that are known, one identify at a time"
                );
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
        let mut sessions = BTreeMap::new();
        if let Some(keeper) = &self.keeper {
            keeper.recall(&mut gate).await;
            sessions = keeper.load(&plan).await;
        }
        let desk = GateDesk(Arc::downgrade(self));
        let (line, gatekeeper) = line::open(gate, plan.is_asked, desk);
        let total = plan.total;
        let mut crew = Crew::new(Arc::clone(self), plan, line);
        self.set_running(Fleet { total, members: crew.launch_all(sessions) });
        let gatekeeper = tokio::spawn(gatekeeper);
        let storing = tokio::spawn(Arc::clone(self).keep_sessions());
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => {
                    let mode = stop.borrow_and_update().unwrap_or(StopMode::Abort);
                    self.set_stopped();
                    if let Some(fleet) = self.stage().fleet() {
                        fleet.tell_all(|| Mail::Stop(mode));
                    }
                    if mode == StopMode::Abort {
                        break;
                    }
                }
                death = crew.next_death() => match death {
                    Some(shard_id) => self.relaunch(&mut crew, shard_id),
                    None => break,
                },
            }
        }
        crew.abort().await;
        gatekeeper.abort();
        storing.abort();
        self.save_sessions();
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
        let Stage::Running { fleet, .. } = &mut *stage else { return };
        let last = fleet.members.get(&shard_id).map(|member| member.status.get());
        let state = last.as_ref().map_or(ShardState::Idle, |last| last.state);
        let member = crew.relaunch(shard_id, last);
        fleet.members.insert(shard_id, member);
        drop(stage);
        let reason = format!("shard {shard_id} met a bug in the engine and is started anew");
        self.say(shard_id, state, ShardState::Disconnected, reason);
    }

    /// Hands on what the identify gate says.
    async fn gate_says(&self, event: GateEvent) {
        if let (GateEvent::Granted { shard_id, .. }, Some(keeper)) = (event, &self.keeper) {
            keeper.note_identify(shard_id).await;
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
                self.say(NO_SHARD, ShardState::Queued, ShardState::Queued, reason);
                return;
            }
        };
        if let Some(fleet) = self.stage().fleet() {
            fleet.tell(shard_id, mail);
        }
    }
}

/// The identify gate's way to its client.
struct GateDesk(Weak<Shared>);

impl Desk for GateDesk {
    async fn tell(&self, event: GateEvent) {
        if let Some(shared) = self.0.upgrade() {
            shared.gate_says(event).await;
        }
    }

    async fn answered(&self) {
        if let Some(shared) = self.0.upgrade()
            && let Some(keeper) = &shared.keeper
        {
            keeper.note_answered().await;
        }
    }

    fn observe(&self, limit: SessionStartLimit) {
        if let Some(shared) = self.0.upgrade() {
            *lock(&shared.limit) = Some(limit);
        }
    }

    async fn ask(&self) -> Option<SessionStartLimit> {
        let shared = self.0.upgrade()?;
        let info = GatewayInfo::ask(&shared.rest).await.ok()?;
        Some(startup::limit(info.session_start_limit))
    }
}
