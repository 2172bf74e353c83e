//! What the host is handed.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright_sim::{Options, Simulator, Target};

use crate::host::{Host, config, simulator};

fn quiet() -> Options {
    Options { guilds: 6, recommended_shards: 2, max_concurrency: 2, ..Options::default() }
}

/// A user's message arrives with everything an event says about it.
#[tokio::test(start_paused = true)]
async fn a_message_arrives() {
    for compression in ["zstd", "zlib", "none"] {
        let simulator = simulator(quiet());
        let mut host = Host::start(&simulator, json!({"compression": compression}));
        host.until_ready().await;
        let guild = simulator.guilds_of_shard(1, 2)[0];
        let channel = simulator.text_channels(guild)[0];
        simulator.post_message(channel, None, "!ping \"quoted\" \u{1f980}").expect("posted");
        host.until("the message", |host| host.dispatches("MESSAGE_CREATE").count() == 1).await;
        let message = host.dispatches("MESSAGE_CREATE").next().expect("came");
        assert_eq!((message.shard_id, message.guild_id), (1, guild.0));
        assert_eq!(message.data["content"], "!ping \"quoted\" \u{1f980}");
        assert!(message.seq > 1);
        assert_eq!((message.status, message.command_id), (0, 0));
    }
}

/// Scenario 63: direct messages come on shard 0, without a guild.
#[tokio::test(start_paused = true)]
async fn direct_messages_come_on_shard_0() {
    let simulator = simulator(quiet());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    simulator.direct_message(None, "psst").expect("posted");
    host.until("the message", |host| host.dispatches("MESSAGE_CREATE").count() == 1).await;
    let message = host.dispatches("MESSAGE_CREATE").next().expect("came");
    assert_eq!((message.shard_id, message.guild_id), (0, 0));
}

/// READY and a GUILD_CREATE for each guild come as dispatches, with the guild's id.
#[tokio::test(start_paused = true)]
async fn ready_and_guilds_come_as_dispatches() {
    let simulator = simulator(quiet());
    let mut host = Host::start(&simulator, json!({}));
    host.until("the guilds", |host| host.dispatches("GUILD_CREATE").count() == 6).await;
    assert_eq!(host.dispatches("READY").count(), 2);
    for ready in host.dispatches("READY") {
        assert_eq!(ready.data["shard"], json!([ready.shard_id, 2]));
    }
    let mut guilds: Vec<u64> = host.dispatches("GUILD_CREATE").map(|told| told.guild_id).collect();
    guilds.sort_unstable();
    let mut expected: Vec<u64> = simulator.guilds().iter().map(|guild| guild.0).collect();
    expected.sort_unstable();
    assert_eq!(guilds, expected);
}

/// Only the events that are asked for cross the boundary; the engine still sees the others.
#[tokio::test(start_paused = true)]
async fn events_can_be_filtered() {
    let simulator = simulator(Options { events_per_second: 100.0, ..quiet() });
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({"events": ["TYPING_START", "MESSAGE_CREATE"]}));
    host.until_ready().await;
    host.during(Duration::from_secs(20)).await;
    let dispatches = host.told.iter().filter(|told| told.kind == EventKind::Dispatch);
    let names: std::collections::BTreeSet<_> = dispatches.map(|told| told.name.clone()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["MESSAGE_CREATE", "TYPING_START"]);
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    assert_eq!(status["guilds"], 6, "counted from events the host does not get");
    assert!(host.shard_status(0)["sequence"].as_u64() > host.shard_status(0)["guilds"].as_u64());
}

/// Scenarios 65 and 67: outages, joins and leaves are counted for what they are.
#[tokio::test(start_paused = true)]
async fn guild_counts_follow() {
    let simulator = simulator(quiet());
    let mut host = Host::start(&simulator, json!({}));
    host.until("the guilds", |host| host.dispatches("GUILD_CREATE").count() == 6).await;
    let counts = |host: &Host| {
        let of = |key: &str| -> u64 {
            (0..2).map(|id| host.shard_status(id)[key].as_u64().expect("a number")).sum()
        };
        (of("guilds"), of("guilds_unavailable"))
    };
    host.until("all there", |host| counts(host) == (6, 0)).await;
    let guild = simulator.guilds()[2];
    simulator.guild_down(guild).expect("a guild");
    host.until("an outage", |host| counts(host) == (6, 1)).await;
    simulator.guild_up(guild).expect("a guild");
    host.until("it is over", |host| counts(host) == (6, 0)).await;
    simulator.leave_guild(guild).expect("a guild");
    host.until("left", |host| counts(host) == (5, 0)).await;
    simulator.join_guild().expect("joined");
    host.until("joined", |host| counts(host) == (6, 0)).await;
}

/// Scenario 53 over real sockets: bursts of large and small payloads, every compression.
#[tokio::test]
async fn bursts_arrive_whole_over_sockets() {
    for compression in ["zstd", "zlib", "none"] {
        let simulator = Simulator::new(Options { members_per_guild: 400, ..quiet() })
            .expect("sensible options");
        let server = simulator.bind().await.expect("a free port");
        let changes = json!({"compression": compression});
        let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), changes));
        host.until_ready().await;
        for _ in 0..20 {
            simulator.happen(500);
            simulator.dispatch(Target::All, "BIG", json!({"text": "x".repeat(300_000)}));
        }
        host.until("all of them", |host| host.dispatches("BIG").count() == 40).await;
        host.assert_nothing_lost(&simulator, 2).await;
        let big = host.dispatches("BIG").next().expect("came");
        assert_eq!(big.data["text"].as_str().map(str::len), Some(300_000));
        server.shutdown().await;
    }
}
