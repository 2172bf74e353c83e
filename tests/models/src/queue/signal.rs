//! An eventfd as it behaves: readable while it is raised, for everybody who waits.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

/// A flag that threads can wait for.
#[derive(Debug)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { raised: Mutex::new(false), changed: Condvar::new() })
    }

    pub(crate) fn raise(&self) {
        *self.raised.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(crate) fn lower(&self) {
        *self.raised.lock().unwrap() = false;
    }

    /// No model waits for a time: what does not come is a deadlock, which loom reports.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        assert_eq!(timeout, None);
        let mut raised = self.raised.lock().unwrap();
        while !*raised {
            raised = self.changed.wait(raised).unwrap();
        }
        Ok(())
    }

    /// Stands for `poll(2)` in a host's own loop.
    pub(crate) fn fd(&self) -> RawFd {
        self.wait(None).map_or(-1, |()| 0)
    }
}
