//! Exactly one reply for each accepted command: to the host, or to the process that forwarded it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::{MAX_FORWARDED, MAX_FORWARDED_REPLY_BYTES};
use crate::error::{Error, ErrorKind};
use crate::queue::{Event, EventKind, EventQueue};
use crate::shard::Outcome;

/// The commands whose reply has not been written.
#[derive(Debug)]
pub(super) struct Replies {
    queue: Arc<EventQueue>,
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
    /// Where replies to other processes go.
    returns: mpsc::UnboundedSender<Return>,
}

/// Who waits for a reply in another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReturnAddress {
    /// The process.
    pub(super) worker: String,
    /// What it calls the command.
    pub(super) number: u64,
}

/// A reply for another process.
#[derive(Debug)]
pub(super) struct Return {
    /// Who waits for it.
    pub(super) to: ReturnAddress,
    /// As in a REPLY event.
    pub(super) status: i32,
    /// The same.
    pub(super) data: Bytes,
}

/// One of them.
#[derive(Debug, Default)]
struct Open {
    /// Payloads that shards still have to send, by shard.
    parts: BTreeMap<u32, u32>,
    /// Some payload was sent.
    sent: bool,
    /// Why some payload was not.
    failed: Option<Error>,
    /// The task that works on it.
    task: Option<AbortHandle>,
    /// Who waits for it, if that is not the host.
    to: Option<ReturnAddress>,
}

impl Replies {
    /// No commands yet. Their ids count from 1. Replies to other processes go to `returns`, which is bounded
    /// by how many of their commands are accepted.
    pub(super) fn new(queue: Arc<EventQueue>, returns: mpsc::UnboundedSender<Return>) -> Self {
        Self { queue, next_id: AtomicU64::new(1), open: Mutex::default(), returns }
    }

    /// Accepts a command: from now on it gets a reply.
    ///
    /// # Errors
    /// `QueueFull` when the host has left too many replies unpolled.
    pub(super) fn open(&self) -> Result<u64, Error> {
        if !self.queue.owe_reply() {
            return Err(Error::new(
                ErrorKind::QueueFull,
                format!(
                    "{} commands are in flight; poll their replies first",
                    crate::config::MAX_COMMANDS_IN_FLIGHT
                ),
            ));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Open::default());
        Ok(id)
    }

