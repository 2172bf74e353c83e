//! Notices a session that is half dead: heartbeats are answered, but no event comes on a shard that
//! normally has many.
//!
//! Nobody can tell silence from a fault by looking at one connection, so the measure is the shard
//! itself. A window at a time it is learned in how many of them there was an event, and how many
//! events there were. Only a shard that had some in nearly every window is watched at all. An event
//! costs a counter and a time; everything else happens with the heartbeats.

use std::time::{Duration, Instant};

/// Time that events are counted in. A heartbeat ends a window, so that it may be longer.
const WINDOW: Duration = Duration::from_secs(60);

/// Windows that are remembered: what is older fades.
const MEMORY: f64 = 30.0;

/// The share of the windows with an event from which on a shard counts as one that normally talks.
/// It takes 69 windows with events in a row to get there.
const TALKATIVE: f64 = 0.9;

/// The shortest silence that is worth a word.
const MIN_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The same in times between two events, for shards with few of them.
const PATIENCE_GAPS: f64 = 50.0;

/// Silence after which the session is resumed, in silences that are worth a word.
const RESUME_AFTER: u32 = 2;

/// How often the patience is doubled after resumes that brought nothing, at most.
const MAX_DOUBLINGS: u32 = 8;

/// What the watchdog says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Alarm {
    /// This is odd. Said once in a silence.
    Odd(Silence),
    /// Enough: resume.
    Resume(Silence),
}

/// A silence, and what would be normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Silence {
    /// How long it has lasted.
    pub(super) lasted: Duration,
    /// Events that normally come in a minute.
    pub(super) per_minute: f64,
}

/// What is known of a shard's events.
#[derive(Debug, Clone)]
pub(super) struct Watchdog {
    /// Events in this window.
    events: u64,
    /// Since when there was none: the last one, or when somebody began to listen.
    quiet_since: Instant,
    /// When the window began.
    window_began: Instant,
    /// Windows without an event that have not been learned from, for it may have been a fault.
    silent_windows: f64,
    /// The share of windows with events.
    talking: f64,
    /// Events per second.
    rate: f64,
    /// The silence was said to be odd.
    warned: bool,
    /// The session was resumed for this, and its first window has not ended.
    resumed: bool,
    /// Resumes that brought nothing.
    doublings: u32,
}

