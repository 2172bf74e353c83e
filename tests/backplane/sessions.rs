//! `"sessions": "backplane"`: any process resumes the shards of any other.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright_sim::{Options, Simulator};

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, simulator};
use crate::redis_server::RedisServer;

on_every_backplane!(
    the_next_process_goes_on_where_the_last_one_stopped,
    shards_are_shared_out_anew_without_an_identify,
    a_start_waits_for_what_is_kept,
);

/// Four busy shards that start together.
fn busy(options: Options) -> Simulator {
    let simulator = simulator(Options {
        guilds: 40,
        members_per_guild: 20,
        events_per_second: 200.0,
        recommended_shards: 4,
        max_concurrency: 4,
        ..options
    });
    tokio::spawn(simulator.traffic());
    simulator
}

/// What follows is the end of a process: nothing of the client runs any more.
async fn end(mut host: Host, mode: StopMode) -> Host {
    host.stop(mode).await;
    host.client.save_sessions();
    host
}

fn identifies(simulator: &Simulator) -> u64 {
    simulator.look(|seen| seen.counts.identifies)
}

/// What was stored as the client stopped is not stored again as it is freed: the server may be gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_not_stored_again() {
    let mut server = RedisServer::start(&[]);
    let simulator = busy(Options::default());
    let keys = json!({"backplane": server.url(), "sessions": "backplane"});
    let mut host = Host::start(&simulator, keys);
    host.until_ready().await;
    simulator.set_traffic(0.0).expect("a rate");
    host.during(Duration::from_secs(1)).await;
    host.stop(StopMode::Resumable).await;
    server.kill();
    host.client.save_sessions();
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    assert_eq!(status["sessions_error"], Value::Null);
}

async fn the_next_process_goes_on_where_the_last_one_stopped(backend: Backend) {
    for delivery in ["at_most_once", "at_least_once"] {
        // Another bot for each, so that nothing is left of the one before.
        let id = if delivery == "at_most_once" { "MQ" } else { "Mg" };
        let token = format!("MTEwMDAwMDAwMDAwMDAwMDAw{id}.x.y");
        let simulator = busy(Options { token: token.clone(), ..Options::default() });
        let mut numbers = Vec::new();
        for round in 0..3 {
            let keys = json!({"sessions": "backplane", "delivery": delivery, "token": token});
            let mut host = backend.start(&simulator, keys);
            host.until_ready().await;
            host.during(Duration::from_secs(1)).await;
            let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
            assert_eq!((&status["guilds"], &status["sessions_error"]), (&json!(40), &Value::Null));
            if round == 2 {
                simulator.set_traffic(0.0).expect("a rate");
                host.until_all_came(&simulator, 4).await;
            }
            numbers.push(end(host, StopMode::Resumable).await.numbers);
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

/// One process with all shards is followed by two with half of them each, which know nothing but the backplane.
async fn shards_are_shared_out_anew_without_an_identify(backend: Backend) {
    let simulator = busy(Options::default());
    let keys = json!({"sessions": "backplane", "shards": 4});
    let mut host = backend.start(&simulator, keys);
    host.until_ready().await;
    let all = |host: &Host| {
        let kind = shardwright::queue::EventKind::GuildsComplete;
        host.told.iter().filter(|told| told.kind == kind).count() == 4
    };
    host.until("all guilds", all).await;
    host.during(Duration::from_secs(2)).await;
    // As a killed process leaves it.
    host.stop(StopMode::Abort).await;
    let halves = [[0, 1], [2, 3]].map(|ids| json!({"total": 4, "ids": ids}));
    let mut hosts: Vec<Host> = halves
        .into_iter()
        .map(|shards| backend.start(&simulator, json!({"sessions": "backplane", "shards": shards})))
        .collect();
    for host in &mut hosts {
        host.until_ready().await;
    }
    assert_eq!(identifies(&simulator), 4);
    assert_eq!(simulator.look(|seen| seen.counts.resumed), 4);
    let guilds = hosts.iter().map(|host| {
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        status["guilds"].as_u64().expect("a number")
    });
    assert_eq!(guilds.sum::<u64>(), 40, "known without a READY");
    for host in hosts {
        end(host, StopMode::Close).await;
    }
}

/// A store that does not answer just as a process starts is asked again, for an identify costs more than the wait.
async fn a_start_waits_for_what_is_kept(backend: Backend) {
    let simulator = busy(Options::default());
    let keys = || json!({"sessions": "backplane", "shards": 4, "delivery": "at_least_once"});
    let mut host = backend.start(&simulator, keys());
    host.until_ready().await;
    end(host, StopMode::Resumable).await;

    let go_on = backend.hold_up_sessions();
    let mut host = backend.start(&simulator, keys());
    let has_failed = |host: &Host| {
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        status["sessions_error"].is_string()
    };
    host.until("a question that was not answered", has_failed).await;
    go_on();
    host.until_ready().await;
    assert_eq!(simulator.look(|seen| (seen.counts.identifies, seen.counts.resumed)), (4, 4));
    simulator.set_traffic(0.0).expect("a rate");
    end(host, StopMode::Close).await;
}
