//! The states of a shard as hosts see them.

use std::fmt;

use serde::Serialize;

/// Where a shard stands: `idle → queued → connecting → identifying | resuming → ready`, and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// Not started.
    Idle,
    /// Stands in line at the identify gate, without a socket.
    Queued,
    /// Opens its socket, waits for HELLO, or stands first in line with its socket open.
    Connecting,
    /// Sent IDENTIFY, waits for READY.
    Identifying,
    /// Sent RESUME; replayed events come until RESUMED.
    Resuming,
    /// Has a session; events flow and commands go out.
    Ready,
    /// Lost its connection and waits before it tries again.
    Disconnected,
    /// Discord refused it for good; a person has to change something, then restart it.
    Fatal,
    /// Stopped with the client.
    Stopped,
}

impl ShardState {
    /// The name in events, status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::Connecting => "connecting",
            Self::Identifying => "identifying",
            Self::Resuming => "resuming",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::Fatal => "fatal",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
