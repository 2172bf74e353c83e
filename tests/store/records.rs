//! What the engine itself keeps in the store.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright::{ErrorKind, simulation};
use shardwright_sim::{Cut, Options, Target};

use crate::client_host::{Host, simulator};
use crate::file::TempDir;
use crate::postgres_server::PostgresServer;

/// Two shards that start together.
fn two() -> Options {
    Options { guilds: 10, recommended_shards: 2, max_concurrency: 2, ..Options::default() }
}

/// All documents of a collection, by key.
async fn all(host: &mut Host, collection: &str) -> Vec<(String, Value)> {
    let (mut all, mut after) = (Vec::new(), json!(""));
    loop {
        let list =
            json!({"type": "store_list", "collection": collection, "after": after, "limit": 1000});
        let (status, page) = host.ask(&list).await;
        assert_eq!(status, 0, "{page}");
        for found in page["documents"].as_array().expect("a list") {
            let key = found["key"].as_str().expect("a text").to_owned();
            all.push((key, found["value"].clone()));
        }
        if page["next"].is_null() {
            return all;
        }
        after = page["next"].clone();
        // What was looked at before is not needed any more.
        host.told.clear();
    }
}

/// Looks until a collection is as it should be.
async fn until(
    host: &mut Host,
    collection: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> Vec<(String, Value)> {
    let look = async {
        loop {
            let found = all(host, collection).await;
            let values: Vec<Value> = found.iter().map(|(_, value)| value.clone()).collect();
            if holds(&values) {
                return found;
            }
            host.during(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(120), look).await;
    found.unwrap_or_else(|_| panic!("{collection} is not as it should be"))
}

/// The incident of this kind about this shard.
fn incident(found: &[(String, Value)], kind: &str, shard: u32) -> Value {
    let is = |value: &&Value| value["kind"] == kind && value["shards"] == json!([shard]);
    let found = found.iter().map(|(_, value)| value).find(is);
    found.unwrap_or_else(|| panic!("no {kind} of shard {shard}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_recorded_in_sqlite() {
    let directory = TempDir::new();
    a_life_is_recorded(&directory.store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_recorded_in_postgres() {
    let server = PostgresServer::shared();
    a_life_is_recorded(&server.database("a_life_is_recorded").await).await;
}

async fn a_life_is_recorded(store: &str) {
    let simulator = simulator(two());
    let directory = TempDir::new();
    let sessions = format!("sqlite:{}/sessions", directory.path().display());
    let mut host = Host::start(&simulator, json!({"store": store, "sessions": sessions}));
    let ready = |all: &[Value]| all.iter().any(|it| !it["ready_at_ms"].is_null());
    let deploys = until(&mut host, "_deploys", ready).await;
    let [(key, deploy)] = &deploys[..] else { panic!("one start") };
    let worker = deploy["worker"].as_str().expect("a name");
    assert_eq!(*key, format!("{:015}/{worker}", deploy["started_at_ms"].as_i64().expect("ms")));
    assert_eq!((&deploy["shards"], &deploy["shard_total"]), (&json!("0-1"), &json!(2)));
    assert_eq!((&deploy["identifies"], &deploy["sessions_resumed"]), (&json!(2), &json!(0)));
    assert_eq!((&deploy["pid"], &deploy["stop"]), (&json!(std::process::id()), &Value::Null));
    assert!(deploy["host"].is_string() && deploy["version"].is_string(), "{deploy}");

    let history = until(&mut host, "_history", |all| !all.is_empty()).await;
    let (key, minute) = &history[0];
    let at_ms = minute["at_ms"].as_i64().expect("ms");
    assert_eq!(*key, format!("{:010}/{worker}", at_ms / 60_000));
    assert_eq!((&minute["states"], &minute["worker"]), (&json!({"ready": 2}), &json!(worker)));
    for member in ["guilds", "unavailable", "members", "events_per_second", "queue_events"] {
        assert!(minute[member].is_number(), "{member}: {minute}");
    }
    assert!(minute["latency_ms"]["highest"].is_null() || minute["latency_ms"]["highest"].is_u64());

    assert_eq!(simulator.close(Target::Shard(0), Some(4009), ""), 1);
    assert_eq!(simulator.drop_sockets(Target::Shard(1), Cut::Reset), 1);
    let found = until(&mut host, "_incidents", |all| all.len() >= 2).await;
    let anew = incident(&found, "reconnected", 0);
    let text = anew["text"].as_str().expect("a text");
    assert!(
        text.starts_with("shard 0: closed with 4009 (session timed out); identified anew in "),
        "{text}"
    );
    let resumed = incident(&found, "reconnected", 1);
    assert_eq!((&resumed["cause"], &resumed["resumed"]), (&json!("connection_lost"), &json!(true)));
    assert_eq!((&anew["close_code"], &resumed["close_code"]), (&json!(4009), &Value::Null));
    assert!(resumed["took_ms"].is_u64() && resumed["left_out"] == 0, "{resumed}");

    // Nobody else writes there, and everybody reads.
    let put = json!({"type": "store_put", "collection": "_deploys", "key": "x", "value": 1});
    let error = host.client.send_command(&put.to_string()).expect_err("it is the engine's");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    host.stop(StopMode::Resumable).await;
    host.client.save_sessions();
    let mut host = Host::start(&simulator, json!({"store": store, "sessions": sessions}));
    let ready = |all: &[Value]| all.len() == 2 && !all[1]["ready_at_ms"].is_null();
    let deploys = until(&mut host, "_deploys", ready).await;
    let (first, second) = (&deploys[0].1, &deploys[1].1);
    assert_eq!((&first["worker"], &first["stop"]), (&json!(worker), &json!("resumable")));
    assert!(first["stopped_at_ms"].as_i64() <= second["started_at_ms"].as_i64());
    assert_eq!((&second["sessions_resumed"], &second["identifies"]), (&json!(2), &json!(0)));

    assert_eq!(simulator.close(Target::Shard(1), Some(4014), ""), 1);
    host.until("the refusal", |host| host.fatal().count() == 1).await;
    host.stop(StopMode::Abort).await;
    // What happened last is stored before the end.
    let mut host = Host::start(&simulator, json!({"store": store}));
    let found = until(&mut host, "_incidents", |all| all.len() == 3).await;
    let fatal = incident(&found, "fatal", 1);
    let text = fatal["text"].as_str().expect("a text");
    assert!(
        text.starts_with("shard 1: closed with 4014") && text.contains("Developer Portal"),
        "{text}"
    );
    let deploys = all(&mut host, "_deploys").await;
    assert_eq!(deploys[1].1["stop"], "abort");
    host.stop(StopMode::Abort).await;
}

/// An hour, and a month later another one, in virtual time.
#[tokio::test(start_paused = true)]
async fn there_is_a_record_of_every_minute_and_old_ones_go() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let directory = TempDir::new();
    let began = Duration::from_secs(1_800_000_000);
    simulation::begin(began);
    let simulator = simulator(two());
    let mut host = Host::start(&simulator, json!({"store": directory.store()}));
    host.until_ready().await;
    host.during(Duration::from_secs(60 * 60)).await;
    let minutes: Vec<u64> = all(&mut host, "_history")
        .await
        .iter()
        .map(|(key, _)| key[..10].parse().expect("a number"))
        .collect();
    let first = began.as_secs() / 60;
    assert_eq!(minutes, (first..=first + 60).collect::<Vec<_>>());
    host.stop(StopMode::Close).await;

    simulation::begin(began + 30 * DAY + Duration::from_secs(30 * 60));
    let mut host = Host::start(&simulator, json!({"store": directory.store()}));
    let kept = until(&mut host, "_history", |all| all.len() < 60).await;
    let oldest: u64 = kept[0].0[..10].parse().expect("a number");
    assert_eq!(oldest, first + 30);
    // The first start was before that.
    assert_eq!(all(&mut host, "_deploys").await.len(), 1);
    host.stop(StopMode::Abort).await;
}

/// A storm is one incident for each way in which it strikes, and a long one is left out at some point.
#[tokio::test(start_paused = true)]
async fn a_storm_does_not_fill_the_store() {
    let directory = TempDir::new();
    simulation::begin(Duration::from_secs(1_800_000_000));
    let options = Options { recommended_shards: 32, max_concurrency: 32, ..two() };
    let simulator = simulator(options);
    let mut host = Host::start(&simulator, json!({"store": directory.store()}));
    host.until_ready().await;
    assert_eq!(simulator.close(Target::All, Some(4000), ""), 32);
    let found = until(&mut host, "_incidents", |all| !all.is_empty()).await;
    let [(_, one)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&one["count"], one["shards"].as_array().map(Vec::len)), (&json!(32), Some(32)));
    let text = one["text"].as_str().expect("a text");
    assert!(text.starts_with("32 shards: closed with 4000 (unknown error); resumed in "), "{text}");
    // Codes that are all different, and each shard on its own.
    for round in 0..300_u16 {
        simulator.close(Target::Shard(u32::from(round % 32)), Some(4100 + round), "");
        host.during(Duration::from_secs(2)).await;
        host.told.clear();
    }
    host.during(Duration::from_secs(300)).await;
    simulator.close(Target::Shard(0), Some(4000), "");
    host.during(Duration::from_secs(60)).await;
    let found = all(&mut host, "_incidents").await;
    assert!((100..=130).contains(&found.len()), "{}", found.len());
    let left_out: u64 =
        found.iter().map(|(_, it)| it["left_out"].as_u64().expect("a number")).sum();
    let counted: u64 = found.iter().map(|(_, it)| it["count"].as_u64().expect("a number")).sum();
    assert_eq!(left_out + counted, 32 + 300 + 1);
    host.stop(StopMode::Abort).await;
}
