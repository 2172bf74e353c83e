//! Promise 3 over processes: identifies of a whole bot keep their windows and the day's budget, whatever
//! becomes of a process or of the backplane.

#![allow(clippy::print_stdout, reason = "what a run measured")]

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::NO_SHARD;
use shardwright::shard::StopMode;
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{Cut, Options, Rule, SessionStarts, Simulator, Target, ViolationRecord};
use tokio::time::sleep;

use crate::backend::{Backend, directory, on_every_backplane};
use crate::host::{Host, answer, config, rest_fault, simulator};
use crate::redis_server::RedisServer;

on_every_backplane!(a_killed_process_takes_no_turn_with_it,);

/// Time between two identifies of a bucket.
const WINDOW: Duration = Duration::from_millis(5_250);

/// What asking others costs of a window at most, where nothing else takes time: what a claim allows itself,
/// and what those with higher shards wait longer.
const ASKING: Duration = Duration::from_millis(350);

const SHARDS: u32 = 32;

/// The configuration of a process, in its environment.
const CONFIG: &str = "SHARDWRIGHT_TEST_TURNS_CONFIG";

/// A bot whose identifies take a while.
fn options() -> Options {
    Options { guilds: 32, recommended_shards: SHARDS, max_concurrency: 2, ..Options::default() }
}

/// The shards of one of four processes.
fn share(process: u32) -> Value {
    json!({"total": SHARDS, "from": process * 8, "to": process * 8 + 7})
}

/// Virtual time for clients and files.
fn simulate() {
    shardwright::simulation::begin(Duration::from_secs(1_800_000_000));
}

/// The simulator saw nothing that Discord would hold against the bot but questions to `/gateway/bot`, which
/// four processes that start at once ask more often than its limit allows; 429 is waited out.
fn assert_limits_held(simulator: &Simulator) {
    let is_grave = |violation: &ViolationRecord| violation.rule != Rule::RestLimitExceeded;
    let grave: Vec<_> = simulator.violations().into_iter().filter(is_grave).collect();
    let identifies = simulator.look(|seen| seen.identifies.clone());
    assert!(grave.is_empty(), "{grave:?}; all identifies: {identifies:#?}");
}

