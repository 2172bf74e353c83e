//! `"shards": "lease"`: shards are shared out among whatever processes there are, and go on elsewhere when one
//! goes. And two processes with the same shards of their own.
//!
//! What is told by processes of their own counts: they can be killed and stopped in the middle of anything.

#![allow(clippy::print_stdout, reason = "what a run measured")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardwright::queue::{Event, EventKind, FLAG_REPLAYED};
use shardwright::shard::StopMode;
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{Options, Rule, Server, Simulator, ViolationRecord};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::backend::{Backend, on_every_backplane};
use crate::host::{Host, config, simulator};
use crate::redis_server::RedisServer;

on_every_backplane!(
    shares_follow_who_comes_and_goes,
    what_was_taken_comes_nowhere_else,
    the_shards_of_a_killed_process_go_on_elsewhere,
    who_wakes_too_late_delivers_nothing,
    two_with_the_same_shards_are_found_out,
);

/// The configuration of a process, in its environment.
const CONFIG: &str = "SHARDWRIGHT_TEST_LEASES_CONFIG";

const SHARDS: u32 = 16;

/// How long leases last here, in seconds.
const TTL_S: u64 = 4;

/// Time between two looks at something that is waited for. Only a test that fails waits for long.
const STEP: Duration = Duration::from_millis(10);

/// Patience with anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A busy bot.
fn options() -> Options {
    Options {
        guilds: 64,
        members_per_guild: 10,
        events_per_second: 300.0,
        recommended_shards: SHARDS,
        max_concurrency: SHARDS,
        ..Options::default()
    }
}

fn identifies(simulator: &Simulator) -> u64 {
    simulator.look(|seen| seen.counts.identifies)
}

/// The simulator saw nothing that Discord would hold against the bot, but for processes that ask for
/// `/gateway/bot` at the same moment.
fn assert_limits_held(simulator: &Simulator) {
    let is_grave = |violation: &ViolationRecord| violation.rule != Rule::RestLimitExceeded;
    let grave: Vec<_> = simulator.violations().into_iter().filter(is_grave).collect();
    assert!(grave.is_empty(), "{grave:?}");
}

fn status(host: &Host) -> Value {
    serde_json::from_str(&host.client.status_json()).expect("JSON")
}

// -- in one process -------------------------------------------------------------------------------

/// The shards that are ready in one client.
fn ready(host: &Host) -> BTreeSet<u64> {
    let status = status(host);
    let shards = status["shards"].as_array().expect("a list").iter();
    let is_ready = |shard: &&Value| shard["state"] == "ready";
    shards.filter(is_ready).map(|shard| shard["id"].as_u64().expect("an id")).collect()
}

/// Polls all until each has its share, and all shards together are there once.
async fn until_shared_out(hosts: &mut [Host]) {
    let begun = Instant::now();
    let even = SHARDS as usize / hosts.len()..=(SHARDS as usize).div_ceil(hosts.len());
    loop {
        hosts.iter_mut().for_each(Host::poll);
        let counts: Vec<usize> = hosts.iter().map(|host| ready(host).len()).collect();
        let all: BTreeSet<u64> = hosts.iter().flat_map(ready).collect();
        let is_even = counts.iter().all(|count| even.contains(count));
        let is_settled = hosts.iter().all(|host| host.client.healthy().is_ok());
        if is_even && is_settled && all.len() == SHARDS as usize {
            return;
        }
        let states: Vec<String> = hosts.iter().map(|host| host.client.status_json()).collect();
        assert!(begun.elapsed() < PATIENCE, "{counts:?} {states:#?}");
        sleep(STEP).await;
    }
}

