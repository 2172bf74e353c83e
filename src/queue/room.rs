//! How full the queue may be, in events and in bytes.

use std::sync::Arc;

use crate::sync::Notify;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What is taken of the queue's bounds, and who waits for some of it.
///
/// Bytes count until the host has released them, not until it has polled them: a host that keeps
/// events keeps memory.
#[derive(Debug)]
pub(super) struct Room {
    max_events: usize,
    max_bytes: usize,
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// Shards that wait in [`Room::wait`].
    waiting: AtomicUsize,
    freed: Notify,
}

/// Bytes taken of a room; given back on drop.
#[derive(Debug)]
pub(super) struct Charge {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// Empty room.
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            max_events,
            max_bytes,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Whether another batch may come. The bounds are marks that one batch of each shard can pass;
    /// otherwise a payload larger than what is left would have to wait for an empty queue.
    pub(super) fn has_room(&self) -> bool {
        self.events.load(Ordering::SeqCst) < self.max_events
            && self.bytes.load(Ordering::SeqCst) < self.max_bytes
    }

    /// Whether more is there than the bounds allow.
    pub(super) fn is_over(&self) -> bool {
        self.events.load(Ordering::SeqCst) > self.max_events
            || self.bytes.load(Ordering::SeqCst) > self.max_bytes
    }

    /// Bytes in the queue and with the host.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Notes how many events the queue holds now.
    pub(super) fn set_events(&self, events: usize) {
        if self.events.swap(events, Ordering::SeqCst) > events {
            self.wake();
        }
    }

    /// Takes bytes.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        Charge { room: Arc::clone(self), bytes }
    }

    /// Waits until there is room. Safe to cancel.
    pub(super) async fn wait(&self) {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Enlisted before the look, so that room made in between is not missed.
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Wakes those who wait, if there is room for them.
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 && self.has_room() {
            self.freed.notify_waiters();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.room.wake();
    }
}

/// One who waits, counted as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
