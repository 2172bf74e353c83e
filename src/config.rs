//! The configuration: JSON in, every value checked, every default and bound in one place.
//!
//! What was typed is `Typed`; what it means is [`Config`]. Nothing here does IO but the look at
//! environment variables, which come in as a function.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use zeroize::Zeroizing;

use crate::backplane::Address;
use crate::error::{Error, ErrorKind};
use crate::protocol::{
    Compression, GatewayUrl, Intents, MAX_OUTGOING_BYTES, Token, host_of, presence,
};
pub use crate::store::PostgresUrl;

/// Discord's REST API.
const DISCORD_API_URL: &str = "https://discord.com/api/v10";

/// The most shards one client runs.
pub const MAX_SHARDS: u32 = 16_384;

/// The largest shard total a bot can have.
pub const MAX_SHARD_TOTAL: u32 = 1_000_000;

/// Commands whose reply the host has not polled; one more is refused with `SHARD_E_QUEUE_FULL`.
pub const MAX_COMMANDS_IN_FLIGHT: usize = 4_096;

/// State changes, GUILDS_COMPLETE and log lines in the queue; one more drops the oldest of them.
pub const MAX_NOTICES: usize = 4_096;

/// The largest payload a gateway may send, inflated. READY of a large bot has 16–17 MB.
pub const MAX_INCOMING_BYTES: usize = 64 << 20;

/// The largest answer of the REST API that is taken.
pub const MAX_REST_RESPONSE_BYTES: usize = 32 << 20;

/// REST requests on the wire at once. More wait their turn.
pub const MAX_REST_REQUESTS: usize = 64;

/// REST requests that wait for their turn; one more is refused. More than there can be commands, so
/// that it is the commands' own bound that hosts meet.
pub const MAX_REST_WAITING: usize = 2 * MAX_COMMANDS_IN_FLIGHT;

/// Rate limits that are remembered. Idle ones are forgotten first.
pub const MAX_REST_BUCKETS: usize = 16_384;

/// The longest path of a REST request, its query included, as it goes out.
pub const MAX_REST_PATH_BYTES: usize = 8 << 10;

/// The largest body of a REST request, its files included: the largest upload that the most boosted
/// guild allows, and some.
pub const MAX_REST_BODY_BYTES: usize = 128 << 20;

/// Files of one REST request. Discord takes ten today.
pub const MAX_REST_FILES: usize = 32;

/// The longest command that is read: room for a REST request with files.
pub const MAX_COMMAND_BYTES: usize = 40 << 20;

/// Connections to the endpoint for metrics and probes that are served at once. More wait.
pub const MAX_METRICS_CONNECTIONS: usize = 16;

/// The longest configuration that is read.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Guilds of one shard that are kept track of. Discord puts at most 2,500 on a shard.
pub const MAX_GUILDS_PER_SHARD: usize = 100_000;

/// The longest name of a guild that is kept; the rest is cut off. Discord's have at most 100 characters.
pub const MAX_GUILD_NAME_BYTES: usize = 400;

/// Guilds in one reply to `guilds` when the command does not say how many.
pub const DEFAULT_GUILDS_PER_PAGE: usize = 1_000;

/// The most guilds in one reply to `guilds`.
pub const MAX_GUILDS_PER_PAGE: usize = 10_000;

/// How long a shard waits for the next of the guilds that READY listed before it says which are missing.
pub const GUILDS_PATIENCE: Duration = Duration::from_secs(15);

/// Missing guilds that GUILDS_COMPLETE names; the rest is counted.
pub const MAX_MISSING_NAMED: usize = 1_000;

/// How long a request for members that are collected may take when the command does not say.
pub const DEFAULT_MEMBERS_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest that a request for members that are collected may take.
pub const MAX_MEMBERS_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What a client collects of members, in bytes: chunks that have come, and replies until the host has
/// released them. A request that would need more fails.
pub const MAX_COLLECTED_BYTES: usize = 128 << 20;

/// The longest name of a worker, in characters.
const MAX_WORKER_NAME_CHARS: usize = 64;

/// The longest `standby`, in bytes.
const MAX_STANDBY_BYTES: usize = 64;

/// The longest name of a collection of the store.
pub const MAX_STORE_COLLECTION_BYTES: usize = 128;

/// The longest key of a document of the store.
pub const MAX_STORE_KEY_BYTES: usize = 512;

/// The largest document of the store, as JSON.
pub const MAX_STORE_VALUE_BYTES: usize = 1 << 20;

/// Documents in one reply to `store_list` when the command does not say how many.
pub const DEFAULT_STORE_DOCUMENTS_PER_PAGE: usize = 100;

/// The most documents in one reply to `store_list`.
pub const MAX_STORE_DOCUMENTS_PER_PAGE: usize = 1_000;

/// A page of `store_list` ends with the document that brings it over so many bytes.
pub const MAX_STORE_PAGE_BYTES: usize = 8 << 20;

/// How long a command for the store may take, with all that is tried again.
pub const STORE_PATIENCE: Duration = Duration::from_secs(10);

/// How long the engine's own records are kept in the store.
pub const RECORDS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Minutes of history, of all clients of a bot, that are kept in the store.
pub const MAX_HISTORY_KEPT: usize = 1_000_000;

/// Incidents that are kept in the store.
pub const MAX_INCIDENTS_KEPT: usize = 100_000;

/// Starts of clients that are kept in the store.
pub const MAX_DEPLOYS_KEPT: usize = 10_000;

/// The engine's own records that wait for a store that is away. Then the oldest go.
pub const MAX_RECORDS_WAITING: usize = 1_000;

/// How long a client that stops waits for its last records to be stored.
pub const LAST_RECORDS_PATIENCE: Duration = Duration::from_secs(1);

/// What happens to shards in the same way within this time is one incident.
pub const INCIDENT_WINDOW: Duration = Duration::from_secs(5);

/// A shard that is away for this long is an incident before it is back.
pub const LONG_OUTAGE: Duration = Duration::from_secs(60);

/// Incidents that a client records in quick succession.
pub const INCIDENTS_AT_ONCE: u32 = 100;

/// Incidents that a client may record in the long run.
pub const INCIDENTS_PER_HOUR: u32 = 60;

/// Shards that one incident names.
pub const MAX_INCIDENT_SHARDS: usize = 100;

/// The longest topic, in bytes.
pub const MAX_TOPIC_BYTES: usize = 128;

/// Topics that one client is subscribed to at once.
pub const MAX_TOPICS: usize = 1_024;

/// The longest `data` of a message, a call or an answer.
pub const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// MESSAGE and CALL events that wait for the host; one more drops the oldest of them.
pub const MAX_MAIL: usize = 4_096;

/// The bytes of those.
pub const MAX_MAIL_BYTES: usize = 32 << 20;

/// How long a call waits for answers when the command does not say.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a call waits for answers.
pub const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Calls of one client that wait for answers; one more is refused.
pub const MAX_CALLS_IN_FLIGHT: usize = 256;

/// The bytes of all answers to one call; it fails when they are more.
pub const MAX_ANSWERS_BYTES: usize = 16 << 20;

/// The longest key of a value of the cache.
pub const MAX_CACHE_KEY_BYTES: usize = 512;

/// The largest value of the cache, as JSON.
pub const MAX_CACHE_VALUE_BYTES: usize = 256 << 10;

