//! Promises 1 and 3 over restarts: sessions are resumed by the next process, and the day's identifies
//! are remembered.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::NO_SHARD;
use shardwright::shard::StopMode;
use shardwright_sim::{
    ConnectPlan, Cut, Options, Ready, RestFaultKind, SessionStarts, Simulator, Target,
};

use crate::host::{Host, answer, rest_fault, simulator};
use crate::temp_file::TempDir;

/// Four busy shards that start together, in a simulation: however long a disk takes, what is written says how long
/// ago something was by the same clock that all the rest follows.
fn busy() -> Simulator {
    shardwright::simulation::begin(Duration::from_secs(1_800_000_000));
    let simulator = simulator(Options {
        guilds: 40,
        members_per_guild: 20,
        events_per_second: 200.0,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    });
    tokio::spawn(simulator.traffic());
    simulator
}

/// The config key for a file in this directory.
fn sessions(directory: &TempDir) -> Value {
    json!(format!("sqlite:{}/sessions", directory.path().display()))
}

/// IDENTIFYs that the simulator saw.
fn identifies(simulator: &Simulator) -> u64 {
    simulator.look(|seen| seen.counts.identifies)
}

/// What follows is the end of a process: nothing of the client runs any more.
async fn end(mut host: Host, mode: StopMode) -> Host {
    host.stop(mode).await;
    host.client.save_sessions();
    host
}

/// A deploy: the old process stops, the new one starts a while later; no identify, no event lost,
/// none twice, whatever the delivery.
#[tokio::test(start_paused = true)]
async fn a_deploy_costs_no_identify_and_no_event() {
    for delivery in ["at_most_once", "at_least_once"] {
        let directory = TempDir::new(&format!("deploy-{delivery}"));
        let simulator = busy();
        let mut numbers = Vec::new();
        for round in 0..4 {
            let keys = json!({"sessions": sessions(&directory), "delivery": delivery});
            let mut host = Host::start(&simulator, keys);
            host.until_ready().await;
            host.during(Duration::from_secs(10)).await;
            let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
            assert_eq!(status["guilds"], 40, "known without a READY");
            if round == 3 {
                simulator.set_traffic(0.0).expect("a rate");
                host.until_all_came(&simulator, 4).await;
            }
            let host = end(host, StopMode::Resumable).await;
            numbers.push(host.numbers);
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        for shard_id in 0..4 {
            let sent = simulator.look(|seen| seen.numbers_of_shard(shard_id));
            let came: Vec<u64> = numbers.iter().flat_map(|life| life[&shard_id].clone()).collect();
            assert!(came == sent, "{delivery}: {} came of {}", came.len(), sent.len());
        }
        assert_eq!(identifies(&simulator), 4, "{delivery}");
        assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    }
}

/// A start that needs nobody's answer is planned the moment it begins, and still knows that it was stopped
/// before that.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_stopped_as_it_starts_stops() {
    let directory = TempDir::new("at-once");
    let simulator = busy();
    let keys = json!({"sessions": sessions(&directory)});
    let mut host = Host::start(&simulator, keys.clone());
    host.until_ready().await;
    end(host, StopMode::Resumable).await;
    for _ in 0..16 {
        end(Host::start(&simulator, keys.clone()), StopMode::Abort).await;
    }
}

/// `close` ends the sessions, and with them what was kept.
#[tokio::test(start_paused = true)]
async fn a_bot_that_was_closed_identifies() {
    let directory = TempDir::new("closed");
    let simulator = busy();
    for round in 1..=2 {
        let mut host = Host::start(&simulator, json!({"sessions": sessions(&directory)}));
        host.until_ready().await;
        end(host, StopMode::Close).await;
        assert_eq!(identifies(&simulator), 4 * round);
    }
    assert_eq!(simulator.look(|seen| seen.counts.resumes), 0);
}

/// Scenario 40: sessions with another number of shards or other intents are left alone, and one that
/// Discord no longer knows costs a second, not the start.
#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_identified_anew() {
    let directory = TempDir::new("foreign");
    let simulator = busy();
    let start = |changes: Value| {
        let mut keys = changes;
        keys["sessions"] = sessions(&directory);
        Host::start(&simulator, keys)
    };
    let mut host = start(json!({}));
    host.until_ready().await;
    end(host, StopMode::Resumable).await;
    assert_eq!(identifies(&simulator), 4);

    for changes in [json!({"shards": 2}), json!({"intents": 1}), json!({"large_threshold": 100})] {
        let before = identifies(&simulator);
        let mut host = start(changes.clone());
        host.until_ready().await;
        end(host, StopMode::Close).await;
        assert!(identifies(&simulator) > before, "{changes}");
    }
    assert_eq!(simulator.look(|seen| seen.counts.resumes), 0);

    let mut host = start(json!({}));
    host.until_ready().await;
    end(host, StopMode::Resumable).await;
    let before = identifies(&simulator);
    simulator.expire(Target::Shard(1));
    let mut host = start(json!({}));
    host.until_ready().await;
    assert_eq!(identifies(&simulator), before + 1);
    end(host, StopMode::Close).await;
}

