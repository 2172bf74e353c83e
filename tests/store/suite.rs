//! What every store does, whatever keeps it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shardwright::ErrorKind;

use crate::host::Host;

/// Tokens of two bots.
const ONE: &str = "MTEwMDAwMDAwMDAwMDAwMDAwMQ.x.y";
const OTHER: &str = "MTEwMDAwMDAwMDAwMDAwMDAwMg.x.y";

/// Runs every case on every backend.
macro_rules! suite {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let directory = crate::file::TempDir::new();
                super::$case(&directory.store()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let server = crate::postgres_server::PostgresServer::shared();
                super::$case(&server.database(stringify!($case)).await).await;
            })*
        }
    };
}

suite! {
    documents_are_put_got_and_deleted
    a_wrong_version_says_the_right_one
    of_two_racing_writers_one_wins
    a_version_is_never_given_twice
    pages_go_through_a_collection
    a_prefix_is_taken_literally
    a_page_ends_before_it_is_too_large
    bounds_are_kept
    bots_do_not_see_each_other
    values_come_back_as_they_went
    what_was_stored_is_there_after_a_restart
}

fn put(key: &str, value: Value) -> Value {
    json!({"type": "store_put", "collection": "c", "key": key, "value": value})
}

fn expecting(mut command: Value, version: i64) -> Value {
    command["expected_version"] = json!(version);
    command
}

fn delete(key: &str) -> Value {
    json!({"type": "store_delete", "collection": "c", "key": key})
}

fn get(key: &str) -> Value {
    json!({"type": "store_get", "collection": "c", "key": key})
}

async fn documents_are_put_got_and_deleted(store: &str) {
    let host = Host::start(store);
    assert_eq!(host.done(get("a")).await, Value::Null);
    assert_eq!(host.done(delete("a")).await, json!({"deleted": false}));
    let first = host.put("a", json!({"x": [1, null]})).await;
    let found = host.done(get("a")).await;
    assert_eq!((&found["value"], &found["version"]), (&json!({"x": [1, null]}), &json!(first)));
    let at_ms = found["updated_at_ms"].as_i64().expect("a time");
    assert!(at_ms > 1_700_000_000_000, "{at_ms}");
    let second = host.put("a", Value::Null).await;
    assert!(second > first, "{second} after {first}");
    let found = host.done(get("a")).await;
    assert_eq!((&found["value"], &found["version"]), (&Value::Null, &json!(second)));
    let elsewhere = json!({"type": "store_get", "collection": "d", "key": "a"});
    assert_eq!(host.done(elsewhere).await, Value::Null);
    assert_eq!(host.done(delete("a")).await, json!({"deleted": true}));
    assert_eq!(host.done(get("a")).await, Value::Null);
    assert_eq!(host.store_error(), Value::Null);
}

async fn a_wrong_version_says_the_right_one(store: &str) {
    let host = Host::start(store);
    let state = ErrorKind::State.status();
    let conflict = async |command: Value, current: i64| {
        let text = command.to_string();
        let (status, data) = host.ask(command).await;
        assert_eq!((status, &data["version"]), (state, &json!(current)), "{text}");
        let error = data["error"].as_str().expect("a text");
        let part = if current == 0 { "nothing".to_owned() } else { format!("version {current}") };
        assert!(error.contains("expected_version") && error.contains(&part), "{error}");
    };
    conflict(expecting(put("a", json!(1)), 7), 0).await;
    conflict(expecting(delete("a"), 7), 0).await;
    let first = host.done(expecting(put("a", json!(1)), 0)).await["version"].as_i64().expect("one");
    conflict(expecting(put("a", json!(2)), 0), first).await;
    conflict(expecting(put("a", json!(2)), first + 1), first).await;
    conflict(expecting(delete("a"), first + 1), first).await;
    assert_eq!(host.get("a").await, json!(1));
    let second = host.done(expecting(put("a", json!(2)), first)).await;
    let second = second["version"].as_i64().expect("one");
    conflict(expecting(put("a", json!(3)), first), second).await;
    assert_eq!(host.done(expecting(delete("a"), second)).await, json!({"deleted": true}));
    conflict(expecting(put("a", json!(3)), second), 0).await;
}

/// Ten writers, each of which adds one ten times: none overwrites what it has not seen.
async fn of_two_racing_writers_one_wins(store: &str) {
    let writers: Vec<_> = (0..10)
        .map(|_| {
            let store = store.to_owned();
            tokio::spawn(async move {
                let host = Host::start(&store);
                let mut conflicts = 0;
                for _ in 0..10 {
                    loop {
                        let found = host.done(get("n")).await;
                        let next = json!(found["value"].as_i64().unwrap_or(0) + 1);
                        let version = found["version"].as_i64().unwrap_or(0);
                        let (status, data) = host.ask(expecting(put("n", next), version)).await;
                        if status == 0 {
                            break;
                        }
                        assert_eq!(status, ErrorKind::State.status(), "{data}");
                        conflicts += 1;
                    }
                }
                conflicts
            })
        })
        .collect();
    let mut conflicts = 0;
    for writer in writers {
        conflicts += writer.await.expect("no panic");
    }
    assert_eq!(Host::start(store).get("n").await, json!(100), "after {conflicts} conflicts");
}

