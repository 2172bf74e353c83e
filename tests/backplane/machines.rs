//! Three processes of one bot, with Redis on two machines: a question that all of them answer, their guilds
//! and members together, and what one of them knows of a user known to the others.
//!
//! The second machine is a network namespace where that is allowed, with its own interfaces and a cable to
//! this one; elsewhere it is another loopback address. How soon news is there is printed, not judged.

#![allow(clippy::print_stdout, reason = "what a run measured, and how processes talk to this one")]

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use shardwright::queue::{Event, EventKind};
use shardwright::shard::StopMode;
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{Options, Rule, Simulator, ViolationRecord};
use tokio::task::spawn_blocking;

use crate::backend::directory;
use crate::host::config;
use crate::latency::{now_us, report};
use crate::redis_server::RedisServer;

/// The configuration of a process.
const CONFIG: &str = "SHARDWRIGHT_TEST_MACHINES_CONFIG";

/// How often user data changes.
const ROUNDS: u64 = 100;

/// Patience with a process; only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(120);

// -- a process ------------------------------------------------------------------------------------

/// What to do with the reply to a command.
enum Then {
    /// Tell the test, under this name.
    Tell(&'static str),
    /// Answer this call with it.
    Answer(String),
    /// Nothing; it has to succeed.
    Succeed,
}

/// A host: does what its standard input says, and writes what comes of it to its standard output, both as
/// lines of JSON.
struct Bot {
    client: Client,
    /// Held while a command is sent, so that its reply finds it.
    waiting: Mutex<HashMap<u64, Then>>,
}

impl Bot {
    fn send(&self, command: &Value, then: Then) {
        let mut waiting = self.waiting.lock().expect("no panic");
        let id = self.client.send_command(&command.to_string()).expect("accepted");
        waiting.insert(id, then);
    }

    fn take(&self, event: &Event) {
        let data = || serde_json::from_slice::<Value>(event.data()).expect("JSON");
        match event.kind {
            EventKind::GuildsComplete => tell("complete", &json!(event.shard_id)),
            EventKind::Call => {
                let call = data()["call"].as_str().expect("an id").to_owned();
                self.send(&json!({"type": "guild_stats"}), Then::Answer(call));
            }
            // Another process, or this one, has changed what is known of a user.
            EventKind::Message => {
                let get = json!({"type": "cache_get", "key": data()["data"]["key"]});
                self.send(&get, Then::Tell("user"));
            }
            EventKind::Reply => {
                let then = self.waiting.lock().expect("no panic").remove(&event.command_id);
                assert_eq!(event.status, 0, "{}", data());
                match then.expect("one of ours") {
                    Then::Tell(what) => tell(what, &data()),
                    Then::Answer(call) => {
                        let answer = json!({"type": "answer", "call": call, "data": data()});
                        self.send(&answer, Then::Succeed);
                    }
                    Then::Succeed => {}
                }
            }
            _ => {}
        }
    }
}

/// Tells the test something.
fn tell(what: &str, data: &Value) {
    let line = format!("{}\n", json!({"what": what, "data": data, "at_us": now_us()}));
    std::io::stdout().write_all(line.as_bytes()).expect("somebody reads it");
}

/// A process of the bot. Not a test: those below run it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the other tests of this file, which run it"]
async fn process() {
    let config = std::env::var(CONFIG).expect("run by another test");
    let config = Config::from_json(&config, |_| None).expect("a good configuration");
    let client = Client::new(config, Arc::new(Tcp)).expect("a client");
    client.start(&tokio::runtime::Handle::current()).expect("not started before");
    // Ends the line that libtest began.
    println!();
    let bot = Arc::new(Bot { client, waiting: Mutex::default() });
    bot.send(&json!({"type": "subscribe", "topic": "guilds"}), Then::Tell("subscribed"));
    let polling = {
        let (bot, queue) = (Arc::clone(&bot), Arc::clone(bot.client.queue()));
        spawn_blocking(move || {
            let mut events = Vec::new();
            // Commands are sent when the poll is over: their replies may come at once.
            while queue.poll(64, None, |event| events.push(event)).is_ok() {
                events.drain(..).for_each(|event| bot.take(&event));
            }
        })
    };
    let reading = spawn_blocking(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let command = serde_json::from_str::<Value>(&line).expect("JSON");
            let then = match command["type"].as_str() {
                Some("call") => Then::Tell("call"),
                Some("cluster_stats") => Then::Tell("cluster_stats"),
                _ => Then::Succeed,
            };
            bot.send(&command, then);
        }
        bot.client.stop(StopMode::Close);
    });
    reading.await.expect("no panic");
    polling.await.expect("no panic");
}

