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
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The bound of an attempt, by the book.
    fn bound(attempt: u32) -> Duration {
        Duration::from_secs(1_u64.checked_shl(attempt.min(63)).unwrap_or(u64::MAX)).min(CAP)
    }

    proptest! {
        /// Scenario 13: no wait is longer than its bound, however often it failed, and a success
        /// starts it anew.
        #[test]
        fn no_wait_is_longer_than_its_bound(
            seed in any::<u64>(),
            successes in vec(prop_oneof![9 => Just(false), 1 => Just(true)], 0..200),
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            let mut attempt = 0;
            for success in successes {
                if success {
                    backoff.reset();
                    attempt = 0;
                }
                let wait = backoff.next(&mut rng);
                prop_assert!(wait <= bound(attempt), "{:?} at attempt {}", wait, attempt);
                attempt += 1;
            }
        }
    }

    /// Scenario 13: waits are spread over the whole of their range, so that shards that fell together
    /// do not come back together.
    #[test]
    fn waits_use_their_whole_range() {
        for attempt in 0..12 {
            let waits = (0..2_000).map(|seed| {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut backoff = Backoff { attempts: attempt };
                backoff.next(&mut rng)
            });
            let mut tenths = [0; 10];
            for wait in waits {
                tenths[(wait.as_nanos() * 10 / bound(attempt).as_nanos()).min(9) as usize] += 1;
            }
            assert!(tenths.iter().all(|count| *count > 120), "attempt {attempt}: {tenths:?}");
        }
    }
}
