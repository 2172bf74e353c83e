//! IDENTIFY: every check, and what a session begins with.

mod common;

use std::time::Duration;

use common::{Arrived, Client, identify, identify_with, simulator};
use serde_json::{Value, json};
use shardwright_sim::{Exhausted, Options, Outcome, Rule, SessionStarts, intents};

/// Sends these payloads after HELLO; gives the close code.
async fn refused(options: Options, payloads: &[Value]) -> (u16, shardwright_sim::Simulator) {
    let simulator = simulator(options);
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    for payload in payloads {
        client.send(payload).await;
    }
    (client.close_code().await, simulator)
}

#[tokio::test(start_paused = true)]
async fn ready_then_the_guilds_of_the_shard() {
    let options = Options { guilds: 9, members_per_guild: 40, ..Options::default() };
    let simulator = simulator(options);
    let (mut client, ready) = Client::ready(&simulator, [1, 4]).await;
    let expected = simulator.guilds_of_shard(1, 4);
    assert_eq!(expected.len(), 2);
    let listed: Vec<Value> =
        expected.iter().map(|id| json!({"id": id, "unavailable": true})).collect();
    assert_eq!(ready["guilds"], json!(listed));
    assert_eq!(ready["v"], 10);
    assert_eq!(ready["shard"], json!([1, 4]));
    assert_eq!(ready["user"]["id"], json!(simulator.bot_id()));
    assert_eq!(ready["user"]["bot"], true);
    assert_eq!(ready["application"]["id"], ready["user"]["id"]);
    assert_eq!(ready["resume_gateway_url"], "ws://gateway.test");
    assert_eq!(ready["session_id"].as_str().unwrap().len(), 32);
    for id in &expected {
        let guild = client.dispatch("GUILD_CREATE").await;
        assert_eq!(guild["id"], json!(id));
        assert_eq!(guild["unavailable"], false);
        assert_eq!(guild["members"].as_array().unwrap().len(), 40);
    }
    client.quiet(Duration::from_secs(1)).await;
    assert!(simulator.violations().is_empty());
    let seen = simulator.seen();
    assert_eq!(seen.counts.readies, 1);
    assert_eq!(seen.identifies[0].shard, [1, 4]);
    assert_eq!(seen.identifies[0].properties["os"], "linux");
}

