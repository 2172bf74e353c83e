//! Where the engine's log goes, and how it is said.

use serde::Deserialize;
use serde_json::Value;

use super::error::invalid;
use crate::error::Error;

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

/// `log` as typed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TypedLog {
    to: Option<LogSink>,
    level: Option<LogLevel>,
    format: Option<LogFormat>,
}

impl TypedLog {
    /// What is said, and the defaults.
    pub(super) fn or(&self, defaults: LogConfig) -> LogConfig {
        LogConfig {
            to: self.to.unwrap_or(defaults.to),
            level: self.level.unwrap_or(defaults.level),
            format: self.format.unwrap_or(defaults.format),
        }
    }

    /// `SHARDWRIGHT_LOG`: a level, sink and level as `stderr:debug`, or with the format as
    /// `stderr:debug:json`.
    pub(super) fn from_env(text: &str) -> Result<Self, Error> {
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
            return Ok(Self { to: Some(LogSink::None), level: Some(LogLevel::Off), format: None });
        }
        let word = |word: &str| Value::String(word.to_owned());
        let format = format.map(|format| LogFormat::deserialize(word(format)).map_err(|_| wrong()));
        Ok(Self {
            to: Some(LogSink::deserialize(word(to)).map_err(|_| wrong())?),
            level: Some(LogLevel::deserialize(word(level)).map_err(|_| wrong())?),
            format: format.transpose()?,
        })
    }
}
