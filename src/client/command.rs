//! Commands: JSON in, checked and ready to be routed.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use super::guilds::GuildsPage;
use super::member_command::RequestGuildMembers;
use super::reshard::Target;
use crate::backplane;
use crate::config::MAX_COMMAND_BYTES;
use crate::error::{Error, ErrorKind};
use crate::protocol::{
    MAX_OUTGOING_BYTES, OpCode, Payload, json, presence, send_event, shard_for_guild,
};
use crate::rest;
use crate::shard::MemberRequest;
use crate::store;

/// Guild ids that surely fit one payload of op 31.
const MAX_GUILDS_PER_PAYLOAD: usize = 150;

/// A command that makes sense.
#[derive(Debug)]
pub enum Command {
    /// One payload for the gateway.
    Send {
        /// Where it goes.
        route: Route,
        /// What goes there.
        payload: Payload,
        /// For a presence update its `d`.
        presence: Option<Box<RawValue>>,
    },
    /// A request that is split by shard, once the number of shards is known.
    SoundboardSounds {
        /// The guilds, on whatever shards.
        guild_ids: Vec<u64>,
    },
    /// A request for members whose chunks come as one reply.
    CollectMembers(Box<MemberRequest>),
    /// A REST request.
    Rest(Box<rest::Request>),
    /// What `/gateway/bot` says now.
    GatewayInfo,
    /// Some of the guilds that are known.
    Guilds(GuildsPage),
    /// How many guilds are known.
    GuildStats,
    /// A new connection for one shard.
    RestartShard {
        /// Which.
        shard_id: u32,
        /// Whether it keeps its session.
        resume: bool,
    },
    /// Something for the other processes of the bot.
    Backplane(Box<backplane::Request>),
    /// Another number of shards.
    Reshard {
        /// How many.
        target: Target,
    },
    /// Something about documents.
    Store(Box<store::Request>),
}

/// Where a payload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To every shard of this client.
    All,
    /// To this shard.
    Shard(u32),
    /// To the shard that carries this guild.
    Guild(u64),
}

impl Route {
    /// The shard it goes to, when there are so many; `None` for all of them.
    pub fn shard(self, total: NonZeroU32) -> Option<u32> {
        match self {
            Self::All => None,
            Self::Shard(shard_id) => Some(shard_id),
            Self::Guild(guild_id) => Some(shard_for_guild(guild_id, total)),
        }
    }
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// `InvalidArgument` or `TooLarge`, with what is wrong.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_COMMAND_BYTES {
            return Err(wrong(format!("a command of more than {MAX_COMMAND_BYTES} bytes")));
        }
        let kind = json::member(text.as_bytes(), "type").ok_or_else(|| {
            wrong(
                "a command is a JSON object with a `type`, for example {\"type\":\"gateway_info\"}",
            )
        })?;
        let kind: String = serde_json::from_str(&text[kind])
            .map_err(|_| wrong("the `type` of a command is a string"))?;
        match kind.as_str() {
            "update_presence" => {
                let mut fields = parse::<serde_json::Map<_, _>>(text)?;
                fields.remove("type");
                let d = presence(fields.into()).map_err(wrong)?;
                send_raw(Route::All, OpCode::PresenceUpdate.number(), &d)
            }
            "update_voice_state" => parse::<UpdateVoiceState>(text)?.into_command(),
            "request_guild_members" => parse::<RequestGuildMembers>(text)?.into_command(),
            "request_soundboard_sounds" => parse::<RequestSoundboardSounds>(text)?.into_command(),
            "request_channel_info" => parse::<RequestChannelInfo>(text)?.into_command(),
            "gateway" => parse::<Gateway>(text)?.into_command(),
            "rest" => rest::Request::from_json(text).map(|request| Self::Rest(Box::new(request))),
            "gateway_info" => parse::<Plain>(text).map(|_| Self::GatewayInfo),
            "guilds" => parse::<GuildsPage>(text)?.checked().map(Self::Guilds),
            "guild_stats" => parse::<Plain>(text).map(|_| Self::GuildStats),
            "restart_shard" => {
                let RestartShard { shard, resume, .. } = parse(text)?;
                Ok(Self::RestartShard { shard_id: shard, resume })
            }
            "reshard" => parse::<Reshard<'_>>(text)?.into_command(),
            "publish" | "subscribe" | "unsubscribe" | "call" | "answer" | "cluster_stats"
            | "cache_get" | "cache_set" | "cache_delete" | "cache_increment" | "job_push"
            | "job_consume" | "job_ack" | "job_fail" | "job_list" | "job_retry"
            | "job_schedules" | "job_unschedule" => {
                let request = backplane::Request::from_json(&kind, text)?;
                Ok(Self::Backplane(Box::new(request)))
            }
            "store_put" => parse::<store::Put>(text)?.checked().map(Self::store),
            "store_get" => parse::<store::Get>(text)?.checked().map(Self::store),
            "store_delete" => parse::<store::Delete>(text)?.checked().map(Self::store),
            "store_list" => parse::<store::List>(text)?.checked().map(Self::store),
            _ => Err(wrong(format!(
                "unknown command type {kind:?}; there are update_presence, update_voice_state, \
                 request_guild_members, request_soundboard_sounds, request_channel_info, gateway, \
                 rest, gateway_info, guilds, guild_stats, restart_shard, reshard, publish, \
                 subscribe, unsubscribe, call, answer, cluster_stats, cache_get, cache_set, \
                 cache_delete, cache_increment, job_push, job_consume, job_ack, job_fail, \
                 job_list, job_retry, job_schedules, job_unschedule, store_put, store_get, \
                 store_delete and store_list"
            ))),
        }
    }

    fn store(request: store::Request) -> Self {
        Self::Store(Box::new(request))
    }
}

