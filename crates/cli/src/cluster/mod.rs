//! `shardwright cluster`: a bot in several processes of one machine.

mod brake;
mod layout;
mod worker;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use nix::sys::signal::Signal;
use shardwright::rest::Rest;
use shardwright::transport::{Dialer, Tcp};
use shardwright::{Config, GatewayInfo};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::brake::{Brake, Restart};
pub(crate) use self::layout::Layout;
use self::worker::Worker;

/// Time between two looks at the workers.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Session starts that bots have, where Discord did not say.
const STARTS_PER_DAY: u32 = 1_000;

/// Runs a bot in several processes, each with its part of the shards, and keeps them running.
///
/// COMMAND is any program that uses Shardwright. Each of its processes finds its shards in SHARDWRIGHT_SHARDS,
/// which the engine reads where the configuration has no `shards`, and the token in DISCORD_TOKEN. With
/// SHARDWRIGHT_BACKPLANE they identify in turns, and with SHARDWRIGHT_SESSIONS one that is started again
/// resumes.
///
/// A worker that ends is started again: at once after a long life, later and later after short ones. Ctrl-C or
/// SIGTERM stops all; a second one kills them. SIGHUP starts those that wait.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Processes to run
    #[arg(long, conflicts_with = "shards_per_worker")]
    workers: Option<NonZeroU32>,
    /// Shards of each process; there are as many processes as that takes
    #[arg(long)]
    shards_per_worker: Option<NonZeroU32>,
    /// Shards of the bot, instead of the number that Discord recommends (auto)
    #[arg(long, default_value = "auto", value_parser = shard_count)]
    shards: ShardCount,
    /// Explain the plan and start nothing
    #[arg(long)]
    check: bool,
    /// Seconds that a worker may take to stop before it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    stop_timeout: u64,
    /// The bot and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How many shards are wanted.
#[derive(Debug, Clone, Copy)]
enum ShardCount {
    Auto,
    Fixed(NonZeroU32),
}

fn shard_count(text: &str) -> Result<ShardCount, String> {
    match text {
        "auto" => Ok(ShardCount::Auto),
        number => match number.parse() {
            Ok(number) => Ok(ShardCount::Fixed(number)),
            Err(_) => Err("`auto` or a number of shards".to_owned()),
        },
    }
}

/// Runs the workers until they are stopped.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // The range of one worker says nothing of the cluster.
    let env = |name: &str| match name {
        "SHARDWRIGHT_SHARDS" => None,
        name => std::env::var(name).ok(),
    };
    let config = Config::from_json(r#"{"intents": 0}"#, env)?;
    check_command(&arguments.command, &std::env::var("DISCORD_TOKEN").unwrap_or_default())?;
    let dialer = Dialer::new(&config, Arc::new(Tcp))?;
    let info = GatewayInfo::ask(&Rest::new(&config, dialer)).await;
    let (info, shards) = match (info, arguments.shards) {
        (Ok(info), ShardCount::Auto) => (Some(info.clone()), info.shards),
        (Ok(info), ShardCount::Fixed(shards)) => (Some(info), shards.get()),
        // Each worker asks again; a number of shards is enough to begin with.
        (Err(error), ShardCount::Fixed(shards)) if error.kind() == shardwright::ErrorKind::Io => {
            eprintln!("{error}; going on with {shards} shards");
            (None, shards.get())
        }
        (Err(error), _) => return Err(error.into()),
    };
    let workers = match (arguments.workers, arguments.shards_per_worker) {
        (Some(workers), _) => workers.get(),
        (None, Some(each)) => shards.div_ceil(each.get()),
        (None, None) => 1,
    };
    let layout = Layout::new(shards, workers)?;
    if arguments.check {
        match &info {
            Some(info) => print!("{}", crate::plan::plan(info, layout)),
            None => bail!("there is no plan without what Discord says"),
        }
        return Ok(());
    }
    let starts = info.map_or(STARTS_PER_DAY, |info| info.session_start_limit.total);
    let cluster = Cluster::new(&arguments, layout, starts);
    tokio::task::spawn_blocking(move || cluster.run()).await?
}

/// The token is not to be where every user of the machine can read it.
fn check_command(command: &[OsString], token: &str) -> anyhow::Result<()> {
    let shows = |part: &OsString| !token.is_empty() && part.to_string_lossy().contains(token);
    ensure!(
        !command.iter().any(shows),
        "the token stands in the command, where everybody on this machine can read it; leave it out: each \
         worker has it in DISCORD_TOKEN"
    );
    Ok(())
}

/// The workers.
struct Cluster {
    command: Vec<OsString>,
    stop_timeout: Duration,
    places: Vec<Place>,
}

/// The place of one worker.
struct Place {
    /// What it is called, as wide as the others.
    name: String,
    /// As in SHARDWRIGHT_SHARDS.
    shards: String,
    brake: Brake,
    state: State,
}

/// What there is in a place.
enum State {
    Running(Worker),
    /// It is started then.
    Waiting(Instant),
    /// It has stopped for good.
    Stopped,
}

impl Cluster {
    fn new(arguments: &Arguments, layout: Layout, starts_per_day: u32) -> Self {
        let now = Instant::now();
        let width = (layout.workers - 1).to_string().len();
        let place = |(number, (from, to)): (usize, (u32, u32))| Place {
            name: format!("worker {number:<width$}"),
            shards: format!("{from}-{to}/{}", layout.shards),
            brake: Brake::new(to - from + 1, starts_per_day, now),
            state: State::Waiting(now),
        };
        Self {
            command: arguments.command.clone(),
            stop_timeout: Duration::from_secs(arguments.stop_timeout),
            places: layout.ranges().enumerate().map(place).collect(),
        }
    }

