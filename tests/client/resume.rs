//! Promises 1 and 5: no event lost, none twice, none out of order; a shard always comes back.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright_sim::{
    AcceptPlan, Acks, ConnectPlan, Cut, Ending, HandshakePlan, Hello, Options, Pace, Simulator,
    Split, Stage, Target,
};

use crate::host::{Host, config, simulator};

/// Four busy shards that start together.
fn busy() -> Options {
    Options {
        guilds: 40,
        members_per_guild: 20,
        events_per_second: 200.0,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    }
}

/// Stops traffic and checks everything that came against everything that was sent.
async fn assert_all_is_well(host: &mut Host, simulator: &Simulator, identifies: u64) {
    simulator.set_traffic(0.0).expect("a rate");
    host.until_ready().await;
    host.assert_nothing_lost(simulator, 4).await;
    assert_eq!(simulator.look(|seen| seen.counts.identifies), identifies);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Lives with traffic over pipes and has `trouble` happen again and again.
async fn survive(options: Options, changes: Value, trouble: impl Fn(&Simulator, u32)) {
    let simulator = simulator(options);
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, changes);
    host.until_ready().await;
    for round in 0..12 {
        host.during(Duration::from_secs(20)).await;
        trouble(&simulator, round);
    }
    host.during(Duration::from_secs(20)).await;
    assert_all_is_well(&mut host, &simulator, 4).await;
    assert!(simulator.look(|seen| seen.counts.resumed) >= 9);
}

/// Scenarios 34 and 52: sockets that end, by FIN, RST or silence, cost nothing, whatever the
/// compression; each new one has a new context.
#[tokio::test(start_paused = true)]
async fn sockets_may_die_in_any_way() {
    for compression in ["zstd", "zlib", "none"] {
        survive(busy(), json!({"compression": compression}), |simulator, round| {
            let how = [Cut::Fin, Cut::Reset, Cut::Silence][round as usize % 3];
            simulator.drop_sockets(Target::Shard(round % 4), how);
        })
        .await;
    }
}

/// Scenarios 17, 26, 46, 54 and op 7: everything else that a server does to a session that lives.
#[tokio::test(start_paused = true)]
async fn servers_may_do_what_they_like() {
    survive(busy(), json!({}), |simulator, round| {
        let shard = Target::Shard(round % 4);
        match round % 6 {
            0 => simulator.reconnect(shard),
            1 => simulator.invalid_session(shard, true),
            2 => simulator.close(shard, Some(4000), "Unknown error."),
            3 => simulator.corrupt_next(shard, 1),
            4 => simulator.close(shard, None, ""),
            _ => {
                simulator.acks(shard, Acks::SwallowAll)
                    + simulator.drop_sockets(Target::Shard(3), Cut::Silence)
            }
        };
    })
    .await;
}

