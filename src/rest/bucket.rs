//! One rate limit: what the answers told about it, and what may still be sent.
//!
//! Discord counts requests in windows that open with the first request and have a fixed length. Of
//! that only echoes arrive here, late and sometimes out of order, while more requests are under way.
//! So a bucket never believes in a number as such. It keeps a lower bound of what is left, and raises
//! it by arguments that hold whatever the network does:
//!
//! - An answer says that `remaining` were left when its request was counted. All that can have been
//!   counted since are the requests in flight now, and those answered since it was sent.
//! - A window that no answer told of ends no later than one window after the request that it counted.
//! - When a window has surely ended, `limit` may be sent, less what may have been counted after its
//!   end: the requests in flight, and those answered since its earliest possible end.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits#header-format>.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::answer::Limits;
use super::lane::LaneId;
use super::limiter::Ticket;

/// The longest wait for the end of a window that no answer told of.
const MAX_BLIND_WAIT: Duration = Duration::from_secs(60);

/// Added to every wait that Discord names: its numbers are rounded, and one request too early costs
/// a 429 and another wait.
pub(super) const MARGIN: Duration = Duration::from_millis(50);

/// A bucket, and who waits for it.
pub(super) struct Bucket {
    /// The lane that all its requests are in.
    pub(super) lane: LaneId,
    /// Whether Discord named it. One without a name belongs to a single route.
    pub(super) named: bool,
    /// Who waits, oldest first.
    pub(super) queue: BTreeSet<Ticket>,
    /// Where the limiter has it at the moment.
    pub(super) place: Place,
    /// Requests that were sent and may not have been counted yet.
    in_flight: u32,
    /// Requests that are over, since the beginning.
    finished: u64,
    /// One request at a time: nothing is known yet, or Discord has just said no.
    cautious: bool,
    /// What is known; `None` where answers name no limit.
    quota: Option<Quota>,
    /// Nothing before this: Discord said so with a 429.
    held_until: Option<Instant>,
}

/// What is known of a limit.
struct Quota {
    /// Requests per window.
    limit: u32,
    /// The longest that a window was seen to last.
    window: Duration,
    /// Requests that may surely be sent, beyond those in flight.
    available: u32,
    /// The end of the window, until it has passed.
    reset: Option<Reset>,
}

/// The end of a window, as well as it can be known from here.
struct Reset {
    /// It cannot end before this.
    earliest: Instant,
    /// It has ended by then.
    latest: Instant,
    /// Requests that finished since `earliest`.
    late: u64,
}

/// Where a bucket is in the limiter's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody waits, or an answer has to come first.
    Aside,
    /// It may send; with the ticket at its head.
    Ready(Ticket),
    /// It may send from then on.
    Blocked(Instant),
}

/// Whether one more request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permit {
    /// It may.
    Now,
    /// Not before then.
    At(Instant),
    /// Not before one in flight is over.
    AfterAnswer,
}

/// What a bucket has to know again when a request is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// When it was sent.
    pub(super) sent_at: Instant,
    /// How many had finished by then.
    finished: u64,
}

impl Bucket {
    /// A bucket of which nothing is known.
    pub(super) fn new(lane: LaneId, named: bool) -> Self {
        Self {
            lane,
            named,
            queue: BTreeSet::new(),
            place: Place::Aside,
            in_flight: 0,
            finished: 0,
            cautious: true,
            quota: None,
            held_until: None,
        }
    }

    /// Whether one more request may go.
    pub(super) fn permit(&mut self, now: Instant) -> Permit {
        self.refresh(now);
        if self.cautious && self.in_flight > 0 {
            return Permit::AfterAnswer;
        }
        let mut opens_at = self.held_until;
        if let Some(Quota { available: 0, reset, .. }) = &self.quota {
            match reset {
                Some(reset) => opens_at = opens_at.max(Some(reset.latest)),
                None if self.in_flight > 0 => return Permit::AfterAnswer,
                // Nothing will ever tell more than trying once.
                None => {}
            }
        }
        opens_at.map_or(Permit::Now, Permit::At)
    }

