//! Resharding without a gap: every event once, the order of each guild kept, commands always with a shard
//! that owns the guild.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::EventKind;
use shardwright::shard::StopMode;
use shardwright_sim::{ConnectPlan, Cut, Options, Ready, Simulator, Target};

use crate::host::{Host, config, simulator};
use crate::temp_file::TempDir;

/// Four busy shards; more may start together than there will be.
fn busy() -> Options {
    Options {
        guilds: 60,
        members_per_guild: 20,
        events_per_second: 500.0,
        recommended_shards: 4,
        max_concurrency: 16,
        ..Options::default()
    }
}

/// Checks that the host has each event that any session was sent, once, and those of each guild in
/// their order.
async fn assert_every_event_once(host: &mut Host, simulator: &Simulator) {
    simulator.set_traffic(0.0).expect("a rate");
    let sent: BTreeSet<u64> =
        simulator.look(|seen| seen.dispatches.iter().filter_map(|record| record.number).collect());
    assert!(!sent.is_empty());
    // A connection that fell silent is found out by its heartbeats, and then everything comes.
    let end = simulator.now() + Duration::from_secs(300);
    let came = |host: &Host| host.numbers.values().map(Vec::len).sum::<usize>();
    host.until("every event, or its time", |host| {
        came(host) >= sent.len() || simulator.now() > end
    })
    .await;
    host.during(Duration::from_secs(2)).await;
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    let mut last_of_guild: BTreeMap<u64, u64> = BTreeMap::new();
    for told in &host.told {
        let Some(number) = told.number() else { continue };
        *times.entry(number).or_default() += 1;
        let last = last_of_guild.insert(told.guild_id, number);
        assert!(last < Some(number), "guild {}: {number} after {last:?}", told.guild_id);
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "came more than once: {twice:?}");
    let identifies = simulator.look(|seen| seen.counts.identifies);
    let lost: Vec<_> = sent.iter().filter(|number| !times.contains_key(number)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} never came ({identifies} identifies): {:?}",
        lost.len(),
        sent.len(),
        &lost[..5]
    );
}

/// Asks for so many shards and goes on until that is done; the reply's status and data.
async fn reshard(host: &mut Host, shards: Value) -> (i32, Value) {
    host.ask(&json!({"type": "reshard", "shards": shards})).await
}

/// Scenario 70: 4 → 8 → 3 under load, over seeds; sockets of either set may die on the way.
#[tokio::test(start_paused = true)]
async fn every_event_comes_once_through_two_reshards() {
    for seed in 0..8 {
        // What a dead connection misses until that is found out must fit into what Discord keeps.
        let events_per_second = if seed == 0 { 500.0 } else { 100.0 };
        let simulator = simulator(Options { seed, events_per_second, ..busy() });
        tokio::spawn(simulator.traffic());
        let mut host = Host::start(&simulator, json!({}));
        host.until_ready().await;
        let mut rng = fastrand::Rng::with_seed(seed);
        for (round, to) in [8, 3].into_iter().enumerate() {
            let id = host.send(&json!({"type": "reshard", "shards": to}));
            let mut troubles = if seed == 0 { 0 } else { 4 };
            while host.reply(id).is_none() {
                host.during(Duration::from_millis(rng.u64(50..800))).await;
                if rng.bool() && troubles > 0 {
                    troubles -= 1;
                    let how = [Cut::Fin, Cut::Reset, Cut::Silence][rng.usize(0..3)];
                    simulator.drop_sockets(Target::Shard(rng.u32(0..8)), how);
                }
                let status = host.client.status_json();
                assert!(simulator.now() < Duration::from_secs(900), "seed {seed}: {status}");
            }
            let (status, data) = host.reply(id).expect("it came");
            assert_eq!(
                (status, &data["to"]),
                (0, &json!(to)),
                "seed {seed}, round {round}: {data}"
            );
            host.until_ready().await;
        }
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        assert_eq!(status["shard_total"], 3);
        assert_eq!(status["shards"].as_array().expect("a list").len(), 3);
        assert_every_event_once(&mut host, &simulator).await;
        assert_eq!(simulator.look(|seen| seen.counts.identifies), 4 + 8 + 3, "seed {seed}");
        assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
        host.stop(StopMode::Close).await;
    }
}

