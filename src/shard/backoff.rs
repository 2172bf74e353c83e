//! How long a shard waits before it tries again.

use std::time::Duration;

/// The longest first wait.
const BASE: Duration = Duration::from_secs(1);

/// The longest wait of all.
const CAP: Duration = Duration::from_secs(60);

/// Exponential backoff with full jitter: each wait is drawn evenly from zero to a bound that doubles.
///
/// Full jitter is what keeps a thousand shards that fell together from coming back together. The
/// bound goes back only when a session stands (READY or RESUMED): a server that accepts connections
/// and then drops them is no better than one that refuses them.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    /// Attempts since the last success.
    attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let bound = BASE.saturating_mul(1 << self.attempts.min(16)).min(CAP);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(rng.f64())
    }

    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario 13: growing, jittered, capped.
    #[test]
    fn waits_spread_over_a_growing_and_capped_range() {
        let mut longest = [Duration::ZERO; 12];
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            for (attempt, longest) in longest.iter_mut().enumerate() {
                let wait = backoff.next(&mut rng);
                let bound = Duration::from_secs(1 << attempt.min(10)).min(CAP);
                assert!(wait <= bound, "{wait:?} at attempt {attempt}");
                *longest = wait.max(*longest);
            }
            backoff.reset();
            assert!(backoff.next(&mut rng) <= BASE);
        }
        for (attempt, longest) in longest.into_iter().enumerate() {
            let bound = Duration::from_secs(1 << attempt.min(10)).min(CAP);
            assert!(longest > bound.mul_f64(0.9), "attempt {attempt} never waits {bound:?}");
        }
    }
}
