//! What a cluster is to be: flags, or a file, or defaults, in this order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The file that is read if it is there.
const FILE: &str = "shardwright.toml";

/// Runs a bot in several processes, each with its part of the shards, and keeps them running.
///
/// COMMAND is any program that uses Shardwright. Each of its processes finds its shards in SHARDWRIGHT_SHARDS,
/// its name in SHARDWRIGHT_WORKER and the token in DISCORD_TOKEN. They share the backplane of
/// SHARDWRIGHT_BACKPLANE, a file in the cluster's directory by default, and with it identify in turns and resume
/// the sessions of those before them.
///
/// A worker that ends is started again: at once after a long life, later and later after short ones. One that
/// hangs is killed. SIGHUP or `shardwright deploy` restarts all, one after the other. Ctrl-C or SIGTERM stops all;
/// a second one kills them.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the same settings are read from, those that no flag gives [default: shardwright.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Processes to run [default: 1]
    #[arg(long, conflicts_with = "shards_per_worker")]
    workers: Option<NonZeroU32>,
    /// Shards of each process; there are as many processes as that takes
    #[arg(long)]
    shards_per_worker: Option<NonZeroU32>,
    /// Shards of the bot, instead of the number that Discord recommends [default: auto]
    #[arg(long, value_parser = shard_count)]
    shards: Option<ShardCount>,
    /// Serve the dashboard there, such as 127.0.0.1:7711 [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    dashboard: Option<SocketAddr>,
    /// Explain the plan and start nothing
    #[arg(long)]
    check: bool,
    /// Where the cluster keeps its files: the backplane, logs, the socket for `shardwright deploy` [default: .shardwright]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Seconds that a worker may take to stop before it is killed [default: 30]
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// Seconds that its shards may take to be ready in a rolling restart [default: 120]
    #[arg(long, value_name = "SECONDS")]
    ready_timeout: Option<u64>,
    /// Seconds that a worker may take no event, while some wait, before it is killed [default: 60]
    #[arg(long, value_name = "SECONDS")]
    hang_timeout: Option<u64>,
    /// Size of a worker's log file before another one is begun; five older ones are kept. 0 keeps none [default: 10]
    #[arg(long, value_name = "MIB")]
    log_mib: Option<u64>,
    /// The bot and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    command: Vec<String>,
    workers: Option<NonZeroU32>,
    shards_per_worker: Option<NonZeroU32>,
    shards: Option<ShardCount>,
    directory: Option<PathBuf>,
    stop_timeout: Option<u64>,
    ready_timeout: Option<u64>,
    hang_timeout: Option<u64>,
    log_mib: Option<u64>,
    dashboard: Option<SocketAddr>,
    env: BTreeMap<String, String>,
}

/// How many shards are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShardCount {
    /// What Discord recommends.
    Auto,
    Fixed(NonZeroU32),
}

/// How many workers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerCount {
    Fixed(NonZeroU32),
    /// As many as it takes with so many shards each.
    ShardsEach(NonZeroU32),
}

impl WorkerCount {
    /// For so many shards.
    pub(crate) fn of(self, shards: u32) -> u32 {
        match self {
            Self::Fixed(workers) => workers.get(),
            Self::ShardsEach(each) => shards.div_ceil(each.get()),
        }
    }
}

/// What a cluster is to be.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) command: Vec<OsString>,
    pub(crate) workers: WorkerCount,
    pub(crate) shards: ShardCount,
    pub(crate) check: bool,
    pub(crate) directory: PathBuf,
    pub(crate) stop_timeout: Duration,
    pub(crate) ready_timeout: Duration,
    pub(crate) hang_timeout: Duration,
    pub(crate) log_bytes: u64,
    /// Where the dashboard is served, if it is.
    pub(crate) dashboard: Option<SocketAddr>,
    /// Variables for the workers, where the environment does not have them.
    env: BTreeMap<String, String>,
}

impl Arguments {
    /// With what the file says, and the defaults.
    ///
    /// # Errors
    /// Says what is wrong with the file, or missing.
    pub(crate) fn settings(self) -> anyhow::Result<Settings> {
        let file = read(self.config.as_deref())?;
        let command: Vec<OsString> = if self.command.is_empty() {
            file.command.into_iter().map(OsString::from).collect()
        } else {
            self.command
        };
        ensure!(
            !command.is_empty(),
            "say what to run: `shardwright cluster --workers 4 -- python3 bot.py`, or `command` in {FILE}"
        );
        ensure!(
            file.workers.is_none() || file.shards_per_worker.is_none(),
            "{FILE} has both `workers` and `shards_per_worker`; leave one out"
        );
        let workers = |all: Option<NonZeroU32>, each: Option<NonZeroU32>| {
            all.map(WorkerCount::Fixed).or(each.map(WorkerCount::ShardsEach))
        };
        let seconds = |flag: Option<u64>, file: Option<u64>, default| {
            Duration::from_secs(flag.or(file).unwrap_or(default))
        };
        let directory = self.directory.or(file.directory).unwrap_or_else(|| ".shardwright".into());
        Ok(Settings {
            command,
            workers: workers(self.workers, self.shards_per_worker)
                .or(workers(file.workers, file.shards_per_worker))
                .unwrap_or(WorkerCount::Fixed(NonZeroU32::MIN)),
            shards: self.shards.or(file.shards).unwrap_or(ShardCount::Auto),
            check: self.check,
            // Workers may change theirs.
            directory: std::path::absolute(directory)?,
            stop_timeout: seconds(self.stop_timeout, file.stop_timeout, 30),
            ready_timeout: seconds(self.ready_timeout, file.ready_timeout, 120),
            hang_timeout: seconds(self.hang_timeout, file.hang_timeout, 60),
            log_bytes: self.log_mib.or(file.log_mib).unwrap_or(10) << 20,
            dashboard: self.dashboard.or(file.dashboard),
            env: file.env,
        })
    }
}

