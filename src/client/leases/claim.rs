//! Shards that the configuration names: claimed so that a second process with the same is found out before two
//! take each other's sessions away. It is no more than a warning system: without the backplane the shards of
//! such a client start, and stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::whereabouts::Whereabouts;
use super::{Leases, ranges};
use crate::backplane::leases::{Answer, Ask, Held, Standing, TakenBy, Wants};
use crate::client::post::{FAREWELL, Post};
use crate::client::shared::{Shared, lock};
use crate::client::stage::Stage;
use crate::client::startup::Plan;
use crate::queue::NO_SHARD;
use crate::shard::ShardState;

/// How long the start waits for a backplane that does not say whether it is there.
const START_PATIENCE: Duration = Duration::from_millis(500);

/// Time between two looks whether the other process is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Leases {
    /// What is asked for shards of the client's own.
    fn ask_for(&self, post: &Post, shard_total: u32, shards: Vec<u32>, gone: Vec<String>) -> Ask {
        let held = {
            let view = lock(&self.view);
            if view.claimed.0 == shard_total { view.claimed.1.clone() } else { Vec::new() }
        };
        self.ask(post, shard_total, held, Wants::These { shards, gone })
    }

    /// Notes what is held by now.
    fn note_claimed(&self, shard_total: u32, held: Vec<Held>) {
        lock(&self.view).claimed = (shard_total, held);
    }
}

impl Shared {
    /// Claims the shards of the plan; `false` when another process has them and stays, which the host was told.
    pub(in crate::client) async fn claim_shards(&self, plan: &Plan) -> bool {
        let (Some(post), Some(leases)) = (&self.post, &self.leases) else { return true };
        let total = plan.total.get();
        let give_up_at = Instant::now() + leases.ttl + LOOK_AGAIN;
        let mut gone = Vec::new();
        let mut is_told = false;
        loop {
            let ask = leases.ask_for(post, total, plan.ids.clone(), gone.clone());
            let answer = tokio::select! {
                biased;
                answer = post.hold(&ask) => answer,
                () = post.until_away(), if !is_told => return true,
                () = sleep(START_PATIENCE), if !is_told => return true,
            };
            let Ok(Answer::Standing(Standing { held, taken, .. })) = answer else {
                // Who waits for another process goes on waiting, but not for ever.
                if is_told && Instant::now() < give_up_at {
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
                return true;
            };
            if taken.is_empty() {
                leases.note_claimed(total, held);
                return true;
            }
            let is_gone = |by: &&TakenBy| {
                let known = gone.contains(&by.worker);
                !known && leases.here.sees_end_of(&Whereabouts::parse(&by.whereabouts))
            };
            let newly: Vec<String> =
                taken.iter().filter(is_gone).map(|by| by.worker.clone()).collect();
            if !newly.is_empty() {
                gone.extend(newly);
                continue;
            }
            let who = who_has(&taken, total);
            if Instant::now() >= give_up_at {
                let text = format!(
                    "{who}. Two processes with the same shards take each other's sessions away: stop that \
                     one, or give this one other shards (`shards`, SHARDWRIGHT_SHARDS)"
                );
                self.refuse(NO_SHARD, &text, None);
                return false;
            }
            if !is_told {
                is_told = true;
                let most_s = leases.ttl.as_secs();
                let text = format!("{who}; waiting for it to end, at most {most_s} s");
                warn!("{text}");
                self.say(NO_SHARD, ShardState::Idle, ShardState::Idle, text);
            }
            tokio::select! {
                biased;
                () = leases.nudged.notified() => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Goes on claiming the shards that run here, until the client stops.
    pub(in crate::client) async fn stay_claimed(self: Arc<Self>) {
        let (Some(post), Some(leases)) = (&self.post, &self.leases) else { return };
        let mut connections = post.connections();
        let mut is_told = false;
        loop {
            tokio::select! {
                biased;
                Ok(()) = connections.changed() => self.write_sessions_anew(),
                () = sleep(leases.renew_every()) => {}
            }
            let (total, shards) = match &*self.stage() {
                Stage::Running { fleet, .. } => {
                    (fleet.total.get(), fleet.members.keys().copied().collect::<Vec<_>>())
                }
                _ => continue,
            };
            let (total_before, held_before) = lock(&leases.view).claimed.clone();
            if total_before != total && !held_before.is_empty() {
                // They were resharded. What is not given back ends by itself.
                let _ = post.release(total_before, &held_before, false).await;
            }
            let ask = leases.ask_for(post, total, shards, Vec::new());
            let Ok(Answer::Standing(Standing { held, taken, .. })) = post.hold(&ask).await else {
                continue;
            };
            leases.note_claimed(total, held);
            if !taken.is_empty() && !is_told {
                let text = format!("{}, and this one runs them too", who_has(&taken, total));
                warn!("{text}; stop one of them");
                self.say(NO_SHARD, ShardState::Ready, ShardState::Ready, text);
            }
            is_told = !taken.is_empty();
        }
    }

    /// The client stops: others may have what it holds.
    pub(in crate::client) async fn give_back(&self) {
        let (Some(post), Some(leases)) = (&self.post, &self.leases) else { return };
        let (total, held) = {
            let (total, held) = std::mem::take(&mut lock(&leases.view).claimed);
            let stage = self.stage();
            let fleet = stage.fleet();
            let leased = fleet.into_iter().flat_map(|fleet| &fleet.members);
            let leased = leased.filter_map(|(shard_id, member)| {
                let token = member.lease.as_ref()?.token();
                Some(Held { shard_id: *shard_id, token })
            });
            let total = if self.shared_leases().is_some() {
                fleet.map_or(total, |fleet| fleet.total.get())
            } else {
                total
            };
            (total, held.into_iter().chain(leased).collect::<Vec<_>>())
        };
        let farewell = async {
            if post.trouble().is_none() {
                match post.release(total, &held, true).await {
                    Ok(()) => post.nudge().await,
                    Err(trouble) => debug!("leases end by themselves: {trouble}"),
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// Who has which shards, for people.
fn who_has(taken: &[TakenBy], total: u32) -> String {
    let mut by_worker: BTreeMap<&str, (Whereabouts, Vec<u32>)> = BTreeMap::new();
    for TakenBy { shard_id, worker, whereabouts } in taken {
        let its = || (Whereabouts::parse(whereabouts), Vec::new());
        by_worker.entry(worker).or_insert_with(its).1.push(*shard_id);
    }
    let each = by_worker.into_iter().map(|(worker, (place, mut shards))| {
        shards.sort_unstable();
        let (are, shards) = (if shards.len() == 1 { "is" } else { "are" }, ranges(shards));
        let noun = if are == "is" { "shard" } else { "shards" };
        format!("{noun} {shards} of {total} {are} run by worker {worker} ({place})")
    });
    each.collect::<Vec<_>>().join(", ")
}

impl Post {
    /// Waits until the backplane is known to be away.
    async fn until_away(&self) {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        while self.trouble().is_none() {
            sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_what_is_named() {
        let by = |shard_id, worker: &str| TakenBy {
            shard_id,
            worker: worker.into(),
            whereabouts: format!(r#"{{"host":"host-{worker}","pid":7,"later":1}}"#),
        };
        assert_eq!(
            who_has(&[by(1, "a"), by(5, "b"), by(0, "a")], 8),
            "shards 0-1 of 8 are run by worker a (pid 7 on host-a), shard 5 of 8 is run by worker b \
             (pid 7 on host-b)"
        );
    }
}
