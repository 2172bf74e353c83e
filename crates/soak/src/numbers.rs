//! World events by their number, whichever session brought them: for bots that are resharded, where
//! one shard's events come from two sessions at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shardwright::config::Delivery;
use shardwright_sim::Seen;

/// What came, by number.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The life of the host in which each came first.
    lives: BTreeMap<u64, usize>,
    last_of_guild: BTreeMap<u64, u64>,
    /// Lives of the host that ended amid a reshard. What the old set had delivered by then, and the new
    /// one not brought, comes again from the session that the next life goes on with: nobody remembers it.
    pub(crate) cut_short: BTreeSet<usize>,
}

impl Numbers {
    /// Notes one: it is new and the next of its guild; or, with `at_least_once` after a restart, one that came before.
    /// What a session brings that `is_half_dead` amid a reshard comes late, and may come again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn add(
        &mut self,
        number: u64,
        guild_id: u64,
        is_replayed: bool,
        (life, delivery): (usize, Delivery),
        is_half_dead: bool,
    ) -> Result<(), String> {
        if let Some(first) = self.lives.get(&number) {
            if is_half_dead {
                return Ok(());
            }
            let may_repeat = delivery == Delivery::AtLeastOnce || self.cut_short.contains(first);
            if may_repeat && *first < life && is_replayed {
                return Ok(());
            }
            return Err(format!("event {number} came twice"));
        }
        self.lives.insert(number, life);
        let last = self.last_of_guild.insert(guild_id, number).unwrap_or(0);
        if number < last && !is_half_dead {
            return Err(format!("event {number} of guild {guild_id} came after {last}"));
        }
        Ok(())
    }

    /// How many came.
    pub(crate) fn len(&self) -> usize {
        self.lives.len()
    }

    /// Promise 1: what a session of the set in charge had brought for certain has reached the host.
    /// `since` is when the host last died: what it had of sessions that were not resumed after that died
    /// with it, and in that moment a client may still say that it has what the host never gets.
    pub(crate) fn missing(&self, seen: &Seen, charges: &Charges, since: Duration) -> Vec<String> {
        let acknowledged = acknowledged(seen, since);
        let mut missing = Vec::new();
        for sent in &seen.dispatches {
            let [shard, total] = sent.shard;
            let newest = acknowledged.get(sent.session.as_str());
            let Some(number) = sent.number.filter(|number| !self.lives.contains_key(number)) else {
                continue;
            };
            if newest.is_some_and(|newest| sent.s <= *newest) && charges.at(sent.at) == Some(total)
            {
                missing.push(format!(
                    "shard {shard} of {total}: never came: {} {} of session {}, event {number}",
                    sent.t, sent.s, sent.session
                ));
            }
        }
        missing
    }
}

/// How many shards the set had that was in charge, and since when.
pub(crate) struct Charges(BTreeMap<Duration, u32>);

impl Charges {
    /// The sets that took over are known to the host, and by life those of starts with a reshard; those of
    /// other starts to the simulator.
    pub(crate) fn new(
        seen: &Seen,
        starts: &[Duration],
        first: &BTreeMap<usize, u32>,
        switches: &[(Duration, u32)],
    ) -> Self {
        let mut charges: BTreeMap<Duration, u32> = switches.iter().copied().collect();
        for (life, start) in [Duration::ZERO].iter().chain(starts).enumerate() {
            if let Some(total) = first.get(&life) {
                charges.insert(*start, *total);
                continue;
            }
            let identifies = seen.identifies.iter().map(|it| (it.at, Some(it.shard), &it.outcome));
            let resumes = seen.resumes.iter().map(|it| (it.at, it.shard, &it.outcome));
            let began =
                identifies.chain(resumes).filter(|(at, _, how)| at >= start && how.is_accepted());
            if let Some((_, Some([_, total]), _)) = began.min_by_key(|(at, ..)| *at) {
                charges.insert(*start, total);
            }
        }
        Self(charges)
    }

    /// The number of shards at some time.
    fn at(&self, at: Duration) -> Option<u32> {
        self.0.range(..=at).next_back().map(|(_, total)| *total)
    }
}

/// The newest dispatch of each session that the client has said it has.
fn acknowledged(seen: &Seen, since: Duration) -> BTreeMap<&str, u64> {
    let mut began = BTreeMap::new();
    for sent in &seen.dispatches {
        began.entry(sent.session.as_str()).or_insert(sent.at);
    }
    let beats = seen.heartbeats.iter().filter_map(|beat| {
        let session = seen.connections.get(&beat.connection)?.session.as_deref()?;
        // A connection may have had another session before.
        let is_its = *began.get(session)? < beat.at;
        Some((session, beat.d.filter(|_| is_its)?, beat.at))
    });
    let resumes = seen.resumes.iter().filter(|resume| resume.outcome.is_accepted());
    let resumes = resumes.map(|resume| (resume.session.as_str(), resume.seq, resume.at));
    let mut newest = BTreeMap::new();
    for (session, seq, _) in beats.chain(resumes).filter(|(_, _, at)| *at > since) {
        let known = newest.entry(session).or_insert(seq);
        *known = seq.max(*known);
    }
    newest
}
