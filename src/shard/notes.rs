//! What a set of shards has delivered lately, noted for shards of other processes that take over from it: those drop
//! what they have of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::overlap::content;
use crate::queue::{Event, EventQueue};

/// Dispatches that are noted; one more, and it is given up. It is about what comes in half a minute.
const MAX_NOTED: usize = 200_000;

/// What the shards of a client note.
pub(crate) struct Notes {
    queue: Arc<EventQueue>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Shards that do not note yet what they deliver.
    missing: usize,
    /// Since when all of them do, in nanoseconds since 1970.
    since_ns: Option<i64>,
    noted: Vec<u64>,
    /// Something was delivered that is not noted.
    is_void: bool,
    /// Nobody wants to know any more.
    is_over: bool,
}

impl Notes {
    /// Of so many shards, on their way to a queue.
    pub(crate) fn new(queue: Arc<EventQueue>, shards: usize) -> Self {
        Self { queue, state: Mutex::new(State { missing: shards, ..State::default() }) }
    }

    /// One more shard notes what it delivers from this moment on, in nanoseconds since 1970.
    pub(crate) fn join(&self, now_ns: i64) {
        let mut state = self.lock();
        state.missing = state.missing.saturating_sub(1);
        if state.missing == 0 {
            state.since_ns.get_or_insert(now_ns);
        }
    }

    /// Something was delivered that is not noted.
    pub(crate) fn void(&self) {
        let mut state = self.lock();
        state.is_void = true;
        state.noted = Vec::new();
    }

    /// Nobody wants to know any more.
    pub(crate) fn end(&self) {
        self.void();
        self.lock().is_over = true;
    }

    /// Whether events need not come here any more.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Since when all is noted, in nanoseconds since 1970, if it is.
    pub(crate) fn since_ns(&self) -> Option<i64> {
        let state = self.lock();
        state.since_ns.filter(|_| !state.is_void)
    }

    /// All that was noted since then.
    pub(crate) fn noted(&self) -> Option<Vec<u64>> {
        let state = self.lock();
        (state.since_ns.is_some() && !state.is_void).then(|| state.noted.clone())
    }

    /// Takes over a batch as [`EventQueue::push`] does.
    #[must_use]
    pub(crate) fn push(&self, batch: &mut Vec<Event>) -> bool {
        if !self.queue.takes_more() {
            return batch.is_empty();
        }
        self.push_anyway(batch);
        true
    }

    /// The same, whether there is room or not.
    pub(crate) fn push_anyway(&self, batch: &mut Vec<Event>) {
        let mut state = self.lock();
        if !state.is_void {
            state.noted.extend(batch.iter().map(content));
            if state.noted.len() > MAX_NOTED {
                state.is_void = true;
                state.noted = Vec::new();
            }
        }
        drop(state);
        self.queue.push_anyway(batch);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").field("since_ns", &self.since_ns()).finish_non_exhaustive()
    }
}

/// What others have noted, to be compared with.
#[derive(Debug, Default)]
pub(crate) struct Noted(HashMap<u64, u32>);

impl Noted {
    /// Adds what one of them has noted.
    pub(crate) fn add(&mut self, noted: impl IntoIterator<Item = u64>) {
        for content in noted {
            *self.0.entry(content).or_default() += 1;
        }
    }

    /// Whether they have delivered an event; each counts once. What has no guild may have come to any number of
    /// their shards and of ours.
    pub(super) fn take(&mut self, event: &Event) -> bool {
        let Some(count) = self.0.get_mut(&content(event)).filter(|count| **count > 0) else {
            return false;
        };
        if event.guild_id != 0 {
            *count -= 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueueConfig;
    use crate::queue::EventKind;

    fn message(text: &str, guild_id: u64) -> Event {
        let event = Event::new(EventKind::Dispatch, "MESSAGE_CREATE", text.as_bytes());
        Event { guild_id, ..event }
    }

    #[test]
    fn what_is_noted_is_known_once() {
        let queue = Arc::new(EventQueue::new(&QueueConfig::default()).expect("a descriptor"));
        let notes = Notes::new(Arc::clone(&queue), 2);
        notes.join(3);
        assert_eq!((notes.since_ns(), notes.noted()), (None, None), "one shard does not yet");
        notes.join(5);
        notes.join(7);
        assert_eq!(notes.since_ns(), Some(5));
        assert!(notes.push(&mut vec![message("a", 7), message("a", 7), message("b", 0)]));
        assert_eq!(queue.len(), 3);

        let mut noted = Noted::default();
        noted.add(notes.noted().expect("it is whole"));
        let known = ["a", "a", "a", "c"].map(|text| noted.take(&message(text, 7)));
        assert_eq!(known, [true, true, false, false]);
        assert!(noted.take(&message("b", 0)) && noted.take(&message("b", 0)), "all shards get it");

        notes.void();
        assert!(notes.push(&mut vec![message("d", 7)]));
        assert_eq!((notes.since_ns(), notes.noted(), queue.len()), (None, None, 4));
    }
}
