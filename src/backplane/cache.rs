//! The cache: values that all processes see and that nobody minds losing.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Doing, Trouble};
use crate::config::{MAX_CACHE_KEY_BYTES, MAX_CACHE_TTL, MAX_CACHE_VALUE_BYTES};
use crate::error::{Error, ErrorKind};
use crate::protocol::json as parser;

/// A command for the cache.
#[derive(Debug)]
pub enum CacheRequest {
    /// Asks for a value.
    Get(Get),
    /// Sets one.
    Set(Set),
    /// Deletes one.
    Delete(Delete),
    /// Adds to a number.
    Increment(Increment),
}

/// `cache_get`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) key: String,
}

/// `cache_set`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) key: String,
    pub(crate) value: Box<RawValue>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) expected_version: Option<i64>,
    #[serde(default)]
    pub(crate) announce: bool,
}

/// `cache_delete`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) announce: bool,
}

/// `cache_increment`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Increment {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    pub(crate) key: String,
    #[serde(default = "one")]
    pub(crate) by: i64,
    pub(crate) ttl_ms: Option<u64>,
}

fn one() -> i64 {
    1
}

/// A value of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cached {
    /// JSON, as it was set.
    pub(crate) value: String,
    /// Grows with each change, also over a delete.
    pub(crate) version: i64,
    /// How long it stays, if not for ever.
    pub(crate) ttl_ms: Option<i64>,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Done: the new version, and for a number the new value.
    Done {
        /// The version that is there now.
        version: i64,
        /// The number that is there now.
        value: i64,
    },
    /// This version is there, and another was expected; 0 for none.
    Conflict(i64),
    /// What is there is no whole number, or would not be one of 64 bits.
    NoNumber,
}

/// Values by key, for one bot.
pub(crate) trait Cache {
    /// Finds a value that has not ended.
    fn cache_get<'a>(&'a self, key: &'a str) -> Doing<'a, Option<Cached>>;

    /// Sets a value.
    fn cache_set<'a>(&'a self, set: &'a Set) -> Doing<'a, Changed>;

    /// Deletes a value; whether it was there.
    fn cache_delete<'a>(&'a self, key: &'a str) -> Doing<'a, bool>;

    /// Adds to a number, which is 0 if it is not there.
    fn cache_increment<'a>(&'a self, increment: &'a Increment) -> Doing<'a, Changed>;
}

impl CacheRequest {
    /// Reads a command of this type, which is one of ours.
    ///
    /// # Errors
    /// `InvalidArgument`, or `TooLarge` for a value that is too long.
    pub(super) fn from_json(kind: &str, text: &str) -> Result<Self, Error> {
        let request = match kind {
            "cache_get" => Self::Get(parser::parse(text).map_err(wrong)?),
            "cache_set" => Self::Set(parser::parse(text).map_err(wrong)?),
            "cache_delete" => Self::Delete(parser::parse(text).map_err(wrong)?),
            "cache_increment" => Self::Increment(parser::parse(text).map_err(wrong)?),
            _ => return Err(wrong(format!("{kind:?} is no command of the cache"))),
        };
        request.checked()
    }

    /// The request, if it makes sense.
    fn checked(self) -> Result<Self, Error> {
        let (key, ttl_ms) = match &self {
            Self::Get(Get { key, .. }) | Self::Delete(Delete { key, .. }) => (key, None),
            Self::Set(Set { key, ttl_ms, .. }) | Self::Increment(Increment { key, ttl_ms, .. }) => {
                (key, *ttl_ms)
            }
        };
        if key.is_empty() || key.len() > MAX_CACHE_KEY_BYTES {
            let bytes = key.len();
            return Err(wrong(format!(
                "`key` has {bytes} bytes; it has 1 to {MAX_CACHE_KEY_BYTES}"
            )));
        }
        if key.chars().any(char::is_control) {
            return Err(wrong("`key` has control characters"));
        }
        let most = MAX_CACHE_TTL.as_millis();
        if ttl_ms.is_some_and(|ttl| ttl == 0 || Duration::from_millis(ttl) > MAX_CACHE_TTL) {
            return Err(wrong(format!("`ttl_ms` is 1 to {most}")));
        }
        if let Self::Set(Set { value, expected_version, .. }) = &self {
            let bytes = value.get().len();
            if bytes > MAX_CACHE_VALUE_BYTES {
                let text =
                    format!("`value` has {bytes} bytes; it has at most {MAX_CACHE_VALUE_BYTES}");
                return Err(Error::new(ErrorKind::TooLarge, text));
            }
            if expected_version.is_some_and(|version| version < 0) {
                return Err(wrong("`expected_version` is a version, or 0 for none"));
            }
        }
        Ok(self)
    }

    /// Carries it out: the status and the data of the reply, and what all processes are to be told.
    pub(crate) async fn carry_out(
        &self,
        cache: &(dyn super::Backplane + '_),
    ) -> Result<(i32, String, Option<String>), Trouble> {
        let told = |announce: bool, key: &str, version: Option<i64>| {
            announce.then(|| json!({"key": key, "version": version}).to_string())
        };
        Ok(match self {
            Self::Get(get) => (0, found(cache.cache_get(&get.key).await?), None),
            Self::Set(set) => {
                let changed = cache.cache_set(set).await?;
                let (status, data) = reply(changed, set.expected_version);
                let version = match changed {
                    Changed::Done { version, .. } => Some(version),
                    _ => None,
                };
                (status, data, version.and_then(|it| told(set.announce, &set.key, Some(it))))
            }
            Self::Delete(delete) => {
                let was_there = cache.cache_delete(&delete.key).await?;
                let announcement = told(delete.announce && was_there, &delete.key, None);
                (0, json!({"deleted": was_there}).to_string(), announcement)
            }
            Self::Increment(increment) => {
                let changed = cache.cache_increment(increment).await?;
                let (status, data) = match changed {
                    Changed::Done { version, value } => {
                        (0, json!({"value": value, "version": version}).to_string())
                    }
                    other => reply(other, None),
                };
                (status, data, None)
            }
        })
    }
}

/// The data of a reply with a value.
fn found(cached: Option<Cached>) -> String {
    let Some(Cached { value, version, ttl_ms }) = cached else { return "null".to_owned() };
    // Somebody else may have written there, and hosts are promised JSON.
    let Ok(value) = RawValue::from_string(value) else { return "null".to_owned() };
    let ttl_ms = ttl_ms.map_or_else(|| "null".to_owned(), |ttl| ttl.max(0).to_string());
    format!(r#"{{"value":{},"version":{version},"ttl_ms":{ttl_ms}}}"#, value.get())
}

/// The reply to a change.
fn reply(changed: Changed, expected: Option<i64>) -> (i32, String) {
    match changed {
        Changed::Done { version, .. } => (0, json!({"version": version}).to_string()),
        Changed::Conflict(current) => {
            let expected = expected.unwrap_or_default();
            let is_there = match current {
                0 => "nothing is there".to_owned(),
                _ => format!("version {current} is there"),
            };
            let error = format!("`expected_version` is {expected}, but {is_there}");
            let data = json!({"error": error, "version": current});
            (ErrorKind::State.status(), data.to_string())
        }
        Changed::NoNumber => {
            let error = "what is there is no whole number, or would leave the 64 bits of one";
            (ErrorKind::State.status(), json!({"error": error}).to_string())
        }
    }
}

/// `InvalidArgument` with this text.
fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
