//! What a simulator is to be: every setting with its default and its bound.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::intents;

/// Most guilds a world can hold; ids of more would not lead back to their guild.
pub const MAX_GUILDS: u32 = 1_000_000;

/// Most channels, and most roles, a guild can hold; Discord's own limits are 500 and 250.
pub const MAX_CHANNELS_PER_GUILD: u16 = 500;

/// Most members a guild can hold.
pub const MAX_MEMBERS_PER_GUILD: u32 = 1_000_000;

/// Most events of a recording, which is kept in memory: about a gigabyte.
pub const MAX_RECORDED_EVENTS: u32 = 1_000_000;

/// Settings of a [`Simulator`](crate::Simulator). Start from `Options::default()`, which is a
/// small bot with every privileged intent on a free port of this machine, and change what matters:
///
/// ```
/// use shardwright_sim::Options;
///
/// let options = Options { guilds: 100, recommended_shards: 4, ..Options::default() };
/// ```
///
/// As JSON or TOML only what differs need be named; unknown names are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Seeds everything the world is made of and every choice traffic makes.
    pub seed: u64,
    /// The bot's token, without the `Bot ` prefix.
    pub token: String,
    /// The bot's user id.
    pub bot_id: u64,
    /// The application's id. With most bots it equals the user id.
    pub application_id: u64,
    /// The bot's user name.
    pub bot_name: String,

    /// Guilds the bot is in when the simulator starts, up to [`MAX_GUILDS`].
    pub guilds: u32,
    /// Members of each guild, the bot included. 100 make a `GUILD_CREATE` of about 60 KB where
    /// the client has the `GUILD_PRESENCES` intent, about 15 KB where it has not.
    pub members_per_guild: u32,
    /// Channels of each guild: one category, two voice channels (where there is room), the rest
    /// text. At least 2, so that there is a text channel.
    pub channels_per_guild: u16,
    /// Roles of each guild, `@everyone` included.
    pub roles_per_guild: u16,
    /// Events per second of traffic in the whole world; 0 for silence.
    pub events_per_second: f64,

    /// Instead of a session every gateway connection gets a recording with so many events of
    /// traffic: HELLO, after any IDENTIFY a READY and the guilds, and when as many connections as there
    /// are recommended shards have identified, the events; `events_per_second` on each connection or, with
    /// 0, as fast as it reads. It is encoded beforehand for every transport compression, from the same options
    /// always the same bytes. Nothing else a client sends is answered, no limits of IDENTIFY apply,
    /// and of the actions on connections only drops work. Up to [`MAX_RECORDED_EVENTS`]; 0 for a
    /// gateway that lives.
    pub recorded_events: u32,

    /// Shards that `/gateway/bot` recommends.
    pub recommended_shards: u32,
    /// Identifies allowed per [`identify_window_ms`](Self::identify_window_ms), one for each key
    /// `shard_id % max_concurrency`.
    pub max_concurrency: u32,
    /// How long an identify blocks its concurrency key. Discord's window is 5 s.
    pub identify_window_ms: u64,
    /// How much earlier than its rule says a payload may arrive without being held against the
    /// client: the network can shorten the distance of two payloads. 0 in virtual time.
    pub timing_slack_ms: u64,
    /// The session start limit.
    pub session_starts: SessionStarts,
    /// Most guilds one shard may carry; above it identify ends with 4011.
    pub max_guilds_per_shard: u32,
    /// Large-bot sharding: the shard total must be a multiple of this, else 4010. 1 for no rule.
    pub large_bot_multiple: u32,
    /// Which [privileged intents](intents::PRIVILEGED) the application was granted, as bits.
    pub privileged_intents: u64,

    /// The interval that HELLO asks for.
    pub heartbeat_interval_ms: u64,
    /// How long after a due heartbeat the connection is closed.
    pub heartbeat_grace_ms: u64,
    /// How long after it was due a heartbeat is a violation (it is still accepted).
    pub heartbeat_late_ms: u64,
    /// The close code for a client whose heartbeats stopped. Discord's documentation says only
    /// that the client is "forced to resume", so the session lives on.
    pub heartbeat_timeout_code: u16,

    /// How long a session waits for a RESUME after its socket died.
    pub resume_window_ms: u64,
    /// Most dispatches a session keeps for a replay; older ones make it unresumable.
    /// `GUILD_CREATE`s are made afresh and do not count.
    pub replay_events: usize,
    /// Most bytes of dispatches a session keeps for a replay.
    pub replay_bytes: usize,
    /// Forget a dispatch once a heartbeat has confirmed it. Whether Discord does is not
    /// documented; a client that resumes from before its last heartbeat finds out here.
    pub trim_replay_on_heartbeat: bool,
    /// What answers a RESUME of an unknown or expired session.
    pub refused_resume: RefusedResume,

    /// Bytes of filler in READY, to make it as large as a big bot's (16 MB and more).
    pub ready_padding_bytes: usize,
    /// Compression level of `zlib-stream` and of payload compression, 1 to 9.
    pub zlib_level: u32,
    /// Compression level of `zstd-stream`, 1 to 19.
    pub zstd_level: i32,
    /// Window of `zstd-stream`, as a power of two: what each connection costs the client in
    /// memory. 10 to 27.
    pub zstd_window_log: u32,
    /// With payload compression, payloads of at least this size are compressed.
    pub payload_compression_bytes: usize,

    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serve TLS (`https`, `wss`) with a certificate of a fresh authority.
    pub tls: bool,
    /// Where to write the authority's certificate as PEM when TLS is on.
    pub ca_file: Option<PathBuf>,
    /// Host (and port, if it is not the one listened on) that URLs name; without it they name the
    /// host the client asked for, or the address listened on.
    pub public_host: Option<String>,
    /// The `resume_gateway_url` of READY, if it is not to be the gateway's own URL.
    pub resume_url: Option<String>,
    /// Answer under `/sim/`, where anyone who can connect may read and change everything.
    pub control_http: bool,

    /// REST rate limits.
    pub rest: RestLimits,
    /// Most entries each list of the ledger keeps; older ones leave, totals stay right.
    pub ledger_entries: usize,
    /// Most messages each channel keeps.
    pub messages_per_channel: usize,
    /// Unix time, in milliseconds, of the simulator's start. Without it the wall clock's; with it
    /// two runs in virtual time send the same bytes.
    pub started_at_unix_ms: Option<u64>,
}