/// The longest that a value of the cache stays when it does not stay for ever.
pub const MAX_CACHE_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The longest name of a queue of jobs.
pub const MAX_QUEUE_NAME_BYTES: usize = 128;

/// The largest payload of a job, as JSON.
pub const MAX_JOB_PAYLOAD_BYTES: usize = 256 << 10;

/// The longest dedupe key of a job.
pub const MAX_JOB_DEDUPE_BYTES: usize = 256;

/// The longest text that a job fails with.
pub const MAX_JOB_ERROR_BYTES: usize = 4 << 10;

/// The longest that a job can be put off.
pub const MAX_JOB_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The shortest time between two jobs of a schedule.
pub const MIN_JOB_REPEAT: Duration = Duration::from_secs(1);

/// The longest cron expression, in bytes.
pub const MAX_CRON_BYTES: usize = 256;

/// Schedules of one queue.
pub const MAX_SCHEDULES: usize = 256;

/// Priorities of jobs go from minus this to this.
pub const MAX_JOB_PRIORITY: i64 = 100;

/// How often a job is tried when the command does not say.
pub const DEFAULT_JOB_ATTEMPTS: i64 = 5;

/// How often a job can be tried.
pub const MAX_JOB_ATTEMPTS: i64 = 1_000;

/// How long a job is leased when the command does not say. Leases of a live consumer are extended.
pub const DEFAULT_JOB_VISIBILITY: Duration = Duration::from_secs(30);

/// The shortest lease.
pub const MIN_JOB_VISIBILITY: Duration = Duration::from_secs(1);

/// The longest lease.
pub const MAX_JOB_VISIBILITY: Duration = Duration::from_secs(60 * 60);

/// The wait after a job failed for the first time; it doubles each time.
pub const JOB_BACKOFF: Duration = Duration::from_secs(1);

/// The longest of those waits.
pub const MAX_JOB_BACKOFF: Duration = Duration::from_secs(60 * 60);

/// Jobs that one client works on at once.
pub const MAX_JOBS_RUNNING: usize = 1_000;

/// Queues that one client consumes at once.
pub const MAX_CONSUMED_QUEUES: usize = 100;

/// Dead jobs that are kept of one queue; one more, and the oldest goes.
pub const MAX_DEAD_JOBS: u32 = 10_000;

/// Jobs in one reply to `job_list` when the command does not say how many.
pub const DEFAULT_JOBS_PER_PAGE: usize = 100;

/// The most jobs in one reply to `job_list`.
pub const MAX_JOBS_PER_PAGE: usize = 1_000;

/// How long a gateway command for a shard of another process may take there. One that collects members has
/// its own `timeout_ms`.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands of other processes that one client works on at once; one more is refused.
pub const MAX_FORWARDED: usize = 1_024;

/// How long a shard is leased when the config does not say.
pub const DEFAULT_LEASE_TTL_S: u64 = 15;

/// The shortest lease, in seconds: one call to the backplane may take two.
pub const MIN_LEASE_TTL_S: u64 = 3;

/// The longest, in seconds.
pub const MAX_LEASE_TTL_S: u64 = 300;

/// The longest reply to a command of another process.
pub const MAX_FORWARDED_REPLY_BYTES: usize = 8 << 20;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The bot token.
    pub token: Token,
    /// Which events Discord shall send.
    pub intents: Intents,
    /// Which shards this client runs.
    pub shards: Shards,
    /// REST base, without a slash at its end.
    pub api_url: String,
    /// The gateway, instead of the one that `/gateway/bot` names.
    pub gateway_url: Option<GatewayUrl>,
    /// Transport compression.
    pub compression: Compression,
    /// The presence sent with identify, as the `d` of op 3.
    pub presence: Option<Box<RawValue>>,
    /// Members above which Discord leaves offline ones out of `GUILD_CREATE`.
    pub large_threshold: Option<u16>,
    /// `os`, `browser` and `device`, sent with identify.
    pub properties: Box<RawValue>,
    /// Names of the dispatches that the host gets; `None` for all.
    pub events: Option<Vec<String>>,
    /// The bounds of the event queue.
    pub queue: QueueConfig,
    /// What happens to events that the host had not finished when its process ended.
    pub delivery: Delivery,
    /// Where sessions survive a restart.
    pub sessions: Option<Sessions>,
    /// What it shares with other processes of the bot.
    pub backplane: Option<Address>,
    /// What this process is called among the others, for people.
    pub worker_name: Option<String>,
    /// Its shards take over from those of other processes when these words are said with it.
    pub standby: Option<String>,
    /// How long a shard is its own without another word from it.
    pub lease_ttl: Duration,
    /// What keeps documents that all shards of the bot can reach.
    pub store: Option<StoreUrl>,
    /// Session starts of the day that are never used.
    pub budget_reserve: u32,
    /// What happens when only those are left.
    pub when_low: WhenLow,
    /// What happens when Discord refuses the number of shards.
    pub reshard: Reshard,
    /// Threads of the runtime.
    pub threads: usize,
    /// Where the engine's log goes.
    pub log: LogConfig,
    /// Where the endpoint for metrics and probes listens.
    pub metrics_address: Option<SocketAddr>,
    /// Certificates to trust instead of the built-in roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy that all connections go through.
    pub proxy: Option<ProxyUrl>,
}

/// What keeps the documents of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file that the processes of one machine share.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PostgresUrl>),
}

/// Where sessions survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sessions {
    /// A file of this machine.
    File(PathBuf),
    /// The backplane.
    Backplane,
}

/// Which shards a client runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shards {
    /// As many as `/gateway/bot` recommends, all of them here.
    Auto,
    /// A fair share of all, claimed from the backplane.
    Lease {
        /// The number of shards of the bot, unless the others or Discord say it.
        total: Option<NonZeroU32>,
    },
    /// These.
    Fixed {
        /// The number of shards of the bot.
        total: NonZeroU32,
        /// The ids run here, ascending.
        ids: Vec<u32>,
    },
}

/// The bounds of the event queue.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Events in the queue.
    pub max_events: usize,
    /// Bytes of payloads in the queue and with the host (polled, not released).
    pub max_bytes: usize,
    /// What happens at either bound.
    pub when_full: WhenFull,
}

/// What a full queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Shards stop reading their sockets; heartbeats go on, nothing is lost.
    Block,
    /// The oldest dispatches are dropped, counted, and reported with OVERFLOW.
    DropOldest,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { max_events: 65_536, max_bytes: 64 << 20, when_full: WhenFull::Block }
    }
}

/// When an event is done with, for a session that is resumed after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// As soon as the host took it: it never comes twice.
    #[default]
    AtMostOnce,
    /// When the host released it: it comes again if the process ends before that.
    AtLeastOnce,
}

/// What happens when the session starts of the day are used up to the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLow {
    /// Shards wait for the reset.
    #[default]
    Wait,
    /// The client is refused.
    Refuse,
}

/// What happens when Discord refuses the number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reshard {
    /// The host is told.
    #[default]
    Manual,
    /// The engine takes another number.
    Auto,
}

/// Where the engine's log goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogConfig {
    /// The sink.
    pub to: LogSink,
    /// The most talkative level that is kept.
    pub level: LogLevel,
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// What a client is for, which decides what is not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    /// One shard, and a log of every step.
    Development,
    /// As many shards as it takes, and a log that other programs read.
    Production,
}