/// `InvalidArgument` with this text.
pub(super) fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// Reads one type of command; an error names the key.
fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    json::parse(text).map_err(wrong)
}

/// A command of the engine's own making.
pub(super) fn send(route: Route, op: OpCode, d: &serde_json::Value) -> Result<Command, Error> {
    let d = RawValue::from_string(d.to_string()).map_err(|error| wrong(error.to_string()))?;
    send_raw(route, op.number(), &d)
}

/// A command with a payload, if that is not too long.
fn send_raw(route: Route, op: u8, d: &RawValue) -> Result<Command, Error> {
    let payload = send_event(op, d).map_err(|bytes| {
        let text =
            format!("the payload has {bytes} bytes; Discord takes at most {MAX_OUTGOING_BYTES}");
        Error::new(ErrorKind::TooLarge, text)
    })?;
    let presence = (op == OpCode::PresenceUpdate.number()).then(|| d.to_owned());
    Ok(Command::Send { route, payload, presence })
}

/// The requests for soundboard sounds of these guilds, by the shard that carries them. Discord
/// answers each guild on its own, so a long list may go in several payloads.
pub fn soundboard_sounds(guild_ids: &[u64], total: NonZeroU32) -> Vec<(u32, Payload)> {
    let mut by_shard: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for guild_id in guild_ids {
        by_shard.entry(shard_for_guild(*guild_id, total)).or_default().push(guild_id.to_string());
    }
    let op = OpCode::RequestSoundboardSounds.number();
    let payloads = by_shard.iter().flat_map(|(shard_id, ids)| {
        ids.chunks(MAX_GUILDS_PER_PAYLOAD).filter_map(move |ids| {
            let d = RawValue::from_string(json!({"guild_ids": ids}).to_string()).ok()?;
            Some((*shard_id, send_event(op, &d).ok()?))
        })
    });
    payloads.collect()
}

/// A snowflake: a string or a number in JSON, a string on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id(pub(super) u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;

        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, as a string of digits or a number")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                let id =
                    text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Ok(Id(id))
            }
        }

        deserializer.deserialize_any(IdVisitor)
    }
}

impl Id {
    /// As Discord writes it.
    pub(super) fn text(self) -> String {
        self.0.to_string()
    }
}

/// <https://discord.com/developers/docs/events/gateway-events#update-voice-state>
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateVoiceState {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    guild_id: Id,
    #[serde(default)]
    channel_id: Option<Id>,
    #[serde(default)]
    self_mute: bool,
    #[serde(default)]
    self_deaf: bool,
}

impl UpdateVoiceState {
    fn into_command(self) -> Result<Command, Error> {
        let Self { guild_id, channel_id, self_mute, self_deaf, .. } = self;
        let d = json!({
            "guild_id": guild_id.text(), "channel_id": channel_id.map(Id::text),
            "self_mute": self_mute, "self_deaf": self_deaf,
        });
        send(Route::Guild(guild_id.0), OpCode::VoiceStateUpdate, &d)
    }
}

/// <https://discord.com/developers/docs/events/gateway-events#request-soundboard-sounds>
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestSoundboardSounds {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    guild_ids: Vec<Id>,
}

impl RequestSoundboardSounds {
    fn into_command(self) -> Result<Command, Error> {
        if self.guild_ids.is_empty() {
            return Err(wrong("`guild_ids` is empty"));
        }
        let guild_ids = self.guild_ids.into_iter().map(|id| id.0).collect();
        Ok(Command::SoundboardSounds { guild_ids })
    }
}

/// <https://discord.com/developers/docs/events/gateway-events#request-channel-info>
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestChannelInfo {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    guild_id: Id,
    #[serde(default = "all_fields")]
    fields: Vec<String>,
}

fn all_fields() -> Vec<String> {
    vec!["status".to_owned(), "voice_start_time".to_owned()]
}

