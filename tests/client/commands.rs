//! Commands and their replies.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::config::MAX_COMMANDS_IN_FLIGHT;
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::{ConnectPlan, Cut, Hello, Options, Ready, Simulator, Target};

use crate::host::{Host, simulator};

/// A ready client of four shards, with a guild on each.
async fn ready() -> (Simulator, Host) {
    let simulator = simulator(Options {
        guilds: 40,
        members_per_guild: 30,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    });
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    (simulator, host)
}

/// What the simulator saw of an opcode: shard and `d`.
fn seen(simulator: &Simulator, op: u64) -> Vec<(u32, Value)> {
    simulator.look(|seen| {
        let commands = seen.commands.iter().filter(|command| command.op == op);
        commands.map(|command| (command.shard.expect("identified")[0], command.d.clone())).collect()
    })
}

/// A presence goes to every shard and, after one identified anew, to that one again.
#[tokio::test(start_paused = true)]
async fn a_presence_goes_to_every_shard() {
    let (simulator, mut host) = ready().await;
    let presence = json!({"type": "update_presence", "status": "idle",
        "activities": [{"name": "chess", "type": 0}]});
    assert_eq!(host.ask(&presence).await, (0, Value::Null));
    simulator.wait_until(|seen| seen.counts.commands == 4).await;
    let mut shards: Vec<u32> = seen(&simulator, 3).into_iter().map(|(shard, _)| shard).collect();
    shards.sort_unstable();
    assert_eq!(shards, [0, 1, 2, 3]);
    assert_eq!(seen(&simulator, 3)[0].1["activities"][0]["name"], "chess");
    let restart = json!({"type": "restart_shard", "shard": 1, "resume": false});
    assert_eq!(host.ask(&restart).await, (0, Value::Null));
    simulator.wait_until(|seen| seen.counts.identified == 5).await;
    let presence = simulator.look(|seen| seen.identifies[4].presence.clone());
    assert_eq!(presence.expect("in the identify")["status"], "idle");
    assert_eq!(simulator.violations().len(), 0);
}

