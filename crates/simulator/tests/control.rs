//! Control over HTTP, scripts, and the ledger as others read it.

mod common;

use std::time::Duration;

use common::{Client, Request, simulator};
use serde_json::{Value, json};
use shardwright_sim::{Options, Script, Simulator};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

async fn get(simulator: &Simulator, path: &str) -> Value {
    let response = Request::plain("GET", path).send(simulator).await;
    assert_eq!(response.status, 200, "{path}: {}", response.text);
    response.json()
}

async fn post(simulator: &Simulator, path: &str, body: &Value) -> (u16, Value) {
    let response = Request::plain("POST", path).json(body).send(simulator).await;
    (response.status, response.json())
}

#[tokio::test(start_paused = true)]
async fn a_message_is_posted_and_read_over_http() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    let guilds = get(&simulator, "/sim/guilds?limit=2").await;
    assert_eq!(guilds.as_array().unwrap().len(), 2);
    let channel = guilds[0]["text_channels"][0].as_str().unwrap();
    let body = json!({"channel": channel, "content": "!ping"});
    let (status, posted) = post(&simulator, "/sim/message", &body).await;
    assert_eq!((status, &posted["number"]), (200, &json!(1)));
    let event = client.dispatch("MESSAGE_CREATE").await;
    assert_eq!((&event["id"], &event["nonce"]), (&posted["id"], &json!("1")));
    let messages = get(&simulator, &format!("/sim/messages?channel={channel}")).await;
    assert_eq!(messages[0]["content"], "!ping");
}

#[tokio::test(start_paused = true)]
async fn an_action_has_two_spellings() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    let body = json!({"do": "reconnect", "target": {"shard": 0}});
    let (_, answer) = post(&simulator, "/sim/do", &body).await;
    assert_eq!(answer, json!({"affected": 1}));
    client.op(7).await;
    let (_, answer) = post(&simulator, "/sim/close", &json!({"code": 4000})).await;
    assert_eq!(answer, json!({"affected": 1}));
    assert_eq!(client.close_code().await, 4000);
    let actions = get(&simulator, "/sim/seen?only=actions").await;
    assert_eq!(actions["actions"][1]["action"]["do"], "close");
    assert_eq!(actions["actions"][1]["result"], json!({"affected": 1}));
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_named() {
    let simulator = simulator(Options::default());
    for (path, body, word) in [
        ("/sim/explode", json!({}), "explode"),
        ("/sim/do", json!({}), "`do`"),
        ("/sim/drop", json!({}), "how"),
        ("/sim/drop", json!({"how": "gently"}), "gently"),
        ("/sim/close", json!({"code": 99}), "1000"),
        ("/sim/message", json!({"channel": "1", "content": "x"}), "channel 1"),
        ("/sim/guild_down", json!({"guild": 5}), "guild 5"),
        ("/sim/configure", json!({"options": {"seed": 4}}), "seed"),
        ("/sim/configure", json!({"options": {"sead": 4}}), "sead"),
        ("/sim/traffic", json!({"events_per_second": -1}), "events_per_second"),
        ("/sim/script", json!({}), "step"),
        ("/sim/wait", json!({"counts": {"wishes": 1}}), "wishes"),
        ("/sim/plan", json!({"plan": {"handshake": {"refuse": {"status": 7}}}}), "status"),
    ] {
        let (status, answer) = post(&simulator, path, &body).await;
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(word), "{path} {body}: {error}");
    }
    let bad = Request::plain("GET", "/sim/seen?only=dreams").send(&simulator).await;
    assert!(bad.status == 400 && bad.text.contains("dreams"));
    let mut nonsense = Request::plain("POST", "/sim/drop");
    nonsense.body = b"{".to_vec();
    assert_eq!(nonsense.send(&simulator).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn the_ledger_can_be_read_in_parts() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    for _ in 0..5 {
        tokio::time::sleep(SECOND).await;
        client.beat().await;
        client.op(11).await;
    }
    let seen = get(&simulator, "/sim/seen?only=heartbeats,connections&limit=2").await;
    assert_eq!(seen["heartbeats"].as_array().unwrap().len(), 2);
    assert_eq!(seen["connections"][0]["shard"], json!([0, 1]));
    assert_eq!(seen["counts"]["heartbeats"], 5);
    assert_eq!(seen.get("identifies"), None);
    let late = get(&simulator, "/sim/seen?only=heartbeats&after_ms=4500").await;
    assert_eq!(late["heartbeats"].as_array().unwrap().len(), 1);
    let state = get(&simulator, "/sim/state").await;
    assert_eq!(state["sessions"][0]["guilds"], 8);
    assert_eq!(state["options"]["token"], "*");
    assert_eq!(get(&simulator, "/sim/violations").await, json!([]));
    assert!(get(&simulator, "/sim").await["GET"].is_array());
    let all = get(&simulator, "/sim/seen").await.to_string();
    assert!(!all.contains(&simulator.options().token));
}

