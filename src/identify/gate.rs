//! The rules of the gate, in virtual time.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Time between two identifies of a bucket: Discord's 5 s, and what the way there may squeeze
/// together. An identify that arrives too early is refused and still counts.
pub(super) const WINDOW: Duration = Duration::from_millis(5_250);

/// Places at the head of a bucket's line that may open their sockets. Two: while one uses its turn
/// the next one connects, so that no window passes unused and no socket stands around for minutes.
const NEAR: usize = 2;

/// Identifies in a row of one bucket that may stay without READY before the windows grow. A fleet that
/// comes up in an orderly way has one or two of them.
const UNANSWERED_ROUNDS: u32 = 8;

/// The windows double this often: to 5.6 min.
const MAX_DOUBLINGS: u32 = 6;

/// Discord counts session starts over this long.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// While a bot is resharded two sets of shards stand in one line. The gate does not care: what it calls
/// a shard's id has the set above these bits.
pub(super) const SHARD_OF_SEAT: u32 = (1 << SEAT_BITS) - 1;

/// Room for any shard's id.
pub(super) const SEAT_BITS: u32 = 24;

/// How many sessions a bot may start, as `/gateway/bot` tells.
///
/// Source: <https://discord.com/developers/docs/events/gateway#session-start-limit-object>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStartLimit {
    /// Session starts per day.
    pub total: u32,
    /// Session starts left of them.
    pub remaining: u32,
    /// When `remaining` is `total` again.
    pub resets_at: Instant,
    /// Identifies per 5 s.
    pub max_concurrency: NonZeroU32,
}

/// What the gate tells a shard, or the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateEvent {
    /// This shard's turn is close.
    Near {
        /// The shard.
        shard_id: u32,
        /// Its place in line.
        ticket: u64,
    },
    /// This shard identifies now.
    Granted {
        /// The shard.
        shard_id: u32,
        /// Its place in line.
        ticket: u64,
    },
    /// The last identifies led to no READY, so the next ones go out further apart.
    Slowed {
        /// How many did not.
        unanswered: u32,
        /// Time between two identifies of a bucket.
        window: Duration,
    },
    /// Nobody identifies before then: the day's session starts are used up to the reserve.
    Exhausted {
        /// Session starts left, the reserve.
        remaining: u32,
        /// When the limit resets.
        until: Instant,
    },
}

/// What a shard that may identify, as far as its own process knows, asks of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The shard.
    pub(crate) shard_id: u32,
    /// Identifies per 5 s; its bucket is `shard_id % max_concurrency`.
    pub(crate) max_concurrency: NonZeroU32,
    /// Time between two identifies of a bucket, after that many that led to no READY.
    pub(crate) window: Duration,
    /// Identifies in a row without READY, as far as this process knows.
    pub(crate) unanswered: u32,
    /// Since when Discord counts.
    pub(crate) day_began_ago: Duration,
    /// Session starts of the day that may be used.
    pub(crate) most_today: u32,
}

/// A shard in line.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    shard_id: u32,
    ticket: u64,
    /// Was told that its turn is near.
    told: bool,
    /// Has a connection that said HELLO, and can identify.
    armed: bool,
}

/// One bucket: a line, and when its next identify may go out.
#[derive(Debug, Clone, Default)]
struct Bucket {
    line: VecDeque<Waiter>,
    opens_at: Option<Instant>,
}

/// The gate of one bot in one process.
#[derive(Debug, Clone)]
pub struct Gate {
    limit: SessionStartLimit,
    /// Session starts that are never used: for a person who has to mend something.
    reserve: u32,
    /// Indexed by `shard_id % max_concurrency`.
    buckets: Vec<Bucket>,
    /// The reset that the client was told to wait for.
    announced: Option<Instant>,
    /// Identifies since the last one that led to READY.
    unanswered: u32,
    /// The window that the client was told of.
    slowed: Duration,
}

impl Gate {
    /// A gate that starts with an empty window.
    pub fn new(limit: SessionStartLimit, reserve: u32) -> Self {
        let buckets = vec![Bucket::default(); limit.max_concurrency.get() as usize];
        Self { limit, reserve, buckets, announced: None, unanswered: 0, slowed: WINDOW }
    }

