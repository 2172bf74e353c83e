//! Locks and atomics of what threads share: the queue with its readiness flag, and the table of clients.
//!
//! These are std's and tokio's. The file is there so that `tests/models` can put loom's in its place and try every
//! order in which threads may meet, on the very files that are shipped (`make loom`).

pub(crate) use std::sync::{Mutex, MutexGuard, RwLock};

pub(crate) use tokio::sync::Notify;

/// Atomics.
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
}
