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
                Some(reset) if news.earliest <= reset.latest => Reset {
                    earliest: reset.earliest.min(news.earliest),
                    latest: reset.latest.max(news.latest),
                    late: reset.late.max(news.late),
                },
                _ => news,
            });
        }
        quota.available = quota.available.min(limits.limit);
    }

    /// Learns that a request may have been counted, from there being no answer that says so.
    pub(super) fn learn_nothing(&mut self, mark: Mark, now: Instant) {
        let since = self.finished_since(mark);
        let Some(quota) = self.quota.as_mut().filter(|quota| quota.reset.is_none()) else { return };
        let window = quota.window.min(MAX_BLIND_WAIT);
        quota.reset =
            Some(Reset { earliest: mark.sent_at, latest: now + window + MARGIN, late: since });
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