    /// Goes on where an earlier process, or another one, was: these identifies went out, the last
    /// `unanswered` of them without READY. `heard` is what Discord said to it of the current day, and when.
    pub fn remember(
        &mut self,
        identifies: impl Iterator<Item = (Instant, u32)>,
        unanswered: u32,
        heard: Option<(SessionStartLimit, Instant)>,
    ) {
        if let Some((limit, _)) = heard {
            self.learn(limit);
        }
        self.unanswered = unanswered;
        let window = self.window();
        let (mut today, mut since) = (0, 0);
        for (at, shard_id) in identifies {
            today += u32::from(at + DAY >= self.limit.resets_at);
            since += u32::from(heard.is_some_and(|(_, heard_at)| at >= heard_at));
            let bucket = self.bucket(shard_id);
            bucket.opens_at = bucket.opens_at.max(Some(at + window));
        }
        let left = self.limit.total.saturating_sub(today);
        self.limit.remaining = self.limit.remaining.saturating_sub(since).min(left);
    }

    /// Discord was asked again: what others used up is gone for us too. It is not believed when it says
    /// more than is known, for the answer may come from a cache; only time brings identifies back.
    pub fn learn(&mut self, limit: SessionStartLimit) {
        self.limit.total = limit.total;
        self.limit.remaining = limit.remaining.min(self.limit.remaining);
        self.limit.resets_at = limit.resets_at.min(self.limit.resets_at);
        if limit.max_concurrency != self.limit.max_concurrency {
            self.limit.max_concurrency = limit.max_concurrency;
            let buckets = vec![Bucket::default(); limit.max_concurrency.get() as usize];
            let before = std::mem::replace(&mut self.buckets, buckets);
            let opens_at = before.iter().filter_map(|bucket| bucket.opens_at).max();
            self.buckets.iter_mut().for_each(|bucket| bucket.opens_at = opens_at);
            for waiter in before.into_iter().flat_map(|bucket| bucket.line) {
                self.bucket(waiter.shard_id).line.push_back(waiter);
            }
        }
    }

    /// What the shard that was granted last asks of the other processes of its bot, if there are any.
    pub(super) fn claim(&self, seat: u32, now: Instant) -> Claim {
        let day_began = self.limit.resets_at.checked_sub(DAY);
        let unanswered = self.unanswered.saturating_sub(1);
        Claim {
            shard_id: seat & SHARD_OF_SEAT,
            max_concurrency: self.limit.max_concurrency,
            window: self.window_after(unanswered),
            unanswered,
            day_began_ago: day_began.map_or(DAY, |began| now.saturating_duration_since(began)),
            most_today: self.limit.total.saturating_sub(self.reserve),
        }
    }

    /// What was granted last is not to be, for the other processes of the bot: the shard stands first in its
    /// line again, until then.
    pub(super) fn defer(&mut self, seat: u32, ticket: u64, until: Instant) {
        self.limit.remaining += 1;
        self.unanswered = self.unanswered.saturating_sub(1);
        let bucket = self.bucket(seat);
        bucket.line.push_front(Waiter { shard_id: seat, ticket, told: true, armed: true });
        bucket.opens_at = Some(until);
    }

    /// All processes of the bot together have used so many session starts today, the last `unanswered` of
    /// them without READY.
    pub(super) fn share(&mut self, used_today: u32, unanswered: u32) {
        let left = self.limit.total.saturating_sub(used_today);
        self.limit.remaining = self.limit.remaining.min(left);
        self.unanswered = unanswered;
        if unanswered == 0 {
            self.slowed = WINDOW;
        }
    }

    /// All processes together have used what may be used today.
    pub(super) fn spent(&mut self) {
        self.limit.remaining = self.limit.remaining.min(self.reserve);
    }

    /// An identify led to READY.
    pub fn answered(&mut self) {
        self.unanswered = 0;
        self.slowed = WINDOW;
    }

    /// Whether anybody waits.
    pub fn has_line(&self) -> bool {
        self.buckets.iter().any(|bucket| !bucket.line.is_empty())
    }

    /// Time between two identifies of a bucket.
    fn window(&self) -> Duration {
        self.window_after(self.unanswered)
    }

    /// The same after so many identifies without READY.
    fn window_after(&self, unanswered: u32) -> Duration {
        let rounds = unanswered / self.limit.max_concurrency;
        WINDOW * (1 << rounds.saturating_sub(UNANSWERED_ROUNDS).min(MAX_DOUBLINGS))
    }

