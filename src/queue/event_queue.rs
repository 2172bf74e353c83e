//! The bounded queue between the shards and the host.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::event::{Event, EventKind};
use super::progress::Marks;
use super::room::Room;
use super::signal::Signal;
use crate::config::{self, QueueConfig, WhenFull};
use crate::sync::{Mutex, MutexGuard};

/// Why a poll gave no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// The client has stopped and everything was taken.
    #[error("the client has stopped and its queue is drained")]
    Closed,
    /// A signal handler ran in this thread.
    #[error("a signal interrupted the wait; call again")]
    Interrupted,
    /// The system refused to wait on the descriptor.
    #[error("poll(2) failed")]
    Io(io::ErrorKind),
}

/// One queue for all shards of a client.
///
/// Dispatches are bounded by the config and follow its policy. What the engine itself says is
/// bounded by its nature and never waits: replies by the commands in flight, state changes and log
/// lines, and what other processes say, by dropping the oldest of them.
#[derive(Debug)]
pub struct EventQueue {
    when_full: WhenFull,
    room: Arc<Room>,
    signal: Signal,
    state: Mutex<State>,
}

/// What the lock protects.
#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// State changes, GUILDS_COMPLETE and log lines among the events.
    notices: usize,
    /// Messages and calls of other processes among the events.
    mail: usize,
    /// Their bytes.
    mail_bytes: usize,
    /// Commands whose reply the host has not taken.
    replies_owed: usize,
    /// Events that the host has taken in all.
    taken_total: u64,
    /// Events dropped since the host was last told.
    dropped: u64,
    /// Events dropped in all.
    dropped_total: u64,
    /// Messages and calls among them.
    mail_dropped_total: u64,
    /// Events that the host did not get, for another process has their shard.
    refused_total: u64,
    /// A poll shall return empty-handed.
    woken: bool,
    /// Nothing will come any more.
    closed: bool,
    /// The signal is raised.
    raised: bool,
}

impl State {
    /// Drops the oldest event of a kind, and counts it; `false` when there is none.
    fn drop_first(&mut self, is_kind: impl Fn(&Event) -> bool) -> bool {
        let oldest = self.events.iter().position(is_kind);
        let Some(event) = oldest.and_then(|index| self.events.remove(index)) else { return false };
        self.uncount(&event);
        self.mail_dropped_total += u64::from(is_mail(&event));
        self.dropped += 1;
        self.dropped_total += 1;
        true
    }

    /// An event is in the queue no longer.
    fn uncount(&mut self, event: &Event) {
        self.notices -= usize::from(is_notice(event));
        if is_mail(event) {
            self.mail -= 1;
            self.mail_bytes -= event.data().len();
        }
    }

    /// Whether a poll would return at once.
    fn has_news(&self) -> bool {
        !self.events.is_empty() || self.dropped > 0 || self.woken || self.closed
    }
}

