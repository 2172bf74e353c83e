//! A gateway that plays a recording to every connection.

mod common;

use std::time::{Duration, Instant};

use common::{Arrived, Client, QUERY, call, simulator};
use serde_json::{Value, json};
use shardwright_sim::{Options, Simulator};
use tokio_tungstenite::tungstenite::Message;

const EVENTS: u32 = 1_000;

const TRANSPORTS: [&str; 3] = ["", "zlib-stream", "zstd-stream"];

fn recorded() -> Simulator {
    simulator(Options { recorded_events: EVENTS, ..Options::default() })
}

/// Everything a client gets, HELLO included, as payloads and as messages.
async fn play(
    simulator: &Simulator,
    transport: &str,
    shard: [u32; 2],
) -> (Vec<Value>, Vec<Message>) {
    let query = format!("{QUERY}&compress={transport}");
    let mut client = Client::connect_with(simulator, &query).await.unwrap();
    let mut payloads = vec![client.payload().await];
    client.identify(simulator, shard).await;
    let last = u64::from(EVENTS) + simulator.guilds().len() as u64 + 1;
    while client.seq != Some(last) {
        payloads.push(client.payload().await);
    }
    client.close(1000).await;
    assert_eq!(client.end().await, Arrived::Closed(Some(1000), String::new()));
    (payloads, client.messages)
}

#[tokio::test(start_paused = true)]
async fn every_connection_gets_the_same_events_in_order() {
    let simulator = recorded();
    let mut texts = Vec::new();
    for (transport, shard) in TRANSPORTS.into_iter().zip([[0, 1], [1, 4], [3, 4]]) {
        let (payloads, messages) = play(&simulator, transport, shard).await;
        assert_eq!(payloads.len(), messages.len(), "a message for each payload");
        assert_eq!(payloads[0]["op"], 10);
        assert!(payloads[0]["d"]["heartbeat_interval"].as_u64() > Some(3_600_000));
        let seqs: Vec<_> = payloads[1..].iter().map(|payload| payload["s"].as_u64()).collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).map(Some).collect::<Vec<_>>());
        texts.push(payloads);
    }
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
    assert!(simulator.violations().is_empty());
    assert_eq!(simulator.look(|seen| (seen.counts.identified, seen.counts.closed)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn the_bytes_depend_on_the_seed_and_on_nothing_else() {
    let other_time =
        Options { started_at_unix_ms: Some(1), recorded_events: EVENTS, ..Options::default() };
    let other_seed = Options { seed: 2, ..other_time.clone() };
    for transport in TRANSPORTS {
        let (_, messages) = play(&recorded(), transport, [0, 1]).await;
        let same = Simulator::new(other_time.clone()).unwrap();
        assert_eq!(play(&same, transport, [0, 2]).await.1, messages);
        let other = Simulator::new(other_seed.clone()).unwrap();
        assert_ne!(play(&other, transport, [0, 1]).await.1, messages);
    }
}

#[tokio::test(start_paused = true)]
async fn the_events_are_a_bots_day_in_guilds_that_were_announced() {
    let simulator = recorded();
    let (payloads, messages) = play(&simulator, "", [0, 1]).await;
    assert_eq!(payloads[1]["t"], "READY");
    let guilds: Vec<&Value> = payloads[1]["d"]["guilds"].as_array().unwrap().iter().collect();
    let (announced, events) = payloads[2..].split_at(guilds.len());
    for (guild, created) in guilds.iter().zip(announced) {
        assert_eq!(created["t"], "GUILD_CREATE");
        assert_eq!(created["d"]["id"], guild["id"]);
    }
    let known = |id: &Value| announced.iter().any(|created| created["d"]["id"] == *id);
    assert!(events.iter().all(|event| known(&event["d"]["guild_id"])));
    let numbers = events.iter().map(|event| event["d"]["nonce"].clone());
    assert!(numbers.eq((1..=EVENTS).map(|number| json!(number.to_string()))));
    for (name, percent) in [
        ("MESSAGE_CREATE", 60),
        ("PRESENCE_UPDATE", 15),
        ("TYPING_START", 10),
        ("GUILD_MEMBER_UPDATE", 10),
        ("MESSAGE_REACTION_ADD", 5),
    ] {
        let have = events.iter().filter(|event| event["t"] == name).count() / 10;
        assert!(have.abs_diff(percent) <= 4, "{have} of 100 are {name}");
    }
    // As Discord orders the keys.
    let text = messages.last().unwrap().to_text().unwrap();
    assert!(text.starts_with("{\"t\":\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_identify_gets_nothing() {
    let simulator = recorded();
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.beat().await;
    client.send(&json!({"op": 2, "d": {"token": "not.the.token", "properties": {}}})).await;
    assert_eq!(client.close_code().await, 4004);
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.resume(&simulator, "recorded", 7).await;
    assert_eq!(client.close_code().await, 4007);
}

#[tokio::test(start_paused = true)]
async fn a_client_may_leave_in_the_middle_and_rest_goes_on() {
    let simulator = recorded();
    let (client, _) = Client::ready(&simulator, [0, 1]).await;
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    let answer = call(&simulator, "GET", "/gateway/bot").await;
    assert_eq!(answer.status, 200);
    assert_eq!(play(&simulator, "", [0, 1]).await.0.len(), 2 + 8 + EVENTS as usize);
}

#[test]
fn events_need_somewhere_to_happen() {
    let nowhere = Options { recorded_events: 1, guilds: 0, ..Options::default() };
    assert_eq!(nowhere.check().unwrap_err().option, "recorded_events");
}

#[tokio::test(start_paused = true)]
async fn the_events_wait_for_the_whole_fleet() {
    let simulator =
        simulator(Options { recorded_events: 5, recommended_shards: 2, ..Options::default() });
    let last = 1 + simulator.guilds().len() as u64;
    let (gone, _) = Client::ready(&simulator, [1, 2]).await;
    drop(gone);
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    let (mut first, _) = Client::ready(&simulator, [0, 2]).await;
    let (mut second, _) = Client::ready(&simulator, [1, 2]).await;
    for seq in [last, last + 5] {
        for client in [&mut first, &mut second] {
            while client.seq != Some(seq) {
                client.payload().await;
            }
        }
    }
    // The next fleet waits again.
    let (mut alone, _) = Client::ready(&simulator, [0, 2]).await;
    while alone.seq < Some(last) {
        alone.payload().await;
    }
    assert!(tokio::time::timeout(Duration::from_secs(1), alone.payload()).await.is_err());
}

#[tokio::test]
async fn a_recording_has_a_pace_if_it_is_given_one() {
    let options = Options { recorded_events: 20, events_per_second: 1_000.0, ..Options::default() };
    let simulator = simulator(options);
    let began = Instant::now();
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    while client.seq != Some(1 + 8 + 20) {
        client.payload().await;
    }
    client.close(1000).await;
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    let sent = simulator.look(|seen| seen.connections[&1].sent_unix_ns.clone());
    assert_eq!(sent.len(), 20);
    assert!(sent.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(began.elapsed() >= Duration::from_millis(20), "{sent:?}");
}
