//! How far the host has come with the events of a shard, for sessions that outlive the process.
//!
//! With [`Delivery::AtMostOnce`] an event is done when the host takes it, with
//! [`Delivery::AtLeastOnce`] when it releases it. Each frame holds a [`Receipt`], so that neither
//! costs anything for single events: frames are released as a whole, and a poll notes the last event
//! it took of each shard. Without stored sessions there are no receipts at all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError};

use super::frame::Frame;
use super::lease::{Lease, Moment};
use crate::config::Delivery;
use crate::sync::{Mutex, MutexGuard};

/// The events of one shard, on their way to the host.
pub struct Progress {
    delivery: Delivery,
    state: Mutex<State>,
    /// Is told what was taken before the host gets to see it.
    on_taken: Option<OnTaken>,
    /// Until when the host may get its events, if another process can take the shard over.
    lease: Option<Arc<Lease>>,
}

/// What a [`Progress`] tells of what was taken.
pub type OnTaken = Box<dyn Fn(Taken) + Send + Sync>;

/// An event that the host takes, and with it all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Counts the sessions of this shard's life, to tell old news from new.
    pub session: u32,
    /// What the session is known by, [`Progress::begin`].
    pub tag: u64,
    /// Its sequence number.
    pub seq: u64,
}

/// What the lock protects; all of it is about the newest session.
#[derive(Debug, Default)]
struct State {
    session: u32,
    tag: u64,
    /// The event that it began with, or was resumed after: it cannot be resumed before that.
    begun: u64,
    /// The newest event on its way, or before that the one the session was resumed after.
    sent: u64,
    /// The newest event that was taken.
    taken: u64,
    /// Frames that are not released: the event before the first of each, by their number.
    open: BTreeMap<u64, u64>,
    /// The number of the next frame.
    next_frame: u64,
    /// Another process goes on with the shard from here: nothing is done with any more.
    frozen: bool,
}

impl Progress {
    /// Of a shard without a session.
    pub fn new(delivery: Delivery, on_taken: Option<OnTaken>) -> Self {
        Self { delivery, state: Mutex::default(), on_taken, lease: None }
    }

    /// The same of a shard that is leased.
    #[must_use]
    pub fn leased(self, lease: Option<Arc<Lease>>) -> Self {
        Self { lease, ..self }
    }

