//! Promise 4: a bug in the engine takes down one task, not the client and not the host.
//!
//! The bug is a network that panics when it is told to: its streams are polled by the tasks of the
//! shards, of REST requests and of the start, so that is where the panic strikes. No code of the engine
//! knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::ErrorKind;
use shardwright::queue::EventKind;
use shardwright::transport::{BoxedIo, Connecting, Network};
use shardwright_sim::{Action, Chunks, MemoryStream, Options, Simulator, Target};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use crate::host::{Host, config, simulator};

/// The status of what a panic ended.
const E_PANIC: i32 = -127;

/// Pipes to a simulator, with a bug in them.
#[derive(Debug)]
struct Buggy {
    simulator: Simulator,
    bugs: Arc<Bugs>,
}

/// When to panic. Each is for once.
#[derive(Debug, Default)]
struct Bugs {
    connect: AtomicBool,
    read: AtomicBool,
    write: AtomicBool,
}

impl Buggy {
    fn new(simulator: &Simulator) -> Arc<Self> {
        Arc::new(Self { simulator: simulator.clone(), bugs: Arc::default() })
    }

    /// A client on this network.
    fn host(self: &Arc<Self>, changes: Value) -> Host {
        let config = config(&self.simulator, "http://discord.test/api/v10", changes);
        let host = Host::start_with(&config, Arc::clone(self) as Arc<dyn Network>);
        Host { meets_bugs: true, ..host }
    }

    /// Has the task of one shard panic, and waits until the host is told. The shard.
    async fn strike(&self, host: &mut Host) -> u32 {
        let before = restarted(host).len();
        self.bugs.read.store(true, Ordering::SeqCst);
        host.until("a restart", |host| restarted(host).len() > before).await;
        restarted(host)[before]
    }
}

/// The counters of the metrics.
fn counters(host: &Host) -> BTreeMap<String, f64> {
    let page = host.client.metrics_text();
    let counters = page.lines().filter(|line| line.contains("_total"));
    let counters = counters.filter_map(|line| line.rsplit_once(' '));
    counters.map(|(series, value)| (series.to_owned(), value.parse().expect("a number"))).collect()
}

/// Checks that no counter is lower than it was, nor gone; how they stand now.
fn assert_none_went_back(before: &BTreeMap<String, f64>, host: &Host) -> BTreeMap<String, f64> {
    let now = counters(host);
    for (series, count) in before {
        assert!(now.get(series) >= Some(count), "{series}: {count}, then {:?}", now.get(series));
    }
    now
}

/// The shards that were started anew after a bug.
fn restarted(host: &Host) -> Vec<u32> {
    let is_bug = |data: &Value| {
        data["reason"].as_str().is_some_and(|reason| reason.contains("met a bug in the engine"))
    };
    host.told.iter().filter(|told| is_bug(&told.data)).map(|told| told.shard_id).collect()
}

impl Network for Buggy {
    fn connect<'a>(&'a self, _host: &'a str, _port: u16) -> Connecting<'a> {
        Box::pin(async move {
            assert!(!self.bugs.connect.swap(false, Ordering::SeqCst), "a bug while connecting");
            let inner = self.simulator.connect();
            Ok(Box::new(BuggyStream { inner, bugs: Arc::clone(&self.bugs) }) as BoxedIo)
        })
    }
}

/// A pipe, with a bug in it.
struct BuggyStream {
    inner: MemoryStream,
    bugs: Arc<Bugs>,
}

impl AsyncRead for BuggyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        assert!(!self.bugs.read.swap(false, Ordering::SeqCst), "a bug while reading");
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for BuggyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        assert!(!self.bugs.write.swap(false, Ordering::SeqCst), "a bug while writing");
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Four shards that start together.
fn four() -> Simulator {
    simulator(Options {
        guilds: 40,
        members_per_guild: 10,
        events_per_second: 100.0,
        recommended_shards: 4,
        max_concurrency: 4,
        ..Options::default()
    })
}

