//! Faults that wait for a connection: what is to go wrong with the next one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::{Cut, Pace};

/// What happens to the next stream that is accepted, before TLS and HTTP. It cannot be known
/// whether the stream will carry REST or a gateway connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptPlan {
    /// Nothing is ever read or answered.
    Hang,
    /// The stream is dropped at once.
    Drop(Cut),
    /// Everything is written slowly, TLS and HTTP included.
    Pace(Pace),
}

/// What happens to the next gateway connection. The default is a good connection; fields can be
/// combined.
///
/// In JSON only what differs need be named: `{"hello":{"interval":0},"bytes_per_second":100}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectPlan {
    /// How the websocket handshake is answered.
    pub handshake: HandshakePlan,
    /// Chops the response head into pieces.
    pub dribble: Option<Pace>,
    /// Payloads sent before HELLO (or instead of it): op 7, an unknown op, anything.
    pub before_hello: Vec<Value>,
    /// The HELLO.
    pub hello: Hello,
    /// When IDENTIFY or RESUME is answered.
    pub ready: Ready,
    /// How heartbeats are acknowledged.
    pub acks: Acks,
    /// Limits what is sent to this rate.
    pub bytes_per_second: Option<u64>,
    /// Corrupts so many dispatches, READY being the first.
    pub corrupt: u32,
    /// Splits the first dispatch.
    pub split: Option<Split>,
    /// Leaves the client's close frame unanswered and the socket open.
    pub ignore_close: bool,
    /// Ends the connection at some point.
    pub end: Option<EndPlan>,
}

impl ConnectPlan {
    /// A handshake refused with this status and body.
    pub fn refuse(status: u16, body: impl Into<String>) -> Self {
        let refuse = HandshakePlan::Refuse { status, body: body.into(), headers: Vec::new() };
        Self { handshake: refuse, ..Self::default() }
    }

    /// A connection that ends at `stage`.
    pub fn end_at(stage: Stage, how: Ending) -> Self {
        Self { end: Some(EndPlan { stage, how }), ..Self::default() }
    }
}

/// How a websocket handshake is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandshakePlan {
    /// With 101.
    #[default]
    Accept,
    /// With another status.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The body, JSON or HTML or nothing.
        #[serde(default)]
        body: String,
        /// Headers such as `Retry-After`.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Never.
    Hang,
}

/// The HELLO of a connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hello {
    /// As it should be.
    #[default]
    Normal,
    /// None at all.
    Never,
    /// With any JSON value as `heartbeat_interval`. Heartbeats are expected only where it is a
    /// positive integer.
    Interval(Value),
    /// With any JSON value as `d`, so also without an interval.
    D(Value),
}

/// When an IDENTIFY or RESUME is answered. Until then HELLO and ACKs work, as in an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// At once.
    #[default]
    AtOnce,
    /// After so many milliseconds.
    AfterMs(u64),
    /// Not before [`Action::Ready`](super::Action::Ready) allows it.
    Never,
}

/// How heartbeats are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// At once.
    #[default]
    Normal,
    /// After so many milliseconds.
    DelayMs(u64),
    /// Not at all, for the next so many heartbeats.
    Swallow(u32),
    /// Not at all, for ever.
    SwallowAll,
}

/// An end that is planned from the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndPlan {
    /// When.
    pub stage: Stage,
    /// How.
    pub how: Ending,
}

/// A point in the life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// After the handshake, instead of HELLO.
    BeforeHello,
    /// After HELLO.
    AfterHello,
    /// When IDENTIFY or RESUME comes, before it has any effect.
    OnIdentify,
    /// After so many dispatches on this connection. READY is the first, so 1 is right after
    /// READY; on a connection that resumes it is in the middle of the replay.
    AfterDispatches(u64),
}

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Without a close frame.
    Drop(Cut),
    /// With a close frame.
    Close {
        /// The code; without it an empty frame.
        code: Option<u16>,
        /// The reason.
        #[serde(default)]
        reason: String,
    },
    /// Not at all: this payload is sent at that point, op 7 or op 9 for example, and the
    /// connection goes on. An IDENTIFY or RESUME that it answers has no other effect.
    Payload(Value),
}

/// How requests for members are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chunks {
    /// As they should be.
    #[default]
    Normal,
    /// The last chunk first.
    Reversed,
    /// In any order.
    Shuffled,
    /// Without the last chunk.
    WithoutLast,
    /// Not at all.
    None,
}

/// How the next dispatch is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Into fragments of one websocket message.
    Frames(usize),
    /// Into several websocket messages. Only `zlib-stream` can put them together again.
    Messages(usize),
}

/// A queue of plans: each serves one connection, or several, or all that come.
#[derive(Debug, Clone)]
pub(crate) struct Plans<T> {
    queue: std::collections::VecDeque<(T, Option<u64>)>,
}

impl<T> Default for Plans<T> {
    fn default() -> Self {
        Self { queue: std::collections::VecDeque::new() }
    }
}

impl<T: Clone> Plans<T> {
    /// Plans in the queue at most; more replace the last.
    const MAX: usize = 10_000;

    /// Adds a plan for `count` connections, or for all until it is cleared.
    pub(crate) fn add(&mut self, plan: T, count: Option<u64>) {
        if self.queue.len() >= Self::MAX {
            self.queue.pop_back();
        }
        if count != Some(0) {
            self.queue.push_back((plan, count));
        }
    }

    /// The plan for the connection that comes now.
    pub(crate) fn next(&mut self) -> Option<T> {
        let (plan, left) = self.queue.front_mut()?;
        let plan = plan.clone();
        if let Some(left) = left {
            *left -= 1;
            if *left == 0 {
                self.queue.pop_front();
            }
        }
        Some(plan)
    }

    /// Forgets all plans.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_serve_as_many_as_they_are_for() {
        let mut plans = Plans::default();
        plans.add('a', Some(2));
        plans.add('x', Some(0));
        plans.add('b', None);
        let served: Vec<Option<char>> = (0..4).map(|_| plans.next()).collect();
        assert_eq!(served, [Some('a'), Some('a'), Some('b'), Some('b')]);
        plans.clear();
        assert_eq!(plans.next(), None);
    }

    #[test]
    fn plans_read_well_as_json() {
        let plan: ConnectPlan = serde_json::from_value(serde_json::json!({
            "handshake": {"refuse": {"status": 502, "body": "<html>"}},
            "hello": {"interval": "soon"},
            "ready": {"after_ms": 90_000},
            "acks": "swallow_all",
            "before_hello": [{"op": 7, "d": null}],
            "end": {"stage": {"after_dispatches": 3}, "how": {"drop": "reset"}},
        }))
        .unwrap();
        assert_eq!(plan.acks, Acks::SwallowAll);
        assert_eq!(plan.ready, Ready::AfterMs(90_000));
        assert_eq!(plan.end.unwrap().stage, Stage::AfterDispatches(3));
        let error = serde_json::from_str::<ConnectPlan>(r#"{"helo":"never"}"#).unwrap_err();
        assert!(error.to_string().contains("helo"));
    }
}
