//! Gateway commands for guilds of another process.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright_sim::{Options, Simulator};

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, simulator};

on_every_backplane!(commands_reach_the_owner, what_cannot_be_forwarded_says_so,);

fn bot() -> Simulator {
    simulator(Options {
        guilds: 20,
        members_per_guild: 1_500,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    })
}

/// Two clients with two shards each, that know of each other.
async fn two(backend: &Backend, simulator: &Simulator) -> Vec<Host> {
    let shards = |from: u32| json!({"shards": {"total": 4, "from": from, "to": from + 1}});
    let mut hosts: Vec<Host> = [0, 2].map(|from| backend.start(simulator, shards(from))).into();
    for host in &mut hosts {
        host.until_ready().await;
        host.ask(&json!({"type": "cluster_stats"})).await;
    }
    hosts
}

/// Commands of this op that the simulator saw, by shard.
fn sent(simulator: &Simulator, op: u64) -> Vec<u32> {
    simulator.look(|seen| {
        let of_op = seen.commands.iter().filter(|command| command.op == op);
        of_op.filter_map(|command| command.shard.map(|[id, _]| id)).collect()
    })
}

async fn commands_reach_the_owner(backend: Backend) {
    let simulator = bot();
    let mut hosts = two(&backend, &simulator).await;
    let guild = |shard: u32| simulator.guilds_of_shard(shard, 4)[0].to_string();
    for shard in 0..4 {
        let guild = guild(shard);
        let voice = json!({"type": "update_voice_state", "guild_id": guild, "channel_id": null});
        assert_eq!(hosts[0].ask(&voice).await, (0, Value::Null), "shard {shard}");
    }
    let mut shards = sent(&simulator, 4);
    shards.sort_unstable();
    assert_eq!(shards, [0, 1, 2, 3]);

    // All members of a guild, in one reply over there.
    let members = json!({
        "type": "request_guild_members", "guild_id": guild(3), "query": "", "collect": true,
    });
    let (status, data) = hosts[0].ask(&members).await;
    assert_eq!(status, 0, "{data}");
    assert_eq!(data["members"].as_array().map(Vec::len), Some(1_500));
    assert_eq!(data["guild_id"], guild(3));
    // Its chunks went nowhere as events.
    assert_eq!(hosts[1].dispatches("GUILD_MEMBERS_CHUNK").count(), 0);

    // One request for guilds of all shards goes out in four parts.
    let all: Vec<String> = (0..4).map(guild).collect();
    let sounds = json!({"type": "request_soundboard_sounds", "guild_ids": all});
    assert_eq!(hosts[1].ask(&sounds).await, (0, Value::Null));
    let mut shards = sent(&simulator, 31);
    shards.sort_unstable();
    assert_eq!(shards, [0, 1, 2, 3]);

    // A command that is held until there are shards goes its way then.
    let mut late = backend.start(&simulator, json!({"shards": {"total": 4, "ids": [0]}}));
    let voice = json!({"type": "update_voice_state", "guild_id": guild(3), "channel_id": null});
    assert_eq!(late.ask(&voice).await, (0, Value::Null));
    assert_eq!(sent(&simulator, 4)[4..], [3]);
    late.stop(StopMode::Abort).await;

    let restart = json!({"type": "restart_shard", "shard": 3});
    assert_eq!(hosts[0].ask(&restart).await, (0, Value::Null));
    simulator.wait_until(|seen| seen.counts.resumed == 1).await;
    hosts[1].until_ready().await;

    let any = json!({"type": "gateway", "op": 4, "shard": 1, "d": {"guild_id": guild(1), "channel_id": null}});
    assert_eq!(hosts[1].ask(&any).await, (0, Value::Null));
    assert_eq!(sent(&simulator, 4).len(), 6);
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

async fn what_cannot_be_forwarded_says_so(backend: Backend) {
    let simulator = bot();
    let mut hosts = two(&backend, &simulator).await;
    let voice = |shard: u32| {
        let guild = simulator.guilds_of_shard(shard, 4)[0].to_string();
        json!({"type": "update_voice_state", "guild_id": guild, "channel_id": null})
    };
    // A shard that the bot does not have, and a command that is not for other processes.
    for command in [
        json!({"type": "gateway", "op": 4, "shard": 4, "d": {}}),
        json!({"type": "guilds", "shard": 3}),
    ] {
        let error = hosts[0].client.send_command(&command.to_string()).expect_err("not here");
        assert_eq!(error.kind(), shardwright::ErrorKind::UnknownShard, "{command}: {error}");
    }
    // The owner is wrong about it: what it says comes back.
    let refused = json!({
        "type": "request_guild_members", "guild_id": simulator.guilds_of_shard(3, 4)[0].to_string(),
        "query": "", "collect": true, "nonce": "twice", "timeout_ms": 60_000,
    });
    let first = hosts[0].send(&refused);
    let second = hosts[0].send(&refused);
    hosts[0]
        .until("both replies", |host| host.reply(first).is_some() && host.reply(second).is_some())
        .await;
    let statuses = [first, second].map(|id| hosts[0].reply(id).expect("it came").0);
    assert!(statuses.contains(&0), "{statuses:?}");

    // The owner ends while it waits to send.
    simulator
        .plan(
            None,
            shardwright_sim::ConnectPlan {
                ready: shardwright_sim::Ready::Never,
                ..shardwright_sim::ConnectPlan::default()
            },
        )
        .expect("a plan");
    simulator.invalid_session(shardwright_sim::Target::Shard(3), false);
    hosts[1].until("it is not ready", |host| host.client.healthy().is_err()).await;
    let id = hosts[0].send(&voice(3));
    hosts[0].during(Duration::from_millis(300)).await;
    assert_eq!(hosts[0].reply(id), None, "it waits for READY over there");
    let mut owner = hosts.pop().expect("two");
    owner.stop(StopMode::Abort).await;
    let host = &mut hosts[0];
    host.until("the reply", |host| host.reply(id).is_some()).await;
    let (status, data) = host.reply(id).expect("it came");
    assert!(status == -15 || status == -5, "{status} {data}");
    // Nobody runs it now.
    let (status, data) = host.ask(&voice(2)).await;
    assert_eq!(status, -7, "{data}");
    assert!(data["error"].as_str().expect("a text").contains("no process"), "{data}");
    host.stop(StopMode::Abort).await;
}
