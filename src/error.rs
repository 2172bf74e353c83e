//! The one error type that leaves the engine, and its C statuses.

use std::fmt;

/// What kind of thing went wrong. Each kind is one status of the C ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or a command that makes no sense.
    InvalidArgument,
    /// A handle that was freed, or never was one.
    InvalidHandle,
    /// A key of the config; the text names it.
    InvalidConfig,
    /// The right call at the wrong time.
    State,
    /// The client has stopped.
    Closed,
    /// A signal handler ran in this thread.
    Interrupted,
    /// The shard is not one of this client; the text names the one that is meant.
    UnknownShard,
    /// Too many commands are in flight.
    QueueFull,
    /// A gateway payload over 4096 bytes.
    TooLarge,
    /// The caller's buffer is too small.
    BufferTooSmall,
    /// It did not finish in time.
    Timeout,
    /// Discord refused for good.
    Fatal,
    /// A handle from before `fork()`.
    Forked,
    /// Not in this build or on this platform.
    Unsupported,
    /// A file, a socket or a server failed.
    Io,
    /// There is no such thing.
    NotFound,
    /// The host cancelled it.
    Cancelled,
    /// A bug in the library, caught.
    Panic,
}

impl ErrorKind {
    /// The status of the C ABI.
    pub const fn status(self) -> i32 {
        match self {
            Self::InvalidArgument => -1,
            Self::InvalidHandle => -2,
            Self::InvalidConfig => -3,
            Self::State => -4,
            Self::Closed => -5,
            Self::Interrupted => -6,
            Self::UnknownShard => -7,
            Self::QueueFull => -8,
            Self::TooLarge => -9,
            Self::BufferTooSmall => -10,
            Self::Timeout => -11,
            Self::Fatal => -12,
            Self::Forked => -13,
            Self::Unsupported => -14,
            Self::Io => -15,
            Self::NotFound => -16,
            Self::Cancelled => -17,
            Self::Panic => -127,
        }
    }
}

/// Something that went wrong, said so that a person can act on it. Never holds the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