    /// The session start limit as the gate counts it.
    pub fn limit(&self) -> SessionStartLimit {
        self.limit
    }

    /// A shard gets in line.
    pub fn enter(&mut self, shard_id: u32, ticket: u64) {
        self.leave(shard_id);
        let waiter = Waiter { shard_id, ticket, told: false, armed: false };
        self.bucket(shard_id).line.push_back(waiter);
    }

    /// A shard in line is able to identify.
    pub fn arm(&mut self, shard_id: u32, ticket: u64) {
        let line = &mut self.bucket(shard_id).line;
        if let Some(waiter) = line.iter_mut().find(|w| (w.shard_id, w.ticket) == (shard_id, ticket))
        {
            waiter.armed = true;
        }
    }

    /// A shard leaves the line.
    pub fn leave(&mut self, shard_id: u32) {
        self.bucket(shard_id).line.retain(|waiter| waiter.shard_id != shard_id);
    }

    /// The next thing to tell somebody; ask until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<GateEvent> {
        if now >= self.limit.resets_at {
            self.limit.remaining = self.limit.total;
            self.limit.resets_at = now + DAY;
            self.announced = None;
        }
        if self.limit.remaining <= self.reserve {
            if self.has_line() && self.announced != Some(self.limit.resets_at) {
                self.announced = Some(self.limit.resets_at);
                let SessionStartLimit { remaining, resets_at: until, .. } = self.limit;
                return Some(GateEvent::Exhausted { remaining, until });
            }
            return None;
        }
        let window = self.window();
        if window > self.slowed {
            self.slowed = window;
            return Some(GateEvent::Slowed { unanswered: self.unanswered, window });
        }
        let event = self.buckets.iter_mut().find_map(|bucket| bucket.poll(now, window));
        if let Some(GateEvent::Granted { .. }) = event {
            self.limit.remaining -= 1;
            self.unanswered += 1;
        }
        event
    }

    /// When to ask [`Gate::poll`] again although nobody came or left.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.limit.remaining <= self.reserve {
            return self.has_line().then_some(self.limit.resets_at);
        }
        let waiting = self.buckets.iter().filter(|bucket| bucket.line.iter().any(|w| w.armed));
        waiting.filter_map(|bucket| bucket.opens_at).min()
    }

    /// The bucket of a shard.
    fn bucket(&mut self, shard_id: u32) -> &mut Bucket {
        let key = (shard_id & SHARD_OF_SEAT) % self.limit.max_concurrency;
        &mut self.buckets[key as usize]
    }
}