impl Settings {
    /// A variable as the workers have it.
    pub(crate) fn env(&self, name: &str) -> Option<String> {
        let own = std::env::var(name).ok().filter(|value| !value.is_empty());
        own.or_else(|| self.env.get(name).cloned()).or_else(|| match name {
            "SHARDWRIGHT_BACKPLANE" => {
                Some(format!("sqlite:{}", self.directory.join("backplane").display()))
            }
            "SHARDWRIGHT_SESSIONS" => Some("backplane".to_owned()),
            "SHARDWRIGHT_STORE" => {
                Some(format!("sqlite:{}", self.directory.join("store").display()))
            }
            _ => None,
        })
    }

    /// All variables that the workers have and the cluster not.
    pub(crate) fn env_of_workers(&self) -> Vec<(String, String)> {
        let names = self.env.keys().map(String::as_str);
        let names =
            names.chain(["SHARDWRIGHT_BACKPLANE", "SHARDWRIGHT_SESSIONS", "SHARDWRIGHT_STORE"]);
        names.filter_map(|name| Some((name.to_owned(), self.env(name)?))).collect()
    }
}

/// The file, if there is one.
fn read(named: Option<&Path>) -> anyhow::Result<File> {
    let path = named.unwrap_or(Path::new(FILE));
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            return Ok(File::default());
        }
        text => text.with_context(|| format!("cannot read {shown}"))?,
    };
    let file: File = toml::from_str(&text).with_context(|| format!("{shown} is wrong"))?;
    ensure!(
        !file.env.contains_key("DISCORD_TOKEN"),
        "{shown} has the token in it, and files like this are copied about; set DISCORD_TOKEN in the environment"
    );
    Ok(file)
}

/// What a flag says.
///
/// # Errors
/// Says what it could be.
pub(super) fn shard_count(text: &str) -> Result<ShardCount, String> {
    match text {
        "auto" => Ok(ShardCount::Auto),
        number => match number.parse() {
            Ok(number) => Ok(ShardCount::Fixed(number)),
            Err(_) => Err("`auto` or a number of shards".to_owned()),
        },
    }
}

impl Serialize for ShardCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(shards) => shards.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ShardCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"auto\" or a number of shards")]
        enum Either {
            Number(NonZeroU32),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self::Fixed(number)),
            Either::Text(text) => shard_count(&text).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn settings(file: &str, flags: &[&str]) -> anyhow::Result<Settings> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(FILE);
        fs::write(&path, file)?;
        let path = path.display().to_string();
        let flags = ["cluster", "--config", &path].into_iter().chain(flags.iter().copied());
        Program::try_parse_from(flags)?.arguments.settings()
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = "command = [\"bot\"]\nshards_per_worker = 2\nshards = 8\nstop_timeout = 5\n[env]\nA = \"1\"";
        let read = settings(file, &[]).expect("good settings");
        assert_eq!((read.workers.of(8), read.shards), (4, shard_count("8").expect("a number")));
        assert_eq!((read.stop_timeout.as_secs(), read.ready_timeout.as_secs()), (5, 120));
        assert!(read.env_of_workers().contains(&("A".to_owned(), "1".to_owned())));
        let flags =
            ["--workers", "3", "--shards", "auto", "--directory", "x", "--", "other", "--flag"];
        let read = settings(file, &flags).expect("good settings");
        assert_eq!((read.workers.of(8), read.shards), (3, ShardCount::Auto));
        assert_eq!(read.command, ["other", "--flag"]);
        assert!(read.directory.is_absolute() && read.directory.ends_with("x"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (file, told) in [
            ("", "say what to run"),
            ("command = [\"bot\"]\nworkers = 1\nshards_per_worker = 2", "leave one out"),
            ("command = [\"bot\"]\nworker = 1", "unknown field `worker`"),
            ("command = [\"bot\"]\nshards = \"many\"", "`auto` or a number of shards"),
            ("command = [\"bot\"]\nshards = 0", "expected \"auto\" or a number of shards"),
            (
                "command = [\"bot\"]\n[env]\nDISCORD_TOKEN = \"t\"",
                "set DISCORD_TOKEN in the environment",
            ),
        ] {
            let error = settings(file, &[]).expect_err(file);
            assert!(format!("{error:#}").contains(told), "{file}: {error:#}");
        }
        for bad in ["0", "-1", "many", ""] {
            assert!(shard_count(bad).is_err(), "{bad}");
        }
    }
}
