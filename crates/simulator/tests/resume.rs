//! RESUME: the replay, its bounds, and who may resume what.

mod common;

use std::time::Duration;

use common::{Arrived, Client, simulator};
use serde_json::{Value, json};
use shardwright_sim::{
    ConnectPlan, Cut, Ending, Options, Outcome, RefusedResume, Rule, Simulator, Snowflake, Stage,
    Target,
};

const SECOND: Duration = Duration::from_secs(1);

fn channel(simulator: &Simulator) -> Snowflake {
    simulator.text_channels(simulator.guilds()[0])[0]
}

/// A client with a session and everything it begins with.
async fn begin(simulator: &Simulator) -> (Client, String) {
    let (mut client, ready) = Client::ready(simulator, [0, 1]).await;
    client.drain(SECOND).await;
    (client, ready["session_id"].as_str().unwrap().to_owned())
}

async fn resume(simulator: &Simulator, session: &str, seq: u64) -> Client {
    let mut client = Client::connect(simulator).await;
    client.hello().await;
    client.resume(simulator, session, seq).await;
    client
}

fn contents(payloads: &[Value]) -> Vec<String> {
    let content = |payload: &Value| payload["d"]["content"].as_str().map(str::to_owned);
    payloads.iter().filter_map(content).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_comes_in_order_then_resumed_then_what_is_new() {
    let simulator = simulator(Options::default());
    let (client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    simulator.drop_sockets(Target::All, Cut::Reset);
    for number in 0..100 {
        simulator.post_message(channel(&simulator), None, format!("missed {number}")).unwrap();
    }
    let mut client = resume(&simulator, &session, seq).await;
    let mut replayed = Vec::new();
    loop {
        let payload = client.payload().await;
        if payload["t"] == "RESUMED" {
            assert_eq!(payload["s"], seq + 101);
            break;
        }
        assert_eq!(payload["s"], seq + replayed.len() as u64 + 1);
        replayed.push(payload);
    }
    let expected: Vec<String> = (0..100).map(|number| format!("missed {number}")).collect();
    assert_eq!(contents(&replayed), expected);
    simulator.post_message(channel(&simulator), None, "new").unwrap();
    assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "new");
    let seen = simulator.seen();
    assert_eq!(seen.resumes[0].outcome, Outcome::Accepted { session, replayed: 100 });
    assert_eq!(seen.counts.replayed, 100);
    assert!(seen.violations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_happens_during_the_replay_comes_after_resumed() {
    let simulator = simulator(Options::default());
    let (client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    for _ in 0..50 {
        simulator.post_message(channel(&simulator), None, "old").unwrap();
    }
    // So slow that there is time for something to happen in the middle.
    let plan = ConnectPlan { bytes_per_second: Some(10_000), ..ConnectPlan::default() };
    simulator.plan(Some(1), plan).unwrap();
    let mut client = resume(&simulator, &session, seq).await;
    client.dispatch("MESSAGE_CREATE").await;
    simulator.post_message(channel(&simulator), None, "meanwhile").unwrap();
    client.beat().await;
    let mut order = Vec::new();
    while order.last().is_none_or(|last| last != "meanwhile") {
        let payload = client.payload().await;
        match payload["op"].as_u64() {
            Some(11) => order.push("ack".to_owned()),
            _ if payload["t"] == "RESUMED" => order.push("RESUMED".to_owned()),
            _ => order.push(payload["d"]["content"].as_str().unwrap().to_owned()),
        }
    }
    assert!(order.contains(&"ack".to_owned()), "heartbeats are answered during a replay");
    order.retain(|what| what != "ack" && what != "old");
    assert_eq!(order, ["RESUMED", "meanwhile"]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_breaks_off_can_be_resumed_again() {
    let simulator = simulator(Options::default());
    let (client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    simulator.drop_sockets(Target::All, Cut::Fin);
    for number in 0..20 {
        simulator.post_message(channel(&simulator), None, format!("{number}")).unwrap();
    }
    let end = Ending::Drop(Cut::Reset);
    simulator.plan(Some(1), ConnectPlan::end_at(Stage::AfterDispatches(7), end)).unwrap();
    let mut client = resume(&simulator, &session, seq).await;
    let mut got = client.drain(SECOND).await;
    assert_eq!(got.len(), 7);
    let mut client = resume(&simulator, &session, client.seq.unwrap()).await;
    got.extend(client.drain(SECOND).await);
    let resumed = got.iter().filter(|payload| payload["t"] == "RESUMED").count();
    assert_eq!(resumed, 1, "only the replay that ended has a RESUMED");
    assert_eq!(contents(&got), (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn unknown_and_expired_sessions_are_op_9_false() {
    let options = Options { resume_window_ms: 60_000, ..Options::default() };
    let simulator = simulator(options);
    let mut client = resume(&simulator, "nonsense", 1).await;
    assert_eq!(client.op(9).await["d"], false);
    drop(client);

    let (client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 2).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    let mut client = resume(&simulator, &session, seq).await;
    assert_eq!(client.op(9).await["d"], false);
    // The connection is still good for an IDENTIFY.
    client.identify(&simulator, [0, 1]).await;
    client.dispatch("READY").await;
    assert!(simulator.violations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn within_the_window_a_session_waits() {
    let options = Options { resume_window_ms: 60_000, ..Options::default() };
    let simulator = simulator(options);
    let (client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    let mut client = resume(&simulator, &session, seq).await;
    client.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_resume_can_be_4009() {
    let options = Options { refused_resume: RefusedResume::Close4009, ..Options::default() };
    let simulator = simulator(options);
    let mut client = resume(&simulator, "nonsense", 1).await;
    assert_eq!(client.close_code().await, 4009);
}

#[tokio::test(start_paused = true)]
async fn a_seq_from_the_future_is_4007() {
    let simulator = simulator(Options::default());
    let (client, session) = begin(&simulator).await;
    let mut late = resume(&simulator, &session, client.seq.unwrap() + 1).await;
    assert_eq!(late.close_code().await, 4007);
    assert_eq!(simulator.violations()[0].rule, Rule::InvalidSeq);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_4004_and_a_half_resume_4002() {
    let simulator = simulator(Options::default());
    let mut client = Client::connect(&simulator).await;
    let d = json!({"token": "wrong", "session_id": "x", "seq": 1});
    client.send(&json!({"op": 6, "d": d})).await;
    assert_eq!(client.close_code().await, 4004);
    let mut client = Client::connect(&simulator).await;
    client.send(&json!({"op": 6, "d": {"token": simulator.options().token}})).await;
    assert_eq!(client.close_code().await, 4002);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_a_session_unresumable() {
    let options = Options { replay_events: 10, ..Options::default() };
    let simulator = simulator(options);
    let (client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 1).await;
    for _ in 0..10 {
        simulator.post_message(channel(&simulator), None, "x").unwrap();
    }
    let mut client = resume(&simulator, &session, seq).await;
    assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "x");
    drop(client);
    simulator.wait_until(|seen| seen.counts.closed == 2).await;
    for _ in 0..11 {
        simulator.post_message(channel(&simulator), None, "x").unwrap();
    }
    let mut client = resume(&simulator, &session, seq).await;
    assert_eq!(client.op(9).await["d"], false);
}

#[tokio::test(start_paused = true)]
async fn the_client_ends_its_session_with_1000_and_1001_only() {
    let simulator = simulator(Options { max_concurrency: 99, ..Options::default() });
    for (code, alive) in [(1000, false), (1001, false), (4000, true), (3000, true)] {
        tokio::time::advance(Duration::from_secs(5)).await;
        let (mut client, session) = begin(&simulator).await;
        let seq = client.seq.unwrap();
        client.close(code).await;
        assert!(matches!(client.end().await, Arrived::Closed(Some(echo), _) if echo == code));
        let mut client = resume(&simulator, &session, seq).await;
        if alive {
            client.dispatch("RESUMED").await;
        } else {
            assert_eq!(client.op(9).await["d"], false, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_takes_the_session_over() {
    let simulator = simulator(Options::default());
    let (mut first, session) = begin(&simulator).await;
    let mut second = resume(&simulator, &session, first.seq.unwrap()).await;
    second.dispatch("RESUMED").await;
    assert_eq!(first.close_code().await, 4000);
    simulator.post_message(channel(&simulator), None, "to the second").unwrap();
    assert_eq!(second.dispatch("MESSAGE_CREATE").await["content"], "to the second");
}

#[tokio::test(start_paused = true)]
async fn other_parameters_than_at_first_are_noticed() {
    let simulator = simulator(Options::default());
    let (first, session) = begin(&simulator).await;
    let query = format!("{}&compress=zlib-stream", common::QUERY);
    let mut second = Client::connect_with(&simulator, &query).await.unwrap();
    second.resume(&simulator, &session, first.seq.unwrap()).await;
    second.dispatch("RESUMED").await;
    assert_eq!(simulator.violations()[0].rule, Rule::ResumeParameters);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_can_be_taken_at_their_word() {
    let options = Options { trim_replay_on_heartbeat: true, ..Options::default() };
    let simulator = simulator(options);
    let (mut client, session) = begin(&simulator).await;
    let seq = client.seq.unwrap();
    client.beat().await;
    client.op(11).await;
    drop(client);
    let mut early = resume(&simulator, &session, seq - 1).await;
    assert_eq!(early.op(9).await["d"], false);
}

#[tokio::test(start_paused = true)]
async fn guilds_are_replayed_too() {
    let simulator = simulator(Options { guilds: 5, ..Options::default() });
    let end = Ending::Drop(Cut::Reset);
    simulator.plan(Some(1), ConnectPlan::end_at(Stage::AfterDispatches(3), end)).unwrap();
    let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
    let first = client.drain(SECOND).await;
    assert_eq!(first.len(), 2);
    let session = ready["session_id"].as_str().unwrap();
    let mut client = resume(&simulator, session, client.seq.unwrap()).await;
    let rest = client.drain(SECOND).await;
    let names: Vec<&str> = rest.iter().map(|payload| payload["t"].as_str().unwrap()).collect();
    assert_eq!(names, ["GUILD_CREATE", "GUILD_CREATE", "GUILD_CREATE", "RESUMED"]);
}
