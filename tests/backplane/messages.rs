//! `publish`, `subscribe` and `unsubscribe`.

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::Options;

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, Told, simulator};

on_every_backplane!(
    who_subscribed_hears_it,
    a_bot_hears_nothing_of_another,
    everything_comes_in_order_and_whole,
    a_slow_host_loses_the_oldest,
);

/// The messages that a host got.
pub(crate) fn messages(host: &Host) -> Vec<&Told> {
    host.told.iter().filter(|told| told.kind == EventKind::Message).collect()
}

/// Subscribes.
pub(crate) async fn subscribe(host: &mut Host, topic: &str) {
    let reply = host.ask(&json!({"type": "subscribe", "topic": topic})).await;
    assert_eq!(reply, (0, json!({"active": true})));
}

/// Publishes.
async fn publish(host: &mut Host, topic: &str, data: Value) {
    let reply = host.ask(&json!({"type": "publish", "topic": topic, "data": data})).await;
    assert_eq!(reply, (0, Value::Null));
}

async fn who_subscribed_hears_it(backend: Backend) {
    let simulator = simulator(Options::default());
    let mut hosts: Vec<Host> = (0..3).map(|_| backend.start(&simulator, json!({}))).collect();
    subscribe(&mut hosts[0], "reload").await;
    subscribe(&mut hosts[1], "reload").await;
    subscribe(&mut hosts[2], "Reload").await;
    let data = json!({"what": ["all", 1.5, null, "\u{e9}\u{0}"]});
    publish(&mut hosts[0], "reload", data.clone()).await;
    publish(&mut hosts[1], "Reload", json!("end")).await;
    let mut from = Vec::new();
    for host in &mut hosts[..2] {
        host.until("the message", |host| !messages(host).is_empty()).await;
        let told = messages(host)[0];
        assert_eq!((told.name.as_str(), &told.data["data"]), ("reload", &data));
        from.push(told.data["from"].as_str().expect("a worker").to_owned());
    }
    assert_eq!(from[0], from[1], "both are from the first");
    hosts[2].until("the message", |host| !messages(host).is_empty()).await;
    assert_eq!(messages(&hosts[2])[0].name, "Reload", "topics are exact");
    assert_ne!(messages(&hosts[2])[0].data["from"], from[0]);

    // Unsubscribed is unsubscribed: of two messages the second tells that the first would have come.
    let reply = hosts[1].ask(&json!({"type": "unsubscribe", "topic": "reload"})).await;
    assert_eq!(reply, (0, Value::Null));
    subscribe(&mut hosts[1], "other").await;
    publish(&mut hosts[2], "reload", json!(1)).await;
    publish(&mut hosts[2], "other", json!(2)).await;
    hosts[1].until("the message", |host| messages(host).len() == 2).await;
    assert_eq!(messages(&hosts[1])[1].name, "other");
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

async fn a_bot_hears_nothing_of_another(backend: Backend) {
    let simulator = simulator(Options::default());
    // The first part of a token is the bot's id.
    let tokens = ["MTEwMDAwMDAwMDAwMDAwMDAwMQ.x.y", "MTEwMDAwMDAwMDAwMDAwMDAwMg.x.y"];
    let mut hosts: Vec<Host> =
        tokens.iter().map(|token| backend.start(&simulator, json!({"token": token}))).collect();
    for host in &mut hosts {
        subscribe(host, "reload").await;
    }
    for (index, host) in hosts.iter_mut().enumerate() {
        publish(host, "reload", json!(index)).await;
    }
    for (index, host) in hosts.iter_mut().enumerate() {
        host.until("the message", |host| !messages(host).is_empty()).await;
        publish(host, "reload", json!("end")).await;
        host.until("the message", |host| messages(host).len() >= 2).await;
        let data: Vec<&Value> = messages(host).iter().map(|told| &told.data["data"]).collect();
        assert_eq!(data, [&json!(index), &json!("end")]);
        host.stop(StopMode::Abort).await;
    }
}

async fn everything_comes_in_order_and_whole(backend: Backend) {
    const COUNT: u64 = 2_000;
    let simulator = simulator(Options::default());
    let mut hosts: Vec<Host> = (0..2).map(|_| backend.start(&simulator, json!({}))).collect();
    for host in &mut hosts {
        subscribe(host, "count").await;
    }
    for number in 0..COUNT {
        publish(
            &mut hosts[1],
            "count",
            json!({"number": number, "fill": "x".repeat(number as usize)}),
        )
        .await;
    }
    for host in &mut hosts {
        host.until("all messages", |host| messages(host).len() as u64 == COUNT).await;
        for (number, told) in messages(host).into_iter().enumerate() {
            assert_eq!(told.data["data"]["number"], number);
            assert_eq!(told.data["data"]["fill"].as_str().map(str::len), Some(number));
        }
        host.stop(StopMode::Abort).await;
    }
}

/// A host that does not poll costs its process a bounded amount of memory, and the others nothing.
async fn a_slow_host_loses_the_oldest(backend: Backend) {
    /// 48 MB where 32 MiB wait at most.
    const COUNT: usize = 240;
    let simulator = simulator(Options::default());
    let mut hosts: Vec<Host> = (0..2).map(|_| backend.start(&simulator, json!({}))).collect();
    for host in &mut hosts {
        subscribe(host, "flood").await;
    }
    let fill = "x".repeat(200_000);
    for number in 0..COUNT {
        publish(&mut hosts[1], "flood", json!([number, fill])).await;
    }
    publish(&mut hosts[1], "flood", json!(["end"])).await;
    // The one that polled all the time has it all.
    hosts[1].until("all messages", |host| messages(host).len() == COUNT + 1).await;
    let slow = &mut hosts[0];
    slow.until("the last message", |host| {
        messages(host).last().is_some_and(|told| told.data["data"][0] == "end")
    })
    .await;
    let overflow =
        slow.told.iter().find(|told| told.kind == EventKind::Overflow).expect("an OVERFLOW");
    let came = messages(slow).len();
    assert_eq!(
        came + overflow.status.unsigned_abs() as usize,
        COUNT + 1,
        "what is missing was counted"
    );
    assert!(came < COUNT, "{came} came");
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// Commands for others are refused where there are no others.
#[tokio::test]
async fn without_a_backplane_they_are_refused() {
    let simulator = simulator(Options::default());
    let mut host = Host::start(&simulator, json!({}));
    for kind in ["subscribe", "unsubscribe"] {
        let error = host.client.send_command(&json!({"type": kind, "topic": "x"}).to_string());
        let error = error.expect_err("there is nobody to talk to");
        assert_eq!(error.kind(), shardwright::ErrorKind::Unsupported);
        assert!(error.to_string().contains("`backplane`"), "{error}");
    }
    host.stop(StopMode::Abort).await;
}
