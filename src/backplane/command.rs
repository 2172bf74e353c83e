//! The commands for other processes, as JSON.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::config::{MAX_MESSAGE_BYTES, MAX_TOPIC_BYTES};
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
