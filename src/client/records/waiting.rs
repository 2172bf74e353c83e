//! Records on their way to the store. A store that is away loses the oldest when there are too many.

use std::collections::VecDeque;

use tracing::warn;

use crate::config::MAX_RECORDS_WAITING;

/// A document of the engine's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it belongs.
    pub(super) collection: &'static str,
    /// Sorts by time.
    pub(super) key: String,
    /// JSON.
    pub(super) value: String,
}

/// Records that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    records: VecDeque<Record>,
    /// Records that were lost since the store last took one.
    lost: u64,
}

impl Waiting {
    /// One more; it takes the place of an older one under its key.
    pub(super) fn push(&mut self, record: Record) {
        let is_same = |other: &&mut Record| {
            (other.collection, &other.key) == (record.collection, &record.key)
        };
        if let Some(older) = self.records.iter_mut().rev().find(is_same) {
            *older = record;
            return;
        }
        if self.records.len() >= MAX_RECORDS_WAITING {
            self.records.pop_front();
            if self.lost == 0 {
                warn!("the store is away for so long that the engine's own records are lost");
            }
            self.lost += 1;
        }
        self.records.push_back(record);
    }

    /// The next to be stored.
    pub(super) fn next(&self) -> Option<Record> {
        self.records.front().cloned()
    }

    /// One was stored. Says how many were lost before, once.
    pub(super) fn stored(&mut self, record: &Record) -> u64 {
        // It may have been lost or replaced meanwhile.
        if self.records.front() == Some(record) {
            self.records.pop_front();
        }
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: usize, value: &str) -> Record {
        Record { collection: "_c", key: format!("{key:05}"), value: value.to_owned() }
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut waiting = Waiting::default();
        for key in 0..MAX_RECORDS_WAITING + 3 {
            waiting.push(record(key, "1"));
        }
        let first = waiting.next().expect("one");
        assert_eq!(first.key, "00003");
        assert_eq!((waiting.stored(&first), waiting.stored(&first)), (3, 0));
        assert_eq!(waiting.records.len(), MAX_RECORDS_WAITING - 1);
    }

    #[test]
    fn what_was_replaced_while_it_was_stored_is_stored_again() {
        let mut waiting = Waiting::default();
        waiting.push(record(1, "old"));
        let old = waiting.next().expect("one");
        waiting.push(record(1, "new"));
        waiting.stored(&old);
        let new = waiting.next().expect("it waits still");
        assert_eq!(new.value, "new");
        waiting.stored(&new);
        assert_eq!(waiting.next(), None);
    }
}
