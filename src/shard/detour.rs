//! What stands between a shard and the queue while another set of shards runs. As a rule there is nothing.

use std::sync::Arc;

use super::hold::Hold;
use super::notes::Notes;
use super::overlap::{Overlap, Side};
use crate::queue::Event;

/// Decides what the host hears of a shard.
#[derive(Debug, Clone)]
pub(crate) enum Detour {
    /// The other set runs in this process.
    Overlap(Arc<Overlap>, Side),
    /// It runs in other processes, and this one waits for its turn.
    Hold(Arc<Hold>),
    /// The same, and this one goes when they have come.
    Note(Arc<Notes>),
}

impl Detour {
    /// Takes over a batch as `EventQueue::push` does, less what the host does not get now.
    #[must_use]
    pub(super) fn push(&self, batch: &mut Vec<Event>) -> bool {
        match self {
            Self::Overlap(overlap, side) => overlap.push(*side, batch),
            Self::Hold(hold) => hold.push(batch),
            Self::Note(notes) => notes.push(batch),
        }
    }

    /// The same, whether there is room or not.
    pub(super) fn push_anyway(&self, batch: &mut Vec<Event>) {
        match self {
            Self::Overlap(overlap, side) => overlap.push_anyway(*side, batch),
            Self::Hold(hold) => hold.push_anyway(batch),
            Self::Note(notes) => notes.push_anyway(batch),
        }
    }

    /// Something that the host does not hear now.
    pub(super) fn keep(&self, event: Event) {
        if let Self::Hold(hold) = self {
            hold.tell(event);
        }
    }

    /// Whether the host hears of the states of this shard.
    pub(super) fn speaks(&self) -> bool {
        match self {
            Self::Overlap(overlap, side) => overlap.speaks(*side),
            Self::Hold(hold) => hold.speaks(),
            Self::Note(_) => true,
        }
    }

    /// Whether it is of no use for events that come at this moment or later, in nanoseconds since 1970.
    pub(super) fn is_over(&self, now_ns: i64) -> bool {
        match self {
            Self::Overlap(overlap, side) => overlap.is_over(*side),
            Self::Hold(hold) => hold.is_over(now_ns),
            Self::Note(notes) => notes.is_over(),
        }
    }
}
