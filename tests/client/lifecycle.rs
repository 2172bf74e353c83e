//! Start, stop, restart, and two clients in one process.

use std::time::Duration;

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::{
    AcceptPlan, By, ConnectPlan, HandshakePlan, Hello, Options, Ready, RestFaultKind, Target,
};

use crate::host::{Host, answer, rest_fault, simulator};

fn four_shards() -> Options {
    Options { recommended_shards: 4, max_concurrency: 4, ..Options::default() }
}

/// The states a shard goes through, in the order of the design.
#[tokio::test(start_paused = true)]
async fn states_come_in_order() {
    let simulator = simulator(four_shards());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    simulator.drop_sockets(Target::Shard(3), shardwright_sim::Cut::Reset);
    host.until("a resume", |_| simulator.look(|seen| seen.counts.resumed) == 1).await;
    host.until_ready().await;
    host.stop(StopMode::Close).await;
    let states: Vec<String> = host.states(3).into_iter().map(|(state, _)| state).collect();
    let expected = [
        "queued",
        "connecting",
        "identifying",
        "ready",
        "disconnected",
        "connecting",
        "resuming",
        "ready",
        "stopped",
    ];
    assert_eq!(states, expected);
    for told in host.told.iter().filter(|told| told.kind == EventKind::ShardState) {
        assert_eq!(told.data["to"], told.name.as_str());
        assert!(told.data["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    }
}

/// Scenario 36: what Discord sees of each way to stop.
#[tokio::test(start_paused = true)]
async fn stops_are_seen_as_they_are_meant() {
    for (mode, code) in
        [(StopMode::Resumable, Some(4900)), (StopMode::Close, Some(1000)), (StopMode::Abort, None)]
    {
        let simulator = simulator(four_shards());
        let mut host = Host::start(&simulator, json!({}));
        host.until_ready().await;
        host.stop(mode).await;
        simulator.wait_until(|seen| seen.open_connections().count() == 0).await;
        for connection in simulator.seen().connections.values() {
            let closed = connection.closed.as_ref().expect("closed");
            assert_eq!((closed.by, closed.code), (By::Client, code), "{mode:?}");
        }
        assert_eq!(host.client.healthy().expect_err("stopped").kind(), ErrorKind::Closed);
        let late = host.client.send_command(r#"{"type":"gateway_info"}"#);
        assert_eq!(late.expect_err("stopped").kind(), ErrorKind::Closed);
    }
}

/// Scenario 76: a stop ends within seconds whatever the client is doing.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_anything() {
    type Trouble = fn(&shardwright_sim::Simulator);
    let troubles: [(&str, Trouble); 6] = [
        ("REST hangs", |simulator| simulator.plan_accept(None, AcceptPlan::Hang).expect("a plan")),
        ("handshakes hang", |simulator| {
            let plan = ConnectPlan { handshake: HandshakePlan::Hang, ..ConnectPlan::default() };
            simulator.plan(None, plan).expect("a plan");
        }),
        ("no HELLO", |simulator| {
            let plan = ConnectPlan { hello: Hello::Never, ..ConnectPlan::default() };
            simulator.plan(None, plan).expect("a plan");
        }),
        ("READY never comes", |simulator| {
            simulator.ready(None, Ready::Never);
        }),
        ("every attempt is refused", |simulator| {
            simulator.plan(None, ConnectPlan::refuse(502, "")).expect("a plan");
        }),
        ("our close is ignored", |simulator| {
            let plan = ConnectPlan { ignore_close: true, ..ConnectPlan::default() };
            simulator.plan(None, plan).expect("a plan");
        }),
    ];
    for (what, trouble) in troubles {
        for mode in [StopMode::Resumable, StopMode::Close, StopMode::Abort] {
            let simulator = simulator(four_shards());
            trouble(&simulator);
            let mut host = Host::start(&simulator, json!({}));
            let waits = host.send(&json!({"type": "update_presence"}));
            host.during(Duration::from_secs(8)).await;
            let stopped_at = simulator.now();
            host.stop(mode).await;
            let took = simulator.now() - stopped_at;
            assert!(took <= Duration::from_secs(6), "{what}, {mode:?}: {took:?}");
            assert!(host.reply(waits).is_some(), "{what}, {mode:?}");
        }
    }
}

/// Scenario 49: a server that does not answer our close frame keeps nobody longer than 5 s, and has
/// as long to answer.
#[tokio::test(start_paused = true)]
async fn an_ignored_close_ends_by_itself() {
    let simulator = simulator(Options::default());
    let plan = ConnectPlan { ignore_close: true, ..ConnectPlan::default() };
    simulator.plan(Some(1), plan).expect("a plan");
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    simulator.reconnect(Target::All);
    let asked_at = simulator.now();
    host.until("a resume", |_| simulator.look(|seen| seen.counts.resumed) == 1).await;
    assert!(simulator.now() - asked_at < Duration::from_secs(1), "the new one does not wait");
    // The new connection is closed at once, so what the end waits for is the old one's socket.
    host.stop(StopMode::Close).await;
    let took = simulator.now() - asked_at;
    assert!((Duration::from_secs(5)..=Duration::from_secs(6)).contains(&took), "{took:?}");
}

/// A stop answers every command that is open, and nothing comes after the end.
#[tokio::test(start_paused = true)]
async fn a_stop_answers_every_command() {
    let simulator = simulator(four_shards());
    simulator.ready(None, Ready::Never);
    let mut host = Host::start(&simulator, json!({}));
    simulator.rest_fault(rest_fault("/users/@me", RestFaultKind::Hang)).expect("a fault");
    let ids = [
        host.send(&json!({"type": "request_channel_info", "guild_id": 1})),
        host.send(&json!({"type": "gateway", "op": 4, "d": {}, "shard": 1})),
        host.send(&json!({"type": "rest", "method": "GET", "path": "/users/@me"})),
    ];
    host.during(Duration::from_secs(1)).await;
    host.stop(StopMode::Resumable).await;
    for id in ids {
        let (status, data) = host.reply(id).expect("answered");
        assert_eq!(status, -5);
        assert_eq!(data["error"], "the client stopped before it was done");
    }
}

/// A client that was never started stops too.
#[tokio::test]
async fn a_client_that_never_ran_can_stop() {
    let simulator = simulator(Options::default());
    let text = crate::host::config(&simulator, "http://discord.test", json!({}));
    let config = shardwright::Config::from_json(&text, |_| None).expect("good");
    let network = std::sync::Arc::new(shardwright::transport::Tcp);
    let client = shardwright::Client::new(config, network).expect("a client");
    assert_eq!(client.wait_ready(None).expect_err("not started").kind(), ErrorKind::State);
    let early = client.send_command(r#"{"type":"gateway_info"}"#);
    assert_eq!(early.expect_err("not started").kind(), ErrorKind::State);
    client.stop(StopMode::Close);
    client.wait_stopped(None).expect("stopped");
    let late = client.start(&tokio::runtime::Handle::current());
    assert_eq!(late.expect_err("stopped").kind(), ErrorKind::State);
}

/// Scenario 77: two bots in one process have nothing to do with each other.
#[tokio::test(start_paused = true)]
async fn two_bots_do_not_meet() {
    let one = simulator(Options { recommended_shards: 3, ..Options::default() });
    let other = simulator(Options {
        token: "other.token".to_owned(),
        recommended_shards: 3,
        ..Options::default()
    });
    let mut a = Host::start(&one, json!({}));
    let mut b = Host::start(&other, json!({}));
    a.until_ready().await;
    b.until_ready().await;
    // Two windows each, side by side: with one gate for both it would be five.
    assert!(one.now() < Duration::from_secs(13), "{:?}", one.now());
    assert_eq!(one.violations().len() + other.violations().len(), 0);
    let remaining = |host: &Host| {
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        status["session_start_limit"]["remaining"].clone()
    };
    assert_eq!((remaining(&a), remaining(&b)), (json!(997), json!(997)));

    // Discord refuses one token, so that REST is not asked for a while; the other is none the worse.
    let me = json!({"type": "rest", "method": "GET", "path": "/users/@me"});
    one.rest_fault(rest_fault("**", answer(401, "{}"))).expect("a fault");
    for _ in 0..3 {
        assert_eq!(a.ask(&me).await.0, 401);
    }
    assert_eq!(a.ask(&me).await.0, -12, "the token counts as dead");
    let asked_at = other.now();
    assert_eq!(b.ask(&me).await.0, 200);
    assert!(other.now() - asked_at < Duration::from_secs(1), "nothing holds it up");
    a.stop(StopMode::Close).await;
    b.during(Duration::from_secs(100)).await;
    assert!(b.client.healthy().is_ok());
}

/// What the status says.
#[tokio::test(start_paused = true)]
async fn the_status_says_how_it_is() {
    let simulator = simulator(Options { guilds: 12, ..four_shards() });
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    host.during(Duration::from_secs(60)).await;
    let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
    assert_eq!((&status["stage"], &status["shard_total"]), (&json!("running"), &json!(4)));
    assert_eq!(status["guilds"], 12);
    for (id, shard) in (0..).zip(status["shards"].as_array().expect("shards")) {
        assert_eq!((&shard["id"], &shard["state"]), (&json!(id), &json!("ready")));
        assert_eq!((&shard["session"], &shard["identifies"]), (&json!(true), &json!(1)));
        assert_eq!(shard["guilds"], simulator.guilds_of_shard(id, 4).len());
        assert_eq!(shard["guilds_unavailable"], 0);
        assert!(shard["latency_ms"].is_u64() && shard["sequence"].as_u64() >= Some(1));
        assert!(shard["outbound_tokens"].as_u64() > Some(100));
    }
    let metrics = host.client.metrics_text();
    assert!(metrics.contains("shardwright_ready{shard=\"3\"} 1\n"), "{metrics}");
    assert!(metrics.contains("shardwright_session_starts_remaining 996\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
}
