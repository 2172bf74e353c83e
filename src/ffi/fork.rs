//! What a forked child inherits and must not use.
//!
//! A child has the parent's memory but none of its threads, and locks may be held for ever by threads
//! that are not there. So a child touches nothing of the parent's: each process counts the forks above
//! it, handles and events carry that count, and a handle of another count is refused before any lock
//! is taken.

use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};

/// How many forks lie between the first process and this one.
static GENERATION: AtomicU8 = AtomicU8::new(0);

/// Runs in the child, between fork and its return; an atomic store is all that is allowed there.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    super::handle::forget_table();
}

/// Starts counting, before the first handle is made.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler only stores to atomics. It may be called as long as the process lives,
        // and so may the library: it is linked with `-z nodelete`.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// This process's count.
pub(super) fn generation() -> u8 {
    GENERATION.load(Ordering::SeqCst)
}
