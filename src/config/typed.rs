//! The configuration as it is typed, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::bounds::{DEFAULT_LEASE_TTL_S, MAX_LEASE_TTL_S, MIN_LEASE_TTL_S};
use super::check;
use super::error::{in_range, invalid};
use super::log::{LogConfig, TypedLog};
use super::profile::Profile;
use super::proxy::ProxyUrl;
use super::shards::Shards;
use super::{Config, Delivery, QueueConfig, Reshard, Sessions, WhenLow};
use crate::backplane::Address;
use crate::error::Error;
use crate::protocol::{Compression, GatewayUrl, Intents, Token};

/// The configuration as typed. These comments are the table of the README and of
/// `docs/configuration.md`; `make generate` writes both. Each begins with the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed<'a> {
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
pub(super) struct TypedProperties {
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

impl Typed<'_> {
    /// What the typed values mean.
    pub(super) fn check(self, env: impl Fn(&str) -> Option<String>) -> Result<Config, Error> {
        let env = |name| env(name).filter(|value| !value.is_empty());

        let token = self.token.or_else(|| env("DISCORD_TOKEN").map(Zeroizing::new));
        let token = token.ok_or_else(|| {
            invalid("token", "is missing; set it, or the environment variable DISCORD_TOKEN")
        })?;
        let token = Token::new(&token).map_err(|why| invalid("token", why))?;

        let shards = self.shards.map(|json| Shards::from_json(json.get())).transpose()?;
        let shards = match (shards, env("SHARDWRIGHT_SHARDS")) {
            // Whoever leaves it to us leaves it to who started the process.
            (None | Some(Shards::Auto), Some(text)) => Shards::from_env(&text)?,
            (Some(shards), _) => shards,
            (None, None) => self.profile.map_or(Ok(Shards::Auto), Profile::shards)?,
        };
        let sessions = self.sessions.or_else(|| env("SHARDWRIGHT_SESSIONS"));
        let backplane = self.backplane.or_else(|| env("SHARDWRIGHT_BACKPLANE").map(Zeroizing::new));
        let backplane = backplane.map(|text| Address::parse(&text)).transpose();
        let backplane = backplane.map_err(|why| invalid("backplane", why))?;
        let mut sessions =
            sessions.map(|text| check::sessions(&text, backplane.as_ref())).transpose()?;
        if matches!(shards, Shards::Lease { .. }) {
            check::lease(backplane.as_ref(), sessions.as_ref())?;
            sessions = Some(Sessions::Backplane);
        }
        let lease_ttl_s = self.lease_ttl_s.unwrap_or(DEFAULT_LEASE_TTL_S);
        let lease_ttl_s = in_range("lease_ttl_s", lease_ttl_s, MIN_LEASE_TTL_S, MAX_LEASE_TTL_S)?;
        check::delivery(self.delivery, sessions.is_some(), self.queue.when_full)?;
        let worker_name = self.worker_name.or_else(|| env("SHARDWRIGHT_WORKER"));
        let standby = self.standby.or_else(|| env("SHARDWRIGHT_STANDBY"));
        let standby =
            standby.map(|name| check::standby(name, backplane.as_ref(), &shards)).transpose()?;
        let store = self.store.or_else(|| env("SHARDWRIGHT_STORE").map(Zeroizing::new));
        let api_url = self.api_url.or_else(|| env("SHARDWRIGHT_API_URL"));
        let gateway_url = self.gateway_url.as_deref().map(GatewayUrl::parse).transpose();
        let log = match (self.log, env("SHARDWRIGHT_LOG")) {
            (Some(log), _) => log,
            (None, Some(text)) => TypedLog::from_env(&text)?,
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
            api_url: check::api_url(api_url.as_deref().unwrap_or(check::DISCORD_API_URL))?,
            gateway_url: gateway_url.map_err(|why| invalid("gateway_url", why))?,
            compression: self.compression,
            presence: self.presence.map(check::presence).transpose()?,
            large_threshold: self
                .large_threshold
                .map(|members| in_range("large_threshold", members, 50, 250))
                .transpose()?,
            properties: check::properties(&self.properties)?,
            events: self.events,
            queue: QueueConfig {
                max_events: in_range("queue.max_events", self.queue.max_events, 1, 1 << 24)?,
                max_bytes: in_range("queue.max_bytes", self.queue.max_bytes, 1 << 16, 1 << 40)?,
                when_full: self.queue.when_full,
            },
            delivery: self.delivery,
            sessions,
            backplane,
            worker_name: worker_name.map(check::worker_name).transpose()?,
            standby,
            lease_ttl: Duration::from_secs(lease_ttl_s),
            store: store.map(|url| check::store(&url)).transpose()?,
            budget_reserve: self.identify.budget_reserve,
            when_low: self.identify.when_low,
            reshard: self.reshard,
            threads: in_range("threads", threads, 1, 256)?,
            log,
            metrics_address: self
                .metrics_address
                .as_deref()
                .map(check::metrics_address)
                .transpose()?,
            ca_file: self.ca_file,
            proxy: self.proxy.map(|url| ProxyUrl::parse(&url)).transpose()?,
        })
    }
}