/// The session start limit that `/gateway/bot` reports and IDENTIFY draws on.
///
/// <https://docs.discord.com/developers/events/gateway#session-start-limit-object>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionStarts {
    /// Session starts allowed in a period of 24 hours.
    pub total: u32,
    /// How many of them are left when the simulator starts; without it all.
    pub remaining: Option<u32>,
    /// When the first period ends.
    pub reset_after_ms: u64,
    /// What an IDENTIFY beyond the limit leads to.
    pub when_exhausted: Exhausted,
}

impl Default for SessionStarts {
    fn default() -> Self {
        Self {
            total: 1000,
            remaining: None,
            reset_after_ms: 24 * 60 * 60 * 1000,
            when_exhausted: Exhausted::default(),
        }
    }
}

/// What happens to a bot that identifies more often than it may in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// As documented: all sessions end, the token is reset, and everything is answered with 4004
    /// (REST with 401) until the owner sets a new token.
    #[default]
    ResetToken,
    /// Milder: op 9 `false` until the period ends.
    InvalidSession,
}

/// What answers a RESUME of a session that is unknown, expired or beyond its replay buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedResume {
    /// Op 9 `false`, which is what Discord does in practice.
    #[default]
    InvalidSession,
    /// Close code 4009, which the table of close codes also allows.
    Close4009,
}

/// Limits of the REST API.
///
/// <https://docs.discord.com/developers/topics/rate-limits>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestLimits {
    /// Requests per second of the whole bot; 0 for no limit. Discord's is 50.
    pub global_per_second: u32,
    /// Enforce the limits of single routes. The headers are sent either way.
    pub per_route: bool,
    /// How long an interaction's first answer may take; 3 s with Discord.
    pub interaction_ms: u64,
}

impl Default for RestLimits {
    fn default() -> Self {
        Self { global_per_second: 50, per_route: true, interaction_ms: 3_000 }
    }
}

/// The bot's user id unless the options say otherwise.
const DEFAULT_BOT_ID: u64 = 1_100_000_000_000_000_001;

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            token: default_token(DEFAULT_BOT_ID),
            bot_id: DEFAULT_BOT_ID,
            application_id: DEFAULT_BOT_ID,
            bot_name: "Simulated Bot".to_owned(),
            guilds: 8,
            members_per_guild: 100,
            channels_per_guild: 20,
            roles_per_guild: 12,
            events_per_second: 0.0,
            recorded_events: 0,
            recommended_shards: 1,
            max_concurrency: 1,
            identify_window_ms: 5_000,
            timing_slack_ms: 50,
            session_starts: SessionStarts::default(),
            max_guilds_per_shard: 2_500,
            large_bot_multiple: 1,
            privileged_intents: intents::PRIVILEGED,
            heartbeat_interval_ms: 41_250,
            heartbeat_grace_ms: 20_000,
            heartbeat_late_ms: 2_000,
            heartbeat_timeout_code: 4009,
            resume_window_ms: 180_000,
            replay_events: 10_000,
            replay_bytes: 16 * 1024 * 1024,
            trim_replay_on_heartbeat: false,
            refused_resume: RefusedResume::default(),
            ready_padding_bytes: 0,
            zlib_level: 6,
            zstd_level: 1,
            zstd_window_log: 17,
            payload_compression_bytes: 4_096,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            ca_file: None,
            public_host: None,
            resume_url: None,
            control_http: true,
            rest: RestLimits::default(),
            ledger_entries: 100_000,
            messages_per_channel: 100,
            started_at_unix_ms: None,
        }
    }
}