async fn shares_follow_who_comes_and_goes(backend: Backend) {
    let simulator = simulator(options());
    let traffic = tokio::spawn(simulator.traffic());
    let start = || {
        let keys = json!({"shards": "lease", "delivery": "at_least_once", "lease_ttl_s": TTL_S});
        backend.start(&simulator, keys)
    };
    let mut hosts = vec![start()];
    until_shared_out(&mut hosts).await;
    hosts[0].client.wait_ready(Some(Duration::ZERO)).expect("it has its share");
    assert_eq!(identifies(&simulator), u64::from(SHARDS));
    let error = hosts[0].ask(&json!({"type": "reshard", "shards": 32})).await;
    assert!(error.1["error"].as_str().expect("a text").contains("leases"), "{error:?}");

    // A newcomer, and one more.
    for _ in 0..2 {
        hosts.push(start());
        until_shared_out(&mut hosts).await;
    }
    let leases = &status(&hosts[2])["leases"];
    assert_eq!((&leases["workers"], &leases["lost"]), (&json!(3), &json!(0)), "{leases}");
    let given_up =
        |(_, reason): &(String, String)| reason.starts_with("lease given up: 2 processes");
    assert!((0..SHARDS).any(|shard| hosts[0].states(shard).iter().any(given_up)));
    let taken = ready(&hosts[2]).into_iter().next().expect("some");
    let (_, reason) = hosts[2].states(taken as u32).remove(0);
    assert_eq!(reason, "lease taken; goes on with its session");

    // Everybody hears who has what by now.
    let stats = loop {
        let (_, stats) = hosts[1].ask(&json!({"type": "cluster_stats"})).await;
        if stats["total"]["states"] == json!({"ready": SHARDS}) && stats["total"]["guilds"] == 64 {
            break stats;
        }
    };
    assert_eq!((&stats["total"]["shards"], &stats["total"]["workers"]), (&json!(16), &json!(3)));
    let guild = simulator.guilds_of_shard(taken as u32, SHARDS)[0].to_string();
    let command = json!({"type": "request_guild_members", "guild_id": guild, "query": "",
        "limit": 0, "collect": true});
    let (code, members) = hosts[0].ask(&command).await;
    assert_eq!(code, 0, "{members}");

    // One goes in peace: the others have its shards at once, long before its leases would end.
    let mut leaver = hosts.remove(0);
    let count = ready(&leaver).len();
    let asked = Instant::now();
    leaver.stop(StopMode::Resumable).await;
    until_shared_out(&mut hosts).await;
    println!("{count} shards are ready elsewhere {:?} after a stop began", asked.elapsed());
    assert_eq!(identifies(&simulator), u64::from(SHARDS), "every move was a resume");

    simulator.set_traffic(0.0).expect("a rate");
    traffic.abort();
    hosts.push(leaver);
    assert_all_came(&simulator, &mut hosts).await;
    assert_limits_held(&simulator);
    for host in &mut hosts[..2] {
        host.stop(StopMode::Abort).await;
    }
}

/// With `at_most_once` an event that a host has taken does not come again, not even flagged, wherever its shard goes
/// on.
async fn what_was_taken_comes_nowhere_else(backend: Backend) {
    let simulator = simulator(options());
    let traffic = tokio::spawn(simulator.traffic());
    let start = || {
        let keys = json!({"shards": "lease", "delivery": "at_most_once", "lease_ttl_s": TTL_S});
        backend.start(&simulator, keys)
    };
    let mut hosts = vec![start()];
    until_shared_out(&mut hosts).await;
    hosts.push(start());
    until_shared_out(&mut hosts).await;
    let mut leaver = hosts.remove(0);
    leaver.stop(StopMode::Resumable).await;
    until_shared_out(&mut hosts).await;
    simulator.set_traffic(0.0).expect("a rate");
    traffic.abort();
    hosts.push(leaver);
    assert_all_came(&simulator, &mut hosts).await;
    let mut taken = BTreeSet::new();
    for told in hosts.iter().flat_map(|host| &host.told) {
        let Some(number) = told.number() else { continue };
        assert!(taken.insert((told.shard_id, number)), "shard {}: {number} twice", told.shard_id);
    }
    assert_eq!(identifies(&simulator), u64::from(SHARDS), "every move was a resume");
    hosts[0].stop(StopMode::Abort).await;
}

