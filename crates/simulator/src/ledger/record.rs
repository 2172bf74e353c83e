//! The entries of the ledger. `at` is always the time since the simulator's start; in JSON it is
//! `at_ms`, in milliseconds.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Writes a duration as milliseconds with their fraction.
pub(crate) fn ms<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.as_secs_f64() * 1000.0)
}

/// As [`ms`], `null` where it has not happened.
#[expect(clippy::ref_option, reason = "serde's signature")]
pub(crate) fn maybe_ms<S: Serializer>(
    at: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => ms(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// A gateway connection, or a handshake that was not granted.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConnectionRecord {
    /// The connection's number, from 1.
    pub connection: u64,
    /// When the handshake was asked for.
    #[serde(rename = "opened_ms", serialize_with = "ms")]
    pub opened: Duration,
    /// How the handshake went.
    pub handshake: Handshake,
    /// Path and query of the handshake.
    pub target: String,
    /// The `Host` header, which tells a resume URL from the gateway's.
    pub host: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Transport compression: `none`, `zlib-stream` or `zstd-stream`.
    pub compression: &'static str,
    /// When HELLO was handed to the socket.
    #[serde(rename = "hello_ms", serialize_with = "maybe_ms")]
    pub hello: Option<Duration>,
    /// Shard id and total, once identified or resumed.
    pub shard: Option<[u32; 2]>,
    /// The session it carries or carried.
    pub session: Option<String>,
    /// When and how it ended.
    pub closed: Option<Closed>,
    /// Bytes sent in websocket frames.
    pub bytes_out: u64,
    /// Payloads sent.
    pub payloads_out: u64,
    /// When each event of a recording with a pace left, in nanoseconds since 1970.
    #[serde(skip)]
    pub sent_unix_ns: Vec<u64>,
}

impl ConnectionRecord {
    /// Whether the websocket was opened and has not ended.
    pub fn is_open(&self) -> bool {
        self.handshake == Handshake::Accepted && self.closed.is_none()
    }
}

/// How a handshake went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Handshake {
    /// 101, the websocket is open.
    Accepted,
    /// Refused with this HTTP status.
    Refused(u16),
    /// Never answered, on purpose.
    Hung,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Closed {
    /// When.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// Who ended it.
    pub by: By,
    /// The close code of whoever ended it; `None` without a close frame, or with an empty one.
    pub code: Option<u16>,
    /// The close frame's reason, or a description where there was no frame.
    pub reason: String,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The client closed, or its socket died.
    Client,
    /// The simulator closed: a rule, a fault or a control action.
    Server,
}

/// An IDENTIFY.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct IdentifyRecord {
    /// When it came.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// On which connection.
    pub connection: u64,
    /// Shard id and total; `[0, 1]` where the client named none.
    pub shard: [u32; 2],
    /// `shard_id % max_concurrency`.
    pub key: u32,
    /// The intents asked for.
    pub intents: u64,
    /// The presence sent along.
    pub presence: Option<Value>,
    /// Whether payload compression was asked for.
    pub compress: bool,
    /// The large threshold asked for, or its default of 50.
    pub large_threshold: u32,
    /// The connection properties.
    pub properties: Value,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an IDENTIFY or a RESUME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Granted.
    Accepted {
        /// The session it got.
        session: String,
        /// Dispatches to be replayed; 0 for an IDENTIFY.
        replayed: u64,
    },
    /// Op 9.
    InvalidSession {
        /// Why.
        why: String,
    },
    /// The connection was closed.
    Closed {
        /// With this code.
        code: u16,
        /// Why.
        why: String,
    },
    /// The connection was ended by a fault before an answer.
    Cut,
}

impl Outcome {
    /// Whether it was granted.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }
}

/// A RESUME.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ResumeRecord {
    /// When it came.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// On which connection.
    pub connection: u64,
    /// The session asked for.
    pub session: String,
    /// The session's shard, where it is known.
    pub shard: Option<[u32; 2]>,
    /// The last sequence number the client says it has.
    pub seq: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// A heartbeat.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct HeartbeatRecord {
    /// When it came.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// On which connection.
    pub connection: u64,
    /// The connection's shard, if it has identified.
    pub shard: Option<[u32; 2]>,
    /// The sequence number in it; `None` for `null`.
    pub d: Option<u64>,
    /// Whether it answers an op 1 of the simulator.
    pub requested: bool,
    /// Whether it was acknowledged (at once or with a delay).
    pub acked: bool,
}

/// A command: any payload but heartbeat, identify and resume.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CommandRecord {
    /// When it came.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// On which connection.
    pub connection: u64,
    /// The connection's shard, if it has identified.
    pub shard: Option<[u32; 2]>,
    /// The opcode.
    pub op: u64,
    /// The data.
    pub d: Value,
    /// Size of the payload.
    pub bytes: usize,
}

/// A REST call.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RestRecord {
    /// When it came.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// The method.
    pub method: String,
    /// The path below `/api/v10`, without the query; tokens in it are masked.
    pub path: String,
    /// The query.
    pub query: String,
    /// The status of the answer; 0 where a fault left it without one.
    pub status: u16,
    /// Whether it carried the right bot token.
    pub authorized: bool,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The audit log reason, decoded.
    pub reason: Option<String>,
    /// The body, as JSON where it is JSON, else as text; of a multipart body the JSON part.
    pub body: Value,
    /// Names and sizes of the files in a multipart body.
    pub files: Vec<(String, usize)>,
}

/// A dispatch appended to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DispatchRecord {
    /// When it was appended.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// The session.
    pub session: String,
    /// The session's shard.
    pub shard: [u32; 2],
    /// Its sequence number.
    pub s: u64,
    /// The event's name.
    pub t: String,
    /// The world event's number, if it has one.
    pub number: Option<u64>,
}

/// A control action.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ActionRecord {
    /// When it was carried out.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// The action as JSON.
    pub action: Value,
    /// What it answered.
    pub result: Value,
}
