//! A set of clients that comes up beside another one and takes over from it, as `shardwright deploy --shards` has
//! it: nothing is lost, and what comes twice is flagged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::Config;
use shardwright::client::{Observer, StandbyWord};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::{Options, Simulator};

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, config, simulator};

on_every_backplane!(
    every_event_comes_once,
    without_notes_what_may_come_twice_is_flagged,
    who_ends_before_its_turn_leaves_its_sessions,
    who_would_hold_too_much_gives_up,
);

/// How much later an event may come to one set than to the other.
const SLACK_MS: i64 = 1_000;

/// A busy bot.
fn busy(options: Options) -> Simulator {
    let simulator = simulator(Options {
        guilds: 40,
        members_per_guild: 10,
        events_per_second: 200.0,
        recommended_shards: 4,
        max_concurrency: 16,
        ..options
    });
    tokio::spawn(simulator.traffic());
    simulator
}

/// A part of the shards, beside others if it is to be.
fn keys(total: u32, from: u32, to: u32, standby: Option<&str>) -> Value {
    let mut keys = json!({
        "shards": {"total": total, "from": from, "to": to}, "sessions": "backplane",
        "delivery": "at_least_once",
    });
    if let Some(name) = standby {
        keys["standby"] = json!(name);
    }
    keys
}

/// Somebody who changes the number of shards.
fn observer(simulator: &Simulator, backend: &Backend) -> Observer {
    let keys = json!({"backplane": backend.url()});
    let text = config(simulator, "http://127.0.0.1:1", keys);
    let observer = Observer::new(&Config::from_json(&text, |_| None).expect("a good config"));
    let observer = observer.expect("a backplane");
    let connected = observer.clone();
    tokio::spawn(async move { connected.stay_connected(drop).await });
    observer
}

/// What the workers say of themselves.
async fn stats(observer: &Observer) -> Value {
    loop {
        if let Ok(stats) = observer.cluster_stats().await {
            return serde_json::from_slice(&stats).expect("JSON");
        }
        tokio::task::yield_now().await;
    }
}

/// Says something, and has all poll until what they say of themselves is so.
async fn say_until(
    observer: &Observer,
    word: &StandbyWord,
    hosts: &mut [&mut Host],
    holds: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        // Who has not heard it hears it the next time.
        let _ = observer.tell_workers(word).await;
        for host in hosts.iter_mut() {
            host.during(Duration::from_millis(20)).await;
        }
        let stats = stats(observer).await;
        if holds(&stats) {
            return stats;
        }
    }
}

/// Workers at a stage.
fn at_stage<'a>(stats: &'a Value, stage: &str) -> Vec<&'a Value> {
    let workers = stats["workers"].as_array().expect("a list");
    workers.iter().filter(|worker| worker["stage"] == stage).collect()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_millis()).expect("not so late")
}

fn status(host: &Host) -> Value {
    serde_json::from_str(&host.client.status_json()).expect("JSON")
}

fn identifies(simulator: &Simulator) -> u64 {
    simulator.look(|seen| seen.counts.identifies)
}

/// The numbers of all events of the world that were sent to any session.
fn sent(simulator: &Simulator) -> BTreeSet<u64> {
    simulator.look(|seen| seen.dispatches.iter().filter_map(|record| record.number).collect())
}

async fn every_event_comes_once(backend: Backend) {
    assert_eq!(take_over(backend, true).await, (0, 0), "came twice, or flagged");
}

async fn without_notes_what_may_come_twice_is_flagged(backend: Backend) {
    let (twice, flagged) = take_over(backend, false).await;
    assert!(twice > 0 && twice <= flagged, "{twice} came twice, {flagged} flagged");
}

