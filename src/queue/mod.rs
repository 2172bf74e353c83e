//! The way of events from the shards to the host.
//!
//! Shards push batches under one lock, the host takes batches under one lock, and a file descriptor
//! says when there is something to take. The payloads themselves are never copied: an event holds a
//! reference to the [`Frame`] it came in.

mod event;
mod event_queue;
mod frame;
mod lease;
mod progress;
mod room;
mod signal;

pub(crate) use event::wall_clock_ns;
pub use event::{Event, EventKind, FLAG_REPLAYED, NO_SHARD};
pub use event_queue::{EventQueue, PollError};
pub(crate) use frame::WeakFrame;
pub use frame::{Frame, Inner as FrameInner};
pub use lease::{Lease, Moment};
pub use progress::{OnTaken, Progress, Taken};
pub use signal::Signal;
