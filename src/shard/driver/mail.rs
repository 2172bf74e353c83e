//! What a shard can be told.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::shard::machine::{Command, StopMode};
use crate::shard::members::MemberRequest;
use crate::shard::notes::Notes;
use crate::shard::overlap::Overlap;

/// What a shard can be told. The client bounds how many commands there are at once; the rest is
/// rare, so the mailbox needs no bound of its own.
#[derive(Debug)]
pub(crate) enum Mail {
    /// From the identify gate: the turn is close.
    GateNear { ticket: u64 },
    /// From the identify gate: identify now.
    GateGranted { ticket: u64 },
    /// Send something.
    Command(Command),
    /// Ask for members, and reply with all of them.
    CollectMembers { command_id: u64, request: Box<MemberRequest> },
    /// Do not send it after all.
    Cancel { command_id: u64 },
    /// Take a new connection.
    Restart { resume: bool },
    /// Show that the connection is alive.
    Beat,
    /// Another set of shards comes to take over.
    Overlap(Arc<Overlap>),
    /// Shards of other processes come to take over: note what is delivered.
    Note(Arc<Notes>),
    /// The end.
    Stop(StopMode),
}

/// The other end of a mailbox.
pub(crate) type Mailbox = mpsc::UnboundedSender<Mail>;