/// All hosts together got everything, and nothing twice without a flag.
async fn assert_all_came(simulator: &Simulator, hosts: &mut [Host]) {
    for shard_id in 0..SHARDS {
        let sent = simulator.look(|seen| seen.numbers_of_shard(shard_id));
        let begun = Instant::now();
        loop {
            hosts.iter_mut().for_each(Host::poll);
            let of_shard = |host: &Host| host.numbers.get(&shard_id).cloned().unwrap_or_default();
            let came: BTreeSet<u64> = hosts.iter().flat_map(of_shard).collect();
            let missing = sent.iter().filter(|number| !came.contains(number)).count();
            if missing == 0 {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "shard {shard_id}: {missing} of {}", sent.len());
            sleep(STEP).await;
        }
    }
    let mut seen = BTreeSet::new();
    for told in hosts.iter().flat_map(|host| &host.told).filter(|told| !told.replayed) {
        let Some(number) = told.number() else { continue };
        assert!(seen.insert((told.shard_id, number)), "{} twice without a flag", told.shard_id);
    }
}

// -- in processes of their own --------------------------------------------------------------------

/// A process of the bot. Not a test: those below run it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the other tests of this file, which run it"]
async fn process() {
    let config = std::env::var(CONFIG).expect("run by another test");
    let config = Config::from_json(&config, |_| None).expect("a good configuration");
    let client = Client::new(config, Arc::new(Tcp)).expect("a client");
    client.start(&tokio::runtime::Handle::current()).expect("not started before");
    // Ends the line that libtest began.
    say(&json!({"what": "started"}));
    let pauses = Arc::new(AtomicBool::new(false));
    let polling = {
        let (queue, pauses) = (Arc::clone(client.queue()), Arc::clone(&pauses));
        spawn_blocking(move || {
            let mut events = Vec::new();
            loop {
                while pauses.load(Ordering::SeqCst) {
                    std::thread::sleep(STEP);
                }
                let step = Some(Duration::from_millis(20));
                if queue.poll(64, step, |event| events.push(event)).is_err() {
                    return;
                }
                events.drain(..).for_each(|event| work(&event));
            }
        })
    };
    let reading = spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.as_str() {
                "pause" => pauses.store(true, Ordering::SeqCst),
                "go on" => pauses.store(false, Ordering::SeqCst),
                _ => {
                    let status: Value = serde_json::from_str(&client.status_json()).expect("JSON");
                    let is_healthy = client.healthy().is_ok();
                    say(&json!({"what": "status", "status": status, "healthy": is_healthy}));
                }
            }
        }
        client.stop(StopMode::Resumable);
    });
    reading.await.expect("no panic");
    polling.await.expect("no panic");
}

/// One write, so that a kill leaves a line whole or not there at all.
fn say(line: &Value) {
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).expect("somebody reads it");
}

/// Does the work of one event.
fn work(event: &Event) {
    let data: Value = serde_json::from_slice(event.data()).expect("JSON");
    match event.kind {
        EventKind::Dispatch => {
            let Some(number) = data["nonce"].as_str() else { return };
            let replayed = event.flags & FLAG_REPLAYED != 0;
            say(&json!({"what": "event", "shard": event.shard_id, "number": number,
                "replayed": replayed}));
        }
        EventKind::ShardState => say(&json!({"what": "state", "shard": event.shard_id,
            "to": data["to"], "reason": data["reason"]})),
        EventKind::Fatal => say(&json!({"what": "fatal", "reason": data["reason"]})),
        _ => {}
    }
}

/// What all processes together did.
#[derive(Default)]
struct Done {
    /// How often each number of a shard came, and how often without being flagged as replayed.
    events: BTreeMap<(u64, u64), (u32, u32)>,
}

/// A process, gone with this.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it said but for events.
    said: Arc<Mutex<Vec<Value>>>,
}