impl RequestChannelInfo {
    fn into_command(self) -> Result<Command, Error> {
        let d = json!({"guild_id": self.guild_id.text(), "fields": self.fields});
        send(Route::Guild(self.guild_id.0), OpCode::RequestChannelInfo, &d)
    }
}

/// Any send event, for what Discord adds tomorrow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gateway<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    op: u8,
    #[serde(borrow)]
    d: &'a RawValue,
    shard: Option<u32>,
}

impl Gateway<'_> {
    /// Goes to the shard it names, to that of the guild in `d`, or for a presence to all.
    fn into_command(self) -> Result<Command, Error> {
        let op = OpCode::from_number(self.op.into());
        if let Some(OpCode::Heartbeat | OpCode::Identify | OpCode::Resume) = op {
            return Err(wrong(format!("op {} is the engine's own; it is sent when due", self.op)));
        }
        let d = self.d.get().as_bytes();
        let guild_id = json::member(d, "guild_id").and_then(|id| json::snowflake(&d[id]));
        let route = match (self.shard, guild_id) {
            (Some(shard_id), _) => Route::Shard(shard_id),
            (None, Some(guild_id)) => Route::Guild(guild_id),
            (None, None) if op == Some(OpCode::PresenceUpdate) => Route::All,
            (None, None) => return Err(wrong("needs `shard`, or a `guild_id` in `d`")),
        };
        if op == Some(OpCode::PresenceUpdate) {
            // It will stand in every later identify; a wrong one would spend session starts.
            let d = presence(parse(self.d.get())?).map_err(|why| wrong(format!("`d`: {why}")))?;
            return send_raw(route, self.op, &d);
        }
        send_raw(route, self.op, self.d)
    }
}

/// A command that is nothing but its type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(rename = "type")]
    _type: IgnoredAny,
}

/// Gives one shard a new connection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartShard {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    shard: u32,
    #[serde(default = "yes")]
    resume: bool,
}

fn yes() -> bool {
    true
}

/// Runs the bot with another number of shards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reshard<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    #[serde(borrow)]
    shards: &'a RawValue,
}