    /// Accepts a command of another process.
    ///
    /// # Errors
    /// `QueueFull` when too many of those are in flight.
    pub(super) fn open_for(&self, to: ReturnAddress) -> Result<u64, Error> {
        let mut all = self.lock();
        if all.values().filter(|open| open.to.is_some()).count() >= MAX_FORWARDED {
            let text = format!("the process that runs the shard works on {MAX_FORWARDED} of them");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        all.insert(id, Open { to: Some(to), ..Open::default() });
        Ok(id)
    }

    /// Notes which shards have to send something before the command is done; each as often as it is
    /// named.
    pub(super) fn expect(&self, id: u64, shards: impl IntoIterator<Item = u32>) {
        if let Some(open) = self.lock().get_mut(&id) {
            for shard_id in shards {
                *open.parts.entry(shard_id).or_default() += 1;
            }
        }
    }

    /// Notes the task that works on a command, so that it can be cancelled.
    pub(super) fn attach(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.lock().get_mut(&id) {
            open.task = Some(task);
        }
    }

    /// Notes that a shard is done with one payload. The command fails only if none was sent.
    pub(super) fn settle(&self, id: u64, shard_id: u32, outcome: Outcome) {
        let mut all = self.lock();
        let Some(open) = all.get_mut(&id) else { return };
        match outcome {
            Outcome::Sent => open.sent = true,
            Outcome::Fatal => {
                let text =
                    format!("Discord refused shard {shard_id} for good; see its FATAL event");
                open.failed = Some(Error::new(ErrorKind::Fatal, text));
            }
            Outcome::Stopped => open.failed = Some(stopped()),
        }
        if let Some(count) = open.parts.get_mut(&shard_id) {
            *count -= 1;
            if *count == 0 {
                open.parts.remove(&shard_id);
            }
        }
        if open.parts.is_empty() {
            let open = all.remove(&id).unwrap_or_default();
            drop(all);
            match open.failed.filter(|_| !open.sent) {
                Some(error) => self.write_error(id, open.to, &error),
                None => self.write(id, open.to, 0, Bytes::from_static(b"null")),
            }
        }
    }

    /// Ends a command with a result, unless it has ended already.
    pub(super) fn finish(&self, id: u64, status: i32, data: impl Into<Bytes>) {
        let open = self.lock().remove(&id);
        if let Some(open) = open {
            self.write(id, open.to, status, data.into());
        }
    }

    /// Ends a command with an error, unless it has ended already.
    pub(super) fn fail(&self, id: u64, error: &Error) {
        let open = self.lock().remove(&id);
        if let Some(open) = open {
            self.write_error(id, open.to, error);
        }
    }

    /// Ends a command because the host wants it. What was sent stays sent.
    ///
    /// # Errors
    /// `NotFound` when it has ended already.
    pub(super) fn cancel(&self, id: u64) -> Result<(), Error> {
        let mut all = self.lock();
        // What another process sent is not the host's to cancel.
        let is_ours = all.get(&id).is_some_and(|open| open.to.is_none());
        let open = is_ours.then(|| all.remove(&id)).flatten().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no command {id} waits for its reply"))
        })?;
        drop(all);
        if let Some(task) = &open.task {
            task.abort();
        }
        self.write_error(id, open.to, &Error::new(ErrorKind::Cancelled, "cancelled by the host"));
        Ok(())
    }

    /// Ends the commands that wait for a shard whose task has died.
    pub(super) fn shard_died(&self, shard_id: u32) {
        let mut dead = Vec::new();
        self.lock().retain(|id, open| {
            let waits = open.parts.contains_key(&shard_id);
            if waits {
                dead.push((*id, open.to.take()));
            }
            !waits
        });
        let text = format!("shard {shard_id} met a bug in the engine and was started anew");
        for (id, to) in dead {
            self.write_error(id, to, &Error::new(ErrorKind::Panic, text.clone()));
        }
    }

    /// Ends all commands: the client stops.
    pub(super) fn close(&self) {
        let all = std::mem::take(&mut *self.lock());
        for (id, open) in all {
            if let Some(task) = &open.task {
                task.abort();
            }
            self.write_error(id, open.to, &stopped());
        }
    }

    /// Sends a reply to another process, or an error that is shorter.
    pub(super) fn send_back(&self, mut reply: Return) {
        if reply.data.len() > MAX_FORWARDED_REPLY_BYTES {
            let text = format!(
                "the reply has more than {MAX_FORWARDED_REPLY_BYTES} bytes, which are not sent to another \
                 process; ask in the one that runs the shard"
            );
            reply.status = ErrorKind::TooLarge.status();
            reply.data = json!({"error": text}).to_string().into();
        }
        // Who stops answers nobody.
        let _ = self.returns.send(reply);
    }

    /// Writes the reply with an error.
    fn write_error(&self, id: u64, to: Option<ReturnAddress>, error: &Error) {
        let data = json!({"error": error.to_string()}).to_string();
        self.write(id, to, error.kind().status(), data.into());
    }

    /// Writes the reply.
    fn write(&self, id: u64, to: Option<ReturnAddress>, status: i32, data: Bytes) {
        if let Some(to) = to {
            self.send_back(Return { to, status, data });
            return;
        }
        let mut event = Event::of_data(EventKind::Reply, data);
        event.command_id = id;
        event.status = status;
        self.queue.push_own(event);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of what a stop left undone.
fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the client stopped before it was done")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::QueueConfig;

    fn replies() -> (Replies, Arc<EventQueue>) {
        let queue = Arc::new(EventQueue::new(&QueueConfig::default()).expect("a descriptor"));
        (Replies::new(Arc::clone(&queue), mpsc::unbounded_channel().0), queue)
    }

    fn written(queue: &EventQueue) -> Vec<(u64, i32)> {
        let mut all = Vec::new();
        queue
            .poll(100, Some(Duration::ZERO), |event| all.push((event.command_id, event.status)))
            .expect("open");
        all
    }

    #[test]
    fn a_command_to_many_shards_has_one_reply() {
        let (replies, queue) = replies();
        let id = replies.open().expect("room");
        replies.expect(id, [0, 1, 1]);
        replies.settle(id, 1, Outcome::Sent);
        replies.settle(id, 0, Outcome::Fatal);
        assert_eq!(written(&queue), []);
        replies.settle(id, 1, Outcome::Sent);
        assert_eq!(written(&queue), [(id, 0)]);
        replies.settle(id, 1, Outcome::Sent);
        replies.finish(id, 0, &b"null"[..]);
        assert!(replies.cancel(id).is_err());
        assert_eq!(written(&queue), []);
    }

    #[test]
    fn every_way_to_fail_has_its_status() {
        let (replies, queue) = replies();
        let ids: Vec<u64> = (0..4).map(|_| replies.open().expect("room")).collect();
        for id in &ids {
            replies.expect(*id, [5]);
        }
        replies.settle(ids[0], 5, Outcome::Fatal);
        replies.cancel(ids[1]).expect("open");
        replies.shard_died(5);
        let mut all = written(&queue);
        all.sort_unstable();
        assert_eq!(all, [(ids[0], -12), (ids[1], -17), (ids[2], -127), (ids[3], -127)]);
        let id = replies.open().expect("room");
        replies.close();
        assert_eq!(written(&queue), [(id, -5)]);
    }
}
