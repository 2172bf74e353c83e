//! Leases of shards: which of a bot's processes runs which of them.
//!
//! With `"shards": "lease"` a client takes its fair share of all shards, gives up what is too much when others
//! come, and takes over what is left when they go (`hold`). A client with shards of its own claims those, so
//! that a second one with the same is found out (`claim`).
//!
//! A lease counts here from before it was asked for, and for less than the backplane counts it: when somebody
//! else can get it, this client has stopped, and its poll hands out nothing more of that shard.

mod claim;
mod hold;
mod whereabouts;

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

pub(super) use self::hold::Order;
use self::whereabouts::Whereabouts;
use super::post::Post;
use super::ranges::shard_ranges;
use super::shared::{Shared, lock};
use crate::backplane::leases::{Ask, Held, Wants};
use crate::config::{Config, Shards};
use crate::health::LeaseOverview;

/// What a client knows of its leases.
#[derive(Debug)]
pub(super) struct Leases {
    ttl: Duration,
    here: Whereabouts,
    /// Somebody came, or gave something back.
    nudged: Notify,
    view: Mutex<View>,
}

/// How it stands.
#[derive(Debug, Default)]
struct View {
    /// How many shards it should have, once the backplane has said that.
    share: Option<u32>,
    /// Among how many processes all are shared out.
    workers: u32,
    /// It had all of it once, and all of that was ready.
    was_complete: bool,
    /// Leases that ended before it gave them up.
    lost: u64,
    /// Of a client with shards of its own: their number in all, and what it holds.
    claimed: (u32, Vec<Held>),
}

impl Leases {
    /// Nothing is held.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            ttl: config.lease_ttl,
            here: Whereabouts::here(),
            nudged: Notify::new(),
            view: Mutex::default(),
        }
    }

    /// Somebody came, or gave something back.
    pub(super) fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// What is asked of the backplane.
    fn ask(&self, post: &Post, shard_total: u32, held: Vec<Held>, wants: Wants) -> Ask {
        let (worker, whereabouts) = (post.worker().to_owned(), self.here.to_json());
        Ask { worker, whereabouts, shard_total, ttl: self.ttl, held, wants }
    }

    /// How long a lease counts here.
    fn good_for(&self) -> Duration {
        self.ttl * 9 / 10
    }

    /// Time between two words to the backplane.
    fn renew_every(&self) -> Duration {
        self.ttl / 5
    }

    /// Whether so many shards are what it should have.
    pub(super) fn is_share(&self, shards: usize) -> bool {
        lock(&self.view).share.is_some_and(|share| shards >= share as usize)
    }

    /// It has its share, and all of that is ready.
    pub(super) fn note_complete(&self) {
        lock(&self.view).was_complete = true;
    }

    /// Whether that was so once.
    pub(super) fn was_complete(&self) -> bool {
        lock(&self.view).was_complete
    }

    /// How it stands, in numbers.
    pub(super) fn overview(&self, held: usize, refused: u64) -> LeaseOverview {
        let view = lock(&self.view);
        LeaseOverview { held, share: view.share, workers: view.workers, lost: view.lost, refused }
    }
}

impl Shared {
    /// What it knows of leases, if it shares all shards with others.
    pub(super) fn shared_leases(&self) -> Option<&Leases> {
        self.leases.as_ref().filter(|_| matches!(self.config.shards, Shards::Lease { .. }))
    }
}

/// Shards for people: `0-7, 9`.
fn ranges(shards: impl IntoIterator<Item = u32>) -> String {
    /// The rest is only counted.
    const SHOWN: usize = 10;
    let ranges = shard_ranges(shards);
    let more = if ranges.len() > SHOWN { ", …" } else { "" };
    ranges[..ranges.len().min(SHOWN)].join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_named_as_people_would() {
        assert_eq!(ranges([]), "");
        assert_eq!(ranges([0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert!(ranges((0..40).map(|shard| shard * 2)).ends_with("18, …"));
    }
}
