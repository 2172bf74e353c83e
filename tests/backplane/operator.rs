//! What somebody may do who runs no shards: `shardwright dashboard`.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use shardwright::client::{Heard, Observer};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright::{Config, ErrorKind};
use shardwright_sim::{Options, Simulator};
use tokio::task::JoinHandle;

use crate::backend::{Backend, directory, on_every_backplane};
use crate::host::{Host, config, simulator};

on_every_backplane!(an_operator_drives_a_bot,);

/// Looks at a bot, and writes down what it hears.
struct Operator {
    observer: Observer,
    heard: Arc<Mutex<Vec<Heard>>>,
    connected: JoinHandle<()>,
}

impl Operator {
    async fn new(simulator: &Simulator, keys: Value) -> Self {
        let text = config(simulator, "http://127.0.0.1:1", keys);
        let config = Config::from_json(&text, |_| None).expect("a good config");
        let observer = Observer::new(&config).expect("a backplane");
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (connected, writes) = (observer.clone(), Arc::clone(&heard));
        let connected = tokio::spawn(async move {
            let write = move |what| writes.lock().expect("no panic").push(what);
            connected.stay_connected(write).await;
        });
        while observer.cluster_stats().await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { observer, heard, connected }
    }

    /// Has a command done while the host polls.
    async fn does(&self, host: &mut Host, command: Value) -> Result<(i32, Value), ErrorKind> {
        let observer = self.observer.clone();
        let done = tokio::spawn(async move { observer.command(&command.to_string()).await });
        host.until("the command", |_| done.is_finished()).await;
        let (status, data) = done.await.expect("no panic").map_err(|error| error.kind())?;
        Ok((status, serde_json::from_slice(&data).expect("JSON")))
    }
}

async fn an_operator_drives_a_bot(backend: Backend) {
    let simulator = simulator(Options {
        guilds: 16,
        recommended_shards: 2,
        max_concurrency: 4,
        ..Options::default()
    });
    let files = directory();
    let store = format!("sqlite:{}", files.path().join("store").display());
    let keys = json!({"backplane": backend.url(), "store": store});
    let operator = Operator::new(&simulator, keys.clone()).await;
    let mut host = backend.start(&simulator, keys);
    host.until_ready().await;
    let restart = |resume: bool| json!({"type": "restart_shard", "shard": 1, "resume": resume});
    // It is not there before it says so.
    host.ask(&json!({"type": "cluster_stats"})).await;

    assert_eq!(operator.does(&mut host, restart(true)).await, Ok((0, Value::Null)));
    host.until("a resume", |_| simulator.look(|seen| seen.counts.resumed == 1)).await;
    host.until("READY", |host| host.shard_status(1)["state"] == "ready").await;
    assert_eq!(operator.does(&mut host, restart(false)).await, Ok((0, Value::Null)));
    host.until("an identify", |_| simulator.look(|seen| seen.counts.identified == 3)).await;
    host.until("READY", |host| host.shard_status(1)["state"] == "ready").await;
    let nobody = json!({"type": "restart_shard", "shard": 2});
    assert_eq!(operator.does(&mut host, nobody).await, Err(ErrorKind::Unsupported));

    // What is said, and what is known: sequence, causes, the limit, the process.
    host.ask(&json!({"type": "subscribe", "topic": "reload"})).await;
    operator.observer.listen(&["reload".to_owned()]).await.expect("the backplane is there");
    let publish = json!({"type": "publish", "topic": "reload", "data": {"all": true}});
    assert_eq!(operator.does(&mut host, publish).await, Ok((0, Value::Null)));
    let came = |host: &Host| host.told.iter().any(|told| told.kind == EventKind::Message);
    host.until("the message", came).await;
    host.until("its echo", |_| !operator.heard.lock().expect("no panic").is_empty()).await;
    let heard = operator.heard.lock().expect("no panic")[0].clone();
    assert_eq!((heard.topic.as_str(), heard.data.get()), ("reload", r#"{"all":true}"#));
    host.ask(&json!({"type": "cluster_stats"})).await;
    let (_, stats) =
        operator.does(&mut host, json!({"type": "cluster_stats"})).await.expect("stats");
    let worker = &stats["workers"][0];
    assert_eq!(worker["shards"][1]["reconnects_by_cause"], json!({"restart": 2}));
    assert!(worker["shards"][0]["sequence"].as_u64() > Some(0), "{worker}");
    assert!(worker["memory_bytes"].as_u64() > Some(1 << 20), "{worker}");
    let limit = &worker["session_start_limit"];
    assert_eq!((&limit["total"], &limit["max_concurrency"]), (&json!(1_000), &json!(4)));
    assert_eq!(limit["remaining"], 997);

    // Jobs that are dead live again.
    for command in [
        json!({"type": "job_consume", "queue": "mail", "concurrency": 1}),
        json!({"type": "job_push", "queue": "mail", "payload": 1}),
    ] {
        assert_eq!(host.ask(&command).await.0, 0, "{command}");
    }
    let taken = |host: &Host| host.told.iter().filter(|told| told.kind == EventKind::Job).count();
    host.until("a job", |host| taken(host) == 1).await;
    let job = host.told.iter().find(|told| told.kind == EventKind::Job).expect("a job");
    let job = job.data["job_id"].clone();
    host.ask(&json!({"type": "job_fail", "job_id": job, "retry": false})).await;
    let dead = json!({"type": "job_list", "queue": "mail", "state": "dead"});
    let (_, dead) = operator.does(&mut host, dead).await.expect("a list");
    assert_eq!(dead["jobs"][0]["job_id"], job);
    let retry = json!({"type": "job_retry", "queue": "mail", "job_id": job});
    assert_eq!(operator.does(&mut host, retry.clone()).await, Ok((0, Value::Null)));
    host.until("the job again", |host| taken(host) == 2).await;
    assert_eq!(operator.does(&mut host, retry).await, Err(ErrorKind::NotFound));

    // What the engine keeps in the store.
    let starts = json!({"type": "store_list", "collection": "_deploys"});
    let (_, starts) = operator.does(&mut host, starts).await.expect("a list");
    assert_eq!(starts["documents"].as_array().map(Vec::len), Some(1));

    // Another number of shards.
    let reshard = json!({"type": "reshard", "shards": 4});
    let (status, data) = operator.does(&mut host, reshard).await.expect("a reply");
    assert_eq!((status, &data["from"], &data["to"]), (0, &json!(2), &json!(4)), "{data}");

    for command in [
        json!({"type": "call", "topic": "reload", "data": null}),
        json!({"type": "job_push", "queue": "mail", "payload": 1}),
        json!({"type": "gateway_info"}),
    ] {
        assert_eq!(operator.does(&mut host, command).await, Err(ErrorKind::Unsupported));
    }
    host.stop(StopMode::Abort).await;
    operator.connected.abort();
}