#[tokio::test(start_paused = true)]
async fn totals_can_be_waited_for() {
    let simulator = simulator(Options::default());
    let waiting = tokio::spawn({
        let simulator = simulator.clone();
        async move { post(&simulator, "/sim/wait", &json!({"counts": {"readies": 1}})).await }
    });
    let _client = Client::ready(&simulator, [0, 1]).await;
    let (status, answer) = waiting.await.unwrap();
    assert_eq!((status, &answer["counts"]["readies"]), (200, &json!(1)));
    let body = json!({"counts": {"readies": 2}, "timeout_ms": 3000});
    assert_eq!(post(&simulator, "/sim/wait", &body).await.0, 408);
}

#[tokio::test(start_paused = true)]
async fn a_script_happens_at_its_times() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    let script = Script::from_toml(
        r#"
        [[step]]
        at_ms = 2000
        do = "reconnect"
        target = { shard = 0 }

        [[step]]
        at_ms = 1000
        do = "request_heartbeat"

        [[step]]
        at_ms = 3000
        do = "close"
        code = 4000

        [[step]]
        at_ms = 3000
        do = "message"
        channel = "1"
        content = "to nowhere"
        "#,
    )
    .unwrap();
    let start = Instant::now();
    let playing = tokio::spawn(simulator.play(script));
    for (op, at) in [(1, 1), (7, 2)] {
        client.op(op).await;
        assert!(start.elapsed().abs_diff(at * SECOND) < SECOND / 100);
    }
    assert_eq!(client.close_code().await, 4000);
    playing.await.unwrap();
    let results: Vec<Value> =
        simulator.seen().actions.iter().map(|action| action.result.clone()).collect();
    assert_eq!(results[0], json!({"affected": 1}));
    assert_eq!(results[3], json!({"error": "there is no channel 1"}));

    let body = json!({"step": [{"at_ms": 5, "do": "join_guild"}]});
    assert_eq!(post(&simulator, "/sim/script", &body).await, (200, json!({"steps": 1})));
    simulator.wait_until(|seen| seen.actions.len() == 5).await;
    assert_eq!(simulator.guilds().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn options_change_while_it_runs() {
    let simulator = simulator(Options::default());
    let body = json!({"options": {"max_concurrency": 4, "heartbeat_interval_ms": 1234}});
    assert_eq!(post(&simulator, "/sim/configure", &body).await.0, 200);
    let mut client = Client::connect(&simulator).await;
    assert_eq!(client.hello().await["heartbeat_interval"], 1234);
    assert_eq!(post(&simulator, "/sim/session_starts", &json!({"remaining": 0})).await.0, 200);
    client.identify(&simulator, [0, 1]).await;
    assert_eq!(client.close_code().await, 4004);
    let body = json!({"token": "a-new-one"});
    assert_eq!(post(&simulator, "/sim/reset_token", &body).await.0, 200);
    let request = Request::plain("GET", "/api/v10/users/@me");
    let response = request.header("Authorization", "Bot a-new-one").send(&simulator).await;
    assert_eq!(response.status, 200);
    let ledger = get(&simulator, "/sim/seen").await.to_string();
    assert!(!ledger.contains("a-new-one"));
}

#[tokio::test(start_paused = true)]
async fn control_can_be_switched_off() {
    let simulator = simulator(Options { control_http: false, ..Options::default() });
    assert_eq!(Request::plain("GET", "/sim/state").send(&simulator).await.status, 404);
}
