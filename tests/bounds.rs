//! Promise 6: whatever the server sends, the memory of the engine stays below its bounds.
//!
//! The engine runs in a process of its own, so that it is measured and not the simulator: this test starts
//! itself again as `host`. What is measured is the growth of the peak of resident memory (`VmHWM`) from
//! just before the client is made; what is asserted stands in docs/configuration.md, under "Memory".

#![allow(clippy::print_stdout, reason = "what is measured is of interest")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::config::MAX_INCOMING_BYTES;
use shardwright::queue::EventKind;
use shardwright::shard::{Guilds, StopMode};
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{ConnectPlan, Options, Server, Simulator, Split, Target};

/// What the engine may have besides the queue and the payload at hand: threads, TLS, tables, compression
/// contexts, buffers of sockets.
const CONSTANT_BYTES: u64 = 24 << 20;

/// Payloads that one shard holds at once: the one it reads, and room for it to double as it grows.
const PAYLOADS: u64 = 2;

/// The bound of the queue in these tests.
const QUEUE_BYTES: u64 = 8 << 20;

/// READY of a large bot.
const READY_BYTES: usize = 16 << 20;

/// What the engine may take with payloads of this size.
fn bound(payload_bytes: usize) -> u64 {
    QUEUE_BYTES + PAYLOADS * payload_bytes as u64 + CONSTANT_BYTES
}

// -- the host --------------------------------------------------------------------------------------

/// A number of `/proc/self/status`, in bytes.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") << 10
}

/// Guilds of a bot for which the index is measured, on 40 shards as Discord wants it.
const GUILDS: u64 = 100_000;

/// The most that one guild may take. Discord's names have 2 to 100 characters; those here have 18 on
/// average.
const BYTES_PER_GUILD: u64 = 100;

/// The process in which the index of guilds is measured.
#[test]
#[ignore = "the other process of these tests"]
fn guild_index() {
    const SHARDS: u64 = 40;
    let listed = |shard: u64| {
        let ids = (0..GUILDS / SHARDS).map(|n| json!({"id": (shard + n * SHARDS + 1).to_string()}));
        json!({"guilds": ids.collect::<Vec<_>>()}).to_string()
    };
    let readies: Vec<String> = (0..SHARDS).map(listed).collect();
    let before = memory("VmRSS");
    let mut shards = Vec::new();
    for (shard, ready) in (0..).zip(&readies) {
        let mut guilds = Guilds::default();
        guilds.observe(Some(1), b"READY", ready.as_bytes());
        for n in 0..GUILDS / SHARDS {
            let id = shard + n * SHARDS + 1;
            let name = "n".repeat(4 + id as usize % 29);
            let create = json!({"id": id.to_string(), "name": name, "member_count": id + 1});
            guilds.observe(Some(2 + n), b"GUILD_CREATE", create.to_string().as_bytes());
        }
        shards.push(guilds);
    }
    let growth = memory("VmRSS").saturating_sub(before);
    let counts = shards.iter().map(Guilds::counts);
    assert!(counts.clone().all(|counts| counts.unavailable == 0));
    assert_eq!(counts.map(|counts| counts.guilds as u64).sum::<u64>(), GUILDS);
    let stored: usize = shards.iter().map(|guilds| guilds.to_bytes().len()).sum();
    say(&format!("peak {growth} stored {stored}"));
}

/// The process that is measured. It says on standard output where it is, and goes on when it is told on
/// standard input: `poll` takes all events until a shard is ready, `sleep` takes none until as many as are
/// named have come or the shard is blocked, `end` tells the peak.
#[test]
#[ignore = "the other process of these tests"]
fn host() {
    let config = std::env::var("BOUNDS_CONFIG").expect("from the test");
    let config = Config::from_json(&config, |_| None).expect("a good configuration");
    let before = memory("VmRSS");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = Client::new(config, Arc::new(Tcp)).expect("a client");
    client.start(runtime.handle()).expect("not started before");
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(line)) = lines.next() {
        let mut words = line.split(' ');
        match words.next() {
            Some("poll") => {
                let text = words.next().expect("what to wait for");
                wait_for_state(&client, text);
            }
            Some("sleep") => {
                sleep(&client, words.next().and_then(|n| n.parse().ok()).expect("events"));
            }
            _ => break,
        }
        say("done");
    }
    client.stop(StopMode::Abort);
    client.wait_stopped(None).expect("it stops");
    say(&format!("peak {}", memory("VmHWM").saturating_sub(before)));
}