/// What goes wrong with a connection attempt, and how often.
fn broken_attempts() -> Vec<(&'static str, ConnectPlan)> {
    let hello = |hello| ConnectPlan { hello, ..ConnectPlan::default() };
    vec![
        ("HTTP 502 with HTML", ConnectPlan::refuse(502, "<html>Bad Gateway</html>")),
        ("HTTP 429", ConnectPlan::refuse(429, r#"{"retry_after":1}"#)),
        (
            "no answer to the handshake",
            ConnectPlan { handshake: HandshakePlan::Hang, ..ConnectPlan::default() },
        ),
        ("no HELLO", hello(Hello::Never)),
        ("a HELLO of 0 ms", hello(Hello::Interval(json!(0)))),
        ("a HELLO of a string", hello(Hello::Interval(json!("41250")))),
        (
            "op 7 before HELLO",
            ConnectPlan {
                before_hello: vec![json!({"op": 7, "d": null})],
                ..ConnectPlan::default()
            },
        ),
        (
            "an unknown op before HELLO",
            ConnectPlan {
                before_hello: vec![json!({"op": 99, "d": {}})],
                ..ConnectPlan::default()
            },
        ),
        (
            "closed before HELLO",
            ConnectPlan::end_at(
                Stage::BeforeHello,
                Ending::Close { code: Some(1001), reason: String::new() },
            ),
        ),
        ("reset before HELLO", ConnectPlan::end_at(Stage::BeforeHello, Ending::Drop(Cut::Reset))),
    ]
}

/// Scenarios 1 to 3, 6 and 7: the network dies before HELLO, in every way, at the first start and when
/// resuming; every shard comes back and nothing is lost. How it tries again, `tests/shard/handshake.rs` shows.
#[tokio::test(start_paused = true)]
async fn attempts_may_fail_before_hello() {
    for (what, plan) in broken_attempts() {
        let simulator = simulator(busy());
        simulator.plan(Some(6), plan.clone()).expect("a plan");
        tokio::spawn(simulator.traffic());
        let mut host = Host::start(&simulator, json!({}));
        host.until(what, |host| host.client.healthy().is_ok()).await;
        host.during(Duration::from_secs(10)).await;
        simulator.plan(Some(6), plan).expect("a plan");
        simulator.drop_sockets(Target::All, Cut::Reset);
        host.during(Duration::from_secs(1)).await;
        assert_all_is_well(&mut host, &simulator, 4).await;
    }
}

/// A stream that is accepted and then nothing: before TLS and HTTP, for the gateway and for REST.
#[tokio::test(start_paused = true)]
async fn streams_may_hang_before_anything() {
    let simulator = simulator(busy());
    for plan in [AcceptPlan::Hang, AcceptPlan::Drop(Cut::Fin), AcceptPlan::Drop(Cut::Reset)] {
        simulator.plan_accept(Some(2), plan).expect("a plan");
    }
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    host.during(Duration::from_secs(10)).await;
    assert_all_is_well(&mut host, &simulator, 4).await;
}

/// The network dies between IDENTIFY and READY, and between RESUME and the end of the replay.
#[tokio::test(start_paused = true)]
async fn connections_may_die_before_their_answer() {
    for stage in [Stage::AfterHello, Stage::OnIdentify, Stage::AfterDispatches(3)] {
        for how in [Ending::Drop(Cut::Reset), Ending::Drop(Cut::Fin), Ending::Drop(Cut::Silence)] {
            let simulator = simulator(busy());
            let plan = ConnectPlan::end_at(stage, how);
            tokio::spawn(simulator.traffic());
            simulator.plan(Some(4), plan.clone()).expect("a plan");
            let mut host = Host::start(&simulator, json!({}));
            host.until_ready().await;
            host.during(Duration::from_secs(10)).await;
            let identifies = simulator.look(|seen| seen.counts.identifies);
            simulator.plan(Some(4), plan).expect("a plan");
            simulator.drop_sockets(Target::All, Cut::Reset);
            host.during(Duration::from_secs(60)).await;
            assert_all_is_well(&mut host, &simulator, identifies).await;
        }
    }
}

/// The same four moments over real sockets: before HELLO, after identify, during replay, when idle.
#[tokio::test]
async fn real_sockets_may_die_at_every_moment() {
    let options = Options { heartbeat_interval_ms: 2_000, ..busy() };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let identified = ConnectPlan::end_at(Stage::OnIdentify, Ending::Drop(Cut::Reset));
    simulator.plan(Some(1), identified).expect("a plan");
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), json!({})));
    host.until_ready().await;
    let identifies = simulator.look(|seen| seen.counts.identifies);
    for plan in [
        ConnectPlan::end_at(Stage::BeforeHello, Ending::Drop(Cut::Reset)),
        ConnectPlan::end_at(Stage::OnIdentify, Ending::Drop(Cut::Fin)),
        ConnectPlan::end_at(Stage::AfterDispatches(2), Ending::Drop(Cut::Reset)),
        ConnectPlan::default(),
    ] {
        let resumed = simulator.look(|seen| seen.counts.resumed);
        simulator.plan(Some(4), plan).expect("a plan");
        simulator.drop_sockets(Target::All, Cut::Reset);
        host.until("resumes", |_| simulator.look(|seen| seen.counts.resumed) >= resumed + 4).await;
    }
    assert_all_is_well(&mut host, &simulator, identifies).await;
    server.shutdown().await;
}

/// Scenarios 5 and 51: pieces of anything, in any cut, come out whole.
#[tokio::test(start_paused = true)]
async fn pieces_are_put_together() {
    let splits = [Split::Frames(3), Split::Messages(3), Split::Frames(50), Split::Messages(50)];
    for compression in ["zlib", "zstd", "none"] {
        let simulator = simulator(busy());
        let dribble =
            ConnectPlan { dribble: Some(Pace { bytes: 7, gap_ms: 3 }), ..ConnectPlan::default() };
        simulator.plan(None, dribble).expect("a plan");
        tokio::spawn(simulator.traffic());
        let mut host = Host::start(&simulator, json!({"compression": compression}));
        host.until_ready().await;
        for round in 0..40 {
            let split = splits[round % splits.len()];
            if compression != "zlib" && matches!(split, Split::Messages(_)) {
                continue; // Discord cuts a payload into messages with zlib-stream only.
            }
            simulator.split_next(Target::All, split);
            host.during(Duration::from_millis(500)).await;
        }
        assert_all_is_well(&mut host, &simulator, 4).await;
        assert_eq!(simulator.look(|seen| seen.counts.resumes), 0, "{compression}");
    }
}

/// Scenario 55: what is no payload is survived on the same connection.
#[tokio::test(start_paused = true)]
async fn bad_payloads_are_survived() {
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    for text in ["", "{", "<html>", "null", r#"{"t":"X","s":null,"op":"0","d":{}}"#, r#"{"op":99}"#]
    {
        simulator.send(Target::All, text);
        host.during(Duration::from_secs(1)).await;
    }
    simulator.send(Target::Shard(0), r#"{"d":{"hello":1},"op":0,"s":null,"t":"NEW_THING"}"#);
    host.until("an unknown event", |host| host.dispatches("NEW_THING").count() == 1).await;
    assert_all_is_well(&mut host, &simulator, 4).await;
    assert_eq!(simulator.look(|seen| seen.counts.resumes), 0);
}

/// Events that were replayed carry the flag, others do not.
#[tokio::test(start_paused = true)]
async fn replayed_events_are_flagged() {
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    host.during(Duration::from_secs(5)).await;
    assert!(host.told.iter().all(|told| !told.replayed));
    simulator.drop_sockets(Target::All, Cut::Reset);
    host.during(Duration::from_secs(5)).await;
    assert_all_is_well(&mut host, &simulator, 4).await;
    let replayed = host.told.iter().filter(|told| told.replayed).count() as u64;
    assert!(replayed > 0);
    // RESUMED itself is not part of the replay.
    assert_eq!(replayed, simulator.look(|seen| seen.counts.replayed));
}
