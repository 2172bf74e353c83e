//! What the host is told.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::frame::Frame;
use super::progress::Marks;
use crate::protocol::Span;

/// [`Event::shard_id`] of an event that is not about one shard.
pub const NO_SHARD: u32 = u32::MAX;

/// [`Event::flags`]: a dispatch that the bot may have got before. It came between RESUME and RESUMED, or with shards
/// that took over from others.
pub const FLAG_REPLAYED: u32 = 1;

/// What an event is about. The numbers are part of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum EventKind {
    /// A gateway dispatch.
    Dispatch = 1,
    /// A shard changed its state.
    ShardState = 2,
    /// The answer to a command.
    Reply = 3,
    /// A message of another process.
    Message = 4,
    /// A question of another process.
    Call = 5,
    /// Work from the job queue.
    Job = 6,
    /// Events were dropped.
    Overflow = 7,
    /// A line of the engine's log.
    Log = 8,
    /// Something cannot go on until a person changes something.
    Fatal = 9,
    /// The guilds that READY listed have come, or are not waited for any more.
    GuildsComplete = 10,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is about.
    pub kind: EventKind,
    /// The shard it is about, or [`NO_SHARD`].
    pub shard_id: u32,
    /// The gateway's sequence number, else 0.
    pub seq: u64,
    /// The guild, where the payload names one, else 0.
    pub guild_id: u64,
    /// The command this replies to, else 0.
    pub command_id: u64,
    /// Wall-clock time of arrival, nanoseconds since 1970.
    pub received_ns: i64,
    /// Depends on the kind: a status, an HTTP status, a count or a level.
    pub status: i32,
    /// [`FLAG_REPLAYED`] and, later, others.
    pub flags: u32,
    /// What `name` and `data` are parts of.
    pub frame: Frame,
    /// The event's name in the frame.
    pub name: Span,
    /// The event's data in the frame.
    pub data: Span,
}

impl Event {
    /// An event of the engine itself, with a frame of its own.
    pub fn new(kind: EventKind, name: &str, data: &[u8]) -> Self {
        let mut text = Vec::with_capacity(name.len() + data.len());
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(data);
        Self {
            kind,
            shard_id: NO_SHARD,
            seq: 0,
            guild_id: 0,
            command_id: 0,
            received_ns: wall_clock_ns(),
            status: 0,
            flags: 0,
            name: (0..name.len()).into(),
            data: (name.len()..text.len()).into(),
            frame: Frame::from(text),
        }
    }

    /// Nobody will take it, for the host gets it otherwise: it is done with.
    pub(crate) fn forgo(&self) {
        if let Some(receipt) = self.frame.receipt() {
            let mut marks = Marks::default();
            marks.note(receipt, self.seq);
            marks.tell();
        }
    }

    /// The same without a name, and without a copy.
    pub fn of_data(kind: EventKind, data: Bytes) -> Self {
        let mut event = Self::new(kind, "", b"");
        event.data = (0..data.len()).into();
        event.frame = Frame::from(data);
        event
    }

    /// The event's name: `t` of a dispatch, the topic of a message.
    pub fn name(&self) -> &[u8] {
        self.name.of(self.frame.bytes())
    }

    /// The event's data: JSON as it came.
    pub fn data(&self) -> &[u8] {
        self.data.of(self.frame.bytes())
    }
}

/// Now, in nanoseconds since 1970.
pub(crate) fn wall_clock_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
