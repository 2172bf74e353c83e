//! The timers of a shard, as data: what is due when, with nothing that ticks.

use std::time::Instant;

/// What a shard can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The next heartbeat. First in the table, so that it is first among those due together.
    Heartbeat,
    /// The end of patience with a connection attempt, up to the websocket upgrade.
    Connect,
    /// The end of patience with a server that says no HELLO.
    Hello,
    /// The end of patience with a server that answers neither IDENTIFY nor RESUME.
    Session,
    /// The next connection attempt.
    Backoff,
    /// The moment the outbound limiter has room for a held command.
    Outbound,
}

impl Timer {
    const ALL: [Self; 6] =
        [Self::Heartbeat, Self::Connect, Self::Hello, Self::Session, Self::Backoff, Self::Outbound];
}

/// When each timer is due.
#[derive(Debug, Clone, Default)]
pub(super) struct Timers([Option<Instant>; Timer::ALL.len()]);

impl Timers {
    /// Sets one timer, whatever it was before.
    pub(super) fn set(&mut self, timer: Timer, due: Instant) {
        self.0[timer as usize] = Some(due);
    }

    /// Stops one timer.
    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Stops all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes out one timer that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due =
            Timer::ALL.into_iter().find(|t| self.0[*t as usize].is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn due_timers_come_out_once_and_heartbeats_first() {
        let start = Instant::now();
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Outbound, start + Duration::from_secs(1));
        timers.set(Timer::Heartbeat, start + Duration::from_secs(2));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.take_due(start), None);
        let later = start + Duration::from_secs(3);
        assert_eq!(timers.take_due(later), Some(Timer::Heartbeat));
        assert_eq!(timers.take_due(later), Some(Timer::Outbound));
        assert_eq!(timers.take_due(later), None);
        assert_eq!(timers.next(), None);
    }
}