/// A token of Discord's form for the bot with this id: the id in base 64, then two made-up parts.
/// It is worthless anywhere but in a simulator.
pub fn default_token(bot_id: u64) -> String {
    format!("{}.SIMUL8.not-a-secret-works-only-in-the-simulator", {
        STANDARD_NO_PAD.encode(bot_id.to_string())
    })
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option `{option}`: {problem}")]
pub struct OptionsError {
    /// The field's name.
    pub option: &'static str,
    /// What is wrong with it and what it may be.
    pub problem: String,
}

impl Options {
    /// Checks every bound.
    pub fn check(&self) -> Result<(), OptionsError> {
        fn need(option: &'static str, good: bool, problem: &str) -> Result<(), OptionsError> {
            if good { Ok(()) } else { Err(OptionsError { option, problem: problem.to_owned() }) }
        }
        let token_is_plain = self.token.bytes().all(|byte| byte.is_ascii_graphic());
        need(
            "token",
            !self.token.is_empty() && token_is_plain,
            "must be visible ASCII, not empty",
        )?;
        need("token", !self.token.starts_with("Bot"), "goes without the `Bot ` prefix")?;
        need("bot_id", self.bot_id > 0, "must not be 0")?;
        need("application_id", self.application_id > 0, "must not be 0")?;
        need("guilds", self.guilds <= MAX_GUILDS, "is at most 1,000,000")?;
        let members = 1..=MAX_MEMBERS_PER_GUILD;
        need("members_per_guild", members.contains(&self.members_per_guild), "is 1 to 1,000,000")?;
        let channels = 2..=MAX_CHANNELS_PER_GUILD;
        need("channels_per_guild", channels.contains(&self.channels_per_guild), "is 2 to 500")?;
        need("roles_per_guild", (1..=250).contains(&self.roles_per_guild), "is 1 to 250")?;
        let rate = self.events_per_second;
        let rate_is_good = rate == 0.0 || (0.001..=1e6).contains(&rate);
        need("events_per_second", rate_is_good, "is 0, or 0.001 to 1,000,000")?;
        let idle = rate == 0.0 || self.members_per_guild > 1;
        need("members_per_guild", idle, "must be at least 2 for traffic: the bot itself is one")?;
        let recorded = self.recorded_events;
        need("recorded_events", recorded <= MAX_RECORDED_EVENTS, "is at most 1,000,000")?;
        let somewhere = self.guilds > 0 && self.members_per_guild > 1;
        let problem = "happen in a guild with at least 2 members: the bot itself is one";
        need("recorded_events", recorded == 0 || somewhere, problem)?;
        need("recommended_shards", self.recommended_shards > 0, "must be at least 1")?;
        need("max_concurrency", self.max_concurrency > 0, "must be at least 1")?;
        need("large_bot_multiple", self.large_bot_multiple > 0, "must be at least 1 (no rule)")?;
        let unknown = self.privileged_intents & !intents::PRIVILEGED;
        need("privileged_intents", unknown == 0, "has bits that are no privileged intent")?;
        need(
            "heartbeat_interval_ms",
            self.heartbeat_interval_ms > 0,
            "must not be 0; to send a \
            HELLO with a bad interval use a connection plan",
        )?;
        let code = self.heartbeat_timeout_code;
        need("heartbeat_timeout_code", (1000..5000).contains(&code), "is a close code, 1000–4999")?;
        need("replay_events", self.replay_events > 0, "must be at least 1")?;
        need("zlib_level", (1..=9).contains(&self.zlib_level), "is 1 to 9")?;
        need("zstd_level", (1..=19).contains(&self.zstd_level), "is 1 to 19")?;
        need("zstd_window_log", (10..=27).contains(&self.zstd_window_log), "is 10 to 27")?;
        need("ledger_entries", self.ledger_entries > 0, "must be at least 1")?;
        need("messages_per_channel", self.messages_per_channel > 0, "must be at least 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        Options::default().check().unwrap();
    }

    #[test]
    fn a_bad_option_is_named() {
        let options = Options { zstd_window_log: 50, ..Options::default() };
        let error = options.check().unwrap_err();
        assert_eq!(error.to_string(), "option `zstd_window_log`: is 10 to 27");
        let options = Options { events_per_second: f64::NAN, ..Options::default() };
        assert_eq!(options.check().unwrap_err().option, "events_per_second");
    }

    #[test]
    fn options_survive_json_and_refuse_strangers() {
        let options = Options { guilds: 3, ..Options::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
        let error = serde_json::from_str::<Options>(r#"{"gilds":3}"#).unwrap_err().to_string();
        assert!(error.contains("gilds"), "{error}");
    }
}
