//! Lives through a world.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hasher;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use shardwright_sim::{Action, Simulator};
use tokio::time::{Instant, advance, sleep_until};

use crate::host::Host;
use crate::judge;
use crate::network::Weather;
use crate::trouble::{GuildTrouble, What};
use crate::world::World;

/// What a new client knows nothing of: the identifies of the one before it.
const IDENTIFY_WINDOW: Duration = Duration::from_millis(5_250);

/// A host dies while it works, if there is anything to do in this time.
const WORK: Duration = Duration::from_secs(30);

/// Patience with a client that stops.
const STOP: Duration = Duration::from_secs(30);

/// What a good world was like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lived {
    /// Virtual hours times shards.
    pub shard_hours: f64,
    /// Dispatches that came to the host.
    pub events: u64,
    /// Sessions that began.
    pub identifies: u64,
    /// Sessions that were resumed.
    pub resumes: u64,
    /// Commands that were answered.
    pub commands: u64,
    /// Times that the host started anew.
    pub restarts: u64,
    /// Times that the bot went on with another number of shards.
    pub reshards: u64,
    /// A digest of all that the host was told, in its order.
    pub digest: u64,
}

/// What a broken promise looks like.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What must not be, in the order it was noticed.
    pub problems: Vec<String>,
    /// What the simulator saw around the first of them.
    pub history: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().try_for_each(|problem| writeln!(f, "  ! {problem}"))
    }
}

/// A time during which the machine stood still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freeze {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// Something that happens at a time of the world.
enum Moment {
    /// A trouble begins.
    Begins(usize),
    /// It ends.
    Ends(usize),
}

thread_local! {
    /// What panicked in this thread, while it lives through a world.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

impl World {
    /// Lives through it, on this thread, and judges.
    ///
    /// # Errors
    /// What was broken.
    pub fn run(&self) -> Result<Lived, Broken> {
        collect_panics();
        PANICS.set(Some(Vec::new()));
        // The client seeds its shards from this thread's generator.
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let live = || {
            runtime.block_on(async {
                let unix_ms = self.options.started_at_unix_ms.unwrap_or(0);
                shardwright::simulation::begin(Duration::from_millis(unix_ms));
                Life::new(self).live().await
            })
        };
        panic::catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|_| {
            let panics = PANICS.take().unwrap_or_default();
            Err(Broken { problems: panics, history: Vec::new() })
        })
    }
}

/// A world that is lived through.
pub(crate) struct Life<'a> {
    pub(crate) world: &'a World,
    pub(crate) simulator: Simulator,
    pub(crate) weather: Weather,
    pub(crate) host: Host<'a>,
    pub(crate) began: Instant,
    /// Until when the host looks at nothing.
    pub(crate) stalled_until: Instant,
    rng: fastrand::Rng,
}

impl<'a> Life<'a> {
    fn new(world: &'a World) -> Self {
        let simulator = Simulator::new(world.options.clone()).expect("valid options");
        let weather = Weather::new(simulator.clone(), world.seed, world.delay_max);
        let began = Instant::now();
        Self {
            host: Host::start(world, &simulator, &weather),
            world,
            simulator,
            weather,
            began,
            stalled_until: began,
            rng: fastrand::Rng::with_seed(world.seed),
        }
    }

    /// The troubles, the recovery, the judgement.
    async fn live(mut self) -> Result<Lived, Broken> {
        tokio::spawn(self.simulator.traffic());
        self.troubles().await;
        self.recover().await;
        let end = self.simulator.now();
        if self.host.problems.is_empty() {
            judge::judge(&mut self.host, self.world, &self.simulator, &self.weather);
        }
        self.end().await;
        for panic in PANICS.take().unwrap_or_default() {
            self.host.problem(&format!("a task panicked: {panic}"));
        }
        self.simulator.shutdown();
        if !self.host.problems.is_empty() {
            let history = judge::history(&self.simulator, &self.host.problems[0]);
            return Err(Broken { problems: self.host.problems, history });
        }
        let counts = self.simulator.look(|seen| seen.counts);
        Ok(Lived {
            shard_hours: f64::from(self.world.shards) * end.as_secs_f64() / 3_600.0,
            events: self.host.sessions.values().map(|log| log.came.len() as u64).sum::<u64>()
                + self.host.numbers.len() as u64,
            identifies: counts.identified,
            resumes: counts.resumed,
            commands: self.host.replies,
            restarts: self.host.restarts.len() as u64,
            reshards: self.host.resharded,
            digest: self.host.digest.finish(),
        })
    }

    /// Everything that goes wrong, at its time.
    async fn troubles(&mut self) {
        let mut moments: Vec<(Duration, Moment)> = Vec::new();
        for (index, trouble) in self.world.troubles.iter().enumerate() {
            moments.push((trouble.at, Moment::Begins(index)));
            if let Some(lasts) = trouble.lasts {
                moments.push((trouble.at + lasts, Moment::Ends(index)));
            }
        }
        moments.sort_by_key(|(at, _)| *at);
        for (at, moment) in moments {
            self.pass_until(self.began + at).await;
            match moment {
                Moment::Begins(index) => self.begin(index).await,
                Moment::Ends(index) => self.end_of(&self.world.troubles[index].what).await,
            }
            if !self.host.problems.is_empty() {
                return;
            }
        }
        self.pass_until(self.began + self.world.lasts).await;
    }

