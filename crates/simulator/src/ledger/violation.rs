//! Discord's rules, as far as a client can be caught breaking them.

use std::time::Duration;

use serde::Serialize;

use super::record::ms;

/// A rule that a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// More identifies than `max_concurrency` allows in 5 s.
    IdentifyTooSoon,
    /// More identifies than the session start limit allows.
    SessionStartsExhausted,
    /// More than 120 payloads in 60 s on one connection.
    TooManyPayloads,
    /// A payload of more than 4096 bytes.
    PayloadTooLarge,
    /// A payload that is no JSON object with an integer `op`.
    Undecodable,
    /// An opcode that does not exist, or that only the gateway sends.
    UnknownOpcode,
    /// A payload whose `d` is not what its opcode needs.
    InvalidPayload,
    /// A payload before the gateway has sent HELLO.
    BeforeHello,
    /// A command before IDENTIFY or RESUME.
    NotAuthenticated,
    /// A command between IDENTIFY and READY, or during a replay.
    CommandBeforeReady,
    /// A second IDENTIFY or RESUME on a connection that has a session.
    AlreadyAuthenticated,
    /// A token that is not the bot's.
    BadToken,
    /// A shard that cannot be.
    InvalidShard,
    /// More guilds than a shard may carry.
    ShardingRequired,
    /// A gateway version, encoding or compression the simulator does not speak.
    BadHandshake,
    /// Intents that do not exist, or none at all.
    InvalidIntents,
    /// Privileged intents that were not granted.
    DisallowedIntents,
    /// A RESUME with a sequence number the session has not reached.
    InvalidSeq,
    /// A RESUME of a session that does not exist (any more).
    UnknownSession,
    /// A RESUME with another version, encoding or compression than the session began with.
    ResumeParameters,
    /// A heartbeat later than `heartbeat_late_ms` after it was due.
    HeartbeatLate,
    /// No heartbeat at all for the interval and the grace.
    HeartbeatMissed,
    /// A heartbeat with a sequence number that was not sent.
    HeartbeatSeq,
    /// An op 1 of the gateway that was not answered before the next regular heartbeat was due.
    HeartbeatRequestIgnored,
    /// A full member list requested twice within 30 s, or without the intent.
    MemberRequest,
    /// A command for a guild of another shard.
    WrongShard,
    /// More than 5 presence updates in 20 s.
    PresenceTooOften,
    /// A websocket frame that breaks RFC 6455.
    BadFrame,
    /// A REST call while its bucket was known to be empty, or beyond the global limit.
    RestLimitExceeded,
    /// A REST call with a bad token.
    RestUnauthorized,
    /// A REST call without a `User-Agent` of the form `DiscordBot (url, version)`.
    RestUserAgent,
}

/// A broken rule.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ViolationRecord {
    /// When.
    #[serde(rename = "at_ms", serialize_with = "ms")]
    pub at: Duration,
    /// The gateway connection; `None` for REST.
    pub connection: Option<u64>,
    /// The connection's shard, if it has identified.
    pub shard: Option<[u32; 2]>,
    /// Which rule.
    pub rule: Rule,
    /// What was done, in words.
    pub detail: String,
}
