//! The engine's queue, as it is shipped, on a modelled readiness flag.

#[path = "../../../../src/queue/event.rs"]
mod event;
#[path = "../../../../src/queue/event_queue.rs"]
mod event_queue;
#[path = "../../../../src/queue/frame.rs"]
mod frame;
#[path = "../../../../src/queue/lease.rs"]
mod lease;
#[path = "../../../../src/queue/progress.rs"]
mod progress;
#[path = "../../../../src/queue/room.rs"]
mod room;
mod signal;

pub(crate) use event::{Event, EventKind};
pub(crate) use event_queue::{EventQueue, PollError};
