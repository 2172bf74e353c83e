//! Every order in which threads can meet in the queue, at its readiness flag and in the table of handles:
//! loom runs each model below once for each of them (`make loom`, or one model by a part of its name).
//!
//! What is modelled is the code that is shipped: `src/queue/{event,event_queue,frame,lease,progress,room}.rs` and
//! `src/ffi/table.rs` are compiled here with loom's locks and atomics (`sync.rs`). Three things are
//! stand-ins: the eventfd (`queue/signal.rs`: what the kernel promises of it), the bounds of the
//! configuration (small ones, so that few steps reach them), and `Span`. `tokio::sync::Notify` is the real
//! one; each of its calls is one step to loom,
//! for it is tokio's own loom tests that look inside. What loom does not
//! find is a model that ends: a thread that nobody wakes is a deadlock, which it reports.
//!
//! Each thread may be preempted `PREEMPTIONS` times where it did not have to wait, the usual bound: bugs
//! that need more are rare, and the number of orders grows with its power.

#![allow(dead_code)]

mod ffi;
mod queue;
mod sync;

/// As in the engine, with small bounds.
mod config {
    pub(crate) const MAX_NOTICES: usize = 2;
    pub(crate) const MAX_MAIL: usize = 2;
    pub(crate) const MAX_MAIL_BYTES: usize = 1 << 20;
    pub(crate) const MAX_COMMANDS_IN_FLIGHT: usize = 2;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum WhenFull {
        Block,
        DropOldest,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Delivery {
        AtMostOnce,
        AtLeastOnce,
    }

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct QueueConfig {
        pub(crate) max_events: usize,
        pub(crate) max_bytes: usize,
        pub(crate) when_full: WhenFull,
    }
}

/// What of the protocol an event needs.
mod protocol {
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Span(usize, usize);

    impl Span {
        pub(crate) fn of(self, text: &[u8]) -> &[u8] {
            &text[self.0..self.1]
        }
    }

