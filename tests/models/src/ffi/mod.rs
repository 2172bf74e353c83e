//! The engine's table of clients, as it is shipped. Its tenants are queues, which is all of a client that
//! a poll and a free have in common.

#[path = "../../../../src/ffi/table.rs"]
mod table;

use std::sync::Arc;

use crate::queue::EventQueue;

/// The table behind the handles.
#[derive(Debug)]
pub(crate) struct Handles(table::Table<EventQueue>);

impl Handles {
    pub(crate) fn new() -> Self {
        let _ = table::MAX_CLIENTS;
        Self(table::Table::new())
    }

    pub(crate) fn insert(&self, queue: EventQueue) -> Handle {
        Handle(self.0.insert(queue).expect("a place"))
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<Arc<EventQueue>> {
        self.0.get(handle.0)
    }

    /// `shard_client_free`: the handle is stale, and polls end.
    pub(crate) fn free(&self, handle: Handle) -> bool {
        self.0.remove(handle.0).inspect(|queue| queue.close()).is_some()
    }
}

/// What a host holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(table::Key);
