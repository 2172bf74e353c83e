//! The life of a client, from start to stop: one task.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::crew::Crew;
use super::fleet::Fleet;
use super::shared::{InCaseOfPanic, Shared, Stage, lock};
use super::startup::{self, GatewayInfo, Plan};
use crate::error::ErrorKind;
use crate::identify::{Gate, GateEvent, line};
use crate::queue::NO_SHARD;
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
            plan = self.plan() => plan,
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

    /// Asks `/gateway/bot` until it answers; `None` when it refused the token.
    async fn plan(&self) -> Option<Plan> {
        let mut longest = STARTUP_RETRY;
        loop {
            let info = GatewayInfo::ask(&self.rest).await;
            let error = match info.and_then(|info| startup::plan(&self.config, &info)) {
                Ok(plan) => return Some(plan),
                Err(error) if error.kind() == ErrorKind::Fatal => {
                    self.refuse(NO_SHARD, &error.to_string(), None);
                    return None;
                }
                Err(error) => error,
            };
            warn!("{error}");
            if let Some(plan) = startup::plan_without_info(&self.config) {
                warn!(
                    "going on with the gateway and the shards of the config, one identify at a time"
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
        let (teller, observer) = (Arc::downgrade(self), Arc::downgrade(self));
        let (line, gatekeeper) = line::open(
            Gate::new(plan.limit, reserve),
            move |event| {
                if let Some(shared) = teller.upgrade() {
                    shared.gate_says(event);
                }
            },
            move |limit| {
                if let Some(shared) = observer.upgrade() {
                    *lock(&shared.limit) = Some(limit);
                }
            },
        );
        let total = plan.total;
        let mut crew = Crew::new(Arc::clone(self), plan, line);
        self.set_running(Fleet { total, members: crew.launch_all() });
        let gatekeeper = tokio::spawn(gatekeeper);
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
    fn gate_says(&self, event: GateEvent) {
        let (shard_id, mail) = match event {
            GateEvent::Near { shard_id, ticket } => (shard_id, Mail::GateNear { ticket }),
            GateEvent::Granted { shard_id, ticket } => (shard_id, Mail::GateGranted { ticket }),
            GateEvent::Exhausted { remaining, until } => {
                let wait_s = until.saturating_duration_since(Instant::now().into_std()).as_secs();
                let reason = format!(
                    "only {remaining} session starts are left of today's and they are kept in \
                     reserve; nobody identifies for the next {wait_s} s, when the limit resets"
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