// -- machines -------------------------------------------------------------------------------------

/// A machine as seen from here.
#[derive(Clone)]
struct Machine {
    /// What runs a program there.
    run: Vec<String>,
    /// Where it finds Discord and Redis.
    server: Ipv4Addr,
}

/// A second machine beside this one, gone with this.
struct Cable {
    namespace: String,
}

impl Cable {
    /// Lays a cable to a new machine; `None` where that is not allowed.
    fn lay() -> Option<(Self, Machine)> {
        let pid = std::process::id();
        let cable = Self { namespace: format!("shardwright-{pid}") };
        let (here, there) = (format!("swa{pid}"), format!("swb{pid}"));
        let [high, low] = [pid / 256 % 64 + 64, pid % 256].map(|part| part as u8);
        let [near, far] = [1, 2].map(|end| Ipv4Addr::new(10, high, low, end));
        let namespace = &cable.namespace;
        let steps = [
            format!("netns add {namespace}"),
            format!("link add {here} type veth peer name {there} netns {namespace}"),
            format!("addr add {near}/30 dev {here}"),
            format!("link set {here} up"),
            format!("-n {namespace} addr add {far}/30 dev {there}"),
            format!("-n {namespace} link set {there} up"),
        ];
        // What there is of it so far goes with it.
        let run = ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec();
        steps.iter().all(|step| ip(step)).then_some((cable, Machine { run, server: near }))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The cable goes with one of its ends.
        ip(&format!("netns del {}", self.namespace));
    }
}

/// Runs ip(8); whether it did that.
fn ip(words: &str) -> bool {
    let run = Command::new("ip")
        .args(words.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

// -- the test's side ------------------------------------------------------------------------------

/// A process, gone with this.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<Value>,
}

impl Process {
    fn start(machine: &Machine, config: &str) -> Self {
        let test = std::env::current_exe().expect("this process has a file");
        let mut command = Command::new(machine.run.first().map_or("env", String::as_str));
        let mut child = command
            .args(machine.run.iter().skip(1))
            .arg(test)
            .args(["--exact", "machines::process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CONFIG, config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it ran once already");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The rest is libtest's.
                if let Ok(value) = serde_json::from_str(&line) {
                    let _ = tell.send(value);
                }
            }
        });
        Self { stdin: child.stdin.take(), child, said }
    }

    fn order(&mut self, command: &Value) {
        let stdin = self.stdin.as_mut().expect("not ended yet");
        stdin.write_all(format!("{command}\n").as_bytes()).expect("it reads");
    }

    /// The next word on this, and when it was said.
    fn wait_for(&self, what: &str) -> (Value, u64) {
        loop {
            let mut said = self.said.recv_timeout(PATIENCE).expect("it says what it does");
            if said["what"] == what {
                return (said["data"].take(), said["at_us"].as_u64().expect("a time"));
            }
        }
    }

    /// It is subscribed and has all guilds of its two shards, in whatever order.
    fn wait_for_the_start(&self) {
        let mut missing = vec!["subscribed", "complete", "complete"];
        while !missing.is_empty() {
            let said = self.said.recv_timeout(PATIENCE).expect("it starts");
            if let Some(index) = missing.iter().position(|what| said["what"] == *what) {
                missing.remove(index);
            }
        }
    }

    /// A command, and what comes of it.
    fn ask(&mut self, command: &Value) -> Value {
        self.order(command);
        self.wait_for(command["type"].as_str().expect("a type")).0
    }

    /// The host ends, and well.
    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().expect("it was ours").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the three processes on machines that reach the backplane under these addresses.