impl Bucket {
    /// The next thing to tell a shard of this bucket.
    fn poll(&mut self, now: Instant, window: Duration) -> Option<GateEvent> {
        if self.opens_at.is_none_or(|at| at <= now) {
            // In order, but a shard that is still connecting does not hold up the one behind it.
            if let Some(index) = self.line.iter().position(|waiter| waiter.armed) {
                let Waiter { shard_id, ticket, .. } = self.line.remove(index)?;
                self.opens_at = Some(now + window);
                return Some(GateEvent::Granted { shard_id, ticket });
            }
        }
        let near = self.line.iter_mut().take(NEAR).find(|waiter| !waiter.told)?;
        near.told = true;
        Some(GateEvent::Near { shard_id: near.shard_id, ticket: near.ticket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(max_concurrency: u32, remaining: u32, now: Instant) -> Gate {
        let limit = SessionStartLimit {
            total: 1_000,
            remaining,
            resets_at: now + DAY,
            max_concurrency: NonZeroU32::new(max_concurrency).expect("not zero"),
        };
        Gate::new(limit, 50)
    }

    /// Lets every shard of a fleet in; each takes `connect` from "near" to HELLO. When each identified.
    fn identify_all(gate: &mut Gate, start: Instant, connect: Duration) -> Vec<(u32, Duration)> {
        let mut connecting: Vec<(Instant, u32, u64)> = Vec::new();
        let mut identified = Vec::new();
        let mut now = start;
        loop {
            while let Some(event) = gate.poll(now) {
                match event {
                    GateEvent::Near { shard_id, ticket } => {
                        connecting.push((now + connect, shard_id, ticket));
                    }
                    GateEvent::Granted { shard_id, .. } => {
                        identified.push((shard_id, now - start));
                        gate.answered();
                    }
                    GateEvent::Slowed { .. } => {}
                    GateEvent::Exhausted { .. } => panic!("the budget is large enough"),
                }
            }
            let next = connecting.iter().map(|(at, ..)| *at).chain(gate.poll_timeout()).min();
            let Some(next) = next else { return identified };
            now = now.max(next);
            connecting.retain(|(at, shard_id, ticket)| {
                if *at <= now {
                    gate.arm(*shard_id, *ticket);
                }
                *at > now
            });
        }
    }

    /// Scenario 21: one bucket, one identify per window, in order, whatever the connecting takes.
    #[test]
    fn one_bucket_spaces_its_shards() {
        for connect_ms in [0, 200, 4_000] {
            let start = Instant::now();
            let mut gate = gate(1, 1_000, start);
            (0..4).for_each(|shard| gate.enter(shard, 1));
            let times = identify_all(&mut gate, start, Duration::from_millis(connect_ms));
            assert_eq!(times.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3]);
            assert!(times.windows(2).all(|pair| pair[1].1 - pair[0].1 >= WINDOW));
            let last = times[3].1;
            assert!(last <= WINDOW * 3 + Duration::from_millis(connect_ms), "{last:?}");
        }
    }

    /// Scenario 21: sixteen buckets go side by side, each in order.
    #[test]
    fn buckets_are_independent() {
        let start = Instant::now();
        let mut gate = gate(16, 1_000, start);
        (0..64).for_each(|shard| gate.enter(shard, 1));
        let times = identify_all(&mut gate, start, Duration::from_millis(100));
        assert_eq!(times.len(), 64);
        for (shard_id, at) in times {
            let turn = shard_id / 16;
            assert!(at >= WINDOW * turn && at <= WINDOW * turn + Duration::from_millis(100));
        }
    }

    /// A shard that cannot connect costs the others nothing.
    #[test]
    fn nobody_waits_for_a_shard_that_is_stuck() {
        let start = Instant::now();
        let mut gate = gate(1, 1_000, start);
        gate.enter(0, 1);
        gate.enter(1, 1);
        assert_eq!(gate.poll(start), Some(GateEvent::Near { shard_id: 0, ticket: 1 }));
        assert_eq!(gate.poll(start), Some(GateEvent::Near { shard_id: 1, ticket: 1 }));
        assert_eq!(gate.poll(start), None);
        gate.arm(1, 1);
        assert_eq!(gate.poll(start), Some(GateEvent::Granted { shard_id: 1, ticket: 1 }));
        gate.arm(0, 1);
        assert_eq!(gate.poll(start), None);
        assert_eq!(gate.poll_timeout(), Some(start + WINDOW));
    }

    /// Scenario 29: who leaves is not waited for, and an old ticket opens nothing.
    #[test]
    fn leaving_frees_the_place() {
        let start = Instant::now();
        let mut gate = gate(1, 1_000, start);
        (0..3).for_each(|shard| gate.enter(shard, 1));
        while gate.poll(start).is_some() {}
        gate.leave(0);
        assert_eq!(gate.poll(start), Some(GateEvent::Near { shard_id: 2, ticket: 1 }));
        gate.enter(1, 2);
        gate.arm(1, 1);
        assert_eq!(gate.poll(start), Some(GateEvent::Near { shard_id: 1, ticket: 2 }));
        assert_eq!(gate.poll(start), None);
        gate.arm(1, 2);
        assert_eq!(gate.poll(start), Some(GateEvent::Granted { shard_id: 1, ticket: 2 }));
    }

    /// Scenario 27: the reserve is kept, the client is told once, and the reset opens the gate.
    #[test]
    fn the_reserve_is_never_touched() {
        let start = Instant::now();
        let mut gate = gate(16, 52, start);
        for shard in 0..4 {
            gate.enter(shard, 1);
            gate.arm(shard, 1);
        }
        let granted = |event: &GateEvent| matches!(event, GateEvent::Granted { .. });
        let events: Vec<_> = std::iter::from_fn(|| gate.poll(start)).collect();
        assert_eq!(events.iter().filter(|e| granted(e)).count(), 2);
        let reset = start + DAY;
        assert_eq!(events.last(), Some(&GateEvent::Exhausted { remaining: 50, until: reset }));
        assert_eq!(gate.poll_timeout(), Some(reset));
        assert_eq!(gate.poll(reset - Duration::from_secs(1)), None);
        let later: Vec<_> = std::iter::from_fn(|| gate.poll(reset)).collect();
        assert_eq!(later.iter().filter(|e| granted(e)).count(), 2);
        assert_eq!(gate.limit().remaining, 998);
    }

    /// Scenario 28: a restart knows the identifies of the day and the last one of each bucket.
    #[test]
    fn a_restart_goes_on_where_the_last_process_was() {
        let start = Instant::now() + DAY;
        let mut gate = gate(2, 1_000, start);
        let ago = |seconds: u64, shard_id| (start - Duration::from_secs(seconds), shard_id);
        gate.remember([ago(3_600, 0), ago(2, 3), ago(1, 0)].into_iter(), 0, None);
        // None of them is of this day: Discord's count began anew.
        assert_eq!(gate.limit().remaining, 1_000);
        for shard_id in [0, 1] {
            gate.enter(shard_id, 1);
            gate.arm(shard_id, 1);
        }
        while let Some(event) = gate.poll(start) {
            assert!(matches!(event, GateEvent::Near { .. }), "{event:?}");
        }
        assert_eq!(gate.poll_timeout(), Some(start - Duration::from_secs(2) + WINDOW));

        let mut gate =
            Gate::new(SessionStartLimit { resets_at: start + DAY / 2, ..gate.limit() }, 50);
        let crashes = (0..940).map(|minute| ago(minute * 60, 0));
        gate.remember(crashes, 0, None);
        assert_eq!(gate.limit().remaining, 1_000 - 721, "of the last twelve hours");
    }

    /// While Discord cannot be asked, what it said to an earlier process still holds, less what went out since.
    #[test]
    fn a_restart_goes_by_what_discord_said_last() {
        let start = Instant::now() + DAY;
        let mut gate = gate(1, 1_000, start);
        let ago = |seconds: u64| start - Duration::from_secs(seconds);
        let heard = SessionStartLimit { remaining: 60, resets_at: start + DAY / 2, ..gate.limit() };
        let identifies = [ago(300), ago(200), ago(100)].map(|at| (at, 0));
        gate.remember(identifies.into_iter(), 0, Some((heard, ago(250))));
        assert_eq!(gate.limit().remaining, 58, "two since then");
        assert_eq!(gate.limit().resets_at, start + DAY / 2);
    }

    #[test]
    fn identifies_without_ready_go_out_further_apart() {
        let start = Instant::now();
        let mut gate = gate(1, 1_000, start);
        let mut now = start;
        let mut waits = Vec::new();
        let mut told = 0;
        for ticket in 0..20 {
            gate.enter(0, ticket);
            gate.arm(0, ticket);
            let began = now;
            loop {
                match gate.poll(now) {
                    Some(GateEvent::Granted { .. }) => break,
                    Some(GateEvent::Slowed { .. }) => told += 1,
                    Some(_) => {}
                    None => now = gate.poll_timeout().expect("somebody waits"),
                }
            }
            waits.push((now - began).as_millis() / WINDOW.as_millis());
        }
        assert_eq!(waits[..10], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(waits[10..], [2, 4, 8, 16, 32, 64, 64, 64, 64, 64]);
        assert_eq!(told, 6);
        gate.answered();
        gate.enter(0, 99);
        gate.arm(0, 99);
        let event = gate.poll(now + WINDOW * 64);
        assert_eq!(event, Some(GateEvent::Granted { shard_id: 0, ticket: 99 }));
        assert_eq!(gate.poll_timeout(), None);
    }

    #[test]
    fn discord_is_believed_when_it_says_less() {
        let start = Instant::now();
        let mut gate = gate(1, 900, start);
        let said = |remaining, resets_at| SessionStartLimit {
            total: 1_000,
            remaining,
            resets_at,
            max_concurrency: NonZeroU32::MIN,
        };
        gate.learn(said(950, start + DAY));
        assert_eq!(gate.limit().remaining, 900);
        gate.learn(said(200, start + DAY));
        assert_eq!(gate.limit().remaining, 200);
        gate.learn(said(1_000, start + DAY * 2));
        assert_eq!(gate.limit(), said(200, start + DAY), "that is no news of today");
        assert_eq!(gate.poll(start + DAY), None);
        assert_eq!(gate.limit().remaining, 1_000, "a new day");
    }
}
