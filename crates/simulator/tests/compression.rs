//! Transport and payload compression, and the ways they are broken on purpose.

mod common;

use std::time::Duration;

use common::{Arrived, Client, QUERY, identify, simulator};
use serde_json::json;
use shardwright_sim::{Options, Simulator, Snowflake, Split, Target};
use tokio_tungstenite::tungstenite::Message;

const TRANSPORTS: [&str; 2] = ["zlib-stream", "zstd-stream"];

fn channel(simulator: &Simulator) -> Snowflake {
    simulator.text_channels(simulator.guilds()[0])[0]
}

async fn connect(simulator: &Simulator, transport: &str) -> Client {
    let query = format!("{QUERY}&compress={transport}");
    let mut client = Client::connect_with(simulator, &query).await.unwrap();
    client.hello().await;
    client.identify(simulator, [0, 1]).await;
    client.dispatch("READY").await;
    client.drain(Duration::from_secs(1)).await;
    client
}

#[tokio::test(start_paused = true)]
async fn every_payload_is_one_binary_message() {
    for transport in TRANSPORTS {
        let simulator = simulator(Options::default());
        let mut client = connect(&simulator, transport).await;
        for number in 0..200 {
            simulator.post_message(channel(&simulator), None, format!("message {number}")).unwrap();
        }
        for number in 0..200 {
            let before = client.messages.len();
            let message = client.dispatch("MESSAGE_CREATE").await;
            assert_eq!(message["content"], format!("message {number}"));
            assert_eq!(client.messages.len(), before + 1);
        }
        client.beat().await;
        client.op(11).await;
        assert!(client.messages.iter().all(Message::is_binary));
        if transport == "zlib-stream" {
            let suffixed =
                |message: &Message| message.clone().into_data().ends_with(&[0, 0, 0xFF, 0xFF]);
            assert!(client.messages.iter().all(suffixed));
        }
        assert_eq!(simulator.seen().connections[&1].compression, transport);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_context_shrinks_what_repeats() {
    for transport in TRANSPORTS {
        let simulator = simulator(Options::default());
        let mut client = connect(&simulator, transport).await;
        let mut sizes = Vec::new();
        for _ in 0..3 {
            simulator.post_message(channel(&simulator), None, "the same again").unwrap();
            client.dispatch("MESSAGE_CREATE").await;
            sizes.push(client.messages.last().unwrap().len());
        }
        assert!(sizes[1] < sizes[0] && sizes[2] < 200, "{transport}: {sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_connection_has_a_context_of_its_own() {
    for transport in TRANSPORTS {
        let simulator = simulator(Options::default());
        let first = connect(&simulator, transport).await;
        drop(first);
        tokio::time::advance(Duration::from_secs(5)).await;
        // A fresh decoder understands everything.
        connect(&simulator, transport).await;
    }
}

#[tokio::test(start_paused = true)]
async fn payload_compression_takes_the_large_ones() {
    let simulator = simulator(Options { payload_compression_bytes: 2_000, ..Options::default() });
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    let mut payload = identify(&simulator, [0, 1]);
    payload["d"]["compress"] = json!(true);
    client.send(&payload).await;
    client.dispatch("READY").await;
    client.dispatch("GUILD_CREATE").await;
    assert!(client.messages.last().unwrap().is_binary());
    client.beat().await;
    client.op(11).await;
    assert!(client.messages.last().unwrap().is_text(), "an ACK is small");
    assert!(simulator.seen().identifies[0].compress);

    // It is off where the transport compresses.
    tokio::time::advance(Duration::from_secs(5)).await;
    let query = format!("{QUERY}&compress=zlib-stream");
    let mut client = Client::connect_with(&simulator, &query).await.unwrap();
    client.send(&payload).await;
    client.dispatch("GUILD_CREATE").await;
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_message_cannot_be_decoded() {
    for (transport, garbage) in
        [("zlib-stream", "inflate failed"), ("zstd-stream", "zstd failed"), ("", "~\"t\":")]
    {
        let simulator = simulator(Options::default());
        let mut client = connect(&simulator, transport).await;
        assert_eq!(simulator.corrupt_next(Target::All, 1), 1);
        simulator.post_message(channel(&simulator), None, "never read").unwrap();
        let Arrived::Garbage(data) = client.next().await else { panic!("{transport}") };
        assert!(data.starts_with(garbage.as_bytes()), "{transport}");
        // A new connection resumes past it.
        let session = simulator.seen().connections[&1].session.clone().unwrap();
        let seq = client.seq.unwrap();
        let query = if transport.is_empty() {
            QUERY.to_owned()
        } else {
            format!("{QUERY}&compress={transport}")
        };
        let mut client = Client::connect_with(&simulator, &query).await.unwrap();
        client.resume(&simulator, &session, seq).await;
        assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "never read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatch_can_come_in_frames_or_messages() {
    for (transport, split, messages) in [
        ("", Split::Frames(5), 1),
        ("zlib-stream", Split::Frames(5), 1),
        ("zstd-stream", Split::Frames(5), 1),
        ("zlib-stream", Split::Messages(4), 4),
    ] {
        let simulator = simulator(Options::default());
        let mut client = connect(&simulator, transport).await;
        simulator.split_next(Target::All, split);
        simulator.post_message(channel(&simulator), None, "in pieces").unwrap();
        simulator.post_message(channel(&simulator), None, "whole").unwrap();
        let before = client.messages.len();
        assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "in pieces");
        assert_eq!(client.messages.len(), before + messages);
        assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "whole");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bomb_is_small_until_it_is_opened() {
    for transport in TRANSPORTS {
        let simulator = simulator(Options::default());
        let mut client = connect(&simulator, transport).await;
        let bomb = json!({"do": "bomb", "bytes": 8_000_000});
        simulator.act(&serde_json::from_value(bomb).unwrap()).unwrap();
        let payload = client.payload().await;
        assert_eq!(payload["t"], "BOMB");
        assert_eq!(payload["d"].as_str().unwrap().len(), 8_000_000);
        assert!(client.messages.last().unwrap().len() < 20_000);
    }
}
