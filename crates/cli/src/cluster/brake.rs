//! When a worker that ended is started again.
//!
//! At once after a long life, later and later after short ones. One that ends again and again as soon as it
//! has started is broken, and each start may cost an identify for each of its shards: it is braked so far that
//! it uses a tenth of the bot's session starts at most, until somebody has looked at it.

use std::time::{Duration, Instant};

/// A life of this length was none that ended at its start.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// The wait after the first short life. It doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Short lives in a row after which a worker is braked.
const LOOP: u32 = 5;

/// The shortest wait of one that is braked, and the longest.
const BRAKED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(60 * 60));

/// Discord counts session starts over this long.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The part of the day's session starts that one broken worker may use: a tenth.
const SHARE: u32 = 10;

/// What is known of one worker's lives.
#[derive(Debug)]
pub(crate) struct Brake {
    /// The wait of one that is braked.
    braked: Duration,
    /// Short lives in a row.
    short_lives: u32,
    started_at: Instant,
}

/// When to start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restart {
    /// After this long.
    pub(crate) wait: Duration,
    /// After so many short lives in a row, if the worker is braked.
    pub(crate) braked: Option<u32>,
}

impl Brake {
    /// For a worker with so many shards, of a bot with so many session starts a day, that starts now.
    pub(crate) fn new(shards: u32, starts_per_day: u32, now: Instant) -> Self {
        let starts = (starts_per_day / SHARE).max(1);
        let braked = (DAY * shards / starts).clamp(BRAKED.0, BRAKED.1);
        Self { braked, short_lives: 0, started_at: now }
    }

    /// It starts again.
    pub(crate) fn started(&mut self, now: Instant) {
        self.started_at = now;
    }

    /// It ended.
    pub(crate) fn ended(&mut self, now: Instant) -> Restart {
        if now.duration_since(self.started_at) >= LONG_LIFE {
            self.short_lives = 0;
            return Restart { wait: Duration::ZERO, braked: None };
        }
        self.short_lives += 1;
        if self.short_lives >= LOOP {
            return Restart { wait: self.braked, braked: Some(self.short_lives) };
        }
        Restart { wait: FIRST_WAIT * (1 << (self.short_lives - 1)), braked: None }
    }

    /// Whether it is braked.
    pub(crate) fn is_on(&self) -> bool {
        self.short_lives >= LOOP
    }

    /// Somebody has looked at it.
    pub(crate) fn release(&mut self) {
        self.short_lives = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lives_are_braked_and_long_ones_forgive() {
        let mut now = Instant::now();
        let mut brake = Brake::new(4, 1_000, now);
        let mut end_after = |brake: &mut Brake, life_s| {
            brake.started(now);
            now += Duration::from_secs(life_s);
            brake.ended(now)
        };
        let waits: Vec<_> = (0..4).map(|_| end_after(&mut brake, 1).wait.as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        // Four shards may use a hundred of a thousand starts: 25 restarts a day.
        let restart = end_after(&mut brake, 59);
        assert_eq!(restart, Restart { wait: DAY / 25, braked: Some(5) });
        assert_eq!(end_after(&mut brake, 1).braked, Some(6));
        assert_eq!(end_after(&mut brake, 60).wait, Duration::ZERO);
        assert_eq!(end_after(&mut brake, 1).wait, FIRST_WAIT);
        for _ in 0..9 {
            end_after(&mut brake, 1);
        }
        brake.release();
        assert_eq!(end_after(&mut brake, 1).wait, FIRST_WAIT);
    }

    #[test]
    fn the_brake_knows_its_bounds() {
        let now = Instant::now();
        let braked = |shards, starts| Brake::new(shards, starts, now).braked;
        assert_eq!(braked(1, 1_000_000), BRAKED.0);
        assert_eq!(braked(1_000, 1_000), BRAKED.1);
        assert_eq!(braked(1, 0), BRAKED.1);
    }
}
