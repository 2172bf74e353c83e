//! What went wrong last, per thread.

use std::cell::RefCell;

use super::status::SHARD_OK;
use crate::error::Error;

thread_local! {
    /// Status and text of this thread's last failure.
    static LAST: RefCell<(i32, String)> = const { RefCell::new((SHARD_OK, String::new())) };
}

/// Keeps a failure; its status.
pub(super) fn set(error: &Error) -> i32 {
    let status = error.kind().status();
    // A thread that is ending has nowhere to keep it, and nobody to read it.
    let _ = LAST.try_with(|last| *last.borrow_mut() = (status, error.to_string()));
    status
}

/// Looks at the last failure.
pub(super) fn with<T>(look: impl FnOnce(i32, &str) -> T) -> T {
    LAST.with_borrow(|(status, text)| look(*status, text))
}
