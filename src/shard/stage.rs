//! Where a shard's dispatches wait for the rest of their batch.
//!
//! One read of the socket often brings many payloads. They are inflated one behind another into one
//! buffer, which becomes one [`Frame`] for all of them, and go into the queue under one lock.

use std::sync::Arc;

use crate::protocol::Span;
use crate::queue::{Event, EventKind, Frame, Progress};

/// Events after which a batch is full.
const MAX_EVENTS: usize = 256;

/// Bytes after which a batch is full: one payload may be larger, a batch of small ones is not.
const MAX_BYTES: usize = 128 << 10;

/// Room for inflated bytes that is made before the first payload of a batch.
const MIN_ROOM: usize = 2 << 10;

/// What is known of a dispatch before its frame is whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dispatch {
    /// The gateway's sequence number, or 0.
    pub(super) seq: u64,
    /// The guild, or 0.
    pub(super) guild_id: u64,
    /// Wall-clock time of arrival.
    pub(super) received_ns: i64,
    /// The event's flags.
    pub(super) flags: u32,
    /// Its name in the payload.
    pub(super) name: Span,
    /// Its data in the payload.
    pub(super) data: Span,
}

/// The batch of one shard.
#[derive(Debug)]
pub(super) struct Stage {
    shard_id: u32,
    /// Where frames leave their receipts, if sessions are stored.
    progress: Option<Arc<Progress>>,
    /// Payloads, one behind another; the last one may still be looked at.
    pub(super) text: Vec<u8>,
    /// Dispatches in `text`, their spans relative to it.
    staged: Vec<Dispatch>,
    /// Dispatches with a frame.
    ready: Vec<Event>,
    /// Length of the last frame, to make room for the next one.
    last_len: usize,
}

impl Stage {
    /// The empty stage of a shard.
    pub(super) fn new(shard_id: u32, progress: Option<Arc<Progress>>) -> Self {
        Self {
            shard_id,
            progress,
            text: Vec::new(),
            staged: Vec::new(),
            ready: Vec::new(),
            last_len: 0,
        }
    }

    /// Makes room before the first payload of a batch, as much as the last batch took.
    pub(super) fn prepare(&mut self) {
        if self.text.capacity() == 0 {
            // The last payload of a full batch goes beyond it.
            self.text.reserve(self.last_len.clamp(MIN_ROOM, MAX_BYTES) + MIN_ROOM);
        }
    }

    /// Takes back `text` after a payload was inflated into it. A huge one that is not for the host, and
    /// so never becomes a frame, must not leave its room behind.
    pub(super) fn put_back(&mut self, text: Vec<u8>) {
        let is_idle_room = text.is_empty() && text.capacity() > MAX_BYTES;
        self.text = if is_idle_room { Vec::new() } else { text };
    }

    /// Adds a dispatch whose payload stands in `text` from `offset` on.
    pub(super) fn add_inflated(&mut self, offset: usize, dispatch: Dispatch) {
        let name = dispatch.name.shifted(offset);
        let data = dispatch.data.shifted(offset);
        self.staged.push(Dispatch { name, data, ..dispatch });
    }

    /// Adds a dispatch whose payload came uncompressed. Copied, for that costs less than a frame of its own.
    pub(super) fn add_received(&mut self, payload: &[u8], dispatch: Dispatch) {
        self.prepare();
        let offset = self.text.len();
        self.text.extend_from_slice(payload);
        self.add_inflated(offset, dispatch);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.ready.is_empty()
    }

    /// Whether the batch should go before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.staged.len() + self.ready.len() >= MAX_EVENTS || self.text.len() >= MAX_BYTES
    }

    /// The batch. What is taken out of it has gone; the rest stays for the next time.
    pub(super) fn batch(&mut self) -> &mut Vec<Event> {
        self.freeze();
        &mut self.ready
    }

    /// Makes the staged payloads a frame.
    fn freeze(&mut self) {
        let (Some(first), Some(last)) = (self.staged.first(), self.staged.last()) else {
            self.text.clear();
            return;
        };
        let receipt = self.progress.as_ref().map(|it| it.send(first.seq, last.seq));
        let mut text = std::mem::take(&mut self.text);
        self.last_len = text.len();
        if text.capacity() > text.len() * 2 {
            text.shrink_to_fit();
        }
        let frame = Frame::from(text).with_receipt(receipt);
        let shard_id = self.shard_id;
        self.ready.extend(self.staged.drain(..).map(|d| event(shard_id, frame.clone(), d)));
    }
}