/// A document that was deleted and made anew is not taken for the old one.
async fn a_version_is_never_given_twice(store: &str) {
    let host = Host::start(store);
    let mut versions = BTreeSet::new();
    for round in 0..20 {
        assert!(versions.insert(host.put("a", json!(round)).await));
        assert!(versions.insert(host.put("b", json!(round)).await));
        host.done(delete("a")).await;
    }
    let (status, _) = host.ask(expecting(put("a", json!(0)), 1)).await;
    assert_eq!(status, ErrorKind::State.status());
}

/// All documents of a list, page by page.
async fn all(host: &Host, mut command: Value) -> Vec<(usize, Vec<String>)> {
    let mut pages = Vec::new();
    loop {
        let page = host.done(command.clone()).await;
        let documents = page["documents"].as_array().expect("a list");
        let keys = documents.iter().map(|document| document["key"].as_str().expect("a key"));
        pages.push((documents.len(), keys.map(str::to_owned).collect()));
        match page["next"].as_str() {
            Some(next) => command["after"] = json!(next),
            None => return pages,
        }
    }
}

async fn pages_go_through_a_collection(store: &str) {
    let host = Host::start(store);
    let list = |limit: u32| json!({"type": "store_list", "collection": "c", "limit": limit});
    assert_eq!(all(&host, list(10)).await, [(0, vec![])]);
    let mut keys: Vec<String> = (0..25).map(|number| format!("{number:02}")).collect();
    // Ordered by bytes, not as a language would have it.
    keys.extend(["A", "a", "a b", "aa", "b", "é", "\u{d7ff}", "\u{e000}", "😀"].map(str::to_owned));
    for key in keys.iter().rev() {
        host.put(key, json!(key)).await;
    }
    let elsewhere = json!({"type": "store_put", "collection": "c2", "key": "x", "value": 1});
    host.done(elsewhere).await;
    for limit in [1, 7, 17, 34, 35, 1_000] {
        let pages = all(&host, list(limit)).await;
        let found: Vec<String> = pages.iter().flat_map(|(_, keys)| keys.clone()).collect();
        assert_eq!(found, keys, "{limit}");
        assert_eq!(pages.len(), keys.len().div_ceil(limit as usize), "{limit}");
    }
    let page = host.done(json!({"type": "store_list", "collection": "c", "after": "😀"})).await;
    assert_eq!(page, json!({"documents": [], "next": null}));
    let page = host.done(list(1)).await;
    let document = &page["documents"][0];
    assert_eq!((&document["value"], &page["next"]), (&json!("00"), &json!("00")));
    assert!(document["version"].is_i64() && document["updated_at_ms"].is_i64(), "{document}");
}

async fn a_prefix_is_taken_literally(store: &str) {
    let host = Host::start(store);
    let keys =
        ["a%b", "a%b1", "aXb", "a_b", "a_b2", "a\\b", "axb", "b", "\u{10ffff}", "\u{10ffff}x"];
    for key in keys {
        host.put(key, json!(0)).await;
    }
    for (prefix, expected) in [
        ("a%", &["a%b", "a%b1"][..]),
        ("a_", &["a_b", "a_b2"]),
        ("a\\", &["a\\b"]),
        ("a", &["a%b", "a%b1", "aXb", "a\\b", "a_b", "a_b2", "axb"]),
        ("\u{10ffff}", &["\u{10ffff}", "\u{10ffff}x"]),
        ("c", &[]),
    ] {
        let list = json!({"type": "store_list", "collection": "c", "prefix": prefix, "limit": 2});
        let pages = all(&host, list).await;
        let found: Vec<String> = pages.into_iter().flat_map(|(_, keys)| keys).collect();
        assert_eq!(found, expected, "{prefix:?}");
    }
}

/// Large documents make small pages, and nothing is left out.
async fn a_page_ends_before_it_is_too_large(store: &str) {
    let host = Host::start(store);
    let large = json!("x".repeat((1 << 20) - 2));
    for number in 0..10 {
        host.put(&number.to_string(), large.clone()).await;
    }
    let list = json!({"type": "store_list", "collection": "c"});
    let sizes: Vec<usize> = all(&host, list).await.into_iter().map(|(size, _)| size).collect();
    assert_eq!(sizes, [8, 2]);
}

