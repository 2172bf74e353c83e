//! Keeps the sessions of a client in a file, so that a restart resumes them.
//!
//! Nothing of it is on the way of events: a few times a second it looks at the shards' snapshots and
//! stores what changed. Whatever goes wrong with the file is told, and no shard waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::fleet::Fleet;
use super::shared::lock;
use super::startup::Plan;
use crate::config::{Config, Delivery, check_directory};
use crate::error::Error;
use crate::identify::Gate;
use crate::queue::Progress;
use crate::sessions::{
    FRESH, History, LastStart, Owner, SessionFile, Stored, TakenFile, Write, session_tag, wall_ms,
};
use crate::shard::{GuildIndex, Guilds, Session};
use crate::simulation;

/// Time between two looks at the shards.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Time between two notes that sessions without news are still alive: a small part of [`FRESH`].
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Time between two writes of a shard's guilds, which come in thousands when it starts.
const GUILDS_EVERY: Duration = Duration::from_secs(1);

/// Patience with a disk while something waits for it.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// The keeper of one client's sessions.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    delivery: Delivery,
    owner: Owner,
    file: Mutex<Option<Arc<SessionFile>>>,
    /// Whether the last write of how far the host has come failed, for `at_most_once`.
    taken_failed: Arc<AtomicBool>,
    /// What is in the file.
    saved: Mutex<Saved>,
    /// Why the file cannot be used at the moment.
    trouble: Mutex<Option<String>>,
    /// There is news that should not wait for the next look.
    hurry: Notify,
}

/// What is in the file.
#[derive(Debug, Default)]
struct Saved {
    sessions: BTreeMap<u32, Session>,
    /// The generation of each shard's guilds, and when it was written.
    guilds: BTreeMap<u32, (u64, Instant)>,
    alive_at: Option<Instant>,
}

