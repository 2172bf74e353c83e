//! The boundary that panics do not cross.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::last_error;
use super::status::SHARD_E_PANIC;
use crate::error::{Error, ErrorKind};

/// What an exported function returns when it failed.
pub(super) trait Failure {
    /// The value for this status.
    fn failure(status: i32) -> Self;
}

impl Failure for i32 {
    fn failure(status: i32) -> Self {
        status
    }
}

impl Failure for () {
    fn failure(_: i32) -> Self {}
}

impl<T> Failure for *mut T {
    fn failure(_: i32) -> Self {
        std::ptr::null_mut()
    }
}

impl Failure for usize {
    fn failure(_: i32) -> Self {
        0
    }
}

thread_local! {
    /// This thread is inside the library, or is one of its own.
    static INSIDE: Cell<bool> = const { Cell::new(false) };

    /// This thread runs the host's log callback.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs the body of an exported function: an error becomes its status and this thread's last error,
/// and so does a panic.
pub(super) fn guard<T: Failure>(body: impl FnOnce() -> Result<T, Error>) -> T {
    quiet_panics();
    let was_inside = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(|| {
        if IN_CALLBACK.get() {
            let text = "called from a log callback; only the functions without a handle may be";
            return Err(Error::new(ErrorKind::State, text));
        }
        body()
    }));
    INSIDE.set(was_inside);
    match result {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => T::failure(last_error::set(&error)),
        Err(panic) => {
            let text = format!("a bug in Shardwright: {}", text_of(panic.as_ref()));
            last_error::set(&Error::new(ErrorKind::Panic, text));
            T::failure(SHARD_E_PANIC)
        }
    }
}

/// Marks a thread as one of the library's own.
pub(super) fn enter_thread() {
    INSIDE.set(true);
}

/// Runs the host's log callback; meanwhile the thread is refused at the boundary.
pub(super) fn in_callback(call: impl FnOnce()) {
    let was = IN_CALLBACK.replace(true);
    call();
    IN_CALLBACK.set(was);
}

/// Whether this thread runs the host's log callback.
pub(super) fn is_in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Sends panics inside the library to its log, and to standard error only from a debug build. A
/// shared library has its own copy of std, so a host in Rust keeps its hook; where the copy is shared,
/// panics outside go on to the hook that was there.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.try_with(Cell::get).unwrap_or(false) {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                tracing::error!("panic at {place}: {}", text_of(info.payload()));
                if cfg!(not(debug_assertions)) {
                    return;
                }
            }
            before(info);
        }));
    });
}

/// The message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_a_text() {
        let status: i32 = guard(|| panic!("number {}", 7));
        assert_eq!(status, SHARD_E_PANIC);
        last_error::with(|status, text| {
            assert_eq!(status, SHARD_E_PANIC);
            assert!(text.ends_with("number 7"), "{text}");
        });
        let pointer: *mut u8 = guard(|| panic!("again"));
        assert!(pointer.is_null());
    }

    #[test]
    fn a_callback_may_not_call_back() {
        in_callback(|| {
            let status: i32 = guard(|| Ok(0));
            assert_eq!(status, ErrorKind::State.status());
        });
        assert_eq!(guard(|| Ok(1)), 1);
    }
}