async fn bounds_are_kept(store: &str) {
    let host = Host::start(store);
    let named = |collection: &str, key: &str| json!({"type": "store_put", "collection": collection, "key": key, "value": 1});
    host.done(named(&"c".repeat(128), &"k".repeat(512))).await;
    host.done(named("c", &"é".repeat(256))).await;
    let invalid = ErrorKind::InvalidArgument;
    for (command, kind, part) in [
        (named("", "k"), invalid, "`collection` is empty"),
        (named("c", ""), invalid, "`key` is empty"),
        (named(&"c".repeat(129), "k"), invalid, "at most 128"),
        (named("c", &"k".repeat(513)), invalid, "at most 512"),
        (named("c", "a\0b"), invalid, "control"),
        (named("a\nb", "k"), invalid, "control"),
        (named("_engine", "k"), invalid, "engine's own"),
        (put("k", json!("x".repeat((1 << 20) - 1))), ErrorKind::TooLarge, "1048576"),
        (expecting(put("k", json!(1)), -1), invalid, "expected_version"),
        (expecting(delete("k"), 0), invalid, "expected_version"),
        (json!({"type": "store_put", "collection": "c", "key": "k"}), invalid, "value"),
        (json!({"type": "store_get", "collection": "c"}), invalid, "key"),
        (json!({"type": "store_get", "collection": "c", "key": "k", "x": 1}), invalid, "`x`"),
        (json!({"type": "store_delete", "collection": "_c", "key": "k"}), invalid, "engine's own"),
        (json!({"type": "store_list", "collection": "c", "limit": 0}), invalid, "1 to 1000"),
        (json!({"type": "store_list", "collection": "c", "limit": 1001}), invalid, "1 to 1000"),
        (json!({"type": "store_list", "collection": "c", "prefix": "a\0"}), invalid, "control"),
    ] {
        let error = host.send(&command).expect_err("it is refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let readable = json!({"type": "store_list", "collection": "_engine"});
    assert_eq!(host.done(readable).await, json!({"documents": [], "next": null}));
}

async fn bots_do_not_see_each_other(store: &str) {
    let (one, other) = (Host::of_bot(store, ONE), Host::of_bot(store, OTHER));
    one.put("a", json!("one")).await;
    assert_eq!(other.done(get("a")).await, Value::Null);
    other.done(expecting(put("a", json!("other")), 0)).await;
    assert_eq!((one.get("a").await, other.get("a").await), (json!("one"), json!("other")));
    other.done(delete("a")).await;
    assert_eq!(one.get("a").await, json!("one"));
    let list = json!({"type": "store_list", "collection": "c"});
    assert_eq!(other.done(list).await["documents"], json!([]));
}

/// Numbers, escapes and the order of keys are the host's, and what is deep is not looked into.
async fn values_come_back_as_they_went(store: &str) {
    let host = Host::start(store);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for value in [
        r#"{"b":1,"a":2,"a":3}"#,
        "123456789012345678901234567890.10",
        r#""\u0000\ud800 é'\"\\""#,
        "[ 1 ,\t2 ]",
        &deep,
    ] {
        let command =
            format!(r#"{{"type":"store_put","collection":"c","key":"k","value":{value}}}"#);
        let id = host.client.send_command(&command).expect("accepted");
        let (status, data) = host.reply(id).await;
        assert_eq!(status, 0, "{data}");
        let id = host.send(&get("k")).expect("accepted");
        let text = host.reply_text(id).await;
        assert!(text.contains(value), "{text}");
    }
}

async fn what_was_stored_is_there_after_a_restart(store: &str) {
    let first = Host::start(store);
    let version = first.put("a", json!("kept")).await;
    drop(first);
    let second = Host::start(store);
    let found = second.done(get("a")).await;
    assert_eq!((&found["value"], &found["version"]), (&json!("kept"), &json!(version)));
    let next = second.put("a", json!("changed")).await;
    assert!(next > version);
}

/// What a store carries: printed, not promised. `cargo test --workspace --test store rates -- --ignored --nocapture`
#[allow(clippy::print_stdout, reason = "what a run measured")]
async fn measure(name: &str, store: &str) {
    const COMMANDS: u32 = 2_000;
    let host = Host::start(store);
    host.put("warm", json!(0)).await;
    for (what, at_once) in [("put", 1), ("put", 64), ("get", 1), ("get", 64)] {
        let began = std::time::Instant::now();
        let mut open = std::collections::VecDeque::new();
        for number in 0..COMMANDS {
            let key = format!("user:{}", number % 500);
            let value = json!({"coins": number, "name": "somebody", "items": [1, 2, 3]});
            let command = if what == "put" { put(&key, value) } else { get(&key) };
            open.push_back(host.send(&command).expect("accepted"));
            while open.len() >= at_once {
                let (status, data) = host.reply(open.pop_front().expect("one")).await;
                assert_eq!(status, 0, "{data}");
            }
        }
        for id in open {
            assert_eq!(host.reply(id).await.0, 0);
        }
        let rate = f64::from(COMMANDS) / began.elapsed().as_secs_f64();
        println!("{name}: {what}, {at_once} at once: {rate:.0}/s");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and has nothing to fail"]
async fn rates() {
    let directory = crate::file::TempDir::new();
    measure("SQLite", &directory.store()).await;
    let server = crate::postgres_server::PostgresServer::start(&["fsync = on"]);
    measure("PostgreSQL", &server.url("postgres")).await;
}
