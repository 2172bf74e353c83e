//! Races through the real ABI: eight threads poll a client, others command, look, wake, stop and free it.
//! `make tsan` runs this file under ThreadSanitizer; `tests/abi/abuse.c` has the same for C (`stress`).
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use shardwright::ffi::{
    SHARD_E_CLOSED, SHARD_E_INVALID_HANDLE, SHARD_E_QUEUE_FULL, SHARD_EVENT_REPLY, SHARD_OK,
    shard_client, shard_client_event_fd, shard_client_free, shard_client_healthy, shard_client_new,
    shard_client_poll_events, shard_client_send_command, shard_client_start,
    shard_client_status_json, shard_client_stop, shard_client_wait_ready, shard_client_wake,
    shard_event, shard_events_release,
};
use shardwright_sim::{Options, Simulator};

/// Threads that poll.
const POLLERS: usize = 8;

/// A handle, for all threads. That is what it is made for.
#[derive(Clone, Copy)]
struct Shared(*mut shard_client);

// SAFETY: the handle is a number that the library checks.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn handle(self) -> *mut shard_client {
        self.0
    }
}

fn is_end(status: i32) -> bool {
    matches!(status, SHARD_E_CLOSED | SHARD_E_INVALID_HANDLE)
}

/// Polls and releases until the end; the replies that came.
fn poll(client: Shared) -> u64 {
    let mut replies = 0;
    loop {
        let mut events: [shard_event; 16] = std::array::from_fn(|_| {
            // SAFETY: zeroed memory is an event that was released.
            unsafe { std::mem::zeroed() }
        });
        // SAFETY: the array has the room.
        let count =
            unsafe { shard_client_poll_events(client.handle(), events.as_mut_ptr(), 16, -1) };
        if count < 0 {
            assert!(is_end(count), "{count}");
            return replies;
        }
        let count = usize::try_from(count).expect("positive");
        replies += events[..count].iter().filter(|e| e.kind == SHARD_EVENT_REPLY).count() as u64;
        // SAFETY: they came from a poll.
        unsafe { shard_events_release(events.as_mut_ptr(), count) };
    }
}

/// Commands, looks and wakes until the end; the commands that were accepted.
fn work(client: Shared) -> u64 {
    let command = r#"{"type":"update_presence","status":"idle"}"#;
    let mut accepted = 0;
    loop {
        let json = command.as_ptr().cast::<c_char>();
        // SAFETY: pointer and length belong together.
        let status = unsafe {
            shard_client_send_command(client.handle(), json, command.len(), std::ptr::null_mut())
        };
        match status {
            SHARD_OK => accepted += 1,
            SHARD_E_QUEUE_FULL => {}
            _ if is_end(status) => return accepted,
            _ => panic!("{status}"),
        }
        let (mut text, mut len) = ([0; 64], 0_usize);
        // SAFETY: the buffer has the room.
        unsafe {
            shard_client_status_json(client.handle(), text.as_mut_ptr(), text.len(), &raw mut len)
        };
        shard_client_wake(client.handle());
        shard_client_event_fd(client.handle());
        shard_client_healthy(client.handle());
    }
}

/// A client that is ready.
fn ready(token: &str, api_url: &str) -> Shared {
    let config = format!(
        r#"{{"intents":["GUILDS"],"token":"{token}","api_url":"{api_url}","log":{{"to":"none"}}}}"#
    );
    // SAFETY: pointer and length belong together.
    let client = unsafe { shard_client_new(config.as_ptr().cast(), config.len()) };
    assert!(!client.is_null());
    assert_eq!(shard_client_start(client), SHARD_OK);
    assert_eq!(shard_client_wait_ready(client, -1), SHARD_OK);
    Shared(client)
}

/// Whoever stops or frees, when, and how: every poll and every other call ends with a status, and a client
/// that was not freed under the polls answers each command once.
#[test]
fn polls_stops_and_frees_race() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let simulator = Simulator::new(Options {
        guilds: 8,
        recommended_shards: 4,
        max_concurrency: 4,
        identify_window_ms: 0,
        events_per_second: 500.0,
        ..Options::default()
    })
    .expect("sensible options");
    let server = runtime.block_on(simulator.bind()).expect("a free port");
    for round in 0..8 {
        let frees = round % 2 == 1;
        let client = ready(simulator.options().token.as_str(), &server.api_url());
        let start = Arc::new(Barrier::new(POLLERS + 4));
        let (accepted, replied) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let last = Arc::new(AtomicI32::new(0));
        let mut threads = Vec::new();
        for index in 0..POLLERS + 4 {
            let (start, accepted, replied) = (start.clone(), accepted.clone(), replied.clone());
            let last = last.clone();
            threads.push(std::thread::spawn(move || {
                start.wait();
                if index < POLLERS {
                    replied.fetch_add(poll(client), Ordering::SeqCst);
                } else if index < POLLERS + 2 {
                    accepted.fetch_add(work(client), Ordering::SeqCst);
                } else {
                    let status = shard_client_stop(client.handle(), round / 2 % 3, -1);
                    assert!(status == SHARD_OK || is_end(status), "{status}");
                    last.store(status, Ordering::SeqCst);
                    if frees {
                        shard_client_free(client.handle());
                    }
                }
            }));
        }
        for thread in threads {
            thread.join().expect("no thread panics");
        }
        let (accepted, replied) = (accepted.load(Ordering::SeqCst), replied.load(Ordering::SeqCst));
        assert!(
            if frees { replied <= accepted } else { replied == accepted },
            "{replied} {accepted}"
        );
        shard_client_free(client.handle());
        assert_eq!(shard_client_healthy(client.handle()), SHARD_E_INVALID_HANDLE);
    }
    runtime.block_on(server.shutdown());
}
