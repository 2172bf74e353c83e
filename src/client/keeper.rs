//! Keeps the sessions of a client, so that a restart resumes them.
//!
//! Nothing of it is on the way of events: a few times a second it looks at the shards' snapshots and
//! stores what changed. Whatever goes wrong with the store is told, and no shard waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::fleet::{Fleet, Member};
use super::shared::lock;
use super::startup::Plan;
use crate::config::{Config, Delivery, Sessions, check_directory};
use crate::error::Error;
use crate::identify::line::Said;
use crate::identify::{DAY, Gate, SessionStartLimit};
use crate::queue::{Lease, Progress};
use crate::sessions::{
    FRESH, FileStore, History, LastStart, Owner, SaidLimit, Save, SessionStore, Stored, Storing,
    TakenFile, TakenOver, Write, blocking, session_tag, wall_ms,
};
use crate::shard::{GuildIndex, Guilds, Session};

/// Time between two looks at the shards.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Time between two notes that sessions without news are still alive: a small part of [`FRESH`].
const ALIVE_EVERY: Duration = Duration::from_secs(5);

/// Time between two writes of a shard's guilds, which come in thousands when it starts.
const GUILDS_EVERY: Duration = Duration::from_secs(1);

/// How long a start asks for what is kept, all in all. Without it all shards identify, and what happened
/// meanwhile is lost.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Time between two such questions.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// The keeper of one client's sessions.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<dyn SessionStore>,
    delivery: Delivery,
    owner: Owner,
    /// Whether the store can be used at all.
    is_open: AtomicBool,
    /// When the start goes on without what is kept.
    give_up_at: OnceLock<Instant>,
    /// Whether the last write of how far the host has come failed, for `at_most_once`.
    taken_failed: Arc<AtomicBool>,
    /// What is stored.
    saved: Mutex<Saved>,
    /// Why the store cannot be used at the moment.
    trouble: Mutex<Option<String>>,
    /// There is news that should not wait for the next look.
    hurry: Notify,
}

/// A leased shard that was taken over.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) shard_id: u32,
    /// With this token.
    pub(super) token: u64,
    /// The token of who had it last, or 0.
    pub(super) token_before: u64,
    /// The session to go on with, and what is known of its guilds.
    pub(super) known: Option<(Session, Arc<GuildIndex>)>,
}

/// What is stored.
#[derive(Debug, Default)]
struct Saved {
    sessions: BTreeMap<u32, Session>,
    /// The generation of each shard's guilds, and when it was written.
    guilds: BTreeMap<u32, (u64, Instant)>,
    alive_at: Option<Instant>,
}

impl Keeper {
    /// The keeper that the config asks for, if any. `shared` is where the backplane keeps sessions.
    ///
    /// # Errors
    /// `InvalidConfig` when the file could never be made.
    pub(super) fn new(
        config: &Config,
        shared: impl FnOnce() -> Option<Arc<dyn SessionStore>>,
    ) -> Result<Option<Self>, Error> {
        let store = match &config.sessions {
            None => None,
            Some(Sessions::File(path)) => {
                check_directory("sessions", path)?;
                Some(Arc::new(FileStore::new(path.clone())) as _)
            }
            Some(Sessions::Backplane) => shared(),
        };
        Ok(store.map(|store| Self {
            store,
            delivery: config.delivery,
            owner: Owner::new(config),
            is_open: AtomicBool::new(false),
            give_up_at: OnceLock::new(),
            taken_failed: Arc::default(),
            saved: Mutex::default(),
            trouble: Mutex::default(),
            hurry: Notify::new(),
        }))
    }

    /// Opens the store. Without it everything goes on, as it would without a keeper.
    pub(super) async fn open(&self) {
        match self.store.open().await {
            Ok(()) => self.is_open.store(true, Ordering::Relaxed),
            Err(error) => self.note("cannot be used", Err(error)),
        }
    }

    /// Why sessions cannot be kept at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// The store may have forgotten everything: all is written anew.
    pub(super) fn write_anew(&self) {
        *lock(&self.saved) = Saved::default();
        self.hurry();
    }

    /// There is news that should not wait.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    // -- at the start -------------------------------------------------------------------------

    /// What the last process started with, and its shards whose sessions can be resumed.
    pub(super) async fn last_start(&self) -> Option<(LastStart, BTreeSet<u32>)> {
        self.insist(|| self.store.last_start(&self.owner)).await.flatten()
    }