impl Watchdog {
    /// Knows nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            events: 0,
            quiet_since: now,
            window_began: now,
            silent_windows: 0.0,
            talking: 0.0,
            rate: 0.0,
            warned: false,
            resumed: false,
            doublings: 0,
        }
    }

    /// An event came.
    pub(super) fn event(&mut self, now: Instant) {
        self.events += 1;
        self.quiet_since = now;
    }

    /// The session stands: silence counts from now on.
    pub(super) fn session_stands(&mut self, now: Instant) {
        if self.resumed && self.events == 0 {
            self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        }
        let replayed = self.events;
        self.listen_anew(now);
        self.events = replayed;
    }

    /// Nobody listened until now, the host being slow or the machine suspended: that proves nothing.
    pub(super) fn listen_anew(&mut self, now: Instant) {
        self.events = 0;
        self.quiet_since = now;
        self.window_began = now;
        self.warned = false;
    }

    /// Whether the silence is odd.
    pub(super) fn is_worried(&self) -> bool {
        self.warned && self.events == 0
    }

    /// Looks at the clock. Asked with every heartbeat of a session that stands and is listened to.
    pub(super) fn check(&mut self, now: Instant) -> Option<Alarm> {
        if now.saturating_duration_since(self.window_began) >= WINDOW {
            self.end_window(now);
        }
        if self.talking < TALKATIVE {
            return None;
        }
        let lasted = now.saturating_duration_since(self.quiet_since);
        let patience = self.patience();
        let silence = Silence { lasted, per_minute: self.rate * 60.0 };
        if lasted >= patience * RESUME_AFTER {
            self.resumed = true;
            return Some(Alarm::Resume(silence));
        }
        if lasted >= patience && !self.warned {
            self.warned = true;
            return Some(Alarm::Odd(silence));
        }
        None
    }

    /// The silence that is odd.
    fn patience(&self) -> Duration {
        let gaps = Duration::try_from_secs_f64(PATIENCE_GAPS / self.rate).unwrap_or(Duration::MAX);
        MIN_PATIENCE.max(gaps).saturating_mul(1 << self.doublings)
    }

    /// Learns from a window. What a silence says is only clear when it is over.
    fn end_window(&mut self, now: Instant) {
        let length = now.saturating_duration_since(self.window_began);
        let events = std::mem::take(&mut self.events);
        self.window_began = now;
        let is_first_after_resume = std::mem::take(&mut self.resumed);
        if events == 0 {
            self.silent_windows += length.as_secs_f64() / WINDOW.as_secs_f64();
            return;
        }
        let silent_windows = std::mem::take(&mut self.silent_windows);
        // Ended by a resume, the silence was none of the shard's.
        if !is_first_after_resume {
            let faded = (1.0 - 1.0 / MEMORY).powf(silent_windows);
            self.talking *= faded;
            self.rate *= faded;
        }
        self.talking += (1.0 - self.talking) / MEMORY;
        self.rate += (events as f64 / length.as_secs_f64() - self.rate) / MEMORY;
        self.warned = false;
        self.doublings = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heartbeats.
    const BEAT: Duration = Duration::from_millis(41_250);

    /// A watchdog after hours with an event every `gap`.
    fn after_talk(gap: Duration, hours: u64) -> (Watchdog, Instant) {
        let start = Instant::now();
        let mut dog = Watchdog::new(start);
        let (mut event, mut beat) = (start, start + BEAT);
        let end = start + Duration::from_secs(hours * 3_600);
        while event < end {
            event += gap;
            while beat <= event {
                assert_eq!(dog.check(beat), None);
                beat += BEAT;
            }
            dog.event(event);
        }
        (dog, event)
    }

    /// The moments after `now`, in seconds, at which it says something within this time.
    fn alarms(dog: &mut Watchdog, now: Instant, time: Duration) -> Vec<(u64, Alarm)> {
        let mut said = Vec::new();
        let mut at = now;
        while at < now + time {
            at += BEAT;
            if let Some(alarm) = dog.check(at) {
                said.push(((at - now).as_secs(), alarm));
                if matches!(alarm, Alarm::Resume(_)) {
                    dog.session_stands(at);
                }
            }
        }
        said
    }

    #[test]
    fn it_learns_how_often_events_come() {
        for gap_s in [1, 10, 20] {
            let (dog, _) = after_talk(Duration::from_secs(gap_s), 6);
            let expected = 1.0 / gap_s as f64;
            assert!((dog.rate - expected).abs() < expected / 5.0, "{} {expected}", dog.rate);
            assert!(dog.talking > TALKATIVE);
        }
        let (dog, _) = after_talk(Duration::from_secs(150), 24);
        assert!(dog.talking < TALKATIVE, "{}", dog.talking);
    }

    #[test]
    fn it_warns_then_resumes_and_then_waits_longer_each_time() {
        let (mut dog, now) = after_talk(Duration::from_secs(1), 6);
        let said = alarms(&mut dog, now, Duration::from_secs(12 * 3_600));
        let resumes: Vec<u64> = said
            .iter()
            .filter_map(|(at, alarm)| matches!(alarm, Alarm::Resume(_)).then_some(*at))
            .collect();
        let first = resumes[0];
        assert!((600..683).contains(&first), "{resumes:?}");
        assert_eq!(resumes.len(), 6, "{resumes:?}");
        assert!(resumes.windows(3).all(|r| r[2] - r[1] > (r[1] - r[0]) * 3 / 2), "{resumes:?}");
        let warnings = said.len() - resumes.len();
        assert!((6..=7).contains(&warnings), "one before each resume: {said:?}");
        assert!((300..342).contains(&said[0].0));
    }

    #[test]
    fn few_events_mean_long_patience() {
        let (mut dog, now) = after_talk(Duration::from_secs(20), 6);
        let said = alarms(&mut dog, now, Duration::from_secs(3_600));
        let (at, Alarm::Odd(silence)) = said[0] else { panic!("{said:?}") };
        assert!((800..1_200).contains(&at), "{said:?}");
        assert!((2.5..3.5).contains(&silence.per_minute), "{silence:?}");
    }

    #[test]
    fn a_silence_that_ends_by_itself_is_learned_and_one_ended_by_a_resume_is_not() {
        let (mut dog, now) = after_talk(Duration::from_secs(1), 6);
        let (mut resumed, mut natural) = (dog.clone(), dog.clone());
        assert!(!alarms(&mut dog, now, Duration::from_secs(400)).is_empty());
        assert!(dog.is_worried());

        let said = alarms(&mut resumed, now, Duration::from_secs(640));
        assert!(matches!(said.last(), Some((_, Alarm::Resume(_)))));
        let then = now + Duration::from_secs(661);
        resumed.event(then);
        resumed.check(then + WINDOW);
        assert!(resumed.talking > TALKATIVE && resumed.doublings == 0 && !resumed.is_worried());

        let hours = Duration::from_secs(8 * 3_600);
        let said = alarms(&mut natural, now, hours);
        assert!(matches!(said.last(), Some((_, Alarm::Odd(_)))), "the last resume is long ago");
        let at = now + hours + WINDOW;
        natural.event(at);
        natural.check(at + WINDOW);
        assert!(natural.talking < TALKATIVE / 2.0, "{}", natural.talking);
    }

    #[test]
    fn what_nobody_listened_to_proves_nothing() {
        let (mut dog, now) = after_talk(Duration::from_secs(1), 6);
        let woke = now + Duration::from_secs(3_600);
        dog.listen_anew(woke);
        assert_eq!(dog.check(woke + Duration::from_secs(299)), None);
    }
}
