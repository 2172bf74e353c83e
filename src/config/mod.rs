//! The configuration: JSON in, every value checked, every default and bound in one place.
//!
//! What was typed is `Typed`; what it means is [`Config`]. Nothing here does IO but the look at
//! environment variables, which come in as a function.

mod bounds;
mod check;
mod error;
mod log;
mod profile;
mod proxy;
mod shards;
#[cfg(test)]
mod tests;
mod typed;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::bounds::*;
pub(crate) use self::check::directory as check_directory;
use self::error::{from_serde, invalid};
pub use self::log::{LogConfig, LogFormat, LogLevel, LogSink};
pub use self::proxy::ProxyUrl;
pub use self::shards::Shards;
use self::typed::Typed;
use crate::backplane::Address;
use crate::error::Error;
use crate::protocol::{Compression, GatewayUrl, Intents, Token};
pub use crate::store::PostgresUrl;

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
        json.end().map_err(|error| invalid("config", error.to_string()))?;
        typed.check(env)
    }
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
