//! A client that comes up beside those of other processes and takes over from all of them, when the bot gets another
//! number of shards: `standby` in its configuration.
//!
//! Its shards identify as any others do, and what they bring is held. Who changes the number of shards, a cluster,
//! tells it over the backplane how far the others are, and at last to take over. It says so again and again, for
//! nobody answers: that a client has taken over shows in its record.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::fleet::{Fleet, Member};
use super::records::Kind;
use super::shared::{Shared, Stage};
use super::startup::Plan;
use super::worker::STANDBY;
use crate::config::Config;
use crate::queue::{EventQueue, NO_SHARD};
use crate::sessions::wall_ms;
use crate::shard::driver::Mail;
use crate::shard::hold::Hold;
use crate::shard::{ShardState, StopMode};

/// A client that hears nothing for so long has been forgotten: whoever started it is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// A heartbeat that was answered in this time is not asked for again.
const BEAT_GOOD_FOR: Duration = Duration::from_secs(2);

/// What the workers of a bot are told while it gets another number of shards. Moments are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum StandbyWord {
    /// To all: show with a heartbeat that your shards are alive.
    Beat,
    /// To those that wait to take over: go on waiting.
    Wait {
        /// What they have as `standby`.
        standby: String,
        /// The hosts of the others have all that came before this moment.
        known_ms: i64,
    },
    /// To the same: take over.
    TakeOver {
        /// What they have as `standby`.
        standby: String,
        /// The others have delivered all that came before this moment.
        from_ms: i64,
        /// They may have delivered what came until this moment.
        until_ms: i64,
    },
}

/// What a standby client waits for.
#[derive(Debug)]
pub(super) struct Standby {
    name: String,
    hold: Arc<Hold>,
    /// What it was told last.
    word: watch::Sender<Option<StandbyWord>>,
}

impl Standby {
    /// Of a client that is one.
    pub(super) fn new(config: &Config, queue: &Arc<EventQueue>) -> Option<Self> {
        let name = config.standby.clone()?;
        let hold = Arc::new(Hold::new(Arc::clone(queue), config.queue.max_bytes));
        Some(Self { name, hold, word: watch::Sender::new(None) })
    }

    /// What its shards share.
    pub(super) fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }

    /// Whether it still waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.hold.is_waiting()
    }
}

impl Shared {
    /// Whether the client waits to take over from those of other processes.
    pub(super) fn stands_by(&self) -> bool {
        self.standby.as_ref().is_some_and(Standby::is_waiting)
    }

    /// What the client is doing, for people and other processes.
    pub(super) fn stage_name(&self, stage: &Stage) -> &'static str {
        match stage {
            Stage::Starting { .. } | Stage::Running { .. } if self.stands_by() => STANDBY,
            stage => stage.name(),
        }
    }

    /// Up to when, in milliseconds since 1970, the host has taken all that Discord had sent. `None` when a shard is
    /// not ready or has not shown yet that it is alive.
    pub(super) fn through_ms(&self, fleet: &Fleet) -> Option<i64> {
        let mut oldest = Instant::now().into_std();
        for (_, member) in fleet.running() {
            let shard = member.status.get();
            match shard.state {
                ShardState::Fatal => {}
                ShardState::Ready => oldest = oldest.min(shard.acked_beat_at?),
                _ => return None,
            }
        }
        let age_ms = i64::try_from(oldest.elapsed().as_millis()).unwrap_or(i64::MAX);
        let alive_ms = wall_ms().saturating_sub(age_ms);
        Some(self.queue.oldest_ns().map_or(alive_ms, |oldest| alive_ms.min(oldest / 1_000_000)))
    }

    /// Somebody changes the number of shards of the bot.
    pub(super) fn hear(&self, word: StandbyWord) {
        match &word {
            StandbyWord::Beat => {
                let is_due = |member: &&Member| {
                    let acked = member.status.get().acked_beat_at;
                    acked.is_none_or(|at| at.elapsed() >= BEAT_GOOD_FOR)
                };
                let stage = self.stage();
                let members = stage.fleet().into_iter().flat_map(|fleet| fleet.members.values());
                for member in members.filter(is_due) {
                    // One that has gone answers nothing.
                    let _ = member.mailbox.send(Mail::Beat);
                }
            }
            StandbyWord::Wait { standby, .. } | StandbyWord::TakeOver { standby, .. } => {
                if let Some(own) = self.standby.as_ref().filter(|own| own.name == *standby) {
                    own.word.send_replace(Some(word));
                }
            }
        }
    }

    /// Waits for the turn of a standby client, and takes over.
    pub(super) async fn stand_by(self: Arc<Self>, plan: Plan) {
        let Some(standby) = &self.standby else { return };
        let mut words = standby.word.subscribe();
        // What was said before counts too.
        words.mark_changed();
        info!(
            "the shards come up as {}; what they bring is held until they take over",
            standby.name
        );
        loop {
            let heard = tokio::select! {
                biased;
                heard = timeout(PATIENCE, words.changed()) => heard,
                () = standby.hold.until_over_bound() => {
                    let text = "the shards bring more than `queue.max_bytes` before they take over; make that \
                                larger, or change the number of shards when there is less going on";
                    return self.give_up_standby(&standby.hold, text);
                }
            };
            if heard.is_err() {
                let text = "nobody has said for two minutes that this client is still to take over: what \
                            started it with `standby` has gone";
                return self.give_up_standby(&standby.hold, text);
            }
            let word = words.borrow_and_update().clone();
            match word {
                Some(StandbyWord::TakeOver { from_ms, until_ms, .. }) => {
                    return self.take_over(&standby.hold, from_ms, until_ms, &plan).await;
                }
                Some(StandbyWord::Wait { known_ms, .. }) => {
                    standby.hold.note_known(known_ms.saturating_mul(1_000_000));
                }
                Some(StandbyWord::Beat) | None => {}
            }
        }
    }

    /// Its shards are the bot's from now on.
    async fn take_over(&self, hold: &Hold, from_ms: i64, until_ms: i64, plan: &Plan) {
        let ns = |ms: i64| ms.saturating_mul(1_000_000);
        let released = hold.release(ns(from_ms), ns(until_ms));
        info!(
            "takes over: {} events were held, of which {} may have been delivered before; {} more were",
            released.told, released.flagged, released.dropped
        );
        self.present_fleet("takes over from other processes");
        self.record_news(Kind::Reshard, None, format!("shards of {} take over", plan.total), None);
        if let Some(keeper) = &self.keeper {
            keeper.reshard(plan).await;
        }
    }

    /// It will not take over: its sessions end, and the client with them.
    fn give_up_standby(&self, hold: &Hold, reason: &str) {
        hold.give_up();
        self.refuse(NO_SHARD, reason, None);
        if let Some(fleet) = self.stage().fleet() {
            fleet.tell_all(|| Mail::Stop(StopMode::Close));
        }
    }

    /// The host hears of the shards for the first time.
    fn present_fleet(&self, reason: &str) {
        let stage = self.stage();
        let Some(fleet) = stage.fleet() else { return };
        let mut ready = 0;
        for (&shard_id, member) in &fleet.members {
            let shard = member.status.get();
            self.say(shard_id, ShardState::Idle, shard.state, reason.to_owned());
            match shard.state {
                ShardState::Ready => ready = self.note_ready(shard_id),
                ShardState::Fatal => {
                    self.refuse(shard_id, &shard.last_error.unwrap_or_default(), None);
                }
                _ => {}
            }
        }
        if self.is_complete(fleet, ready) {
            self.complete();
        }
    }
}