impl EventQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new(config: &QueueConfig) -> io::Result<Self> {
        Ok(Self {
            when_full: config.when_full,
            room: Arc::new(Room::new(config.max_events, config.max_bytes)),
            signal: Signal::new()?,
            state: Mutex::default(),
        })
    }

    // -- for the shards -----------------------------------------------------------------------

    /// Takes over a batch of dispatches, or leaves it where it is: `false` says that the queue is
    /// full and that its policy is to wait ([`EventQueue::wait_for_room`]).
    #[must_use]
    pub fn push(&self, batch: &mut Vec<Event>) -> bool {
        if !self.takes_more() {
            return batch.is_empty();
        }
        self.push_anyway(batch);
        true
    }

    /// Whether it would take a batch.
    pub fn takes_more(&self) -> bool {
        self.when_full == WhenFull::DropOldest || self.room.has_room()
    }

    /// Takes over a batch whether it fits or not: for what was received before the end.
    pub fn push_anyway(&self, batch: &mut Vec<Event>) {
        if batch.is_empty() {
            return;
        }
        let mut state = self.lock();
        for event in batch.drain(..) {
            event.frame.charge(&self.room);
            state.events.push_back(event);
        }
        self.room.set_events(state.events.len());
        if self.when_full == WhenFull::DropOldest {
            self.drop_oldest(&mut state);
        }
        self.update_signal(&mut state);
    }

    /// Waits until the queue has room. Safe to cancel.
    pub async fn wait_for_room(&self) {
        self.room.wait().await;
    }

    /// Adds something the engine itself has to say.
    pub fn push_own(&self, event: Event) {
        let mut state = self.lock();
        if is_notice(&event) {
            if state.notices == config::MAX_NOTICES {
                state.drop_first(is_notice);
            }
            state.notices += 1;
        }
        if is_mail(&event) {
            let bytes = event.data().len();
            while state.mail == config::MAX_MAIL
                || (state.mail > 0 && state.mail_bytes + bytes > config::MAX_MAIL_BYTES)
            {
                if !state.drop_first(is_mail) {
                    break;
                }
            }
            state.mail += 1;
            state.mail_bytes += bytes;
        }
        event.frame.charge(&self.room);
        state.events.push_back(event);
        self.room.set_events(state.events.len());
        self.update_signal(&mut state);
    }

    /// Takes a place for a reply that will come; `false` when too many are owed already.
    #[must_use]
    pub fn owe_reply(&self) -> bool {
        let mut state = self.lock();
        let free = state.replies_owed < config::MAX_COMMANDS_IN_FLIGHT;
        state.replies_owed += usize::from(free);
        free
    }

    /// Ends the stream: once all is taken, polls say [`PollError::Closed`] and the descriptor stays
    /// readable for ever.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.update_signal(&mut state);
    }

    // -- for the host -------------------------------------------------------------------------

    /// Hands up to `cap` events to `sink`, waiting at most so long for the first (`None`: for ever).
    /// Zero when none came in time or [`EventQueue::wake`] was called.
    ///
    /// The queue is locked while `sink` runs: send commands afterwards, for their replies may come at once.
    ///
    /// # Errors
    /// [`PollError`]; `sink` was not called then.
    pub fn poll(
        &self,
        cap: usize,
        timeout: Option<Duration>,
        mut sink: impl FnMut(Event),
    ) -> Result<usize, PollError> {
        let deadline = timeout.map(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(taken) = self.take(cap, &mut sink) {
                return taken;
            }
            let left = match deadline {
                None | Some(None) => None,
                Some(Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(0);
                    }
                    Some(left)
                }
            };
            self.signal.wait(left).map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => PollError::Interrupted,
                kind => PollError::Io(kind),
            })?;
        }
    }

    /// One look at the queue; `None` when a poll has to wait.
    fn take(&self, cap: usize, sink: &mut impl FnMut(Event)) -> Option<Result<usize, PollError>> {
        let mut state = self.lock();
        if !state.has_news() {
            return None;
        }
        let woken = std::mem::take(&mut state.woken);
        let mut taken = 0;
        let mut marks = Marks::default();
        let mut now = None;
        if state.dropped > 0 && cap > 0 {
            sink(overflow(std::mem::take(&mut state.dropped)));
            taken += 1;
        }
        while taken < cap {
            let Some(event) = state.events.pop_front() else { break };
            state.uncount(&event);
            state.replies_owed -= usize::from(event.kind == EventKind::Reply);
            if let Some(receipt) = event.frame.receipt() {
                if receipt.is_void(&mut now) {
                    state.refused_total += 1;
                    continue;
                }
                marks.note(receipt, event.seq);
            }
            sink(event);
            taken += 1;
        }
        state.taken_total += taken as u64;
        self.room.set_events(state.events.len());
        let ended = state.closed && state.events.is_empty();
        self.update_signal(&mut state);
        drop(state);
        marks.tell();
        match taken {
            0 if ended && !woken => Some(Err(PollError::Closed)),
            // Nothing was left of it.
            0 if now.is_some() && !woken => None,
            _ => Some(Ok(taken)),
        }
    }

    /// Lets one poll, waiting or next, return with nothing.
    pub fn wake(&self) {
        let mut state = self.lock();
        state.woken = true;
        self.update_signal(&mut state);
    }

    /// The descriptor that is readable while a poll would return at once.
    pub fn fd(&self) -> RawFd {
        self.signal.fd()
    }

    // -- for the status -----------------------------------------------------------------------

    /// Events in the queue.
    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    /// Whether no event is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the oldest dispatch in the queue came, in nanoseconds since 1970.
    pub fn oldest_ns(&self) -> Option<i64> {
        let state = self.lock();
        let oldest = state.events.iter().find(|event| event.kind == EventKind::Dispatch);
        oldest.map(|event| event.received_ns)
    }

    /// Events in the queue, by shard. Counted on demand, so that pushing and polling need not.
    pub fn events_of_shard(&self) -> HashMap<u32, usize> {
        let mut counts = HashMap::new();
        for event in &self.lock().events {
            *counts.entry(event.shard_id).or_default() += 1;
        }
        counts
    }

    /// Bytes of events in the queue and with the host.
    pub fn bytes(&self) -> usize {
        self.room.bytes()
    }

    /// Events that the host has taken since the start.
    pub fn taken_total(&self) -> u64 {
        self.lock().taken_total
    }

    /// Events dropped since the start.
    pub fn dropped_total(&self) -> u64 {
        self.lock().dropped_total
    }

    /// Messages and calls of other processes among them.
    pub fn mail_dropped_total(&self) -> u64 {
        self.lock().mail_dropped_total
    }

    /// Events since the start that the host did not get, for their shards may be another process's by now.
    pub fn refused_total(&self) -> u64 {
        self.lock().refused_total
    }

    /// Commands whose reply the host has not taken.
    pub fn replies_owed(&self) -> usize {
        self.lock().replies_owed
    }

    // -- inside -------------------------------------------------------------------------------

    /// Makes room by dropping dispatches, oldest first. What the engine says stays.
    fn drop_oldest(&self, state: &mut State) {
        let mut kept = VecDeque::new();
        while self.room.is_over() {
            let Some(event) = state.events.pop_front() else { break };
            if event.kind == EventKind::Dispatch {
                state.dropped += 1;
                state.dropped_total += 1;
            } else {
                kept.push_back(event);
            }
            self.room.set_events(state.events.len() + kept.len());
        }
        while let Some(event) = kept.pop_back() {
            state.events.push_front(event);
        }
    }

    /// Brings the descriptor in line with the state. Only a change costs a system call.
    fn update_signal(&self, state: &mut State) {
        let raise = state.has_news();
        if raise == state.raised {
            return;
        }
        state.raised = raise;
        if raise {
            self.signal.raise();
        } else {
            self.signal.lower();
        }
    }

    /// The state; a panic of another thread does not spoil it, every change is complete in itself.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event may be dropped when too many of its like wait.
