//! A bot in a process of its own.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// What a bot reads of its environment, as far as it decides where the bot runs and what it keeps.
const VARIABLES: [&str; 6] = [
    "DISCORD_TOKEN",
    "SHARDWRIGHT_API_URL",
    "SHARDWRIGHT_BACKPLANE",
    "SHARDWRIGHT_SESSIONS",
    "SHARDWRIGHT_SHARDS",
    "SHARDWRIGHT_STORE",
];

/// A running bot; it does not outlive this.
pub(crate) struct Bot {
    pid: Pid,
    ended: JoinHandle<io::Result<ExitStatus>>,
}

impl Bot {
    /// Starts it with what `env` has of the variables that bots read, and prints what it says behind a bar.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn start(
        bot: &[PathBuf],
        env: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let (program, arguments) = bot.split_first().context("no bot to run")?;
        let mut child = Command::new(program);
        for name in VARIABLES {
            match env(name) {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        let mut child = child
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run the bot {}", program.display()))?;
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    println!("  bot │ {line}");
                }
            });
        }
        Ok(Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            ended: spawn_blocking(move || child.wait()),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        (&mut self.ended).await?.context("cannot wait for the bot")
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// When it does not in this time.
    pub(crate) async fn stop(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGINT);
        let ended = timeout(patience, self.ended()).await;
        ended.context("the bot did not end when it was interrupted")?
    }

    /// Sends a signal, if it still runs.
    fn signal(&self, signal: Signal) {
        if !self.ended.is_finished() {
            // It may end just now, which is as well.
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
