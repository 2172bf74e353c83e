//! The newest state, and what changed before it: what all browsers are told.
//!
//! Changes are kept for a while, so that a browser that was away for a moment gets what it missed. Nothing is
//! kept for any one browser: each takes the next change when it has room for it, and one that has fallen too far
//! behind gets the whole state again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::patch;

/// Changes that are kept.
const MAX_PATCHES: usize = 600;

/// Bytes of changes that are kept.
const MAX_PATCH_BYTES: usize = 4 << 20;

/// The newest state.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Tells this hub's numbers from those of another life of the program.
    stream: String,
    newest: Mutex<Newest>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Newest {
    seq: u64,
    state: Value,
    /// Messages to browsers, oldest first; the last one has number `seq`.
    patches: VecDeque<Utf8Bytes>,
    patch_bytes: usize,
    /// The state as text, once somebody has asked for it.
    text: Option<Utf8Bytes>,
}

/// What a browser has missed.
#[derive(Debug)]
pub(crate) enum Missed {
    /// These changes; the last one has this number.
    Patches(Vec<Utf8Bytes>, u64),
    /// Too much: this is the whole state, and its number.
    State(Utf8Bytes, u64),
}

impl Hub {
    /// One that begins with a state.
    pub(crate) fn new(stream: String, state: Value) -> Self {
        let newest = Newest { seq: 0, state, patches: VecDeque::new(), patch_bytes: 0, text: None };
        Self { stream, newest: Mutex::new(newest), changed: watch::Sender::new(0) }
    }

    /// What its numbers belong to.
    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    /// This is how it is now.
    pub(crate) fn set(&self, state: Value) {
        let mut newest = self.lock();
        let Some(patch) = patch::between(&newest.state, &state) else { return };
        newest.seq += 1;
        newest.state = state;
        newest.text = None;
        let message = json!({"type": "patch", "seq": newest.seq, "patch": patch}).to_string();
        newest.patch_bytes += message.len();
        newest.patches.push_back(message.into());
        while newest.patches.len() > MAX_PATCHES || newest.patch_bytes > MAX_PATCH_BYTES {
            let Some(oldest) = newest.patches.pop_front() else { break };
            newest.patch_bytes -= oldest.len();
        }
        let seq = newest.seq;
        drop(newest);
        self.changed.send_replace(seq);
    }

    /// Tells whenever there is another number.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What came after a number, at most so many changes; `None` when nothing did.
    pub(crate) fn after(&self, seq: Option<u64>, most: usize) -> Option<Missed> {
        let mut newest = self.lock();
        let missed = seq.and_then(|seq| newest.seq.checked_sub(seq));
        match missed.and_then(|missed| usize::try_from(missed).ok()) {
            Some(0) => None,
            Some(missed) if missed <= newest.patches.len() => {
                let from = newest.patches.len() - missed;
                let patches: Vec<_> = newest.patches.range(from..).take(most).cloned().collect();
                let last = newest.seq - (missed - patches.len()) as u64;
                Some(Missed::Patches(patches, last))
            }
            _ => Some(Missed::State(newest.text(), newest.seq)),
        }
    }

    /// The state as it is, and its number.
    pub(crate) fn state(&self) -> (Utf8Bytes, u64) {
        let mut newest = self.lock();
        (newest.text(), newest.seq)
    }

    /// Looks at the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Value) -> T) -> T {
        look(&self.lock().state)
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newest {
    fn text(&mut self) -> Utf8Bytes {
        self.text.get_or_insert_with(|| self.state.to_string().into()).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(missed: Option<Missed>) -> Option<(usize, u64)> {
        match missed? {
            Missed::Patches(patches, last) => Some((patches.len(), last)),
            Missed::State(_, seq) => Some((0, seq)),
        }
    }

    #[test]
    fn who_was_away_gets_what_it_missed() {
        let hub = Hub::new("a".to_owned(), json!({}));
        for count in 1..=5 {
            hub.set(json!({"count": count}));
            hub.set(json!({"count": count}));
        }
        assert_eq!(numbers(hub.after(Some(5), 10)), None);
        assert_eq!(numbers(hub.after(Some(2), 10)), Some((3, 5)));
        assert_eq!(numbers(hub.after(Some(2), 2)), Some((2, 4)));
        // Nobody can know more than there is.
        for unknown in [None, Some(6)] {
            assert_eq!(numbers(hub.after(unknown, 10)), Some((0, 5)));
        }
        let Some(Missed::State(text, _)) = hub.after(None, 10) else { panic!("the state") };
        assert_eq!(text.as_str(), r#"{"count":5}"#);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let hub = Hub::new("a".to_owned(), json!({}));
        for count in 0..2_000 {
            hub.set(json!({"count": count}));
        }
        assert_eq!(numbers(hub.after(Some(2_000 - 600), 1_000)), Some((600, 2_000)));
        assert_eq!(numbers(hub.after(Some(2_000 - 601), 1_000)), Some((0, 2_000)));
        for count in 0..20 {
            hub.set(json!({"text": count.to_string().repeat(1 << 20)}));
        }
        let newest = hub.lock();
        assert!(newest.patch_bytes <= MAX_PATCH_BYTES && !newest.patches.is_empty());
        assert_eq!(
            newest.patches.iter().map(|patch| patch.len()).sum::<usize>(),
            newest.patch_bytes
        );
    }
}
