//! The place of one worker: who is in it, and what becomes of it.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::Signal;

use super::brake::{Brake, Restart};
use super::health::{Health, News, Report, Sign};
use super::layout::Range;
use super::say;
use super::status::{PlaceStatus, What};
use super::worker::{self, Output, Worker};

/// What a worker is started with.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// What it is called, on the backplane too.
    pub(crate) name: String,
    pub(crate) range: Range,
    pub(crate) command: Arc<[OsString]>,
    /// Variables that the cluster sets for all workers.
    pub(crate) env: Arc<[(String, String)]>,
    pub(crate) output: Output,
    /// What it waits by to take over, if it is to come up beside others.
    pub(crate) standby: Option<String>,
    /// Session starts of the bot a day.
    pub(crate) starts_per_day: u32,
    /// Whether nobody is to be started, until somebody wants it.
    pub(crate) is_paused: bool,
}

/// The place of one worker.
#[derive(Debug)]
pub(crate) struct Place {
    /// Tells it from others, whatever they are called.
    pub(crate) id: u64,
    pub(crate) spec: Spec,
    brake: Brake,
    state: State,
    /// How often somebody was started here.
    pub(crate) starts: u64,
    /// Whether the last one had finished all that it had when it stopped.
    has_ended_well: bool,
}

/// What there is in a place.
#[derive(Debug)]
enum State {
    Running {
        worker: Worker,
        health: Box<Health>,
        sign: Sign,
    },
    /// It was told to stop.
    Leaving(Worker),
    /// It is started then.
    Waiting(Instant),
    /// It has stopped for good.
    Stopped,
    /// Nobody is started.
    Paused,
}

