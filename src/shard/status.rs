//! What can be seen of a shard from outside.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::value::RawValue;

use super::cause::Cause;
use super::machine::Counters;
use super::session::Session;
use super::state::ShardState;

/// A shard as it was a moment ago.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Where it stands.
    pub(crate) state: ShardState,
    /// Its session, with the newest sequence number.
    pub(crate) session: Option<Session>,
    /// Time between the last heartbeat and its ACK.
    pub(crate) latency_ms: Option<u64>,
    /// When the newest heartbeat that was answered went out.
    pub(crate) acked_beat_at: Option<Instant>,
    /// Guilds on it.
    pub(crate) guilds: usize,
    /// Those of them that are unavailable.
    pub(crate) guilds_unavailable: usize,
    /// Whether those that READY listed have come, or are not waited for any more.
    pub(crate) guilds_complete: bool,
    /// Dispatches received, filtered ones included.
    pub(crate) events: u64,
    /// Bytes of messages as they came over the websocket.
    pub(crate) bytes_received: u64,
    /// The same, inflated.
    pub(crate) bytes_inflated: u64,
    /// What the machine counts.
    pub(crate) counters: Counters,
    /// Commands that wait to be sent.
    pub(crate) commands_held: usize,
    /// Commands that may go out at once.
    pub(crate) commands_left: usize,
    /// When the last dispatch came.
    pub(crate) last_event_at: Option<Instant>,
    /// Why it last lost or did not get its connection.
    pub(crate) last_error: Option<String>,
    /// The newest presence that the host gave it by a command.
    pub(crate) presence: Option<Box<RawValue>>,
    /// Whether the socket is left unread because the queue is full.
    pub(crate) blocked: bool,
    /// Whether no event has come for longer than is normal here.
    pub(crate) silent: bool,
}

/// The place where a shard's driver leaves its snapshots.
#[derive(Debug)]
pub(crate) struct ShardStatus(Mutex<Snapshot>);

impl ShardStatus {
    /// The status of a shard that has not started.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Snapshot {
            state: ShardState::Idle,
            session: None,
            latency_ms: None,
            acked_beat_at: None,
            guilds: 0,
            guilds_unavailable: 0,
            guilds_complete: false,
            events: 0,
            bytes_received: 0,
            bytes_inflated: 0,
            counters: Counters::default(),
            commands_held: 0,
            commands_left: 0,
            last_event_at: None,
            last_error: None,
            presence: None,
            blocked: false,
            silent: false,
        }))
    }

    /// The status of a shard that starts anew after a bug: what was counted before goes on from there.
    pub(crate) fn after(last: &Snapshot) -> Self {
        let status = Self::new();
        status.update(|status| {
            status.events = last.events;
            status.bytes_received = last.bytes_received;
            status.bytes_inflated = last.bytes_inflated;
            status.counters = last.counters;
            status.counters.reconnects.count(Cause::Bug);
            status.last_event_at = last.last_event_at;
        });
        status
    }

    /// The last snapshot.
    pub(crate) fn get(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the snapshot.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
