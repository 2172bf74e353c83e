//! What one connection may send: 120 payloads in any 60 seconds, 5 presences in any 20.
//!
//! Sources: <https://discord.com/developers/docs/events/gateway#rate-limiting> and, for presences,
//! <https://discord.com/developers/docs/events/gateway-events#activity-object>.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Payloads per window, heartbeats included.
const MAX_SENDS: usize = 120;

/// Discord's 60 s, and what the way there may squeeze together: two payloads that leave 60 s apart
/// can arrive closer.
const WINDOW: Duration = Duration::from_millis(60_500);

/// Presence updates per presence window.
const MAX_PRESENCES: usize = 5;

/// Discord's 20 s, and the same allowance.
const PRESENCE_WINDOW: Duration = Duration::from_millis(20_500);

/// Places that heartbeats Discord asks for (op 1) may take besides the regular ones.
const REQUESTED_BEATS: usize = 3;

/// The sends of the last window, and who may add one.
///
/// Regular heartbeats never wait, and are not counted: places for all that can fall due in a window
/// are kept from everything else.
#[derive(Debug, Clone)]
pub(super) struct Limiter {
    /// When the other payloads of the last window were sent, oldest first.
    sent: VecDeque<Instant>,
    /// When the last presences were sent, oldest first. Not forgotten with the connection: the limit
    /// is said to be the bot's.
    presences: VecDeque<Instant>,
    /// Places kept for regular heartbeats.
    reserved: usize,
    /// No command before this, whatever room there is.
    held_until: Option<Instant>,
}

impl Limiter {
    /// The limiter of a shard that has sent nothing.
    pub(super) fn new(heartbeat_interval: Duration) -> Self {
        Self::with(heartbeat_interval, VecDeque::new())
    }

    /// Starts anew for a new connection.
    pub(super) fn renew(&mut self, heartbeat_interval: Duration) {
        *self = Self::with(heartbeat_interval, std::mem::take(&mut self.presences));
    }

    fn with(heartbeat_interval: Duration, presences: VecDeque<Instant>) -> Self {
        let beats = WINDOW.as_millis().div_ceil(heartbeat_interval.as_millis().max(1));
        let reserved = usize::try_from(beats).unwrap_or(MAX_SENDS).saturating_add(1);
        debug_assert!(reserved + REQUESTED_BEATS < MAX_SENDS, "the shortest interval leaves room");
        let reserved = reserved.min(MAX_SENDS / 2 + 2);
        Self { sent: VecDeque::new(), presences, reserved, held_until: None }
    }

    /// Keeps commands back until then.
    pub(super) fn hold_commands(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Notes a payload that must go out now: IDENTIFY or RESUME, once per connection.
    pub(super) fn record(&mut self, now: Instant) {
        self.forget(now);
        self.sent.push_back(now);
    }

    /// Notes a heartbeat that Discord asked for, if there is room for one.
    pub(super) fn try_requested_beat(&mut self, now: Instant) -> bool {
        self.try_send(now, MAX_SENDS - self.reserved)
    }

    /// Notes a command, if there is room for one.
    pub(super) fn try_command(&mut self, now: Instant) -> bool {
        self.held_until.is_none_or(|until| until <= now)
            && self.try_send(now, self.command_places())
    }

    /// When a presence may go out next, as far as its own limit goes; in the past when it may now.
    pub(super) fn next_presence_at(&self, now: Instant) -> Instant {
        match self.presences.front() {
            Some(oldest) if self.presences.len() == MAX_PRESENCES => *oldest + PRESENCE_WINDOW,
            _ => now,
        }
    }

    /// Notes a presence, which was noted as a command too.
    pub(super) fn record_presence(&mut self, now: Instant) {
        if self.presences.len() == MAX_PRESENCES {
            self.presences.pop_front();
        }
        self.presences.push_back(now);
    }

    /// When a command may go out next; in the past when it may now.
    pub(super) fn next_command_at(&self, now: Instant) -> Instant {
        let blocking = self.sent.len().checked_sub(self.command_places());
        let room =
            blocking.and_then(|index| self.sent.get(index)).map_or(now, |sent| *sent + WINDOW);
        self.held_until.map_or(room, |until| until.max(room))
    }

    /// Commands that may go out at once.
    pub(super) fn commands_left(&self, now: Instant) -> usize {
        let recent = self.sent.iter().filter(|sent| **sent + WINDOW > now).count();
        self.command_places().saturating_sub(recent)
    }

    /// Places of a window that commands may fill.
    fn command_places(&self) -> usize {
        MAX_SENDS - self.reserved - REQUESTED_BEATS
    }

    /// Takes one place, if fewer than `places` are taken.
    fn try_send(&mut self, now: Instant, places: usize) -> bool {
        self.forget(now);
        let free = self.sent.len() < places;
        if free {
            self.sent.push_back(now);
        }
        free
    }

    /// Drops what has left the window.
    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| *sent + WINDOW <= now) {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario 56: whatever is asked for, no 60 s hold more than 120, and heartbeats never wait.
    #[test]
    fn no_window_ever_holds_more_than_120() {
        for (seed, interval_ms) in [(1, 41_250), (2, 10_000), (3, 1_000), (4, 60_000)] {
            let mut rng = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            let interval = Duration::from_millis(interval_ms);
            let mut limiter = Limiter::new(interval);
            let mut sent = Vec::new();
            let mut next_beat = start + interval.mul_f64(rng.f64());
            limiter.record(start);
            sent.push(start);
            let mut now = start;
            while now < start + Duration::from_secs(400) {
                now += Duration::from_millis(rng.u64(0..40));
                if now >= next_beat {
                    sent.push(now);
                    next_beat += interval;
                }
                if rng.u8(0..4) == 0 && limiter.try_requested_beat(now) {
                    sent.push(now);
                }
                let free = limiter.next_command_at(now) <= now;
                assert_eq!(limiter.commands_left(now) > 0, free);
                assert_eq!(limiter.try_command(now), free);
                if free {
                    sent.push(now);
                }
            }
            let minute = Duration::from_secs(60);
            for (i, first) in sent.iter().enumerate() {
                let in_window = sent[i..].iter().take_while(|at| **at < *first + minute).count();
                assert!(in_window <= MAX_SENDS, "{in_window} in 60 s at {interval:?}");
            }
            assert!(sent.len() > 500, "it must not starve commands: {}", sent.len());
        }
    }

    #[test]
    fn a_hold_keeps_commands_back_and_nothing_else() {
        let now = Instant::now();
        let mut limiter = Limiter::new(Duration::from_secs(41));
        let until = now + Duration::from_secs(10);
        limiter.hold_commands(until);
        assert!(!limiter.try_command(now));
        assert_eq!(limiter.next_command_at(now), until);
        assert!(limiter.try_requested_beat(now));
        assert!(limiter.try_command(until));
    }
}
