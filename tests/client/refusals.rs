//! Promises 5 and 7: what is refused for good stops only what it must, with a reason a person can
//! act on, and nothing ever shows the token.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use shardwright::ErrorKind;
use shardwright::queue::{EventKind, NO_SHARD};
use shardwright::shard::StopMode;
use shardwright_sim::{ConnectPlan, Hello, Options, RestFaultKind, Target, intents};
use tracing_subscriber::filter::LevelFilter;

use crate::host::{Host, answer, rest_fault, simulator};

fn four_shards() -> Options {
    Options { recommended_shards: 4, max_concurrency: 4, ..Options::default() }
}

/// A wrong token is seen at `/gateway/bot`: one FATAL event for the whole client, no connection.
#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_said_at_once() {
    let simulator = simulator(four_shards());
    let mut host = Host::start(&simulator, json!({"token": "not.the.token"}));
    let held = host.send(&json!({"type": "update_presence"}));
    host.until("FATAL", |host| host.told.iter().any(|told| told.kind == EventKind::Fatal)).await;
    let fatal = host.told.iter().find(|told| told.kind == EventKind::Fatal).expect("came");
    assert_eq!((fatal.shard_id, fatal.status), (NO_SHARD, -12));
    assert!(fatal.data["reason"].as_str().expect("a text").contains("refused the bot token"));
    assert_eq!(host.client.wait_ready(None).expect_err("never").kind(), ErrorKind::Fatal);
    assert_eq!(host.client.healthy().expect_err("never").kind(), ErrorKind::Fatal);
    host.until("the reply", |host| host.reply(held).is_some()).await;
    assert_eq!(host.reply(held).expect("came").0, -12);
    let refused = host.client.send_command(r#"{"type":"update_presence"}"#);
    assert_eq!(refused.expect_err("no shards").kind(), ErrorKind::Fatal);
    host.during(Duration::from_secs(3_000)).await;
    assert_eq!(simulator.look(|seen| (seen.counts.connections, seen.counts.rest)), (0, 1));
    host.stop(StopMode::Close).await;
}

/// Scenario 45: a shard that is refused for good says why and stays down; the others run on.
#[tokio::test(start_paused = true)]
async fn a_refused_shard_is_alone() {
    for code in [4004, 4010, 4011, 4012, 4013, 4014] {
        let simulator = simulator(four_shards());
        let mut host = Host::start(&simulator, json!({}));
        host.until_ready().await;
        simulator.close(Target::Shard(2), Some(code), "");
        host.until("FATAL", |host| host.told.iter().any(|t| t.kind == EventKind::Fatal)).await;
        let fatal = host.told.iter().find(|told| told.kind == EventKind::Fatal).expect("came");
        assert_eq!((fatal.shard_id, &fatal.data["close_code"]), (2, &json!(code)));
        host.during(Duration::from_secs(3_000)).await;
        let states: Vec<_> = (0..4).map(|id| host.shard_status(id)["state"].clone()).collect();
        assert_eq!(states, ["ready", "ready", "fatal", "ready"], "{code}");
        let error = host.client.healthy().expect_err("one is down").to_string();
        assert!(error.starts_with("shard 2: closed with "), "{error}");
        assert_eq!(simulator.look(|seen| seen.counts.identifies), 4);
        assert_eq!(simulator.violations().len(), 0);

        let (status, _) = host.ask(&json!({"type": "restart_shard", "shard": 2})).await;
        assert_eq!(status, 0);
        host.until("a new life", |host| host.shard_status(2)["state"] == "ready").await;
        assert!(host.client.healthy().is_ok(), "{:?}", host.client.healthy());
    }
}

/// The real thing: intents that were not granted, found out at identify.
#[tokio::test(start_paused = true)]
async fn intents_that_were_not_granted_are_explained() {
    let simulator =
        simulator(Options { privileged_intents: intents::GUILD_MEMBERS, ..Options::default() });
    let mut host = Host::start(&simulator, json!({}));
    host.until("FATAL", |host| host.told.iter().any(|told| told.kind == EventKind::Fatal)).await;
    let error = host.client.healthy().expect_err("refused").to_string();
    assert!(error.contains("4014") && error.contains("Developer Portal"), "{error}");
}

