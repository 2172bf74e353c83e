//! Promises 2 and 8: a slow host costs neither sessions nor memory.

use std::time::Duration;

use serde_json::json;
use shardwright::queue::EventKind;
use shardwright_sim::{Cut, Options, Simulator, Target};
use tokio::time::sleep;

use crate::host::{Host, config, simulator};

/// Four busy shards.
fn busy() -> Options {
    Options {
        guilds: 40,
        members_per_guild: 20,
        events_per_second: 200.0,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    }
}

/// Scenarios 19 and 74: a host that stops polling for more than three heartbeat intervals keeps all
/// its sessions with `block`; heartbeats are on time, the queue stays in its bounds, and afterwards
/// everything comes, once and in order.
#[tokio::test(start_paused = true)]
async fn a_host_may_sleep_for_three_intervals() {
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let queue = json!({"max_events": 500, "max_bytes": 1 << 20});
    let mut host = Host::start(&simulator, json!({"queue": queue}));
    host.until_ready().await;
    host.during(Duration::from_secs(5)).await;

    sleep(Duration::from_secs(150)).await;
    let status: serde_json::Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    let in_queue = status["queue"]["events"].as_u64().expect("a number");
    assert!((500..500 + 4 * 256).contains(&in_queue), "{status}");
    assert!(status["queue"]["bytes"].as_u64().expect("a number") < (1 << 20) + 4 * (128 << 10));
    assert!(status["shards"].as_array().expect("shards").iter().all(|s| s["blocked"] == true));
    // Nothing is read meanwhile: what the queue does not take must not pile up elsewhere.
    let read = |host: &Host| (0..4).map(|id| host.shard_status(id)["events"].clone()).collect();
    let before: Vec<_> = read(&host);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(before, read(&host));

    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 4).await;
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 4);
    assert_eq!(simulator.look(|seen| seen.counts.resumes), 0);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 78: sockets that are cut while the host sleeps are replaced while it sleeps: HELLO is read,
/// heartbeats are on time, and sessions are resumed once, not again and again until they are lost.
#[tokio::test(start_paused = true)]
async fn sockets_may_be_cut_while_the_host_sleeps() {
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({"queue": {"max_events": 500}}));
    host.until_ready().await;
    sleep(Duration::from_secs(30)).await;
    simulator.drop_sockets(Target::All, Cut::Reset);
    sleep(Duration::from_secs(300)).await;
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 4).await;
    let counts = simulator.look(|seen| seen.counts);
    assert_eq!((counts.identifies, counts.resumes), (4, 4));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// A host that sleeps, over real sockets, with an interval of a second.
#[tokio::test]
async fn a_host_may_sleep_for_three_intervals_over_sockets() {
    let options = Options {
        heartbeat_interval_ms: 1_000,
        heartbeat_grace_ms: 900,
        heartbeat_late_ms: 500,
        events_per_second: 2_000.0,
        ..busy()
    };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let changes = json!({"queue": {"max_events": 200}});
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
    host.until_ready().await;
    // Not a wait for something to happen: the point is that nothing does.
    sleep(Duration::from_millis(4_500)).await;
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 4).await;
    assert_eq!(simulator.look(|seen| (seen.counts.identifies, seen.counts.resumes)), (4, 0));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    server.shutdown().await;
}

/// Scenario 74: with `drop_oldest` nothing waits; the newest events survive and the rest are counted.
#[tokio::test(start_paused = true)]
async fn drop_oldest_keeps_the_newest_and_counts() {
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let queue = json!({"max_events": 300, "when_full": "drop_oldest"});
    let mut host = Host::start(&simulator, json!({"queue": queue}));
    host.until_ready().await;
    let before = host.told.iter().filter(|told| told.kind == EventKind::Dispatch).count() as u64;
    sleep(Duration::from_secs(150)).await;
    simulator.set_traffic(0.0).expect("a rate");
    host.until_all_came(&simulator, 4).await;
    let dropped: u64 = host
        .told
        .iter()
        .filter(|told| told.kind == EventKind::Overflow)
        .map(|told| u64::try_from(told.status).expect("a number of events"))
        .sum();
    let got = host.told.iter().filter(|told| told.kind == EventKind::Dispatch).count() as u64;
    let sent = simulator.look(|seen| seen.counts.dispatches);
    assert!(got - before <= 310, "{got}");
    assert_eq!(got + dropped, sent, "every event came or was counted");
    let metric = format!("shardwright_queue_dropped_total {dropped}\n");
    let metrics = host.client.metrics_text();
    assert!(metrics.contains(&metric), "{metric}{metrics}");
    assert_eq!(simulator.look(|seen| seen.counts.resumes), 0);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 31: a READY of 17 MB is taken, and its memory is given back.
#[tokio::test(start_paused = true)]
async fn a_huge_ready_is_taken_and_forgotten() {
    for compression in ["zstd", "zlib", "none"] {
        let simulator = simulator(Options { ready_padding_bytes: 17 << 20, ..Options::default() });
        let mut host = Host::start(&simulator, json!({"compression": compression}));
        host.until_ready().await;
        let shard = host.shard_status(0);
        assert!(shard["bytes_inflated"].as_u64().expect("a number") > 17 << 20);
        let status: serde_json::Value =
            serde_json::from_str(&host.client.status_json()).expect("JSON");
        assert!(status["queue"]["bytes"].as_u64().expect("a number") < 1 << 20, "{status}");
    }
}