    /// Opens what says how far the host has come with so many shards, for `at_most_once`.
    pub(super) async fn open_taken(&self, shard_total: NonZeroU32) -> Option<TakenFile> {
        if self.delivery == Delivery::AtLeastOnce {
            return None;
        }
        let (path, bot) = (self.store.path()?.to_owned(), self.owner.bot.clone());
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
        let start = plan.as_start();
        let found = self.insist(|| self.store.load(&self.owner, &start)).await;
        let mut sessions = BTreeMap::new();
        for stored in found.unwrap_or_default() {
            sessions.insert(stored.shard_id, revive(stored, plan, taken));
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

    /// Takes over leased shards, each with its token, and the sessions that there are for them. `None` when the
    /// store cannot be used.
    pub(super) async fn take_over(
        &self,
        plan: &Plan,
        taken: Option<&TakenFile>,
        leases: &[(u32, u64)],
    ) -> Option<Vec<Resumed>> {
        let start = plan.as_start();
        let found = self.ask(self.store.take_over(&self.owner, &start, leases)).await?;
        let mut saved = lock(&self.saved);
        let resumed = found.into_iter().zip(leases).map(|(found, (_, token))| {
            let TakenOver { shard_id, token_before, stored } = found;
            // Guilds are written anew, for another process may have written others.
            saved.guilds.remove(&shard_id);
            saved.sessions.remove(&shard_id);
            let known = stored.map(|stored| revive(stored, plan, taken));
            if let Some((session, _)) = &known {
                saved.sessions.insert(shard_id, session.clone());
            }
            Resumed { shard_id, token: *token, token_before, known }
        });
        Some(resumed.collect())
    }

    /// A leased shard is another process's; what is stored of it stays.
    pub(super) fn leave(&self, shard_id: u32) {
        let mut saved = lock(&self.saved);
        saved.sessions.remove(&shard_id);
        saved.guilds.remove(&shard_id);
    }

    /// The bot goes on with another number of shards; the sessions of the old ones end.
    pub(super) async fn reshard(&self, plan: &Plan) {
        *lock(&self.saved) = Saved::default();
        self.ask(self.store.reshard(&self.owner, &plan.as_start())).await;
        self.hurry();
    }

    /// What follows how far the host comes with a shard, which begins with this session.
    pub(super) fn progress(
        &self,
        taken: Option<&TakenFile>,
        shard_id: u32,
        session: Option<&Session>,
        lease: Option<&Arc<Lease>>,
    ) -> Arc<Progress> {
        let writer = taken.map(|taken| taken.writer(shard_id));
        let on_taken = writer.map(|writer| Box::new(writer) as _);
        let progress = Progress::new(self.delivery, on_taken).leased(lease.cloned());
        if let Some(session) = session {
            progress.begin(session_tag(&session.id), session.seq);
        }
        Arc::new(progress)
    }

    // -- identifies ---------------------------------------------------------------------------

    /// Tells the gate of the identifies of the last 24 hours; and unless Discord `is_asked` just now, of what
    /// it said last of this day, which is returned.
    pub(super) async fn recall(&self, gate: &mut Gate, is_asked: bool) -> Option<Said> {
        let now_ms = wall_ms();
        let History { identifies, unanswered, said } =
            self.ask(self.store.history(&self.owner)).await?;
        let now = Instant::now();
        let moment = |at_ms: i64| {
            let ago = Duration::from_millis(u64::try_from(now_ms - at_ms).unwrap_or(0));
            // A machine that runs for less than a day may have no moment for all of them.
            now.checked_sub(ago)
        };
        let heard = said.filter(|_| !is_asked).and_then(|said| {
            let resets_in = Duration::from_millis(u64::try_from(said.resets_at_ms - now_ms).ok()?);
            let resets_at = (now + resets_in.min(DAY)).into_std();
            let limit = SessionStartLimit { remaining: said.remaining, resets_at, ..gate.limit() };
            Some((limit, moment(said.asked_at_ms)?))
        });
        let identifies = identifies
            .into_iter()
            .filter_map(|(at_ms, shard_id)| Some((moment(at_ms)?.into_std(), shard_id)));
        gate.remember(identifies, unanswered, heard.map(|(limit, at)| (limit, at.into_std())));
        heard.map(|(limit, at)| Said { remaining: limit.remaining, at })
    }

    /// Discord said how many session starts are left.
    pub(super) async fn note_limit(&self, limit: SessionStartLimit) {
        let asked_at_ms = wall_ms();
        let resets_in = limit.resets_at.saturating_duration_since(Instant::now().into_std());
        let resets_at_ms = asked_at_ms + resets_in.as_millis() as i64;
        let said = SaidLimit { remaining: limit.remaining, resets_at_ms, asked_at_ms };
        self.ask(self.store.note_limit(&self.owner, said)).await;
    }

    /// An identify is about to go out.
    pub(super) async fn note_identify(&self, shard_id: u32) {
        self.ask(self.store.note_identify(&self.owner, shard_id)).await;
    }

    /// An identify led to READY.
    pub(super) async fn note_answered(&self) {
        self.ask(self.store.note_answered(&self.owner)).await;
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
                self.carry_out(job).await;
            }
        }
    }

    /// Stores what has changed, once more; all of it, should the store turn out to be another one.
    pub(super) async fn store(&self, fleet: impl Fn(&mut dyn FnMut(&Fleet))) {
        loop {
            let mut job = None;
            fleet(&mut |fleet| job = self.look(fleet, true));
            let Some(job) = job else { return };
            if !self.carry_out(job).await {
                return;
            }
        }
    }

    /// The same here and now.
    pub(super) fn save(&self, fleet: &Fleet) {
        while let Some(job) = self.look(fleet, true) {
            let result = self.store.save_now(&job.save);
            if !self.saved(job, result) {
                return;
            }
        }
    }