    /// Runs the workers until all have stopped.
    fn run(mut self) -> anyhow::Result<()> {
        let signals = signals().context("cannot wait for signals")?;
        // A program that is not there is no reason to try for ever.
        for place in &mut self.places {
            place.start(&self.command)?;
        }
        let mut kill_at: Option<Instant> = None;
        let mut was_killed = false;
        loop {
            match signals.recv_timeout(LOOK_EVERY) {
                Ok(SIGHUP) if kill_at.is_none() => self.places.iter_mut().for_each(Place::release),
                Ok(SIGINT | SIGTERM) if kill_at.is_none() => {
                    let seconds = self.stop_timeout.as_secs();
                    say(format_args!(
                        "stopping; workers have {seconds} s, another Ctrl-C kills them"
                    ));
                    kill_at = Some(Instant::now() + self.stop_timeout);
                    self.places.iter_mut().for_each(Place::stop);
                }
                Ok(SIGINT | SIGTERM) => kill_at = Some(Instant::now()),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("signals are not heard any more"),
            }
            for place in &mut self.places {
                place.look(&self.command, kill_at.is_some());
            }
            let Some(at) = kill_at else { continue };
            if self.places.iter().all(|place| matches!(place.state, State::Stopped)) {
                ensure!(!was_killed, "some workers had to be killed; their sessions may be lost");
                return Ok(());
            }
            if Instant::now() >= at && !was_killed {
                was_killed = true;
                for (place, worker) in self.running() {
                    say(format_args!("{} did not stop in time and is killed", place.name));
                    worker.signal(Signal::SIGKILL);
                }
            }
        }
    }

    /// The workers that there are.
    fn running(&self) -> impl Iterator<Item = (&Place, &Worker)> {
        self.places.iter().filter_map(|place| match &place.state {
            State::Running(worker) => Some((place, worker)),
            State::Waiting(_) | State::Stopped => None,
        })
    }
}

impl Place {
    fn start(&mut self, command: &[OsString]) -> anyhow::Result<()> {
        let worker = Worker::start(command, &self.shards, &self.name)
            .with_context(|| format!("cannot run {}", command[0].to_string_lossy()))?;
        say(format_args!("{} started, pid {}, shards {}", self.name, worker.pid(), self.shards));
        self.brake.started(Instant::now());
        self.state = State::Running(worker);
        Ok(())
    }

    /// Takes note of what happened, and starts what is due.
    fn look(&mut self, command: &[OsString], is_stopping: bool) {
        let now = Instant::now();
        match &mut self.state {
            State::Running(worker) => {
                let Some(status) = worker.ended() else { return };
                let how = worker::told(status);
                if is_stopping {
                    say(format_args!("{} {how}", self.name));
                    self.state = State::Stopped;
                } else {
                    self.again(&how, now);
                }
            }
            State::Waiting(at) if *at <= now => {
                if let Err(error) = self.start(command) {
                    self.again(&format!("{error:#}"), now);
                }
            }
            State::Waiting(_) | State::Stopped => {}
        }
    }

    /// It ended, or did not start: says when it is started again.
    fn again(&mut self, how: &str, now: Instant) {
        let Restart { wait, braked } = self.brake.ended(now);
        let name = &self.name;
        match braked {
            Some(lives) => say(format_args!(
                "{name} {how}, for the {lives}th time within a minute of its start. The fault is in the \
                 program or its configuration, and each start may cost an identify for each of shards {}: it \
                 is started again in {} min, or on SIGHUP once that is mended",
                self.shards,
                wait.as_secs().div_ceil(60),
            )),
            None if wait.is_zero() => say(format_args!("{name} {how}; it is started again")),
            None => say(format_args!("{name} {how}; it is started again in {} s", wait.as_secs())),
        }
        self.state = State::Waiting(now + wait);
    }

    /// Stops it, resumable: that is what a host does on SIGTERM.
    fn stop(&mut self) {
        match &self.state {
            State::Running(worker) => worker.signal(Signal::SIGTERM),
            State::Waiting(_) | State::Stopped => self.state = State::Stopped,
        }
    }

    /// Somebody has looked at what was wrong: it is started now, if it waits.
    fn release(&mut self) {
        self.brake.release();
        if let State::Waiting(at) = &mut self.state {
            *at = Instant::now();
        }
    }
}

/// Says it. A reader that has gone away is no reason to stop.
fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The signals that come from now on.
fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_for_the_command_line() {
        let command = |last: &str| ["bot", last].map(OsString::from);
        let error = check_command(&command("--token=a.b.c"), "a.b.c").expect_err("refused");
        assert!(!error.to_string().contains("a.b.c"));
        assert!(check_command(&command("--fast"), "a.b.c").is_ok());
        assert!(check_command(&command("--fast"), "").is_ok());
    }

    #[test]
    fn numbers_of_shards_are_read() {
        assert!(matches!(shard_count("auto"), Ok(ShardCount::Auto)));
        assert!(matches!(shard_count("16"), Ok(ShardCount::Fixed(_))));
        for bad in ["0", "-1", "many", ""] {
            assert!(shard_count(bad).is_err(), "{bad}");
        }
    }
}
