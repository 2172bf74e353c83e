//! Until when the host may get the events of a shard that another process can take over.
//!
//! Checked by the poll itself: a process that was stopped in the middle of everything may wake with a full
//! queue after others have taken its shards, and its host may poll before any task of the engine runs.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::event::wall_clock_ns;

/// A moment on two clocks: one that nobody sets, and one that goes on while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    now: Instant,
    wall_ns: i64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { now: Instant::now(), wall_ns: wall_clock_ns() }
    }
}

/// The right to run a shard, which ends by itself.
#[derive(Debug)]
pub struct Lease {
    /// Greater than that of everybody who held the shard before.
    token: u64,
    made_at: Instant,
    /// It ends so long after it was made.
    ends_ns: AtomicU64,
    /// It ends then by the other clock; a lease that was ended has zero.
    ends_wall_ns: AtomicI64,
}

impl Lease {
    /// A lease for so long from a moment on.
    pub fn new(token: u64, since: Moment, time: Duration) -> Self {
        let (ends_ns, ends_wall_ns) = (AtomicU64::new(0), AtomicI64::new(1));
        let lease = Self { token, made_at: since.now, ends_ns, ends_wall_ns };
        lease.renew(since, time);
        lease
    }

    /// Its token.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// It lasts for so long from a moment on, unless it was ended.
    pub fn renew(&self, since: Moment, time: Duration) {
        let age = since.now.saturating_duration_since(self.made_at).saturating_add(time);
        self.ends_ns.store(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        let time = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let ends = since.wall_ns.saturating_add(time).max(1);
        let _ = self
            .ends_wall_ns
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |known| (known != 0).then_some(ends));
    }

    /// It is over, for good.
    pub fn end(&self) {
        self.ends_wall_ns.store(0, Ordering::SeqCst);
    }

    /// Whether it was over at a moment, by whichever clock.
    pub fn is_over(&self, at: Moment) -> bool {
        let age = at.now.saturating_duration_since(self.made_at);
        u64::try_from(age.as_nanos()).unwrap_or(u64::MAX) >= self.ends_ns.load(Ordering::SeqCst)
            || at.wall_ns >= self.ends_wall_ns.load(Ordering::SeqCst)
    }

    /// How long it will last from a moment on.
    pub fn time_left(&self, at: Moment) -> Duration {
        let age = at.now.saturating_duration_since(self.made_at);
        let left = Duration::from_nanos(self.ends_ns.load(Ordering::SeqCst)).saturating_sub(age);
        let wall_ns = self.ends_wall_ns.load(Ordering::SeqCst).saturating_sub(at.wall_ns);
        left.min(Duration::from_nanos(u64::try_from(wall_ns).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(since: Moment, now_s: u64, wall_s: i64) -> Moment {
        let wall_ns = since.wall_ns + wall_s * 1_000_000_000;
        Moment { now: since.now + Duration::from_secs(now_s), wall_ns }
    }

    #[test]
    fn it_ends_by_whichever_clock_is_first() {
        let since = Moment::now();
        let lease = Lease::new(7, since, Duration::from_secs(10));
        assert!(!lease.is_over(since) && !lease.is_over(at(since, 9, 9)));
        assert_eq!(lease.time_left(at(since, 3, 4)), Duration::from_secs(6));
        assert!(lease.is_over(at(since, 10, 0)), "the wall clock was set back, or stands still");
        assert!(lease.is_over(at(since, 0, 10)), "the machine slept");
        assert_eq!(lease.time_left(at(since, 0, 11)), Duration::ZERO);

        lease.renew(at(since, 5, 1_005), Duration::from_secs(10));
        assert!(!lease.is_over(at(since, 14, 1_014)), "the wall clock was set forward");
        assert!(lease.is_over(at(since, 15, 1_014)));
    }

    #[test]
    fn what_was_ended_is_not_renewed() {
        let since = Moment::now();
        let lease = Lease::new(7, since, Duration::from_secs(10));
        lease.end();
        lease.renew(since, Duration::from_secs(10));
        assert!(lease.is_over(since));
        assert_eq!(lease.time_left(since), Duration::ZERO);
    }
}
