//! Gateway close codes, each with the words the simulator closes with.
//!
//! <https://docs.discord.com/developers/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes>

use std::borrow::Cow;

use crate::ledger::Rule;

/// Why a connection is closed by the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: Cow<'static, str>,
    /// The rule the client broke.
    pub(crate) rule: Rule,
}

macro_rules! closes {
    ($($name:ident = $code:literal, $rule:ident, $reason:literal;)*) => {
        impl Close {
            $(pub(crate) const $name: Self =
                Self { code: $code, reason: Cow::Borrowed($reason), rule: Rule::$rule };)*
        }
    };
}

closes! {
    UNKNOWN_OPCODE = 4001, UnknownOpcode, "Unknown opcode.";
    INVALID_PAYLOAD = 4001, InvalidPayload, "Invalid payload for this opcode.";
    DECODE_ERROR = 4002, Undecodable, "Error while decoding payload.";
    TOO_LARGE = 4002, PayloadTooLarge, "Error while decoding payload: more than 4096 bytes.";
    NOT_AUTHENTICATED = 4003, NotAuthenticated, "Not authenticated.";
    AUTHENTICATION_FAILED = 4004, BadToken, "Authentication failed.";
    ALREADY_AUTHENTICATED = 4005, AlreadyAuthenticated, "Already authenticated.";
    INVALID_SEQ = 4007, InvalidSeq, "Invalid seq.";
    RATE_LIMITED = 4008, TooManyPayloads, "Rate limited.";
    INVALID_SHARD = 4010, InvalidShard, "Invalid shard.";
    SHARDING_REQUIRED = 4011, ShardingRequired, "Sharding required.";
    INVALID_VERSION = 4012, BadHandshake, "Invalid API version: this gateway speaks v=9 and v=10.";
    INVALID_INTENTS = 4013, InvalidIntents, "Invalid intent(s).";
    DISALLOWED_INTENTS = 4014, DisallowedIntents, "Disallowed intent(s).";
}

impl Close {
    /// The same close with more exact words.
    pub(crate) fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), ..self }
    }
}

/// Whether a close code of the client ends its session at once.
/// <https://docs.discord.com/developers/events/gateway#initiating-a-disconnect>
pub(crate) fn ends_session(code: Option<u16>) -> bool {
    matches!(code, Some(1000 | 1001))
}
