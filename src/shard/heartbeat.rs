//! When to beat, and when a silent peer counts as gone.
//!
//! Source: <https://discord.com/developers/docs/events/gateway#sending-heartbeats>.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The shortest interval that is taken for meant. Below it a HELLO is refused: obeying would be a
/// busy loop, and ignoring it would get the connection closed.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The longest interval that is waited for. Beating more often than asked is allowed.
const MAX_INTERVAL: Duration = Duration::from_secs(300);

/// How late a beat is when the machine was suspended, or stood still, rather than busy.
const SUSPENDED: Duration = Duration::from_secs(5);

/// The interval in a HELLO's `d`, or why there is none.
pub(super) fn interval_of_hello(data: &[u8]) -> Result<Duration, String> {
    #[derive(Deserialize)]
    struct Hello {
        heartbeat_interval: f64,
    }
    let hello: Hello = serde_json::from_slice(data).map_err(|error| error.to_string())?;
    let seconds = hello.heartbeat_interval / 1_000.0;
    match Duration::try_from_secs_f64(seconds.min(MAX_INTERVAL.as_secs_f64())) {
        Ok(interval) if interval >= MIN_INTERVAL => Ok(interval),
        _ => Err(format!("a heartbeat_interval of {} ms", hello.heartbeat_interval)),
    }
}

/// Beats that are remembered until their ACK. A link that leaves more unanswered is dead, or its ACKs are lost.
const MAX_UNACKED: usize = 64;

/// An ACK that has not come after this long got lost: it does not come later.
const ACK_LOST: Duration = Duration::from_secs(120);

/// The heartbeat of one connection.
#[derive(Debug, Clone)]
pub(super) struct Heart {
    /// Time between regular beats.
    interval: Duration,
    /// When the next regular beat is due.
    next: Instant,
    /// When the last beat went out, for the latency.
    last_sent: Option<Instant>,
    /// When the beats without an ACK went out, oldest first: each gets one, in their order.
    unacked: VecDeque<Instant>,
    /// When the oldest beat without an answer went out, moved forward by every sign of life.
    unanswered_since: Option<Instant>,
    /// The last regular beat was late by a suspension.
    woke: bool,
}

impl Heart {
    /// The heart of a connection that said HELLO now. The first beat comes after a random part of
    /// the interval, so that shards that came back together do not beat together.
    pub(super) fn new(interval: Duration, now: Instant, rng: &mut fastrand::Rng) -> Self {
        let next = now + interval.mul_f64(rng.f64());
        Self {
            interval,
            next,
            last_sent: None,
            unacked: VecDeque::new(),
            unanswered_since: None,
            woke: false,
        }
    }

