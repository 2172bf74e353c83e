//! What keeps the whole bot off Discord's blacklists: counting refusals, and noticing a dead token.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans>.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Invalid requests in ten minutes at which nothing more is sent. Discord bans an address at 10,000;
/// the rest is for other programs behind the same address, and what is in flight.
pub(super) const MAX_INVALID: u32 = 9_000;

/// The ten minutes.
const WINDOW: Duration = Duration::from_secs(600);

/// Invalid requests are counted per this long, not one by one.
const SLOT: Duration = Duration::from_secs(10);

/// Answers with 401 in a row after which the token counts as dead. Not one: routes that want an
/// `OAuth2` token say 401 to a perfectly good bot token.
///
/// Source: <https://github.com/discord/discord-api-docs/issues/3945>.
pub(super) const MAX_UNAUTHORIZED: u32 = 3;

/// How long a dead token is believed to be dead. Discord has had hours in which it refused good
/// tokens; asking once a minute is no burden, and a bot comes back by itself.
pub(super) const UNAUTHORIZED_FOR: Duration = Duration::from_secs(60);

/// The invalid requests of the last ten minutes.
#[derive(Default)]
pub(super) struct InvalidRequests {
    /// When a slot began, and how many are in it.
    slots: VecDeque<(Instant, u32)>,
    /// The sum of all slots.
    total: u32,
}

impl InvalidRequests {
    /// Counts one.
    pub(super) fn count(&mut self, now: Instant) {
        self.refresh(now);
        match self.slots.back_mut() {
            Some((began, count)) if now < *began + SLOT => *count += 1,
            _ => self.slots.push_back((now, 1)),
        }
        self.total += 1;
    }

    /// Lets time pass.
    pub(super) fn refresh(&mut self, now: Instant) {
        while let Some((began, count)) = self.slots.front() {
            if *began + SLOT + WINDOW > now {
                return;
            }
            self.total -= count;
            self.slots.pop_front();
        }
    }

    /// How many there are, as of the last refresh.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// When there are few enough again; `None` when there are.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let mut left = self.total;
        let mut opens_at = None;
        for (began, count) in &self.slots {
            if left < MAX_INVALID {
                break;
            }
            left -= count;
            opens_at = Some(*began + SLOT + WINDOW);
        }
        opens_at
    }
}

/// Whether Discord still takes the bot's token.
#[derive(Default)]
pub(super) struct TokenHealth {
    /// Answers with 401 since the last of another kind.
    unauthorized: u32,
    /// Until when it counts as dead.
    dead_until: Option<Instant>,
}

impl TokenHealth {
    /// Learns from the answer to a request that carried the token. Errors of the server and rate
    /// limits say nothing about it.
    pub(super) fn learn(&mut self, status: u16, now: Instant) {
        match status {
            401 => {
                self.unauthorized = self.unauthorized.saturating_add(1);
                if self.unauthorized >= MAX_UNAUTHORIZED {
                    self.dead_until = Some(now + UNAUTHORIZED_FOR);
                }
            }
            429 | 500.. => {}
            _ => *self = Self::default(),
        }
    }

    /// Whether it counts as dead.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.dead_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_requests_leave_the_window_after_ten_minutes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut invalid = InvalidRequests::default();
        // 20 per second: 9,000 after 450 s.
        for index in 0..u64::from(MAX_INVALID) {
            assert_eq!(invalid.opens_at(), None);
            invalid.count(at(index * 50));
        }
        assert_eq!((invalid.total(), invalid.opens_at()), (MAX_INVALID, Some(at(610_000))));
        assert_eq!(invalid.slots.len(), 45, "memory is bounded by time, not by requests");
        invalid.refresh(at(609_999));
        assert_eq!(invalid.total(), MAX_INVALID);
        invalid.refresh(at(610_000));
        assert_eq!((invalid.total(), invalid.opens_at()), (MAX_INVALID - 200, None));
        invalid.refresh(at(10_000_000));
        assert_eq!((invalid.total(), invalid.slots.len()), (0, 0));
    }

    #[test]
    fn a_burst_holds_until_enough_of_it_has_left() {
        let start = Instant::now();
        let mut invalid = InvalidRequests::default();
        (0..100).for_each(|_| invalid.count(start));
        let later = start + Duration::from_secs(300);
        (0..MAX_INVALID).for_each(|_| invalid.count(later));
        assert_eq!(invalid.opens_at(), Some(later + SLOT + WINDOW));
    }

    #[test]
    fn one_401_is_no_dead_token() {
        let now = Instant::now();
        let mut health = TokenHealth::default();
        for status in [401, 401, 200, 401, 401, 404, 401, 503, 429, 401] {
            health.learn(status, now);
            assert!(!health.is_dead(now), "after {status}");
        }
        health.learn(401, now);
        assert!(health.is_dead(now));
        let later = now + UNAUTHORIZED_FOR;
        assert!(!health.is_dead(later), "it is asked again");
        health.learn(401, later);
        assert!(health.is_dead(later), "and one no is enough");
        health.learn(200, later);
        assert!(!health.is_dead(later));
    }
}
