//! `cluster_stats`: what all processes know of each other.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::Config;
use shardwright::client::Observer;
use shardwright::shard::StopMode;
use shardwright_sim::{Options, Simulator};

use crate::backend::{Backend, on_every_backplane};
use crate::calls::worker;
use crate::host::{Host, config, simulator};
use crate::redis_server::RedisServer;

on_every_backplane!(all_numbers_are_summed,);

fn bot() -> Simulator {
    simulator(Options {
        guilds: 30,
        members_per_guild: 20,
        recommended_shards: 6,
        max_concurrency: 6,
        ..Options::default()
    })
}

/// Asks until so many workers are there.
async fn stats_of(host: &mut Host, workers: usize) -> Value {
    loop {
        let (status, data) = host.ask(&json!({"type": "cluster_stats"})).await;
        if status == 0 && data["total"]["workers"] == workers {
            return data;
        }
        host.during(Duration::from_millis(50)).await;
    }
}

async fn all_numbers_are_summed(backend: Backend) {
    let simulator = bot();
    let keys = |from: u32| {
        let shards = json!({"total": 6, "from": from, "to": from + 1});
        json!({"shards": shards, "worker_name": format!("from {from}")})
    };
    let mut hosts: Vec<Host> = (0..3).map(|n| backend.start(&simulator, keys(2 * n))).collect();
    for host in &mut hosts {
        host.until_ready().await;
        let complete = |host: &Host| {
            let kind = shardwright::queue::EventKind::GuildsComplete;
            host.told.iter().filter(|told| told.kind == kind).count() == 2
        };
        host.until("all guilds", complete).await;
        // What the others see of it is what it last wrote.
        host.ask(&json!({"type": "cluster_stats"})).await;
    }
    let mut own = Vec::new();
    for host in &mut hosts {
        own.push(host.ask(&json!({"type": "guild_stats"})).await.1);
    }
    let stats = stats_of(&mut hosts[1], 3).await;
    let total = &stats["total"];
    assert_eq!((&total["shards"], &total["shard_total"]), (&json!(6), &json!(6)), "{stats}");
    assert_eq!(total["states"], json!({"ready": 6}));
    assert_eq!(total["guilds"], 30);
    let sum =
        |key: &str| own.iter().map(|stats| stats[key].as_u64().expect("a number")).sum::<u64>();
    assert_eq!(total["members"], sum("members"));
    assert_eq!(total["unavailable"], sum("unavailable"));
    assert!(total["events_per_second"].is_number());
    for (index, host) in hosts.iter().enumerate() {
        let workers = stats["workers"].as_array().expect("a list");
        let mine =
            workers.iter().find(|found| found["worker"] == worker(host)).expect("it is there");
        assert_eq!(mine["pid"], std::process::id());
        assert_eq!((&mine["stage"], &mine["members"]), (&json!("running"), &own[index]["members"]));
        assert!(!mine["host"].as_str().expect("a name").is_empty());
        let ids: Vec<&Value> = mine["shards"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|shard| &shard["shard"])
            .collect();
        assert_eq!(ids, [&json!(2 * index), &json!(2 * index + 1)]);
        let shard = &mine["shards"][0];
        assert_eq!((&shard["state"], &shard["identifies"]), (&json!("ready"), &json!(1)));
        assert_eq!(mine["name"], format!("from {}", 2 * index));
        assert!(mine["queue"]["taken"].as_u64() > Some(0), "{mine}");
    }
    same_from_outside(&simulator, &backend, &stats).await;
    // Who stops is gone at once.
    let mut last = hosts.pop().expect("three");
    last.stop(StopMode::Resumable).await;
    let stats = stats_of(&mut hosts[0], 2).await;
    assert_eq!(stats["total"]["shards"], 4);
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// Somebody who runs no shards sees the same workers.
async fn same_from_outside(simulator: &Simulator, backend: &Backend, stats: &Value) {
    let observe = |keys: Value| {
        let text = config(simulator, "http://127.0.0.1:1", keys);
        Observer::new(&Config::from_json(&text, |_| None).expect("a good config"))
    };
    let observer = observe(json!({"backplane": backend.url()})).expect("a backplane");
    let connected = observer.clone();
    let connected = tokio::spawn(async move { connected.stay_connected(drop).await });
    let seen = loop {
        if let Ok(seen) = observer.cluster_stats().await {
            break serde_json::from_slice::<Value>(&seen).expect("JSON");
        }
        tokio::task::yield_now().await;
    };
    let workers = |stats: &Value| -> Vec<Value> {
        let workers = stats["workers"].as_array().expect("a list");
        workers.iter().map(|worker| worker["worker"].clone()).collect()
    };
    assert_eq!(workers(&seen), workers(stats));
    connected.abort();

    let error = observe(json!({})).expect_err("there is none");
    assert!(error.to_string().contains("no `backplane`"), "{error}");
}

/// A server that forgot everything is told again, by everybody and without being asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_registers_again() {
    let mut server = RedisServer::start(&[]);
    let simulator = bot();
    let shards = |from: u32| json!({"backplane": server.url(), "shards": {"total": 6, "from": from, "to": from + 2}});
    let mut hosts: Vec<Host> = (0..2).map(|n| Host::start(&simulator, shards(3 * n))).collect();
    for host in &mut hosts {
        host.until_ready().await;
    }
    stats_of(&mut hosts[0], 2).await;
    server.kill();
    server.restart();
    let stats = stats_of(&mut hosts[0], 2).await;
    assert_eq!(stats["total"]["shards"], 6, "{stats}");
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}
