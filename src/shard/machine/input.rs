//! What the machine is told.

use serde_json::value::RawValue;

use crate::protocol::{Compression, GatewayUrl, Identify, Payload};

/// What makes a shard this shard.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What its identifies say; shard id and total among it.
    pub identify: Identify,
    /// The presence from the config, as the `d` of op 3.
    pub presence: Option<Box<RawValue>>,
    /// The gateway's address, from `/gateway/bot` or the config.
    pub gateway: GatewayUrl,
    /// Transport compression, the same on every connection.
    pub compression: Compression,
}

/// Something to be sent for the host.
#[derive(Debug, Clone)]
pub struct Command {
    /// The id that its reply carries.
    pub id: u64,
    /// What to send.
    pub payload: Payload,
    /// For a presence update its `d`, to be repeated in later identifies. A newer presence replaces
    /// one that still waits.
    pub presence: Option<Box<RawValue>>,
}

/// How a client stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Close so that the sessions live on at Discord.
    Resumable,
    /// Close for good; the bot goes offline.
    Close,
    /// Drop the sockets without a word.
    Abort,
}

/// What happened to a shard.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client starts it.
    Start,
    /// The client stops.
    Stop(StopMode),
    /// The host wants a new connection, whatever the old one does.
    Restart {
        /// Go on with the session; without it the shard identifies anew.
        resume: bool,
    },
    /// The gate says that this shard's turn is close: time to connect.
    GateNear {
        /// The place in line this is about; old ones are ignored.
        ticket: u64,
    },
    /// The gate says: identify now.
    GateGranted {
        /// The place in line this is about; old ones are ignored.
        ticket: u64,
    },
    /// The websocket stands.
    Connected,
    /// The websocket could not be opened.
    ConnectFailed {
        /// Why, for people.
        reason: String,
    },
    /// A payload that is no dispatch.
    Control {
        /// Its opcode's number.
        op: u64,
        /// Its `d`.
        data: &'a [u8],
    },
    /// A message that is no payload.
    BadPayload {
        /// Its sequence number, where that could be read.
        seq: Option<u64>,
    },
    /// The inflate context is broken; nothing after this can be read.
    BadCompression {
        /// Why, for people.
        reason: String,
    },
    /// The connection is gone.
    Closed {
        /// The close code, if there was a close frame with one.
        code: Option<u16>,
        /// The server's text or the error.
        reason: String,
    },
    /// All that was to be sent has left.
    Flushed,
    /// The host wants something sent.
    Command(Command),
    /// The host no longer wants it.
    Cancel {
        /// The command's id.
        command_id: u64,
    },
    /// Whether the socket is left unread because the host does not keep up.
    ReadsPaused(bool),
    /// Somebody wants to know whether the connection is alive: a heartbeat goes out now.
    Beat,
}