    /// Stores it. Whether all has to be stored again.
    async fn carry_out(&self, job: Job) -> bool {
        let result = self.store.save(Arc::clone(&job.save)).await;
        self.saved(job, result)
    }

    /// What there is to store, if anything; at the end without a thought for how often.
    fn look(&self, fleet: &Fleet, is_end: bool) -> Option<Job> {
        if !self.is_open.load(Ordering::Relaxed) {
            return None;
        }
        let saved = lock(&self.saved);
        let (mut writes, mut alive, mut generations) = (Vec::new(), Vec::new(), Vec::new());
        // That a file was removed shows with the next write, at the end with this one.
        let is_last_look = is_end && self.store.path().is_some();
        let is_time = is_last_look || saved.alive_at.is_none_or(|at| at.elapsed() >= ALIVE_EVERY);
        for (&shard_id, member) in &fleet.members {
            let known = saved.sessions.get(&shard_id);
            let Some(mut session) = member.status.get().session else {
                if known.is_some() {
                    writes.push(Write::Forget(shard_id));
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
                generations.push((shard_id, generation));
            }
            if known != Some(&session) || is_due {
                writes.push(Write::Keep(Stored { shard_id, session, guilds }));
            } else if is_time {
                alive.push(shard_id);
            }
        }
        if writes.is_empty() && alive.is_empty() {
            return None;
        }
        let (owner, shard_total) = (self.owner.clone(), fleet.total.get());
        let token =
            |(shard_id, member): (&u32, &Member)| Some((*shard_id, member.lease.as_ref()?.token()));
        let tokens = fleet.members.iter().filter_map(token).collect();
        let save = Arc::new(Save { owner, shard_total, writes, alive, tokens });
        Some(Job { save, generations })
    }

    /// A job is done. Whether all has to be stored again.
    fn saved(&self, job: Job, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                let mut saved = lock(&self.saved);
                for write in &job.save.writes {
                    match write {
                        Write::Keep(Stored { shard_id, session, .. }) => {
                            saved.sessions.insert(*shard_id, session.clone());
                        }
                        Write::Forget(shard_id) => {
                            saved.sessions.remove(shard_id);
                            saved.guilds.remove(shard_id);
                        }
                    }
                }
                let now = Instant::now();
                for (shard_id, generation) in job.generations {
                    saved.guilds.insert(shard_id, (generation, now));
                }
                if !job.save.alive.is_empty() || saved.alive_at.is_none() {
                    saved.alive_at = Some(Instant::now());
                }
                drop(saved);
                let was_replaced = self.store.was_replaced();
                if was_replaced {
                    self.write_anew();
                }
                let failed = self.taken_failed.load(Ordering::Relaxed);
                let disk = if failed { Err("a write failed".to_owned()) } else { Ok(()) };
                self.note("has a file beside it that cannot be written", disk);
                was_replaced
            }
            Err(error) => {
                self.note("cannot be written", Err(error));
                false
            }
        }
    }

    // -- inside -------------------------------------------------------------------------------

    /// Asks the store; `None` when it cannot be used.
    async fn ask<T>(&self, question: Storing<'_, T>) -> Option<T> {
        if !self.is_open.load(Ordering::Relaxed) {
            return None;
        }
        match question.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note("cannot be used", Err(error));
                None
            }
        }
    }

    /// Asks the store until it answers, as long as a start may take; `None` when it cannot be used.
    async fn insist<'a, T>(&'a self, question: impl Fn() -> Storing<'a, T>) -> Option<T> {
        let give_up_at = *self.give_up_at.get_or_init(|| Instant::now() + START_PATIENCE);
        loop {
            let answer = self.ask(question()).await;
            let is_open = self.is_open.load(Ordering::Relaxed);
            if answer.is_some() || !is_open || Instant::now() >= give_up_at {
                return answer;
            }
            sleep(ASK_AGAIN).await;
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
                        self.store.name()
                    );
                }
                *trouble = Some(format!("{} {what}: {error}", self.store.name()));
            }
            Ok(()) => {
                if trouble.take().is_some() {
                    info!("sessions: {} can be written again", self.store.name());
                }
            }
        }
    }
}

/// What a shard goes on with.
fn revive(stored: Stored, plan: &Plan, taken: Option<&TakenFile>) -> (Session, Arc<GuildIndex>) {
    let Stored { shard_id, mut session, guilds } = stored;
    // As with READY's: the token does not leave TLS because of what a file says.
    session.resume_url = session.resume_url.filter(|url| url.tls || !plan.gateway.tls);
    let tag = session_tag(&session.id);
    let taken = taken.and_then(|taken| taken.read(shard_id, tag));
    session.seq = session.seq.max(taken.unwrap_or(0));
    let guilds = guilds.and_then(|bytes| Guilds::from_bytes(&bytes)).unwrap_or_default();
    (session, Arc::new(guilds.into()))
}

/// What is to be stored at one time.
#[derive(Debug)]
struct Job {
    save: Arc<Save>,
    /// Of the guilds in it.
    generations: Vec<(u32, u64)>,
}
