//! What the machine has the driver do.

use std::borrow::Cow;
use std::time::Duration;

use crate::protocol::{CloseCode, Payload};
use crate::shard::cause::Cause;
use crate::shard::measure::Measure;
use crate::shard::state::ShardState;

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a websocket, with new inflate contexts.
    Connect {
        /// The full URL.
        url: String,
    },
    /// Send one text message and say [`Input::Flushed`] once it has left.
    Send(Payload),
    /// Close the websocket with this code. Nothing of it is to be read or reported any more.
    Close(CloseCode),
    /// Drop the socket or the attempt to open one, at once and without a word.
    Drop,
    /// Stand in line at the identify gate.
    GateEnter {
        /// The place in line.
        ticket: u64,
    },
    /// Tell the gate that HELLO came: from now on the turn can be used.
    GateArm {
        /// The place in line.
        ticket: u64,
    },
    /// Leave the line.
    GateLeave {
        /// The place in line.
        ticket: u64,
    },
    /// Tell the host.
    State(StateChange),
    /// A command is done.
    Settled {
        /// The command's id.
        command_id: u64,
        /// How it went.
        outcome: Outcome,
    },
    /// Something took so long.
    Measured(Measure, Duration),
    /// Say this to whoever reads the log.
    Warning(String),
}

/// A change of state and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The state before.
    pub from: ShardState,
    /// The state now.
    pub to: ShardState,
    /// The cause, for people.
    pub reason: Cow<'static, str>,
    /// The close code that caused it, if one did.
    pub close_code: Option<u16>,
    /// Why there will be a new connection, if that is the change.
    pub lost: Option<Cause>,
}

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written to the socket, or a newer one of its kind took its place.
    Sent,
    /// The shard is refused for good and sends nothing.
    Fatal,
    /// The client stopped first.
    Stopped,
}

/// What becomes of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is the host's.
    New,
    /// It is the host's, and was replayed after a resume.
    Replayed,
    /// It was delivered before, or belongs to no session.
    Drop,
}
