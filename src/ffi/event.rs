//! Events: polled in batches, borrowed from the engine, released.

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::guard::guard;
use super::status::{SHARD_OK, shard_status};
use super::{args, client::shard_client, fork, handle};
use crate::error::{Error, ErrorKind};
use crate::protocol::json;
use crate::queue::{Event, EventKind, FLAG_REPLAYED, FrameInner, NO_SHARD, PollError};

/// shard_event.shard_id of an event that is not about one shard.
pub const SHARD_NONE: u32 = u32::MAX;

/// A gateway dispatch: name = t, data = d, as Discord sent it and not validated.
pub const SHARD_EVENT_DISPATCH: u32 = 1;
/// A shard changed its state: name = the new state, data = {"from":…,"to":…,"reason":…,"close_code":…}.
/// With SHARD_NONE something holds up all shards.
pub const SHARD_EVENT_SHARD_STATE: u32 = 2;
/// The answer to command_id: status = 0, an error, or for `rest` the HTTP status; data = the result.
pub const SHARD_EVENT_REPLY: u32 = 3;
/// A message of another process: name = topic, data = {"from":…,"data":…}.
pub const SHARD_EVENT_MESSAGE: u32 = 4;
/// Another process asks: name = topic, data = {"call":…,"from":…,"data":…}; reply with the `answer` command.
pub const SHARD_EVENT_CALL: u32 = 5;
/// Work: name = queue, data = {"job_id":…,"attempt":…,"payload":…}.
pub const SHARD_EVENT_JOB: u32 = 6;
/// The queue was full: status = events dropped since the last one of these.
pub const SHARD_EVENT_OVERFLOW: u32 = 7;
/// A log line: status = level, name = target, data = text.
pub const SHARD_EVENT_LOG: u32 = 8;
/// Discord refused a shard (or with SHARD_NONE the client) for good: status = shard_status,
/// data = {"reason":…,"close_code":…}.
pub const SHARD_EVENT_FATAL: u32 = 9;
/// The guilds that a READY listed have come, or are not waited for any more: status = how many are
/// missing, data = {"guilds":…,"missing":["id",…],"missing_count":…}. Once for each READY.
pub const SHARD_EVENT_GUILDS_COMPLETE: u32 = 10;

/// A dispatch that the bot may have got before: it came between RESUME and RESUMED, or with shards that took over from
/// those of other processes.
pub const SHARD_EVENT_FLAG_REPLAYED: u32 = 1;

// The engine's numbers and the ABI's are the same.
const _: () = {
    assert!(SHARD_NONE == NO_SHARD);
    assert!(SHARD_EVENT_DISPATCH == EventKind::Dispatch as u32);
    assert!(SHARD_EVENT_SHARD_STATE == EventKind::ShardState as u32);
    assert!(SHARD_EVENT_REPLY == EventKind::Reply as u32);
    assert!(SHARD_EVENT_MESSAGE == EventKind::Message as u32);
    assert!(SHARD_EVENT_CALL == EventKind::Call as u32);
    assert!(SHARD_EVENT_JOB == EventKind::Job as u32);
    assert!(SHARD_EVENT_OVERFLOW == EventKind::Overflow as u32);
    assert!(SHARD_EVENT_LOG == EventKind::Log as u32);
    assert!(SHARD_EVENT_FATAL == EventKind::Fatal as u32);
    assert!(SHARD_EVENT_GUILDS_COMPLETE == EventKind::GuildsComplete as u32);
    assert!(SHARD_EVENT_FLAG_REPLAYED == FLAG_REPLAYED);
};

/// One event. After a poll the host owns one reference to `data` and `name`, until it releases the
/// event; the struct itself is the host's and may be copied, but only one copy may be released.
#[derive(Debug)]
#[repr(C)]
pub struct shard_event {
    /// SHARD_EVENT_…; skip the ones you do not know.
    pub kind: u32,
    /// The shard it is about, or SHARD_NONE.
    pub shard_id: u32,
    /// The gateway's sequence number `s`, else 0.
    pub seq: u64,
    /// The guild, where the payload names one, else 0.
    pub guild_id: u64,
    /// The command this replies to, else 0.
    pub command_id: u64,
    /// CLOCK_REALTIME when it was taken from the socket, in nanoseconds.
    pub received_ns: i64,
    /// UTF-8, `name_len` bytes, not NUL-terminated.
    pub name: *const c_char,
    /// Bytes at `name`.
    pub name_len: usize,
    /// JSON (for LOG: text), `data_len` bytes, borrowed from the engine: no copy was made.
    pub data: *const u8,
    /// Bytes at `data`.
    pub data_len: usize,
    /// Depends on the kind.
    pub status: i32,
    /// SHARD_EVENT_FLAG_…
    pub flags: u32,
    /// Private; NULL after release.
    pub owner: *mut c_void,
    /// Zero.
    pub reserved: [u64; 2],
}

