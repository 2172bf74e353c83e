//! The gate with a clock: one task that lets the shards of a client through.

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::gate::{Gate, GateEvent, SessionStartLimit};

/// What a shard says to the gate.
#[derive(Debug, Clone, Copy)]
enum Request {
    Enter { shard_id: u32, ticket: u64 },
    Arm { shard_id: u32, ticket: u64 },
    Leave { shard_id: u32 },
}

/// A shard's way to the gate. Requests are a few per connection attempt of each shard, so the
/// channel behind it needs no bound of its own.
#[derive(Debug, Clone)]
pub(crate) struct Line(mpsc::UnboundedSender<Request>);

impl Line {
    /// Gets in line.
    pub(crate) fn enter(&self, shard_id: u32, ticket: u64) {
        self.send(Request::Enter { shard_id, ticket });
    }

    /// Says that the turn can be used.
    pub(crate) fn arm(&self, shard_id: u32, ticket: u64) {
        self.send(Request::Arm { shard_id, ticket });
    }

    /// Leaves the line.
    pub(crate) fn leave(&self, shard_id: u32) {
        self.send(Request::Leave { shard_id });
    }

    /// A gate that is gone means that the client stops; then nobody waits for it either.
    fn send(&self, request: Request) {
        let _ = self.0.send(request);
    }
}

/// The line before a gate, and the task that has to run for it: it ends when the last [`Line`] is
/// gone. `tell` must not block; `observe` sees the limit after every change.
pub(crate) fn open(
    mut gate: Gate,
    tell: impl Fn(GateEvent) + Send + 'static,
    observe: impl Fn(SessionStartLimit) + Send + 'static,
) -> (Line, impl Future<Output = ()> + Send) {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let task = async move {
        loop {
            while let Some(event) = gate.poll(Instant::now().into_std()) {
                tell(event);
            }
            observe(gate.limit());
            let timeout = gate.poll_timeout().map(Instant::from_std);
            let request = tokio::select! {
                request = requests.recv() => request,
                () = until(timeout) => continue,
            };
            match request {
                Some(Request::Enter { shard_id, ticket }) => gate.enter(shard_id, ticket),
                Some(Request::Arm { shard_id, ticket }) => gate.arm(shard_id, ticket),
                Some(Request::Leave { shard_id }) => gate.leave(shard_id),
                None => return,
            }
        }
    };
    (Line(sender), task)
}

/// Sleeps until then, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
