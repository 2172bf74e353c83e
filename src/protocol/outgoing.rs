//! Payloads we send, as JSON text, and the size that Discord accepts.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Intents, OpCode, Token};

/// The largest payload the gateway takes; one byte more and it closes with 4002.
///
/// Source: <https://discord.com/developers/docs/events/gateway#sending-events>.
pub const MAX_OUTGOING_BYTES: usize = 4096;

/// The longest `nonce` of a member request. Discord silently ignores a longer one.
pub const MAX_NONCE_BYTES: usize = 32;

/// The most `user_ids` of one member request.
pub const MAX_USER_IDS: usize = 100;

/// One outgoing payload. Its text may hold the token, so `Debug` shows only its size.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(String);

impl Payload {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The JSON text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// `{"op":…,"d":…}` around any serializable `d`.
#[derive(Serialize)]
struct Frame<D> {
    op: u8,
    d: D,
}

/// Renders a payload. Serializing our own structs to memory cannot fail.
fn render<D: Serialize>(op: OpCode, d: D) -> Payload {
    Payload(serde_json::to_string(&Frame { op: op.number(), d }).unwrap_or_default())
}

/// A heartbeat with the last sequence, `null` before the first dispatch.
///
/// Source: <https://discord.com/developers/docs/events/gateway-events#heartbeat>.
pub fn heartbeat(seq: Option<u64>) -> Payload {
    render(OpCode::Heartbeat, seq)
}

/// What an identify says.
///
/// Source: <https://discord.com/developers/docs/events/gateway-events#identify>.
#[derive(Debug, Clone)]
pub struct Identify {
    /// The bot token.
    pub token: Token,
    /// Which events Discord shall send.
    pub intents: Intents,
    /// `os`, `browser` and `device`, as a JSON object.
    pub properties: Box<RawValue>,
    /// Members above which Discord leaves offline ones out of `GUILD_CREATE`; 50–250.
    pub large_threshold: Option<u16>,
    /// This shard's id.
    pub shard_id: u32,
    /// The number of shards of the bot.
    pub shard_total: u32,
}

/// The identify payload, with the presence that holds now.
pub fn identify(identify: &Identify, presence: Option<&RawValue>) -> Payload {
    #[derive(Serialize)]
    struct Data<'a> {
        token: &'a str,
        intents: u64,
        properties: &'a RawValue,
        shard: [u32; 2],
        #[serde(skip_serializing_if = "Option::is_none")]
        large_threshold: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<&'a RawValue>,
    }
    render(
        OpCode::Identify,
        Data {
            token: identify.token.expose(),
            intents: identify.intents.0,
            properties: &identify.properties,
            shard: [identify.shard_id, identify.shard_total],
            large_threshold: identify.large_threshold,
            presence,
        },
    )
}

/// The resume payload.
///
/// Source: <https://discord.com/developers/docs/events/gateway-events#resume>.
pub fn resume(token: &Token, session_id: &str, seq: u64) -> Payload {
    #[derive(Serialize)]
    struct Data<'a> {
        token: &'a str,
        session_id: &'a str,
        seq: u64,
    }
    render(OpCode::Resume, Data { token: token.expose(), session_id, seq })
}

/// Any other send event: `op` and `d` as given.
///
/// # Errors
/// The size in bytes, when it is over [`MAX_OUTGOING_BYTES`].
pub fn send_event(op: u8, d: &RawValue) -> Result<Payload, usize> {
    let payload = Payload(serde_json::to_string(&Frame { op, d }).unwrap_or_default());
    match payload.0.len() {
        0..=MAX_OUTGOING_BYTES => Ok(payload),
        bytes => Err(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("valid JSON")
    }

    /// Scenario 14.
    #[test]
    fn the_first_heartbeat_says_null() {
        assert_eq!(heartbeat(None).as_str(), r#"{"op":1,"d":null}"#);
        assert_eq!(heartbeat(Some(251)).as_str(), r#"{"op":1,"d":251}"#);
    }

    #[test]
    fn identify_and_resume_have_discords_shape() {
        let mut who = Identify {
            token: Token::new("Bot t.o.k").expect("a token"),
            intents: Intents(513),
            properties: raw(r#"{"os":"linux","browser":"b","device":"d"}"#),
            large_threshold: None,
            shard_id: 1,
            shard_total: 4,
        };
        assert_eq!(
            identify(&who, None).as_str(),
            r#"{"op":2,"d":{"token":"t.o.k","intents":513,"properties":{"os":"linux","browser":"b","device":"d"},"shard":[1,4]}}"#
        );
        who.large_threshold = Some(250);
        let presence = raw(r#"{"status":"idle"}"#);
        let text = identify(&who, Some(&presence)).into_string();
        assert!(
            text.ends_with(r#""large_threshold":250,"presence":{"status":"idle"}}}"#),
            "{text}"
        );
        assert_eq!(
            resume(&who.token, "abc", 7).as_str(),
            r#"{"op":6,"d":{"token":"t.o.k","session_id":"abc","seq":7}}"#
        );
    }

    /// Scenario 57: 4096 bytes pass, 4097 do not.
    #[test]
    fn the_size_limit_is_exact() {
        let fixed = r#"{"op":3,"d":""}"#.len();
        let fits = raw(&format!("\"{}\"", "x".repeat(MAX_OUTGOING_BYTES - fixed)));
        assert_eq!(send_event(3, &fits).expect("fits").as_str().len(), 4096);
        let over = raw(&format!("\"{}\"", "x".repeat(MAX_OUTGOING_BYTES - fixed + 1)));
        assert_eq!(send_event(3, &over), Err(4097));
    }

    /// Scenario 73: an identify or a resume that is printed shows no token.
    #[test]
    fn debug_shows_no_text() {
        let token = Token::new("secret-token").expect("a token");
        assert_eq!(format!("{:?}", resume(&token, "s", 1)), "Payload(62 bytes)");
    }
}
