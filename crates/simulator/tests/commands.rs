//! Commands of a client with a session, and which events intents let pass.

mod common;

use std::time::Duration;

use common::{Client, identify_with, simulator};
use serde_json::{Value, json};
use shardwright_sim::{Options, Rule, Simulator, Snowflake, Target, intents};

const SECOND: Duration = Duration::from_secs(1);

async fn begin_with(simulator: &Simulator, shard: [u32; 2], intents: u64) -> Client {
    tokio::time::sleep(5 * SECOND).await;
    let mut client = Client::connect(simulator).await;
    client.hello().await;
    client.send(&identify_with(simulator, shard, intents)).await;
    client.dispatch("READY").await;
    client.drain(SECOND).await;
    client
}

async fn begin(simulator: &Simulator) -> Client {
    begin_with(simulator, [0, 1], intents::ALL).await
}

async fn request(client: &mut Client, op: u64, d: Value) -> Vec<Value> {
    client.send(&json!({"op": op, "d": d})).await;
    client.drain(SECOND).await
}

fn rules(simulator: &Simulator) -> Vec<Rule> {
    simulator.violations().iter().map(|broken| broken.rule).collect()
}

#[tokio::test(start_paused = true)]
async fn all_members_come_in_chunks_of_1000() {
    let simulator = simulator(Options { members_per_guild: 2_500, ..Options::default() });
    let mut client = begin(&simulator).await;
    let guild = simulator.guilds()[0];
    let d = json!({"guild_id": guild, "query": "", "limit": 0, "presences": true, "nonce": "n1"});
    let chunks = request(&mut client, 8, d).await;
    let sizes: Vec<usize> =
        chunks.iter().map(|chunk| chunk["d"]["members"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
    let mut ids = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let d = &chunk["d"];
        assert_eq!(chunk["t"], "GUILD_MEMBERS_CHUNK");
        assert_eq!(d["guild_id"], json!(guild));
        assert_eq!((&d["chunk_index"], &d["chunk_count"]), (&json!(index), &json!(3)));
        assert_eq!(d["nonce"], "n1");
        assert!(!d["presences"].as_array().unwrap().is_empty());
        let members = d["members"].as_array().unwrap();
        ids.extend(members.iter().map(|member| member["user"]["id"].clone()));
    }
    assert_eq!(ids, simulator.members(guild).iter().map(|id| json!(id)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn chunks_can_come_in_disorder_or_not() {
    let simulator = simulator(Options { members_per_guild: 2_500, ..Options::default() });
    let mut client = begin(&simulator).await;
    for (guild, (how, indexes)) in simulator.guilds().into_iter().zip([
        ("reversed", vec![2, 1, 0]),
        ("without_last", vec![0, 1]),
        ("none", vec![]),
        ("normal", vec![0, 1, 2]),
    ]) {
        let action = json!({"do": "member_chunks", "chunks": how});
        simulator.act(&serde_json::from_value(action).unwrap()).unwrap();
        let d = json!({"guild_id": guild, "query": "", "limit": 0});
        let chunks = request(&mut client, 8, d).await;
        let came: Vec<Value> = chunks.iter().map(|c| c["d"]["chunk_index"].clone()).collect();
        assert_eq!(came, indexes, "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_list_is_limited_to_one_in_30_s_and_guild() {
    let simulator = simulator(Options::default());
    let mut client = begin(&simulator).await;
    let guilds = simulator.guilds();
    let full = |guild: Snowflake, nonce: &str| json!({"guild_id": guild, "query": "", "limit": 0, "nonce": nonce});
    assert_eq!(request(&mut client, 8, full(guilds[0], "a")).await.len(), 1);
    tokio::time::sleep(9 * SECOND).await;
    let limited = request(&mut client, 8, full(guilds[0], "b")).await;
    assert_eq!(limited[0]["t"], "RATE_LIMITED");
    let d = &limited[0]["d"];
    assert_eq!(d["opcode"], 8);
    assert_eq!(d["meta"], json!({"guild_id": guilds[0], "nonce": "b"}));
    let retry_after = d["retry_after"].as_f64().unwrap();
    assert!((19.9..20.1).contains(&retry_after), "{retry_after}");
    // Another guild, and a prefix, are not limited.
    assert_eq!(request(&mut client, 8, full(guilds[1], "c")).await.len(), 1);
    let prefix = json!({"guild_id": guilds[0], "query": "a", "limit": 5});
    assert_eq!(request(&mut client, 8, prefix).await[0]["t"], "GUILD_MEMBERS_CHUNK");
    tokio::time::sleep(Duration::from_secs_f64(retry_after)).await;
    let again = request(&mut client, 8, full(guilds[0], "d")).await;
    assert_eq!(again[0]["d"]["nonce"], "d");
    assert_eq!(rules(&simulator), [Rule::MemberRequest]);
}

#[tokio::test(start_paused = true)]
async fn members_are_found_by_prefix_and_by_id() {
    let simulator = simulator(Options { members_per_guild: 300, ..Options::default() });
    let mut client = begin(&simulator).await;
    let guild = simulator.guilds()[0];
    let found = request(&mut client, 8, json!({"guild_id": guild, "query": "a", "limit": 7})).await;
    let members = found[0]["d"]["members"].as_array().unwrap().clone();
    assert!(!members.is_empty() && members.len() <= 7);
    let name =
        |value: &Value| value.as_str().is_some_and(|name| name.to_lowercase().starts_with('a'));
    assert!(members.iter().all(|member| {
        let user = &member["user"];
        name(&user["username"]) || name(&user["global_name"]) || name(&member["nick"])
    }));

    let ids = simulator.members(guild);
    let strangers = simulator.members(simulator.guilds()[3]);
    let stranger = *strangers.iter().find(|id| !ids.contains(id)).unwrap();
    let d = json!({"guild_id": [guild], "user_ids": [ids[1], "123", stranger], "nonce": "x".repeat(33)});
    let answer = request(&mut client, 8, d).await;
    let d = &answer[0]["d"];
    assert_eq!(d["members"][0]["user"]["id"], json!(ids[1]));
    assert_eq!(d["not_found"], json!([123, stranger]));
    assert_eq!(d.get("nonce"), None, "a nonce of 33 bytes is ignored");
    assert_eq!(d.get("presences"), None);

    let many: Vec<Snowflake> = ids[..150].to_vec();
    let answer = request(&mut client, 8, json!({"guild_id": guild, "user_ids": many})).await;
    assert_eq!(answer[0]["d"]["members"].as_array().unwrap().len(), 100);
    let one = request(&mut client, 8, json!({"guild_id": guild, "user_ids": ids[2]})).await;
    assert_eq!(one[0]["d"]["members"].as_array().unwrap().len(), 1);
    let none = request(&mut client, 8, json!({"guild_id": guild, "user_ids": []})).await;
    assert_eq!((&none[0]["d"]["chunk_count"], &none[0]["d"]["members"]), (&json!(1), &json!([])));
}

#[tokio::test(start_paused = true)]
async fn members_and_presences_need_their_intents() {
    let simulator = simulator(Options::default());
    let guild = simulator.guilds()[0];
    let mut client = begin_with(&simulator, [0, 1], intents::GUILDS).await;
    let full = json!({"guild_id": guild, "query": "", "limit": 0});
    assert!(request(&mut client, 8, full).await.is_empty());
    assert_eq!(rules(&simulator), [Rule::MemberRequest]);
    let d = json!({"guild_id": guild, "user_ids": simulator.members(guild)[1], "presences": true});
    let answer = request(&mut client, 8, d).await;
    assert_eq!(answer[0]["d"].get("presences"), None);
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_is_4001() {
    let simulator = simulator(Options::default());
    let guild = simulator.guilds()[0];
    for (op, d) in [
        (8, json!({"guild_id": guild})),
        (8, json!({"guild_id": guild, "query": ""})),
        (8, json!({"guild_id": [guild, guild], "query": "", "limit": 0})),
        (8, json!({"guild_id": "x", "query": "", "limit": 0})),
        (4, json!({"guild_id": guild, "channel_id": null})),
        (31, json!({})),
        (43, json!({"guild_id": guild, "fields": ["colour"]})),
    ] {
        let mut client = begin(&simulator).await;
        client.send(&json!({"op": op, "d": d})).await;
        assert_eq!(client.close_code().await, 4001, "{op} {d}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guild_of_another_shard_is_not_answered() {
    let simulator = simulator(Options::default());
    let mut client = begin_with(&simulator, [0, 2], intents::ALL).await;
    let foreign = simulator.guilds_of_shard(1, 2)[0];
    for (op, d) in [
        (8, json!({"guild_id": foreign, "query": "", "limit": 0})),
        (31, json!({"guild_ids": [foreign]})),
        (43, json!({"guild_id": foreign, "fields": []})),
        (
            4,
            json!({"guild_id": foreign, "channel_id": null, "self_mute": false, "self_deaf": false}),
        ),
    ] {
        assert!(request(&mut client, op, d).await.is_empty());
    }
    assert_eq!(rules(&simulator), [Rule::WrongShard; 4]);
}

#[tokio::test(start_paused = true)]
async fn voice_is_joined_and_left() {
    let simulator = simulator(Options::default());
    let mut client = begin(&simulator).await;
    let guild = simulator.guilds()[0];
    let channel = simulator.voice_channels(guild)[0];
    let join = |channel: Option<Snowflake>| json!({"guild_id": guild, "channel_id": channel, "self_mute": true, "self_deaf": false});
    let answer = request(&mut client, 4, join(Some(channel))).await;
    let names: Vec<&str> = answer.iter().map(|payload| payload["t"].as_str().unwrap()).collect();
    assert_eq!(names, ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"]);
    let state = &answer[0]["d"];
    assert_eq!(state["user_id"], json!(simulator.bot_id()));
    assert_eq!((&state["channel_id"], &state["self_mute"]), (&json!(channel), &json!(true)));
    assert_eq!(state["member"]["user"]["bot"], true);
    assert!(answer[1]["d"]["endpoint"].is_string());

    let info = json!({"guild_id": guild, "fields": ["status", "voice_start_time"]});
    let info = request(&mut client, 43, info).await;
    assert_eq!(info[0]["t"], "CHANNEL_INFO");
    let channels = info[0]["d"]["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 2);
    assert!(channels[0]["voice_start_time"].is_u64() && channels[1]["voice_start_time"].is_null());

    let left = request(&mut client, 4, join(None)).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["d"]["channel_id"], Value::Null);
    // A text channel cannot be joined.
    let text = simulator.text_channels(guild)[0];
    assert!(request(&mut client, 4, join(Some(text))).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn sounds_come_guild_by_guild() {
    let simulator = simulator(Options::default());
    let mut client = begin(&simulator).await;
    let guilds = &simulator.guilds()[..3];
    let answer = request(&mut client, 31, json!({"guild_ids": guilds})).await;
    assert_eq!(answer.len(), 3);
    for (payload, guild) in answer.iter().zip(guilds) {
        assert_eq!(payload["t"], "SOUNDBOARD_SOUNDS");
        assert_eq!(payload["d"]["guild_id"], json!(guild));
        assert_eq!(payload["d"]["soundboard_sounds"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn message_content_needs_its_intent_with_four_exceptions() {
    let simulator = simulator(Options::default());
    let guild = simulator.guilds()[0];
    let channel = simulator.text_channels(guild)[0];
    let without = intents::ALL & !intents::MESSAGE_CONTENT;
    let mut client = begin_with(&simulator, [0, 1], without).await;
    simulator.post_message(channel, None, "secret").unwrap();
    let hidden = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!(hidden["content"], "");
    assert_eq!(hidden["nonce"], "1");
    let mention = format!("<@{}> hello", simulator.bot_id());
    simulator.post_message(channel, None, &*mention).unwrap();
    let seen = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!(seen["content"], mention);
    assert_eq!(seen["mentions"][0]["id"], json!(simulator.bot_id()));
    simulator.direct_message(None, "psst").unwrap();
    let direct = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!(direct["content"], "psst");
    assert_eq!((direct.get("guild_id"), &direct["channel_type"]), (None, &json!(1)));
    let path = format!("/channels/{channel}/messages");
    common::call_with(&simulator, "POST", &path, &json!({"content": "mine"})).await;
    assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "mine");
}

#[tokio::test(start_paused = true)]
async fn intents_decide_what_is_sent() {
    let simulator = simulator(Options::default());
    let guild = simulator.guilds()[0];
    let channel = simulator.text_channels(guild)[0];
    let mut nothing = begin_with(&simulator, [0, 1], 0).await;
    let mut direct = begin_with(&simulator, [0, 1], intents::DIRECT_MESSAGES).await;
    let mut messages = begin_with(&simulator, [0, 1], intents::GUILD_MESSAGES).await;
    simulator.post_message(channel, None, "guild").unwrap();
    simulator.direct_message(None, "direct").unwrap();
    simulator.dispatch(Target::All, "USER_UPDATE", json!({"id": "1"}));
    let names = async |client: &mut Client| {
        let payloads = client.drain(SECOND).await;
        payloads.iter().map(|payload| payload["t"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut nothing).await, ["USER_UPDATE"]);
    assert_eq!(names(&mut direct).await, ["MESSAGE_CREATE", "USER_UPDATE"]);
    assert_eq!(names(&mut messages).await, ["MESSAGE_CREATE", "USER_UPDATE"]);
}

#[tokio::test(start_paused = true)]
async fn direct_messages_go_to_shard_0() {
    let simulator = simulator(Options { max_concurrency: 2, ..Options::default() });
    let mut zero = begin_with(&simulator, [0, 2], intents::ALL).await;
    let mut one = begin_with(&simulator, [1, 2], intents::ALL).await;
    simulator.direct_message(None, "only shard 0").unwrap();
    assert_eq!(zero.drain(SECOND).await.len(), 1);
    one.quiet(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn guilds_fail_recover_join_and_leave() {
    let simulator = simulator(Options { guilds: 4, ..Options::default() });
    let guilds = simulator.guilds();
    simulator.withhold(vec![guilds[1]]).unwrap();
    simulator.guild_down(guilds[2]).unwrap();
    let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
    assert_eq!(ready["guilds"].as_array().unwrap().len(), 4);
    let events = client.drain(SECOND).await;
    let told: Vec<(Value, Value)> =
        events.iter().map(|event| (event["t"].clone(), event["d"]["id"].clone())).collect();
    assert_eq!(
        told,
        [
            (json!("GUILD_CREATE"), json!(guilds[0])),
            (json!("GUILD_DELETE"), json!(guilds[2])),
            (json!("GUILD_CREATE"), json!(guilds[3])),
        ]
    );
    assert_eq!(events[1]["d"]["unavailable"], true);

    simulator.release(Vec::new()).unwrap();
    assert_eq!(client.dispatch("GUILD_CREATE").await["id"], json!(guilds[1]));
    simulator.guild_up(guilds[2]).unwrap();
    let back = client.dispatch("GUILD_CREATE").await;
    assert_eq!((&back["id"], &back["unavailable"]), (&json!(guilds[2]), &json!(false)));
    let joined = simulator.join_guild().unwrap();
    assert_eq!(client.dispatch("GUILD_CREATE").await["id"], json!(joined));
    assert_eq!(simulator.guilds().len(), 5);
    simulator.leave_guild(guilds[0]).unwrap();
    let gone = client.dispatch("GUILD_DELETE").await;
    assert_eq!(gone, json!({"id": guilds[0]}), "no `unavailable`: the bot was removed");
    let channel = simulator.text_channels(guilds[0])[0];
    let error = simulator.post_message(channel, None, "x").unwrap_err().to_string();
    assert!(error.contains("no channel"), "{error}");
    assert!(simulator.guild_down(guilds[0]).is_err());
}