/// Scenario 83: the shard is started anew where it was, its commands are answered, the others notice nothing, and
/// no event is lost: three times over.
#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_starts_anew() {
    let simulator = four();
    tokio::spawn(simulator.traffic());
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({}));
    host.until_ready().await;
    let mut before = counters(&host);
    for round in 1..=3 {
        // More than a shard may send at once, so that some of them wait for the next minute.
        let mut shard_of = BTreeMap::new();
        for shard in 0..4 {
            let guild = simulator.guilds_of_shard(shard, 4)[0].0.to_string();
            let command =
                json!({"type": "update_voice_state", "guild_id": guild, "channel_id": null});
            shard_of.extend((0..150).map(|_| (host.send(&command), shard)));
        }
        let mark = host.told.len();
        let marks: Vec<usize> = (0..4).map(|shard| host.states(shard).len()).collect();
        let dead = network.strike(&mut host).await;
        let replies = |host: &Host| {
            let replies = host.told[mark..].iter().filter(|told| told.kind == EventKind::Reply);
            replies.map(|told| (told.command_id, told.status)).collect::<Vec<_>>()
        };
        host.during(Duration::from_secs(1)).await;
        before = assert_none_went_back(&before, &host);
        let of_dead = replies(&host).iter().filter(|(id, _)| shard_of[id] == dead).count();
        assert_eq!(of_dead, 150, "they do not wait for the shard to come back");
        host.during(Duration::from_secs(70)).await;
        let replies = replies(&host);
        let ids: BTreeSet<u64> = replies.iter().map(|(id, _)| *id).collect();
        assert!(
            ids.iter().eq(shard_of.keys()) && replies.len() == 600,
            "one reply for each command"
        );
        let panicked = |id, status| shard_of[&id] == dead && status == E_PANIC;
        assert!(replies.iter().all(|&(id, status)| status == 0 || panicked(id, status)));
        assert!(replies.iter().filter(|(_, status)| *status == E_PANIC).count() >= 30);
        host.until_ready().await;
        for shard in 0..4 {
            let states = &host.states(shard)[marks[shard as usize]..];
            let expected = if shard == dead { vec!["disconnected", "ready"] } else { vec![] };
            let states = states.iter().map(|(state, _)| state.as_str());
            let states: Vec<_> =
                states.filter(|s| !matches!(*s, "connecting" | "resuming")).collect();
            assert_eq!(states, expected, "round {round}, shard {shard}, dead {dead}");
        }
        assert_eq!(simulator.look(|s| (s.counts.identifies, s.counts.resumes)), (4, round));
        before = assert_none_went_back(&before, &host);
    }
    let by_bug: u64 = (0..4)
        .filter_map(|shard| host.shard_status(shard)["reconnects_by_cause"]["bug"].as_u64())
        .sum();
    assert_eq!(by_bug, 3);
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 4).await;
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// Scenario 83: members that are being collected are a command too, and can be asked for again.
#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_answers_who_collects_members() {
    let simulator = four();
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({}));
    host.until_ready().await;
    let everybody = |guild: String| json!({"type": "request_guild_members", "guild_id": guild, "query": "", "collect": true});
    simulator.act(&Action::MemberChunks { chunks: Chunks::None }).expect("a rule");
    let ids: Vec<u64> = (0..4)
        .map(|shard| simulator.guilds_of_shard(shard, 4)[0].0.to_string())
        .map(|guild| host.send(&everybody(guild)))
        .collect();
    simulator.wait_until(|seen| seen.counts.commands == 4).await;
    simulator.request_heartbeat(Target::All);
    let dead = network.strike(&mut host).await;
    let replied = host.told.iter().filter(|told| told.kind == EventKind::Reply);
    let replied: Vec<_> = replied.map(|told| (told.command_id, told.status)).collect();
    assert_eq!(replied, [(ids[dead as usize], E_PANIC)]);
    simulator.act(&Action::MemberChunks { chunks: Chunks::Normal }).expect("a rule");
    host.until_ready().await;
    let guild = simulator.guilds_of_shard(dead, 4)[1].0.to_string();
    let (status, reply) = host.ask(&everybody(guild)).await;
    assert_eq!((status, reply["members"].as_array().map(Vec::len)), (0, Some(10)));
    host.during(Duration::from_secs(70)).await;
    assert!(ids.iter().all(|id| host.reply(*id).is_some()));
}

/// The guilds of a shard are known on, also those that were still to come, and complete once.
#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_keeps_its_guilds() {
    let simulator = four();
    let late = simulator.guilds_of_shard(0, 4)[0];
    simulator.withhold(vec![late]).expect("a guild");
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({}));
    let complete = |host: &Host| {
        host.told.iter().filter(|told| told.kind == EventKind::GuildsComplete).count()
    };
    host.until("the others", |host| complete(host) == 3).await;
    simulator
        .post_message(simulator.text_channels(simulator.guilds_of_shard(0, 4)[1])[0], None, "")
        .expect("posted");
    let dead = network.strike(&mut host).await;
    host.until_ready().await;
    simulator.release(vec![]).expect("all");
    host.until("the last", |host| complete(host) == 4).await;
    let (_, stats) = host.ask(&json!({"type": "guild_stats"})).await;
    assert_eq!((&stats["guilds"], &stats["unavailable"]), (&json!(40), &json!(0)));
    assert_eq!((&stats["members"], dead), (&json!(400), 0));
}

