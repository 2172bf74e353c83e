//! What the simulator knows of one open connection. The task that moves its bytes is in
//! [`connection`](super::connection); everything that decides is here and around it, under the
//! simulator's lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::compression::Transport;
use super::dispatch::Body;
use super::session::SessionKey;
use crate::control::{Acks, EndPlan, Ending, Ready, Split};
use crate::wire::WireControl;
use crate::world::guild::Viewer;
use crate::world::live::GuildLive;

/// Most payloads outside the session's log that wait for a client to read. Beyond it the client
/// has stopped reading.
pub(crate) const MAX_WAITING: usize = 10_000;

/// The side of a connection that its task shares with the rest.
#[derive(Debug)]
pub(crate) struct Link {
    /// Wakes the writer.
    pub(crate) notify: Notify,
    /// Makes the socket misbehave.
    pub(crate) wire: Arc<WireControl>,
}

/// Something to be written to a connection.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    /// HELLO.
    Hello(String),
    /// A payload, to be encoded as the connection asked for.
    Payload(String),
    /// A dispatch of the session's log.
    Dispatch(Box<OutDispatch>),
    /// A websocket frame with exactly this in it.
    Frame { code: u8, data: Vec<u8> },
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// A close frame, after which nothing follows.
    Close { code: Option<u16>, reason: String },
    /// The planned end.
    End(Ending),
}

/// A dispatch on its way out, with all that its text depends on.
#[derive(Debug, Clone)]
pub(crate) struct OutDispatch {
    pub(crate) t: std::borrow::Cow<'static, str>,
    pub(crate) seq: u64,
    pub(crate) body: Body,
    pub(crate) live: Arc<GuildLive>,
    pub(crate) viewer: Viewer,
    /// Whether the session asked for payload compression.
    pub(crate) payload_compression: bool,
    /// Overwrite the beginning of the encoded message.
    pub(crate) corrupt: bool,
    /// Send it in pieces.
    pub(crate) split: Option<Split>,
}

/// Whether dispatches may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// They may.
    Open,
    /// They may from this time on.
    Until(Duration),
    /// They may not.
    Shut,
}

/// An open connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub(crate) struct Conn {
    pub(crate) link: Arc<Link>,
    pub(crate) version: u8,
    pub(crate) transport: Transport,
    /// The host the client asked for, which goes into its resume URL.
    pub(crate) host: Option<String>,
    /// The session it carries.
    pub(crate) session: Option<SessionKey>,
    /// Number of the last dispatch taken from the session's log.
    pub(crate) cursor: u64,
    /// Up to this number dispatches are a replay.
    pub(crate) replay_until: u64,
    /// Whether HELLO has been handed to the socket.
    pub(crate) greeted: bool,
    /// When READY or RESUMED was handed to the socket.
    pub(crate) ready: Option<Duration>,
    /// READY or RESUMED is being written, which may take seconds on a slow line.
    pub(crate) ready_leaves: bool,
    pub(crate) gate: Gate,
    /// Payloads outside the log.
    pub(crate) waiting: VecDeque<Out>,
    /// Payloads that wait for their time.
    pub(crate) delayed: BTreeMap<(Duration, u64), Out>,
    pub(crate) next_delayed: u64,
    /// Dispatches sent.
    pub(crate) dispatched: u64,
    /// A close frame has been queued or received: nothing the client sends counts any more.
    pub(crate) closing: bool,
    /// A planned end has been reached: the log is no longer served.
    pub(crate) halted: bool,

    pub(crate) acks: Acks,
    pub(crate) ready_plan: Ready,
    pub(crate) end: Option<EndPlan>,
    pub(crate) corrupt: u32,
    pub(crate) split: Option<Split>,
    pub(crate) ignore_close: bool,
    /// The client has closed and is left without an answer: the socket stays as it is.
    pub(crate) abandoned: bool,

    /// The interval the client was told; `None` where it was told nonsense.
    pub(crate) interval: Option<Duration>,
    /// The last heartbeat, or HELLO.
    pub(crate) last_beat: Duration,
    pub(crate) last_beat_seq: Option<u64>,
    /// When an op 1 was sent that has not been answered.
    pub(crate) beat_requested: Option<Duration>,
    /// Times of the payloads of the last minute.
    pub(crate) received: VecDeque<Duration>,
}

impl Conn {
    /// Puts something into the queue and wakes the writer. `false` if the client has stopped
    /// reading and the queue is full.
    pub(crate) fn push(&mut self, out: Out) -> bool {
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push_back(out);
        self.link.notify.notify_one();
        true
    }

    /// Puts something into the queue later.
    pub(crate) fn push_at(&mut self, at: Duration, out: Out) {
        if self.delayed.len() < MAX_WAITING {
            self.next_delayed += 1;
            self.delayed.insert((at, self.next_delayed), out);
            self.link.notify.notify_one();
        }
    }

    /// Moves what is due to the queue.
    pub(crate) fn release(&mut self, now: Duration) {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            self.waiting.push_back(entry.remove());
        }
        if let Gate::Until(at) = self.gate
            && at <= now
        {
            self.gate = Gate::Open;
        }
    }

    /// When something will be due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let gate = match self.gate {
            Gate::Until(at) => Some(at),
            Gate::Open | Gate::Shut => None,
        };
        delayed.into_iter().chain(gate).min()
    }
}