impl Keeper {
    /// The keeper that the config asks for, if any.
    ///
    /// # Errors
    /// `InvalidConfig` when the file could never be made.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let Some(path) = config.sessions.clone() else { return Ok(None) };
        check_directory("sessions", &path)?;
        Ok(Some(Self {
            path,
            delivery: config.delivery,
            owner: Owner::new(config),
            file: Mutex::default(),
            taken_failed: Arc::default(),
            saved: Mutex::default(),
            trouble: Mutex::default(),
            hurry: Notify::new(),
        }))
    }

    /// Opens the file. Without it everything goes on, as it would without a keeper.
    pub(super) async fn open(&self) {
        let path = self.path.clone();
        match blocking(move || SessionFile::open(&path)).await {
            Ok(file) => *lock(&self.file) = Some(Arc::new(file)),
            Err(error) => self.note("cannot be opened", Err(error)),
        }
    }

    /// Why sessions cannot be kept at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// There is news that should not wait.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    // -- at the start -------------------------------------------------------------------------

    /// What the last process started with, and its shards whose sessions can be resumed.
    pub(super) async fn last_start(&self) -> Option<(LastStart, BTreeSet<u32>)> {
        let owner = self.owner.clone();
        let found = self.ask(move |file| {
            let Some(start) = file.last_start(&owner.bot)? else { return Ok(None) };
            let shards = file.resumable(&owner, start.shard_total, wall_ms())?;
            Ok(Some((start, shards)))
        });
        found.await.flatten()
    }

    /// Opens what says how far the host has come with so many shards, for `at_most_once`.
    pub(super) async fn open_taken(&self, shard_total: NonZeroU32) -> Option<TakenFile> {
        if self.delivery == Delivery::AtLeastOnce {
            return None;
        }
        let (path, bot) = (self.path.clone(), self.owner.bot.clone());
        let failed = Arc::clone(&self.taken_failed);
        let opened = blocking(move || {
            TakenFile::open(&path, &bot, shard_total.get(), failed)
                .map_err(|error| error.to_string())
        });
        match opened.await {
            Ok(taken) => Some(taken),
            Err(error) => {
                self.note("has a file beside it that cannot be opened", Err(error));
                None
            }
        }
    }

    /// The sessions to go on with, and where each goes on.
    pub(super) async fn load(
        &self,
        plan: &Plan,
        taken: Option<&TakenFile>,
    ) -> BTreeMap<u32, (Session, Arc<GuildIndex>)> {
        let total = plan.total.get();
        let owner = self.owner.clone();
        let start = plan.as_start();
        let found = self.ask(move |file| {
            file.note_start(&owner.bot, &start)?;
            file.load(&owner, total, wall_ms())
        });
        let mut sessions = BTreeMap::new();
        for Stored { shard_id, mut session, guilds } in found.await.unwrap_or_default() {
            // As with READY's: the token does not leave TLS because of what a file says.
            session.resume_url = session.resume_url.filter(|url| url.tls || !plan.gateway.tls);
            let tag = session_tag(&session.id);
            let taken = taken.and_then(|taken| taken.read(shard_id, tag));
            session.seq = session.seq.max(taken.unwrap_or(0));
            let guilds = guilds.and_then(|bytes| Guilds::from_bytes(&bytes)).unwrap_or_default();
            sessions.insert(shard_id, (session, Arc::new(guilds.into())));
        }
        sessions.retain(|shard_id, _| plan.ids.contains(shard_id));
        if !sessions.is_empty() {
            let (count, minutes) = (sessions.len(), FRESH.as_secs() / 60);
            info!("{count} sessions that lived in the last {minutes} minutes are resumed");
        }
        lock(&self.saved).sessions =
            sessions.iter().map(|(id, (session, _))| (*id, session.clone())).collect();
        sessions
    }

    /// The bot goes on with another number of shards; the sessions of the old ones end.
    pub(super) async fn reshard(&self, plan: &Plan) {
        let (bot, start) = (self.owner.bot.clone(), plan.as_start());
        *lock(&self.saved) = Saved::default();
        self.ask(move |file| {
            file.note_start(&bot, &start)?;
            file.forget_others(&bot, start.shard_total)
        })
        .await;
        self.hurry();
    }

    /// What follows how far the host comes with a shard, which begins with this session.
    pub(super) fn progress(
        &self,
        taken: Option<&TakenFile>,
        shard_id: u32,
        session: Option<&Session>,
    ) -> Arc<Progress> {
        let writer = taken.map(|taken| taken.writer(shard_id));
        let on_taken = writer.map(|writer| Box::new(writer) as _);
        let progress = Progress::new(self.delivery, on_taken);
        if let Some(session) = session {
            progress.begin(session_tag(&session.id), session.seq);
        }
        Arc::new(progress)
    }

    // -- identifies ---------------------------------------------------------------------------

    /// Tells the gate of the identifies of the last 24 hours.
    pub(super) async fn recall(&self, gate: &mut Gate) {
        let (bot, now_ms) = (self.owner.bot.clone(), wall_ms());
        let history = self.ask(move |file| file.history(&bot, now_ms)).await;
        let Some(History { identifies, unanswered }) = history else { return };
        let now = Instant::now().into_std();
        let moment = |(at_ms, shard_id): (i64, u32)| {
            let ago = Duration::from_millis(u64::try_from(now_ms - at_ms).unwrap_or(0));
            // A machine that runs for less than a day has no moment for all of them.
            now.checked_sub(ago).map(|at| (at, shard_id))
        };
        gate.remember(identifies.into_iter().filter_map(moment), unanswered);
    }

    /// An identify is about to go out.
    pub(super) async fn note_identify(&self, shard_id: u32) {
        let bot = self.owner.bot.clone();
        self.ask(move |file| file.note_identify(&bot, shard_id, wall_ms())).await;
    }

    /// An identify led to READY.
    pub(super) async fn note_answered(&self) {
        let bot = self.owner.bot.clone();
        self.ask(move |file| file.note_answered(&bot)).await;
    }

    // -- while it runs ------------------------------------------------------------------------

    /// Stores what changes, for ever. `fleet` shows the shards.
    pub(super) async fn run(&self, fleet: impl Fn(&mut dyn FnMut(&Fleet))) {
        loop {
            tokio::select! {
                biased;
                () = sleep(LOOK_EVERY) => {}
                () = self.hurry.notified() => {}
            }
            let mut job = None;
            fleet(&mut |fleet| job = self.look(fleet, false));
            if let Some(job) = job {
                self.saved(blocking(move || job.run()).await);
            }
        }
    }

    /// Stores what has changed, here and now.
    pub(super) fn save(&self, fleet: &Fleet) {
        if let Some(job) = self.look(fleet, true) {
            self.saved(job.run());
        }
    }

    /// What there is to store, if anything; at the end without a thought for how often.
    fn look(&self, fleet: &Fleet, is_end: bool) -> Option<Job> {
        let file = lock(&self.file).clone()?;
        let saved = lock(&self.saved);
        let mut job = Job {
            file,
            owner: self.owner.clone(),
            shard_total: fleet.total.get(),
            writes: Vec::new(),
            alive: Vec::new(),
            generations: Vec::new(),
        };
        let is_time = saved.alive_at.is_none_or(|at| at.elapsed() >= ALIVE_EVERY);
        for (&shard_id, member) in &fleet.members {
            let known = saved.sessions.get(&shard_id);
            let Some(mut session) = member.status.get().session else {
                if known.is_some() {
                    job.writes.push(Write::Forget(shard_id));
                }
                continue;
            };
            if let Some(progress) = &member.progress {
                // A session that began between the two looks is stored with the next one.
                let Some(done) = progress.done(session_tag(&session.id), session.seq) else {
                    continue;
                };
                session.seq = done;
            }
            let index = member.guilds.lock();
            let generation = index.generation();
            let is_due = match saved.guilds.get(&shard_id) {
                None => true,
                Some((written, at)) => {
                    *written != generation && (is_end || at.elapsed() >= GUILDS_EVERY)
                }
            };
            let guilds = is_due.then(|| index.to_bytes());
            drop(index);
            if is_due {
                job.generations.push((shard_id, generation));
            }
            if known != Some(&session) || is_due {
                job.writes.push(Write::Keep(Stored { shard_id, session, guilds }));
            } else if is_time {
                job.alive.push(shard_id);
            }
        }
        (!job.writes.is_empty() || !job.alive.is_empty()).then_some(job)
    }

    /// A job is done.
    fn saved(&self, result: Result<Job, String>) {
        match result {
            Ok(job) => {
                let mut saved = lock(&self.saved);
                for write in job.writes {
                    match write {
                        Write::Keep(Stored { shard_id, session, .. }) => {
                            saved.sessions.insert(shard_id, session);
                        }
                        Write::Forget(shard_id) => {
                            saved.sessions.remove(&shard_id);
                            saved.guilds.remove(&shard_id);
                        }
                    }
                }
                let now = Instant::now();
                for (shard_id, generation) in job.generations {
                    saved.guilds.insert(shard_id, (generation, now));
                }
                if !job.alive.is_empty() || saved.alive_at.is_none() {
                    saved.alive_at = Some(Instant::now());
                }
                drop(saved);
                let failed = self.taken_failed.load(Ordering::Relaxed);
                let disk = if failed { Err("a write failed".to_owned()) } else { Ok(()) };
                self.note("has a file beside it that cannot be written", disk);
            }
            Err(error) => self.note("cannot be written", Err(error)),
        }
    }

    // -- inside -------------------------------------------------------------------------------

    /// Asks the file; `None` when there is none, or it fails or takes too long.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&SessionFile) -> rusqlite::Result<T> + Send + 'static,
    ) -> Option<T> {
        let file = lock(&self.file).clone()?;
        match blocking(move || question(&file).map_err(|error| error.to_string())).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note("cannot be used", Err(error));
                None
            }
        }
    }

    /// Tells of trouble once, and of its end.
    fn note(&self, what: &str, result: Result<(), String>) {
        let mut trouble = lock(&self.trouble);
        match result {
            Err(error) => {
                if trouble.is_none() {
                    warn!(
                        "sessions: {} {what}: {error}; shards go on, but a restart may have to \
                         identify them anew",
                        self.path.display()
                    );
                }
                *trouble = Some(format!("{} {what}: {error}", self.path.display()));
            }
            Ok(()) => {
                if trouble.take().is_some() {
                    info!("sessions: {} can be written again", self.path.display());
                }
            }
        }
    }
}

/// What is to be stored at one time.
#[derive(Debug)]
struct Job {
    file: Arc<SessionFile>,
    owner: Owner,
    shard_total: u32,
    writes: Vec<Write>,
    alive: Vec<u32>,
    /// Of the guilds in `writes`.
    generations: Vec<(u32, u64)>,
}

impl Job {
    /// Stores it, and gives it back.
    fn run(self) -> Result<Self, String> {
        let Self { file, owner, shard_total, writes, alive, .. } = &self;
        let result = file.save(owner, *shard_total, writes, alive, wall_ms());
        result.map(|()| self).map_err(|error| error.to_string())
    }
}

/// Does something that may block, in a thread that may wait; a disk that hangs holds up nobody for long.
/// In a simulation a disk takes no time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if simulation::is_here() {
        return work();
    }
    match timeout(DISK_PATIENCE, spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("it met a bug in the engine".to_owned()),
        Err(_) => Err(format!("it takes longer than {} s", DISK_PATIENCE.as_secs())),
    }
}
