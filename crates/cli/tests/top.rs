//! `shardwright status` and `shardwright top` against a running client, over the backplane.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::{Value, json};
use shardwright::shard::StopMode;
use shardwright::transport::Tcp;
use shardwright::{Client, Config};
use shardwright_sim::{Options, Server, Simulator};
use tokio::runtime::Handle;

/// A bot with three shards, all ready, in this process.
struct Bot {
    client: Client,
    simulator: Simulator,
    server: Server,
    folder: tempfile::TempDir,
}

impl Bot {
    async fn start() -> Self {
        let options =
            Options { guilds: 12, recommended_shards: 3, max_concurrency: 3, ..Options::default() };
        let simulator = Simulator::new(options).expect("sensible options");
        let server = simulator.bind().await.expect("a free port");
        let folder = tempfile::tempdir().expect("a folder");
        let config = json!({
            "token": simulator.options().token, "intents": 1, "api_url": server.api_url(),
            "backplane": format!("sqlite:{}", folder.path().join("backplane").display()),
            "worker_name": "the only one", "log": {"to": "none"},
        });
        let config = Config::from_json(&config.to_string(), |_| None).expect("a config");
        let client = Client::new(config, Arc::new(Tcp)).expect("a client");
        client.start(&Handle::current()).expect("it starts");
        let waiting = client.clone();
        let ready = tokio::task::spawn_blocking(move || waiting.wait_ready(None)).await;
        ready.expect("it is waited for").expect("ready shards");
        Self { client, simulator, server, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.folder.path().join("backplane"), arguments);
        command.env("DISCORD_TOKEN", self.simulator.options().token);
        command
    }

    fn run(&self, arguments: &[&str]) -> (Output, String) {
        let output = self.command(arguments).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output, text)
    }

    /// Runs it until what it prints is right: workers say only now and then how they are.
    async fn until(&self, arguments: &[&str], is_right: impl Fn(&str) -> bool) -> String {
        loop {
            let (output, text) = self.run(arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            if is_right(&text) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops it; what is left is its folder.
    async fn stop(self) -> tempfile::TempDir {
        let client = self.client;
        client.stop(StopMode::Abort);
        let stopped = tokio::task::spawn_blocking(move || client.wait_stopped(None)).await;
        stopped.expect("it is waited for").expect("it stops");
        self.server.shutdown().await;
        self.folder
    }
}

fn command(backplane: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardwright"));
    command
        .args(arguments)
        .env("SHARDWRIGHT_BACKPLANE", format!("sqlite:{}", backplane.display()))
        .env("DISCORD_TOKEN", "t")
        .env_remove("SHARDWRIGHT_SHARDS")
        .env_remove("NO_COLOR");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_how_all_are_doing() {
    let bot = Bot::start().await;
    let json =
        bot.until(&["status", "--json"], |text| text.contains(r#""states":{"ready":3}"#)).await;
    let stats: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&stats["total"]["workers"], &stats["total"]["shard_total"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(stats["workers"][0]["name"], "the only one");
    for arguments in [&["status"][..], &["top", "--once"]] {
        let text = bot.until(arguments, |text| text.contains("12 guilds")).await;
        assert!(text.starts_with("1 worker, 3 shards: 3 ready "), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("ready  ")).count(), 5, "{text}");
        assert!(text.contains("the only one") && !text.contains('\x1b'), "{text}");
    }
    // That of a cluster is found in its directory.
    let directory = bot.folder.path().display().to_string();
    let mut cluster = bot.command(&["status", "--directory", &directory]);
    let output = cluster.env_remove("SHARDWRIGHT_BACKPLANE").output().expect("it starts");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("1 worker, 3 shards: 3 ready"));
    // Who has gone is not there any more.
    let folder = bot.stop().await;
    let output =
        command(&folder.path().join("backplane"), &["status"]).output().expect("it starts");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("No worker of this bot is there"));
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("no-such-file");
    for command in ["status", "top"] {
        let output = self::command(&missing, &[command]).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && stderr.contains("there is no backplane at"),
            "{stderr}"
        );
        assert!(!missing.exists(), "looking at a backplane made one");
        let mut without = self::command(&missing, &[command]);
        let output = without.env_remove("SHARDWRIGHT_BACKPLANE").output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && stderr.contains("SHARDWRIGHT_BACKPLANE"),
            "{stderr}"
        );
    }
}

/// `shardwright top` in a terminal.
struct Terminal {
    child: Child,
    /// Our end, which is read and typed into, and has the settings of its end.
    ours: File,
    before: Termios,
    shown: String,
}

impl Terminal {
    fn start(bot: &Bot) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let ours = File::from(pair.master);
        let before = tcgetattr(&ours).expect("its settings");
        let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        // It is the terminal that makes a signal of Ctrl-C, for the processes that it controls.
        let top = bot.command(&["top"]);
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(top.get_program()).args(top.get_args());
        for (name, value) in top.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        Self { child: child.expect("it starts"), ours, before, shown: String::new() }
    }

    /// Reads on; whether there was anything, for the end is one of its end, too.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let read = self.ours.read(&mut bytes).unwrap_or(0);
        self.shown += &String::from_utf8_lossy(&bytes[..read]);
        read > 0
    }

    /// Reads until this was shown so often.
    fn until(&mut self, text: &str, times: usize) {
        while self.shown.matches(text).count() < times {
            assert!(self.read(), "it ended without {text}: {}", self.shown);
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().expect("a pid")), signal).expect("it runs");
    }

    /// Waits for the end, after which the terminal is as it was.
    fn ended(mut self) {
        while self.read() {}
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.shown);
        assert!(self.shown.ends_with("\x1b[?25h\x1b[?1049l"), "{:?}", self.shown);
        assert_eq!(tcgetattr(&self.ours).expect("its settings"), self.before);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_gives_the_terminal_back() {
    let bot = Bot::start().await;
    let ends: [&(dyn Fn(&mut Terminal) + Sync); 3] = [
        &|terminal| terminal.ours.write_all(b"q").expect("a terminal"),
        &|terminal| terminal.ours.write_all(b"\x03").expect("a terminal"),
        &|terminal| terminal.signal(Signal::SIGTERM),
    ];
    for end in ends {
        tokio::task::block_in_place(|| {
            let mut terminal = Terminal::start(&bot);
            terminal.until("\x1b[?1049h", 1);
            assert_ne!(tcgetattr(&terminal.ours).expect("its settings"), terminal.before);
            // Other keys do nothing, and frames go on.
            terminal.ours.write_all(b"x").expect("a terminal");
            terminal.until("1 worker, 3 shards", 3);
            terminal.until("the only one", 3);
            end(&mut terminal);
            terminal.ended();
        });
    }
    bot.stop().await;
}
