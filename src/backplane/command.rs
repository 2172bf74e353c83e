//! The commands for other processes, as JSON.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::cache::CacheRequest;
use super::jobs::JobRequest;
use crate::config::{DEFAULT_CALL_TIMEOUT, MAX_CALL_TIMEOUT, MAX_MESSAGE_BYTES, MAX_TOPIC_BYTES};
use crate::error::{Error, ErrorKind};
use crate::protocol::json;

/// What a host wants of the other processes of its bot.
#[derive(Debug)]
pub enum Request {
    /// Says something to all that are subscribed.
    Publish {
        /// About what.
        topic: String,
        /// What.
        data: Box<RawValue>,
    },
    /// Wants to hear what is said about this.
    Subscribe {
        /// About what.
        topic: String,
    },
    /// No longer.
    Unsubscribe {
        /// About what.
        topic: String,
    },
    /// Asks all that are subscribed, and waits for their answers.
    Call {
        /// About what.
        topic: String,
        /// What.
        data: Box<RawValue>,
        /// For so long.
        timeout: Duration,
    },
    /// Answers a call.
    Answer {
        /// Which.
        call: CallId,
        /// What, or why not.
        result: Result<Box<RawValue>, String>,
    },
    /// How all processes are doing.
    ClusterStats,
    /// Something about the cache.
    Cache(CacheRequest),
    /// Something about jobs.
    Job(JobRequest),
}

/// A call, by who asks and the number that it has there: `WORKER:NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallId {
    /// Who asks.
    pub worker: String,
    /// Its number there.
    pub number: u64,
}

impl CallId {
    /// Reads one.
    fn parse(text: &str) -> Option<Self> {
        let (worker, number) = text.split_once(':')?;
        let is_worker = !worker.is_empty() && worker.len() <= 32;
        let is_worker = is_worker && worker.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(Self { worker: is_worker.then(|| worker.to_owned())?, number: number.parse().ok()? })
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.worker, self.number)
    }
}

/// A command that is nothing but its type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(rename = "type")]
    _type: IgnoredAny,
}

/// `call` as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    topic: String,
    #[serde(borrow)]
    data: &'a RawValue,
    timeout_ms: Option<u64>,
}

/// `answer` as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    call: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    error: Option<String>,
}

/// `publish` as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    topic: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `subscribe` and `unsubscribe` as typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    topic: String,
}

impl Request {
    /// Reads a command of this type, which is one of ours.
    ///
    /// # Errors
    /// `InvalidArgument`, or `TooLarge` for data that is too long.
    pub fn from_json(kind: &str, text: &str) -> Result<Self, Error> {
        match kind {
            "publish" => {
                let Publish { topic, data, .. } = parse(text)?;
                Ok(Self::Publish { topic: checked_topic(topic)?, data: checked_data(data)? })
            }
            "subscribe" | "unsubscribe" => {
                let Topic { topic, .. } = parse(text)?;
                let topic = checked_topic(topic)?;
                Ok(if kind == "subscribe" {
                    Self::Subscribe { topic }
                } else {
                    Self::Unsubscribe { topic }
                })
            }
            "call" => {
                let Call { topic, data, timeout_ms, .. } = parse(text)?;
                let (topic, data) = (checked_topic(topic)?, checked_data(data)?);
                Ok(Self::Call { topic, data, timeout: checked_timeout(timeout_ms)? })
            }
            "answer" => {
                let Answer { call, data, error, .. } = parse(text)?;
                let call = CallId::parse(&call)
                    .ok_or_else(|| wrong("`call` is not the `call` of a CALL event"))?;
                let result = match (data, error) {
                    (Some(data), None) => Ok(checked_data(data)?),
                    // What was not given is null, as it is in a reply without a result.
                    (None, None) => Ok(checked_data(RawValue::NULL)?),
                    (None, Some(error)) if error.len() <= MAX_MESSAGE_BYTES => Err(error),
                    (None, Some(_)) => {
                        let text = format!("`error` has more than {MAX_MESSAGE_BYTES} bytes");
                        return Err(Error::new(ErrorKind::TooLarge, text));
                    }
                    (Some(_), Some(_)) => return Err(wrong("either `data` or `error`, not both")),
                };
                Ok(Self::Answer { call, result })
            }
            "cluster_stats" => parse::<Plain>(text).map(|_| Self::ClusterStats),
            _ if kind.starts_with("job_") => JobRequest::from_json(kind, text).map(Self::Job),
            _ if kind.starts_with("cache_") => CacheRequest::from_json(kind, text).map(Self::Cache),
            _ => Err(wrong(format!("{kind:?} is no command of the backplane"))),
        }
    }
}

