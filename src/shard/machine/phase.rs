//! Where a shard stands.

use crate::shard::state::ShardState;

/// Where the shard stands, in more detail than the host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before [`Input::Start`].
    Idle,
    /// In line at the gate, no socket.
    Queued,
    /// The driver opens the websocket.
    Connecting,
    /// The websocket stands; HELLO is awaited.
    Greeting,
    /// HELLO came; the gate's word is awaited.
    Armed,
    /// IDENTIFY is sent.
    Identifying,
    /// RESUME is sent.
    Resuming {
        /// Something was replayed.
        fruitful: bool,
    },
    /// READY or RESUMED came.
    Ready,
    /// No connection; the backoff timer runs.
    Waiting,
    /// Refused for good.
    Fatal,
    /// The client stopped.
    Stopped,
}

impl Phase {
    /// The state that hosts see.
    pub(super) fn state(self) -> ShardState {
        match self {
            Self::Idle => ShardState::Idle,
            Self::Queued => ShardState::Queued,
            Self::Connecting | Self::Greeting | Self::Armed => ShardState::Connecting,
            Self::Identifying => ShardState::Identifying,
            Self::Resuming { .. } => ShardState::Resuming,
            Self::Ready => ShardState::Ready,
            Self::Waiting => ShardState::Disconnected,
            Self::Fatal => ShardState::Fatal,
            Self::Stopped => ShardState::Stopped,
        }
    }

    /// Whether a websocket stands.
    pub(super) fn has_socket(self) -> bool {
        matches!(
            self,
            Self::Greeting | Self::Armed | Self::Identifying | Self::Resuming { .. } | Self::Ready
        )
    }
}
