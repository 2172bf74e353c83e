//! How often and how soon a bot may identify.
//!
//! <https://docs.discord.com/developers/events/gateway#identifying>

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::options::SessionStarts;

/// The period of the session start limit.
const PERIOD: Duration = Duration::from_hours(24);

/// The session start limit and the windows of `max_concurrency`.
#[derive(Debug)]
pub(crate) struct Starts {
    pub(crate) total: u32,
    pub(crate) remaining: u32,
    resets: Duration,
    /// The last identify granted to each key.
    keys: BTreeMap<u32, Duration>,
}

impl Starts {
    /// Limits as the options have them.
    pub(crate) fn new(options: &SessionStarts) -> Self {
        Self {
            total: options.total,
            remaining: options.remaining.unwrap_or(options.total).min(options.total),
            resets: Duration::from_millis(options.reset_after_ms),
            keys: BTreeMap::new(),
        }
    }

    /// Begins the next period when one has passed.
    fn refresh(&mut self, now: Duration) {
        while now >= self.resets {
            self.remaining = self.total;
            self.resets += PERIOD;
        }
    }

    /// Takes one start off the day's limit; `false` when none is left.
    pub(crate) fn spend(&mut self, now: Duration) -> bool {
        self.refresh(now);
        let left = self.remaining > 0;
        self.remaining = self.remaining.saturating_sub(1);
        left
    }

    /// Takes the window of a key, or says how long it is still taken.
    pub(crate) fn enter(
        &mut self,
        key: u32,
        now: Duration,
        window: Duration,
        slack: Duration,
    ) -> Result<(), Duration> {
        if let Some(last) = self.keys.get(&key)
            && now + slack < *last + window
        {
            return Err((*last + window).saturating_sub(now));
        }
        self.keys.insert(key, now);
        Ok(())
    }

    /// The object of `/gateway/bot`.
    pub(crate) fn object(&mut self, now: Duration, max_concurrency: u32) -> Value {
        self.refresh(now);
        let reset_after = self.resets.saturating_sub(now).as_millis();
        json!({
            "total": self.total, "remaining": self.remaining,
            "reset_after": u64::try_from(reset_after).unwrap_or(u64::MAX),
            "max_concurrency": max_concurrency,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_comes_back_after_its_time() {
        let mut starts = Starts::new(&SessionStarts {
            total: 2,
            remaining: Some(1),
            reset_after_ms: 10_000,
            ..SessionStarts::default()
        });
        let at = Duration::from_secs;
        assert!(starts.spend(at(0)));
        assert!(!starts.spend(at(1)));
        assert_eq!(starts.object(at(4), 1)["reset_after"], 6_000);
        assert!(starts.spend(at(10)));
        assert!(starts.spend(at(11)));
        assert!(!starts.spend(at(12)));
        assert_eq!(starts.object(at(10 + 86_400), 1)["remaining"], 2);
    }

    #[test]
    fn a_key_is_free_again_after_its_window() {
        let mut starts = Starts::new(&SessionStarts::default());
        let (window, slack) = (Duration::from_secs(5), Duration::from_millis(50));
        let ms = Duration::from_millis;
        assert!(starts.enter(0, ms(0), window, slack).is_ok());
        assert!(starts.enter(1, ms(0), window, slack).is_ok());
        assert_eq!(starts.enter(0, ms(4_900), window, slack), Err(ms(100)));
        assert!(starts.enter(0, ms(4_950), window, slack).is_ok(), "within the slack");
        assert!(starts.enter(0, ms(9_000), window, slack).is_err());
    }
}