/// The same over real sockets, with commands all the way: each arrives at a shard that owns the guild.
#[tokio::test]
async fn commands_find_their_guild_over_sockets() {
    let simulator = Simulator::new(busy()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let traffic = tokio::spawn(simulator.traffic());
    let mut host = Host::start_tcp(&config(&simulator, &server.api_url(), json!({})));
    host.until_ready().await;
    let guilds = simulator.guilds();
    let mut asked = Vec::new();
    for to in [8, 3] {
        let id = host.send(&json!({"type": "reshard", "shards": to}));
        let mut next = 0;
        while host.reply(id).is_none() {
            let guild = guilds[next % guilds.len()];
            next += 1;
            let command = json!({
                "type": "request_guild_members", "guild_id": guild.to_string(), "query": "", "limit": 1,
                "nonce": format!("{to}-{next}"),
            });
            asked.push((host.send(&command), format!("{to}-{next}")));
            host.during(Duration::from_millis(50)).await;
        }
        assert_eq!(host.reply(id).expect("it came").0, 0, "{:?}", host.reply(id));
    }
    for (id, nonce) in &asked {
        host.until("the reply", |host| host.reply(*id).is_some()).await;
        assert_eq!(host.reply(*id).expect("it came").0, 0);
        let answered = |host: &Host| {
            host.dispatches("GUILD_MEMBERS_CHUNK").any(|chunk| chunk.data["nonce"] == **nonce)
        };
        host.until("the members", answered).await;
    }
    assert!(asked.len() > 50);
    assert_every_event_once(&mut host, &simulator).await;
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    traffic.abort();
    host.stop(StopMode::Close).await;
    server.shutdown().await;
}

/// A new set that does not come up is given up, and the running one goes on as if nothing had been.
#[tokio::test(start_paused = true)]
async fn a_new_set_that_fails_is_rolled_back() {
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;

    // One of the new shards never gets its READY.
    let never = ConnectPlan { ready: Ready::Never, ..ConnectPlan::default() };
    simulator.plan(Some(1), never).expect("a plan");
    let (status, data) = reshard(&mut host, json!(8)).await;
    assert_eq!(status, -4, "{data}");
    let error = data["error"].as_str().expect("a text").to_owned();
    assert!(error.contains("7 of 8 new shards were ready"), "{error}");
    simulator.clear_faults();
    host.during(Duration::from_secs(10)).await;
    assert!(host.client.healthy().is_ok());
    assert_eq!(host.fatal().count(), 0);

    // And then it works.
    assert_eq!(reshard(&mut host, json!(8)).await.0, 0);
    assert_every_event_once(&mut host, &simulator).await;
}

/// What the presence was, the new set has; its sessions are what a restart resumes.
#[tokio::test(start_paused = true)]
async fn presence_and_sessions_move_over() {
    let directory = TempDir::new("reshard");
    let simulator = simulator(busy());
    tokio::spawn(simulator.traffic());
    let keys = json!({"sessions": format!("sqlite:{}/s", directory.path().display())});
    let mut host = Host::start(&simulator, keys.clone());
    host.until_ready().await;
    let presence = json!({"type": "update_presence", "status": "idle"});
    assert_eq!(host.ask(&presence).await.0, 0);
    assert_eq!(reshard(&mut host, json!(6)).await.0, 0);
    let new = simulator.look(|seen| seen.identifies.iter().skip(4).cloned().collect::<Vec<_>>());
    assert_eq!(new.len(), 6);
    let is_idle =
        |presence: &Option<Value>| presence.as_ref().is_some_and(|p| p["status"] == "idle");
    assert!(new.iter().all(|identify| is_idle(&identify.presence)), "{new:?}");
    host.stop(StopMode::Resumable).await;
    host.client.save_sessions();

    let mut next = Host::start(&simulator, keys);
    next.until_ready().await;
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 10);
    let status: Value = serde_json::from_str(&next.client.status_json()).expect("JSON");
    assert_eq!(status["shard_total"], 6);
    host.told.append(&mut next.told);
    next.told = host.told;
    assert_every_event_once(&mut next, &simulator).await;
}

/// Scenarios 68 and 69: with `"reshard":"auto"` a number of shards that Discord refuses is replaced.
#[tokio::test(start_paused = true)]
async fn a_refused_number_of_shards_is_replaced() {
    let too_many =
        Options { guilds: 100, max_guilds_per_shard: 20, recommended_shards: 8, ..busy() };
    let multiple = Options { large_bot_multiple: 8, recommended_shards: 16, ..busy() };
    for (options, total) in [(too_many, json!(8)), (multiple, json!(16))] {
        let simulator = simulator(options);
        tokio::spawn(simulator.traffic());
        let mut host = Host::start(&simulator, json!({"shards": 2, "reshard": "auto"}));
        host.until_ready().await;
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        assert_eq!(status["shard_total"], total);
        assert_eq!(host.fatal().count(), 0);
        assert_eq!(json!(host.dispatches("READY").count()), total);
        host.during(Duration::from_secs(30)).await;
        assert_every_event_once(&mut host, &simulator).await;
    }
}

/// What cannot be is said at once.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_resharded_is_refused() {
    let simulator = simulator(Options {
        session_starts: shardwright_sim::SessionStarts {
            total: 100,
            remaining: Some(60),
            ..Default::default()
        },
        ..busy()
    });
    let mut host = Host::start(&simulator, json!({}));
    host.until_ready().await;
    let (status, data) = reshard(&mut host, json!(8)).await;
    assert_eq!(status, -4);
    assert!(data["error"].as_str().is_some_and(|e| e.contains("only 6 may be used")), "{data}");
    assert_eq!(
        reshard(&mut host, json!(4)).await,
        (0, json!({"from": 4, "to": 4, "took_ms": 0, "twins": 0}))
    );
    for wrong in [json!(0), json!(-1), json!("many"), json!(1.5)] {
        let command = json!({"type": "reshard", "shards": wrong});
        let error = host.client.send_command(&command.to_string()).expect_err("senseless");
        assert!(error.to_string().contains("`shards`"), "{error}");
    }
    host.stop(StopMode::Close).await;
    assert!(host.told.iter().any(|told| told.kind == EventKind::ShardState));

    let part = json!({"shards": {"total": 4, "ids": [0, 1]}, "identify": {"budget_reserve": 0}});
    let mut host = Host::start(&simulator, part);
    host.until_ready().await;
    let (status, data) = reshard(&mut host, json!(8)).await;
    assert_eq!(status, -4);
    assert!(data["error"].as_str().is_some_and(|e| e.contains("2 of 4 shards")), "{data}");
}