/// Scenario 68: with large-bot sharding, a total that is no multiple of Discord's number is refused.
/// Each shard says so, with what to do, and asks once; a total that fits is taken.
#[tokio::test(start_paused = true)]
async fn a_total_that_is_no_multiple_is_explained() {
    let simulator = simulator(Options { large_bot_multiple: 4, ..four_shards() });
    let mut host = Host::start(&simulator, json!({"shards": 6}));
    host.until("all are refused", |host| host.fatal().count() == 6).await;
    for fatal in host.fatal() {
        assert_eq!((fatal.status, &fatal.data["close_code"]), (-12, &json!(4010)));
        let reason = fatal.data["reason"].as_str().expect("a text");
        let told =
            ["invalid shard", "multiple of the number that Discord assigned", "a multiple of 4"];
        assert!(told.iter().all(|part| reason.contains(part)), "{reason}");
    }
    host.during(Duration::from_secs(1_000)).await;
    assert_eq!(simulator.look(|seen| (seen.counts.identifies, seen.counts.identified)), (6, 0));
    assert_eq!(host.client.wait_ready(None).expect_err("never").kind(), ErrorKind::Fatal);
    host.stop(StopMode::Close).await;

    let mut host = Host::start(&simulator, json!({"shards": 8}));
    host.until_ready().await;
    assert_eq!(host.fatal().count(), 0);
}

/// Scenario 69, the fatal half: a shard that would carry more than 2500 guilds is refused, with what to
/// do; the one beside it runs on, and more shards are the cure.
#[tokio::test(start_paused = true)]
async fn a_shard_with_too_many_guilds_is_explained() {
    let simulator = simulator(Options {
        guilds: 5_001,
        recommended_shards: 3,
        members_per_guild: 1,
        ..four_shards()
    });
    // Without the intent GUILDS thousands of guilds are only a list in READY.
    let mut host = Host::start(&simulator, json!({"shards": 2, "intents": ["GUILD_MESSAGES"]}));
    host.until("a refusal and a READY", |host| {
        host.fatal().count() == 1 && host.dispatches("READY").count() == 1
    })
    .await;
    let fatal = host.fatal().next().expect("came");
    assert_eq!((fatal.shard_id, fatal.status, &fatal.data["close_code"]), (0, -12, &json!(4011)));
    let reason = fatal.data["reason"].as_str().expect("a text");
    let told = ["sharding required", "raise the number of shards", "2501 guilds"];
    assert!(told.iter().all(|part| reason.contains(part)), "{reason}");
    host.during(Duration::from_secs(1_000)).await;
    assert_eq!(simulator.look(|seen| (seen.counts.identifies, seen.counts.identified)), (2, 1));
    assert_eq!(host.shard_status(0)["state"], "fatal");
    assert_eq!(host.shard_status(1)["state"], "ready");
    host.stop(StopMode::Close).await;

    let mut host =
        Host::start(&simulator, json!({"shards": "auto", "intents": ["GUILD_MESSAGES"]}));
    host.until_ready().await;
    assert_eq!(host.fatal().count(), 0);
}

/// Scenario 4: a REST API that is down holds up the start, with a reason, until it is back; shards
/// that run do not need it.
#[tokio::test(start_paused = true)]
async fn rest_may_be_down() {
    let simulator = simulator(four_shards());
    let down = rest_fault("/gateway/bot", answer(503, ""));
    simulator.rest_fault(down.clone()).expect("a fault");
    let mut host = Host::start(&simulator, json!({}));
    host.during(Duration::from_secs(600)).await;
    let told = host.states(NO_SHARD);
    assert!(told.len() > 5 && told.len() < 200, "{}", told.len());
    assert!(told[0].1.contains("/gateway/bot answered HTTP 503; asking again"), "{told:?}");
    assert_eq!(host.client.healthy().expect_err("waits").kind(), ErrorKind::State);
    simulator.clear_faults();
    host.until_ready().await;

    simulator.rest_fault(down).expect("a fault");
    simulator.close(Target::All, Some(4009), "");
    host.until("all are back", |_| simulator.look(|seen| seen.counts.identified) == 8).await;
    host.until_ready().await;
}

