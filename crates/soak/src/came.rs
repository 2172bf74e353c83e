//! What came of one session, over all lives of the host.

use std::time::Duration;

use shardwright::config::Delivery;

/// A dispatch as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) seq: u64,
    pub(crate) name: String,
    /// The number of the simulator's world event, where the dispatch shows one.
    pub(crate) number: Option<u64>,
}

/// All that came of one session.
#[derive(Debug)]
pub(crate) struct SessionLog {
    pub(crate) shard_id: u32,
    /// Each once, ascending.
    pub(crate) came: Vec<Came>,
    /// When the first of it came.
    pub(crate) began: Duration,
    /// The newest that came in this life of the host.
    pub(crate) last: u64,
    /// The host ended it, or started anew and cannot go on with it.
    pub(crate) given_up: bool,
}

impl SessionLog {
    /// Nothing came yet.
    pub(crate) fn new(shard_id: u32, now: Duration) -> Self {
        Self { shard_id, came: Vec::new(), began: now, last: 0, given_up: false }
    }

    /// Notes what came: the next one or, with `at_least_once` after a restart, one that came before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn add(
        &mut self,
        came: Came,
        is_replayed: bool,
        delivery: Delivery,
    ) -> Result<(), String> {
        let ever = self.came.last().map_or(0, |came| came.seq);
        let last = std::mem::replace(&mut self.last, came.seq);
        if came.seq <= last {
            return Err(format!("came after {last}"));
        }
        if came.seq > ever {
            self.came.push(came);
            return Ok(());
        }
        if delivery == Delivery::AtMostOnce {
            return Err(format!("came after a restart, and {ever} came before it"));
        }
        if !is_replayed {
            return Err("came again after a restart and is not flagged as replayed".to_owned());
        }
        let before = self.came.binary_search_by_key(&came.seq, |came| came.seq);
        let before = before.ok().map(|at| &self.came[at]);
        if before == Some(&came) {
            return Ok(());
        }
        Err(format!("came again after a restart, and was {before:?} before it"))
    }
}
