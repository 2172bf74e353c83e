//! The program as people run it, against the simulator.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shardwright_sim::{Options, Simulator};

/// Runs the program; what it said on standard output and on standard error.
fn run(arguments: &[&str], api_url: &str, token: &str) -> (Output, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
    let directory = tempfile::tempdir().expect("a directory");
    command.args(arguments).env("DISCORD_TOKEN", token).env("SHARDWRIGHT_API_URL", api_url);
    command.current_dir(directory.path());
    let output = command.env_remove("SHARDWRIGHT_SHARDS").output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_says_what_discord_says() {
    let options = Options { recommended_shards: 64, max_concurrency: 16, ..Options::default() };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let token = simulator.options().token;
    let (output, stdout, stderr) = run(&["plan", "--processes", "4"], &server.api_url(), &token);
    assert!(output.status.success(), "{stderr}");
    for line in ["  recommended shards   64\n", "  max_concurrency      16\n", "  48-63/64\n"] {
        assert!(stdout.contains(line.trim_start()), "{line}: {stdout}");
    }
    assert_eq!(simulator.look(|seen| seen.counts.identifies), 0, "a plan costs no session start");

    let (output, _, stderr) = run(&["plan"], &server.api_url(), "not.the.token");
    assert!(!output.status.success());
    assert!(stderr.contains("token") && !stderr.contains("not.the.token"), "{stderr}");
    let (output, _, stderr) = run(&["plan", "--shards", "0"], &server.api_url(), &token);
    assert!(!output.status.success() && stderr.contains("0 shards"), "{stderr}");
    server.shutdown().await;
}

#[test]
fn nobody_reads_on_and_nothing_is_made_of_it() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
    let child = command.args(["plan", "--table"]).stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.expect("it starts").wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(!output.status.success(), "the table was not printed");
}

#[test]
fn a_size_takes_neither_token_nor_network() {
    let plan = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
        let output = command.arg("plan").args(arguments).env_clear().output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (is_fine, stdout, stderr) = plan(&["--guilds", "250000", "--shards-per-process", "64"]);
    assert!(is_fine, "{stderr}");
    for line in
        ["  shards               256, of about 977 guilds each", "  process 3    192-255/256\n"]
    {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
    let (is_fine, stdout, stderr) = plan(&["--table"]);
    assert!(is_fine && stdout.contains("| 1,000,000 | 1,008 |"), "{stdout}{stderr}");
    for (arguments, why) in [
        (&["--guilds", "0"][..], "0 is not in 1.."),
        (&["--guilds", "100000", "--shards", "39"], "too few"),
        (&["--guilds", "10", "--shards-per-process", "0"], "--shards-per-process"),
        (&["--table", "--guilds", "1"], "cannot be used with"),
    ] {
        let (is_fine, _, stderr) = plan(arguments);
        assert!(!is_fine && stderr.contains(why), "{arguments:?}: {stderr}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, told) in [
        (&["demo", "no/such/bot"][..], "no/such/bot"),
        (
            &["sim", "--script", "no/such/script.toml", "--listen", "127.0.0.1:0"],
            "no/such/script.toml",
        ),
        (&["sim", "--listen", "203.0.113.1:1"], "203.0.113.1:1"),
        (&["sim", "--max-concurrency", "0"], "max_concurrency"),
    ] {
        let (output, _, stderr) = run(arguments, "http://127.0.0.1:1", "t");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
    }
}

/// A running `shardwright cluster`, and what it says.
struct Cluster {
    child: std::process::Child,
    /// Where it keeps its files.
    _directory: tempfile::TempDir,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    seen: Vec<String>,
}

impl Cluster {
    fn start(arguments: &[&str], api_url: &str, token: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_shardwright"))
            .arg("cluster")
            .args(arguments)
            .current_dir(directory.path())
            .env("DISCORD_TOKEN", token)
            .env("SHARDWRIGHT_API_URL", api_url)
            .env("SHARDWRIGHT_SHARDS", "9-9/10")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, _directory: directory, lines, seen: Vec::new() }
    }

    /// Waits for a line that begins and ends so; the line.
    fn line(&mut self, begins: &str, ends: &str) -> String {
        let fits = |line: &String| line.starts_with(begins) && line.ends_with(ends);
        loop {
            if let Some(at) = self.seen.iter().position(fits) {
                return self.seen.remove(at);
            }
            match self.lines.next() {
                Some(line) => self.seen.push(line.expect("text")),
                None => panic!("it ended without `{begins}…{ends}`: {:?}", self.seen),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a pid")), signal).expect("it runs");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says which shards it has, and ends when it is told to.
const HOST: &str = "trap 'echo bye; exit 0' TERM; echo shards $SHARDWRIGHT_SHARDS; \
                    while :; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_its_workers_running() {
    let options = Options { recommended_shards: 5, ..Options::default() };
    let simulator = Simulator::new(options).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let token = simulator.options().token;

    let check = ["cluster", "--shards-per-worker", "3", "--check", "--", "no/such/host"];
    let (output, stdout, stderr) = run(&check, &server.api_url(), &token);
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("0-1/5") && stdout.contains("2-4/5"), "{stdout}");

    let arguments = ["--workers", "2", "--", "sh", "-c", HOST];
    let mut cluster = Cluster::start(&arguments, &server.api_url(), &token);
    cluster.line("worker 0 | ", "shards 0-1/5");
    cluster.line("worker 1 | ", "shards 2-4/5");
    let started = cluster.line("worker 1 started, pid ", "");
    let pid = started.split(", ").find_map(|part| part.strip_prefix("pid ")?.parse().ok());
    let pid = pid.expect("its pid");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    cluster.line("worker 1 was ended by SIGKILL", "it is started again in 1 s");
    // Nobody has to wait for that.
    cluster.signal(Signal::SIGHUP);
    cluster.line("worker 1 | ", "shards 2-4/5");
    cluster.signal(Signal::SIGTERM);
    for worker in ["worker 0", "worker 1"] {
        cluster.line(&format!("{worker} | "), "bye");
        cluster.line(worker, "ended with exit code 0");
    }
    assert!(cluster.child.wait().expect("it ends").success());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_kills_who_does_not_stop() {
    let simulator = Simulator::new(Options::default()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let deaf = "trap 'echo never' TERM; echo here; while :; do sleep 0.05; done";
    let arguments = ["--stop-timeout", "0", "--", "sh", "-c", deaf];
    let token = simulator.options().token;
    let mut cluster = Cluster::start(&arguments, &server.api_url(), &token);
    cluster.line("worker 0 | ", "here");
    cluster.signal(Signal::SIGINT);
    cluster.line("worker 0 ", "was ended by SIGKILL");
    assert_eq!(cluster.child.wait().expect("it ends").code(), Some(1));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_says_what_is_wrong() {
    let simulator = Simulator::new(Options::default()).expect("sensible options");
    let server = simulator.bind().await.expect("a free port");
    let token = simulator.options().token;
    let told = format!("--token={token}");
    for (arguments, why) in [
        (&["cluster", "--", "no/such/host"][..], "no/such/host"),
        (&["cluster", "--workers", "2", "--", "true"], "2 processes are more than 1 shards"),
        (&["cluster", "--", "true", &told], "leave it out"),
    ] {
        let (output, _, stderr) = run(arguments, &server.api_url(), &token);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains(why) && !stderr.contains(&token), "{arguments:?}: {stderr}");
    }
    let (output, _, stderr) = run(&["cluster", "--", "true"], &server.api_url(), "not.the.token");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("token") && !stderr.contains("not.the.token"), "{stderr}");
    server.shutdown().await;
}
