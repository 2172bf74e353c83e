//! The simulator's clock: tokio's, so that tests can pause it, with a Unix time laid over it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use tokio::time::Instant;

/// Time since the simulator began, and the Unix time that stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    start_unix_ms: u64,
}

impl Clock {
    /// A clock that begins now and calls this moment `unix_ms`, or what the wall clock says.
    pub(crate) fn start(unix_ms: Option<u64>) -> Self {
        let wall = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        Self { start: Instant::now(), start_unix_ms: unix_ms.unwrap_or_else(wall) }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment `at` after the start, for tokio's timers.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    /// Unix time in milliseconds.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.start_unix_ms + u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

/// A moment as Discord writes it: `2026-01-02T03:04:05.678000+00:00`.
pub(crate) fn iso8601(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    let time =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}+00:00",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_like_discords() {
        assert_eq!(iso8601(1_470_173_023_123), "2016-08-02T21:23:43.123000+00:00");
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000000+00:00");
    }

    #[tokio::test(start_paused = true)]
    async fn follows_the_paused_clock() {
        let clock = Clock::start(Some(1_000));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), Duration::from_secs(3));
        assert_eq!(clock.unix_ms(), 4_000);
    }
}