impl Place {
    /// Nobody is in it yet.
    pub(crate) fn new(spec: Spec) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let now = Instant::now();
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            brake: Brake::new(spec.range.count(), spec.starts_per_day, now),
            state: if spec.is_paused { State::Paused } else { State::Waiting(now) },
            spec,
            starts: 0,
            has_ended_well: false,
        }
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.starts += 1;
        let Spec { name, range, command, env, output, standby, .. } = &self.spec;
        let mut env = env.to_vec();
        env.push(("SHARDWRIGHT_SHARDS".to_owned(), range.to_string()));
        env.push(("SHARDWRIGHT_WORKER".to_owned(), name.clone()));
        // Said in any case: the cluster's own environment may have one.
        env.push(("SHARDWRIGHT_STANDBY".to_owned(), standby.clone().unwrap_or_default()));
        let health = Box::new(Health::new(name, *range, standby.is_some()));
        let worker = Worker::start(command, &env, output)
            .with_context(|| format!("cannot run {}", command[0].to_string_lossy()))?;
        say(format_args!("{} started, pid {}, shards {range}", output.label, worker.pid()));
        self.brake.started(Instant::now());
        self.state = State::Running { worker, health, sign: Sign::Silent };
        Ok(())
    }

    /// Takes note of what happened, and starts what is due.
    pub(crate) fn look(&mut self, news: &News, patience: Duration) {
        let now = Instant::now();
        match &mut self.state {
            State::Running { worker, health, sign } => {
                if let Some(status) = worker.ended() {
                    self.again(&worker::told(status), now);
                    return;
                }
                *sign = health.look(news, patience);
                if let Sign::Hung(why) = sign {
                    say(format_args!("{} {why}; it is killed", self.spec.output.label));
                    worker.kill();
                }
            }
            State::Leaving(worker) => {
                if let Some(status) = worker.ended() {
                    say(format_args!("{} {}", self.spec.output.label, worker::told(status)));
                    self.has_ended_well = status.success();
                    self.state = State::Stopped;
                }
            }
            State::Waiting(at) if *at <= now => {
                if let Err(error) = self.start() {
                    self.again(&format!("{error:#}"), now);
                }
            }
            State::Waiting(_) | State::Stopped | State::Paused => {}
        }
    }

    /// It ended, or did not start: says when it is started again.
    fn again(&mut self, how: &str, now: Instant) {
        let name = &self.spec.output.label;
        if self.spec.standby.is_some() {
            say(format_args!("the new {name} {how}"));
            self.state = State::Stopped;
            return;
        }
        let Restart { wait, braked } = self.brake.ended(now);
        match braked {
            Some(lives) => say(format_args!(
                "{name} {how}, for the {lives}th time within a minute of its start. The fault is in the \
                 program or its configuration, and each start may cost an identify for each of shards {}: it \
                 is started again in {} min, or on SIGHUP once that is mended",
                self.spec.range,
                wait.as_secs().div_ceil(60),
            )),
            None if wait.is_zero() => say(format_args!("{name} {how}; it is started again")),
            None => say(format_args!("{name} {how}; it is started again in {} s", wait.as_secs())),
        }
        self.state = State::Waiting(now + wait);
    }

    /// Stops it, resumable: that is what a host does on SIGTERM.
    pub(crate) fn leave(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Running { worker, .. } => {
                worker.signal(Signal::SIGTERM);
                State::Leaving(worker)
            }
            State::Leaving(worker) => State::Leaving(worker),
            State::Waiting(_) | State::Stopped | State::Paused => State::Stopped,
        };
    }

    /// Kills it, if it has been told to stop and has not. Whether it had to be.
    pub(crate) fn kill(&mut self) -> bool {
        let State::Leaving(worker) = &self.state else { return false };
        say(format_args!("{} did not stop in time and is killed", self.spec.output.label));
        worker.kill();
        true
    }

    /// Somebody has looked at what was wrong: it is started now, if it waits.
    pub(crate) fn release(&mut self) {
        self.brake.release();
        if let State::Waiting(at) = &mut self.state {
            *at = Instant::now();
        }
    }

    /// It has taken over, or will, and is started again like any other from now on.
    pub(crate) fn stand_alone(&mut self) {
        self.spec.standby = None;
        if self.is_stopped() {
            self.state = State::Waiting(Instant::now());
        }
    }

    /// Whether it was told to stop, and ended with nothing left to do.
    pub(crate) fn has_ended_well(&self) -> bool {
        self.has_ended_well
    }

    /// Whether all of its shards are ready.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.sign(), Some(Sign::Ready { .. }))
    }

    /// What its worker last said, if there is one.
    pub(crate) fn report(&self) -> Option<&Report> {
        match &self.state {
            State::Running { health, .. } => health.report(),
            _ => None,
        }
    }

    /// Whether it has stopped for good.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// Whether it waits for its first worker.
    pub(crate) fn is_new(&self) -> bool {
        self.starts == 0
    }

    /// How its worker is doing, if there is one.
    pub(crate) fn sign(&self) -> Option<&Sign> {
        match &self.state {
            State::Running { sign, .. } => Some(sign),
            _ => None,
        }
    }

    /// Its process, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Running { worker, .. } | State::Leaving(worker) => Some(worker.pid()),
            State::Waiting(_) | State::Stopped | State::Paused => None,
        }
    }

    /// How it is, for people and programs.
    pub(crate) fn status(&self) -> PlaceStatus {
        let of = self.spec.range.count();
        let (what, text) = match &self.state {
            State::Running { sign: Sign::Ready { .. }, .. } => {
                (What::Running, format!("{of} of {of} shards ready"))
            }
            State::Running { sign: Sign::Starting(ready), .. } => {
                (What::Starting, format!("{ready} of {of} shards ready"))
            }
            State::Running { sign: Sign::Silent, .. } => {
                (What::Starting, "nothing was heard of it yet".to_owned())
            }
            State::Running { sign: Sign::Hung(why), .. } => {
                (What::Stopping, format!("it {why}, and is killed"))
            }
            State::Leaving(_) => (What::Stopping, "it was told to stop".to_owned()),
            State::Waiting(at) => {
                let wait = at.saturating_duration_since(Instant::now()).as_secs();
                let what = if self.brake.is_on() { What::Braked } else { What::Waiting };
                // In steps, so that it is not another text each second.
                (what, format!("it is started again in {}", rough(wait)))
            }
            State::Stopped => (What::Stopping, "it has stopped".to_owned()),
            State::Paused => (What::Paused, "its shards wait until it goes on".to_owned()),
        };
        PlaceStatus {
            range: self.spec.range.to_string(),
            pid: self.pid(),
            what,
            text,
            restarts: self.starts.saturating_sub(1),
            log: self.spec.output.log.is_some(),
        }
    }
}

/// A time as people say it.
fn rough(seconds: u64) -> String {
    match seconds {
        0..10 => "a moment".to_owned(),
        10..120 => format!("{} s", seconds / 10 * 10),
        _ => format!("{} min", seconds / 60),
    }
}
