//! `call` and `answer`.

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::Options;

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, simulator};
use crate::messages::subscribe;

on_every_backplane!(
    everybody_who_subscribed_answers,
    who_does_not_answer_is_named,
    too_many_bytes_are_refused,
);

/// The calls that a host got: their ids and data.
fn calls(host: &Host) -> Vec<(String, Value)> {
    let calls = host.told.iter().filter(|told| told.kind == EventKind::Call);
    let id = |data: &Value| data["call"].as_str().expect("an id").to_owned();
    calls.map(|told| (id(&told.data), told.data["data"].clone())).collect()
}

/// What a host is called.
pub(crate) fn worker(host: &Host) -> String {
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    status["worker"].as_str().expect("it has a backplane").to_owned()
}

/// Waits for a call and answers it.
async fn answer(host: &mut Host, with: Value) {
    host.until("the call", |host| !calls(host).is_empty()).await;
    let mut command = with;
    command["type"] = json!("answer");
    command["call"] = json!(calls(host)[0].0);
    assert_eq!(host.ask(&command).await, (0, Value::Null));
}

async fn everybody_who_subscribed_answers(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut hosts: Vec<Host> = (0..3).map(|_| backend.start(&simulator, json!({}))).collect();
    let nobody = hosts[2].ask(&json!({"type": "call", "topic": "guilds", "data": 1})).await;
    assert_eq!(nobody, (0, json!({"answers": [], "missing": []})));
    for host in &mut hosts[..2] {
        subscribe(host, "guilds").await;
    }
    // The third asks without being one of those who are asked.
    let id = hosts[2].send(&json!({"type": "call", "topic": "guilds", "data": {"x": [1]}}));
    answer(&mut hosts[0], json!({"data": {"guilds": 7}})).await;
    answer(&mut hosts[1], json!({"error": "no idea"})).await;
    assert_eq!(calls(&hosts[0])[0], calls(&hosts[1])[0], "one call");
    assert_eq!(calls(&hosts[0])[0].1, json!({"x": [1]}));
    hosts[2].until("the reply", |host| host.reply(id).is_some()).await;
    let (status, data) = hosts[2].reply(id).expect("it came");
    assert_eq!((status, &data["missing"]), (0, &json!([])));
    let mut answers = data["answers"].as_array().expect("a list").clone();
    answers.sort_by_key(|answer| answer["error"].is_string());
    assert_eq!(
        answers,
        [
            json!({"from": worker(&hosts[0]), "data": {"guilds": 7}}),
            json!({"from": worker(&hosts[1]), "error": "no idea"}),
        ]
    );
    // A second answer is sent to nobody who waits, and does no harm.
    answer(&mut hosts[0], json!({"data": "again"})).await;
    // Who is not subscribed any more is not waited for.
    for host in &mut hosts[..2] {
        let unsubscribe = json!({"type": "unsubscribe", "topic": "guilds"});
        assert_eq!(host.ask(&unsubscribe).await, (0, Value::Null));
    }
    let nobody = hosts[2].ask(&json!({"type": "call", "topic": "guilds", "data": 1})).await;
    assert_eq!(nobody, (0, json!({"answers": [], "missing": []})));
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

async fn who_does_not_answer_is_named(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut hosts: Vec<Host> = (0..3).map(|_| backend.start(&simulator, json!({}))).collect();
    for host in &mut hosts {
        subscribe(host, "ping").await;
    }
    // One stops and is not asked; one is silent.
    hosts[2].stop(StopMode::Abort).await;
    let id =
        hosts[0].send(&json!({"type": "call", "topic": "ping", "data": null, "timeout_ms": 700}));
    answer(&mut hosts[0], json!({})).await;
    hosts[0].until("the reply", |host| host.reply(id).is_some()).await;
    let (status, data) = hosts[0].reply(id).expect("it came");
    assert_eq!(status, 0);
    assert_eq!(data["answers"], json!([{"from": worker(&hosts[0]), "data": null}]));
    assert_eq!(data["missing"], json!([worker(&hosts[1])]));

    // A cancelled call is over; what is answered to it afterwards goes nowhere.
    let id = hosts[0].send(&json!({"type": "call", "topic": "ping", "data": null}));
    hosts[1].until("the call", |host| calls(host).len() == 2).await;
    hosts[0].client.cancel(id).expect("it waits");
    hosts[0].until("the reply", |host| host.reply(id).is_some()).await;
    assert_eq!(hosts[0].reply(id).expect("it came").0, -17);
    for mut host in hosts.into_iter().take(2) {
        host.stop(StopMode::Abort).await;
    }
}

/// What would not fit does not go out, and says why.
async fn too_many_bytes_are_refused(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut host = backend.start(&simulator, json!({}));
    let long = "x".repeat(300_000);
    for command in [
        json!({"type": "publish", "topic": "x", "data": long}),
        json!({"type": "call", "topic": "x", "data": long}),
        json!({"type": "answer", "call": "a:1", "data": long}),
        json!({"type": "answer", "call": "a:1", "error": long}),
    ] {
        let error = host.client.send_command(&command.to_string()).expect_err("too long");
        assert_eq!(error.kind(), shardwright::ErrorKind::TooLarge, "{error}");
    }
    // The most subscriptions that there are.
    let ids: Vec<u64> = (0..1_025)
        .map(|number| host.send(&json!({"type": "subscribe", "topic": format!("topic {number}")})))
        .collect();
    host.until("all replies", |host| ids.iter().all(|id| host.reply(*id).is_some())).await;
    let refused = ids.iter().filter(|id| host.reply(**id).expect("it came").0 == -8).count();
    assert_eq!(refused, 1);
    host.stop(StopMode::Abort).await;
}