/// A presence that was set by a command is that of the shard, also after it was started anew twice.
#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_keeps_its_presence() {
    let simulator = four();
    tokio::spawn(simulator.traffic());
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({"presence": {"status": "online"}}));
    host.until_ready().await;
    host.ask(&json!({"type": "update_presence", "status": "idle"})).await;
    for _ in 0..2 {
        let dead = network.strike(&mut host).await;
        host.until_ready().await;
        let before = simulator.look(|seen| seen.identifies.len());
        host.ask(&json!({"type": "restart_shard", "shard": dead, "resume": false})).await;
        simulator.wait_until(|seen| seen.identifies.len() > before).await;
        let presence = simulator.look(|seen| seen.identifies[before].presence.clone());
        assert_eq!(presence.expect("in the identify")["status"], "idle");
        host.until_ready().await;
    }
}

/// Scenario 83: what a shard has received and the full queue has not taken survives the shard.
#[tokio::test(start_paused = true)]
async fn a_shard_that_panics_while_blocked_loses_nothing() {
    let simulator = four();
    tokio::spawn(simulator.traffic());
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({"queue": {"max_events": 50}}));
    host.until_ready().await;
    for round in 1..=3 {
        // Nobody polls, and the shards, which read nothing, still write heartbeats.
        sleep(Duration::from_secs(10)).await;
        let status: Value = serde_json::from_str(&host.client.status_json()).expect("JSON");
        assert!(status["shards"].as_array().expect("shards").iter().all(|s| s["blocked"] == true));
        network.bugs.write.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(50)).await;
        host.until_ready().await;
        assert_eq!(restarted(&host).len(), round);
    }
    simulator.set_traffic(0.0).expect("a rate");
    host.assert_nothing_lost(&simulator, 4).await;
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 4);
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}

/// A request that meets a bug has its reply, and the next one is none the worse.
#[tokio::test(start_paused = true)]
async fn a_request_that_panics_is_answered() {
    let simulator = four();
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({}));
    host.until_ready().await;
    // Idle connections are closed by then, so that the request makes a new one.
    host.during(Duration::from_secs(300)).await;
    let request = json!({"type": "rest", "method": "GET", "path": "/users/@me"});
    network.bugs.connect.store(true, Ordering::SeqCst);
    let id = host.send(&request);
    host.during(Duration::from_secs(60)).await;
    let (status, data) = host.reply(id).expect("a reply");
    assert_eq!(status, E_PANIC, "{data}");
    assert!(data["error"].as_str().is_some_and(|text| text.contains("bug")), "{data}");
    assert_eq!(host.ask(&request).await.0, 200);
    assert!(host.client.healthy().is_ok());
}

/// A bug in the client's own task ends the client: it says so, and nobody waits for it.
#[tokio::test(start_paused = true)]
async fn a_client_that_panics_says_so_and_ends() {
    let simulator = four();
    let network = Buggy::new(&simulator);
    network.bugs.connect.store(true, Ordering::SeqCst);
    let mut host = network.host(json!({}));
    let id = host.send(&json!({"type": "update_presence", "status": "idle"}));
    for _ in 0..1_000 {
        host.poll();
        sleep(Duration::from_millis(5)).await;
    }
    assert!(host.closed, "{}", host.client.status_json());
    assert_eq!(host.reply(id).expect("a reply").0, -5);
    let fatal = host.told.iter().find(|told| told.kind == EventKind::Fatal).expect("it says so");
    assert!(fatal.data["reason"].as_str().is_some_and(|text| text.contains("bug")), "{fatal:?}");
    let error = host.client.wait_ready(Some(Duration::ZERO)).expect_err("it never was");
    assert_eq!(error.kind(), ErrorKind::Fatal);
    host.client.stop(shardwright::shard::StopMode::Resumable);
    host.client.wait_stopped(Some(Duration::ZERO)).expect("it has");
}

/// Shards that meet a bug while they connect and identify come up all the same, and break no limit.
#[tokio::test(start_paused = true)]
async fn shards_that_panic_on_the_way_come_up() {
    let simulator = simulator(Options { guilds: 40, recommended_shards: 4, ..Options::default() });
    let network = Buggy::new(&simulator);
    let mut host = network.host(json!({}));
    simulator
        .wait_until(|seen| seen.rest.iter().any(|call| call.path.ends_with("/gateway/bot")))
        .await;
    for _ in 0..4 {
        network.bugs.connect.store(true, Ordering::SeqCst);
        host.during(Duration::from_millis(2_700)).await;
        network.bugs.write.store(true, Ordering::SeqCst);
        host.during(Duration::from_millis(2_700)).await;
    }
    host.until_ready().await;
    assert!(restarted(&host).len() > 3, "{:?}", restarted(&host));
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
}
