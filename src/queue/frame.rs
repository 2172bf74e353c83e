//! The memory that events stand in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;

use super::progress::Receipt;
use super::room::{Charge, Room};

/// A reference to bytes that came from the network, or to a text of the engine. Freed with the last
/// reference, on whatever thread that happens.
#[derive(Clone)]
pub struct Frame(Arc<Inner>);

/// What a frame holds. Opaque; its only use outside is behind an [`Arc`] that crosses the ABI.
pub struct Inner {
    buffer: Buffer,
    /// What the frame takes of the queue's room, from the moment it is in the queue.
    charge: OnceLock<Charge>,
    /// Strings decoded on the host's demand, by where their value stands; they live as long as the
    /// frame.
    decoded: OnceLock<Mutex<BTreeMap<usize, Arc<str>>>>,
    /// Says when the frame is released, where that is of interest.
    receipt: Option<Receipt>,
}

/// Bytes as they were made: inflated into a buffer, or straight from the websocket.
enum Buffer {
    Inflated(Vec<u8>),
    Received(Bytes),
}

impl Frame {
    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The same bytes with a receipt.
    pub(crate) fn with_receipt(mut self, receipt: Option<Receipt>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.receipt = receipt;
        }
        self
    }

    /// Its receipt.
    pub(crate) fn receipt(&self) -> Option<&Receipt> {
        self.0.receipt.as_ref()
    }

    /// A way back to it, as long as it is not released.
    pub(crate) fn downgrade(&self) -> WeakFrame {
        WeakFrame(Arc::downgrade(&self.0))
    }

    /// The reference, to be carried over the ABI.
    pub fn into_inner(self) -> Arc<Inner> {
        self.0
    }

    /// Back from [`Frame::into_inner`].
    pub fn from_inner(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Takes the frame's share of the queue's room, once.
    pub(super) fn charge(&self, room: &Arc<Room>) {
        self.0.charge.get_or_init(|| room.charge(self.0.size()));
    }
}

impl Inner {
    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.buffer {
            Buffer::Inflated(bytes) => bytes,
            Buffer::Received(bytes) => bytes,
        }
    }

    /// The decoded form of the value at `at`: `decode` is asked the first time, and the text stays
    /// where it is until the frame is freed.
    pub fn decoded(&self, at: usize, decode: impl FnOnce() -> Option<String>) -> Option<Arc<str>> {
        let texts = self.decoded.get_or_init(Mutex::default);
        let mut texts = texts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(text) = texts.get(&at) {
            return Some(Arc::clone(text));
        }
        let text: Arc<str> = decode()?.into();
        texts.insert(at, Arc::clone(&text));
        Some(text)
    }

    /// Memory it takes.
    fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.buffer {
                Buffer::Inflated(bytes) => bytes.capacity(),
                Buffer::Received(bytes) => bytes.len(),
            }
    }
}

/// A way back to a frame.
#[derive(Debug)]
pub(crate) struct WeakFrame(Weak<Inner>);

impl WeakFrame {
    /// The frame, unless it was released.
    pub(crate) fn upgrade(&self) -> Option<Frame> {
        self.0.upgrade().map(Frame)
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Buffer::Inflated(bytes))
    }
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self::from(Buffer::Received(bytes))
    }
}

impl From<Buffer> for Frame {
    fn from(buffer: Buffer) -> Self {
        Self(Arc::new(Inner {
            buffer,
            charge: OnceLock::new(),
            decoded: OnceLock::new(),
            receipt: None,
        }))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.bytes().len())
    }
}