/// Times between identifies of each bucket.
fn gaps(simulator: &Simulator) -> Vec<Duration> {
    let of_bucket = |bucket| {
        let times = simulator.look(|seen| seen.identify_times(bucket));
        times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    (0..2).flat_map(of_bucket).collect()
}

/// 32 shards in 4 clients start at once: no identify outside its window, and no window unused.
#[tokio::test(start_paused = true)]
async fn thirty_two_shards_in_four_clients() {
    simulate();
    let backend = Backend::sqlite();
    let simulator = simulator(options());
    let mut hosts: Vec<Host> =
        (0..4).map(|n| backend.start(&simulator, json!({"shards": share(n)}))).collect();
    for host in &mut hosts {
        host.until_ready().await;
    }
    assert_limits_held(&simulator);
    let longest = gaps(&simulator).into_iter().max().expect("thirty");
    assert!(longest <= WINDOW + ASKING, "{longest:?}");
    // The lowest shards come first, as far as their processes wait for the same turn.
    let order: Vec<u32> =
        simulator.look(|seen| seen.identifies.iter().map(|i| i.shard[0]).collect());
    assert!(order[..8].iter().sum::<u32>() < order[24..].iter().sum(), "{order:?}");
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// A process that ends in the middle of it delays the others by one window at most.
#[tokio::test(start_paused = true)]
async fn a_client_that_ends_delays_the_others_by_one_window() {
    simulate();
    let backend = Backend::sqlite();
    let simulator = simulator(options());
    let mut hosts: Vec<Host> =
        (0..4).map(|n| backend.start(&simulator, json!({"shards": share(n)}))).collect();
    hosts[3].until("a few", |_| simulator.look(|seen| seen.identifies.len()) == 7).await;
    let last = simulator.look(|seen| seen.identifies[6].shard[0]);
    hosts.remove((last / 8) as usize).stop(StopMode::Abort).await;
    for host in &mut hosts {
        host.until_ready().await;
    }
    assert_limits_held(&simulator);
    let longest = gaps(&simulator).into_iter().max().expect("more than twenty");
    assert!(longest <= 2 * WINDOW + ASKING, "{longest:?}");
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// What four clients may use together is what one may use, even when Discord's answer comes from a cache.
#[tokio::test(start_paused = true)]
async fn the_budget_is_one_for_all() {
    simulate();
    let backend = Backend::sqlite();
    let starts = SessionStarts { total: 60, ..SessionStarts::default() };
    let simulator = simulator(Options { session_starts: starts, max_concurrency: 16, ..options() });
    let info = json!({
        "url": "ws://discord.test", "shards": SHARDS,
        "session_start_limit": {
            "total": 60, "remaining": 60, "reset_after": 3_600_000, "max_concurrency": 16,
        },
    });
    let lie = rest_fault("/gateway/bot", answer(200, &info.to_string()));
    simulator.rest_fault(lie).expect("a path");
    let mut hosts: Vec<Host> =
        (0..4).map(|n| backend.start(&simulator, json!({"shards": share(n)}))).collect();
    for host in &mut hosts {
        host.during(Duration::from_secs(60)).await;
    }
    let is_told = |host: &&Host| {
        host.states(NO_SHARD).iter().any(|(_, reason)| reason.contains("kept in reserve"))
    };
    // One may have got all that it wanted.
    assert!(hosts.iter().filter(is_told).count() >= 3);
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 10, "60 without the reserve of 50");
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// Scenario 75: without the backplane identifies wait a minute, and then the clock says whose turn it is.
#[tokio::test(start_paused = true)]
async fn without_the_backplane_the_clock_decides() {
    simulate();
    let directory = directory();
    let path = directory.path().join("backplane");
    std::fs::write(&path, "this is no database, and was not one before").expect("written");
    let simulator = simulator(Options { recommended_shards: 8, ..options() });
    let start = |from: u32| {
        let url = format!("sqlite:{}", path.display());
        let shards = json!({"total": 8, "from": from, "to": from + 1});
        Host::start(&simulator, json!({"backplane": url, "shards": shards}))
    };
    let mut hosts: Vec<Host> = (0..4).map(|n| start(2 * n)).collect();
    hosts[0].during(Duration::from_secs(55)).await;
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 0);
    for host in &mut hosts {
        host.until("the host is told", |host| {
            host.states(NO_SHARD).iter().any(|(_, reason)| reason.contains("identifies wait"))
        })
        .await;
        host.until_ready().await;
    }
    assert_limits_held(&simulator);
    assert!(gaps(&simulator).into_iter().all(|gap| gap >= WINDOW));
    // A lost connection is resumed without a thought for it.
    let resumes = simulator.look(|seen| seen.counts.resumed);
    simulator.drop_sockets(Target::All, Cut::Reset);
    hosts[0]
        .until("all resumed", |_| simulator.look(|seen| seen.counts.resumed) == resumes + 8)
        .await;
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// A server that is emptied amid the start forgets whose turn it is, and still no two identifies meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_forgets_amid_the_start() {
    let mut server = RedisServer::start(&[]);
    let simulator = Simulator::new(Options { max_concurrency: 1, ..options() }).expect("sensible");
    let start = |from: u32| {
        let shards = json!({"total": 8, "from": from, "to": from + 3});
        Host::start(&simulator, json!({"backplane": server.url(), "shards": shards}))
    };
    let mut hosts: Vec<Host> = [0, 4].map(start).into();
    for seen in [2, 4] {
        hosts[0]
            .until("some identifies", |_| simulator.look(|seen| seen.identifies.len()) >= seen)
            .await;
        server.kill();
        server.restart();
    }
    for host in &mut hosts {
        host.until_ready().await;
    }
    assert_limits_held(&simulator);
    for mut host in hosts {
        host.stop(StopMode::Abort).await;
    }
}

/// One of the processes. Not a test of its own: the test below runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process of another test, which runs it"]
async fn process() {
    let config = std::env::var(CONFIG).expect("run by another test");
    let config = Config::from_json(&config, |_| None).expect("a good configuration");
    let client = Client::new(config, Arc::new(Tcp)).expect("a client");
    client.start(&tokio::runtime::Handle::current()).expect("not started before");
    let queue = Arc::clone(client.queue());
    let poll = move || while queue.poll(64, None, drop).is_ok() {};
    tokio::task::spawn_blocking(poll).await.expect("it does not panic");
}

/// A process that is gone with the test.
struct Process(Child);

impl Process {
    fn start(config: &str) -> Self {
        let test = std::env::current_exe().expect("this process has a file");
        let child = Command::new(test)
            .args(["--exact", "turns::process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CONFIG, config)
            .stdout(Stdio::null())
            .spawn()
            .expect("it ran once already");
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Four real processes, one of which is killed with -9 right after an identify.
async fn a_killed_process_takes_no_turn_with_it(backend: Backend) {
    // Two processes on two busy cores can squeeze more together than a network.
    let simulator = Simulator::new(options()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let mut processes: Vec<Option<Process>> = (0..4)
        .map(|n| {
            let keys = json!({"backplane": backend.url(), "shards": share(n)});
            Some(Process::start(&config(&simulator, &server.api_url(), keys)))
        })
        .collect();
    let identified = || simulator.look(|seen| seen.identifies.clone());
    while identified().len() < 7 {
        sleep(Duration::from_millis(2)).await;
    }
    let killed = identified()[6].shard[0] / 8;
    processes[killed as usize] = None;
    let ready = || {
        let all = identified().into_iter().map(|identify| identify.shard[0]);
        all.filter(|shard| shard / 8 != killed).collect::<BTreeSet<u32>>().len()
    };
    while ready() < 24 {
        sleep(Duration::from_millis(20)).await;
    }
    assert_limits_held(&simulator);
    let mut gaps = gaps(&simulator);
    gaps.sort_unstable();
    println!("time between identifies of a bucket: {:?} … {:?}", gaps[0], gaps[gaps.len() - 1]);
    drop(processes);
    server.shutdown().await;
}