/// Says a line to the test. The harness has its own lines, so ours are marked.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n> {text}\n").as_bytes()).expect("the test listens");
    out.flush().expect("the test listens");
}

/// Takes events until the shard changes into this state, or its reason says this.
fn wait_for_state(client: &Client, text: &str) {
    let mut reached = false;
    while !reached {
        let take = |event: shardwright::queue::Event| {
            assert_ne!(event.name(), b"BOMB", "it came through");
            let data = String::from_utf8_lossy(event.data()).into_owned();
            reached |= event.kind == EventKind::ShardState
                && (event.name() == text.as_bytes() || data.replace(' ', "_").contains(text));
        };
        client.queue().poll(1, None, take).expect("open");
    }
}

/// Takes nothing, until so many events have come or the queue is full.
fn sleep(client: &Client, events: u64) {
    loop {
        let status: Value = serde_json::from_str(&client.status_json()).expect("JSON");
        let shard = &status["shards"][0];
        if shard["events"].as_u64().is_some_and(|came| came >= events) || shard["blocked"] == true {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

// -- the test --------------------------------------------------------------------------------------

/// A simulator with one shard, and a host that is measured.
struct World {
    runtime: tokio::runtime::Runtime,
    simulator: Simulator,
    _server: Server,
    host: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl World {
    fn new(options: Options, plan: ConnectPlan, changes: &Value) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let options =
            Options { guilds: 1, recommended_shards: 1, identify_window_ms: 0, ..options };
        let simulator = Simulator::new(options).expect("sensible options");
        simulator.plan(Some(1), plan).expect("a sensible plan");
        let server = runtime.block_on(simulator.bind()).expect("a free port");
        let mut config = json!({
            "token": simulator.options().token,
            "intents": ["GUILDS"],
            "api_url": server.api_url(),
            "log": {"to": "none"},
            "queue": {"max_bytes": QUEUE_BYTES, "when_full": changes["when_full"]},
        });
        config["compression"] = changes["compression"].clone();
        let mut host = Command::new(std::env::current_exe().expect("this process has a file"))
            .args(["host", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("BOUNDS_CONFIG", config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let lines = BufReader::new(host.stdout.take().expect("piped")).lines();
        Self { runtime, simulator, _server: server, host, lines }
    }

    /// The next thing that the host says.
    fn hear(&mut self) -> String {
        loop {
            let line = self.lines.next().expect("the host lives").expect("UTF-8");
            if let Some(text) = line.strip_prefix("> ") {
                return text.to_owned();
            }
        }
    }

    /// Tells the host what to do, and does something meanwhile.
    fn tell(&mut self, what: &str, meanwhile: impl FnOnce(&Simulator)) {
        let stdin = self.host.stdin.as_mut().expect("piped");
        stdin.write_all(format!("{what}\n").as_bytes()).expect("the host listens");
        let _inside = self.runtime.enter();
        meanwhile(&self.simulator);
        assert_eq!(self.hear(), "done");
    }

    /// The peak of the host's memory, which must be within this bound.
    fn end(mut self, case: &str, bound: u64) {
        drop(self.host.stdin.take());
        let said = self.hear();
        let peak: u64 = said.strip_prefix("peak ").and_then(|n| n.parse().ok()).expect("a number");
        println!("{case}: peak {} MB, bound {} MB", peak >> 20, bound >> 20);
        assert!(peak <= bound, "{case}: {peak} bytes, and {bound} are allowed");
        assert!(self.host.wait().expect("it was started").success());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

/// Scenario 31: a READY of 16 MB, as one frame, in fragments, and compressed both ways.
#[test]
fn a_ready_of_16_mb() {
    let fragments = ConnectPlan { split: Some(Split::Frames(1_000)), ..ConnectPlan::default() };
    let messages = ConnectPlan { split: Some(Split::Messages(1_000)), ..ConnectPlan::default() };
    for (case, compression, plan) in [
        ("READY in one frame", "none", ConnectPlan::default()),
        ("READY in 1,000 fragments", "none", fragments.clone()),
        ("READY with zlib", "zlib", ConnectPlan::default()),
        ("READY with zlib in 1,000 messages", "zlib", messages),
        ("READY with zstd", "zstd", ConnectPlan::default()),
        ("READY with zstd in 1,000 fragments", "zstd", fragments),
    ] {
        let options = Options { ready_padding_bytes: READY_BYTES, ..Options::default() };
        let changes = json!({"compression": compression, "when_full": "block"});
        let mut world = World::new(options, plan, &changes);
        world.tell("poll ready", |_| {});
        world.end(case, bound(READY_BYTES));
    }
}

/// A message that inflates to more than 64 MB is cut off there; the shard comes back.
#[test]
fn a_bomb_of_64_mb() {
    for compression in ["zlib", "zstd"] {
        let changes = json!({"compression": compression, "when_full": "block"});
        let mut world = World::new(Options::default(), ConnectPlan::default(), &changes);
        world.tell("poll ready", |_| {});
        let bomb = format!(
            "{{\"op\":0,\"t\":\"BOMB\",\"s\":9,\"d\":{}1}}",
            " ".repeat(4 * MAX_INCOMING_BYTES)
        );
        world.tell("poll a_payload_of_more_than", |simulator| {
            assert_eq!(simulator.send(Target::All, bomb), 1);
        });
        world.tell("poll ready", |_| {});
        world.end(&format!("bomb of {compression}"), bound(MAX_INCOMING_BYTES));
    }
}

/// Scenario 74: a server that sends 200 MB while the host sleeps: with `block` the socket is left unread, with
/// `drop_oldest` the oldest events go.
#[test]
fn a_server_that_never_stops() {
    const EVENTS: usize = 12_000;
    const EVENT_BYTES: usize = 16 << 10;
    for when_full in ["block", "drop_oldest"] {
        for compression in ["none", "zlib", "zstd"] {
            let changes = json!({"compression": compression, "when_full": when_full});
            let mut world = World::new(Options::default(), ConnectPlan::default(), &changes);
            world.tell("poll ready", |_| {});
            world.tell(&format!("sleep {EVENTS}"), |simulator| {
                let payload = json!({"text": "x".repeat(EVENT_BYTES)});
                for _ in 0..EVENTS {
                    simulator.dispatch(Target::All, "FLOOD", payload.clone());
                }
            });
            // Once more: it was full when this began.
            world.tell(&format!("sleep {EVENTS}"), |_| {});
            world.end(&format!("flood, {compression}, {when_full}"), bound(EVENT_BYTES));
        }
    }
}

/// The guilds of a bot that is in 100,000 of them.
#[test]
fn an_index_of_100_000_guilds() {
    let output = Command::new(std::env::current_exe().expect("this process has a file"))
        .args(["guild_index", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let said = text.lines().find_map(|line| line.strip_prefix("> peak ")).expect("it says so");
    let (growth, stored) = said.split_once(" stored ").expect("both");
    let growth: u64 = growth.parse().expect("a number");
    let stored: u64 = stored.parse().expect("a number");
    let (each, stored) = (growth / GUILDS, stored / GUILDS);
    println!("{GUILDS} guilds: {each} bytes each, {stored} stored; bound {BYTES_PER_GUILD}");
    assert!(each <= BYTES_PER_GUILD, "{each} bytes for each guild");
}