#[tokio::test(start_paused = true)]
async fn the_first_bytes_are_those_of_discord() {
    let simulator = simulator(Options::default());
    let (client, _) = Client::ready(&simulator, [0, 1]).await;
    let text = |index: usize| client.messages[index].to_text().unwrap();
    assert!(text(0).starts_with(r#"{"t":null,"s":null,"op":10,"d":{"#));
    assert!(text(1).starts_with(r#"{"t":"READY","s":1,"op":0,"d":{"v":10,"#));
}

#[tokio::test(start_paused = true)]
async fn a_payload_before_identify_is_4003() {
    for op in [3, 4, 8, 31, 43] {
        let (code, simulator) = refused(Options::default(), &[json!({"op": op, "d": {}})]).await;
        assert_eq!(code, 4003, "op {op}");
        assert_eq!(simulator.violations()[0].rule, Rule::NotAuthenticated);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_opcode_is_4001() {
    for op in [0, 5, 7, 9, 10, 11, 99] {
        let (code, _) = refused(Options::default(), &[json!({"op": op, "d": null})]).await;
        assert_eq!(code, 4001, "op {op}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_4002() {
    for text in ["", "nonsense", "[]", "{}", "{\"op\":\"2\"}", "{\"op\":2,\"d\":{}}", "{\"op\":2"] {
        let simulator = simulator(Options::default());
        let mut client = Client::connect(&simulator).await;
        client.hello().await;
        client.send_text(text).await;
        assert_eq!(client.close_code().await, 4002, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_may_have_4096_bytes_and_not_one_more() {
    let padded = |simulator: &shardwright_sim::Simulator, bytes: usize| {
        let mut payload = identify(simulator, [0, 1]);
        payload["d"]["properties"]["browser"] = json!("");
        let missing = bytes - payload.to_string().len();
        payload["d"]["properties"]["browser"] = json!("x".repeat(missing));
        assert_eq!(payload.to_string().len(), bytes);
        payload
    };
    let simulator = simulator(Options::default());
    let mut client = Client::connect(&simulator).await;
    client.send(&padded(&simulator, 4096)).await;
    client.dispatch("READY").await;

    let mut client = Client::connect(&simulator).await;
    client.send(&padded(&simulator, 4097)).await;
    assert_eq!(client.close_code().await, 4002);
    let mut client = Client::connect(&simulator).await;
    client.send_text(&"x".repeat(100_000)).await;
    assert_eq!(client.close_code().await, 4002);
    let rules: Vec<Rule> = simulator.violations().iter().map(|broken| broken.rule).collect();
    assert_eq!(rules, [Rule::PayloadTooLarge, Rule::PayloadTooLarge]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_4004_and_the_prefix_is_fine() {
    let simulator = simulator(Options::default());
    let mut payload = identify(&simulator, [0, 1]);
    payload["d"]["token"] = json!("wrong");
    let mut client = Client::connect(&simulator).await;
    client.send(&payload).await;
    assert_eq!(client.close_code().await, 4004);
    payload["d"]["token"] = json!(format!("Bot {}", simulator.options().token));
    let mut client = Client::connect(&simulator).await;
    client.send(&payload).await;
    client.dispatch("READY").await;
}

#[tokio::test(start_paused = true)]
async fn a_second_identify_is_4005() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.identify(&simulator, [0, 1]).await;
    assert_eq!(client.close_code().await, 4005);
}

#[tokio::test(start_paused = true)]
async fn an_impossible_shard_is_4010() {
    let simulator = simulator(Options::default());
    for shard in
        [json!([4, 4]), json!([0, 0]), json!([0]), json!("0"), json!([-1, 2]), json!([0, 1, 2])]
    {
        let mut payload = identify(&simulator, [0, 1]);
        payload["d"]["shard"] = shard.clone();
        let mut client = Client::connect(&simulator).await;
        client.send(&payload).await;
        assert_eq!(client.close_code().await, 4010, "{shard}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_bots_total_must_be_a_multiple() {
    let options = Options { large_bot_multiple: 4, ..Options::default() };
    let simulator = simulator(options);
    let mut client = Client::connect(&simulator).await;
    client.identify(&simulator, [0, 6]).await;
    assert_eq!(client.close_code().await, 4010);
    let (_, ready) = Client::ready(&simulator, [0, 8]).await;
    assert_eq!(ready["shard"], json!([0, 8]));
}

#[tokio::test(start_paused = true)]
async fn too_many_guilds_for_a_shard_is_4011() {
    let options = Options { guilds: 2501, members_per_guild: 1, ..Options::default() };
    let simulator = simulator(options);
    let mut client = Client::connect(&simulator).await;
    client.identify(&simulator, [0, 1]).await;
    assert_eq!(client.close_code().await, 4011);
    let (_, ready) = Client::ready(&simulator, [0, 2]).await;
    assert_eq!(ready["guilds"].as_array().unwrap().len(), 1251);
}

#[tokio::test(start_paused = true)]
async fn intents_that_do_not_exist_are_4013_and_not_granted_ones_4014() {
    let options = Options { privileged_intents: intents::GUILD_MEMBERS, ..Options::default() };
    let simulator = simulator(options);
    for (wanted, code) in [
        (json!(1 << 18), 4013),
        (json!(null), 4013),
        (json!(-1), 4013),
        (json!(intents::GUILDS | intents::GUILD_PRESENCES), 4014),
        (json!(intents::MESSAGE_CONTENT), 4014),
    ] {
        let mut payload = identify(&simulator, [0, 1]);
        payload["d"]["intents"] = wanted.clone();
        let mut client = Client::connect(&simulator).await;
        client.send(&payload).await;
        assert_eq!(client.close_code().await, code, "{wanted}");
    }
    let mut client = Client::connect(&simulator).await;
    client.send(&identify_with(&simulator, [0, 1], intents::GUILD_MEMBERS)).await;
    client.dispatch("READY").await;
}

#[tokio::test(start_paused = true)]
async fn versions_and_encodings_are_refused_by_name() {
    let simulator = simulator(Options::default());
    for (query, code) in
        [("v=8&encoding=json", 4012), ("encoding=json", 4012), ("v=10&encoding=etf", 4002)]
    {
        let mut client = Client::connect_with(&simulator, query).await.unwrap();
        let Arrived::Closed(Some(closed), reason) = client.next().await else { panic!("{query}") };
        assert_eq!(closed, code, "{query}");
        assert!(!reason.is_empty());
    }
    let mut client = Client::connect_with(&simulator, "v=9&encoding=json").await.unwrap();
    client.identify(&simulator, [0, 1]).await;
    assert_eq!(client.dispatch("READY").await["v"], 9);
}

#[tokio::test(start_paused = true)]
async fn more_than_max_concurrency_in_5_s_is_op_9() {
    let options = Options { max_concurrency: 2, ..Options::default() };
    let simulator = simulator(options);
    // Keys 0 and 1 are free together; key 0 again is not.
    let (_a, _) = Client::ready(&simulator, [0, 4]).await;
    let (_b, _) = Client::ready(&simulator, [1, 4]).await;
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.identify(&simulator, [2, 4]).await;
    assert_eq!(client.op(9).await["d"], false);
    tokio::time::advance(Duration::from_millis(4_999)).await;
    client.identify(&simulator, [2, 4]).await;
    assert_eq!(client.op(9).await["d"], false);
    tokio::time::advance(Duration::from_millis(1)).await;
    // The connection is still good for another try.
    client.identify(&simulator, [2, 4]).await;
    client.dispatch("READY").await;
    let broken = simulator.violations();
    assert_eq!(broken.len(), 2);
    assert!(broken.iter().all(|broken| broken.rule == Rule::IdentifyTooSoon));
    assert_eq!(simulator.look(|seen| seen.identify_times(0).len()), 2);
}

#[tokio::test(start_paused = true)]
async fn the_session_start_limit_resets_the_token() {
    let session_starts = SessionStarts { total: 2, reset_after_ms: 1_000, ..Default::default() };
    let options = Options { session_starts, max_concurrency: 10, ..Options::default() };
    let simulator = simulator(options);
    tokio::time::advance(Duration::from_secs(2)).await;
    let (mut first, _) = Client::ready(&simulator, [0, 4]).await;
    let (_second, _) = Client::ready(&simulator, [1, 4]).await;
    let mut third = Client::connect(&simulator).await;
    third.identify(&simulator, [2, 4]).await;
    assert_eq!(third.close_code().await, 4004);
    assert_eq!(first.close_code().await, 4004, "every session ends");
    let rest = common::call(&simulator, "GET", "/gateway/bot").await;
    assert_eq!(rest.status, 401);
    assert_eq!(simulator.violations()[0].rule, Rule::SessionStartsExhausted);
}

#[tokio::test(start_paused = true)]
async fn the_session_start_limit_can_be_milder_and_comes_back() {
    let session_starts = SessionStarts {
        total: 1000,
        remaining: Some(1),
        reset_after_ms: 60_000,
        when_exhausted: Exhausted::InvalidSession,
    };
    let options = Options { session_starts, max_concurrency: 10, ..Options::default() };
    let simulator = simulator(options);
    let (_first, _) = Client::ready(&simulator, [0, 4]).await;
    let mut client = Client::connect(&simulator).await;
    client.identify(&simulator, [1, 4]).await;
    assert_eq!(client.op(9).await["d"], false);
    let limit = common::call(&simulator, "GET", "/gateway/bot").await.json();
    assert_eq!(limit["session_start_limit"]["remaining"], 0);
    tokio::time::advance(Duration::from_secs(60)).await;
    client.identify(&simulator, [1, 4]).await;
    client.dispatch("READY").await;
    let limit = common::call(&simulator, "GET", "/gateway/bot").await.json();
    assert_eq!(limit["session_start_limit"]["remaining"], 999);
    assert_eq!(limit["session_start_limit"]["total"], 1000);
    let Outcome::InvalidSession { why } = &simulator.seen().identifies[1].outcome.clone() else {
        panic!("op 9 stands in the ledger");
    };
    assert!(why.contains("1000"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn sessions_of_the_same_shard_and_of_other_totals_live_together() {
    let options = Options { max_concurrency: 10, guilds: 8, ..Options::default() };
    let simulator = simulator(options);
    let (mut one, _) = Client::ready(&simulator, [1, 2]).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    let (mut same, _) = Client::ready(&simulator, [1, 2]).await;
    let (mut other, _) = Client::ready(&simulator, [3, 4]).await;
    let (mut none, _) = Client::ready(&simulator, [2, 4]).await;
    let guild = simulator.guilds_of_shard(3, 4)[0];
    let channel = simulator.text_channels(guild)[0];
    simulator.post_message(channel, None, "hello").unwrap();
    for client in [&mut one, &mut same, &mut other] {
        assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "hello");
    }
    let rest = none.drain(Duration::from_secs(1)).await;
    assert!(rest.iter().all(|payload| payload["t"] == "GUILD_CREATE"));
}

#[tokio::test(start_paused = true)]
async fn a_ready_can_be_as_large_as_a_big_bots() {
    let options = Options { ready_padding_bytes: 17_000_000, ..Options::default() };
    let simulator = simulator(options);
    for query in ["", "&compress=zlib-stream", "&compress=zstd-stream"] {
        let mut client =
            Client::connect_with(&simulator, &format!("{}{query}", common::QUERY)).await.unwrap();
        client.hello().await;
        client.identify(&simulator, [0, 1]).await;
        let ready = client.dispatch("READY").await;
        assert!(ready["_padding"].as_str().unwrap().len() >= 16_999_000);
        tokio::time::advance(Duration::from_secs(5)).await;
    }
}
