//! Promise 1 when the host is killed: every event is processed at least once, or none twice.
//!
//! The host is this test's own program, run again as a process of its own: it writes what it has
//! processed to its standard output, one line each, which is all that the test believes.

#![allow(clippy::print_stdout, reason = "what a run measured")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shardwright::queue::{Event, EventKind, FLAG_REPLAYED};
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{Options, Server, Simulator};
use tokio::task::spawn_blocking;

use crate::host::config;
use crate::temp_file::TempDir;

/// The host's configuration, in its environment.
const CONFIG: &str = "SHARDWRIGHT_TEST_KILLED_CONFIG";

/// Times that the host is killed.
const KILLS: u32 = 30;

const SHARDS: u32 = 4;

/// What an event costs the host: enough that after a restart, with all that was missed, it has a batch in
/// hand when it is killed.
const WORK: Duration = Duration::from_micros(1_200);

/// The host. Not a test of its own: the tests below run it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the host of the other tests of this file, which run it"]
async fn host() {
    let config = std::env::var(CONFIG).expect("run by another test");
    let config = Config::from_json(&config, |_| None).expect("a good configuration");
    let client = Client::new(config, Arc::new(Tcp)).expect("a client");
    client.start(&tokio::runtime::Handle::current()).expect("not started before");
    // Ends the line that libtest began.
    std::io::stdout().write_all(b"\n").expect("somebody reads it");
    let queue = Arc::clone(client.queue());
    let work = move || {
        let mut events = Vec::new();
        // A batch in hand, some of it processed and none of it released, is what a kill hits.
        while queue.poll(64, None, |event| events.push(event)).is_ok() {
            events.drain(..).for_each(|event| process(&event));
        }
    };
    spawn_blocking(work).await.expect("it does not panic");
}

/// Does the work of one event: a line with its shard, its number and whether it was replayed. One write, so
/// that a kill leaves it whole or not there at all.
fn process(event: &Event) {
    let line = match event.kind {
        EventKind::Dispatch => {
            let data: serde_json::Value = serde_json::from_slice(event.data()).expect("JSON");
            let Some(number) = data["nonce"].as_str() else { return };
            let replayed = event.flags & FLAG_REPLAYED;
            format!("event {} {number} {replayed}\n", event.shard_id)
        }
        EventKind::ShardState if event.name() == b"ready" => format!("ready {}\n", event.shard_id),
        _ => return,
    };
    std::io::stdout().write_all(line.as_bytes()).expect("somebody reads it");
    std::thread::sleep(WORK);
}

/// What all the hosts together processed.
#[derive(Default)]
struct Processed {
    /// How often each number of a shard came, and how often without being flagged as replayed.
    events: BTreeMap<(u32, u64), (u32, u32)>,
}

impl Processed {
    /// Takes note of a line; whether it says that a shard is ready.
    fn read(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().expect("a number");
        match words[0] {
            "event" => {
                let times = self.events.entry((number(1) as u32, number(2))).or_default();
                times.0 += 1;
                times.1 += u32::from(number(3) == 0);
                false
            }
            "ready" => true,
            // What libtest itself says.
            _ => false,
        }
    }
}

/// A process that is the host.
struct HostProcess {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl HostProcess {
    fn start(config: &str) -> Self {
        let test = std::env::current_exe().expect("this process has a file");
        let mut child = Command::new(test)
            .args(["--exact", "killed::host", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CONFIG, config)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it ran once already");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    /// Reads until all shards are ready and so many more events were processed, and kills it. What it
    /// wrote until then counts too.
    fn run_and_kill(mut self, events: u32, processed: &mut Processed) {
        let (mut ready, mut seen) = (0, 0);
        let mut line = String::new();
        while ready < SHARDS || seen < events {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("a pipe");
            assert!(read > 0, "the host ended by itself");
            if processed.read(line.trim_end()) {
                ready += 1;
            } else if ready >= SHARDS {
                seen += 1;
            }
        }
        // SIGKILL.
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("UTF-8");
        for line in rest.lines() {
            processed.read(line);
        }
    }
}

/// Kills the host again and again, and lets the last one finish. What was processed, and what was sent.
async fn kill_thirty_times(delivery: &str, seed: u64) -> (Processed, BTreeMap<u32, Vec<u64>>) {
    let simulator = Simulator::new(Options {
        guilds: 40,
        events_per_second: 500.0,
        recommended_shards: SHARDS,
        max_concurrency: SHARDS,
        ..Options::default()
    })
    .expect("sensible options");
    let server: Server = simulator.bind().await.expect("a free port");
    let directory = TempDir::new(&format!("killed-{delivery}"));
    let keys = json!({
        "sessions": format!("sqlite:{}/sessions", directory.path().display()), "delivery": delivery,
        "queue": {"max_events": 2_000},
    });
    let config = config(&simulator, &server.api_url(), keys);
    let traffic = tokio::spawn(simulator.traffic());

    let mut rng = fastrand::Rng::with_seed(seed);
    let mut processed = Processed::default();
    for _ in 0..KILLS {
        let (config, events) = (config.clone(), rng.u32(1..500));
        processed = spawn_blocking(move || {
            HostProcess::start(&config).run_and_kill(events, &mut processed);
            processed
        })
        .await
        .expect("no assertion failed");
    }
    simulator.set_traffic(0.0).expect("a rate");
    traffic.abort();
    let sent = |shard_id| simulator.look(|seen| seen.numbers_of_shard(shard_id));
    let sent: BTreeMap<u32, Vec<u64>> = (0..SHARDS).map(|id| (id, sent(id))).collect();
    processed = spawn_blocking(move || {
        // RESUMED follows all that was missed.
        HostProcess::start(&config).run_and_kill(0, &mut processed);
        processed
    })
    .await
    .expect("no assertion failed");

    let identifies = simulator.look(|seen| seen.counts.identifies);
    assert_eq!(identifies, u64::from(SHARDS), "every restart resumed");
    assert_eq!(simulator.violations().len(), 0, "{:?}", simulator.violations());
    server.shutdown().await;
    (processed, sent)
}

/// `at_least_once`: whatever the simulator sent was processed, and what came twice was flagged.
#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_loses_nothing() {
    let (processed, sent) = kill_thirty_times("at_least_once", 1).await;
    let mut twice = 0;
    for (shard_id, numbers) in sent {
        for number in &numbers {
            let (times, unflagged) =
                processed.events.get(&(shard_id, *number)).copied().unwrap_or_default();
            assert!(times >= 1, "shard {shard_id}: {number} was never processed");
            assert!(unflagged <= 1, "shard {shard_id}: {number} came twice without a flag");
            twice += u64::from(times - 1);
        }
    }
    println!("{KILLS} kills, {} events, {twice} duplicates, all flagged", processed.events.len());
}

/// `at_most_once`: nothing was processed twice.
#[tokio::test(flavor = "multi_thread")]
async fn at_most_once_repeats_nothing() {
    let (processed, sent) = kill_thirty_times("at_most_once", 2).await;
    let twice: Vec<_> = processed.events.iter().filter(|(_, (times, _))| *times > 1).collect();
    assert!(twice.is_empty(), "{} events came twice: {twice:?}", twice.len());
    let sent: usize = sent.values().map(Vec::len).sum();
    let lost = sent - processed.events.len();
    println!("{KILLS} kills, {sent} events, {lost} lost in the hands of a killed host");
}
