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
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Who asks how often, and how much time passes first.
    #[derive(Debug, Clone)]
    struct Burst {
        after_ms: u64,
        commands: usize,
        presences: usize,
        requested_beats: usize,
    }

    fn burst() -> impl Strategy<Value = Burst> {
        let after_ms = prop_oneof![0..50_u64, 0..2_000_u64, 0..30_000_u64];
        (after_ms, 0..60_usize, 0..4_usize, 0..5_usize).prop_map(
            |(after_ms, commands, presences, requested_beats)| Burst {
                after_ms,
                commands,
                presences,
                requested_beats,
            },
        )
    }

    /// A connection, from its first payload on. When payloads went out, presences apart; regular
    /// heartbeats are among them at their time and ask nobody.
    fn live(interval: Duration, phase: f64, bursts: &[Burst]) -> [Vec<Instant>; 2] {
        let start = Instant::now();
        let mut limiter = Limiter::new(interval);
        let (mut sent, mut presences) = (vec![start], Vec::new());
        limiter.record(start);
        let mut next_beat = start + interval.mul_f64(phase);
        let mut now = start;
        for burst in bursts {
            now += Duration::from_millis(burst.after_ms);
            while next_beat <= now {
                sent.push(next_beat);
                next_beat += interval;
            }
            let beats = (0..burst.requested_beats).filter(|_| limiter.try_requested_beat(now));
            sent.extend(beats.map(|_| now).collect::<Vec<_>>());
            for command in 0..burst.commands + burst.presences {
                let is_presence = command < burst.presences;
                let may = limiter.next_command_at(now) <= now;
                assert_eq!(limiter.commands_left(now) > 0, may);
                if is_presence && limiter.next_presence_at(now) > now {
                    continue;
                }
                assert_eq!(limiter.try_command(now), may, "as foretold");
                if may {
                    sent.push(now);
                }
                if may && is_presence {
                    limiter.record_presence(now);
                    presences.push(now);
                }
            }
            let next = limiter.next_command_at(now);
            assert!(next <= now || limiter.clone().try_command(next), "the time foretold is right");
        }
        [sent, presences]
    }

    /// The most that lie in one window.
    fn most_in(window: Duration, times: &[Instant]) -> usize {
        let in_window = |first: &Instant| {
            times.iter().filter(|at| **at >= *first && **at < *first + window).count()
        };
        times.iter().map(in_window).max().unwrap_or(0)
    }

    proptest! {
        /// Scenario 56: whatever is asked for, no 60 s hold more than 120 payloads, heartbeats among
        /// them that never wait, and no 20 s more than 5 presences.
        #[test]
        fn no_window_ever_holds_more_than_allowed(
            interval_ms in prop_oneof![1_000..3_000_u64, Just(41_250_u64), 1_000..300_000_u64],
            phase in 0.0..1.0_f64,
            bursts in vec(burst(), 1..60),
        ) {
            let [sent, presences] = live(Duration::from_millis(interval_ms), phase, &bursts);
            prop_assert!(most_in(MINUTE, &sent) <= MAX_SENDS);
            prop_assert!(most_in(Duration::from_secs(20), &presences) <= MAX_PRESENCES);
        }
    }

    /// A host that always wants more gets most of the window, at any interval.
    #[test]
    fn commands_do_not_starve() {
        for (interval_ms, least) in [(1_000, 50), (10_000, 105), (41_250, 110), (300_000, 110)] {
            let always = Burst { after_ms: 500, commands: 60, presences: 0, requested_beats: 1 };
            let [sent, _] = live(Duration::from_millis(interval_ms), 0.5, &vec![always; 1_200]);
            assert!(sent.len() >= 10 * least, "{} payloads in ten minutes", sent.len());
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