impl Profile {
    /// The shards of a config that names none.
    fn shards(self) -> Result<Shards, Error> {
        match self {
            Self::Development => fixed(1, 0..1),
            Self::Production => Ok(Shards::Auto),
        }
    }

    /// The log of a config that says nothing of it.
    fn log(self) -> LogConfig {
        let to = LogSink::Stderr;
        match self {
            Self::Development => LogConfig { to, level: LogLevel::Debug, format: LogFormat::Text },
            Self::Production => LogConfig { to, level: LogLevel::Info, format: LogFormat::Json },
        }
    }
}

/// A place for log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSink {
    /// Standard error.
    #[default]
    Stderr,
    /// LOG events in the queue.
    Events,
    /// The function set with `shard_set_log_callback`.
    Callback,
    /// Nowhere.
    None,
}

/// How much is logged. The numbers are those of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off = 0,
    /// What needs a person.
    Error = 1,
    /// What may need one.
    Warn = 2,
    /// What an operator wants to read later.
    #[default]
    Info = 3,
    /// Every step.
    Debug = 4,
    /// Every payload's envelope.
    Trace = 5,
}

/// An HTTP proxy. Its credentials are not in its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    /// Whether the connection to the proxy itself is TLS.
    pub tls: bool,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `user:password`, as it goes into `Proxy-Authorization` once encoded.
    pub credentials: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// The configuration as typed. These comments are the table of the README and of
/// `docs/configuration.md`; `make generate` writes both. Each begins with the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    /// env `DISCORD_TOKEN` · The bot token, with or without `Bot ` before it. Never logged.
    token: Option<Zeroizing<String>>,
    /// required · A number, or a list of names: `["GUILDS","GUILD_MESSAGES"]`. Names are those of
    /// [Discord's list](https://discord.com/developers/docs/events/gateway#list-of-intents).
    intents: Intents,
    /// `"auto"` · `"auto"`: as many as Discord recommends. `4`: shards 0 to 3 of 4.
    /// `{"total":16,"ids":[0,1,2]}` or `{"total":16,"from":0,"to":7}`: some of them. `"lease"` or
    /// `{"lease":true,"total":16}`: a fair share, claimed from the `backplane`; see docs/backplane.md. Env
    /// `SHARDWRIGHT_SHARDS`, which counts beside `"auto"` too: `auto`, `4`, `0-7/32`, `0,3,5/32`, `lease`, `lease/16`.
    #[serde(borrow)]
    shards: Option<&'a RawValue>,
    /// all · The dispatches that you want to get: `["MESSAGE_CREATE"]`. The others cost next to nothing.
    events: Option<Vec<String>>,
    /// `"zstd"` · `"zstd"` (least CPU and traffic), `"zlib"` (least memory per shard), `"none"`.
    #[serde(default)]
    compression: Compression,
    /// none · Sent with identify, as Discord's
    /// [presence object](https://discord.com/developers/docs/events/gateway-events#update-presence).
    presence: Option<Value>,
    /// Discord's · 50 to 250: members above which offline ones are left out of `GUILD_CREATE`.
    large_threshold: Option<u16>,
    /// this library · `os`, `browser` and `device` of identify.
    #[serde(default)]
    properties: TypedProperties,
    /// `{"max_events":65536, "max_bytes":67108864, "when_full":"block"}` · Bounds of the event queue.
    /// Bytes count until you release the event. `block` leaves the sockets unread while heartbeats go
    /// on; `drop_oldest` drops dispatches and tells you how many.
    #[serde(default)]
    queue: QueueConfig,
    /// `{"budget_reserve":50, "when_low":"wait"}` · Session starts of the day that are never used. When
    /// only those are left, shards `wait` for the reset and say until when; with `refuse` the client
    /// is refused instead (FATAL), for a host that would rather end.
    #[serde(default)]
    identify: TypedIdentify,
    /// `"manual"` · What happens when Discord no longer takes the number of shards (4010, 4011): with
    /// `manual` the shard is refused (FATAL), with `auto` the engine takes the recommended number, or
    /// twice as many, and goes on, as with the command `reshard`.
    #[serde(default)]
    reshard: Reshard,
    /// cores, at most 4, and at most one for each shard that is named · Threads of the engine, 1 to 256.
    threads: Option<usize>,
    /// `{"to":"stderr","level":"info","format":"text"}` · `to`: `stderr`, `events`, `callback`, `none`;
    /// `level`: `off`, `error`, `warn`, `info`, `debug`, `trace`; `format`: `text`, or `json` for one
    /// object per line. Env `SHARDWRIGHT_LOG`: `debug`, `events:debug`, `stderr:info:json`, `none`.
    log: Option<TypedLog>,
    /// none · `"development"`: one shard, a log of level `debug` as text. `"production"`: as many shards
    /// as Discord recommends, a log of level `info` as JSON. Keys and variables that are set win.
    profile: Option<Profile>,
    /// none · Address of an HTTP endpoint for Prometheus and probes, such as `"127.0.0.1:9464"`:
    /// `/metrics`, `/healthz`, `/readyz`; see docs/monitoring.md. Port 0 takes a free one, which the
    /// status names.
    metrics_address: Option<String>,
    /// `https://discord.com/api/v10` · REST base; `http://` is allowed. Env `SHARDWRIGHT_API_URL`.
    api_url: Option<String>,
    /// from `/gateway/bot` · Another gateway; `ws://` is allowed.
    gateway_url: Option<String>,
    /// built-in roots · PEM file of certificate authorities to trust instead.
    ca_file: Option<PathBuf>,
    /// none · `http://[user:password@]host:port`, or `https://`: all connections go through this HTTP
    /// proxy. A password is percent-encoded.
    proxy: Option<Zeroizing<String>>,
    /// none · `"sqlite:PATH"`: a file in which sessions and the day's identifies survive a restart;
    /// `"backplane"`: they are kept there, and any machine can go on with them. Shards then resume, without an identify and without a wait; see [Restarts](#restarts). Env
    /// `SHARDWRIGHT_SESSIONS`.
    sessions: Option<String>,
    /// `"at_most_once"` · What a restart does with events that you had got but not finished. With
    /// `at_least_once` a session is resumed after the last event below which you released all, so that
    /// they come again, flagged as replayed. Needs `sessions`.
    #[serde(default)]
    delivery: Delivery,
    /// none · What the processes of one bot share, so that they can talk to each other: `"sqlite:PATH"` on one
    /// machine, `"redis://[user:password@]host[:port][/database]"` or `rediss://` on many; see
    /// docs/backplane.md. A password is percent-encoded. Env `SHARDWRIGHT_BACKPLANE`.
    backplane: Option<Zeroizing<String>>,
    /// none · What this process is called in `cluster_stats` and in what people see of the cluster, such as
    /// `"worker 3"`; at most 64 characters. Env `SHARDWRIGHT_WORKER`, which `shardwright cluster` sets.
    worker_name: Option<String>,
    /// none · This process is to take over from all others of the bot, with another number of shards: what its shards
    /// bring is held until `shardwright deploy --shards` says so; see docs/cluster.md. A name for the
    /// occasion, at most 64 of `a-z`, `0-9` and `-`. Env `SHARDWRIGHT_STANDBY`, which `shardwright cluster` sets.
    standby: Option<String>,
    /// `15` · 3 to 300 seconds: how long shards belong to a process that the `backplane` hears nothing of. Then
    /// others take them over (`"shards": "lease"`), or another process may be started with them.
    lease_ttl_s: Option<u64>,
    /// none · `"sqlite:PATH"` or `"postgres://user:password@host:5432/database?sslmode=require"`: where the
    /// commands `store_put`, `store_get`, `store_delete` and `store_list` keep documents; see
    /// docs/store.md. Env `SHARDWRIGHT_STORE`.
    store: Option<Zeroizing<String>>,
}

