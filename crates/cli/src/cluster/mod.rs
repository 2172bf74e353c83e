//! `shardwright cluster`: a bot in several processes of one machine.

mod brake;
mod control;
mod health;
mod layout;
mod leftovers;
mod log_file;
mod place;
mod reshard;
mod rollout;
mod settings;
mod status;
mod worker;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::Args;
use shardwright::client::GatewayInfo;
use shardwright::{Config, ErrorKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::runtime::Handle;

use self::control::{Control, Request};
pub(crate) use self::control::{Wish, ask};
use self::health::{News, Sign};
pub(crate) use self::layout::Layout;
use self::leftovers::Leftovers;
use self::log_file::LogFile;
pub(crate) use self::log_file::path_of as log_path;
use self::place::{Place, Spec};
use self::reshard::Reshard;
use self::rollout::{Outcome, Patience, Rollout, Teller, Told, Turn};
pub(crate) use self::settings::{Arguments, ShardCount};
use self::settings::{Settings, WorkerCount, shard_count};
pub(crate) use self::status::ClusterStatus;
use self::worker::Output;
use crate::dashboard::Server;

/// Time between two looks at the workers.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Time between two words on how many shards are ready.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Why nothing else is begun.
const BUSY: &str = "another rollout is under way; wait until it is done";

/// Session starts that bots have, where Discord did not say.
const STARTS_PER_DAY: u32 = 1_000;

/// Restarts the workers of a running cluster, one after the other, each when the one before it is ready.
///
/// Their shards resume: that costs no session start, and no event is lost. With COMMAND they run another program
/// from then on, with --workers there are more or fewer of them. When one does not get ready, all go back to what
/// ran before.
///
/// With --shards the bot gets another number of shards: new workers come up beside those that run, which takes a
/// session start for each shard, and take over from all of them at once. No event is lost; what may have been
/// delivered before is flagged as replayed.
#[derive(Debug, Args)]
pub(crate) struct DeployArguments {
    /// The directory of the cluster
    #[arg(long, default_value = ".shardwright")]
    directory: PathBuf,
    /// Another number of processes
    #[arg(long)]
    workers: Option<u32>,
    /// Another number of shards, or what Discord recommends by now
    #[arg(long, value_name = "auto|N", value_parser = shard_count)]
    shards: Option<ShardCount>,
    /// Another program and its arguments
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Has a running cluster restart its workers, and waits until that is done.
pub(crate) fn deploy(arguments: DeployArguments) -> anyhow::Result<()> {
    let DeployArguments { directory, workers, shards, command } = arguments;
    let command = (!command.is_empty()).then_some(command);
    let wish = Wish::Deploy { command, workers, shards };
    ask(&std::path::absolute(directory)?, &wish, |line| println!("{line}")).map(drop)
}

/// Runs the workers until they are stopped.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = arguments.settings()?;
    // The range of one worker says nothing of the cluster.
    let env = |name: &str| match name {
        "SHARDWRIGHT_SHARDS" => None,
        name => settings.env(name),
    };
    let config = Config::from_json(r#"{"intents": 0}"#, env)?;
    let token = env("DISCORD_TOKEN").unwrap_or_default();
    check_command(settings.command.iter().map(|part| part.to_string_lossy()), &token)?;
    let (info, shards) = match (crate::plan::ask(&config).await, settings.shards) {
        (Ok(info), ShardCount::Auto) => (Some(info.clone()), info.shards),
        (Ok(info), ShardCount::Fixed(shards)) => (Some(info), shards.get()),
        // Each worker asks again; a number of shards is enough to begin with.
        (Err(error), ShardCount::Fixed(shards)) if error.kind() == ErrorKind::Io => {
            eprintln!("{error}; going on with {shards} shards");
            (None, shards.get())
        }
        (Err(error), _) => return Err(error.into()),
    };
    let layout = Layout::new(shards, settings.workers.of(shards))?;
    if settings.check {
        match &info {
            Some(info) => print!("{}", crate::plan::plan(info, layout)),
            None => bail!("there is no plan without what Discord says"),
        }
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.directory)
        .with_context(|| format!("cannot make {}", settings.directory.display()))?;
    let control = Control::open(&settings.directory)?;
    let news = News::follow(&config)?;
    let starts_per_day = info.map_or(STARTS_PER_DAY, |info| info.session_start_limit.total);
    let dashboard = match settings.dashboard {
        Some(address) => Some(open_dashboard(address, &settings).await?),
        None => None,
    };
    let cluster = Cluster::new(settings, config, token, layout, starts_per_day, news);
    let cluster = tokio::task::spawn_blocking(move || cluster.run(&control));
    if let Some(dashboard) = dashboard {
        // What becomes of it is no reason to stop the bot.
        tokio::spawn(async move {
            if let Err(error) = dashboard.serve().await {
                say(format_args!("the dashboard has ended: {error:#}"));
            }
        });
    }
    cluster.await?
}

/// The dashboard of this cluster.
async fn open_dashboard(address: SocketAddr, settings: &Settings) -> anyhow::Result<Server> {
    let env = |name: &str| settings.env(name);
    let server = Server::open(address, env, Some(settings.directory.clone())).await?;
    say(format_args!("the dashboard is at {}", server.url()));
    Ok(server)
}

/// The token is not to be where every user of the machine can read it.
fn check_command<T: AsRef<str>>(
    mut command: impl Iterator<Item = T>,
    token: &str,
) -> anyhow::Result<()> {
    ensure!(
        token.is_empty() || !command.any(|part| part.as_ref().contains(token)),
        "the token stands in the command, where everybody on this machine can read it; leave it out: each \
         worker has it in DISCORD_TOKEN"
    );
    Ok(())
}

/// What happens to a cluster.
enum Event {
    Signal(i32),
    Request(Request),
    /// What Discord says, for a wish that depends on it.
    Answer(Wish, Teller, Result<GatewayInfo, shardwright::Error>),
}

/// What is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goal {
    command: Arc<[OsString]>,
    layout: Layout,
}

/// The workers.
struct Cluster {
    settings: Settings,
    config: Config,
    token: String,
    /// What runs, or is to run when the rollout is done, and what ran before that.
    goal: Goal,
    before: Goal,
    starts_per_day: u32,
    news: News,
    places: Vec<Place>,
    rollout: Option<Rollout>,
    reshard: Option<Reshard>,
    /// Shards that were ready when that was said last, and when.
    told_ready: (u32, Instant),
    leftovers: Leftovers,
}

impl Cluster {
    fn new(
        settings: Settings,
        config: Config,
        token: String,
        layout: Layout,
        starts_per_day: u32,
        news: News,
    ) -> Self {
        let goal = Goal { command: settings.command.clone().into(), layout };
        let mut cluster = Self {
            goal: goal.clone(),
            before: goal.clone(),
            leftovers: Leftovers::of(&settings.directory),
            settings,
            config,
            token,
            starts_per_day,
            news,
            places: Vec::new(),
            rollout: None,
            reshard: None,
            told_ready: (0, Instant::now()),
        };
        cluster.places = cluster.specs(&goal, None).map(Place::new).collect();
        cluster
    }

    /// What the workers of a goal are started with; if they come up beside others, they wait by that name.
    fn specs(&self, goal: &Goal, standby: Option<String>) -> impl Iterator<Item = Spec> + use<> {
        let Goal { command, layout } = goal.clone();
        let width = (layout.workers - 1).to_string().len();
        let env: Arc<[_]> = self.settings.env_of_workers().into();
        let (directory, max_bytes) = (self.settings.directory.clone(), self.settings.log_bytes);
        let starts_per_day = self.starts_per_day;
        layout.ranges().enumerate().map(move |(number, range)| Spec {
            name: format!("worker {number}"),
            range,
            command: Arc::clone(&command),
            env: Arc::clone(&env),
            output: Output {
                label: format!("worker {number:<width$}"),
                log: open_log(&log_path(&directory, &format!("worker {number}")), max_bytes),
            },
            standby: standby.clone(),
            starts_per_day,
            is_paused: false,
        })
    }

    /// Runs the workers until all have stopped.
    fn run(mut self, control: &Control) -> anyhow::Result<()> {
        let (events, happened) = channel();
        signals(events.clone()).context("cannot wait for signals")?;
        let asked = events.clone();
        control.listen(move |request| drop(asked.send(Event::Request(request))))?;
        self.leftovers.stop(self.settings.stop_timeout);
        // A program that is not there is no reason to try for ever.
        for place in &mut self.places {
            place.start()?;
        }
        let mut kill_at: Option<Instant> = None;
        let mut was_killed = false;
        loop {
            match next(&happened)? {
                Some(Event::Signal(SIGHUP)) if kill_at.is_none() => {
                    self.places.iter_mut().for_each(Place::release);
                    self.begin_deploy(None, self.goal.layout, Teller(None));
                }
                Some(Event::Request(Request { wish: Wish::Status, told })) => {
                    let _ = told.send(Told::Status(self.status()));
                }
                Some(Event::Request(Request { wish, told })) if kill_at.is_none() => {
                    self.fulfil(wish, Teller(Some(told)), &events);
                }
                Some(Event::Answer(wish, teller, info)) if kill_at.is_none() => {
                    self.begin_reshard(wish, teller, info);
                }
                Some(Event::Request(Request { told, .. })) => {
                    Teller(Some(told)).failed(format_args!("the cluster stops"));
                }
                Some(Event::Answer(_, teller, _)) => {
                    teller.failed(format_args!("the cluster stops"));
                }
                Some(Event::Signal(SIGINT | SIGTERM)) if kill_at.is_none() => {
                    let seconds = self.settings.stop_timeout.as_secs();
                    say(format_args!(
                        "stopping; workers have {seconds} s, another Ctrl-C kills them"
                    ));
                    kill_at = Some(Instant::now() + self.settings.stop_timeout);
                    if let Some(rollout) = self.rollout.take() {
                        rollout.give_up();
                    }
                    if let Some(reshard) = self.reshard.take() {
                        self.places.extend(reshard.give_up());
                        self.news.say(None);
                    }
                    self.places.iter_mut().for_each(Place::leave);
                }
                Some(Event::Signal(SIGINT | SIGTERM)) => kill_at = Some(Instant::now()),
                Some(Event::Signal(_)) | None => {}
            }
            let new = self.reshard.iter_mut().flat_map(|reshard| &mut reshard.new);
            for place in self.places.iter_mut().chain(new) {
                place.look(&self.news, self.settings.hang_timeout);
            }
            let new = self.reshard.iter().flat_map(|reshard| &reshard.new);
            self.leftovers.note(self.places.iter().chain(new).filter_map(Place::pid));
            let Some(at) = kill_at else {
                self.roll_on();
                self.reshard_on();
                self.tell_progress();
                continue;
            };
            if self.places.iter().all(Place::is_stopped) {
                ensure!(!was_killed, "some workers had to be killed; their sessions may be lost");
                return Ok(());
            }
            if Instant::now() >= at && !was_killed {
                for place in &mut self.places {
                    was_killed |= place.kill();
                }
            }
        }
    }

    /// One step of the rollout, if there is one.
    fn roll_on(&mut self) {
        let Some(rollout) = &mut self.rollout else { return };
        match rollout.step(&mut self.places) {
            Outcome::GoesOn => return,
            Outcome::Done => {}
            Outcome::Undone => self.goal = self.before.clone(),
        }
        self.rollout = None;
    }

    /// One step to another number of shards, if that is what is done.
    fn reshard_on(&mut self) {
        let Some(reshard) = &mut self.reshard else { return };
        match reshard.step(&mut self.places, &self.news) {
            Outcome::GoesOn => return,
            Outcome::Done => self.goal = reshard.goal.clone(),
            Outcome::Undone => {}
        }
        self.reshard = None;
    }

    /// How the workers are.
    fn status(&self) -> ClusterStatus {
        let workers = self.places.iter().map(|it| (it.spec.name.clone(), it.status())).collect();
        let rollout = self.rollout.as_ref().map(Rollout::text);
        ClusterStatus { workers, rollout: rollout.or(self.reshard.as_ref().map(Reshard::text)) }
    }

    /// Begins to do what is wished, if that can be.
    fn fulfil(&mut self, wish: Wish, teller: Teller, events: &Sender<Event>) {
        match wish {
            Wish::Deploy { command, workers, shards: None } => {
                let Layout { shards, workers: present } = self.goal.layout;
                match Layout::new(shards, workers.unwrap_or(present)) {
                    Ok(layout) => self.begin_deploy(command, layout, teller),
                    Err(error) => teller.failed(format_args!("{error}")),
                }
            }
            // That depends on what Discord says.
            wish @ Wish::Deploy { .. } => {
                let (config, events) = (self.config.clone(), events.clone());
                Handle::current().spawn(async move {
                    let info = crate::plan::ask(&config).await;
                    // A cluster that has gone does nothing with it.
                    let _ = events.send(Event::Answer(wish, teller, info));
                });
            }
            Wish::Restart { worker } | Wish::Unpause { worker } => {
                self.begin_turn(&worker, false, teller);
            }
            Wish::Pause { worker } => self.begin_turn(&worker, true, teller),
            // Told at once.
            Wish::Status => {}
        }
    }

    /// Whether something is changed already.
    fn is_busy(&self) -> bool {
        self.rollout.is_some() || self.reshard.is_some()
    }

    /// Stops one worker, and starts it again unless it is to pause.
    fn begin_turn(&mut self, worker: &str, is_paused: bool, teller: Teller) {
        if self.is_busy() {
            return teller.failed(format_args!("{BUSY}"));
        }
        let Some(place) = self.places.iter().find(|place| place.spec.name == worker) else {
            return teller.failed(format_args!("this cluster has no {worker:?}"));
        };
        let turn =
            Turn { stop: vec![place.id], start: vec![Spec { is_paused, ..place.spec.clone() }] };
        self.rollout = Some(Rollout::new([turn], false, self.patience(), teller));
    }

    /// How long workers may take.
    fn patience(&self) -> Patience {
        Patience { stop: self.settings.stop_timeout, ready: self.settings.ready_timeout }
    }

    /// What is to run, if that can be begun now; else that is told.
    fn goal_of(
        &self,
        command: Option<Vec<String>>,
        layout: Layout,
        teller: Teller,
    ) -> Option<(Goal, Teller)> {
        if self.is_busy() {
            teller.failed(format_args!("{BUSY}"));
            return None;
        }
        if let Err(error) = check_command(command.iter().flatten(), &self.token) {
            teller.failed(format_args!("{error}"));
            return None;
        }
        let command: Arc<[OsString]> = match command {
            Some(command) => command.into_iter().map(OsString::from).collect(),
            None => Arc::clone(&self.goal.command),
        };
        Some((Goal { command, layout }, teller))
    }

    /// Begins to run the bot with another number of shards, if that can be.
    fn begin_reshard(
        &mut self,
        wish: Wish,
        teller: Teller,
        info: Result<GatewayInfo, shardwright::Error>,
    ) {
        let Wish::Deploy { command, workers, shards } = wish else { return };
        let info = match info {
            Ok(info) => info,
            Err(error) => return teller.failed(format_args!("{error}; nothing was changed")),
        };
        let shards = match shards {
            Some(ShardCount::Fixed(shards)) => shards.get(),
            Some(ShardCount::Auto) | None => info.shards,
        };
        let present = self.goal.layout;
        let workers = workers.unwrap_or(match self.settings.workers {
            each @ WorkerCount::ShardsEach(_) => each.of(shards),
            WorkerCount::Fixed(_) => present.workers,
        });
        let layout = match Layout::new(shards, workers) {
            Ok(layout) => layout,
            Err(error) => return teller.failed(format_args!("{error}")),
        };
        if shards == present.shards {
            return self.begin_deploy(command, layout, teller);
        }
        if let Some(place) = self.places.iter().find(|place| place.spec.is_paused) {
            return teller.failed(format_args!(
                "{} is paused, and its guilds with it; let it go on first",
                place.spec.name
            ));
        }
        let Some((goal, teller)) = self.goal_of(command, layout, teller) else { return };
        let (limit, reserve) = (info.session_start_limit, self.config.budget_reserve);
        if limit.remaining.saturating_sub(reserve) < shards {
            return teller.failed(format_args!(
                "{shards} shards take {shards} session starts; {} are left, of which {reserve} are kept in \
                 reserve, until the limit resets in {:.1} h",
                limit.remaining,
                limit.reset_after as f64 / 3_600_000.0
            ));
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let standby = format!("{}-to-{shards}-{}", present.shards, since_1970.as_millis());
        let new = self.specs(&goal, Some(standby.clone())).map(Place::new).collect();
        teller.line(format_args!(
            "going from {} shards in {} workers to {shards} shards in {workers}",
            present.shards, present.workers
        ));
        let concurrency = limit.max_concurrency;
        let reshard = Reshard::new(goal, standby, new, concurrency, self.patience(), teller);
        self.reshard = Some(reshard);
    }

    /// Begins to run another program or another number of workers, or the same ones anew.
    fn begin_deploy(&mut self, command: Option<Vec<String>>, layout: Layout, teller: Teller) {
        let Some((goal, teller)) = self.goal_of(command, layout, teller) else { return };
        let Layout { shards, workers } = goal.layout;
        let turns = turns(&self.places, self.specs(&goal, None));
        teller.line(format_args!("rolling over to {workers} workers with {shards} shards"));
        let can_undo = goal != self.goal;
        self.rollout = Some(Rollout::new(turns, can_undo, self.patience(), teller));
        self.before = std::mem::replace(&mut self.goal, goal);
    }

    /// Says how many shards are ready, when that has changed.
    fn tell_progress(&mut self) {
        if self.reshard.is_some() {
            return;
        }
        let ready_of = |place: &Place| match place.sign() {
            Some(Sign::Starting(ready)) => *ready,
            Some(Sign::Ready { .. }) => place.spec.range.count(),
            _ => 0,
        };
        let ready = self.places.iter().map(ready_of).sum();
        let (told, at) = self.told_ready;
        let all = self.goal.layout.shards;
        if ready != told && (ready == all || at.elapsed() >= PROGRESS_EVERY) {
            say(format_args!("{ready} of {all} shards are ready"));
            self.told_ready = (ready, Instant::now());
        }
    }
}

/// Who makes room for whom: each of the new workers starts once all that have some of its shards have stopped.
fn turns(places: &[Place], specs: impl Iterator<Item = Spec>) -> Vec<Turn> {
    let mut old = places.iter().peekable();
    let turn = |spec: Spec| {
        let mut stop = Vec::new();
        while let Some(place) = old.next_if(|place| place.spec.range.from <= spec.range.to) {
            stop.push(place.id);
        }
        Turn { stop, start: vec![spec] }
    };
    specs.map(turn).collect()
}

/// The file of what a worker says, if that is wanted and can be had.
fn open_log(path: &std::path::Path, max_bytes: u64) -> Option<Arc<Mutex<LogFile>>> {
    if max_bytes == 0 {
        return None;
    }
    match LogFile::open(path, max_bytes) {
        Ok(log) => Some(Arc::new(Mutex::new(log))),
        Err(error) => {
            say(format_args!("nothing is kept in {}: {error}", path.display()));
            None
        }
    }
}

/// Says it. A reader that has gone away is no reason to stop.
fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// What happens next, if anything does before the next look at the workers.
fn next(happened: &Receiver<Event>) -> anyhow::Result<Option<Event>> {
    match happened.recv_timeout(LOOK_EVERY) {
        Ok(event) => Ok(Some(event)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => bail!("signals are not heard any more"),
    }
}

/// Hands on the signals that come from now on.
fn signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(shards: u32, workers: u32) -> Vec<Spec> {
        let layout = Layout::new(shards, workers).expect("a layout");
        let spec = |range| Spec {
            name: String::new(),
            range,
            command: Arc::new([]),
            env: Arc::new([]),
            output: Output { label: String::new(), log: None },
            standby: None,
            starts_per_day: 1_000,
            is_paused: false,
        };
        layout.ranges().map(spec).collect()
    }

    #[test]
    fn a_token_is_not_for_the_command_line() {
        let error = check_command(["bot", "--token=a.b.c"].iter(), "a.b.c").expect_err("refused");
        assert!(!error.to_string().contains("a.b.c"));
        assert!(check_command(["bot", "--fast"].iter(), "a.b.c").is_ok());
        assert!(check_command(["bot", "--fast"].iter(), "").is_ok());
    }

    #[test]
    fn nobody_starts_before_its_shards_are_free() {
        for (before, after) in [(4, 4), (4, 8), (4, 3), (3, 4), (1, 5), (5, 1)] {
            let old: Vec<_> = specs(16, before).into_iter().map(Place::new).collect();
            let mut running: Vec<_> = old.iter().collect();
            let mut started = 0;
            for Turn { stop, start } in turns(&old, specs(16, after).into_iter()) {
                running.retain(|place| !stop.contains(&place.id));
                for spec in start {
                    started += 1;
                    let taken = |shard| running.iter().any(|old| old.spec.range.contains(shard));
                    assert!(!(spec.range.from..=spec.range.to).any(taken), "{before} to {after}");
                }
            }
            assert!(running.is_empty() && started == after, "{before} to {after}");
        }
    }
}
