//! What a client is for.

use serde::Deserialize;

use super::log::{LogConfig, LogFormat, LogLevel, LogSink};
use super::shards::Shards;
use crate::error::Error;

/// What a client is for, which decides what is not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Profile {
    /// One shard, and a log of every step.
    Development,
    /// As many shards as it takes, and a log that other programs read.
    Production,
}

impl Profile {
    /// The shards of a config that names none.
    pub(super) fn shards(self) -> Result<Shards, Error> {
        match self {
            Self::Development => Shards::fixed(1, 0..1),
            Self::Production => Ok(Shards::Auto),
        }
    }

    /// The log of a config that says nothing of it.
    pub(super) fn log(self) -> LogConfig {
        let to = LogSink::Stderr;
        match self {
            Self::Development => LogConfig { to, level: LogLevel::Debug, format: LogFormat::Text },
            Self::Production => LogConfig { to, level: LogLevel::Info, format: LogFormat::Json },
        }
    }
}