    /// When the next regular beat is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether the machine was suspended, by how late the regular beat that is due is. Not twice in a
    /// row: a machine that is always late would never find a dead link.
    pub(super) fn wakes(&mut self, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.next) >= SUSPENDED;
        self.woke = is_late && !self.woke;
        self.woke
    }

    /// Whether the link is half-open: a beat is unanswered for a whole interval and nothing else
    /// came either. Asked before each regular beat. A beat that was just sent on request is no miss.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.unanswered_since.is_some_and(|since| now.duration_since(since) >= self.interval)
    }

    /// Notes a regular beat and plans the next one, on the old grid unless that was left far behind
    /// (a suspended machine must not send all the beats it slept through).
    pub(super) fn beat(&mut self, now: Instant) {
        self.requested_beat(now);
        let on_grid = self.next + self.interval;
        self.next = if on_grid > now { on_grid } else { now + self.interval };
    }

    /// Notes a beat that Discord asked for; the regular ones keep their times.
    pub(super) fn requested_beat(&mut self, now: Instant) {
        self.last_sent = Some(now);
        self.unacked.truncate(MAX_UNACKED - 1);
        self.unacked.push_back(now);
        self.unanswered_since.get_or_insert(now);
    }

    /// Notes an ACK: when the beat that it answers went out, and the latency. That is counted from the last
    /// beat, for an ACK that got lost would make it too long ever after.
    pub(super) fn ack(&mut self, now: Instant) -> (Option<Instant>, Option<Duration>) {
        self.unanswered_since = None;
        let latency = self.last_sent.take().map(|sent| now.duration_since(sent));
        let is_lost = |sent: &Instant| now.duration_since(*sent) > ACK_LOST;
        while self.unacked.front().is_some_and(is_lost) {
            self.unacked.pop_front();
        }
        (self.unacked.pop_front(), latency)
    }

    /// Notes that something else came: with events flowing, a lost ACK is just that.
    pub(super) fn sign_of_life(&mut self, now: Instant) {
        if let Some(since) = &mut self.unanswered_since {
            *since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario 10.
    #[test]
    fn senseless_intervals_are_refused() {
        let read = |text: &str| interval_of_hello(text.as_bytes());
        assert_eq!(
            read(r#"{"heartbeat_interval":41250,"_trace":[]}"#),
            Ok(Duration::from_millis(41_250))
        );
        assert_eq!(read(r#"{"heartbeat_interval":1e300}"#), Ok(MAX_INTERVAL));
        for bad in ["", "null", "{}", "0", "[]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "1", "999", "\"41250\"", "null", "1e999"] {
            assert!(read(&format!("{{\"heartbeat_interval\":{bad}}}")).is_err(), "{bad}");
        }
    }

    /// The ACK of an earlier beat proves nothing of what Discord sent after it.
    #[test]
    fn each_ack_answers_one_beat() {
        let now = Instant::now();
        let mut heart = Heart::new(Duration::from_secs(40), now, &mut fastrand::Rng::with_seed(1));
        let at = |seconds| now + Duration::from_secs(seconds);
        heart.beat(at(0));
        heart.requested_beat(at(5));
        assert_eq!(heart.ack(at(7)), (Some(at(0)), Some(Duration::from_secs(2))));
        assert_eq!(heart.ack(at(8)), (Some(at(5)), None));
        assert_eq!(heart.ack(at(9)), (None, None));
        heart.beat(at(10));
        heart.beat(at(100));
        assert_eq!(
            heart.ack(at(131)),
            (Some(at(100)), Some(Duration::from_secs(31))),
            "one is lost"
        );
        (0..500).for_each(|second| heart.requested_beat(at(second)));
        assert_eq!(heart.unacked.len(), MAX_UNACKED);
    }

    /// Scenario 84.
    #[test]
    fn being_late_is_no_excuse_for_ever() {
        let now = Instant::now();
        let mut heart = Heart::new(Duration::from_secs(40), now, &mut fastrand::Rng::with_seed(1));
        let mut late = |by_s: u64| {
            let at = heart.next() + Duration::from_secs(by_s);
            let wakes = heart.wakes(at);
            heart.beat(at);
            wakes
        };
        let wakes = [0, 4, 5, 5, 100, 3_600, 0, 3_600].map(&mut late);
        assert_eq!(wakes, [false, false, true, false, true, false, false, true]);
    }

    /// Scenario 11: the first beat is anywhere in the interval, the rest stand one interval apart.
    #[test]
    fn first_beats_spread_and_the_rest_keep_time() {
        let now = Instant::now();
        let interval = Duration::from_secs(40);
        let mut quarters = [0; 4];
        for seed in 0..1_000 {
            let mut heart = Heart::new(interval, now, &mut fastrand::Rng::with_seed(seed));
            let first = heart.next();
            assert!(first >= now && first < now + interval);
            quarters[(first.duration_since(now).as_secs() / 10) as usize] += 1;
            heart.beat(first + Duration::from_millis(3));
            assert_eq!(heart.next(), first + interval, "a late tick must not shift the grid");
        }
        assert!(quarters.iter().all(|count| *count > 200), "{quarters:?}");
    }
}