/// With `"auto"`, a number of shards whose sessions live is kept although Discord now recommends
/// another one, and resuming does not wait for REST.
#[tokio::test(start_paused = true)]
async fn a_restart_needs_neither_rest_nor_a_new_number_of_shards() {
    let directory = TempDir::new("rest");
    let simulator = busy();
    let keys = json!({"sessions": sessions(&directory)});
    let mut host = Host::start(&simulator, keys.clone());
    host.until_ready().await;
    end(host, StopMode::Resumable).await;

    let Value::Object(more) = json!({"recommended_shards": 6}) else { unreachable!() };
    simulator.configure(more).expect("an option");
    simulator.rest_fault(rest_fault("**", RestFaultKind::Drop(Cut::Reset))).expect("a path");
    let mut host = Host::start(&simulator, keys);
    host.until_ready().await;
    assert_eq!(identifies(&simulator), 4);
    assert_eq!(host.shard_status(3)["state"], "ready");
    end(host, StopMode::Close).await;
}

/// Scenario 28: a host that crashes fifty times before READY. Discord, or a cache before it, always
/// says that nothing was used; what was written down keeps the reserve, and says until when.
#[tokio::test(start_paused = true)]
async fn a_crash_loop_leaves_the_reserve() {
    let directory = TempDir::new("loop");
    let simulator = simulator(Options {
        recommended_shards: 4,
        max_concurrency: 4,
        session_starts: SessionStarts { total: 100, ..SessionStarts::default() },
        ..Options::default()
    });
    let info = json!({
        "url": "ws://discord.test", "shards": 4,
        "session_start_limit": {
            "total": 100, "remaining": 100, "reset_after": 3_600_000, "max_concurrency": 4,
        },
    });
    let lie = rest_fault("/gateway/bot", answer(200, &info.to_string()));
    simulator.rest_fault(lie).expect("a path");
    let never = ConnectPlan { ready: Ready::Never, ..ConnectPlan::default() };
    simulator.plan(None, never).expect("a plan");
    let mut refused = 0;
    for round in 0..50 {
        let keys = json!({"sessions": sessions(&directory), "identify": {"when_low": "refuse"}});
        let mut host = Host::start(&simulator, keys);
        let before = identifies(&simulator);
        host.until("an identify or its refusal", |host| {
            identifies(&simulator) == before + 4 || host.fatal().next().is_some()
        })
        .await;
        if let Some(fatal) = host.fatal().next() {
            refused += 1;
            assert_eq!(fatal.shard_id, NO_SHARD, "round {round}");
            let reason = fatal.data["reason"].as_str().expect("a reason").to_owned();
            assert!(reason.contains("only 50 session starts are left"), "{reason}");
            assert!(reason.contains("when the limit resets"), "{reason}");
        }
        host.stop(StopMode::Abort).await;
    }
    assert!(identifies(&simulator) <= 50, "{} identifies", identifies(&simulator));
    assert!(refused > 30, "{refused} starts were refused");
}

/// A file that somebody removes while it is in use: all is in a new one, at any time from the moment on that a write
/// would have been due, that of the stop included.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_removed_is_written_anew() {
    for waits in [false, true] {
        let directory = TempDir::new(&format!("removed-{waits}"));
        let simulator = busy();
        let keys = json!({"sessions": sessions(&directory), "shards": "auto"});
        let mut host = Host::start(&simulator, keys.clone());
        host.until_ready().await;
        simulator.set_traffic(0.0).expect("a rate");
        host.during(Duration::from_secs(5)).await;
        directory.clear();
        if waits {
            host.during(Duration::from_secs(10)).await;
        }
        end(host, StopMode::Resumable).await;
        let mut host = Host::start(&simulator, keys);
        host.until_ready().await;
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        assert_eq!((identifies(&simulator), &status["guilds"]), (4, &json!(40)));
        host.stop(StopMode::Abort).await;
    }
}

/// A file that cannot be written holds up nothing: the client says so and goes on.
#[tokio::test(start_paused = true)]
async fn a_broken_file_is_a_warning() {
    let directory = TempDir::new("broken");
    let path = directory.path().join("sessions");
    std::fs::write(&path, "this is no database, and was not one before").expect("written");
    let simulator = busy();
    let keys = json!({"sessions": format!("sqlite:{}", path.display())});
    let mut host = Host::start(&simulator, keys);
    host.until_ready().await;
    host.during(Duration::from_secs(5)).await;
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    let error = status["sessions_error"].as_str().expect("an error");
    assert!(error.contains("cannot be opened") && error.contains("not a database"), "{error}");
    end(host, StopMode::Resumable).await;
    assert_eq!(identifies(&simulator), 4);
}