/// `log` as typed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TypedLog {
    to: Option<LogSink>,
    level: Option<LogLevel>,
    format: Option<LogFormat>,
}

impl TypedLog {
    /// What is said, and the defaults.
    fn or(&self, defaults: LogConfig) -> LogConfig {
        LogConfig {
            to: self.to.unwrap_or(defaults.to),
            level: self.level.unwrap_or(defaults.level),
            format: self.format.unwrap_or(defaults.format),
        }
    }
}

/// `identify` as typed.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TypedIdentify {
    budget_reserve: u32,
    when_low: WhenLow,
}

impl Default for TypedIdentify {
    fn default() -> Self {
        Self { budget_reserve: 50, when_low: WhenLow::Wait }
    }
}

/// <https://discord.com/developers/docs/events/gateway-events#identify-identify-connection-properties>
#[derive(Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct TypedProperties {
    os: String,
    browser: String,
    device: String,
}

impl Default for TypedProperties {
    fn default() -> Self {
        let library = || "shardwright".to_owned();
        Self { os: std::env::consts::OS.to_owned(), browser: library(), device: library() }
    }
}

/// The object form of `shards`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedShards {
    total: u32,
    ids: Option<Vec<u32>>,
    from: Option<u32>,
    to: Option<u32>,
}

/// The object form of `"lease"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedLease {
    lease: bool,
    total: Option<u32>,
}

impl Config {
    /// Reads and checks a configuration. `env` looks up environment variables, which count where the
    /// text has no such key.
    ///
    /// # Errors
    /// `InvalidConfig` or `Unsupported`, with the path of the key and what is wrong with it.
    pub fn from_json(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        if text.len() > MAX_CONFIG_BYTES {
            return Err(invalid("config", format!("is longer than {MAX_CONFIG_BYTES} bytes")));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let typed: Typed<'_> =
            serde_path_to_error::deserialize(&mut json).map_err(|error| from_serde(&error))?;
        json.end().map_err(|error| invalid("config", redact(&error.to_string())))?;
        typed.check(env)
    }
}

impl Typed<'_> {
    /// What the typed values mean.
    fn check(self, env: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
        let env = |name| env(name).filter(|value| !value.is_empty());

        let token = self.token.or_else(|| env("DISCORD_TOKEN").map(Zeroizing::new));
        let token = token.ok_or_else(|| {
            invalid("token", "is missing; set it, or the environment variable DISCORD_TOKEN")
        })?;
        let token = Token::new(&token).map_err(|why| invalid("token", why))?;

        let shards = self.shards.map(|json| shards_from_json(json.get())).transpose()?;
        let shards = match (shards, env("SHARDWRIGHT_SHARDS")) {
            // Whoever leaves it to us leaves it to who started the process.
            (None | Some(Shards::Auto), Some(text)) => shards_from_env(&text)?,
            (Some(shards), _) => shards,
            (None, None) => self.profile.map_or(Ok(Shards::Auto), Profile::shards)?,
        };
        let sessions = self.sessions.or_else(|| env("SHARDWRIGHT_SESSIONS"));
        let backplane = self.backplane.or_else(|| env("SHARDWRIGHT_BACKPLANE").map(Zeroizing::new));
        let backplane = backplane.map(|text| Address::parse(&text)).transpose();
        let backplane = backplane.map_err(|why| invalid("backplane", why))?;
        let mut sessions =
            sessions.map(|text| check_sessions(&text, backplane.as_ref())).transpose()?;
        if matches!(shards, Shards::Lease { .. }) {
            check_lease(backplane.as_ref(), sessions.as_ref())?;
            sessions = Some(Sessions::Backplane);
        }
        let lease_ttl_s = self.lease_ttl_s.unwrap_or(DEFAULT_LEASE_TTL_S);
        let lease_ttl_s = in_range("lease_ttl_s", lease_ttl_s, MIN_LEASE_TTL_S, MAX_LEASE_TTL_S)?;
        check_delivery(self.delivery, sessions.is_some(), self.queue.when_full)?;
        let worker_name = self.worker_name.or_else(|| env("SHARDWRIGHT_WORKER"));
        let standby = self.standby.or_else(|| env("SHARDWRIGHT_STANDBY"));
        let standby =
            standby.map(|name| check_standby(name, backplane.as_ref(), &shards)).transpose()?;
        let store = self.store.or_else(|| env("SHARDWRIGHT_STORE").map(Zeroizing::new));
        let api_url = self.api_url.or_else(|| env("SHARDWRIGHT_API_URL"));
        let gateway_url = self.gateway_url.as_deref().map(GatewayUrl::parse).transpose();
        let log = match (self.log, env("SHARDWRIGHT_LOG")) {
            (Some(log), _) => log,
            (None, Some(text)) => log_from_env(&text)?,
            (None, None) => TypedLog::default(),
        };
        let log = log.or(self.profile.map_or_else(LogConfig::default, Profile::log));
        // A shard runs on one thread at a time; one more would only take it over now and then.
        let useful_threads = match &shards {
            Shards::Fixed { ids, .. } => ids.len(),
            Shards::Auto | Shards::Lease { .. } => usize::MAX,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.threads.unwrap_or(cores.min(4).min(useful_threads));
        Ok(Config {
            token,
            intents: self.intents,
            shards,
            api_url: check_api_url(api_url.as_deref().unwrap_or(DISCORD_API_URL))?,
            gateway_url: gateway_url.map_err(|why| invalid("gateway_url", why))?,
            compression: self.compression,
            presence: self.presence.map(check_presence).transpose()?,
            large_threshold: self
                .large_threshold
                .map(|members| in_range("large_threshold", members, 50, 250))
                .transpose()?,
            properties: check_properties(&self.properties)?,
            events: self.events,
            queue: QueueConfig {
                max_events: in_range("queue.max_events", self.queue.max_events, 1, 1 << 24)?,
                max_bytes: in_range("queue.max_bytes", self.queue.max_bytes, 1 << 16, 1 << 40)?,
                when_full: self.queue.when_full,
            },
            delivery: self.delivery,
            sessions,
            backplane,
            worker_name: worker_name.map(check_worker_name).transpose()?,
            standby,
            lease_ttl: Duration::from_secs(lease_ttl_s),
            store: store.map(|url| check_store(&url)).transpose()?,
            budget_reserve: self.identify.budget_reserve,
            when_low: self.identify.when_low,
            reshard: self.reshard,
            threads: in_range("threads", threads, 1, 256)?,
            log,
            metrics_address: self
                .metrics_address
                .as_deref()
                .map(check_metrics_address)
                .transpose()?,
            ca_file: self.ca_file,
            proxy: self.proxy.map(|url| check_proxy(&url)).transpose()?,
        })
    }
}

/// A config error: the key, and what is wrong with it.
fn invalid(key: &str, why: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("`{key}` {}", redact(why.as_ref())))
}

