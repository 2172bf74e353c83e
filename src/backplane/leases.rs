//! Leases: who runs which shard, for so long, with a token that grows from holder to holder.
//!
//! A worker says now and then what it holds, and hears what it holds from then on: what it held and nobody else
//! has taken, and what it gets. Whoever does not say so in time loses it. Workers share all shards of the bot
//! out evenly ([`Wants::Share`]), or each claims those that its configuration names ([`Wants::These`]).
//! What the clock of the server says counts; of a file that is the machine's.

use std::time::Duration;

use super::Doing;

/// A shard that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    /// The shard.
    pub(crate) shard_id: u32,
    /// Greater than that of everybody who held it before.
    pub(crate) token: u64,
}

/// What a worker holds, and what more it would take.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Who asks.
    pub(crate) worker: String,
    /// Where that is, for those who find one of its shards taken: JSON.
    pub(crate) whereabouts: String,
    /// The number of shards of the bot.
    pub(crate) shard_total: u32,
    /// How long it holds them without another word.
    pub(crate) ttl: Duration,
    /// What it holds. Others that are noted for it were granted in an answer that was lost, and are free.
    pub(crate) held: Vec<Held>,
    /// What it wants.
    pub(crate) wants: Wants,
}

/// What a worker wants.
#[derive(Debug, Clone)]
pub(crate) enum Wants {
    /// Its fair share of all shards.
    Share {
        /// Whether it takes more now; otherwise it only says that it is there.
        takes: bool,
    },
    /// These, all or, unless it holds some already, none.
    These {
        /// The shards.
        shards: Vec<u32>,
        /// Workers that are known to be gone, whatever is noted for them.
        gone: Vec<String>,
    },
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It holds something, or nothing.
    Standing(Standing),
    /// Those who share all shards have another number of them.
    OtherTotal(u32),
}

/// What a worker holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The shards, ascending.
    pub(crate) held: Vec<Held>,
    /// How many it should hold of those that are shared out.
    pub(crate) share: u32,
    /// Workers among whom they are shared out, this one included.
    pub(crate) workers: u32,
    /// When the next lease of another worker ends, unless it is renewed. Zero: there is none.
    pub(crate) next_end: Duration,
    /// Those of [`Wants::These`] that somebody else holds.
    pub(crate) taken: Vec<TakenBy>,
}

/// A shard that another worker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenBy {
    /// The shard.
    pub(crate) shard_id: u32,
    /// Who holds it.
    pub(crate) worker: String,
    /// Where that is.
    pub(crate) whereabouts: String,
}

/// Leases. Each call is done as a whole or not at all.
pub(crate) trait Leases {
    /// Goes on holding what is held, and takes what is free and wanted.
    fn lease_hold<'a>(&'a self, ask: &'a Ask) -> Doing<'a, Answer>;

    /// Gives shards back. A worker that leaves shares nothing any more.
    fn lease_release<'a>(
        &'a self,
        worker: &'a str,
        shard_total: u32,
        held: &'a [Held],
        leaves: bool,
    ) -> Doing<'a, ()>;
}

/// How many of so many shards a worker should hold when these hold so many each. Those who hold most have the
/// shards that are left over, so that nothing moves without need. `redis/leases.lua` counts in the same way.
pub(crate) fn fair_share(shards: u32, holdings: &[(String, u32)], worker: &str) -> u32 {
    let count = u32::try_from(holdings.len()).unwrap_or(u32::MAX).max(1);
    let mut order: Vec<_> = holdings.iter().map(|(name, held)| (u32::MAX - held, name)).collect();
    order.sort_unstable();
    let place = order.iter().position(|(_, name)| *name == worker);
    let has_extra = place.is_some_and(|place| place < (shards % count) as usize);
    shards / count + u32::from(has_extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(held: &[u32]) -> Vec<(String, u32)> {
        held.iter().enumerate().map(|(index, held)| (format!("w{index:03}"), *held)).collect()
    }

    fn shares(shards: u32, held: &[u32]) -> Vec<u32> {
        let all = holdings(held);
        all.iter().map(|(worker, _)| fair_share(shards, &all, worker)).collect()
    }

    #[test]
    fn shares_are_even_and_nothing_moves_without_need() {
        assert_eq!(shares(16, &[0, 0, 0]), [6, 5, 5]);
        assert_eq!(shares(16, &[5, 5, 6]), [5, 5, 6], "it is as it should be");
        assert_eq!(shares(16, &[6, 5, 5, 0]), [4, 4, 4, 4]);
        assert_eq!(shares(16, &[4, 4, 4, 4, 0]), [4, 3, 3, 3, 3], "a newcomer gets its share");
        assert_eq!(shares(16, &[4, 3, 3, 3, 3]), [4, 3, 3, 3, 3]);
        assert_eq!(shares(2, &[1, 1, 0]), [1, 1, 0], "more workers than shards");
        assert_eq!(shares(1, &[0]), [1]);
        assert_eq!(shares(0, &[0, 0]), [0, 0]);
        assert_eq!(fair_share(4, &[], "nobody"), 4);
    }

    /// Workers come, go and die in any order; then each does in its turn what its share says. All shards are
    /// held in the end, shares differ by one at most, and then nothing moves any more.
    #[test]
    fn it_always_settles() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let (shards, mut held) = (rng.u32(1..40), vec![0; rng.usize(1..9)]);
            for _ in 0..rng.u32(0..=shards) {
                let worker = rng.usize(0..held.len());
                held[worker] += 1;
            }
            let mut moves = 0;
            for round in 0.. {
                assert!(round < 100, "{shards}: {held:?}");
                let before = held.clone();
                for worker in 0..held.len() {
                    let share = shares(shards, &held)[worker];
                    let free = shards - held.iter().sum::<u32>();
                    let now = held[worker].min(share).max(share.min(held[worker] + free));
                    moves += held[worker].saturating_sub(now);
                    held[worker] = now;
                }
                if held == before {
                    break;
                }
            }
            assert_eq!(held.iter().sum::<u32>(), shards, "{held:?}");
            let (least, most) = (held.iter().min(), held.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{held:?}");
            assert!(moves <= shards, "each moves once at most");
        }
    }
}