/// Eight shards take over from four in two processes each, which may note what they deliver. How many events came
/// twice, and how many flagged, of those that do not change a guild; the rest came once.
async fn take_over(backend: Backend, has_notes: bool) -> (usize, usize) {
    let simulator = busy(Options::default());
    let observer = observer(&simulator, &backend);
    let start =
        |total, from, to, standby| backend.start(&simulator, keys(total, from, to, standby));
    let [mut old_0, mut old_1] = [start(4, 0, 1, None), start(4, 2, 3, None)];
    for old in [&mut old_0, &mut old_1] {
        old.until_ready().await;
    }
    let [mut new_0, mut new_1] = [start(8, 0, 3, Some("4-to-8")), start(8, 4, 7, Some("4-to-8"))];
    let mut all = [&mut old_0, &mut old_1, &mut new_0, &mut new_1];

    // It comes up, and its host hears nothing of it. What is said to others is not for it.
    let others = StandbyWord::TakeOver {
        standby: "4-to-6".into(),
        from_ms: 0,
        until_ms: 0,
        noted_by: vec![],
    };
    let stats = say_until(&observer, &others, &mut all, |stats| {
        let states =
            at_stage(stats, "standby").into_iter().map(|it| it["states"]["ready"].as_u64());
        states.flatten().sum::<u64>() == 8
    })
    .await;
    let total = &stats["total"];
    assert_eq!((&total["workers"], &total["shards"]), (&json!(4), &json!(4)), "{total}");
    assert_eq!((&total["shard_total"], &total["guilds"]), (&json!(4), &json!(40)), "{total}");
    let [old_0, old_1, new_0, new_1] = all;
    for new in [&mut *new_0, &mut *new_1] {
        assert!(new.told.iter().all(|told| told.kind != EventKind::Dispatch), "it holds them");
        let error = new.client.healthy().expect_err("it waits");
        assert!(error.to_string().contains("waits to take over"), "{error}");
        let (status, data) = new.ask(&json!({"type": "reshard", "shards": 9})).await;
        assert_eq!(status, -4, "{data}");
    }

    // The old set notes what it delivers, shows that it is alive, and stops.
    let note = StandbyWord::Note { standby: "4-to-8".into() };
    let mut all = [old_0, old_1, new_0, new_1];
    let least = |stats: &Value, key: &str| {
        let running = at_stage(stats, "running");
        running.into_iter().map(|worker| worker[key].as_i64()).min().flatten()
    };
    let stats = say_until(&observer, &note, &mut all, |stats| {
        let since = at_stage(stats, "running").into_iter().map(|it| it["noted_since_ms"].as_i64());
        let has_noted = |since| least(stats, "through_ms") >= Some(since + 2 * SLACK_MS);
        since.max().flatten().is_some_and(has_noted) && least(stats, "noted_since_ms").is_some()
    })
    .await;
    let running = at_stage(&stats, "running");
    let since = running.iter().map(|it| it["noted_since_ms"].as_i64()).max().flatten();
    let (mut from_ms, mut noted_by) = (since.expect("both note") + SLACK_MS, Vec::new());
    if has_notes {
        let name = |worker: &&Value| worker["worker"].as_str().map(str::to_owned);
        noted_by = running.iter().filter_map(name).collect();
    } else {
        from_ms = least(&stats, "through_ms").expect("both are alive") - SLACK_MS;
    }
    let [old_0, old_1, new_0, new_1] = all;
    for old in [&mut *old_0, &mut *old_1] {
        old.stop(StopMode::Resumable).await;
    }

    // The new one takes over.
    let until_ms = now_ms() + SLACK_MS;
    let word = StandbyWord::TakeOver { standby: "4-to-8".into(), from_ms, until_ms, noted_by };
    let mut new = [new_0, new_1];
    say_until(&observer, &word, &mut new, |stats| at_stage(stats, "running").len() == 2).await;
    for new in &mut new {
        new.until_ready().await;
        new.during(Duration::from_millis(1_500)).await;
    }
    simulator.set_traffic(0.0).expect("a rate");
    let [new_0, new_1] = new;
    let sent = sent(&simulator);
    for host in [&mut *new_0, &mut *new_1] {
        host.during(Duration::from_millis(500)).await;
    }
    let (mut times, changes) = times_told([&*old_0, &*old_1, &*new_0, &*new_1]);
    let lost = sent.iter().filter(|number| !times.contains_key(number)).count();
    assert_eq!(lost, 0, "of {}", sent.len());
    let unflagged = |times: &&Vec<bool>| times.iter().filter(|replayed| !**replayed).count() > 1;
    assert_eq!(times.values().filter(unflagged).count(), 0, "came twice, and not flagged");
    // What changes a guild comes again to the new set's hosts, which know only what GUILD_CREATE said.
    times.retain(|number, _| !changes.contains(number));
    assert!(times.len() > 300, "{} did not change a guild", times.len());
    let twice = times.values().filter(|times| times.len() > 1).count();
    let flagged = times.values().flatten().filter(|replayed| **replayed).count();
    assert!(flagged < sent.len() / 2, "{flagged} of {} came flagged", sent.len());

    for new in [&mut *new_0, &mut *new_1] {
        assert_begins_as_any(new);
    }
    assert_eq!(identifies(&simulator), 4 + 8);
    for new in [new_0, new_1] {
        new.stop(StopMode::Close).await;
    }
    (twice, flagged)
}