/// What serde says, with the path of the key.
fn from_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let text = error.inner().to_string();
    let text = redact(&text);
    match redact(&error.path().to_string()).as_ref() {
        "." => Error::new(ErrorKind::InvalidConfig, format!("the config: {text}")),
        path => Error::new(ErrorKind::InvalidConfig, format!("`{path}`: {text}")),
    }
}

/// The text without anything that could be a token: serde repeats values that it did not expect, and
/// people put keys in the wrong place.
fn redact(text: &str) -> Cow<'_, str> {
    const SHORTEST_TOKEN: usize = 40;
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_suspect = |word: &str| word.len() >= SHORTEST_TOKEN;
    if !text.split(|c| !is_token_char(c)).any(is_suspect) {
        return Cow::Borrowed(text);
    }
    // Each word where it stands: one may be a part of another.
    let words = text.split_inclusive(|c| !is_token_char(c)).map(|word| {
        let end = word.trim_end_matches(|c| !is_token_char(c));
        if is_suspect(end) { ["…", &word[end.len()..]] } else { [word, ""] }
    });
    words.flatten().collect()
}

/// A number between two bounds, both allowed.
fn in_range<N>(key: &str, value: N, min: N, max: N) -> Result<N, Error>
where
    N: PartialOrd + std::fmt::Display + Copy,
{
    if value < min || value > max {
        return Err(invalid(key, format!("is {value}; it must be between {min} and {max}")));
    }
    Ok(value)
}

/// The directory of a file that is made when it is not there.
///
/// # Errors
/// `InvalidConfig` when there is no such directory.
pub(crate) fn check_directory(key: &str, file: &Path) -> Result<(), Error> {
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    if directory.is_none_or(Path::is_dir) {
        return Ok(());
    }
    let file = file.display().to_string();
    Err(invalid(key, format!("is {file:?}, whose directory does not exist; make it first")))
}

/// `sqlite:PATH` or `backplane`.
fn check_sessions(text: &str, backplane: Option<&Address>) -> Result<Sessions, Error> {
    if text == "backplane" && backplane.is_none() {
        return Err(invalid("sessions", "is \"backplane\", but there is no `backplane`"));
    }
    if text == "backplane" {
        return Ok(Sessions::Backplane);
    }
    let path = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.ok_or_else(|| {
        invalid("sessions", format!("is {text:?}; expected \"sqlite:PATH\" or \"backplane\""))
    })?;
    if matches!(backplane, Some(Address::Sqlite(other)) if *other == path) {
        let text = "is the file of `backplane`; take another one, or say \"backplane\"";
        return Err(invalid("sessions", text));
    }
    Ok(Sessions::File(path))
}

/// A name that fits into a line of a table.
fn check_worker_name(name: String) -> Result<String, Error> {
    let length = name.chars().count();
    if !(1..=MAX_WORKER_NAME_CHARS).contains(&length) || name.chars().any(char::is_control) {
        let why = format!("is not 1 to {MAX_WORKER_NAME_CHARS} characters of one line");
        return Err(invalid("worker_name", why));
    }
    Ok(name)
}

/// What a client needs that takes over from others.
fn check_standby(
    name: String,
    backplane: Option<&Address>,
    shards: &Shards,
) -> Result<String, Error> {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=MAX_STANDBY_BYTES).contains(&name.len()) || !name.bytes().all(is_good) {
        let why = format!("is not 1 to {MAX_STANDBY_BYTES} of a-z, 0-9 and -");
        return Err(invalid("standby", why));
    }
    if backplane.is_none() {
        let why =
            "is set, but there is no `backplane` over which the client could be told to take over";
        return Err(invalid("standby", why));
    }
    if matches!(shards, Shards::Lease { .. }) {
        let why = "is for shards that the config names, and these are leased: stop all processes, and start \
                   them with {\"lease\":true,\"total\":N}";
        return Err(invalid("standby", why));
    }
    Ok(name)
}

/// What leases need.
fn check_lease(backplane: Option<&Address>, sessions: Option<&Sessions>) -> Result<(), Error> {
    if backplane.is_none() {
        let why = "is \"lease\", but there is no `backplane` to claim shards from: set it to \
                   \"sqlite:PATH\" for one machine, or \"redis://host\"";
        return Err(invalid("shards", why));
    }
    if matches!(sessions, Some(Sessions::File(_))) {
        let why = "is a file, but with leases any process goes on with any session: leave it out, or \
                   say \"backplane\"";
        return Err(invalid("sessions", why));
    }
    Ok(())
}

/// `sqlite:PATH` or `postgres://…`. The URL may hold a password, so no error repeats it.
fn check_store(text: &str) -> Result<StoreUrl, Error> {
    if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
        return Ok(StoreUrl::Sqlite(PathBuf::from(path)));
    }
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        let why = "is neither \"sqlite:PATH\" nor \"postgres://user:password@host:5432/database\"";
        return Err(invalid("store", why));
    }
    let url = PostgresUrl::parse(text).map_err(|why| invalid("store", why))?;
    Ok(StoreUrl::Postgres(Box::new(url)))
}

/// Whether what is asked for can be kept.
fn check_delivery(delivery: Delivery, stored: bool, when_full: WhenFull) -> Result<(), Error> {
    if delivery == Delivery::AtMostOnce {
        return Ok(());
    }
    if !stored {
        let why = "is \"at_least_once\", which needs `sessions`: a file that survives the process";
        return Err(invalid("delivery", why));
    }
    if when_full == WhenFull::DropOldest {
        let why = "is \"at_least_once\", but `queue.when_full` is \"drop_oldest\"; use \"block\"";
        return Err(invalid("delivery", why));
    }
    Ok(())
}

/// A presence that fits an identify.
fn check_presence(object: Value) -> Result<Box<RawValue>, Error> {
    let d = presence(object).map_err(|why| invalid("presence", why))?;
    fits_identify("presence", d)
}

/// What Discord is told about this program.
fn check_properties(typed: &TypedProperties) -> Result<Box<RawValue>, Error> {
    let json = to_raw_value(typed).map_err(|error| invalid("properties", error.to_string()))?;
    fits_identify("properties", json)
}

/// A part of an identify that leaves room for the rest of it.
fn fits_identify(key: &str, json: Box<RawValue>) -> Result<Box<RawValue>, Error> {
    if json.get().len() > MAX_OUTGOING_BYTES - 512 {
        return Err(invalid(key, "is too long to fit the 4096 bytes of an identify"));
    }
    Ok(json)
}