async fn three_processes(name: &str, machines: [(Machine, String); 3]) {
    let options = Options {
        guilds: 30,
        members_per_guild: 20,
        recommended_shards: 6,
        max_concurrency: 6,
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        ..Options::default()
    };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let port = server
        .api_url()
        .split(':')
        .nth(2)
        .and_then(|rest| rest.split('/').next().map(str::to_owned));
    let port = port.expect("a port");
    let configs = machines.into_iter().enumerate().map(|(index, (machine, backplane))| {
        let shards = json!({"total": 6, "from": 2 * index, "to": 2 * index + 1});
        let api_url = format!("http://{}:{port}/api/v10", machine.server);
        let keys = json!({"backplane": backplane, "shards": shards});
        (machine, config(&simulator, &api_url, keys))
    });
    let configs: Vec<_> = configs.collect();
    let members: usize =
        simulator.guilds().iter().map(|guild| simulator.members(*guild).len()).sum();
    let name = name.to_owned();
    spawn_blocking(move || {
        let mut processes: Vec<Process> =
            configs.iter().map(|(machine, config)| Process::start(machine, config)).collect();
        processes.iter().for_each(Process::wait_for_the_start);
        everybody_answers(&mut processes, 30, members as u64);
        everybody_is_counted(&mut processes, 30, members as u64);
        user_data_is_known_everywhere(&name, &mut processes);
        processes.into_iter().for_each(Process::end);
    })
    .await
    .expect("no assertion failed");
    // Processes know nothing of each other's REST requests; who is told so waits and asks again.
    let is_grave = |violation: &ViolationRecord| violation.rule != Rule::RestLimitExceeded;
    let grave: Vec<_> = simulator.violations().into_iter().filter(is_grave).collect();
    assert!(grave.is_empty(), "{grave:?}");
    server.shutdown().await;
}

/// One global call, answered by all.
fn everybody_answers(processes: &mut [Process], guilds: u64, members: u64) {
    for process in processes {
        let said = process.ask(&json!({"type": "call", "topic": "guilds", "data": null}));
        let answers = said["answers"].as_array().expect("a list");
        let sum = |key: &str| -> u64 {
            answers.iter().map(|answer| answer["data"][key].as_u64().expect("a number")).sum()
        };
        assert_eq!((answers.len(), &said["missing"]), (3, &json!([])), "{said}");
        assert_eq!((sum("guilds"), sum("members")), (guilds, members), "{said}");
    }
}

/// Guilds and members of all shards, without asking anybody.
fn everybody_is_counted(processes: &mut [Process], guilds: u64, members: u64) {
    for process in processes {
        // What the others last said of themselves is up to three seconds old.
        let stats = loop {
            let stats = process.ask(&json!({"type": "cluster_stats"}));
            if stats["total"]["members"] == members && stats["total"]["states"]["ready"] == 6 {
                break stats;
            }
        };
        assert_eq!(stats["total"]["workers"], 3, "{stats}");
        assert_eq!(stats["total"]["guilds"], guilds, "{stats}");
        let shards = stats["workers"].as_array().expect("a list").iter();
        let shards = shards.flat_map(|worker| worker["shards"].as_array().expect("a list"));
        let shards: BTreeSet<_> = shards.map(|shard| shard["shard"].as_u64()).collect();
        assert_eq!(shards.len(), 6, "{stats}");
    }
}

/// Each changes what is known of a user in turn, and all read the new value.
fn user_data_is_known_everywhere(name: &str, processes: &mut [Process]) {
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let who = round as usize % processes.len();
        let value = json!({"level": round});
        let set = json!({"type": "cache_set", "key": "user:80351110224678912", "value": value, "announce": true});
        let since = now_us();
        processes[who].order(&set);
        for (index, process) in processes.iter().enumerate() {
            let (seen, at_us) = process.wait_for("user");
            assert_eq!(seen["value"], value);
            if index != who {
                took.push(at_us.saturating_sub(since));
            }
        }
    }
    report(&format!("{name}: user data of one process is read by another"), took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_two_machines_with_redis() {
    let here = Machine { run: Vec::new(), server: Ipv4Addr::LOCALHOST };
    let cable = Cable::lay();
    let there = match &cable {
        Some((_, machine)) => machine.clone(),
        None => Machine { run: Vec::new(), server: Ipv4Addr::new(127, 0, 0, 2) },
    };
    let addresses = format!("127.0.0.1 {}", there.server);
    let mut options = vec!["--protected-mode", "no", "--bind"];
    options.extend(addresses.split(' '));
    let server = RedisServer::start(&options);
    let name = if cable.is_some() { "Redis, two machines" } else { "Redis, two addresses" };
    let url = |machine: &Machine| format!("redis://{}:{}", machine.server, server.port());
    let (near, far) = (url(&here), url(&there));
    three_processes(name, [(here.clone(), near.clone()), (here, near), (there, far)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_machine_with_sqlite() {
    let directory = directory();
    let here = Machine { run: Vec::new(), server: Ipv4Addr::LOCALHOST };
    let url = format!("sqlite:{}/backplane", directory.path().display());
    three_processes("SQLite", [(); 3].map(|()| (here.clone(), url.clone()))).await;
}