/// Scenario 4: nonsense from `/gateway/bot`, or nothing, is met with another try, not with a crash.
#[tokio::test(start_paused = true)]
async fn nonsense_from_gateway_bot_is_survived() {
    let limit = r#"{"total":1,"remaining":1,"reset_after":0,"max_concurrency":1}"#;
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"url":"wss://x"}"#,
        &format!(r#"{{"url":"https://x","shards":1,"session_start_limit":{limit}}}"#),
        &format!(r#"{{"url":"wss://x","shards":0,"session_start_limit":{limit}}}"#),
        &format!(r#"{{"url":"wss://x","shards":4000000000,"session_start_limit":{limit}}}"#),
        &format!(r#"{{"url":"wss://x","shards":-1,"session_start_limit":{limit}}}"#),
    ] {
        let simulator = simulator(four_shards());
        let nonsense = rest_fault("/gateway/bot", answer(200, body));
        simulator.rest_fault(nonsense).expect("a fault");
        let mut host = Host::start(&simulator, json!({}));
        host.until("a reason", |host| !host.states(NO_SHARD).is_empty()).await;
        assert!(host.states(NO_SHARD)[0].1.contains("/gateway/bot"), "{body}");
        simulator.clear_faults();
        host.until_ready().await;
    }
}

/// With the gateway and the shards in the config, a REST API that is away holds up nothing.
#[tokio::test(start_paused = true)]
async fn a_full_config_needs_no_rest() {
    let simulator = simulator(Options::default());
    simulator.rest_fault(rest_fault("**", RestFaultKind::Hang)).expect("a fault");
    let changes = json!({"gateway_url": "ws://discord.test", "shards": 2});
    let mut host = Host::start(&simulator, changes);
    host.until_ready().await;
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// A place for log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Scenarios 73 and 79: after all kinds of trouble, with a server that repeats the token, it is in no
/// event, no log, no status, no metric, no error.
#[tokio::test(start_paused = true)]
async fn the_token_is_nowhere() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    // A test beside this one may just have cached, without a subscriber, that nobody listens.
    tracing::callsite::rebuild_interest_cache();

    let simulator = simulator(four_shards());
    let token = simulator.options().token;
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    let rest = json!({"type": "rest", "method": "GET", "path": "/users/@me"});
    host.ask(&rest).await;
    host.ask(&json!({"type": "update_presence"})).await;
    let hello = Hello::Interval(json!(token));
    let plan = ConnectPlan { hello, ..ConnectPlan::default() };
    simulator.plan(Some(1), plan).expect("a plan");
    simulator.close(Target::Shard(3), Some(4000), "");
    host.until("a bad HELLO", |host| {
        host.states(3).iter().any(|(_, reason)| reason.contains("invalid type: string"))
    })
    .await;
    simulator.close(Target::Shard(1), Some(4004), token.clone());
    simulator.close(Target::Shard(2), Some(4000), token.clone());
    host.during(Duration::from_secs(60)).await;

    drop(guard);
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let told: Vec<_> = host.told.iter().map(|told| format!("{told:?}")).collect();
    let client = format!("{:?} {:?}", host.client, host.client.config());
    let status = host.client.status_json();
    let error = host.client.healthy().expect_err("shard 1 is down").to_string();
    let quoted = "the server said";
    for (place, text, part) in [
        ("the log", log, quoted),
        ("an event", told.concat(), quoted),
        ("the status", status, quoted),
        ("the metrics", host.client.metrics_text(), "# EOF"),
        ("an error", error, quoted),
        ("Debug", client, "Config"),
    ] {
        assert!(text.contains(part), "{place} does not tell {part}: {text}");
        assert!(!text.contains(&token), "{place} tells the token");
    }
}
