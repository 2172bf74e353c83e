//! A world that goes on by itself: its rate, its numbers, and that a seed makes it again.

mod common;

use std::time::Duration;

use common::{Client, simulator};
use serde_json::Value;
use shardwright_sim::{Cut, Options, Simulator, Target};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

fn busy() -> Options {
    Options { guilds: 16, events_per_second: 200.0, max_concurrency: 16, ..Options::default() }
}

/// The number that an event carries.
fn number(payload: &Value) -> Option<u64> {
    payload["d"]["nonce"].as_str()?.parse().ok()
}

#[tokio::test(start_paused = true)]
async fn events_come_at_their_rate_and_each_number_once() {
    let simulator = simulator(busy());
    let mut clients = Vec::new();
    for shard in 0..4 {
        clients.push(Client::ready(&simulator, [shard, 4]).await.0);
    }
    let traffic = tokio::spawn(simulator.traffic());
    sleep(10 * SECOND).await;
    traffic.abort();
    let happened = simulator.seen().counts.events;
    assert!((1_990..=2_001).contains(&happened), "{happened} events in 10 s");
    let mut numbers = Vec::new();
    for (shard, client) in clients.iter_mut().enumerate() {
        let payloads = client.drain(SECOND).await;
        let of_shard: Vec<u64> = payloads.iter().filter_map(number).collect();
        assert_eq!(of_shard, simulator.look(|seen| seen.numbers_of_shard(shard as u32)));
        for payload in payloads.iter().filter(|payload| payload["t"] == "MESSAGE_CREATE") {
            let content = payload["d"]["content"].as_str().unwrap();
            assert!(content.ends_with(&format!(" #{}", number(payload).unwrap())), "{content}");
        }
        numbers.extend(of_shard);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=happened).collect::<Vec<u64>>(), "each exactly once");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_when_sockets_drop() {
    let simulator = simulator(busy());
    let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
    let session = ready["session_id"].as_str().unwrap().to_owned();
    let traffic = tokio::spawn(simulator.traffic());
    let mut numbers = Vec::new();
    for round in 0..20 {
        sleep(SECOND).await;
        let how = [Cut::Fin, Cut::Reset, Cut::Silence][round % 3];
        simulator.drop_sockets(Target::All, how);
        let payloads = client.drain(SECOND / 10).await;
        numbers.extend(payloads.iter().filter_map(number));
        let seq = client.seq.unwrap();
        client = Client::connect(&simulator).await;
        client.hello().await;
        client.resume(&simulator, &session, seq).await;
    }
    traffic.abort();
    numbers.extend(client.drain(SECOND).await.iter().filter_map(number));
    assert_eq!(numbers, simulator.look(|seen| seen.numbers(&session)));
    assert!(numbers.len() > 4_000);
    assert!(simulator.violations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_rate_can_change_and_stop() {
    let simulator = simulator(Options::default());
    let _client = Client::ready(&simulator, [0, 1]).await;
    tokio::spawn(simulator.traffic());
    // A second one does not double it.
    tokio::spawn(simulator.traffic());
    let count = |simulator: &Simulator| simulator.look(|seen| seen.counts.events);
    sleep(60 * SECOND).await;
    assert_eq!(count(&simulator), 0);
    for (rate, expected) in [(10.0, 100), (0.0, 0), (1_500.0, 15_000), (0.5, 5)] {
        simulator.set_traffic(rate).unwrap();
        let before = count(&simulator);
        sleep(10 * SECOND + Duration::from_millis(1)).await;
        let happened = count(&simulator) - before;
        assert!(happened.abs_diff(expected) <= 2, "{happened} at {rate} per second");
    }
}

async fn transcript(seed: u64) -> (Vec<String>, String) {
    let simulator = simulator(Options { seed, ..busy() });
    let (mut client, _) = Client::ready(&simulator, [1, 4]).await;
    tokio::spawn(simulator.traffic());
    for _ in 0..500 {
        client.payload().await;
    }
    simulator.shutdown();
    client.end().await;
    let seen = serde_json::to_string(&simulator.seen()).unwrap();
    (client.messages.iter().map(ToString::to_string).collect(), seen)
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_the_same_bytes_again() {
    let (first, again, other) = (transcript(7).await, transcript(7).await, transcript(8).await);
    assert!(first.0.len() > 500);
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_everything() {
    let simulator = simulator(busy());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    let traffic = tokio::spawn(simulator.traffic());
    sleep(SECOND).await;
    simulator.shutdown();
    traffic.await.unwrap();
    client.end().await;
    simulator.wait_until(|seen| seen.open_connections().count() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_in_one_process() {
    let options = Options {
        guilds: 1_000,
        channels_per_guild: 3,
        roles_per_guild: 2,
        members_per_guild: 20,
        max_concurrency: 1_000,
        events_per_second: 200.0,
        ..Options::default()
    };
    let simulator = simulator(options);
    let mut clients = Vec::new();
    for shard in 0..1_000 {
        clients.push(tokio::spawn({
            let simulator = simulator.clone();
            async move {
                let (mut client, _) = Client::ready(&simulator, [shard, 1_000]).await;
                let mut count = 0_u64;
                while client.next_within(45 * SECOND).await.is_some() {
                    count += 1;
                }
                count
            }
        }));
    }
    simulator.wait_until(|seen| seen.counts.readies == 1_000).await;
    let traffic = tokio::spawn(simulator.traffic());
    sleep(10 * SECOND).await;
    traffic.abort();
    let mut received = 0;
    for client in clients {
        received += client.await.unwrap();
    }
    let seen = simulator.seen();
    // Each has its guild, and together they have every event.
    assert_eq!(received, 1_000 + seen.counts.events);
    assert!(seen.violations.is_empty());
}
