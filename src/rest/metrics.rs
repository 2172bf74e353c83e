//! What the REST client counts. No label per path: there are too many, and some are secret. Per class
//! of routes instead, which is the first word of the path where that is one of a short list.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use super::answer::RateLimitScope;

/// The methods that a request can have.
pub(super) const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// The first words of paths that are counted on their own; all others are `other`.
const CLASSES: [&str; 9] = [
    "applications",
    "channels",
    "gateway",
    "guilds",
    "interactions",
    "invites",
    "users",
    "webhooks",
    "other",
];

/// Counters of a [`Rest`](super::Rest), since it was made, and two gauges. Reading them takes no lock.
#[derive(Debug, Default)]
pub struct RestMetrics {
    /// Answers by method and hundreds of the status.
    answers: [[AtomicU64; 5]; METHODS.len()],
    /// Answers by class of the route and hundreds of the status.
    answers_of_class: [[AtomicU64; 5]; CLASSES.len()],
    /// Attempts that got no whole answer, by class of the route.
    unanswered: [AtomicU64; CLASSES.len()],
    /// Answers that Discord counts as invalid requests.
    invalid: AtomicU64,
    /// 429s by scope.
    rate_limited: [AtomicU64; RateLimitScope::ALL.len()],
    /// Turns that were waited for.
    waits: AtomicU64,
    /// Time spent waiting for them, in milliseconds.
    wait_ms: AtomicU64,
    /// Requests in line now.
    waiting: AtomicU64,
    /// Requests on the wire now.
    in_flight: AtomicU64,
}

impl RestMetrics {
    /// Answers so far: method, class of the status (2 for 2xx), how many. Each attempt counts.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        const NAMES: [&str; METHODS.len()] =
            ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
        NAMES.into_iter().zip(&self.answers).flat_map(|(name, classes)| {
            (1..).zip(classes).map(move |(class, count)| (name, class, get(count)))
        })
    }

    /// Answers so far: class of the route, class of the status (2 for 2xx), how many. Each attempt
    /// counts. The class of a route is the first word of its path: `channels`, or `other`.
    pub fn answers_by_route(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        CLASSES.into_iter().zip(&self.answers_of_class).flat_map(|(name, classes)| {
            (1..).zip(classes).map(move |(class, count)| (name, class, get(count)))
        })
    }

    /// Attempts without a whole answer so far, by class of the route: no connection, a lost one, or a
    /// timeout.
    pub fn unanswered_by_route(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.unanswered.iter().map(get))
    }

    /// Attempts without a whole answer.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.iter().map(get).sum()
    }

    /// Answers that Discord counts as invalid requests: 401, 403, and 429 unless the limit is shared
    /// with other bots. At 10,000 in ten minutes it bans the address.
    pub fn invalid(&self) -> u64 {
        get(&self.invalid)
    }

    /// Answers with status 429 so far, by what was exceeded.
    pub fn rate_limited(&self) -> impl Iterator<Item = (RateLimitScope, u64)> {
        RateLimitScope::ALL.into_iter().zip(self.rate_limited.iter().map(get))
    }

    /// How often a request could not go out at once, be it for a rate limit or for the number of
    /// requests on the wire.
    pub fn waits(&self) -> u64 {
        get(&self.waits)
    }

    /// The time that those took together, in milliseconds.
    pub fn wait_ms(&self) -> u64 {
        get(&self.wait_ms)
    }

    /// Requests that wait for their turn now.
    pub fn waiting(&self) -> u64 {
        get(&self.waiting)
    }

    /// Requests that are on the wire now.
    pub fn in_flight(&self) -> u64 {
        get(&self.in_flight)
    }

    /// Counts an answer.
    pub(super) fn count_answer(&self, method: &Method, route: &str, status: u16) {
        let method = METHODS.iter().position(|known| known == method);
        let class = usize::from(status / 100).checked_sub(1);
        let counter = method.zip(class).and_then(|(method, class)| self.answers[method].get(class));
        counter.inspect(|counter| add(counter, 1));
        let counter = class.and_then(|class| self.answers_of_class[class_of(route)].get(class));
        counter.inspect(|counter| add(counter, 1));
    }

    /// Counts an answer as an invalid request.
    pub(super) fn count_invalid(&self) {
        add(&self.invalid, 1);
    }

    /// Counts a 429.
    pub(super) fn count_rate_limited(&self, scope: RateLimitScope) {
        add(&self.rate_limited[scope as usize], 1);
    }

    /// Counts an attempt without answer.
    pub(super) fn count_unanswered(&self, route: &str) {
        add(&self.unanswered[class_of(route)], 1);
    }

    /// Counts a wait that is over.
    pub(super) fn count_wait(&self, wait: Duration) {
        add(&self.waits, 1);
        add(&self.wait_ms, u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    }

    /// Sets the gauges.
    pub(super) fn set_load(&self, waiting: usize, in_flight: usize) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
        self.in_flight.store(in_flight as u64, Ordering::Relaxed);
    }
}

/// The number of a route's class, by its template.
fn class_of(template: &str) -> usize {
    let first = template.trim_start_matches('/').split('/').next();
    CLASSES.iter().position(|class| Some(*class) == first).unwrap_or(CLASSES.len() - 1)
}

/// Reads a counter.
fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Adds to a counter.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_own_counter() {
        let metrics = RestMetrics::default();
        for (index, method) in METHODS.iter().enumerate() {
            for class in 1..=5 {
                let count = || metrics.count_answer(method, "/guilds/{id}", class * 100 + 7);
                (0..=index).for_each(|_| count());
            }
        }
        metrics.count_answer(&Method::CONNECT, "/oauth2/@me", 200);
        metrics.count_answer(&Method::GET, "/users/@me", 999);
        metrics.count_answer(&Method::GET, "/users/@me", 0);
        metrics.count_unanswered("/gateway/bot");
        metrics.count_unanswered("");
        let answers: Vec<_> = metrics.answers().collect();
        assert_eq!(answers.len(), 35);
        for (name, class, count) in answers {
            let index = METHODS.iter().position(|method| method.as_str() == name).expect("known");
            assert_eq!(count, index as u64 + 1, "{name} {class}xx");
        }
        for (route, class, count) in metrics.answers_by_route() {
            let expected = match (route, class) {
                ("guilds", _) => 28,
                ("other", 2) => 1,
                _ => 0,
            };
            assert_eq!(count, expected, "{route} {class}xx");
        }
        let unanswered: Vec<_> = metrics.unanswered_by_route().filter(|(_, n)| *n > 0).collect();
        assert_eq!(unanswered, [("gateway", 1), ("other", 1)]);
        metrics.count_rate_limited(RateLimitScope::Shared);
        for (scope, count) in metrics.rate_limited() {
            assert_eq!(count, u64::from(scope == RateLimitScope::Shared));
        }
    }
}