    /// Leaves it as it is: whatever the host takes or releases from now on, another process brings it again.
    pub fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Whether the host is done with all that set out.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        match self.delivery {
            Delivery::AtLeastOnce => state.open.is_empty(),
            Delivery::AtMostOnce => state.taken >= state.sent,
        }
    }

    /// A session begins with this event (READY), or goes on after it. What is known of the last one is
    /// void.
    pub fn begin(&self, tag: u64, seq: u64) {
        let mut state = self.lock();
        let session = state.session.wrapping_add(1);
        let frozen = state.frozen;
        let begun = State { session, tag, begun: seq, sent: seq, taken: seq, ..State::default() };
        *state = State { frozen, ..begun };
    }

    /// A frame with the events from one to another sets out.
    pub(crate) fn send(self: &Arc<Self>, first_seq: u64, last_seq: u64) -> Receipt {
        let mut state = self.lock();
        let frame = state.open(self.delivery, first_seq);
        state.sent = state.sent.max(last_seq);
        self.receipt(state.session, frame)
    }

    fn receipt(self: &Arc<Self>, session: u32, frame: u64) -> Receipt {
        Receipt { progress: Arc::clone(self), session, frame, twins: OnceLock::new() }
    }

    /// The newest event of the session with this tag that, like all before it, is done with, if
    /// `received` is the newest that has come. `None` when it is not the session with this tag.
    pub fn done(&self, tag: u64, received: u64) -> Option<u64> {
        let state = self.lock();
        if state.tag != tag {
            return None;
        }
        Some(match self.delivery {
            Delivery::AtLeastOnce => {
                state.open.first_key_value().map_or(received, |(_, before)| *before)
            }
            // What was filtered out after the last event is done with too.
            Delivery::AtMostOnce if state.taken >= state.sent => received,
            Delivery::AtMostOnce => state.taken,
        })
    }

    /// The host takes an event.
    fn take(&self, session: u32, seq: u64) {
        let taken = {
            let mut state = self.lock();
            if state.session != session || state.frozen {
                return;
            }
            state.taken = state.taken.max(seq);
            Taken { session, tag: state.tag, seq: state.taken }
        };
        // Not under the lock: it may wait for a disk, and shards must not.
        if let Some(on_taken) = &self.on_taken {
            on_taken(taken);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of a frame that begins with this event.
    fn open(&mut self, delivery: Delivery, first_seq: u64) -> u64 {
        let frame = self.next_frame;
        self.next_frame += 1;
        if delivery == Delivery::AtLeastOnce {
            // One without a number comes after all that were sent.
            let before = first_seq.checked_sub(1).unwrap_or(self.sent);
            self.open.insert(frame, before.max(self.begun));
        }
        frame
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("state", &*self.lock()).finish_non_exhaustive()
    }
}

/// Belongs to a frame; its drop says that the frame was released.
#[derive(Debug)]
pub(crate) struct Receipt {
    progress: Arc<Progress>,
    session: u32,
    frame: u64,
    /// Frames that are done with when this one is; see [`Receipt::also`].
    twins: OnceLock<Mutex<Vec<Frame>>>,
}

impl Receipt {
    /// Whether the host may no longer get this: another process brings it. `now` is read at most once.
    pub(super) fn is_void(&self, now: &mut Option<Moment>) -> bool {
        let Some(lease) = &self.progress.lease else { return false };
        let is_over = lease.is_over(*now.get_or_insert_with(Moment::now));
        if is_over {
            // First: what is dropped now was not released by the host.
            self.progress.freeze();
        }
        is_over
    }

    /// One for a single event of the frame, which outlives it.
    pub(crate) fn for_one(&self, seq: u64) -> Self {
        let mut state = self.progress.lock();
        // Old news says nothing of another session.
        let is_current = state.session == self.session;
        let frame = if is_current { state.open(self.progress.delivery, seq) } else { self.frame };
        drop(state);
        self.progress.receipt(self.session, frame)
    }

    /// The host gets an event of `twin` in this frame: it is done with it when it releases this one.
    pub(crate) fn also(&self, twin: Frame) {
        let twins = self.twins.get_or_init(Mutex::default);
        twins.lock().unwrap_or_else(PoisonError::into_inner).push(twin);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.progress.delivery == Delivery::AtLeastOnce {
            let mut state = self.progress.lock();
            if state.session == self.session && !state.frozen {
                state.open.remove(&self.frame);
            }
        }
    }
}

/// What one poll takes: the newest event of each shard.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(Arc<Progress>, u32, u64)>);

impl Marks {
    /// Notes an event with its receipt.
    pub(super) fn note(&mut self, receipt: &Receipt, seq: u64) {
        let Receipt { progress, session, .. } = receipt;
        if progress.delivery == Delivery::AtLeastOnce {
            return;
        }
        match self.0.last_mut() {
            Some((last, same, newest)) if Arc::ptr_eq(last, progress) && same == session => {
                *newest = seq.max(*newest);
            }
            _ => self.0.push((Arc::clone(progress), *session, seq)),
        }
    }

    /// Tells of all that was noted.
    pub(super) fn tell(self) {
        for (progress, session, seq) in self.0 {
            progress.take(session, seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(delivery: Delivery) -> Arc<Progress> {
        let progress = Arc::new(Progress::new(delivery, None));
        progress.begin(7, 0);
        progress
    }

    #[test]
    fn frames_are_done_in_their_order_whatever_order_they_are_released_in() {
        let progress = progress(Delivery::AtLeastOnce);
        assert_eq!(progress.done(7, 3), Some(3));
        let [first, second, third] = [(4, 5), (6, 9), (12, 12)].map(|(a, b)| progress.send(a, b));
        assert_eq!(progress.done(7, 12), Some(3));
        drop(second);
        assert_eq!(progress.done(7, 12), Some(3));
        drop(first);
        assert_eq!(progress.done(7, 12), Some(11), "what lies between was filtered out");
        drop(third);
        assert_eq!(progress.done(7, 15), Some(15));
        assert_eq!(progress.done(8, 15), None, "another session");
    }

    #[test]
    fn the_ready_of_a_session_is_never_replayed() {
        for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce] {
            let progress = Arc::new(Progress::new(delivery, None));
            progress.begin(7, 1);
            let _ready_and_guilds = progress.send(1, 3);
            assert_eq!(progress.done(7, 3), Some(1), "{delivery:?}");
        }
    }

    #[test]
    fn what_is_taken_is_done_at_once() {
        let progress = progress(Delivery::AtMostOnce);
        let receipt = progress.send(1, 3);
        assert_eq!(progress.done(7, 4), Some(0));
        let mut marks = Marks::default();
        marks.note(&receipt, 1);
        marks.note(&receipt, 2);
        marks.tell();
        assert_eq!(progress.done(7, 4), Some(2));
        progress.take(receipt.session, 3);
        assert_eq!(progress.done(7, 4), Some(4));
    }

    /// What another process brings again is not done with, whatever becomes of it here.
    #[test]
    fn nothing_is_done_with_after_a_freeze() {
        for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce] {
            let progress = progress(delivery);
            let [first, second] = [(1, 5), (6, 9)].map(|(a, b)| progress.send(a, b));
            progress.take(first.session, 5);
            drop(first);
            assert!(!progress.is_settled());
            assert_eq!(progress.done(7, 9), Some(5), "{delivery:?}");
            progress.freeze();
            progress.take(second.session, 9);
            drop(second);
            drop(progress.send(10, 12));
            assert_eq!(progress.done(7, 12), Some(5), "{delivery:?}");
            progress.begin(8, 1);
            progress.take(2, 3);
            drop(progress.send(2, 3));
            assert_eq!(progress.done(8, 3), Some(1), "{delivery:?}");
        }
    }

    #[test]
    fn old_sessions_say_nothing_of_new_ones() {
        for delivery in [Delivery::AtMostOnce, Delivery::AtLeastOnce] {
            let progress = progress(delivery);
            let old = progress.send(1, 90);
            progress.begin(8, 0);
            let new = progress.send(1, 2);
            progress.take(old.session, 90);
            drop(old);
            assert_eq!(progress.done(8, 2), Some(0), "{delivery:?}");
            progress.take(new.session, 2);
            drop(new);
            assert_eq!(progress.done(8, 2), Some(2), "{delivery:?}");
        }
    }
}
