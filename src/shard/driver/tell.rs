//! What the host is told, and in which order.

use serde_json::json;
use tracing::debug;

use super::{Driver, Surroundings, now};
use crate::config::MAX_MISSING_NAMED;
use crate::queue::{Event, EventKind};
use crate::shard::detour::Detour;
use crate::shard::machine::{Input, Outcome, StateChange};
use crate::shard::state::ShardState;

/// The event that tells the host of a change of state.
pub(crate) fn state_event(shard_id: u32, change: &StateChange) -> Event {
    let StateChange { from, to, reason, close_code, .. } = change;
    let data = json!({"from": from, "to": to, "reason": reason, "close_code": close_code});
    let mut event = Event::new(EventKind::ShardState, to.name(), data.to_string().as_bytes());
    event.shard_id = shard_id;
    event
}

/// The event that tells the host that the guilds are complete. `missing` are those that are not there.
fn guilds_event(shard_id: u32, guilds: usize, missing: impl Iterator<Item = u64>) -> Event {
    let (mut named, mut count) = (Vec::new(), 0_usize);
    for id in missing {
        if count < MAX_MISSING_NAMED {
            named.push(id.to_string());
        }
        count += 1;
    }
    let data = json!({"guilds": guilds, "missing": named, "missing_count": count});
    let mut event = Event::new(EventKind::GuildsComplete, "", data.to_string().as_bytes());
    event.shard_id = shard_id;
    event.status = i32::try_from(count).unwrap_or(i32::MAX);
    event
}

impl Driver {
    /// Tells of a change of state. Dispatches that came before go first, unless the queue is full:
    /// a state never waits.
    pub(super) fn tell(&mut self, change: &StateChange) {
        self.flush();
        let StateChange { from, to, reason, close_code, .. } = change;
        debug!(shard = self.shard_id, %from, %to, ?close_code, "{reason}");
        if matches!(to, ShardState::Disconnected | ShardState::Fatal) {
            self.counts.last_error = Some(reason.to_string());
        }
        // Who is told, or woken, and looks finds it so.
        self.publish();
        if self.speaks() {
            self.surroundings.queue.push_own(state_event(self.shard_id, change));
            self.surroundings.owner.changed(self.shard_id, change);
        }
        let outcome = match to {
            ShardState::Fatal => Outcome::Fatal,
            ShardState::Stopped => Outcome::Stopped,
            _ => return,
        };
        for command_id in self.members.drain() {
            self.surroundings.owner.settled(self.shard_id, command_id, outcome);
        }
    }

    /// Moves the staged dispatches into the queue, or notes that it is full.
    pub(super) fn flush(&mut self) {
        if !self.stage.is_empty() {
            let Surroundings { queue, detour, .. } = &mut self.surroundings;
            let blocked = !match detour {
                None => queue.push(self.stage.batch()),
                Some(detour) => detour.push(self.stage.batch()),
            };
            // Nothing is left that came before.
            if !blocked && detour.as_ref().is_some_and(|it| it.is_over(self.clock.wall_ns)) {
                *detour = None;
            }
            if blocked != self.blocked {
                self.blocked = blocked;
                self.machine.handle(Input::ReadsPaused(blocked), now());
            }
        }
        if self.guilds_are_complete && self.stage.is_empty() {
            self.tell_guilds_complete();
        }
    }

    /// Moves the staged dispatches into the queue, however full it is.
    pub(super) fn push_anyway(&mut self) {
        match &self.surroundings.detour {
            None => self.surroundings.queue.push_anyway(self.stage.batch()),
            Some(detour) => detour.push_anyway(self.stage.batch()),
        }
    }

    /// Whether the host hears of this shard's own affairs.
    pub(super) fn speaks(&self) -> bool {
        self.surroundings.detour.as_ref().is_none_or(Detour::speaks)
    }

    /// Tells that the guilds that READY listed have come, or are not waited for any more. Only what the
    /// host was told is noted in the index: a shard that dies before begins there again.
    pub(super) fn tell_guilds_complete(&mut self) {
        self.guilds_are_complete = false;
        let mut guilds = self.surroundings.guilds.lock();
        // Without the intent none comes, so none is missing.
        let awaits = self.guild_patience.has_intent();
        let missing = guilds.complete().filter(|_| awaits);
        let event = guilds_event(self.shard_id, self.guild_counts.guilds, missing);
        self.guild_counts = guilds.counts();
        drop(guilds);
        if let Some(detour) = self.surroundings.detour.as_ref().filter(|it| !it.speaks()) {
            detour.keep(event);
            return;
        }
        if let Some(missing) = usize::try_from(event.status).ok().filter(|it| *it > 0) {
            self.surroundings.owner.missed_guilds(self.shard_id, missing);
        }
        self.surroundings.queue.push_own(event);
    }
}
