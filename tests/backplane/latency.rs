//! How soon what one process says is there in another: printed, not judged.

#![allow(clippy::print_stdout, reason = "what a run measured")]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::Options;

use crate::backend::{Backend, on_every_backplane};
use crate::host::simulator;
use crate::messages::subscribe;

on_every_backplane!(how_soon_a_message_is_there,);

const COUNT: usize = 200;

/// The wall clock, which all processes of this machine share.
pub(crate) fn now_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since_1970.as_micros()).expect("before the year 500000")
}

async fn how_soon_a_message_is_there(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut sender = backend.start(&simulator, json!({}));
    let mut receiver = backend.start(&simulator, json!({}));
    subscribe(&mut receiver, "time").await;
    let queue = Arc::clone(receiver.client.queue());
    let listening = tokio::task::spawn_blocking(move || {
        let mut took = Vec::new();
        while took.len() < COUNT {
            let polled = queue.poll(64, None, |event| {
                if event.kind == EventKind::Message {
                    let data: Value = serde_json::from_slice(event.data()).expect("JSON");
                    took.push(now_us() - data["data"].as_u64().expect("a time"));
                }
            });
            polled.expect("it goes on");
        }
        took
    });
    for _ in 0..COUNT {
        sender.ask(&json!({"type": "publish", "topic": "time", "data": now_us()})).await;
        sender.during(std::time::Duration::from_millis(fastrand_ms())).await;
    }
    let took = listening.await.expect("no assertion failed");
    let name = if matches!(backend, Backend::Sqlite(_)) { "SQLite" } else { "Redis" };
    report(&format!("{name}: a message is there"), took);
    for mut host in [sender, receiver] {
        host.stop(StopMode::Abort).await;
    }
}

/// Prints how long something took, in microseconds each time.
pub(crate) fn report(what: &str, mut took_us: Vec<u64>) {
    took_us.sort_unstable();
    let of = |share: usize| took_us[(took_us.len() - 1) * share / 100] as f64 / 1_000.0;
    println!("{what} after {} ms (median), {} ms (99 %), {} ms (all)", of(50), of(99), of(100));
}

/// Some time, so that no rhythm of the backplane is hit again and again.
fn fastrand_ms() -> u64 {
    now_us() % 23
}