/// Polls one event into `*event`: 1 when there was one, 0 when none came within `timeout_ms` (0 does
/// not wait, a negative one waits for ever) or shard_client_wake() was called, else a status:
/// SHARD_E_CLOSED at the end of the stream, SHARD_E_INTERRUPTED when a signal handler ran in this
/// thread. Release the event with shard_event_release().
///
/// # Safety
/// `event` must be writable.
#[cfg(not(shard_no_short_names))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll_event(
    client: *mut shard_client,
    event: *mut shard_event,
    timeout_ms: i32,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { shard_client_poll_event(client, event, timeout_ms) }
}

/// The same as poll_event().
///
/// # Safety
/// `event` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_client_poll_event(
    client: *mut shard_client,
    event: *mut shard_event,
    timeout_ms: i32,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { shard_client_poll_events(client, event, 1, timeout_ms) }
}

/// Polls up to `cap` events into the array `events`: their count, else as poll_event(). The more at
/// once, the less each costs. Release them with shard_events_release().
///
/// # Safety
/// `events` must be writable for `cap` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_client_poll_events(
    client: *mut shard_client,
    events: *mut shard_event,
    cap: usize,
    timeout_ms: i32,
) -> i32 {
    guard(|| {
        let instance = handle::get(client)?;
        if events.is_null() || cap == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "there is no room for an event"));
        }
        let cap = cap.min(i32::MAX as usize);
        let mut next = events;
        let polled = instance.client.queue().poll(cap, args::timeout(timeout_ms), |event| {
            // SAFETY: the queue calls this at most `cap` times, and the array has room for that.
            unsafe {
                next.write(shard_event::from(event));
                next = next.add(1);
            }
        });
        let count = polled.map_err(|error| {
            let kind = match error {
                PollError::Closed => ErrorKind::Closed,
                PollError::Interrupted => ErrorKind::Interrupted,
                PollError::Io(_) => ErrorKind::Io,
            };
            Error::new(kind, error.to_string())
        })?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    })
}

/// Gives back what an event borrowed; `data`, `name` and `owner` are NULL afterwards, so that a second
/// release does nothing. From any thread, in any order, also after the client was freed. NULL is fine.
///
/// # Safety
/// `event` must be NULL, or have come from a poll, or be zeroed memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_event_release(event: *mut shard_event) {
    // SAFETY: the caller's promise.
    unsafe { shard_events_release(event, 1) };
}

/// Releases an array of events; those that were released already, or never filled but zeroed, are
/// skipped.
///
/// # Safety
/// As shard_event_release(), for `count` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_events_release(events: *mut shard_event, count: usize) {
    guard(|| {
        if events.is_null() {
            return Ok(());
        }
        for index in 0..count {
            // SAFETY: the caller promises that many events, and nobody else uses them meanwhile.
            unsafe { (*events.add(index)).release() };
        }
        Ok(())
    });
}

/// The descriptor that is readable while a poll would return at once, and for ever after the end of
/// the stream. Level-triggered. It is the client's: poll it, never read or close it; it is gone with
/// shard_client_free(). A forked child must not poll it.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_event_fd(client: *mut shard_client) -> i32 {
    guard(|| Ok(handle::get(client)?.client.queue().fd()))
}

/// Lets one poll, waiting in another thread or the next one, return 0.
#[unsafe(no_mangle)]
pub extern "C" fn shard_client_wake(client: *mut shard_client) -> shard_status {
    guard(|| {
        handle::get(client)?.client.queue().wake();
        Ok(SHARD_OK)
    })
}

