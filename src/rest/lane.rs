//! What holds for all requests of a kind, whatever their route: 50 per second, and global refusals.
//!
//! Source: <https://discord.com/developers/docs/topics/rate-limits#global-rate-limit>.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::limiter::{BucketId, Ticket};

/// Requests per second that every bot may make.
pub(super) const MAX_PER_SECOND: usize = 50;

/// The second.
const WINDOW: Duration = Duration::from_secs(1);

/// A request has reached Discord this long after it was sent, or never will.
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// Who a request is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LaneId {
    /// The bot: everything with its token.
    Bot,
    /// The IP address: webhooks, which carry a token of their own.
    Webhook,
    /// Nobody: Discord exempts interactions, and their follow-ups.
    ///
    /// Source: <https://discord.com/developers/docs/interactions/receiving-and-responding#endpoints>.
    Interaction,
}

/// The requests of one kind.
pub(super) struct Lane {
    /// Buckets that may send, by the oldest ticket in each.
    pub(super) ready: BTreeMap<Ticket, BucketId>,
    /// Nothing before this: Discord said so with a global 429.
    held_until: Option<Instant>,
    /// The requests of the last second; `None` where they are not counted.
    window: Option<Window>,
}

/// Requests that may count towards a second that has not ended.
///
/// When a request is counted is not known from here, only that it was sent before and answered after.
/// So it takes its place from the one moment until a second after the other; a slow one no longer
/// than until a second after it must have arrived.
#[derive(Default)]
struct Window(BTreeSet<(Instant, Ticket)>);

impl Lane {
    /// A lane where nothing has happened.
    pub(super) fn new(id: LaneId) -> Self {
        let window = (id != LaneId::Interaction).then(Window::default);
        Self { ready: BTreeMap::new(), held_until: None, window }
    }

    /// Lets time pass.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.held_until = self.held_until.filter(|until| *until > now);
        if let Some(Window(taken)) = &mut self.window {
            while taken.first().is_some_and(|(until, _)| *until <= now) {
                taken.pop_first();
            }
        }
    }

    /// When the next request may go, as of the last refresh; `None` for now.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let full = self.window.as_ref().and_then(|Window(taken)| {
            let index = taken.len().checked_sub(MAX_PER_SECOND)?;
            taken.iter().nth(index).map(|(until, _)| *until)
        });
        self.held_until.max(full)
    }

    /// Counts a request that goes out now.
    pub(super) fn send(&mut self, ticket: Ticket, now: Instant) {
        if let Some(Window(taken)) = &mut self.window {
            taken.insert((now + ARRIVES_WITHIN + WINDOW, ticket));
        }
    }

    /// Notes that the request that was sent then has been answered.
    pub(super) fn finish(&mut self, ticket: Ticket, sent_at: Instant, now: Instant) {
        if let Some(Window(taken)) = &mut self.window
            && taken.remove(&(sent_at + ARRIVES_WITHIN + WINDOW, ticket))
        {
            taken.insert((now + WINDOW, ticket));
        }
    }

    /// Takes back a request that never left.
    pub(super) fn take_back(&mut self, ticket: Ticket, sent_at: Instant) {
        if let Some(Window(taken)) = &mut self.window {
            taken.remove(&(sent_at + ARRIVES_WITHIN + WINDOW, ticket));
        }
    }

    /// Sends nothing until then.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// When a hold ends.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }
}
