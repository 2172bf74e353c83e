//! `cache_get`, `cache_set`, `cache_delete` and `cache_increment`.

#![allow(clippy::needless_pass_by_value, reason = "json! is written where it is used")]

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::shard::StopMode;
use shardwright_sim::Options;

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, simulator};
use crate::messages::{messages, subscribe};

on_every_backplane!(
    a_value_is_seen_by_all_and_compared_before_it_is_set,
    a_value_ends_when_its_time_is_up,
    increments_of_all_are_counted,
    what_is_announced_is_heard_by_all,
    bounds_are_kept,
);

/// The result of a command that succeeds.
async fn done(host: &mut Host, command: Value) -> Value {
    let (status, data) = host.ask(&command).await;
    assert_eq!(status, 0, "{command}: {data}");
    data
}

fn get(key: &str) -> Value {
    json!({"type": "cache_get", "key": key})
}

fn set(key: &str, value: Value) -> Value {
    json!({"type": "cache_set", "key": key, "value": value})
}

async fn a_value_is_seen_by_all_and_compared_before_it_is_set(backend: Backend) {
    let simulator = simulator(Options::default());
    let [mut one, mut other] = [(); 2].map(|()| backend.start(&simulator, json!({})));
    assert_eq!(done(&mut one, get("a")).await, Value::Null);
    let value = json!({"x": [1.5, null, "é\u{0}"]});
    let version = done(&mut one, set("a", value.clone())).await["version"].clone();
    let found = done(&mut other, get("a")).await;
    assert_eq!(found, json!({"value": value, "version": version, "ttl_ms": null}));

    let mut swap = set("a", json!(2));
    swap["expected_version"] = json!(0);
    let (status, data) = other.ask(&swap).await;
    assert_eq!((status, &data["version"]), (ErrorKind::State.status(), &version), "{data}");
    swap["expected_version"] = version.clone();
    let next = done(&mut other, swap.clone()).await["version"].clone();
    assert!(next.as_i64() > version.as_i64(), "{next} after {version}");
    let (status, data) = one.ask(&swap).await;
    assert_eq!((status, &data["version"]), (ErrorKind::State.status(), &next), "{data}");
    assert_eq!(done(&mut one, get("a")).await["value"], 2);

    let delete = json!({"type": "cache_delete", "key": "a"});
    assert_eq!(done(&mut one, delete.clone()).await, json!({"deleted": true}));
    assert_eq!(done(&mut other, delete).await, json!({"deleted": false}));
    let again = done(&mut one, set("a", json!(3))).await["version"].clone();
    assert!(again.as_i64() > next.as_i64(), "a version is not given again");
    one.stop(StopMode::Abort).await;
    other.stop(StopMode::Abort).await;
}

async fn a_value_ends_when_its_time_is_up(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let mut short = set("short", json!(1));
    short["ttl_ms"] = json!(300);
    done(&mut host, short.clone()).await;
    while done(&mut host, get("short")).await != Value::Null {}
    // What is set without one has none, also where there was one.
    short["ttl_ms"] = json!(3_600_000);
    done(&mut host, short).await;
    let left = done(&mut host, get("short")).await["ttl_ms"].as_i64().expect("a time");
    assert!((1..=3_600_000).contains(&left), "{left}");
    done(&mut host, set("short", json!(2))).await;
    assert_eq!(done(&mut host, get("short")).await["ttl_ms"], Value::Null);
    // A counter keeps the time that it began with.
    let count = json!({"type": "cache_increment", "key": "n", "ttl_ms": 3_600_000});
    done(&mut host, count).await;
    let count = json!({"type": "cache_increment", "key": "n", "ttl_ms": 1});
    assert_eq!(done(&mut host, count).await["value"], 2);
    assert!(done(&mut host, get("n")).await["ttl_ms"].as_i64() > Some(1_000_000));
    host.stop(StopMode::Abort).await;
}

async fn increments_of_all_are_counted(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut hosts: Vec<Host> = (0..3).map(|_| backend.start(&simulator, json!({}))).collect();
    for _ in 0..20 {
        let add = json!({"type": "cache_increment", "key": "n", "by": 3});
        let ids: Vec<u64> = hosts.iter().map(|host| host.send(&add)).collect();
        for (host, id) in hosts.iter_mut().zip(ids) {
            host.until("the reply", |host| host.reply(id).is_some()).await;
        }
    }
    let host = &mut hosts[0];
    assert_eq!(done(host, get("n")).await["value"], 180);
    let subtract = json!({"type": "cache_increment", "key": "n", "by": -181});
    assert_eq!(done(host, subtract).await["value"], -1);
    done(host, set("word", json!("x"))).await;
    done(host, set("most", json!(i64::MAX))).await;
    for key in ["word", "most"] {
        let (status, data) = host.ask(&json!({"type": "cache_increment", "key": key})).await;
        assert_eq!(status, ErrorKind::State.status(), "{data}");
        assert!(data["error"].as_str().expect("a text").contains("whole number"), "{data}");
    }
    assert_eq!(done(host, get("word")).await["value"], "x");
    for host in &mut hosts {
        host.stop(StopMode::Abort).await;
    }
}

async fn what_is_announced_is_heard_by_all(backend: Backend) {
    let simulator = simulator(Options::default());
    let [mut one, mut other] = [(); 2].map(|()| backend.start(&simulator, json!({})));
    // From its reply on, both listen.
    subscribe(&mut one, "x").await;
    subscribe(&mut other, "x").await;
    done(&mut one, set("quiet", json!(1))).await;
    let mut loud = set("loud", json!(1));
    loud["announce"] = json!(true);
    let version = done(&mut one, loud).await["version"].clone();
    let gone = json!({"type": "cache_delete", "key": "loud", "announce": true});
    done(&mut other, gone).await;
    for host in [&mut one, &mut other] {
        host.until("both", |host| messages(host).len() == 2).await;
        let told: Vec<_> = messages(host)
            .iter()
            .map(|told| (told.name.clone(), told.data["data"].clone()))
            .collect();
        let expected = [version.clone(), Value::Null]
            .map(|version| ("_cache".to_owned(), json!({"key": "loud", "version": version})));
        assert_eq!(told, expected);
        host.stop(StopMode::Abort).await;
    }
}

async fn bounds_are_kept(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    done(&mut host, set(&"k".repeat(512), json!("x".repeat((256 << 10) - 2)))).await;
    let invalid = ErrorKind::InvalidArgument;
    for (command, kind, part) in [
        (get(""), invalid, "1 to 512"),
        (get(&"k".repeat(513)), invalid, "1 to 512"),
        (get("a\0"), invalid, "control"),
        (set("a", json!("x".repeat(256 << 10))), ErrorKind::TooLarge, "262144"),
        (json!({"type": "cache_set", "key": "a"}), invalid, "value"),
        (json!({"type": "cache_set", "key": "a", "value": 1, "ttl_ms": 0}), invalid, "ttl_ms"),
        (json!({"type": "cache_set", "key": "a", "value": 1, "x": 0}), invalid, "`x`"),
        (json!({"type": "cache_increment", "key": "a", "by": 1.5}), invalid, "by"),
    ] {
        let error = host.client.send_command(&command.to_string()).expect_err("it is refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    host.stop(StopMode::Abort).await;
}