fn is_notice(event: &Event) -> bool {
    matches!(event.kind, EventKind::ShardState | EventKind::GuildsComplete | EventKind::Log)
}

/// Whether an event comes from another process, which may say more than the host takes.
fn is_mail(event: &Event) -> bool {
    matches!(event.kind, EventKind::Message | EventKind::Call)
}

/// The event that tells how many are missing.
fn overflow(dropped: u64) -> Event {
    let mut event =
        Event::new(EventKind::Overflow, "", format!("{{\"dropped\":{dropped}}}").as_bytes());
    event.status = i32::try_from(dropped).unwrap_or(i32::MAX);
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delivery;
    use crate::queue::{Lease, Moment, Progress};

    fn queue(max_events: usize, max_bytes: usize, when_full: WhenFull) -> EventQueue {
        EventQueue::new(&QueueConfig { max_events, max_bytes, when_full }).expect("a descriptor")
    }

    fn dispatch(seq: u64, bytes: usize) -> Event {
        let mut event = Event::new(EventKind::Dispatch, "X", &vec![b' '; bytes]);
        event.seq = seq;
        event
    }

    fn poll(queue: &EventQueue, cap: usize) -> Result<Vec<Event>, PollError> {
        let mut events = Vec::new();
        let count = queue.poll(cap, Some(Duration::ZERO), |event| events.push(event))?;
        assert_eq!(count, events.len());
        Ok(events)
    }

    fn is_readable(queue: &EventQueue) -> bool {
        queue.lock().raised
    }

    #[test]
    fn events_come_out_in_order_and_the_descriptor_follows() {
        let queue = queue(10, 1 << 20, WhenFull::Block);
        assert!(!is_readable(&queue));
        assert!(queue.push(&mut vec![dispatch(1, 1), dispatch(2, 1), dispatch(3, 1)]));
        assert!(is_readable(&queue));
        assert_eq!(poll(&queue, 2).expect("open").len(), 2);
        assert!(is_readable(&queue));
        assert_eq!(poll(&queue, 2).expect("open")[0].seq, 3);
        assert!(!is_readable(&queue));
        assert_eq!(poll(&queue, 2).expect("open").len(), 0);
    }

    #[test]
    fn close_lets_the_rest_out_and_then_ends() {
        let queue = queue(10, 1 << 20, WhenFull::Block);
        assert!(queue.push(&mut vec![dispatch(1, 1)]));
        queue.close();
        assert_eq!(poll(&queue, 9).expect("one left").len(), 1);
        for _ in 0..3 {
            assert_eq!(poll(&queue, 9).expect_err("closed"), PollError::Closed);
            assert!(is_readable(&queue));
        }
    }

    #[test]
    fn wake_is_kept_for_the_next_poll_and_only_for_one() {
        let queue = queue(10, 1 << 20, WhenFull::Block);
        queue.wake();
        assert!(is_readable(&queue));
        assert_eq!(queue.poll(1, None, |_| ()), Ok(0));
        assert!(!is_readable(&queue));
    }

    /// What is in the queue when a lease ends is not the host's any more, and not done with either.
    #[test]
    fn events_of_a_lease_that_ended_do_not_come() {
        let queue = queue(10, 1 << 20, WhenFull::Block);
        let since = Moment::now();
        let leases = [1, 2].map(|token| Arc::new(Lease::new(token, since, Duration::MAX)));
        let shards = leases.clone().map(|lease| {
            let progress = Progress::new(Delivery::AtLeastOnce, None).leased(Some(lease));
            progress.begin(7, 0);
            Arc::new(progress)
        });
        let event = |shard: usize, seq| {
            let mut event = dispatch(seq, 1);
            event.frame = event.frame.with_receipt(Some(shards[shard].send(seq, seq)));
            event
        };
        assert!(queue.push(&mut vec![event(0, 1), event(1, 1), event(0, 2), event(1, 2)]));
        let first = poll(&queue, 2).expect("open");
        assert_eq!(first.len(), 2);
        leases[0].end();
        let rest = poll(&queue, 10).expect("open");
        assert_eq!(rest.iter().map(|event| event.seq).collect::<Vec<_>>(), [2]);
        assert_eq!((queue.refused_total(), queue.len()), (1, 0));
        drop((first, rest));
        let done = || shards.each_ref().map(|progress| progress.done(7, 2));
        assert_eq!(done(), [Some(0), Some(2)], "what was released too late comes again, too");

        assert!(queue.push(&mut vec![event(0, 3)]));
        let waited = queue.poll(1, Some(Duration::from_millis(1)), |_| panic!("it is void"));
        assert_eq!(waited, Ok(0));
        assert!(!is_readable(&queue));
    }

    /// Scenario 74: `block` refuses, and takes again once the host has *released* enough.
    #[tokio::test(start_paused = true)]
    async fn block_waits_for_releases() {
        let queue = queue(100, 10_000, WhenFull::Block);
        let mut batch: Vec<_> = (0..4).map(|seq| dispatch(seq, 4_000)).collect();
        assert!(queue.push(&mut batch));
        batch.push(dispatch(9, 1));
        assert!(!queue.push(&mut batch));
        assert_eq!(batch.len(), 1);
        let taken = poll(&queue, 100).expect("open");
        assert!(!queue.push(&mut batch), "polled but not released");
        let early = tokio::time::timeout(Duration::ZERO, queue.wait_for_room()).await;
        assert!(early.is_err(), "there is no room yet");
        let wait = tokio::time::timeout(Duration::from_secs(1), queue.wait_for_room());
        // Who waits stands in line before anything is released.
        let (room, ()) = tokio::join!(wait, async { drop(taken) });
        assert!(room.is_ok(), "nobody was woken");
        assert!(queue.push(&mut batch));
    }

    /// Scenario 74: `block` refuses so many events, however small they are.
    #[test]
    fn block_counts_events() {
        let queue = queue(3, 1 << 20, WhenFull::Block);
        assert!(queue.push(&mut (0..3).map(|seq| dispatch(seq, 1)).collect()));
        let mut batch = vec![dispatch(3, 1)];
        assert!(!queue.push(&mut batch));
        assert_eq!((queue.len(), batch.len()), (3, 1));
        let taken = poll(&queue, 1).expect("open");
        assert!(queue.push(&mut batch), "{taken:?}");
    }

    #[test]
    fn drop_oldest_keeps_the_newest_and_tells() {
        let queue = queue(3, 1 << 20, WhenFull::DropOldest);
        queue.push_own(Event::new(EventKind::ShardState, "", b"{}"));
        for seq in 1..=10 {
            assert!(queue.push(&mut vec![dispatch(seq, 1)]));
        }
        let events = poll(&queue, 100).expect("open");
        assert_eq!(events[0].kind, EventKind::Overflow);
        assert_eq!(events[0].status, 8);
        assert_eq!(events[1].kind, EventKind::ShardState);
        assert_eq!(events[2..].iter().map(|event| event.seq).collect::<Vec<_>>(), [9, 10]);
        assert_eq!(queue.dropped_total(), 8);
    }

    #[test]
    fn notices_and_replies_are_bounded() {
        let queue = queue(3, 1 << 20, WhenFull::Block);
        for _ in 0..config::MAX_NOTICES + 5 {
            queue.push_own(Event::new(EventKind::ShardState, "", b"{}"));
        }
        assert_eq!(queue.len(), config::MAX_NOTICES);
        assert_eq!(queue.dropped_total(), 5);
        for _ in 0..config::MAX_COMMANDS_IN_FLIGHT {
            assert!(queue.owe_reply());
        }
        assert!(!queue.owe_reply());
        queue.push_own(Event::new(EventKind::Reply, "", b"null"));
        while !poll(&queue, 1_000).expect("open").is_empty() {}
        assert!(queue.owe_reply());
    }
}
