//! Status codes. They are never renumbered; new ones are added at the end.

use crate::error::ErrorKind;

/// 0 is success, negative is an error (SHARD_E_…).
pub type shard_status = i32;

/// Success.
pub const SHARD_OK: i32 = 0;
/// NULL, a bad length, not UTF-8, bad JSON, an unknown command type.
pub const SHARD_E_INVALID_ARG: i32 = -1;
/// A handle that was freed, never created, or is not one of ours.
pub const SHARD_E_INVALID_HANDLE: i32 = -2;
/// A key of the configuration is wrong; shard_last_error() names it.
pub const SHARD_E_INVALID_CONFIG: i32 = -3;
/// The wrong order: started twice, not started, called from a log callback.
pub const SHARD_E_STATE: i32 = -4;
/// Stopped, and the queue is drained: the end of the stream.
pub const SHARD_E_CLOSED: i32 = -5;
/// A signal handler ran in this thread; call again.
pub const SHARD_E_INTERRUPTED: i32 = -6;
/// No such shard in this client; shard_last_error() says whose it is.
pub const SHARD_E_UNKNOWN_SHARD: i32 = -7;
/// Too many commands whose reply was not polled; poll, then try again.
pub const SHARD_E_QUEUE_FULL: i32 = -8;
/// A gateway payload over 4096 bytes.
pub const SHARD_E_TOO_LARGE: i32 = -9;
/// *len holds the size that is needed.
pub const SHARD_E_BUFFER_TOO_SMALL: i32 = -10;
/// It did not finish in time; it goes on.
pub const SHARD_E_TIMEOUT: i32 = -11;
/// Discord refused for good: a bad token, bad intents.
pub const SHARD_E_FATAL: i32 = -12;
/// A handle from before fork(); make a new client in this process.
pub const SHARD_E_FORKED: i32 = -13;
/// Not on this platform, not in this build, or without a key of the configuration that it needs.
pub const SHARD_E_UNSUPPORTED: i32 = -14;
/// A file, a socket or a server failed.
pub const SHARD_E_IO: i32 = -15;
/// No such field (shard_event_get), or no such command (shard_client_cancel).
pub const SHARD_E_NOT_FOUND: i32 = -16;
/// The host cancelled the command; only in a REPLY.
pub const SHARD_E_CANCELLED: i32 = -17;
/// A bug in the library, caught at the boundary.
pub const SHARD_E_PANIC: i32 = -127;

/// Every status with its name.
pub(super) const NAMES: [(i32, &std::ffi::CStr); 19] = [
    (SHARD_OK, c"SHARD_OK"),
    (SHARD_E_INVALID_ARG, c"SHARD_E_INVALID_ARG"),
    (SHARD_E_INVALID_HANDLE, c"SHARD_E_INVALID_HANDLE"),
    (SHARD_E_INVALID_CONFIG, c"SHARD_E_INVALID_CONFIG"),
    (SHARD_E_STATE, c"SHARD_E_STATE"),
    (SHARD_E_CLOSED, c"SHARD_E_CLOSED"),
    (SHARD_E_INTERRUPTED, c"SHARD_E_INTERRUPTED"),
    (SHARD_E_UNKNOWN_SHARD, c"SHARD_E_UNKNOWN_SHARD"),
    (SHARD_E_QUEUE_FULL, c"SHARD_E_QUEUE_FULL"),
    (SHARD_E_TOO_LARGE, c"SHARD_E_TOO_LARGE"),
    (SHARD_E_BUFFER_TOO_SMALL, c"SHARD_E_BUFFER_TOO_SMALL"),
    (SHARD_E_TIMEOUT, c"SHARD_E_TIMEOUT"),
    (SHARD_E_FATAL, c"SHARD_E_FATAL"),
    (SHARD_E_FORKED, c"SHARD_E_FORKED"),
    (SHARD_E_UNSUPPORTED, c"SHARD_E_UNSUPPORTED"),
    (SHARD_E_IO, c"SHARD_E_IO"),
    (SHARD_E_NOT_FOUND, c"SHARD_E_NOT_FOUND"),
    (SHARD_E_CANCELLED, c"SHARD_E_CANCELLED"),
    (SHARD_E_PANIC, c"SHARD_E_PANIC"),
];

// The engine's kinds and the ABI's codes are one list.
const _: () = {
    assert!(ErrorKind::InvalidArgument.status() == SHARD_E_INVALID_ARG);
    assert!(ErrorKind::InvalidHandle.status() == SHARD_E_INVALID_HANDLE);
    assert!(ErrorKind::InvalidConfig.status() == SHARD_E_INVALID_CONFIG);
    assert!(ErrorKind::State.status() == SHARD_E_STATE);
    assert!(ErrorKind::Closed.status() == SHARD_E_CLOSED);
    assert!(ErrorKind::Interrupted.status() == SHARD_E_INTERRUPTED);
    assert!(ErrorKind::UnknownShard.status() == SHARD_E_UNKNOWN_SHARD);
    assert!(ErrorKind::QueueFull.status() == SHARD_E_QUEUE_FULL);
    assert!(ErrorKind::TooLarge.status() == SHARD_E_TOO_LARGE);
    assert!(ErrorKind::BufferTooSmall.status() == SHARD_E_BUFFER_TOO_SMALL);
    assert!(ErrorKind::Timeout.status() == SHARD_E_TIMEOUT);
    assert!(ErrorKind::Fatal.status() == SHARD_E_FATAL);
    assert!(ErrorKind::Forked.status() == SHARD_E_FORKED);
    assert!(ErrorKind::Unsupported.status() == SHARD_E_UNSUPPORTED);
    assert!(ErrorKind::Io.status() == SHARD_E_IO);
    assert!(ErrorKind::NotFound.status() == SHARD_E_NOT_FOUND);
    assert!(ErrorKind::Cancelled.status() == SHARD_E_CANCELLED);
    assert!(ErrorKind::Panic.status() == SHARD_E_PANIC);
};
