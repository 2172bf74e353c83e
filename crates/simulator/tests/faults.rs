//! Everything that can be made to go wrong between a client and its gateway.

mod common;

use std::time::Duration;

use common::{Arrived, Client, PATIENCE, QUERY, Request, simulator};
use serde_json::{Value, json};
use shardwright_sim::{
    AcceptPlan, Acks, By, ConnectPlan, Cut, Ending, Handshake, HandshakePlan, Hello, Options,
    Outcome, Pace, Ready, Rule, Simulator, Split, Stage, Target,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

const SECOND: Duration = Duration::from_secs(1);

fn plan(simulator: &Simulator, plan: ConnectPlan) {
    simulator.plan(Some(1), plan).unwrap();
}

#[tokio::test(start_paused = true)]
async fn handshakes_can_be_refused_with_any_status_and_body() {
    let simulator = simulator(Options::default());
    simulator.plan(Some(2), ConnectPlan::refuse(502, "<html>Bad gateway</html>")).unwrap();
    let refuse = HandshakePlan::Refuse {
        status: 429,
        body: "{}".to_owned(),
        headers: vec![("Retry-After".to_owned(), "7".to_owned())],
    };
    plan(&simulator, ConnectPlan { handshake: refuse, ..ConnectPlan::default() });
    for status in [502, 502, 429] {
        match Client::connect_with(&simulator, QUERY).await {
            Err(Error::Http(response)) => {
                assert_eq!(response.status(), status);
                let retry = response.headers().get("retry-after");
                assert_eq!(retry.is_some(), status == 429);
            }
            other => panic!("{:?}", other.err()),
        }
    }
    Client::connect(&simulator).await.hello().await;
    let handshakes: Vec<Handshake> =
        simulator.seen().connections.values().map(|record| record.handshake).collect();
    let refused = Handshake::Refused;
    assert_eq!(handshakes, [refused(502), refused(502), refused(429), Handshake::Accepted]);
}

#[tokio::test(start_paused = true)]
async fn handshakes_can_hang() {
    let simulator = simulator(Options::default());
    let hang = ConnectPlan { handshake: HandshakePlan::Hang, ..ConnectPlan::default() };
    plan(&simulator, hang);
    assert!(Client::connect_with(&simulator, QUERY).await.is_err());
    assert_eq!(simulator.seen().connections[&1].handshake, Handshake::Hung);
    simulator.plan_accept(Some(1), AcceptPlan::Hang).unwrap();
    assert!(Client::connect_with(&simulator, QUERY).await.is_err());
    assert_eq!(simulator.seen().counts.handshakes, 1, "the second did not get that far");
    for cut in [Cut::Fin, Cut::Reset] {
        simulator.plan_accept(Some(1), AcceptPlan::Drop(cut)).unwrap();
        let start = Instant::now();
        assert!(Client::connect_with(&simulator, QUERY).await.is_err());
        assert!(start.elapsed() < SECOND);
    }
    Client::connect(&simulator).await.hello().await;
}

#[tokio::test(start_paused = true)]
async fn a_response_head_can_be_dribbled() {
    let simulator = simulator(Options::default());
    let dribble = Some(Pace { bytes: 3, gap_ms: 100 });
    plan(&simulator, ConnectPlan { dribble, ..ConnectPlan::default() });
    let start = Instant::now();
    let mut client = Client::connect(&simulator).await;
    assert!(start.elapsed() > 3 * SECOND);
    let start = Instant::now();
    client.hello().await;
    assert!(start.elapsed() < SECOND, "only the head");
}

#[tokio::test(start_paused = true)]
async fn hello_can_be_missing_or_nonsense() {
    let simulator = simulator(Options::default());
    let hello = |hello| ConnectPlan { hello, ..ConnectPlan::default() };
    plan(&simulator, hello(Hello::Never));
    let mut client = Client::connect(&simulator).await;
    client.quiet(PATIENCE / 2).await;
    client.identify(&simulator, [0, 1]).await;
    client.dispatch("READY").await;
    let broken: Vec<Rule> = simulator.violations().iter().map(|broken| broken.rule).collect();
    assert_eq!(broken, [Rule::BeforeHello]);
    for interval in [json!(0), json!(-5), json!(1), json!("soon"), json!(null)] {
        plan(&simulator, hello(Hello::Interval(interval.clone())));
        let mut client = Client::connect(&simulator).await;
        assert_eq!(client.hello().await["heartbeat_interval"], interval);
    }
    plan(&simulator, hello(Hello::D(json!({"no": "interval"}))));
    let mut client = Client::connect(&simulator).await;
    assert_eq!(client.hello().await, json!({"no": "interval"}));
    // Nobody can heartbeat to that, so nobody is blamed.
    client.quiet(Duration::from_secs(300)).await;
    assert_eq!(simulator.violations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn anything_can_come_before_hello() {
    let simulator = simulator(Options::default());
    let before_hello = vec![json!({"op": 7, "d": null}), json!({"op": 99})];
    plan(&simulator, ConnectPlan { before_hello, ..ConnectPlan::default() });
    let mut client = Client::connect(&simulator).await;
    let ops: Vec<Value> = client.drain(SECOND).await.iter().map(|p| p["op"].clone()).collect();
    assert_eq!(ops, [7, 99, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_end_at_every_stage() {
    let simulator = simulator(Options { max_concurrency: 99, ..Options::default() });
    let close = Ending::Close { code: Some(4321), reason: "planned".to_owned() };
    for (stage, payloads) in [
        (Stage::BeforeHello, 0),
        (Stage::AfterHello, 1),
        (Stage::OnIdentify, 1),
        (Stage::AfterDispatches(1), 2),
        (Stage::AfterDispatches(4), 5),
    ] {
        for how in [close.clone(), Ending::Drop(Cut::Fin), Ending::Drop(Cut::Reset)] {
            tokio::time::sleep(5 * SECOND).await;
            plan(&simulator, ConnectPlan::end_at(stage, how.clone()));
            let mut client = Client::connect(&simulator).await;
            client.identify(&simulator, [0, 1]).await;
            let mut got = 0;
            let end = loop {
                match client.next().await {
                    Arrived::Payload(_) => got += 1,
                    end => break end,
                }
            };
            assert_eq!(got, payloads, "{stage:?} {how:?}");
            match how {
                Ending::Close { .. } => {
                    assert_eq!(end, Arrived::Closed(Some(4321), "planned".to_owned()));
                }
                _ => assert!(matches!(end, Arrived::Gone(_)), "{stage:?} {end:?}"),
            }
        }
    }
    let seen = simulator.seen();
    assert!(
        seen.connections
            .values()
            .all(|record| { record.closed.as_ref().is_some_and(|closed| closed.by == By::Server) })
    );
    let cut = seen.identifies.iter().filter(|record| record.outcome == Outcome::Cut);
    assert_eq!(cut.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_payload_can_come_at_every_stage() {
    let simulator = simulator(Options::default());
    let op = |op: u64, d: Value| Ending::Payload(json!({"op": op, "d": d}));
    plan(&simulator, ConnectPlan::end_at(Stage::OnIdentify, op(9, json!(false))));
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.identify(&simulator, [0, 1]).await;
    assert_eq!(client.payload().await, json!({"op": 9, "d": false}));
    client.identify(&simulator, [0, 1]).await;
    let session = client.dispatch("READY").await["session_id"].as_str().unwrap().to_owned();
    // Op 7 in the middle of a replay.
    plan(&simulator, ConnectPlan::end_at(Stage::AfterDispatches(3), op(7, Value::Null)));
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.resume(&simulator, &session, 1).await;
    let ops: Vec<Value> =
        client.drain(SECOND).await.iter().map(|payload| payload["op"].clone()).collect();
    assert_eq!(ops, [0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn dispatches_can_be_held_back_while_acks_come() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    let act = |action: Value| simulator.act(&serde_json::from_value(action).unwrap()).unwrap();
    act(json!({"do": "stall", "target": {"shard": 0}}));
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    simulator.post_message(channel, None, "held back").unwrap();
    client.beat().await;
    assert_eq!(client.payload().await["op"], 11);
    client.quiet(10 * SECOND).await;
    act(json!({"do": "stall", "stall": false}));
    assert_eq!(client.dispatch("MESSAGE_CREATE").await["content"], "held back");
}

#[tokio::test(start_paused = true)]
async fn a_ready_can_be_split_and_corrupt() {
    let simulator = simulator(Options { max_concurrency: 2, ..Options::default() });
    plan(&simulator, ConnectPlan { split: Some(Split::Frames(9)), ..ConnectPlan::default() });
    let (client, _) = Client::ready(&simulator, [0, 2]).await;
    assert_eq!(client.messages.len(), 2);
    plan(&simulator, ConnectPlan { corrupt: 1, ..ConnectPlan::default() });
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.identify(&simulator, [1, 2]).await;
    assert!(matches!(client.next().await, Arrived::Garbage(_)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_end_at_a_stage_is_half_open() {
    let simulator = simulator(Options::default());
    let silence = Ending::Drop(Cut::Silence);
    plan(&simulator, ConnectPlan::end_at(Stage::AfterDispatches(2), silence));
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    assert_eq!(client.drain(SECOND).await.len(), 1);
    client.beat().await;
    client.quiet(PATIENCE / 2).await;
    // The gateway gave up on its heartbeats, and nobody is blamed for it.
    let closed = simulator.seen().connections[&1].closed.clone().unwrap();
    assert_eq!(closed.code, Some(4009));
    assert!(simulator.violations().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sockets_can_be_dropped_in_three_ways() {
    let simulator = simulator(Options { max_concurrency: 99, ..Options::default() });
    let (mut fin, _) = Client::ready(&simulator, [0, 4]).await;
    let (mut reset, _) = Client::ready(&simulator, [1, 4]).await;
    let (mut silent, _) = Client::ready(&simulator, [2, 4]).await;
    let (mut healthy, _) = Client::ready(&simulator, [3, 4]).await;
    for client in [&mut fin, &mut reset, &mut silent, &mut healthy] {
        client.drain(SECOND).await;
    }
    assert_eq!(simulator.drop_sockets(Target::Shard(0), Cut::Fin), 1);
    assert_eq!(simulator.drop_sockets(Target::ShardOf(1, 4), Cut::Reset), 1);
    assert_eq!(simulator.drop_sockets(Target::Guild(simulator.guilds()[2]), Cut::Silence), 1);
    assert!(matches!(fin.end().await, Arrived::Gone(_)));
    let Arrived::Gone(error) = reset.end().await else { panic!() };
    assert!(error.contains("reset"), "{error}");
    for client in [&mut silent, &mut healthy] {
        client.beat().await;
    }
    healthy.op(11).await;
    silent.quiet(10 * SECOND).await;
    let open: Vec<u64> = simulator.seen().open_connections().map(|c| c.connection).collect();
    assert_eq!(open, [3, 4], "the half-open one still counts as open");
    drop(silent);
    simulator.wait_until(|seen| seen.connections[&3].closed.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn connections_can_be_closed_with_any_code_or_none() {
    let simulator = simulator(Options { max_concurrency: 99, ..Options::default() });
    for (code, reason) in [(Some(4000), "unknown"), (Some(1000), ""), (Some(4999), "x"), (None, "")]
    {
        tokio::time::sleep(5 * SECOND).await;
        let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
        client.drain(SECOND).await;
        assert_eq!(simulator.close(Target::All, code, reason), 1);
        assert_eq!(client.end().await, Arrived::Closed(code, reason.to_owned()));
        // Whatever the gateway's code: the session is still there.
        let mut again = Client::connect(&simulator).await;
        let session = ready["session_id"].as_str().unwrap();
        again.resume(&simulator, session, client.seq.unwrap()).await;
        again.dispatch("RESUMED").await;
    }
}

#[tokio::test(start_paused = true)]
async fn op_7_and_op_9_can_come_at_any_time() {
    let simulator = simulator(Options { max_concurrency: 99, ..Options::default() });
    let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    simulator.reconnect(Target::All);
    let payload = client.payload().await;
    assert_eq!(payload, json!({"t": null, "s": null, "op": 7, "d": null}));
    let reconnect = json!({"do": "reconnect", "close_after_ms": 3000});
    simulator.act(&serde_json::from_value(reconnect).unwrap()).unwrap();
    let start = Instant::now();
    assert_eq!(client.end().await, Arrived::Closed(None, String::new()));
    assert!(start.elapsed().abs_diff(3 * SECOND) < SECOND / 10);

    let session = ready["session_id"].as_str().unwrap();
    let seq = client.seq.unwrap();
    let mut client = Client::connect(&simulator).await;
    client.resume(&simulator, session, seq).await;
    client.dispatch("RESUMED").await;
    simulator.invalid_session(Target::All, true);
    assert_eq!(client.op(9).await["d"], true);
    let seq = client.seq.unwrap();
    let mut client = Client::connect(&simulator).await;
    client.resume(&simulator, session, seq).await;
    client.dispatch("RESUMED").await;
    simulator.invalid_session(Target::All, false);
    assert_eq!(client.op(9).await["d"], false);
    let seq = client.seq.unwrap();
    let mut client = Client::connect(&simulator).await;
    client.resume(&simulator, session, seq).await;
    assert_eq!(client.op(9).await["d"], false, "the session is gone");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_hello_and_acks_work_but_ready_does_not_come() {
    let simulator = simulator(Options { max_concurrency: 99, ..Options::default() });
    simulator.ready(None, Ready::Never);
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.identify(&simulator, [0, 2]).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(41)).await;
        client.beat().await;
        assert_eq!(client.payload().await["op"], 11);
    }
    let command = json!({"op": 31, "d": {"guild_ids": []}});
    client.send(&command).await;
    simulator.wait_until(|seen| seen.counts.commands == 1).await;
    assert_eq!(simulator.violations()[0].rule, Rule::CommandBeforeReady);
    assert_eq!(simulator.ready(None, Ready::AtOnce), 1);
    client.dispatch("READY").await;

    // One shard late, others at once.
    simulator.ready(Some(1), Ready::AfterMs(90_000));
    let mut late = Client::connect(&simulator).await;
    late.identify(&simulator, [1, 2]).await;
    let start = Instant::now();
    late.hello().await;
    late.beat().await;
    tokio::time::sleep(Duration::from_secs(45)).await;
    late.beat().await;
    late.dispatch("READY").await;
    assert!(start.elapsed().abs_diff(Duration::from_secs(90)) < SECOND);
}

#[tokio::test(start_paused = true)]
async fn plans_reach_acks_speed_and_ready() {
    let simulator = simulator(Options::default());
    plan(
        &simulator,
        ConnectPlan {
            acks: Acks::SwallowAll,
            ready: Ready::AfterMs(5_000),
            bytes_per_second: Some(50_000),
            ..ConnectPlan::default()
        },
    );
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    client.beat().await;
    client.identify(&simulator, [0, 1]).await;
    let start = Instant::now();
    client.dispatch("READY").await;
    assert!(start.elapsed() >= 5 * SECOND);
    client.dispatch("GUILD_CREATE").await;
    let bytes: usize = client.messages.iter().map(Message::len).sum();
    let expected = Duration::from_secs_f64(bytes as f64 / 50_000.0);
    assert!(start.elapsed() + SECOND > 5 * SECOND + expected);
    assert_eq!(simulator.seen().counts.acks, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_can_be_slowed_down_and_let_go() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    simulator.slow(Target::All, Some(100));
    let channel = simulator.text_channels(simulator.guilds()[0])[0];
    simulator.post_message(channel, None, "slow").unwrap();
    let start = Instant::now();
    client.dispatch("MESSAGE_CREATE").await;
    assert!(start.elapsed() > 5 * SECOND);
    simulator.slow(Target::All, None);
    simulator.post_message(channel, None, "fast").unwrap();
    let start = Instant::now();
    client.dispatch("MESSAGE_CREATE").await;
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_can_be_left_unanswered() {
    let simulator = simulator(Options::default());
    plan(&simulator, ConnectPlan { ignore_close: true, ..ConnectPlan::default() });
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    client.close(4000).await;
    client.quiet(PATIENCE / 2).await;
    let closed = simulator.seen().connections[&1].closed.clone().unwrap();
    assert_eq!((closed.by, closed.code), (By::Client, Some(4000)));
}

#[tokio::test(start_paused = true)]
async fn any_payload_or_frame_can_be_sent() {
    let simulator = simulator(Options::default());
    let (mut client, _) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    for text in ["", "not json", "{\"op\":0,\"t\":\"CUT", "[]", "{\"op\":99,\"d\":{}}"] {
        assert_eq!(simulator.send(Target::All, text), 1);
        match client.next().await {
            Arrived::Garbage(data) => assert_eq!(data, text.as_bytes()),
            Arrived::Payload(payload) => assert_eq!(payload.to_string().len(), text.len()),
            other => panic!("{text}: {other:?}"),
        }
    }
    let act = |action: Value| simulator.act(&serde_json::from_value(action).unwrap());
    act(json!({"do": "send_frame", "base64": "AAEC/w=="})).unwrap();
    client.next_within(SECOND).await;
    let last = client.messages.last().unwrap();
    assert!(last.is_binary());
    assert_eq!(last.clone().into_data().as_ref(), [0, 1, 2, 255]);
    act(json!({"do": "send_bytes", "base64": "////////"})).unwrap();
    assert!(matches!(client.end().await, Arrived::Gone(_)), "the websocket is broken");
    let error = act(json!({"do": "send_frame"})).unwrap_err().to_string();
    assert!(error.contains("either"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn sessions_can_be_expired() {
    let simulator = simulator(Options::default());
    let (mut client, ready) = Client::ready(&simulator, [0, 1]).await;
    client.drain(SECOND).await;
    assert_eq!(simulator.expire(Target::All), 1);
    assert_eq!(client.close_code().await, 4009);
    let mut client = Client::connect(&simulator).await;
    client.resume(&simulator, ready["session_id"].as_str().unwrap(), 1).await;
    assert_eq!(client.op(9).await["d"], false);
}

#[tokio::test(start_paused = true)]
async fn faults_can_be_cleared() {
    let simulator = simulator(Options::default());
    simulator.plan(None, ConnectPlan::refuse(503, "")).unwrap();
    simulator.plan_accept(Some(3), AcceptPlan::Pace(Pace { bytes: 1, gap_ms: 1 })).unwrap();
    simulator.ready(None, Ready::Never);
    assert!(Client::connect_with(&simulator, QUERY).await.is_err());
    simulator.clear_faults();
    Client::ready(&simulator, [0, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_let_go() {
    let simulator = simulator(Options::default());
    let mut stream = simulator.connect();
    stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    let lost = Request::plain("GET", "/elsewhere").send(&simulator).await;
    assert_eq!(lost.status, 404);
    assert!(lost.text.contains("websocket"));
    let no_key = Request::plain("GET", "/?v=10&encoding=json")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade");
    assert_eq!(no_key.send(&simulator).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_breaks_the_rfc_is_1002() {
    let simulator = simulator(Options::default());
    let mut client = Client::connect(&simulator).await;
    client.hello().await;
    // An unmasked text frame.
    client.socket.get_mut().write_all(b"\x81\x02{}").await.unwrap();
    assert_eq!(client.close_code().await, 1002);
    assert_eq!(simulator.violations()[0].rule, Rule::BadFrame);
}

#[tokio::test(start_paused = true)]
async fn one_simulator_does_not_know_of_another() {
    let (one, other) = (simulator(Options::default()), simulator(Options::default()));
    one.plan(None, ConnectPlan::refuse(503, "")).unwrap();
    Client::ready(&other, [0, 1]).await;
    assert_eq!(one.seen().counts.handshakes, 0);
    assert_eq!(other.seen().counts.identified, 1);
}
