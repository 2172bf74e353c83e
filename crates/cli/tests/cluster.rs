//! `shardwright cluster` with real bots: nothing is lost, whatever becomes of its workers.

#[path = "../../../tests/backplane/redis_server.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod redis_server;
#[path = "../../../tests/client/temp_file.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod temp_file;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use shardwright::process::began_at;
use shardwright::queue::{EventKind, FLAG_REPLAYED, PollError};
use shardwright::shard::StopMode;
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{Options, Rule, Server, Simulator, ViolationRecord};

use crate::redis_server::RedisServer;

/// Patience with bots that have received something; only reached by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the bots write which events they have finished.
const TAKEN: &str = "SHARDWRIGHT_TEST_TAKEN";

// -- a bot ----------------------------------------------------------------------------------------

/// A worker of the tests below, which run this very program: it writes the number of each message that it has
/// finished into a file, and stops resumable on SIGTERM.
#[test]
fn bot() {
    let Ok(directory) = std::env::var(TAKEN) else { return };
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop)).expect("a signal");
    let config = json!({
        "intents": ["GUILDS", "GUILD_MESSAGES", "MESSAGE_CONTENT"],
        "delivery": "at_least_once",
        "log": {"to": "none"},
    });
    let config = Config::from_json(&config.to_string(), |name| std::env::var(name).ok());
    let client = Client::new(config.expect("a good config"), Arc::new(Tcp)).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    client.start(runtime.handle()).expect("it starts");
    let file = Path::new(&directory).join(std::process::id().to_string());
    let mut taken = OpenOptions::new().create(true).append(true).open(file).expect("a file");
    // A bug that strikes when the file is there.
    let bug = Path::new(&directory).join("bug");
    loop {
        if stop.swap(false, Ordering::SeqCst) {
            client.stop(StopMode::Resumable);
        }
        let mut events = Vec::new();
        let wait = Some(Duration::from_millis(50));
        match client.queue().poll(256, wait, |event| events.push(event)) {
            Ok(_) | Err(PollError::Interrupted) => {}
            Err(PollError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
        if !events.is_empty() && bug.exists() {
            std::process::exit(3);
        }
        let mut lines = String::new();
        for event in events.iter().filter(|event| event.kind == EventKind::Dispatch) {
            if event.name() == b"MESSAGE_CREATE" {
                let data: Value = serde_json::from_slice(event.data()).expect("JSON");
                let is_replayed = u8::from(event.flags & FLAG_REPLAYED != 0);
                let number = data["nonce"].as_str().expect("a number");
                lines += &format!("{number} {is_replayed}\n");
            }
        }
        // What is not written is not finished: it comes again.
        taken.write_all(lines.as_bytes()).expect("room");
    }
    client.wait_stopped(None).expect("it stops");
    client.save_sessions();
}

// -- a cluster ------------------------------------------------------------------------------------

/// A simulated Discord, a cluster of bots in a directory, and what the cluster says.
struct World {
    simulator: Simulator,
    server: Option<Server>,
    directory: tempfile::TempDir,
    cluster: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    /// What it said that nobody has asked for yet.
    seen: Vec<String>,
}

impl World {
    /// Eight shards, and as many workers as the arguments say.
    async fn new(arguments: &[&str]) -> Self {
        Self::of(8, arguments).await
    }

    /// So many shards.
    async fn of(shards: u32, arguments: &[&str]) -> Self {
        let options = Options {
            guilds: 40,
            members_per_guild: 5,
            recommended_shards: shards,
            max_concurrency: 8,
            events_per_second: 200.0,
            ledger_entries: 1_000_000,
            ..Options::default()
        };
        let simulator = Simulator::new(options).expect("sensible options");
        let server = simulator.bind().await.expect("a free port");
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("taken")).expect("a directory");
        let mut cluster = Self::cluster(&simulator, &server, directory.path(), arguments)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(cluster.stdout.take().expect("a pipe")).lines();
        let server = Some(server);
        let mut world = Self { simulator, server, directory, cluster, lines, seen: Vec::new() };
        world.line(&format!("{shards} of {shards} shards are ready"));
        world
    }

    /// Eight shards in two workers while two more with four shards come up, and the deploy that has them do it.
    async fn amid_a_reshard() -> (Self, Child) {
        let mut world = Self::new(&["--workers", "2"]).await;
        let deploy = world.deploying(&["--shards", "4"], &[]).spawn().expect("it starts");
        world.line("shards 2-3/4");
        while world.pids().len() < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (world, deploy)
    }

    /// `shardwright cluster`.
    fn cluster(
        simulator: &Simulator,
        server: &Server,
        directory: &Path,
        arguments: &[&str],
    ) -> Command {
        let mut program = Self::program(simulator, server, directory);
        program
            .args(["cluster", "--directory"])
            .arg(directory.join("c"))
            .args(arguments)
            .arg("--")
            .args(bot_command())
            .stdout(Stdio::piped());
        program
    }

    /// Another one in the same directory.
    fn start(&self, arguments: &[&str]) -> Child {
        let server = self.server.as_ref().expect("it runs");
        Self::cluster(&self.simulator, server, self.directory.path(), arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    /// The next one, with two workers, after one that was killed.
    fn another(&mut self) {
        self.cluster = self.start(&["--workers", "2"]);
        self.lines = BufReader::new(self.cluster.stdout.take().expect("a pipe")).lines();
        self.seen.clear();
    }

    fn program(simulator: &Simulator, server: &Server, directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
        command
            .env("DISCORD_TOKEN", simulator.options().token)
            .env("SHARDWRIGHT_API_URL", server.api_url())
            .env(TAKEN, directory.join("taken"))
            .env_remove("SHARDWRIGHT_BACKPLANE")
            .env_remove("SHARDWRIGHT_SESSIONS");
        command
    }

    /// Waits for a line that has all of this in it; the line.
    fn line(&mut self, part: &str) -> String {
        loop {
            if let Some(at) = self.seen.iter().position(|line| line.contains(part)) {
                return self.seen.drain(..=at).next_back().expect("it is there");
            }
            match self.lines.next() {
                Some(line) => self.seen.push(line.expect("text")),
                None => panic!("it ended without `{part}`: {:?}", self.seen),
            }
        }
    }

    /// `shardwright deploy`, to its end.
    fn deploy(&self, arguments: &[&str], command: &[String]) -> Output {
        self.deploying(arguments, command).output().expect("it starts")
    }

    /// `shardwright deploy`.
    fn deploying(&self, arguments: &[&str], command: &[String]) -> Command {
        let server = self.server.as_ref().expect("it runs");
        let mut program = Self::program(&self.simulator, server, self.directory.path());
        program
            .args(["deploy", "--directory"])
            .arg(self.directory.path().join("c"))
            .args(arguments)
            .args((!command.is_empty()).then_some("--"))
            .args(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        program
    }

    /// The processes of the workers, as the cluster keeps them.
    fn pids(&self) -> Vec<Pid> {
        let list = fs::read_to_string(self.directory.path().join("c/workers")).unwrap_or_default();
        let pid = |line: &str| Pid::from_raw(line.split(' ').next()?.parse().ok()?).into();
        list.lines().filter_map(pid).collect()
    }

    fn identifies(&self) -> u64 {
        self.simulator.look(|seen| seen.counts.identified)
    }

    /// Ends it all: every message that was sent was finished, and what was finished twice was flagged. Returns how
    /// often that was.
    async fn end(mut self) -> usize {
        self.simulator.set_traffic(0.0).expect("it can be quiet");
        let sent: BTreeSet<u64> = self.simulator.look(|seen| {
            let messages = seen.dispatches.iter().filter(|sent| sent.t == "MESSAGE_CREATE");
            messages.filter_map(|sent| sent.number).collect()
        });
        assert!(sent.len() > 100, "there was something to lose");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let taken = self.taken();
            let missing = sent.iter().filter(|number| !taken.contains_key(number)).count();
            if missing == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{missing} of {} messages were lost", sent.len());
            // The bots are on it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kill(Pid::from_raw(self.cluster.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        assert!(self.cluster.wait().expect("it ends").success());
        self.server.take().expect("it runs").shutdown().await;
        let taken = self.taken();
        let again: Vec<_> = taken.values().filter(|times| times.len() > 1).collect();
        for times in &again {
            let fresh = times.iter().filter(|is_replayed| !**is_replayed).count();
            assert!(fresh <= 1, "finished twice, and not flagged: {times:?}");
        }
        again.len()
    }

    /// The messages that were finished, and whether each time it was flagged as replayed.
    fn taken(&self) -> BTreeMap<u64, Vec<bool>> {
        let mut taken: BTreeMap<u64, Vec<bool>> = BTreeMap::new();
        let files = fs::read_dir(self.directory.path().join("taken")).expect("a directory");
        for file in files {
            let text = fs::read_to_string(file.expect("a file").path()).expect("text");
            // The last line may be half of one.
            for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
                let (number, is_replayed) = line.split_once(' ').expect("two words");
                taken
                    .entry(number.parse().expect("a number"))
                    .or_default()
                    .push(is_replayed == "1");
            }
        }
        taken
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed. Its workers get SIGTERM when the cluster does, and the list says who they are.
        for pid in self.pids() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = self.cluster.kill();
        let _ = self.cluster.wait();
    }
}

/// This program, as a bot.
fn bot_command() -> Vec<String> {
    let program = std::env::current_exe().expect("this process has a file");
    vec![program.display().to_string(), "--exact".into(), "bot".into(), "--nocapture".into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_costs_nothing() {
    let mut world = World::new(&["--workers", "4"]).await;
    let before = world.pids();
    kill(Pid::from_raw(world.cluster.id().cast_signed()), Signal::SIGHUP).expect("it runs");
    let done = world.line("done in ");
    assert!(done.ends_with("8 shards resumed, 0 identified"), "{done}");
    assert!(world.pids().iter().all(|pid| !before.contains(pid)), "all are others");

    // More workers, and fewer.
    for workers in ["8", "3"] {
        let output = world.deploy(&["--workers", workers], &[]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(told.contains(&format!("rolling over to {workers} workers")), "{told}");
        assert!(told.trim_end().ends_with("8 shards resumed, 0 identified"), "{told}");
        assert_eq!(world.pids().len().to_string(), workers);
    }
    assert_eq!(world.identifies(), 8);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_fails_is_undone() {
    let mut world = World::new(&["--workers", "2"]).await;
    let broken = ["sh".to_owned(), "-c".to_owned(), "echo I am broken; exit 3".to_owned()];
    let output = world.deploy(&[], &broken);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(why.contains("worker 0 ended as it started; what ran before runs again"), "{why}");
    world.line("worker 0 | I am broken");

    // What ran before is what is restarted from then on.
    let output = world.deploy(&[], &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.identifies(), 8);

    for (arguments, command, told) in [
        (&["--workers", "9"][..], &[][..], "9 processes are more than 8 shards"),
        (&[], &[world.simulator.options().token][..], "leave it out"),
    ] {
        let output = world.deploy(arguments, command);
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(why.contains(told), "{why}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_die_or_hang_come_back() {
    let mut world = World::new(&["--workers", "4"]).await;
    let pids = world.pids();
    kill(pids[0], Signal::SIGKILL).expect("it runs");
    world.line("worker 0 was ended by SIGKILL");
    kill(pids[2], Signal::SIGSTOP).expect("it runs");
    world.line("worker 2 has not been heard of on the backplane; it is killed");
    world.line("worker 2 started");
    world.line("8 of 8 shards are ready");
    assert_eq!(world.identifies(), 8, "all have resumed");
    let log = fs::read_to_string(world.directory.path().join("c/worker-2.log")).expect("a log");
    assert!(log.contains("running 1 test"), "{log}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_bot_is_braked() {
    let mut world = World::new(&["--workers", "1"]).await;
    let bug = world.directory.path().join("taken/bug");
    fs::write(&bug, "").expect("room");
    let braked = world.line("for the 5th time within a minute of its start");
    assert!(braked.contains("exit code 3") && braked.contains("or on SIGHUP"), "{braked}");
    assert_eq!(world.identifies(), 8, "it went on with its sessions each time");
    fs::remove_file(&bug).expect("it is there");
    kill(Pid::from_raw(world.cluster.id().cast_signed()), Signal::SIGHUP).expect("it runs");
    world.line("done in ");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_killed_leaves_nothing_behind() {
    let mut world = World::new(&["--workers", "2"]).await;
    let left = world.pids();
    let refused = world.start(&["--workers", "2"]).wait_with_output().expect("it ends");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("a cluster runs in"), "{why}");

    world.cluster.kill().expect("it runs");
    world.cluster.wait().expect("it ends");
    world.another();
    world.line("left 2 workers behind");
    world.line("8 of 8 shards are ready");
    let runs = |pid: &Pid| began_at(pid.as_raw().cast_unsigned()).is_some();
    assert!(!left.iter().any(runs), "they have ended");
    assert_eq!(world.identifies(), 8, "all have resumed");
    world.end().await;
}

/// What a deploy said that was not done.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file of settings with this backplane.
fn settings(backplane: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "env.SHARDWRIGHT_BACKPLANE = '{backplane}'").expect("room");
    file
}

/// The process of which a line says that it started.
fn started(line: &str) -> Pid {
    let pid = line.split("pid ").nth(1).and_then(|rest| rest.split(',').next()).expect(line);
    Pid::from_raw(pid.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_shards_loses_nothing() {
    let mut world = World::of(4, &["--workers", "2"]).await;
    let mut identifies = 4;
    for (shards, workers, total) in [("8", "3", 8), ("4", "2", 4)] {
        let output = world.deploy(&["--shards", shards, "--workers", workers], &[]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(told.contains(&format!("0 shards resumed, {shards} identified")), "{told}");
        assert_eq!(world.pids().len().to_string(), workers);
        identifies += total;
        assert_eq!(world.identifies(), identifies);
    }
    let twice = world.taken().values().filter(|times| times.len() > 1).count();
    assert_eq!(twice, 0, "they were noted");
    // They are workers like any others now.
    let output = world.deploy(&["--shards", "auto", "--workers", "4"], &[]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.trim_end().ends_with("4 shards resumed, 0 identified"), "{output:?}");
    let pids = world.pids();
    kill(pids[1], Signal::SIGKILL).expect("it runs");
    world.line("worker 1 was ended by SIGKILL; it is started again");
    world.line("4 of 4 shards are ready");
    assert_eq!(world.identifies(), identifies);
    // Processes that start together ask for /gateway/bot together.
    let is_grave = |violation: &ViolationRecord| violation.rule != Rule::RestLimitExceeded;
    let grave: Vec<_> = world.simulator.violations().into_iter().filter(is_grave).collect();
    assert!(grave.is_empty(), "{grave:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_shards_is_undone_when_it_does_not_come_up() {
    let mut world = World::new(&["--workers", "2"]).await;
    let before = world.pids();
    let broken = ["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
    let why = refusal(&world.deploy(&["--shards", "4"], &broken));
    assert!(why.contains("the new worker 0 ended; the new workers have stopped"), "{why}");
    world.line("the others go on");
    assert_eq!((world.pids(), world.identifies()), (before.clone(), 8));

    // One of the new ones is killed amid it.
    let deploy = world.deploying(&["--shards", "4"], &[]).spawn().expect("it starts");
    let line = world.line("shards 2-3/4");
    kill(started(&line), Signal::SIGKILL).expect("it runs");
    let why = refusal(&deploy.wait_with_output().expect("it ends"));
    assert!(why.contains("the new worker 1 ended; the new workers have stopped"), "{why}");
    assert_eq!(world.pids(), before);

    // Nothing is begun that the day has not enough session starts for, or that cannot be.
    let identifies = world.identifies();
    for (shards, told) in
        [("990", "990 shards take 990 session starts"), ("1", "more than 1 shards")]
    {
        let why = refusal(&world.deploy(&["--shards", shards], &[]));
        assert!(why.contains(told), "{why}");
    }
    assert_eq!((world.pids(), world.identifies()), (before, identifies));
    assert_eq!(world.end().await, 0, "none came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_worker_had_not_finished_comes_from_the_new_ones() {
    let mut world = World::of(4, &["--workers", "2", "--stop-timeout", "2"]).await;
    let pids = world.pids();
    let deploy = world.deploying(&["--shards", "8"], &[]).spawn().expect("it starts");
    world.line("those that run stop");
    kill(pids[0], Signal::SIGSTOP).expect("it runs");
    world.line("not all have finished what they had");
    let output = deploy.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.identifies(), 4 + 8);
    assert!(world.end().await > 0, "what was held came flagged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_worker_that_dies_amid_a_reshard_comes_back_for_it() {
    let mut world = World::new(&["--workers", "2"]).await;
    let pids = world.pids();
    let deploy = world.deploying(&["--shards", "4"], &[]).spawn().expect("it starts");
    world.line("shards 2-3/4");
    kill(pids[0], Signal::SIGKILL).expect("it runs");
    world.line("worker 0 was ended by SIGKILL; it is started again");
    let output = deploy.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("0 shards resumed, 4 identified"), "{output:?}");
    assert_eq!(world.identifies(), 8 + 4, "it resumed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_shards_over_redis() {
    let redis = RedisServer::start(&[]);
    let settings = settings(&redis.url());
    let path = settings.path().to_str().expect("text");
    let world = World::of(4, &["--workers", "2", "--config", path]).await;
    let output = world.deploy(&["--shards", "8", "--workers", "3"], &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.identifies(), 4 + 8);
    assert_eq!(world.end().await, 0, "they were noted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_stopped_amid_a_reshard_takes_all_workers_along() {
    let (mut world, deploy) = World::amid_a_reshard().await;
    let pids = world.pids();
    kill(Pid::from_raw(world.cluster.id().cast_signed()), Signal::SIGINT).expect("it runs");
    assert!(world.cluster.wait().expect("it ends").success());
    let why = refusal(&deploy.wait_with_output().expect("it ends"));
    assert!(why.contains("the cluster stops, and its change of shards with it"), "{why}");
    let runs = |pid: &Pid| began_at(pid.as_raw().cast_unsigned()).is_some();
    assert!(!pids.iter().any(runs), "they have ended");

    let identifies = world.identifies();
    world.another();
    world.line("8 of 8 shards are ready");
    assert_eq!(world.identifies(), identifies, "all have resumed");
    assert_eq!(world.end().await, 0, "all were done with");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_killed_amid_a_reshard_goes_on_as_before() {
    let (mut world, deploy) = World::amid_a_reshard().await;
    world.cluster.kill().expect("it runs");
    world.cluster.wait().expect("it ends");
    let why = refusal(&deploy.wait_with_output().expect("it ends"));
    assert!(why.contains("the cluster ended before it was done"), "{why}");
    world.another();
    world.line("left 4 workers behind");
    world.line("8 of 8 shards are ready");
    assert_eq!(world.pids().len(), 2);
    world.end().await;
}