    /// Counts a request that goes out now.
    pub(super) fn send(&mut self, now: Instant) -> Mark {
        self.in_flight += 1;
        if let Some(quota) = &mut self.quota {
            quota.available = quota.available.saturating_sub(1);
        }
        Mark { sent_at: now, finished: self.finished }
    }

    /// Takes back a request that never left.
    pub(super) fn take_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(quota) = &mut self.quota {
            quota.available = (quota.available + 1).min(quota.limit);
        }
    }

    /// Notes that a request is over. What its answer says comes with [`Bucket::learn`].
    pub(super) fn finish(&mut self, now: Instant) {
        self.refresh(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.finished += 1;
        if let Some(reset) = self.quota.as_mut().and_then(|quota| quota.reset.as_mut())
            && reset.earliest <= now
        {
            reset.late += 1;
        }
    }

    /// Learns from the answer to a request. If it was sent through another bucket, how it relates to
    /// the requests of this one is unknown: then the answer can only lower what is believed.
    pub(super) fn learn(&mut self, mark: Mark, sent_here: bool, limits: &Limits, now: Instant) {
        self.cautious = false;
        let since = if sent_here { self.finished_since(mark) } else { 0 };
        let earliest = mark.sent_at + limits.reset_after;
        let news = Reset {
            earliest,
            latest: now + limits.reset_after + MARGIN,
            late: if earliest <= now { since } else { 0 },
        };
        let remaining = limits.remaining.min(limits.limit);
        let in_between = u64::from(self.in_flight).saturating_add(since);
        let at_least = u64::from(remaining).saturating_sub(in_between) as u32;

        let Some(quota) = &mut self.quota else {
            let reset = Some(news);
            let (limit, window) = (limits.limit, limits.reset_after);
            self.quota = Some(Quota { limit, window, available: at_least, reset });
            return;
        };
        quota.limit = limits.limit;
        quota.window = quota.window.max(limits.reset_after);
        if sent_here {
            quota.available = quota.available.max(at_least);
        }
        let old = quota.reset.as_ref().is_some_and(|reset| news.latest < reset.earliest);
        if !old {
            // Only now does the count speak of the window of today. Others may use it up, too:
            // another process with the same token.
            quota.available = quota.available.min(remaining);
            quota.reset = Some(match quota.reset.take() {
                // Perhaps the same window, perhaps two. When the later one ends is between these.
                Some(reset) if news.earliest <= reset.latest => {
                    let earliest = reset.earliest.max(news.earliest);
                    let late = if earliest <= now { reset.late } else { 0 };
                    Reset { earliest, latest: reset.latest.max(news.latest), late }
                }
                _ => news,
            });
        }
        quota.available = quota.available.min(limits.limit);
    }

    /// Learns that a request may have been counted, from there being no answer that says so.
    pub(super) fn learn_nothing(&mut self, now: Instant) {
        let Some(quota) = self.quota.as_mut().filter(|quota| quota.reset.is_none()) else { return };
        let window = quota.window.min(MAX_BLIND_WAIT);
        quota.reset = Some(Reset { earliest: now, latest: now + window + MARGIN, late: 0 });
    }

    /// Learns that the route has no limit that Discord tells of.
    pub(super) fn learn_unlimited(&mut self) {
        if self.quota.is_none() {
            self.cautious = false;
        }
    }

    /// Sends nothing until then, and one at a time from there.
    pub(super) fn hold(&mut self, until: Instant) {
        self.cautious = true;
        self.held_until = self.held_until.max(Some(until));
    }

    /// When a hold ends.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Whether requests wait here or are in flight.
    pub(super) fn is_used(&self) -> bool {
        !self.queue.is_empty() || self.in_flight > 0
    }

    /// Whether it knows anything that a new bucket would not be as safe without.
    pub(super) fn is_telling(&mut self, now: Instant) -> bool {
        self.refresh(now);
        self.held_until.is_some() || self.quota.as_ref().is_some_and(|quota| quota.reset.is_some())
    }

    /// How many others finished since a request was sent that has finished itself.
    fn finished_since(&self, mark: Mark) -> u64 {
        self.finished.saturating_sub(mark.finished + 1)
    }

    /// Lets time pass.
    fn refresh(&mut self, now: Instant) {
        self.held_until = self.held_until.filter(|until| *until > now);
        let Some(quota) = &mut self.quota else { return };
        if let Some(reset) = quota.reset.take_if(|reset| reset.latest <= now) {
            let uncertain = u64::from(self.in_flight).saturating_add(reset.late);
            let at_least = u64::from(quota.limit).saturating_sub(uncertain) as u32;
            quota.available = quota.available.max(at_least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bucket and its day, in milliseconds.
    struct Bench {
        bucket: Bucket,
        start: Instant,
    }

    impl Bench {
        /// A bucket whose first answer came at once: `limit - 1` left of a window of 1000 ms.
        fn new(limit: u32) -> Self {
            let start = Instant::now();
            let mut bench = Self { bucket: Bucket::new(LaneId::Bot, true), start };
            let mark = bench.send(0);
            bench.answer(mark, 0, limit, limit - 1, 1_000);
            bench
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn send(&mut self, ms: u64) -> Mark {
            let now = self.at(ms);
            assert_eq!(self.bucket.permit(now), Permit::Now, "at {ms}");
            self.bucket.send(now)
        }

        fn answer(&mut self, mark: Mark, ms: u64, limit: u32, remaining: u32, reset_after_ms: u64) {
            let now = self.at(ms);
            let reset_after = Duration::from_millis(reset_after_ms);
            self.bucket.finish(now);
            let limits = Limits { bucket: None, limit, remaining, reset_after };
            self.bucket.learn(mark, true, &limits, now);
        }

        fn no_answer(&mut self, ms: u64) {
            let now = self.at(ms);
            self.bucket.finish(now);
            self.bucket.learn_nothing(now);
        }

        /// How many more may be sent.
        fn room(&mut self, ms: u64) -> usize {
            let now = self.at(ms);
            let mut sent = 0;
            while self.bucket.permit(now) == Permit::Now && sent < 100 {
                self.bucket.send(now);
                sent += 1;
            }
            (0..sent).for_each(|_| self.bucket.take_back());
            sent
        }
    }

    #[test]
    fn a_window_is_used_up_and_opens_again() {
        let mut bench = Bench::new(5);
        assert_eq!(bench.room(0), 4);
        let marks: Vec<_> = (0..4).map(|_| bench.send(0)).collect();
        let opens_at = bench.at(1_000) + MARGIN;
        assert_eq!(bench.bucket.permit(bench.start), Permit::At(opens_at));
        for (mark, remaining) in marks.into_iter().zip([3, 2, 1, 0]) {
            bench.answer(mark, 10, 5, remaining, 990);
            assert_eq!(bench.room(10), 0);
        }
        assert_eq!((bench.room(1_049), bench.room(1_050)), (0, 5));
    }

    #[test]
    fn requests_in_flight_may_count_in_the_next_window() {
        let mut bench = Bench::new(5);
        let straggler = bench.send(990);
        assert_eq!(bench.room(1_050), 4);
        // It did: that opened the window.
        bench.answer(straggler, 1_100, 5, 4, 950);
        assert_eq!((bench.room(1_100), bench.room(2_099), bench.room(2_100)), (4, 4, 5));
    }

    #[test]
    fn so_may_those_whose_answer_was_no_help() {
        let mut bench = Bench::new(5);
        bench.send(990);
        bench.no_answer(1_020);
        assert_eq!(bench.room(1_050), 4);
        let mut bench = Bench::new(5);
        bench.send(900);
        bench.no_answer(999);
        assert_eq!(bench.room(1_050), 5, "this one was over before the window was");
    }

    /// The later request can be counted first, and its answer can come last.
    #[test]
    fn answers_in_any_order_leave_what_is_surely_left() {
        let mut bench = Bench::new(9);
        let (a, b, c) = (bench.send(0), bench.send(0), bench.send(0));
        bench.answer(b, 5, 9, 7, 995);
        assert_eq!(bench.room(5), 5);
        bench.answer(c, 6, 9, 5, 994);
        assert_eq!(bench.room(6), 5);
        bench.answer(a, 7, 9, 6, 993);
        assert_eq!(bench.room(7), 5, "six were left before c was counted");
    }

    /// An answer from a new window says so before the old one has surely ended.
    #[test]
    fn a_new_window_is_noticed() {
        let mut bench = Bench::new(5);
        let used: Vec<_> = (0..4).map(|_| bench.send(100)).collect();
        let late = used[3];
        for (mark, remaining) in used.into_iter().take(3).zip([3, 2, 1]) {
            bench.answer(mark, 200, 5, remaining, 800);
        }
        bench.answer(late, 1_020, 5, 4, 985);
        // The three that were answered since it was sent may all have been counted after it.
        assert_eq!(bench.room(1_020), 1);
        assert_eq!(bench.room(2_055), 5);
    }

    #[test]
    fn an_answer_about_an_old_window_changes_nothing() {
        let mut bench = Bench::new(5);
        let old = bench.send(0);
        let new = bench.send(1_100);
        bench.answer(new, 1_110, 5, 4, 1_000);
        let before = bench.room(1_110);
        bench.answer(old, 1_120, 5, 0, 0);
        assert_eq!(bench.room(1_120), before);
        assert_eq!(bench.room(2_110 + 50), 5);
    }

    /// Another process with the same token uses the same windows.
    #[test]
    fn what_others_use_is_gone() {
        let mut bench = Bench::new(5);
        let mark = bench.send(10);
        bench.answer(mark, 20, 5, 1, 980);
        assert_eq!(bench.room(20), 1);
        let mark = bench.send(30);
        bench.answer(mark, 40, 3, 0, 960);
        assert_eq!((bench.room(40), bench.room(1_060)), (0, 3), "the limit has changed, too");
    }

    /// The slower of two answers about one window knows less well when it ends.
    #[test]
    fn the_end_of_a_window_is_that_of_the_slowest_answer() {
        let mut bench = Bench::new(2);
        let mark = bench.send(0);
        bench.answer(mark, 300, 2, 0, 990);
        assert_eq!((bench.room(1_339), bench.room(1_340)), (0, 2));
    }

    /// With nothing left and nothing known, a window has to pass, as long as they were so far.
    #[test]
    fn an_unknown_window_is_waited_for() {
        let mut bench = Bench::new(1);
        bench.send(1_050);
        assert_eq!(bench.bucket.permit(bench.at(1_060)), Permit::AfterAnswer);
        bench.no_answer(1_100);
        assert_eq!((bench.room(2_149), bench.room(2_150)), (0, 1));
    }

    /// An answer can be overtaken by whole windows. What it says about the end of its own says nothing
    /// about those that were counted later.
    #[test]
    fn windows_can_be_shorter_than_the_way() {
        let mut bench = Bench::new(5);
        let slow = bench.send(2_000);
        let fast = bench.send(2_350);
        bench.answer(fast, 2_395, 5, 4, 250);
        bench.send(2_500);
        bench.no_answer(2_610);
        bench.answer(slow, 2_700, 5, 3, 10);
        assert!(bench.room(2_760) <= 4, "one was counted at 2,600 and may stay so until 2,850");
    }

    #[test]
    fn after_a_hold_one_goes_ahead() {
        let mut bench = Bench::new(9);
        let until = bench.at(500);
        bench.bucket.hold(until);
        bench.bucket.hold(bench.at(300));
        assert_eq!(bench.bucket.permit(bench.at(400)), Permit::At(until));
        assert_eq!(bench.bucket.held_until(), Some(until));
        let mark = bench.send(500);
        assert_eq!(bench.bucket.permit(until), Permit::AfterAnswer);
        bench.answer(mark, 510, 9, 6, 490);
        assert_eq!(bench.room(510), 6);
    }

    #[test]
    fn an_answer_to_somebody_else_only_lowers() {
        let mut bench = Bench::new(9);
        let foreign = Bucket::new(LaneId::Bot, true).send(bench.start);
        let mut learn = |remaining| {
            let reset_after = Duration::from_secs(1);
            let limits = Limits { bucket: None, limit: 9, remaining, reset_after };
            bench.bucket.learn(foreign, false, &limits, bench.start);
            bench.room(0)
        };
        assert_eq!(learn(3), 3);
        assert_eq!(learn(8), 3);
    }
}
