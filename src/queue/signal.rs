//! The readiness file descriptor: a flag that `poll(2)` can wait for.
//!
//! An eventfd on Linux, a pipe elsewhere. Raised or lowered, level-triggered, close-on-exec. This is
//! one of the two places in the engine that need `unsafe`; the other is `ffi`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A flag with a file descriptor that is readable while it is raised.
#[derive(Debug)]
pub struct Signal {
    reader: OwnedFd,
    /// The other end, where the two are not one.
    writer: Option<OwnedFd>,
}

impl Signal {
    /// A lowered flag.
    ///
    /// # Errors
    /// What the system says, most likely that the process has too many open files.
    pub fn new() -> io::Result<Self> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // SAFETY: no memory is passed.
            let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
            // SAFETY: `fd` is new and belongs to nobody else.
            Ok(Self { reader: unsafe { OwnedFd::from_raw_fd(fd) }, writer: None })
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let mut fds = [-1; 2];
            // SAFETY: `fds` has room for the two descriptors that pipe writes.
            check(unsafe { libc::pipe(fds.as_mut_ptr()) })?;
            // SAFETY: both are new and belong to nobody else.
            let [reader, writer] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            for fd in [&reader, &writer] {
                // SAFETY: no memory is passed, and the descriptor is open.
                check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
                // SAFETY: as above.
                check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
            }
            Ok(Self { reader, writer: Some(writer) })
        }
    }

    /// Raises the flag. The caller keeps count: raised twice, a pipe must be lowered twice.
    pub fn raise(&self) {
        let fd = self.writer.as_ref().unwrap_or(&self.reader).as_raw_fd();
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` holds the eight bytes. A full pipe or counter is readable already, so the
        // only error that can come changes nothing.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }

    /// Lowers the flag.
    pub fn lower(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: `count` has room for the eight bytes. Lowered twice, it says EAGAIN, which is fine.
        unsafe { libc::read(self.reader.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Waits until it is raised, at most so long (`None`: for ever).
    ///
    /// # Errors
    /// `Interrupted` when a signal handler ran in this thread.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        // Rounded up: a wait that ends early would spin through its last millisecond.
        let timeout_ms = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        let mut entry =
            libc::pollfd { fd: self.reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `entry` is one pollfd, and it outlives the call.
        check(unsafe { libc::poll(&raw mut entry, 1, timeout_ms) }).map(drop)
    }

    /// The descriptor, for a host's own loop.
    pub fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

/// The result of a C call that says -1 and sets `errno`.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_raised(signal: &Signal) -> bool {
        let mut entry = libc::pollfd { fd: signal.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `entry` is one pollfd.
        unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
    }

    #[test]
    fn it_is_level_triggered() {
        let signal = Signal::new().expect("a descriptor");
        assert!(!is_raised(&signal));
        signal.lower();
        signal.raise();
        assert!(is_raised(&signal) && is_raised(&signal));
        signal.wait(None).expect("raised");
        signal.lower();
        assert!(!is_raised(&signal));
        signal.wait(Some(Duration::from_micros(1))).expect("ends by its timeout");
    }

    #[test]
    fn it_is_closed_on_exec() {
        let signal = Signal::new().expect("a descriptor");
        // SAFETY: no memory is passed.
        let flags = unsafe { libc::fcntl(signal.fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}