/// Reads one type of command.
fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    json::parse(text).map_err(wrong)
}

/// `InvalidArgument` with this text.
fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// A topic that can be one.
fn checked_topic(topic: String) -> Result<String, Error> {
    if topic.is_empty() || topic.len() > MAX_TOPIC_BYTES {
        let bytes = topic.len();
        return Err(wrong(format!("`topic` has {bytes} bytes; it has 1 to {MAX_TOPIC_BYTES}")));
    }
    if topic.chars().any(char::is_control) {
        return Err(wrong("`topic` has control characters in it"));
    }
    Ok(topic)
}

/// A time that somebody would wait.
fn checked_timeout(timeout_ms: Option<u64>) -> Result<Duration, Error> {
    let timeout = timeout_ms.map_or(DEFAULT_CALL_TIMEOUT, Duration::from_millis);
    if timeout.is_zero() || timeout > MAX_CALL_TIMEOUT {
        let most = MAX_CALL_TIMEOUT.as_millis();
        return Err(wrong(format!("`timeout_ms` is {}; it is 1 to {most}", timeout.as_millis())));
    }
    Ok(timeout)
}

/// Data that is not too long.
fn checked_data(data: &RawValue) -> Result<Box<RawValue>, Error> {
    let bytes = data.get().len();
    if bytes > MAX_MESSAGE_BYTES {
        let text = format!("`data` has {bytes} bytes; it has at most {MAX_MESSAGE_BYTES}");
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(data.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: &str, text: &str) -> Error {
        Request::from_json(kind, text).expect_err(text)
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(MAX_TOPIC_BYTES + 1);
        for (kind, text, part) in [
            ("publish", r#"{"type":"publish","topic":"a"}"#, "data"),
            ("publish", r#"{"type":"publish","data":1}"#, "topic"),
            ("publish", r#"{"type":"publish","topic":"a","data":1,"x":1}"#, "`x`"),
            ("publish", r#"{"type":"publish","topic":"","data":1}"#, "0 bytes"),
            ("subscribe", r#"{"type":"subscribe","topic":"a\u0000"}"#, "control"),
            ("subscribe", &format!(r#"{{"type":"subscribe","topic":"{long}"}}"#), "129 bytes"),
            ("unsubscribe", r#"{"type":"unsubscribe","topic":7}"#, "string"),
            ("call", r#"{"type":"call","topic":"a","data":1,"timeout_ms":0}"#, "1 to 300000"),
            ("call", r#"{"type":"call","topic":"a","data":1,"timeout_ms":300001}"#, "1 to 300000"),
            ("answer", r#"{"type":"answer","data":1}"#, "call"),
            ("answer", r#"{"type":"answer","call":"a","data":1}"#, "CALL event"),
            ("answer", r#"{"type":"answer","call":"a}:1","data":1}"#, "CALL event"),
            ("answer", r#"{"type":"answer","call":"a:1","data":1,"error":"x"}"#, "not both"),
            ("cluster_stats", r#"{"type":"cluster_stats","x":1}"#, "`x`"),
        ] {
            let error = error(kind, text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let long = "x".repeat(MAX_MESSAGE_BYTES);
        let text = format!(r#"{{"type":"publish","topic":"a","data":"{long}"}}"#);
        assert_eq!(error("publish", &text).kind(), ErrorKind::TooLarge);
    }
}
