//! Heartbeats: acknowledged, late, missing, asked for; and the limit of payloads.

mod common;

use std::time::Duration;

use common::{Client, simulator};
use serde_json::{Value, json};
use shardwright_sim::{Acks, By, ConnectPlan, Options, Pace, Rule, Simulator, Target};

const MS: Duration = Duration::from_millis(1);

fn rules(simulator: &Simulator) -> Vec<Rule> {
    simulator.violations().iter().map(|broken| broken.rule).collect()
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_acknowledged_before_and_after_identify() {
    let simulator = simulator(Options::default());
    let mut client = Client::connect(&simulator).await;
    assert_eq!(client.hello().await["heartbeat_interval"], 41_250);
    client.beat().await;
    let ack = client.payload().await;
    assert_eq!(ack, json!({"t": null, "s": null, "op": 11, "d": null}));
    client.identify(&simulator, [0, 1]).await;
    client.dispatch("GUILD_CREATE").await;
    client.beat().await;
    client.op(11).await;
    let beats: Vec<Option<u64>> = simulator.seen().heartbeats.iter().map(|beat| beat.d).collect();
    assert_eq!(beats, [None, Some(2)]);
    assert!(simulator.violations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn silence_for_interval_and_grace_ends_the_connection_but_not_the_session() {
    let options =
        Options { heartbeat_interval_ms: 10_000, heartbeat_grace_ms: 5_000, ..Options::default() };
    let simulator = simulator(options);
    let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
    client.drain(MS).await;
    let seq = client.seq.unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(client.close_code().await, 4009);
    assert!(start.elapsed().abs_diff(Duration::from_secs(15)) <= 5 * MS);
    assert_eq!(rules(&simulator), [Rule::HeartbeatMissed]);
    let record = simulator.seen().connections[&1].closed.clone().unwrap();
    assert_eq!((record.by, record.code), (By::Server, Some(4009)));
    let mut client = Client::connect(&simulator).await;
    client.resume(&simulator, ready["session_id"].as_str().unwrap(), seq).await;
    client.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn a_late_heartbeat_is_noticed() {
    let options = Options { heartbeat_late_ms: 500, ..Options::default() };
    let simulator = simulator(options);
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    tokio::time::advance(Duration::from_millis(41_750)).await;
    client.beat().await;
    client.op(11).await;
    assert!(rules(&simulator).is_empty());
    tokio::time::advance(Duration::from_millis(41_751)).await;
    client.beat().await;
    client.op(11).await;
    assert_eq!(rules(&simulator), [Rule::HeartbeatLate]);
}

/// A client learns of the interval when HELLO is there, however long the line took until then.
#[tokio::test(start_paused = true)]
async fn the_first_heartbeat_is_due_after_hello() {
    let options = Options { heartbeat_late_ms: 500, ..Options::default() };
    let simulator = simulator(options);
    let dribble = Some(Pace { bytes: 3, gap_ms: 60 });
    simulator.plan(Some(1), ConnectPlan { dribble, ..ConnectPlan::default() }).unwrap();
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    assert!(simulator.now() > Duration::from_secs(2));
    tokio::time::advance(Duration::from_millis(41_250)).await;
    client.beat().await;
    client.op(11).await;
    assert!(rules(&simulator).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_must_carry_what_was_sent() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(MS).await;
    let seq = client.seq.unwrap();
    for (d, broken) in [(seq, 0), (seq + 1, 1), (seq, 2), (seq, 2)] {
        client.send(&json!({"op": 1, "d": d})).await;
        client.op(11).await;
        assert_eq!(rules(&simulator), vec![Rule::HeartbeatSeq; broken], "d = {d}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.send(&json!({"op": 1, "d": null})).await;
    client.op(11).await;
    assert_eq!(rules(&simulator).len(), 4, "it went back, and READY was long ago");
    client.send(&json!({"op": 1, "d": "soon"})).await;
    assert_eq!(client.close_code().await, 4001);
}

#[tokio::test(start_paused = true)]
async fn acks_can_be_swallowed_and_delayed() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(MS).await;
    assert_eq!(simulator.acks(Target::Shard(0), Acks::Swallow(2)), 1);
    for acked in [false, false, true] {
        client.beat().await;
        let acks = client.drain(MS).await;
        assert_eq!(acks.len(), usize::from(acked));
    }
    simulator.acks(Target::All, Acks::DelayMs(7_000));
    client.beat().await;
    let start = tokio::time::Instant::now();
    client.op(11).await;
    assert!(start.elapsed().abs_diff(Duration::from_secs(7)) <= 5 * MS);
    simulator.acks(Target::All, Acks::SwallowAll);
    client.beat().await;
    // Events still come.
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    simulator.post_message(channel, None, "still here").unwrap();
    let rest = client.drain(Duration::from_secs(20)).await;
    assert!(rest.iter().all(|payload| payload["op"] != 11));
    assert_eq!(rest.len(), 1);
    let acked: Vec<bool> = simulator.seen().heartbeats.iter().map(|beat| beat.acked).collect();
    assert_eq!(acked, [false, false, true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_can_be_asked_for() {
    let simulator = simulator(Options { heartbeat_late_ms: 1_000, ..Options::default() });
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(MS).await;
    simulator.request_heartbeat(Target::All);
    assert_eq!(client.payload().await, json!({"t": null, "s": null, "op": 1, "d": null}));
    client.beat().await;
    client.op(11).await;
    assert!(simulator.seen().heartbeats[0].requested);
    assert!(rules(&simulator).is_empty());
    simulator.request_heartbeat(Target::All);
    client.op(1).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    client.beat().await;
    client.op(11).await;
    assert_eq!(rules(&simulator), [Rule::HeartbeatRequestIgnored]);
}

#[tokio::test(start_paused = true)]
async fn the_121st_payload_in_60_s_is_4008() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(MS).await;
    // IDENTIFY was the first.
    for _ in 0..119 {
        client.beat().await;
        client.op(11).await;
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    for _ in 0..120 {
        client.beat().await;
        client.op(11).await;
    }
    tokio::time::advance(Duration::from_secs(59)).await;
    client.beat().await;
    assert_eq!(client.close_code().await, 4008);
    assert!(rules(&simulator).contains(&Rule::TooManyPayloads));
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;

    let simulator = simulator(Options::default());
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.socket.send(Message::Ping(b"are you there".as_slice().into())).await.unwrap();
    let pong = client.socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"are you there".as_slice().into()));
}

#[tokio::test(start_paused = true)]
async fn presence_updates_are_kept_and_counted() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    let presence = json!({"since": null, "activities": [], "status": "dnd", "afk": false});
    for _ in 0..6 {
        client.send(&json!({"op": 3, "d": presence})).await;
    }
    simulator.wait_until(|seen| seen.counts.commands == 6).await;
    assert_eq!(rules(&simulator), [Rule::PresenceTooOften]);
    let old = json!({"since": 123, "game": {"name": "Chess", "type": 0}, "status": "online"});
    client.send(&json!({"op": 3, "d": old})).await;
    simulator.wait_until(|seen| seen.counts.commands == 7).await;
    client.beat().await;
    client.op(11).await;
    for bad in
        [json!({}), json!({"since": null, "activities": [], "status": "asleep"}), Value::Null]
    {
        let (mut client, _) = {
            tokio::time::advance(Duration::from_secs(5)).await;
            Client::ready(&simulator, [0, 1]).await
        };
        client.send(&json!({"op": 3, "d": bad})).await;
        assert_eq!(client.close_code().await, 4001, "{bad}");
    }
}