/// The event that the host gets.
fn event(shard_id: u32, frame: Frame, dispatch: Dispatch) -> Event {
    Event {
        kind: EventKind::Dispatch,
        shard_id,
        seq: dispatch.seq,
        guild_id: dispatch.guild_id,
        command_id: 0,
        received_ns: dispatch.received_ns,
        status: 0,
        flags: dispatch.flags,
        frame,
        name: dispatch.name,
        data: dispatch.data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::QueueConfig;
    use crate::queue::EventQueue;

    fn dispatch(seq: u64, len: usize) -> Dispatch {
        let (name, data) = ((0..1).into(), (1..len).into());
        Dispatch { seq, guild_id: 0, received_ns: 0, flags: 0, name, data }
    }

    /// What one batch holds, as `(seq, name, data)`.
    fn batch(stage: &mut Stage) -> Vec<(u64, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let events = stage.batch().drain(..);
        events.map(|event| (event.seq, text(event.name()), text(event.data()))).collect()
    }

    #[test]
    fn payloads_of_a_batch_share_a_frame_and_keep_their_order() {
        let mut stage = Stage::new(7, None);
        for (seq, payload) in [(1, "Aa"), (2, "Bbb")] {
            stage.prepare();
            let offset = stage.text.len();
            stage.text.extend_from_slice(payload.as_bytes());
            stage.add_inflated(offset, dispatch(seq, payload.len()));
        }
        stage.add_received(b"Cc", dispatch(3, 2));
        let expected = [(1, "A", "a"), (2, "B", "bb"), (3, "C", "c")];
        let expected = expected.map(|(seq, name, data)| (seq, name.to_owned(), data.to_owned()));
        assert_eq!(batch(&mut stage), expected);
        assert!(stage.is_empty());
    }

    /// Scenario 31: a huge payload leaves no room behind, neither in what follows nor in the stage.
    #[test]
    fn room_for_a_huge_payload_is_given_back() {
        let mut stage = Stage::new(0, None);
        stage.text.resize(17 << 20, b' ');
        stage.add_inflated(0, dispatch(1, 17 << 20));
        assert_eq!(stage.batch().drain(..).count(), 1);
        stage.prepare();
        assert!(stage.text.capacity() <= MAX_BYTES + MIN_ROOM, "{}", stage.text.capacity());

        stage.text.reserve(17 << 20);
        stage.text.extend_from_slice(b"Xx");
        stage.add_inflated(0, dispatch(2, 2));
        let queue = EventQueue::new(&QueueConfig::default()).expect("a descriptor");
        assert!(queue.push(stage.batch()));
        assert!(queue.bytes() < 1 << 10, "{}", queue.bytes());
    }

    /// Scenario 31: nor does a huge payload that is not for the host.
    #[test]
    fn room_for_what_nobody_wants_is_given_back() {
        let mut stage = Stage::new(0, None);
        stage.put_back(Vec::with_capacity(17 << 20));
        assert_eq!(stage.text.capacity(), 0);
        stage.put_back(Vec::with_capacity(MIN_ROOM));
        assert!(stage.text.capacity() >= MIN_ROOM, "small room is kept for the next one");
    }

    #[test]
    fn a_batch_is_full_by_events_or_bytes() {
        let mut stage = Stage::new(0, None);
        (0..256).for_each(|seq| {
            assert!(!stage.is_full());
            stage.add_received(b"Xx", dispatch(seq, 2));
        });
        assert!(stage.is_full());
        assert_eq!(batch(&mut stage).len(), 256);
        stage.text.resize(MAX_BYTES, b' ');
        stage.add_inflated(0, dispatch(1, MAX_BYTES));
        assert!(stage.is_full());
        assert_eq!(batch(&mut stage).len(), 1);
        assert!(!stage.is_full());
    }
}