impl Process {
    fn start(config: &str, done: &Arc<Mutex<Done>>) -> Self {
        let test = std::env::current_exe().expect("this process has a file");
        let mut child = Command::new(test)
            .args(["--exact", "leases::process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CONFIG, config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it ran once already");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (tell, done) = (Arc::clone(&said), Arc::clone(done));
        std::thread::spawn(move || {
            // The rest is libtest's.
            let words = lines.map_while(Result::ok);
            for word in words.filter_map(|line| serde_json::from_str::<Value>(&line).ok()) {
                if word["what"] != "event" {
                    tell.lock().expect("no panic").push(word);
                    continue;
                }
                let shard = word["shard"].as_u64().expect("an id");
                let number = word["number"].as_str().expect("a text").parse().expect("a number");
                let mut done = done.lock().expect("no panic");
                let times = done.events.entry((shard, number)).or_default();
                times.0 += 1;
                times.1 += u32::from(word["replayed"] == false);
            }
        });
        Self { stdin: child.stdin.take(), child, said }
    }

    fn order(&mut self, word: &str) {
        let stdin = self.stdin.as_mut().expect("not ended yet");
        stdin.write_all(format!("{word}\n").as_bytes()).expect("it reads");
    }

    /// How it is doing, and whether it has all that it should.
    async fn status(&mut self) -> (Value, bool) {
        let of = |said: &Vec<Value>| said.iter().filter(|it| it["what"] == "status").count();
        let before = of(&self.said.lock().expect("no panic"));
        self.order("status");
        self.until("its status", |said| of(said) > before).await;
        let said = self.said.lock().expect("no panic");
        let last = said.iter().rfind(|it| it["what"] == "status").expect("it came");
        (last["status"].clone(), last["healthy"] == true)
    }

    /// The shards that are ready there; `None` when it has not all that it should.
    async fn ready(&mut self) -> Option<BTreeSet<u64>> {
        let (status, is_healthy) = self.status().await;
        let shards = status["shards"].as_array().expect("a list").iter();
        let ready = shards.filter(|shard| shard["state"] == "ready");
        let ready = ready.map(|shard| shard["id"].as_u64().expect("an id")).collect();
        is_healthy.then_some(ready)
    }

    /// Waits until what it said is enough.
    async fn until(&self, what: &str, is_enough: impl Fn(&Vec<Value>) -> bool) {
        let begun = Instant::now();
        while !is_enough(&self.said.lock().expect("no panic")) {
            let said = || format!("{:#?}", self.said.lock().expect("no panic"));
            assert!(begun.elapsed() < PATIENCE, "{what} did not come: {}", said());
            sleep(STEP).await;
        }
    }

    /// The first thing of this kind that has these words in it.
    fn find(&self, kind: &str, words: &str) -> Option<String> {
        let said = self.said.lock().expect("no panic");
        let reasons = said.iter().filter(|it| it["what"] == kind);
        let mut reasons = reasons.filter_map(|it| it["reason"].as_str());
        reasons.find(|reason| reason.contains(words)).map(str::to_owned)
    }

    /// SIGSTOP, SIGCONT.
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(done.expect("kill(1)").success());
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
    }

