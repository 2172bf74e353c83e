//! Restart and repair: `restart_shard`, and the session that is half dead.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::shard::StopMode;
use shardwright_sim::{ConnectPlan, Options, Simulator};
use tokio::time::sleep;

use crate::host::{Host, simulator};

/// Four shards that start together, with traffic.
async fn ready() -> (Simulator, Host) {
    let simulator = simulator(Options {
        guilds: 40,
        events_per_second: 20.0,
        recommended_shards: 4,
        max_concurrency: 4,
        resume_window_ms: 3_600_000,
        ..Options::default()
    });
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    (simulator, host)
}

fn restart(shard: u32, resume: bool) -> Value {
    json!({"type": "restart_shard", "shard": shard, "resume": resume})
}

/// With its session a restart costs no session start, loses no event and touches no other shard;
/// without, it costs one.
#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_session_or_not() {
    let (simulator, mut host) = ready().await;
    for round in 1..=3 {
        assert_eq!(host.ask(&restart(2, true)).await, (0, Value::Null));
        host.until("a resume", |_| simulator.look(|seen| seen.counts.resumed) == round).await;
        host.until_ready().await;
        host.during(Duration::from_secs(5)).await;
    }
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 4);
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 4).await;

    assert_eq!(host.ask(&restart(2, false)).await, (0, Value::Null));
    host.until("a new session", |_| simulator.look(|seen| seen.counts.identified) == 5).await;
    host.until_ready().await;
    assert_eq!(simulator.look(|seen| (seen.counts.resumed, seen.counts.connections)), (3, 8));
    for shard in [0, 1, 3] {
        assert_eq!(host.states(shard).len(), 4, "{:?}", host.states(shard));
    }
    let status = host.shard_status(2);
    assert_eq!((&status["reconnects"], &status["identifies"]), (&json!(4), &json!(2)));
    assert_eq!(status["reconnects_by_cause"], json!({"restart": 4}));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// The reply says that it is on its way, not how it ends: it comes at once when nothing can be
/// reached, and there is one for each command.
#[tokio::test(start_paused = true)]
async fn the_reply_does_not_wait_for_the_shard() {
    let (simulator, mut host) = ready().await;
    simulator.plan(None, ConnectPlan::refuse(502, "")).expect("a plan");
    let asked_at = simulator.now();
    let ids: Vec<u64> = (0..10).map(|_| host.send(&restart(1, true))).collect();
    host.until("the replies", |host| ids.iter().all(|id| host.reply(*id).is_some())).await;
    assert!(simulator.now() - asked_at < Duration::from_secs(1));
    host.during(Duration::from_secs(60)).await;
    for id in ids {
        let replies = host.told.iter().filter(|told| told.command_id == id).count();
        assert_eq!((replies, host.reply(id)), (1, Some((0, Value::Null))));
    }
    let (state, _) = host.states(1).pop().expect("it has states");
    assert!(matches!(state.as_str(), "disconnected" | "connecting"), "{state}");
}

/// A shard that waits for its next attempt, a minute away at worst, makes it at once; a command that
/// waited for it goes out.
#[tokio::test(start_paused = true)]
async fn a_restart_wakes_a_shard_in_backoff() {
    let (simulator, mut host) = ready().await;
    simulator.plan(None, ConnectPlan::refuse(502, "")).expect("a plan");
    host.ask(&restart(3, true)).await;
    let guild = simulator.guilds_of_shard(3, 4)[0].0;
    let waits = host.send(&json!({"type": "request_channel_info", "guild_id": guild}));
    host.during(Duration::from_secs(300)).await;
    // A wait that is long enough to tell the difference.
    loop {
        let attempts = host.states(3).len();
        host.until("another attempt", |host| host.states(3).len() > attempts + 1).await;
        let mark = host.states(3).len();
        host.during(Duration::from_secs(10)).await;
        if host.states(3).len() == mark && host.shard_status(3)["state"] == "disconnected" {
            break;
        }
    }
    simulator.clear_faults();
    let asked_at = simulator.now();
    host.ask(&restart(3, true)).await;
    host.until_ready().await;
    assert!(simulator.now() - asked_at < Duration::from_secs(1), "{:?}", host.states(3));
    host.until("the command", |host| host.reply(waits).is_some()).await;
    assert_eq!(host.reply(waits), Some((0, Value::Null)));
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 4);
}

/// What cannot be restarted is said at once.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_restarted_is_refused() {
    let (_simulator, mut host) = ready().await;
    let error = |host: &Host, command: Value| {
        host.client.send_command(&command.to_string()).expect_err("refused").kind()
    };
    assert_eq!(error(&host, restart(4, true)), ErrorKind::UnknownShard);
    for command in [
        json!({"type": "restart_shard"}),
        json!({"type": "restart_shard", "shard": -1}),
        json!({"type": "restart_shard", "shard": 0, "resume": "yes"}),
        json!({"type": "restart_shard", "shard": 0, "session": true}),
    ] {
        assert_eq!(error(&host, command), ErrorKind::InvalidArgument);
    }
    host.stop(StopMode::Resumable).await;
    assert_eq!(error(&host, restart(0, true)), ErrorKind::Closed);
}

/// Scenario 72, the whole client: shards that talk for hours and then, without a word of Discord, do
/// not, are resumed within a quarter of an hour, and lose nothing by it.
#[tokio::test(start_paused = true)]
async fn silent_shards_are_resumed() {
    let simulator = simulator(Options {
        guilds: 40,
        events_per_second: 4.0,
        recommended_shards: 2,
        max_concurrency: 2,
        ..Options::default()
    });
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    for _ in 0..3 * 360 {
        sleep(Duration::from_secs(10)).await;
        host.poll();
    }
    assert_eq!(simulator.look(|seen| seen.counts.connections), 2);
    simulator.set_traffic(0.0).expect("a rate");
    let silent = |host: &Host| (0..2).all(|shard| host.shard_status(shard)["silent"] == true);
    host.until("a warning", silent).await;
    assert!(host.client.metrics_text().contains("shardwright_silent{shard=\"1\"} 1"));
    host.until("resumes", |_| simulator.look(|seen| seen.counts.resumed) == 2).await;
    host.until_ready().await;
    for shard in 0..2 {
        let states = host.states(shard);
        let (_, reason) = &states[states.len() - 4];
        assert!(reason.starts_with("no event for "), "{states:?}");
        assert_eq!(host.shard_status(shard)["reconnects_by_cause"], json!({"silent": 1}));
    }
    simulator.set_traffic(4.0).expect("a rate");
    host.during(Duration::from_secs(600)).await;
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 2).await;
    assert_eq!(simulator.look(|seen| (seen.counts.connections, seen.counts.identifies)), (4, 2));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}
