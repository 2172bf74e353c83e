//! Promise 3: the identify limits hold, and no window passes unused.

use std::time::Duration;

use serde_json::json;
use shardwright_sim::{Options, SessionStarts, Simulator, Target};

use crate::host::{Host, config, simulator};

const WINDOW: Duration = Duration::from_millis(5_250);

/// Scenarios 21 and 22: 64 shards in 16 buckets take three windows, in order, and the simulator saw
/// no identify outside its window; after all of them lost their session, the same again.
#[tokio::test(start_paused = true)]
async fn sixty_four_shards_take_three_windows() {
    let simulator = simulator(Options {
        guilds: 64,
        recommended_shards: 64,
        max_concurrency: 16,
        ..Options::default()
    });
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    assert_windows(&simulator, Duration::ZERO, Duration::from_millis(100));
    for identify in simulator.look(|seen| seen.identifies.clone()) {
        let turn = identify.shard[0] / 16;
        assert!(identify.at < WINDOW * turn + Duration::from_secs(4), "{identify:?}");
    }

    let again = simulator.now();
    simulator.invalid_session(Target::All, false);
    host.until("a second round", |_| simulator.look(|seen| seen.counts.identified) == 128).await;
    host.until_ready().await;
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    assert!(simulator.now() - again < WINDOW * 3 + Duration::from_secs(7));
}

/// The same over real sockets, in real time; with a simulator that may be late itself, on a busy machine.
#[tokio::test]
async fn sixty_four_shards_take_three_windows_over_sockets() {
    let slack = Duration::from_secs(2);
    let simulator = Simulator::new(Options {
        timing_slack_ms: slack.as_millis() as u64,
        guilds: 64,
        recommended_shards: 64,
        max_concurrency: 16,
        ..Options::default()
    })
    .expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), json!({})));
    host.until_ready().await;
    let started = simulator.look(|seen| seen.identifies[0].at);
    assert_windows(&simulator, started, slack);
    server.shutdown().await;
}

/// No identify before its window: the first sixteen at once, the next sixteen 5.25 s later, …
fn assert_windows(simulator: &Simulator, started: Duration, slack: Duration) {
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    let identifies = simulator.look(|seen| seen.identifies.clone());
    assert_eq!(identifies.len(), 64);
    for identify in identifies {
        let turn = identify.shard[0] / 16;
        assert!(identify.at - started + slack >= WINDOW * turn, "{identify:?}");
    }
}

/// Scenario 27: with fewer session starts than shards, the reserve is kept, the host is told, and the
/// rest start when the limit resets.
#[tokio::test(start_paused = true)]
async fn a_small_budget_is_waited_out() {
    let simulator = simulator(Options {
        recommended_shards: 8,
        max_concurrency: 8,
        session_starts: SessionStarts {
            total: 100,
            remaining: Some(55),
            reset_after_ms: 3_600_000,
            ..SessionStarts::default()
        },
        ..Options::default()
    });
    let mut host = Host::start(&simulator, json!({"identify": {"budget_reserve": 50}}));
    host.during(Duration::from_secs(600)).await;
    assert_eq!(simulator.look(|seen| seen.counts.identified), 5);
    let told = host.states(shardwright::queue::NO_SHARD);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].1.contains("only 50 session starts are left"), "{told:?}");
    let status: serde_json::Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    assert_eq!(status["session_start_limit"]["remaining"], 50);
    host.until_ready().await;
    assert!(simulator.now() >= Duration::from_secs(3_600));
    assert_eq!(simulator.violations().len(), 0);
}