/// Scenario 63: what is about a guild goes to the shard of that guild, and the answers come back.
#[tokio::test(start_paused = true)]
async fn guild_commands_reach_their_shard() {
    let (simulator, mut host) = ready().await;
    for shard in 0..4 {
        let guild = simulator.guilds_of_shard(shard, 4)[0];
        let voice = simulator.voice_channels(guild)[0];
        let text = guild.0.to_string();
        for command in [
            json!({"type": "update_voice_state", "guild_id": text, "channel_id": voice.0.to_string()}),
            json!({"type": "request_guild_members", "guild_id": guild.0, "query": "", "nonce": text}),
            json!({"type": "request_channel_info", "guild_id": text}),
            json!({"type": "gateway", "op": 4, "d": {"guild_id": text, "channel_id": null,
                "self_mute": false, "self_deaf": false}}),
        ] {
            assert_eq!(host.ask(&command).await, (0, Value::Null), "{command}");
        }
        host.until("the answers", |host| {
            let of_guild = |name: &str| host.dispatches(name).any(|told| told.guild_id == guild.0);
            of_guild("VOICE_STATE_UPDATE")
                && of_guild("CHANNEL_INFO")
                && host.dispatches("GUILD_MEMBERS_CHUNK").any(|told| {
                    told.data["nonce"] == text
                        && told.shard_id == shard
                        && told.data["members"].as_array().is_some_and(|m| m.len() == 30)
                })
        })
        .await;
    }
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 64: a list of guilds is split by shard, and there is one reply.
#[tokio::test(start_paused = true)]
async fn guild_lists_are_split_by_shard() {
    let (simulator, mut host) = ready().await;
    let guilds = simulator.guilds();
    let ids: Vec<String> = guilds.iter().map(|guild| guild.0.to_string()).collect();
    let command = json!({"type": "request_soundboard_sounds", "guild_ids": ids});
    assert_eq!(host.ask(&command).await, (0, Value::Null));
    host.until("the sounds", |host| host.dispatches("SOUNDBOARD_SOUNDS").count() == 40).await;
    assert_eq!(seen(&simulator, 31).len(), 4);
    assert_eq!(host.told.iter().filter(|told| told.kind == EventKind::Reply).count(), 1);

    // It waits for the last of the shards.
    let silent = ConnectPlan { hello: Hello::Never, ..ConnectPlan::default() };
    simulator.plan(Some(1), silent).expect("a plan");
    simulator.drop_sockets(Target::Shard(3), Cut::Reset);
    host.until("the loss", |host| host.client.healthy().is_err()).await;
    let id = host.send(&command);
    host.during(Duration::from_secs(5)).await;
    assert_eq!(host.reply(id), None);
    host.until("the reply", |host| host.reply(id).is_some()).await;
    assert_eq!(seen(&simulator, 31).len(), 8);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 60: RATE_LIMITED comes as the dispatch it is, and neither the connection nor another
/// command suffers from it.
#[tokio::test(start_paused = true)]
async fn rate_limited_comes_as_a_dispatch() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds()[0].0.to_string();
    let all =
        json!({"type": "request_guild_members", "guild_id": guild, "query": "", "nonce": "n"});
    host.ask(&all).await;
    host.ask(&all).await;
    host.until("RATE_LIMITED", |host| host.dispatches("RATE_LIMITED").count() == 1).await;
    let limited = host.dispatches("RATE_LIMITED").next().expect("came").data.clone();
    assert_eq!((&limited["opcode"], &limited["meta"]["nonce"]), (&json!(8), &json!("n")));
    let asked_at = simulator.now();
    let other = json!({"type": "request_channel_info", "guild_id": guild});
    assert_eq!(host.ask(&other).await.0, 0);
    host.until("an answer", |host| host.dispatches("CHANNEL_INFO").count() == 1).await;
    assert!(simulator.now() - asked_at < Duration::from_secs(1), "it does not wait");
    assert_eq!(simulator.look(|seen| seen.counts.connections), 4);
}

/// Scenario 63: what is for a shard or a guild of somebody else is refused, with the owner.
#[tokio::test(start_paused = true)]
async fn foreign_shards_are_refused_by_name() {
    let simulator = simulator(Options { guilds: 64, ..Options::default() });
    let shards = json!({"total": 16, "ids": [3]});
    let mut host = Host::start(&simulator, json!({"shards": shards}));
    host.until_ready().await;
    let error =
        |command: Value| host.client.send_command(&command.to_string()).expect_err("refused");
    let foreign = simulator.guilds_of_shard(9, 16)[0].0;
    let of_guild = error(json!({"type": "update_voice_state", "guild_id": foreign}));
    assert_eq!(of_guild.kind(), ErrorKind::UnknownShard);
    assert!(of_guild.to_string().contains("shard 9 of 16"), "{of_guild}");
    let of_list = error(json!({"type": "request_soundboard_sounds", "guild_ids": [foreign]}));
    assert_eq!(of_list.kind(), ErrorKind::UnknownShard);
    let beyond = error(json!({"type": "restart_shard", "shard": 16}));
    assert!(beyond.to_string().contains("there is no shard 16"), "{beyond}");
}

/// Commands that come before the shards do are held, and checked when they are there.
#[tokio::test(start_paused = true)]
async fn early_commands_are_held() {
    let simulator = simulator(Options { guilds: 8, ..Options::default() });
    let mut host = Host::start(&simulator, json!({"shards": {"total": 4, "ids": [0]}}));
    let here = simulator.guilds_of_shard(0, 4)[0].0;
    let foreign = simulator.guilds_of_shard(1, 4)[0].0;
    let good = host.send(&json!({"type": "request_channel_info", "guild_id": here}));
    let bad = host.send(&json!({"type": "request_channel_info", "guild_id": foreign}));
    host.until("both replies", |host| host.reply(good).is_some() && host.reply(bad).is_some())
        .await;
    assert_eq!(host.reply(good).expect("came").0, 0);
    let (status, data) = host.reply(bad).expect("came");
    assert_eq!(status, -7);
    assert!(data["error"].as_str().expect("a text").contains("shard 1 of 4"), "{data}");
    host.until("the answer", |host| host.dispatches("CHANNEL_INFO").count() == 1).await;
}

/// A REST request by command: the reply has the status and the body as it came, the message is seen
/// by everybody, and the headers are right.
#[tokio::test(start_paused = true)]
async fn rest_goes_by_command() {
    let (simulator, mut host) = ready().await;
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    let path = format!("/channels/{}/messages", channel.0);
    let body = json!({"content": "Pong!", "nonce": "p1"});
    let (status, message) = host
        .ask(&json!({"type": "rest", "method": "POST", "path": path, "body": body,
            "reason": "because é"}))
        .await;
    assert_eq!((status, &message["content"]), (200, &json!("Pong!")));
    host.until("the dispatch", |host| {
        host.dispatches("MESSAGE_CREATE").any(|told| told.data["id"] == message["id"])
    })
    .await;
    let call = simulator.look(|seen| seen.rest.back().expect("a call").clone());
    assert!(call.authorized);
    assert_eq!(call.reason.as_deref(), Some("because é"));
    assert!(call.user_agent.expect("a user agent").starts_with("DiscordBot ("));
    let (status, error) =
        host.ask(&json!({"type": "rest", "method": "GET", "path": "/channels/1"})).await;
    assert_eq!((status, &error["code"]), (404, &json!(10_003)));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// A hundred messages to one channel keep to the limits that Discord's headers tell.
#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_keeps_the_limits() {
    let (simulator, mut host) = ready().await;
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    let path = format!("/channels/{}/messages", channel.0);
    let ids: Vec<u64> = (0..100)
        .map(|n| {
            let body = json!({"content": format!("number {n}")});
            host.send(&json!({"type": "rest", "method": "POST", "path": path, "body": body}))
        })
        .collect();
    host.until("all replies", |host| ids.iter().all(|id| host.reply(*id).is_some())).await;
    assert!(ids.iter().all(|id| host.reply(*id).expect("came").0 == 200));
    assert_eq!(simulator.look(|seen| seen.counts.rest_limited), 0);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    let said: Vec<Value> =
        simulator.messages(channel).iter().map(|message| message["content"].clone()).collect();
    let expected: Vec<Value> = (0..100).map(|n| json!(format!("number {n}"))).collect();
    assert_eq!(said[said.len() - 100..], expected, "in order");
}

/// What `/gateway/bot` says now.
#[tokio::test(start_paused = true)]
async fn gateway_info_asks_discord() {
    let (_simulator, mut host) = ready().await;
    let (status, info) = host.ask(&json!({"type": "gateway_info"})).await;
    assert_eq!((status, &info["shards"]), (0, &json!(4)));
    assert_eq!(info["session_start_limit"]["max_concurrency"], 4);
}

/// Scenario 56, whole: 500 commands at once reach a shard as fast as allowed, with heartbeats on time.
#[tokio::test(start_paused = true)]
async fn a_flood_of_commands_keeps_the_limits() {
    let (simulator, mut host) = ready().await;
    let guild = simulator.guilds_of_shard(2, 4)[0].0;
    let ids: Vec<u64> = (0..500)
        .map(|_| host.send(&json!({"type": "request_channel_info", "guild_id": guild})))
        .collect();
    host.until("all replies", |host| ids.iter().all(|id| host.reply(*id).is_some())).await;
    host.until("all answers", |host| host.dispatches("CHANNEL_INFO").count() == 500).await;
    assert!(simulator.now() < Duration::from_secs(300), "{:?}", simulator.now());
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// A command can be cancelled while it waits, and only then.
#[tokio::test(start_paused = true)]
async fn commands_can_be_cancelled() {
    let simulator = simulator(Options::default());
    simulator.ready(None, Ready::Never);
    let mut host = Host::start(&simulator, json!({}));
    let id = host.send(&json!({"type": "gateway", "op": 4, "d": {}, "shard": 0}));
    host.during(Duration::from_secs(5)).await;
    host.client.cancel(id).expect("it waits");
    host.until("the reply", |host| host.reply(id).is_some()).await;
    assert_eq!(host.reply(id).expect("came").0, -17);
    assert_eq!(host.client.cancel(id).expect_err("done").kind(), ErrorKind::NotFound);
    simulator.ready(None, Ready::AtOnce);
    host.until_ready().await;
    host.during(Duration::from_secs(5)).await;
    assert_eq!(seen(&simulator, 4).len(), 0);
    let replies = host.told.iter().filter(|told| told.command_id == id).count();
    assert_eq!(replies, 1);
}

/// A host that never polls its replies is refused more commands, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn unpolled_replies_are_bounded() {
    let (_simulator, mut host) = ready().await;
    let command = json!({"type": "restart_shard", "shard": 0}).to_string();
    let mut accepted = Vec::new();
    let error = loop {
        match host.client.send_command(&command) {
            Ok(id) => accepted.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), accepted.len()), (ErrorKind::QueueFull, MAX_COMMANDS_IN_FLIGHT));
    host.stop(StopMode::Abort).await;
    assert!(accepted.iter().all(|id| host.reply(*id).is_some()));
}
