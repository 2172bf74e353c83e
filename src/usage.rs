//! What came of the commands for the backplane and for the store, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::histogram::{Distribution, Histogram};

/// What a command came to: what the host asked for, a no, or nothing for want of the backplane or the store.
pub(crate) const RESULTS: [&str; 3] = ["done", "refused", "failed"];

/// Counts commands.
#[derive(Debug)]
pub(crate) struct Usage {
    /// How many, by [`RESULTS`].
    results: [AtomicU64; RESULTS.len()],
    time: Histogram,
}

/// The same as it was at one moment.
#[derive(Debug)]
pub(crate) struct Used {
    /// How many, by [`RESULTS`].
    pub(crate) results: [u64; RESULTS.len()],
    /// How long they took.
    pub(crate) time: Distribution,
}

impl Usage {
    /// There were none.
    pub(crate) fn new() -> Self {
        Self { results: Default::default(), time: Histogram::fast() }
    }

    /// One is over. It counts by the time that it took, unless others were waited for.
    pub(crate) fn note<T>(&self, result: &Result<(i32, T), Error>, took: Option<Duration>) {
        let index = match result {
            Ok((0.., _)) => 0,
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Timeout) => 2,
            Ok(_) | Err(_) => 1,
        };
        self.results[index].fetch_add(1, Ordering::Relaxed);
        if let Some(took) = took {
            self.time.add(took);
        }
    }

    /// What was counted so far.
    pub(crate) fn get(&self) -> Used {
        let results = self.results.each_ref().map(|count| count.load(Ordering::Relaxed));
        Used { results, time: self.time.get() }
    }
}

/// Where a job stands with this client, or how it left it.
pub(crate) const JOB_STEPS: [&str; 5] = ["pushed", "taken", "done", "failed", "lost"];

/// What became of jobs and messages, as it was at one moment.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Messages and calls sent.
    pub(crate) published: u64,
    /// Messages and calls for the host.
    pub(crate) received: u64,
    /// Jobs by [`JOB_STEPS`].
    pub(crate) jobs: [u64; JOB_STEPS.len()],
    /// Jobs that the host works on.
    pub(crate) jobs_running: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_what_came_of_them() {
        let usage = Usage::new();
        let error = |kind| Err(Error::new(kind, "why"));
        let second = Some(Duration::from_secs(1));
        usage.note(&Ok((0, ())), second);
        usage.note(&Ok((ErrorKind::State.status(), ())), second);
        usage.note::<()>(&error(ErrorKind::NotFound), second);
        usage.note::<()>(&error(ErrorKind::Io), second);
        usage.note::<()>(&error(ErrorKind::Timeout), None);
        assert_eq!(usage.get().results, [1, 2, 2]);
    }
}