    /// The host does its work until then.
    async fn pass_until(&mut self, until: Instant) {
        let mut next_command = self.next_command();
        while Instant::now() < until && self.host.problems.is_empty() {
            let now = Instant::now();
            if now >= self.stalled_until {
                self.host.poll();
            }
            if now >= next_command {
                self.host.command();
                next_command = self.next_command();
            }
            sleep_until((now + self.world.poll_every).min(until)).await;
        }
    }

    fn next_command(&mut self) -> Instant {
        let wait_s = 2.0 * self.world.command_every_s * self.rng.f64();
        Instant::now() + Duration::from_secs_f64(wait_s)
    }

    /// A trouble begins.
    async fn begin(&mut self, index: usize) {
        let trouble = &self.world.troubles[index];
        let lasts = trouble.lasts.unwrap_or_default();
        match &trouble.what {
            What::Discord(action) | What::Spell(action, _) => self.act(action),
            What::Guild(what, index) => self.guild(*what, *index),
            What::Outage(host, how) => self.weather.set(host, Some(*how)),
            What::HostStalls => {
                self.stalled_until = self.stalled_until.max(Instant::now() + lasts);
            }
            What::HostRestarts(mode) => {
                if self.host.stopping.is_none() {
                    self.host.stop(*mode);
                }
            }
            What::HostDies => {
                if self.host.stopping.is_none() {
                    // Amid its work, which is when it matters.
                    let until = Instant::now() + WORK;
                    while !self.host.poll() && Instant::now() < until {
                        sleep_until(Instant::now() + self.world.poll_every).await;
                    }
                    self.host.die();
                }
            }
            What::Reshard(shards) => self.host.reshard(*shards),
            What::Burst(count) => (0..*count).for_each(|_| self.host.gateway_command()),
            What::RestartShard { shard, resume } => {
                let total = self.host.shard_total().unwrap_or(self.world.shards);
                self.host.restart_shard(shard % total, *resume);
            }
            What::Frozen => {
                let from = self.simulator.now();
                advance(lasts).await;
                let to = self.simulator.now();
                self.host.stood_still(Freeze { from, to });
            }
        }
    }

    /// A trouble ends.
    async fn end_of(&mut self, what: &What) {
        match what {
            What::Spell(_, end) => self.act(end),
            What::Guild(GuildTrouble::Fails, index) => {
                let guilds = self.simulator.guilds();
                if let Some(guild) = guilds.get(index % guilds.len().max(1)) {
                    self.act(&Action::GuildUp { guild: *guild });
                }
            }
            What::Outage(host, _) => self.weather.set(host, None),
            What::HostRestarts(_) | What::HostDies => self.restart().await,
            _ => {}
        }
    }

    fn guild(&mut self, what: GuildTrouble, index: usize) {
        let guilds = self.simulator.guilds();
        let Some(guild) = guilds.get(index % guilds.len().max(1)).copied() else { return };
        match what {
            GuildTrouble::Fails => self.act(&Action::GuildDown { guild }),
            GuildTrouble::Left => self.act(&Action::LeaveGuild { guild }),
            GuildTrouble::Joined => self.act(&Action::JoinGuild {}),
        }
    }

    /// A stopped client makes room for a new one.
    pub(crate) async fn restart(&mut self) {
        if self.host.stopping.is_none() {
            return;
        }
        self.until_closed().await;
        if self.world.keeps.is_none() {
            sleep_until(Instant::now() + IDENTIFY_WINDOW).await;
        }
        self.host.start_anew();
    }

    /// Waits for the end of a client that stops.
    async fn until_closed(&mut self) {
        let deadline = Instant::now() + STOP;
        while !self.host.closed {
            self.host.poll();
            if Instant::now() > deadline {
                self.host.problem(&format!("the client did not stop within {} s", STOP.as_secs()));
                return;
            }
            sleep_until(Instant::now() + self.world.poll_every).await;
        }
    }

    /// The client stops in time.
    async fn end(&mut self) {
        self.host.stop(shardwright::shard::StopMode::Close);
        self.until_closed().await;
    }

    /// Has the simulator do something.
    pub(crate) fn act(&mut self, action: &Action) {
        if let Err(error) = self.simulator.act(action) {
            self.host.problem(&format!("the simulator refused {action:?}: {error}"));
        }
    }
}

/// Keeps what panics while a thread lives through a world, instead of printing it.
fn collect_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = PANICS.try_with(|panics| {
                let mut panics = panics.borrow_mut();
                panics.as_mut().map(|panics| panics.push(info.to_string())).is_some()
            });
            if kept != Ok(true) {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes a seed worth printing. Worlds with kept sessions and reshards, with one, with neither.
    #[test]
    fn a_world_repeats_itself() {
        for (keeps, reshards) in [(false, false), (true, false), (false, true), (true, true)] {
            let is_such = |world: &World| {
                (world.keeps.is_some(), world.reshards.is_some()) == (keeps, reshards)
                    && (3.0..9.0).contains(&world.shard_hours())
            };
            // In some all reshards fail, for there are no session starts left, say.
            let is_lively = |once: &Lived| {
                once.events > 100
                    && once.identifies > 0
                    && once.resumes > 0
                    && (once.reshards > 0) == reshards
                    && (once.restarts > 0 || !keeps)
            };
            let mut lives = (47..1_000).map(World::new).filter(is_such).map(|world| {
                let once = world.run().expect("a good world");
                (world, once)
            });
            let (world, once) = lives.find(|(_, once)| is_lively(once)).expect("some day");
            assert_eq!(once, world.run().expect("a good world"), "{world}");
        }
    }
}
