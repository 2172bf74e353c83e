//! A moment that host threads can wait for.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::queue::Signal;

/// Something that happens once.
#[derive(Debug)]
pub(super) struct Latch {
    signal: Signal,
    set: AtomicBool,
}

impl Latch {
    /// It has not happened.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { signal: Signal::new()?, set: AtomicBool::new(false) })
    }

    /// It happened.
    pub(super) fn set(&self) {
        if !self.set.swap(true, Ordering::SeqCst) {
            self.signal.raise();
        }
    }

    /// Whether it happened.
    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits for it, at most so long (`None`: for ever).
    ///
    /// # Errors
    /// `Timeout`; `Interrupted` when a signal handler ran in this thread.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while !self.is_set() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::new(ErrorKind::Timeout, "it did not happen in time"));
            }
            self.signal.wait(left).map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => {
                    Error::new(ErrorKind::Interrupted, "a signal interrupted the wait; call again")
                }
                _ => Error::new(ErrorKind::Io, format!("poll(2): {error}")),
            })?;
        }
        Ok(())
    }
}