/// An `http` or `https` URL without query, as REST paths are appended to it.
fn check_api_url(url: &str) -> Result<String, Error> {
    let wrong = |why: &str| {
        invalid("api_url", format!("is {url:?}, {why}; expected for example {DISCORD_API_URL}"))
    };
    let uri: http::Uri = url.parse().map_err(|_| wrong("which is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong("which has no http(s):// and host"));
    }
    if uri.query().is_some() {
        return Err(wrong("which has a query"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// An address and a port. No name: what that stands for can change, and be more than was meant.
fn check_metrics_address(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| {
        let why = format!("is {text:?}; expected an address such as 127.0.0.1:9464 or [::]:9464");
        invalid("metrics_address", why)
    })
}

/// `http://[user:password@]host:port`. The URL may hold a password, so no error repeats it.
fn check_proxy(url: &str) -> Result<ProxyUrl, Error> {
    let wrong =
        || invalid("proxy", "is not a URL like http://host:3128 or http://user:pw@host:3128");
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    let host = host_of(authority).ok_or_else(wrong)?.to_owned();
    let credentials = match authority.as_str().rsplit_once('@') {
        None => None,
        Some((typed, _)) => {
            // Decoded after the split: a `:` or `@` of the password itself is typed as %3A or %40.
            let (user, password) = typed.split_once(':').unwrap_or((typed, ""));
            let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| wrong());
            Some(Zeroizing::new(format!("{}:{}", decode(user)?, decode(password)?)))
        }
    };
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok(ProxyUrl { tls, host, port, credentials })
}

/// All forms of `shards` in JSON.
fn shards_from_json(json: &str) -> Result<Shards, Error> {
    let wrong = |why: String| invalid("shards", why);
    if let Ok(word) = serde_json::from_str::<String>(json) {
        return match word.as_str() {
            "auto" => Ok(Shards::Auto),
            "lease" => Ok(Shards::Lease { total: None }),
            _ => Err(wrong("is a string other than \"auto\" and \"lease\"".into())),
        };
    }
    if let Ok(total) = serde_json::from_str::<u32>(json) {
        return fixed(total, 0..total);
    }
    if let Ok(TypedLease { lease: true, total }) = serde_json::from_str(json) {
        return leased(total);
    }
    let typed: TypedShards = serde_json::from_str(json).map_err(|error| {
        wrong(format!(
            "is neither \"auto\", \"lease\", a number, {{\"total\":16,\"ids\":[0,1]}}, \
             {{\"total\":16,\"from\":0,\"to\":7}} nor {{\"lease\":true,\"total\":16}}: {error}"
        ))
    })?;
    match (typed.ids, typed.from, typed.to) {
        (Some(ids), None, None) => fixed(typed.total, ids),
        (None, Some(from), Some(to)) if from <= to => fixed(typed.total, from..=to),
        (None, Some(_), Some(_)) => Err(wrong("goes `from` a higher id `to` a lower one".into())),
        (None, None, None) => fixed(typed.total, 0..typed.total),
        _ => Err(wrong("needs either `ids`, or `from` and `to`".into())),
    }
}

/// A share of so many shards.
fn leased(total: Option<u32>) -> Result<Shards, Error> {
    let total = total.map(|total| in_range("shards", total, 1, MAX_SHARDS)).transpose()?;
    Ok(Shards::Lease { total: total.and_then(NonZeroU32::new) })
}

/// All forms of `SHARDWRIGHT_SHARDS`: `auto`, `4`, `0-7/32`, `0,3,5/32`, `lease`, `lease/16`.
fn shards_from_env(text: &str) -> Result<Shards, Error> {
    let wrong = || {
        let why = format!(
            "is {text:?}; expected \"auto\", \"4\", \"0-7/32\", \"0,3,5/32\", \
             \"lease\" or \"lease/16\""
        );
        invalid("SHARDWRIGHT_SHARDS", why)
    };
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    match text.trim() {
        "auto" => return Ok(Shards::Auto),
        "lease" => return leased(None),
        _ => {}
    }
    let Some((ids, total)) = text.split_once('/') else {
        let total = number(text)?;
        return fixed(total, 0..total);
    };
    let total = number(total)?;
    if ids.trim() == "lease" {
        return leased(Some(total));
    }
    match ids.split_once('-') {
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if from > to { Err(wrong()) } else { fixed(total, from..=to) }
        }
        None => fixed(total, ids.split(',').map(number).collect::<Result<Vec<_>, _>>()?),
    }
}

/// Shards by id, checked.
fn fixed(total: u32, ids: impl IntoIterator<Item = u32>) -> Result<Shards, Error> {
    let total = in_range("shards", total, 1, MAX_SHARD_TOTAL)?;
    // One more than allowed is enough to know that it is too many.
    let mut ids: Vec<u32> = ids.into_iter().take(MAX_SHARDS as usize + 1).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.last() {
        None => return Err(invalid("shards", "has no ids")),
        Some(id) if *id >= total => {
            let why = format!("has the id {id}, but ids of {total} shards end at {}", total - 1);
            return Err(invalid("shards", why));
        }
        Some(_) => {}
    }
    if ids.len() > MAX_SHARDS as usize {
        let why =
            format!("asks one client for more than {MAX_SHARDS} shards; use several processes");
        return Err(invalid("shards", why));
    }
    Ok(Shards::Fixed { total: NonZeroU32::new(total).unwrap_or(NonZeroU32::MIN), ids })
}

/// `SHARDWRIGHT_LOG`: a level, sink and level as `stderr:debug`, or with the format as
/// `stderr:debug:json`.
fn log_from_env(text: &str) -> Result<TypedLog, Error> {
    let wrong = || {
        let why = format!(
            "is {text:?}; expected a level such as \"debug\", or \"stderr:debug\", or \
             \"stderr:debug:json\""
        );
        invalid("SHARDWRIGHT_LOG", why)
    };
    let words: Vec<&str> = text.split(':').collect();
    let (to, level, format) = match words[..] {
        [level] => ("stderr", level, None),
        [to, level] => (to, level, None),
        [to, level, format] => (to, level, Some(format)),
        _ => return Err(wrong()),
    };
    if level == "none" {
        return Ok(TypedLog { to: Some(LogSink::None), level: Some(LogLevel::Off), format: None });
    }
    let word = |word: &str| Value::String(word.to_owned());
    let format = format.map(|format| LogFormat::deserialize(word(format)).map_err(|_| wrong()));
    Ok(TypedLog {
        to: Some(LogSink::deserialize(word(to)).map_err(|_| wrong())?),
        level: Some(LogLevel::deserialize(word(level)).map_err(|_| wrong())?),
        format: format.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Config, Error> {
        Config::from_json(json, |_| None)
    }

    fn error(json: &str) -> String {
        read(json).expect_err(json).to_string()
    }

    fn with(extra: &str) -> String {
        format!(r#"{{"token":"t","intents":1,{extra}}}"#)
    }

    fn ids(shards: &Shards) -> (u32, Vec<u32>) {
        match shards {
            Shards::Auto | Shards::Lease { .. } => (0, Vec::new()),
            Shards::Fixed { total, ids } => (total.get(), ids.clone()),
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let config = read(r#"{"token":"Bot abc","intents":["GUILDS"]}"#).expect("complete");
        assert_eq!(config.token.expose(), "abc");
        assert_eq!(config.intents, Intents::GUILDS);
        assert_eq!(config.shards, Shards::Auto);
        assert_eq!(config.api_url, "https://discord.com/api/v10");
        assert_eq!(config.gateway_url, None);
        assert_eq!(config.compression, Compression::Zstd);
        assert_eq!(config.queue.max_events, 65_536);
        assert_eq!(config.queue.max_bytes, 67_108_864);
        assert_eq!(config.queue.when_full, WhenFull::Block);
        assert_eq!(config.budget_reserve, 50);
        assert!((1..=4).contains(&config.threads));
        assert_eq!((config.log.to, config.log.level), (LogSink::Stderr, LogLevel::Info));
    }

    #[test]
    fn every_form_of_shards_is_read() {
        let shards =
            |json: &str| ids(&read(&with(&format!("\"shards\":{json}"))).expect(json).shards);
        assert_eq!(shards("\"auto\""), (0, vec![]));
        assert_eq!(shards("4"), (4, vec![0, 1, 2, 3]));
        assert_eq!(shards(r#"{"total":16,"ids":[2,0,2]}"#), (16, vec![0, 2]));
        assert_eq!(shards(r#"{"total":16,"from":14,"to":15}"#), (16, vec![14, 15]));
        for (json, part) in [
            ("0", "between 1 and"),
            ("-1", "neither"),
            ("\"many\"", "other than \"auto\""),
            (r#"{"total":4,"ids":[4]}"#, "the id 4"),
            (r#"{"total":4,"ids":[]}"#, "no ids"),
            (r#"{"total":4,"from":2,"to":1}"#, "higher id"),
            (r#"{"total":4,"from":2}"#, "`from` and `to`"),
            (r#"{"total":4,"shard":2}"#, "unknown field `shard`"),
            ("1000000", "more than 16384"),
            ("4294967295", "between 1 and"),
        ] {
            let error = error(&with(&format!("\"shards\":{json}")));
            assert!(error.starts_with("`shards` ") && error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn the_environment_counts_where_the_text_is_silent() {
        let env = |name: &str| {
            Some(match name {
                "DISCORD_TOKEN" => "from.env".to_owned(),
                "SHARDWRIGHT_SHARDS" => "0,3,5/32".to_owned(),
                "SHARDWRIGHT_API_URL" => "http://127.0.0.1:1/api/v10/".to_owned(),
                "SHARDWRIGHT_LOG" => "events:debug".to_owned(),
                _ => return None,
            })
        };
        let config = Config::from_json(r#"{"intents":0}"#, env).expect("complete");
        assert_eq!(config.token.expose(), "from.env");
        assert_eq!(ids(&config.shards), (32, vec![0, 3, 5]));
        assert_eq!(config.api_url, "http://127.0.0.1:1/api/v10");
        assert_eq!((config.log.to, config.log.level), (LogSink::Events, LogLevel::Debug));
        let text = r#"{"token":"t","intents":0,"shards":1,"log":{"to":"none"}}"#;
        let config = Config::from_json(text, env).expect("complete");
        assert_eq!((config.token.expose(), ids(&config.shards).0), ("t", 1));
        assert_eq!(config.log.to, LogSink::None);

        let text = r#"{"intents":0,"shards":"auto"}"#;
        let config = Config::from_json(text, env).expect("complete");
        assert_eq!(ids(&config.shards).0, 32, "whoever leaves it open");

        for (text, expected) in [("0-2/32", vec![0, 1, 2]), (" 4 ", vec![0, 1, 2, 3])] {
            assert_eq!(ids(&shards_from_env(text).expect(text)).1, expected);
        }
        for text in ["", "x", "0-7", "7-0/32", "1,/4", "0-99999999/4", "/4", "1/0"] {
            assert!(shards_from_env(text).is_err(), "{text:?}");
        }
        assert!(log_from_env("none").is_ok() && log_from_env("loud").is_err());
        let log = log_from_env("events:warn:json").expect("three words").or(LogConfig::default());
        let expected = (LogSink::Events, LogLevel::Warn, LogFormat::Json);
        assert_eq!((log.to, log.level, log.format), expected);
        for text in ["stderr:info:xml", "a:b:c:d", ":", "stderr:", "json"] {
            assert!(log_from_env(text).is_err(), "{text:?}");
        }
    }

    /// Each profile is a set of defaults, and whatever is said wins over it.
    #[test]
    fn a_profile_decides_what_is_not_said() {
        let log = |config: &Config| (config.log.to, config.log.level, config.log.format);
        let development = read(&with(r#""profile":"development""#)).expect("complete");
        assert_eq!(ids(&development.shards), (1, vec![0]));
        assert_eq!(log(&development), (LogSink::Stderr, LogLevel::Debug, LogFormat::Text));
        let production = read(&with(r#""profile":"production""#)).expect("complete");
        assert_eq!(production.shards, Shards::Auto);
        assert_eq!(log(&production), (LogSink::Stderr, LogLevel::Info, LogFormat::Json));

        let config = read(&with(r#""profile":"development","shards":4,"log":{"level":"warn"}"#));
        let config = config.expect("complete");
        assert_eq!(ids(&config.shards).0, 4);
        assert_eq!(log(&config), (LogSink::Stderr, LogLevel::Warn, LogFormat::Text));
        let config = read(&with(r#""profile":"production","log":{"to":"events"}"#));
        let expected = (LogSink::Events, LogLevel::Info, LogFormat::Json);
        assert_eq!(log(&config.expect("complete")), expected);

        let env = |name: &str| match name {
            "SHARDWRIGHT_SHARDS" => Some("8".to_owned()),
            "SHARDWRIGHT_LOG" => Some("warn".to_owned()),
            _ => None,
        };
        for (profile, format) in [("development", LogFormat::Text), ("production", LogFormat::Json)]
        {
            let text = with(&format!(r#""profile":"{profile}""#));
            let config = Config::from_json(&text, env).expect("complete");
            assert_eq!(ids(&config.shards).0, 8);
            assert_eq!(log(&config), (LogSink::Stderr, LogLevel::Warn, format));
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (json, parts) in [
            ("", ["EOF", "config"]),
            (r#"{"intents":1,"tokn":"t"}"#, ["`tokn`", "unknown field"]),
            (r#"{"token":"t"}"#, ["missing field", "`intents`"]),
            (r#"{"intents":1}"#, ["`token`", "DISCORD_TOKEN"]),
            (r#"{"intents":1,"token":""}"#, ["`token`", "empty"]),
            (r#"{"intents":1,"token":"t"} x"#, ["trailing", "config"]),
            (&with(r#""queue":{"max_events":"9"}"#), ["`queue.max_events`", "string"]),
            (&with(r#""queue":{"max_events":0}"#), ["`queue.max_events`", "between 1"]),
            (&with(r#""queue":{"when_full":"explode"}"#), ["`queue.when_full`", "drop_oldest"]),
            (&with(r#""compression":"brotli"}"#.trim_end_matches('}')), ["`compression`", "zstd"]),
            (&with(r#""api_url":"discord.com""#), ["`api_url`", "http(s)"]),
            (&with(r#""gateway_url":"https://x""#), ["`gateway_url`", "wss"]),
            (&with(r#""presence":[]"#), ["`presence`", "object"]),
            (&with(r#""presence":{"status":"busy"}"#), ["`presence`", "invisible"]),
            (&with(r#""properties":{"os":1}"#), ["`properties.os`", "string"]),
            (&with(r#""large_threshold":10"#), ["`large_threshold`", "50"]),
            (&with(r#""threads":0"#), ["`threads`", "between 1 and 256"]),
            (&with(r#""log":{"level":"loud"}"#), ["`log.level`", "trace"]),
            (&with(r#""log":{"format":"xml"}"#), ["`log.format`", "json"]),
            (&with(r#""profile":"test""#), ["`profile`", "production"]),
            (&with(r#""metrics_address":"localhost""#), ["`metrics_address`", "127.0.0.1:9464"]),
            (&with(r#""metrics_address":9464"#), ["`metrics_address`", "string"]),
            (&with(r#""proxy":"socks5://x:1""#), ["`proxy`", "http://host"]),
            (&with(r#""proxy":"http://x[:]1""#), ["`proxy`", "http://host"]),
            (&with(r#""identify":{"reserve":1}"#), ["`identify.reserve`", "budget_reserve"]),
        ] {
            let error = error(json);
            assert!(parts.iter().all(|part| error.contains(part)), "{json}: {error}");
        }
    }

    #[test]
    fn leases_need_a_backplane_and_nothing_else() {
        let config = |keys: &str| read(&with(&format!(r#""backplane":"redis://h",{keys}"#)));
        let leased = config(r#""shards":"lease""#).expect("complete");
        assert_eq!(leased.shards, Shards::Lease { total: None });
        assert_eq!(leased.sessions, Some(Sessions::Backplane));
        assert_eq!(leased.lease_ttl, Duration::from_secs(15));
        let total = NonZeroU32::new(16);
        let keys = r#""shards":{"lease":true,"total":16},"sessions":"backplane","lease_ttl_s":3"#;
        let leased = config(keys).expect("complete");
        assert_eq!(leased.shards, Shards::Lease { total });
        assert_eq!(leased.lease_ttl, Duration::from_secs(3));
        for (text, total) in [("lease", None), ("lease/16", total)] {
            assert_eq!(shards_from_env(text), Ok(Shards::Lease { total }));
        }
        for (keys, parts) in [
            (r#""shards":"lease""#, ["`shards`", "no `backplane`"]),
            (r#""shards":{"lease":true}"#, ["`shards`", "no `backplane`"]),
            (r#""backplane":"redis://h","shards":{"lease":false}"#, ["`shards`", "lease"]),
            (r#""backplane":"redis://h","shards":{"lease":true,"total":0}"#, ["`shards`", "0"]),
            (r#""backplane":"redis://h","shards":{"lease":true,"ids":[1]}"#, ["`shards`", "lease"]),
            (
                r#""backplane":"redis://h","shards":"lease","sessions":"sqlite:/x""#,
                ["`sessions`", "any process"],
            ),
            (r#""lease_ttl_s":2"#, ["`lease_ttl_s`", "between 3 and 300"]),
        ] {
            let error = error(&with(keys));
            assert!(parts.iter().all(|part| error.contains(part)), "{keys}: {error}");
        }
        assert!(shards_from_env("lease/0").is_err());
    }

    #[test]
    fn sessions_and_delivery_fit_together() {
        let kept = read(&with(r#""sessions":"sqlite:/x/y.db","delivery":"at_least_once""#));
        let kept = kept.expect("complete");
        assert_eq!(kept.sessions, Some(Sessions::File("/x/y.db".into())));
        assert_eq!(kept.delivery, Delivery::AtLeastOnce);
        let plain = read(&with(r#""delivery":"at_most_once""#)).expect("complete");
        assert_eq!((plain.delivery, plain.sessions), (Delivery::AtMostOnce, None));
        for (keys, parts) in [
            (r#""delivery":"at_least_once""#, ["`delivery`", "`sessions`"]),
            (r#""sessions":"redis://x""#, ["`sessions`", "sqlite:PATH"]),
            (r#""sessions":"sqlite:""#, ["`sessions`", "sqlite:PATH"]),
            (r#""sessions":"backplane""#, ["`sessions`", "no `backplane`"]),
            (r#""sessions":"sqlite:/x","backplane":"sqlite:/x""#, ["`sessions`", "`backplane`"]),
            (
                r#""sessions":"sqlite:x","delivery":"at_least_once","queue":{"when_full":"drop_oldest"}"#,
                ["`queue.when_full`", "block"],
            ),
        ] {
            let error = error(&with(keys));
            assert!(parts.iter().all(|part| error.contains(part)), "{keys}: {error}");
        }
    }

    #[test]
    fn a_worker_may_have_a_name() {
        let env = |name: &str| (name == "SHARDWRIGHT_WORKER").then(|| "worker 3".to_owned());
        let name =
            |json: &str| Config::from_json(&with(json), env).map(|config| config.worker_name);
        assert_eq!(name(r#""threads":1"#).expect("a config").as_deref(), Some("worker 3"));
        let named = name(r#""worker_name":"bot-7""#).expect("a config");
        assert_eq!(named.as_deref(), Some("bot-7"));
        for bad in [r#""worker_name":"\u0007""#, r#""worker_name":"a\nb""#] {
            assert!(error(&with(bad)).starts_with("`worker_name` is not 1 to 64"), "{bad}");
        }
    }

    #[test]
    fn a_store_is_a_file_or_a_server() {
        let store = |json: &str| read(&with(json)).expect(json).store.expect("it is set");
        let file = store(r#""store":"sqlite:/x/y.db""#);
        assert_eq!(file, StoreUrl::Sqlite("/x/y.db".into()));
        let server = store(r#""store":"postgresql://me:hunter2@db.example/bot""#);
        assert_eq!(format!("{server:?}"), "Postgres(PostgreSQL at db.example:5432)");
        let env = |name: &str| (name == "SHARDWRIGHT_STORE").then(|| "sqlite:z".to_owned());
        let config = Config::from_json(r#"{"token":"t","intents":0}"#, env).expect("complete");
        assert_eq!(config.store, Some(StoreUrl::Sqlite("z".into())));
        for url in ["mysql://me:hunter2@x", "sqlite:", "postgres://me:hunter2@x:port/y", "hunter2"]
        {
            let error = error(&with(&format!(r#""store":"{url}""#)));
            assert!(error.starts_with("`store` "), "{error}");
            assert!(error.contains("postgres://user:password@") && !error.contains("hunter2"));
        }
    }

    /// Scenario 73: neither a token in the wrong place nor a proxy's password is repeated.
    #[test]
    fn errors_do_not_repeat_secrets() {
        let token = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs";
        for json in [
            format!(r#"{{"intents":"{token}"}}"#),
            with(&format!(r#""compression":"{token}""#)),
            format!(r#"{{"{token}":1}}"#),
            with(&format!(r#""api_url":"{token}""#)),
        ] {
            let error = error(&json);
            assert!(!error.contains(&token[30..]), "{error}");
        }
        // Found by the fuzz target `config`: a word that is a part of another one.
        let other = "x".repeat(40);
        let error_of_both = error(&format!(r#"{{"intents":["{other} {other}{token}"]}}"#));
        assert!(!error_of_both.contains(&token[30..]), "{error_of_both}");

        let error = error(&with(r#""proxy":"ftp://me:hunter2@x""#));
        assert!(!error.contains("hunter2"), "{error}");
        let config = read(&with(r#""proxy":"http://me:hunter2@x:1""#)).expect("complete");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_proxy_s_password_is_decoded() {
        for (url, credentials) in [
            ("http://host:3128", None),
            ("http://me@host:3128", Some("me:")),
            ("http://me:a%3Ab%40c@host", Some("me:a:b@c")),
        ] {
            let config = read(&with(&format!(r#""proxy":"{url}""#))).expect("complete");
            let proxy = config.proxy.expect("it is set");
            assert_eq!(proxy.credentials.as_ref().map(|text| text.as_str()), credentials);
        }
        assert!(error(&with(r#""proxy":"http://me:%ff@host""#)).contains("`proxy`"));
    }
}
