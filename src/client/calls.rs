//! Calls to other processes that wait for answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::shared::lock;
use crate::config::{MAX_ANSWERS_BYTES, MAX_CALLS_IN_FLIGHT};
use crate::error::{Error, ErrorKind};

/// The calls of one client.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Call>>,
}

/// One of them.
#[derive(Debug)]
struct Call {
    /// Who has not answered.
    missing: BTreeSet<String>,
    answers: Vec<Answer>,
    bytes: usize,
    /// Told when nobody is missing, or there is too much.
    done: Option<oneshot::Sender<()>>,
}

/// An answer.
#[derive(Debug, Serialize)]
struct Answer {
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The reply to `call`.
#[derive(Serialize)]
struct Answers {
    answers: Vec<Answer>,
    missing: BTreeSet<String>,
}

/// A place among the calls, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    calls: &'a Calls,
    /// The call's number.
    pub(super) number: u64,
    /// Everybody has answered.
    pub(super) done: oneshot::Receiver<()>,
}

impl Calls {
    /// A call to these.
    ///
    /// # Errors
    /// `QueueFull` when too many wait.
    pub(super) fn open(&self, missing: BTreeSet<String>) -> Result<Waiting<'_>, Error> {
        let mut open = lock(&self.open);
        if open.len() == MAX_CALLS_IN_FLIGHT {
            let text = format!("{MAX_CALLS_IN_FLIGHT} calls wait for their answers");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, done) = oneshot::channel();
        let call = Call { missing, answers: Vec::new(), bytes: 0, done: Some(sender) };
        open.insert(number, call);
        Ok(Waiting { calls: self, number, done })
    }

    /// An answer came. Of two from one worker the first counts; one that nobody waits for is no news.
    pub(super) fn answer(&self, number: u64, from: String, result: Result<Box<RawValue>, String>) {
        let mut open = lock(&self.open);
        let Some(call) = open.get_mut(&number) else { return };
        if call.answers.iter().any(|answer| answer.from == from) {
            return;
        }
        call.missing.remove(&from);
        let (data, error) = match result {
            Ok(data) => (Some(data), None),
            Err(error) => (None, Some(error)),
        };
        let bytes = data.as_ref().map_or(0, |data| data.get().len());
        call.bytes += bytes + error.as_ref().map_or(0, String::len);
        if call.bytes <= MAX_ANSWERS_BYTES {
            call.answers.push(Answer { from, data, error });
        }
        if (call.missing.is_empty() || call.bytes > MAX_ANSWERS_BYTES)
            && let Some(done) = call.done.take()
        {
            // Who does not wait any more needs no answer.
            let _ = done.send(());
        }
    }
}

impl Waiting<'_> {
    /// What has come so far, as the reply's data.
    ///
    /// # Errors
    /// `TooLarge` when that is too much.
    pub(super) fn answers(&self) -> Result<Bytes, Error> {
        let call = lock(&self.calls.open).remove(&self.number);
        let Some(call) = call else { return Ok(Bytes::from_static(b"null")) };
        if call.bytes > MAX_ANSWERS_BYTES {
            let text = format!("the answers have more than {MAX_ANSWERS_BYTES} bytes together");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        let answers = Answers { answers: call.answers, missing: call.missing };
        // Text can always be written.
        Ok(serde_json::to_vec(&answers).unwrap_or_default().into())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.calls.open).remove(&self.number);
    }
}