    impl From<std::ops::Range<usize>> for Span {
        fn from(range: std::ops::Range<usize>) -> Self {
            Self(range.start, range.end)
        }
    }
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use loom::future::block_on;
use loom::thread;

use config::{QueueConfig, WhenFull};
use ffi::Handles;
use queue::{Event, EventKind, EventQueue, PollError};

/// See above.
const PREEMPTIONS: usize = 3;

fn new_queue(max_events: usize, when_full: WhenFull) -> EventQueue {
    EventQueue::new(&QueueConfig { max_events, max_bytes: 1 << 20, when_full }).expect("a flag")
}

fn event(seq: u64) -> Event {
    let mut event = Event::new(EventKind::Dispatch, "", b"");
    event.seq = seq;
    event
}

/// Polls to the end of the stream; what came.
fn drain(queue: &EventQueue) -> Vec<u64> {
    let mut taken = Vec::new();
    loop {
        match queue.poll(2, None, |event| taken.push(event.seq)) {
            Ok(_) => {}
            Err(PollError::Closed) => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A shard pushes and the client ends, while two threads poll: every event comes once, each thread sees
/// them in order, and both see the end.
fn every_event_comes_once() {
    let queue = Arc::new(new_queue(10, WhenFull::Block));
    let other = Arc::clone(&queue);
    let poller = thread::spawn(move || drain(&other));
    let other = Arc::clone(&queue);
    let shard = thread::spawn(move || {
        assert!(other.push(&mut vec![event(1)]));
        assert!(other.push(&mut vec![event(2), event(3)]));
        other.close();
    });
    let mut all = drain(&queue);
    let theirs = poller.join().unwrap();
    assert!(all.is_sorted() && theirs.is_sorted());
    all.extend(theirs);
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
    shard.join().unwrap();
}

/// A host waits for the descriptor in a loop of its own and then takes what is there without waiting: it
/// misses nothing, and sees the end.
fn the_descriptor_tells_of_everything() {
    let queue = Arc::new(new_queue(10, WhenFull::Block));
    let other = Arc::clone(&queue);
    let shard = thread::spawn(move || {
        assert!(other.push(&mut vec![event(1)]));
        other.push_own(event(2));
        other.close();
    });
    let mut taken = Vec::new();
    loop {
        assert_eq!(queue.fd(), 0);
        match queue.poll(1, Some(Duration::ZERO), |event| taken.push(event.seq)) {
            Ok(count) => assert_eq!(count, 1, "the descriptor was readable for nothing"),
            Err(_) => break,
        }
    }
    assert_eq!(taken, [1, 2]);
    // The end stays readable.
    assert_eq!(queue.fd(), 0);
    shard.join().unwrap();
}

/// One wake ends one poll with nothing, or comes with an event; a second poll does not end by it.
fn a_wake_ends_one_poll() {
    let queue = Arc::new(new_queue(10, WhenFull::Block));
    let other = Arc::clone(&queue);
    let waker = thread::spawn(move || other.wake());
    let other = Arc::clone(&queue);
    let poller = thread::spawn(move || other.poll(1, None, |_| {}).expect("open"));
    // Without the wake it would wait for ever.
    assert_eq!(poller.join().unwrap(), 0);
    waker.join().unwrap();
    let other = Arc::clone(&queue);
    let shard = thread::spawn(move || assert!(other.push(&mut vec![event(1)])));
    assert_eq!(queue.poll(1, None, |_| {}), Ok(1));
    shard.join().unwrap();
}

/// The queue is full and a shard waits for room: every poll that makes some wakes it, and every release.
fn room_wakes_those_who_wait() {
    let queue = Arc::new(new_queue(1, WhenFull::Block));
    let other = Arc::clone(&queue);
    let shard = thread::spawn(move || {
        for seq in 1..=3 {
            let mut batch = vec![event(seq)];
            block_on(async {
                while !other.push(&mut batch) {
                    other.wait_for_room().await;
                }
            });
        }
        other.close();
    });
    assert_eq!(drain(&queue), [1, 2, 3]);
    shard.join().unwrap();
}

/// The same where it is the bytes that are short: two threads release what they polled.
fn releases_wake_those_who_wait() {
    let config = QueueConfig { max_events: 10, max_bytes: 1, when_full: WhenFull::Block };
    let queue = Arc::new(EventQueue::new(&config).expect("a flag"));
    assert!(queue.push(&mut vec![event(1)]));
    queue.push_own(event(2));
    let mut held = Vec::new();
    queue.poll(2, None, |event| held.push(event)).expect("open");
    let (first, second) = (held.remove(0), held.remove(0));
    let releases = [thread::spawn(move || drop(first)), thread::spawn(move || drop(second))];
    let mut batch = vec![event(3)];
    block_on(async {
        while !queue.push(&mut batch) {
            queue.wait_for_room().await;
        }
    });
    releases.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(queue.len(), 1);
}

/// Events are dropped while they are polled: each one comes or is counted.
fn what_is_dropped_is_counted() {
    let queue = Arc::new(new_queue(1, WhenFull::DropOldest));
    let other = Arc::clone(&queue);
    let shard = thread::spawn(move || {
        (1..=3).for_each(|seq| assert!(other.push(&mut vec![event(seq)])));
        other.close();
    });
    let (mut came, mut dropped) = (Vec::new(), 0);
    while let Ok(_) | Err(PollError::Interrupted) = queue.poll(1, None, |event| match event.kind {
        EventKind::Overflow => dropped += event.status,
        _ => came.push(event.seq),
    }) {}
    shard.join().unwrap();
    assert!(came.is_sorted() && came.last() == Some(&3), "{came:?}");
    assert_eq!(came.len() + dropped as usize, 3);
}

/// A client is freed twice while a thread sits in its poll: one of the two frees it, the poll ends, and
/// the handle is stale.
fn a_free_ends_the_poll() {
    let handles = Arc::new(Handles::new());
    let handle = handles.insert(new_queue(10, WhenFull::Block));
    let others = Arc::clone(&handles);
    let poller =
        thread::spawn(move || others.get(handle).is_none_or(|queue| drain(&queue).is_empty()));
    let others = Arc::clone(&handles);
    let free = thread::spawn(move || others.free(handle));
    let freed = handles.free(handle);
    assert!(freed != free.join().unwrap(), "freed once");
    assert!(poller.join().unwrap());
    assert!(handles.get(handle).is_none());
}

/// A place is used again at once: the old handle finds nobody, and never the new tenant.
fn a_stale_handle_finds_nobody() {
    let handles = Arc::new(Handles::new());
    let old = handles.insert(new_queue(1, WhenFull::Block));
    let others = Arc::clone(&handles);
    let replace = thread::spawn(move || {
        (others.free(old), others.insert(new_queue(2, WhenFull::DropOldest)))
    });
    let others = Arc::clone(&handles);
    let look = thread::spawn(move || {
        // Only the old queue refuses a second event.
        if let Some(queue) = others.get(old) {
            queue.push_own(event(1));
            assert!(!queue.push(&mut vec![event(2)]), "somebody else's queue");
        }
        // Nor does it free the new one.
        others.free(old)
    });
    let (freed, new) = replace.join().unwrap();
    assert!(freed != look.join().unwrap(), "freed once");
    assert!(new != old);
    assert!(handles.get(old).is_none() && handles.get(new).is_some());
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let models: [(&str, fn()); 8] = [
        ("every_event_comes_once", every_event_comes_once),
        ("the_descriptor_tells_of_everything", the_descriptor_tells_of_everything),
        ("a_wake_ends_one_poll", a_wake_ends_one_poll),
        ("room_wakes_those_who_wait", room_wakes_those_who_wait),
        ("releases_wake_those_who_wait", releases_wake_those_who_wait),
        ("what_is_dropped_is_counted", what_is_dropped_is_counted),
        ("a_free_ends_the_poll", a_free_ends_the_poll),
        ("a_stale_handle_finds_nobody", a_stale_handle_finds_nobody),
    ];
    for (name, model) in models.iter().filter(|(name, _)| name.contains(&filter)) {
        let began = Instant::now();
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS);
        let model = *model;
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            model();
        });
        let count = count.load(std::sync::atomic::Ordering::Relaxed);
        println!("{name}: {count} orders, {:.1} s", began.elapsed().as_secs_f64());
    }
}