impl Reshard<'_> {
    fn into_command(self) -> Result<Command, Error> {
        let target = match self.shards.get() {
            r#""auto""# => Target::Recommended,
            number => Target::Shards(number.parse().map_err(|_| {
                wrong(format!("`shards` is {number}; expected a number or \"auto\""))
            })?),
        };
        if target == Target::Shards(0) {
            return Err(wrong("`shards` is 0; a bot has at least one"));
        }
        Ok(Command::Reshard { target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{MAX_NONCE_BYTES, MAX_USER_IDS};

    fn sent(text: &str) -> (Route, String) {
        match Command::from_json(text).expect(text) {
            Command::Send { route, payload, .. } => (route, payload.into_string()),
            other => panic!("{text} is {other:?}"),
        }
    }

    fn error(text: &str) -> Error {
        Command::from_json(text).expect_err(text)
    }

    #[test]
    fn every_gateway_command_has_discords_shape() {
        for (text, route, payload) in [
            (
                r#"{"type":"update_presence","status":"idle","activities":[{"name":"x","type":0}]}"#,
                Route::All,
                r#"{"op":3,"d":{"since":null,"activities":[{"name":"x","type":0}],"status":"idle","afk":false}}"#,
            ),
            (
                r#"{"type":"update_voice_state","guild_id":"41771983423143937","channel_id":127121515262115840}"#,
                Route::Guild(41_771_983_423_143_937),
                r#"{"op":4,"d":{"channel_id":"127121515262115840","guild_id":"41771983423143937","self_deaf":false,"self_mute":false}}"#,
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","limit":0,"nonce":"n"}"#,
                Route::Guild(1),
                r#"{"op":8,"d":{"guild_id":"1","limit":0,"nonce":"n","presences":false,"query":""}}"#,
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","user_ids":2,"presences":true}"#,
                Route::Guild(1),
                r#"{"op":8,"d":{"guild_id":"1","limit":0,"presences":true,"user_ids":["2"]}}"#,
            ),
            (
                r#"{"type":"request_channel_info","guild_id":"1"}"#,
                Route::Guild(1),
                r#"{"op":43,"d":{"fields":["status","voice_start_time"],"guild_id":"1"}}"#,
            ),
            (
                r#"{"type":"gateway","op":99,"d":{"x": [1]},"shard":3}"#,
                Route::Shard(3),
                r#"{"op":99,"d":{"x": [1]}}"#,
            ),
            (
                r#"{"type":"gateway","op":4,"d":{"guild_id":"5"}}"#,
                Route::Guild(5),
                r#"{"op":4,"d":{"guild_id":"5"}}"#,
            ),
        ] {
            assert_eq!(sent(text), (route, payload.to_owned()));
        }
    }

    /// Scenario 64: guild lists are grouped by shard.
    #[test]
    fn soundboard_requests_are_split_by_shard() {
        let total = NonZeroU32::new(2).expect("not zero");
        let guild = |shard: u64, n: u64| ((n * 2 + shard) << 22) + n;
        let ids: Vec<u64> = (0..200).flat_map(|n| [guild(0, n), guild(1, n)]).collect();
        let payloads = soundboard_sounds(&ids, total);
        let shards: Vec<u32> = payloads.iter().map(|(shard, _)| *shard).collect();
        assert_eq!(shards, [0, 0, 1, 1]);
        let mut asked: Vec<u64> = Vec::new();
        for (shard, payload) in payloads {
            assert!(payload.as_str().len() <= MAX_OUTGOING_BYTES);
            let value: serde_json::Value = serde_json::from_str(payload.as_str()).expect("JSON");
            assert_eq!(value["op"], 31);
            for id in value["d"]["guild_ids"].as_array().expect("a list") {
                let id = id.as_str().expect("a string").parse().expect("an id");
                assert_eq!(shard_for_guild(id, total), shard);
                asked.push(id);
            }
        }
        asked.sort_unstable();
        assert_eq!(asked, ids);
    }

    /// Scenarios 57 and 61, and everything else that must not reach Discord.
    #[test]
    fn what_discord_would_refuse_is_refused_here() {
        let long = "x".repeat(4_096);
        let ids = vec!["\"1\""; 101].join(",");
        for (text, part) in [
            ("", "`type`"),
            ("[]", "`type`"),
            (r#"{"type":7}"#, "string"),
            (r#"{"type":"dance"}"#, "\"dance\""),
            (r#"{"type":"update_presence","state":"x"}"#, "`state`"),
            (r#"{"type":"update_presence","status":"busy"}"#, "invisible"),
            (r#"{"type":"update_voice_state"}"#, "guild_id"),
            (r#"{"type":"update_voice_state","guild_id":"abc"}"#, "digits"),
            (r#"{"type":"update_voice_state","guild_id":-1}"#, "digits"),
            (r#"{"type":"request_guild_members","guild_id":"1"}"#, "either"),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","user_ids":[]}"#,
                "either",
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","nonce":"123456789012345678901234567890123"}"#,
                "33 bytes",
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","nonce":"ééééééééééééééééé"}"#,
                "34 bytes",
            ),
            (
                &format!(r#"{{"type":"request_guild_members","guild_id":"1","user_ids":[{ids}]}}"#),
                "101 ids",
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","timeout_ms":5}"#,
                "collect",
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","collect":true,"timeout_ms":0}"#,
                "1 to 900000",
            ),
            (
                r#"{"type":"request_guild_members","guild_id":"1","query":"","collect":true,"nonce":""}"#,
                "empty",
            ),
            (r#"{"type":"guilds","limit":0}"#, "1 to 10000"),
            (r#"{"type":"guilds","limit":10001}"#, "1 to 10000"),
            (r#"{"type":"guilds","after":"x"}"#, "digits"),
            (r#"{"type":"guilds","before":"1"}"#, "`before`"),
            (r#"{"type":"guild_stats","shard":0}"#, "`shard`"),
            (r#"{"type":"request_soundboard_sounds","guild_ids":[]}"#, "empty"),
            (r#"{"type":"gateway","op":2,"d":{},"shard":0}"#, "engine's own"),
            (r#"{"type":"gateway","op":31,"d":{"guild_ids":["1"]}}"#, "needs `shard`"),
            (r#"{"type":"gateway","op":3,"d":{"status":1}}"#, "`d`"),
            (r#"{"type":"gateway","op":3,"d":[]}"#, "object"),
            (r#"{"type":"gateway","op":256,"d":{},"shard":0}"#, "`op`"),
            (r#"{"type":"restart_shard"}"#, "shard"),
            (r#"{"type":"gateway_info"} {}"#, "trailing"),
        ] {
            let error = error(text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let text = format!(r#"{{"type":"gateway","op":99,"d":{{"x":"{long}"}},"shard":0}}"#);
        assert_eq!(error(&text).kind(), ErrorKind::TooLarge);
    }

    /// Scenario 61: what Discord just takes is not refused.
    #[test]
    fn the_longest_member_requests_pass() {
        let ids = vec!["\"1\""; MAX_USER_IDS].join(",");
        let nonce = "é".repeat(MAX_NONCE_BYTES / 2);
        let (_, payload) = sent(&format!(
            r#"{{"type":"request_guild_members","guild_id":"1","user_ids":[{ids}],"nonce":"{nonce}"}}"#
        ));
        assert!(payload.contains(&nonce) && payload.contains(&ids), "{payload}");
    }
}
