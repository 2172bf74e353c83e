//! The threads of a client.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use tokio::runtime::{Builder, Runtime};
use tracing::Dispatch;
use tracing::dispatcher::DefaultGuard;

use super::guard;
use crate::error::{Error, ErrorKind};

/// Signals that a fault raises in the thread that caused it; blocking them would change what a crash
/// of the host looks like.
const FAULTS: [i32; 7] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

thread_local! {
    /// Keeps the client's log in place for as long as the thread lives.
    static LOG: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// A runtime for one client: named threads, no signals, its own log.
pub(super) fn build(threads: usize, log: Dispatch) -> Result<Runtime, Error> {
    // New threads inherit the mask. It is the engine's threads that write to sockets, and a write to
    // a dead one raises SIGPIPE, which would end a host that does not expect it.
    let blocked = BlockedSignals::new();
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name_fn(|| {
            static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // The kernel shows 15 bytes of it.
            format!("shard-io-{}", number % 1_000)
        })
        .enable_io()
        .enable_time()
        .on_thread_start(move || {
            guard::enter_thread();
            std::mem::forget(BlockedSignals::new());
            LOG.set(Some(tracing::dispatcher::set_default(&log)));
        })
        .on_thread_stop(|| LOG.set(None))
        .build();
    drop(blocked);
    runtime.map_err(|error| Error::new(ErrorKind::Io, format!("cannot start threads: {error}")))
}

/// All signals but [`FAULTS`] are blocked in this thread; the old mask comes back on drop.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets have room for what is written; `all` is filled before it is used, and
        // `before` by `pthread_sigmask`, which fails only for an unknown `how`.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            for signal in FAULTS {
                libc::sigdelset(all.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was in place before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::{LogConfig, LogLevel, LogSink, QueueConfig};
    use crate::queue::EventQueue;

    /// Scenario 77: what the threads of one client log goes to that client.
    #[test]
    fn each_client_has_its_own_log() {
        let clients = ["one", "other"].map(|name| {
            let queue = Arc::new(EventQueue::new(&QueueConfig::default()).expect("a descriptor"));
            let config =
                LogConfig { to: LogSink::Events, level: LogLevel::Info, ..LogConfig::default() };
            let log = crate::log::subscriber(config, &queue, Box::new(|_, _, _| ()));
            (name, queue, build(2, log).expect("threads"))
        });
        for (name, _, runtime) in &clients {
            let name = *name;
            let task = runtime.spawn(async move { tracing::info!("{name}") });
            runtime.block_on(task).expect("no panic");
        }
        for (name, queue, _) in clients {
            let mut lines = Vec::new();
            let take = |event: crate::queue::Event| lines.push(event.data().to_vec());
            queue.poll(9, Some(Duration::ZERO), take).expect("open");
            assert_eq!(lines, [name.as_bytes()]);
        }
    }
}