/// How often the hosts were told each event, flagged or not, and which of them change a guild. Those of each guild came
/// in order to each host.
fn times_told<'a>(
    hosts: impl IntoIterator<Item = &'a Host>,
) -> (BTreeMap<u64, Vec<bool>>, BTreeSet<u64>) {
    let mut times: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
    let mut changes = BTreeSet::new();
    for host in hosts {
        let mut last_of_guild: BTreeMap<u64, u64> = BTreeMap::new();
        for told in &host.told {
            let Some(number) = told.number() else { continue };
            times.entry(number).or_default().push(told.replayed);
            if !told.name.starts_with("MESSAGE_") && told.name != "TYPING_START" {
                changes.insert(number);
            }
            let last = last_of_guild.insert(told.guild_id, number);
            assert!(last < Some(number), "guild {}: {number} after {last:?}", told.guild_id);
        }
    }
    (times, changes)
}

/// The host was told what it would have been at any start.
fn assert_begins_as_any(new: &Host) {
    assert_eq!(new.dispatches("READY").count(), 4);
    let first = new.dispatches("GUILD_CREATE").filter(|told| !told.replayed).count();
    assert_eq!(json!(first), status(new)["guilds"]);
    let complete = new.told.iter().filter(|told| told.kind == EventKind::GuildsComplete);
    assert_eq!(complete.count(), 4);
    let shard_id = new.told.iter().map(|told| told.shard_id).min().expect("one");
    let states = new.states(shard_id);
    assert_eq!(states, [("ready".into(), "takes over from other processes".into())]);
    assert!(new.client.wait_ready(Some(Duration::ZERO)).is_ok());
}

/// Whoever goes on with its sessions gets all that it held, flagged.
async fn who_ends_before_its_turn_leaves_its_sessions(backend: Backend) {
    for delivery in ["at_most_once", "at_least_once"] {
        // Another bot for each, so that nothing is left of the one before.
        let id = if delivery == "at_most_once" { "MQ" } else { "Mg" };
        let token = format!("MTEwMDAwMDAwMDAwMDAwMDAw{id}.x.y");
        let simulator = busy(Options { token: token.clone(), ..Options::default() });
        let keys = |standby: Value| {
            json!({
                "token": token, "delivery": delivery, "sessions": "backplane", "shards": 4,
                "standby": standby,
            })
        };
        let mut standby = backend.start(&simulator, keys(json!("1-to-4")));
        let held = |host: &Host| {
            let shards = status(host)["shards"].clone();
            let events = shards.as_array().into_iter().flatten().map(|it| it["events"].as_u64());
            events.flatten().sum::<u64>() > 300
        };
        standby.until("some events", held).await;
        standby.stop(StopMode::Resumable).await;
        standby.client.save_sessions();
        assert!(standby.told.iter().all(|told| told.kind != EventKind::Dispatch), "{delivery}");

        let mut next = backend.start(&simulator, keys(Value::Null));
        next.until_ready().await;
        simulator.set_traffic(0.0).expect("a rate");
        next.until_all_came(&simulator, 4).await;
        for shard_id in 0..4 {
            let sent = simulator.look(|seen| seen.numbers_of_shard(shard_id));
            assert_eq!(next.numbers[&shard_id], sent, "{delivery}");
        }
        assert_eq!(identifies(&simulator), 4, "{delivery}");
        next.stop(StopMode::Close).await;
    }
}

async fn who_would_hold_too_much_gives_up(backend: Backend) {
    let simulator = busy(Options::default());
    let mut keys = keys(4, 0, 3, Some("1-to-4"));
    keys["queue"] = json!({"max_bytes": 1 << 16});
    let mut standby = backend.start(&simulator, keys);
    standby.until("the end", |host| host.closed).await;
    let reasons: Vec<&Value> = standby.fatal().map(|told| &told.data["reason"]).collect();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].as_str().is_some_and(|it| it.contains("`queue.max_bytes`")), "{reasons:?}");
    assert!(standby.told.iter().all(|told| told.kind != EventKind::Dispatch));
}

#[test]
fn what_cannot_stand_by_is_refused() {
    let refused = |keys: Value| {
        let text = config(&simulator(Options::default()), "http://127.0.0.1:1", keys);
        Config::from_json(&text, |_| None).expect_err("refused").to_string()
    };
    for (keys, told) in [
        (json!({"standby": "a"}), "no `backplane`"),
        (json!({"standby": "A b", "backplane": "redis://x"}), "1 to 64 of a-z, 0-9 and -"),
        (json!({"standby": "a", "backplane": "redis://x", "shards": "lease"}), "these are leased"),
    ] {
        let error = refused(keys);
        assert!(error.contains("`standby`") && error.contains(told), "{error}");
    }
}