/// Finds one field of an event's data by JSON Pointer (RFC 6901), such as `"/author/id"` or
/// `"/embeds/0/title"`; empty for all of it. A string comes decoded and without its quotes, any other
/// value as its JSON text. `*text` is UTF-8 of `*text_len` bytes, not NUL-terminated, and valid until
/// the event is released.
///
/// SHARD_E_NOT_FOUND when there is no such field; SHARD_E_INVALID_ARG when the event was released, or
/// the field's text is no JSON string.
///
/// # Safety
/// `event` must have come from a poll; `pointer` must be readable for `pointer_len` bytes; `text` and
/// `text_len` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shard_event_get(
    event: *mut shard_event,
    pointer: *const c_char,
    pointer_len: usize,
    text: *mut *const c_char,
    text_len: *mut usize,
) -> shard_status {
    guard(|| {
        let wrong = |why: &str| Error::new(ErrorKind::InvalidArgument, why);
        // SAFETY: the caller's promise.
        let pointer = unsafe { args::text("pointer", pointer, pointer_len) }?;
        // SAFETY: the caller's promise.
        let event = unsafe { event.as_ref() }.ok_or_else(|| wrong("event is NULL"))?;
        if text.is_null() || text_len.is_null() {
            return Err(wrong("text or text_len is NULL"));
        }
        let found = event.field(pointer)?;
        // SAFETY: neither is NULL, and the caller promises the rest.
        unsafe {
            text.write(found.as_ptr().cast());
            text_len.write(found.len());
        }
        Ok(SHARD_OK)
    })
}

/// The bits of an `owner` that are zero in an `Arc`'s pointer; they hold the fork generation.
const FORK_BITS: usize = 0b111;

const _: () = assert!(align_of::<FrameInner>() > FORK_BITS);

impl From<Event> for shard_event {
    fn from(event: Event) -> Self {
        let bytes = event.frame.bytes();
        // The buffer does not move when the frame's reference does.
        let (name, data) = (event.name.of(bytes), event.data.of(bytes));
        let (name, name_len) = (name.as_ptr().cast(), name.len());
        let (data, data_len) = (data.as_ptr(), data.len());
        let owner = Arc::into_raw(event.frame.into_inner()).cast_mut();
        let fork_bits = usize::from(fork::generation()) & FORK_BITS;
        Self {
            kind: event.kind as u32,
            shard_id: event.shard_id,
            seq: event.seq,
            guild_id: event.guild_id,
            command_id: event.command_id,
            received_ns: event.received_ns,
            name,
            name_len,
            data,
            data_len,
            status: event.status,
            flags: event.flags,
            owner: owner.map_addr(|address| address | fork_bits).cast(),
            reserved: [0; 2],
        }
    }
}

impl shard_event {
    /// The frame behind the event, without a reference of its own; `None` after release, and in a
    /// process that is not the one that polled it.
    fn frame(&self) -> Option<ManuallyDrop<Arc<FrameInner>>> {
        let fork_bits = usize::from(fork::generation()) & FORK_BITS;
        if self.owner.is_null() || self.owner.addr() & FORK_BITS != fork_bits {
            return None;
        }
        let owner = self.owner.cast::<FrameInner>().map_addr(|address| address & !FORK_BITS);
        // SAFETY: `owner` came from `Arc::into_raw` in this process and was not released, or the
        // caller broke its promise; `ManuallyDrop` leaves its reference where it is.
        Some(ManuallyDrop::new(unsafe { Arc::from_raw(owner) }))
    }

    /// Gives back the reference. A forked child forgets it: the locks below may be held for ever.
    fn release(&mut self) {
        if let Some(frame) = self.frame() {
            drop(ManuallyDrop::into_inner(frame));
        }
        self.owner = std::ptr::null_mut();
        self.name = std::ptr::null();
        self.name_len = 0;
        self.data = std::ptr::null();
        self.data_len = 0;
    }

    /// The text at a JSON Pointer; it lives as long as the event's reference.
    fn field(&self, pointer: &str) -> Result<&str, Error> {
        let wrong = |why: &str| Error::new(ErrorKind::InvalidArgument, why);
        let frame = self.frame().ok_or_else(|| wrong("the event was released"))?;
        // SAFETY: `data` and `data_len` are as the poll left them, and the frame keeps them valid.
        let data = unsafe { std::slice::from_raw_parts(self.data, self.data_len) };
        let value = json::pointer(data, pointer).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is nothing at {pointer:?}"))
        })?;
        let raw = &data[value.clone()];
        let Some(inner) = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")) else {
            return std::str::from_utf8(raw).map_err(|_| wrong("the field is not UTF-8"));
        };
        if !inner.contains(&b'\\') {
            return std::str::from_utf8(inner).map_err(|_| wrong("the field is not UTF-8"));
        }
        let at = self.data.addr() - frame.bytes().as_ptr().addr() + value.start;
        let decode = || json::unescape(inner).map(std::borrow::Cow::into_owned);
        let decoded =
            frame.decoded(at, decode).ok_or_else(|| wrong("the field is no JSON string"))?;
        let text: *const str = &raw const *decoded;
        // SAFETY: the frame keeps its decoded texts where they are until it is freed, and the event
        // holds a reference to the frame.
        Ok(unsafe { &*text })
    }
}