    /// The host ends, and well.
    async fn end(mut self) {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.child.try_wait().expect("it was ours") {
                assert!(status.success());
                return;
            }
            sleep(STEP).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bot and its processes.
struct Bot {
    simulator: Simulator,
    server: Server,
    config: String,
    done: Arc<Mutex<Done>>,
}

impl Bot {
    async fn new(options: Options, mut keys: Value, backplane: String) -> Self {
        let simulator = Simulator::new(options).expect("sensible options");
        let server = simulator.bind().await.expect("a free port");
        keys["backplane"] = json!(backplane);
        let config = config(&simulator, &server.api_url(), keys);
        tokio::spawn(simulator.traffic());
        Self { simulator, server, config, done: Arc::default() }
    }

    /// One whose processes share its shards.
    async fn leased(backplane: String) -> Self {
        let keys = json!({"shards": "lease", "delivery": "at_least_once", "lease_ttl_s": TTL_S});
        Self::new(options(), keys, backplane).await
    }

    fn process(&self) -> Process {
        Process::start(&self.config, &self.done)
    }

    /// Waits until these have all shards once, and each its share of them.
    async fn until_shared_out(&self, processes: &mut [Process]) {
        let begun = Instant::now();
        let count = processes.len();
        let even = SHARDS as usize / count..=(SHARDS as usize).div_ceil(count);
        loop {
            let mut all = Vec::new();
            for process in processes.iter_mut() {
                all.push(process.ready().await);
            }
            let held: Vec<usize> = all.iter().flatten().map(BTreeSet::len).collect();
            let together: BTreeSet<u64> = all.into_iter().flatten().flatten().collect();
            if held.len() == count
                && held.iter().all(|held| even.contains(held))
                && together.len() == SHARDS as usize
            {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{held:?}: {together:?}");
            sleep(STEP).await;
        }
    }

    /// The traffic ends; all together have done everything, and nothing twice without a flag.
    async fn assert_all_done(&self) {
        self.simulator.set_traffic(0.0).expect("a rate");
        let mut count = 0;
        for shard_id in 0..SHARDS {
            let sent = self.simulator.look(|seen| seen.numbers_of_shard(shard_id));
            count += sent.len();
            let begun = Instant::now();
            loop {
                let done = Arc::clone(&self.done);
                let missing = {
                    let done = done.lock().expect("no panic");
                    let is_missing =
                        |number: &&u64| !done.events.contains_key(&(u64::from(shard_id), **number));
                    sent.iter().filter(is_missing).copied().collect::<Vec<_>>()
                };
                if missing.is_empty() {
                    break;
                }
                let (all, few) = (sent.len(), &missing[..missing.len().min(5)]);
                assert!(
                    begun.elapsed() < PATIENCE,
                    "shard {shard_id}: {} of {all} never came: {few:?}",
                    missing.len()
                );
                sleep(STEP).await;
            }
        }
        let done = self.done.lock().expect("no panic");
        let twice: Vec<_> = done.events.iter().filter(|(_, (_, plain))| *plain > 1).collect();
        assert!(twice.is_empty(), "came twice without a flag: {twice:?}");
        let again: u32 = done.events.values().map(|(times, _)| times - 1).sum();
        println!("{count} events, {again} came again, all flagged");
        assert!(count > 0);
    }

    async fn end(self, processes: Vec<Process>) {
        for process in processes {
            process.end().await;
        }
        assert_limits_held(&self.simulator);
        self.server.shutdown().await;
    }
}

async fn the_shards_of_a_killed_process_go_on_elsewhere(backend: Backend) {
    let bot = Bot::leased(backend.url()).await;
    let mut processes: Vec<Process> = (0..3).map(|_| bot.process()).collect();
    bot.until_shared_out(&mut processes).await;
    let before = identifies(&bot.simulator);

    let killed_at = Instant::now();
    processes.remove(1).kill();
    bot.until_shared_out(&mut processes).await;
    let took = killed_at.elapsed();
    println!(
        "5 shards of a killed process are ready elsewhere after {took:?}; the TTL is {TTL_S} s"
    );

    processes.push(bot.process());
    bot.until_shared_out(&mut processes).await;
    processes.push(bot.process());
    bot.until_shared_out(&mut processes).await;
    assert_eq!(identifies(&bot.simulator), before, "every move was a resume");
    bot.assert_all_done().await;
    bot.end(processes).await;
}

/// Scenario 71: a process is stopped with a full queue, for so long that others take its shards, and goes on.
async fn who_wakes_too_late_delivers_nothing(backend: Backend) {
    let bot = Bot::leased(backend.url()).await;
    let mut processes: Vec<Process> = (0..2).map(|_| bot.process()).collect();
    bot.until_shared_out(&mut processes).await;
    let before = identifies(&bot.simulator);

    let mut sleeper = processes.remove(0);
    sleeper.order("pause");
    while sleeper.status().await.0["queue"]["events"].as_u64() < Some(50) {
        sleep(STEP).await;
    }
    sleeper.signal("STOP");
    bot.until_shared_out(&mut processes).await;
    sleeper.signal("CONT");
    sleeper.order("go on");
    let refused = loop {
        let refused = sleeper.status().await.0["leases"]["events_refused"].as_u64();
        match refused {
            Some(refused) if refused >= 50 => break refused,
            _ => sleep(STEP).await,
        }
    };
    println!("{refused} events were not handed to a host that woke too late");
    assert_eq!(sleeper.status().await.0["leases"]["lost"], 8);
    let lost = sleeper.find("state", "lease lost");
    assert!(lost.is_some(), "the host was told");

    processes.push(sleeper);
    bot.until_shared_out(&mut processes).await;
    assert_eq!(identifies(&bot.simulator), before, "every move was a resume");
    bot.assert_all_done().await;
    bot.end(processes).await;
}

/// Scenario 71: the second of two processes with the same shards waits, and is refused. Once the first is gone, even killed,
/// nobody waits.
async fn two_with_the_same_shards_are_found_out(backend: Backend) {
    let keys = json!({
        "shards": {"total": SHARDS, "from": 0, "to": 7}, "sessions": "backplane", "lease_ttl_s": 3,
    });
    let bot = Bot::new(options(), keys, backend.url()).await;
    let mut first = bot.process();
    let is_ready = |process: Option<BTreeSet<u64>>| process.is_some_and(|ready| ready.len() == 8);
    while !is_ready(first.ready().await) {
        sleep(STEP).await;
    }
    let second = bot.process();
    let has =
        |kind: &'static str| move |said: &Vec<Value>| said.iter().any(|it| it["what"] == kind);
    second.until("the refusal", has("fatal")).await;
    let pid = first.child.id();
    let waits = second.find("state", "waiting for it to end").expect("it says so");
    assert!(waits.starts_with("shards 0-7 of 16 are run by worker "), "{waits}");
    let refused = second.find("fatal", "").expect("it came");
    assert!(refused.contains(&format!("(pid {pid} on ")), "{refused}");
    assert!(
        refused.contains("stop that one") && refused.contains("SHARDWRIGHT_SHARDS"),
        "{refused}"
    );
    second.end().await;
    assert_eq!(identifies(&bot.simulator), 8, "the first one was left alone");
    assert!(is_ready(first.ready().await));

    first.kill();
    let begun = Instant::now();
    let mut third = bot.process();
    while !is_ready(third.ready().await) {
        sleep(STEP).await;
    }
    println!("started again after kill -9: ready after {:?}", begun.elapsed());
    assert_eq!(third.find("state", "waiting for it to end"), None);
    assert_eq!(identifies(&bot.simulator), 8, "it resumed");
    bot.end(vec![third]).await;
}

/// A server that forgot everything is told again by those who hold something; a newcomer takes nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_gives_nothing_away() {
    let mut server = RedisServer::start(&[]);
    let bot = Bot::leased(server.url()).await;
    let mut processes: Vec<Process> = (0..2).map(|_| bot.process()).collect();
    bot.until_shared_out(&mut processes).await;
    let before = identifies(&bot.simulator);
    server.kill();
    server.restart();
    processes.push(bot.process());
    bot.until_shared_out(&mut processes).await;
    for process in &mut processes[..2] {
        assert_eq!(process.status().await.0["leases"]["lost"], 0, "what was held was kept");
    }
    assert_eq!(identifies(&bot.simulator), before, "every move was a resume");
    bot.assert_all_done().await;
    bot.end(processes).await;
}

/// Without a backplane for longer than the TTL nobody can say who has what: shards stop, and go on with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leased_shards_stop_without_the_backplane_and_go_on_with_it() {
    let server = RedisServer::start(&[]);
    let bot = Bot::leased(server.url()).await;
    let mut processes = vec![bot.process()];
    bot.until_shared_out(&mut processes).await;
    server.freeze();
    while processes[0].status().await.0["leases"]["held"] != 0 {
        sleep(STEP).await;
    }
    let lost = processes[0].find("state", "lease lost: it could not be renewed in time");
    assert!(lost.is_some(), "the host was told");
    server.thaw();
    bot.until_shared_out(&mut processes).await;
    assert_eq!(identifies(&bot.simulator), u64::from(SHARDS), "they resumed");
    bot.assert_all_done().await;
    bot.end(processes).await;
}
