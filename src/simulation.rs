//! What a simulation on tokio's paused clock has instead of the machine's own time.
//!
//! Two things are read from, or left to, the machine where sessions outlive a process: the wall clock,
//! which a paused clock does not pause, and threads that write files, whose speed would decide what
//! happens first. A thread that says [`begin`] has neither: its wall clock follows tokio's, and what it
//! would leave to another thread it does at once. Then a seed means the same every time.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

thread_local! {
    /// When this thread's simulation began, by tokio's clock and since 1970.
    static BEGAN: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// Everything that this thread's runtime runs from now on is simulated, and it is so long after 1970. To
/// be called inside a runtime of one thread with a paused clock.
pub fn begin(since_1970: Duration) {
    BEGAN.set(Some((Instant::now(), since_1970)));
}

/// Whether this thread simulates.
pub(crate) fn is_here() -> bool {
    BEGAN.get().is_some()
}

/// The wall clock: time since 1970.
pub(crate) fn since_1970() -> Duration {
    match BEGAN.get() {
        Some((began, since_1970)) => since_1970 + began.elapsed(),
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wall_clock_of_a_simulation_is_tokios() {
        assert!(!is_here() && since_1970() > Duration::from_secs(1_700_000_000));
        begin(Duration::from_secs(7));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(is_here());
        assert_eq!(since_1970(), Duration::from_secs(10));
    }
}
