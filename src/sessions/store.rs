//! Where sessions are kept: a file of this machine, or the backplane's server for all machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::sqlite::OPEN_PATIENCE;
use super::{History, LastStart, Owner, SaidLimit, SessionFile, Stored, Write, wall_ms};
use crate::simulation;

/// Patience with a disk while something waits for it.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// What comes of it, or why it failed, for people.
pub(crate) type Storing<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What is to be stored at one time.
#[derive(Debug)]
pub(crate) struct Save {
    /// Whose sessions.
    pub(crate) owner: Owner,
    /// Of how many shards.
    pub(crate) shard_total: u32,
    /// What changed.
    pub(crate) writes: Vec<Write>,
    /// Shards whose sessions still live.
    pub(crate) alive: Vec<u32>,
    /// The tokens of those shards that are leased. What is stored of these with an older one than the last
    /// that was seen comes from somebody who has lost them, and changes nothing.
    pub(crate) tokens: BTreeMap<u32, u64>,
}

/// What was stored of a shard that was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenOver {
    /// The shard.
    pub(crate) shard_id: u32,
    /// The token of who had it last, or 0.
    pub(crate) token_before: u64,
    /// Its session, if it can be resumed.
    pub(crate) stored: Option<Stored>,
}

/// Where sessions are kept. Each call ends within a few seconds.
pub(crate) trait SessionStore: Send + Sync + fmt::Debug {
    /// What it is called in errors; without credentials.
    fn name(&self) -> String;

    /// The file beside which others of this machine may stand.
    fn path(&self) -> Option<&Path>;

    /// Gets ready. Until then, and when that fails, nothing else works.
    fn open(&self) -> Storing<'_, ()>;

    /// Whether what was stored is gone, since this was last asked, and the store has room for it again.
    fn was_replaced(&self) -> bool;

    /// What the last process started with, and its shards whose sessions can be resumed.
    fn last_start(&self, owner: &Owner) -> Storing<'_, Option<(LastStart, BTreeSet<u32>)>>;

    /// The sessions that can be resumed; and remembers what this process starts with.
    fn load(&self, owner: &Owner, start: &LastStart) -> Storing<'_, Vec<Stored>>;

    /// Takes over shards that were leased, each with its token: nobody with an older one stores anything of
    /// them from now on. Remembers what this process starts with, too.
    fn take_over(
        &self,
        owner: &Owner,
        start: &LastStart,
        leases: &[(u32, u64)],
    ) -> Storing<'_, Vec<TakenOver>>;

    /// The bot goes on with another number of shards; the sessions of the old ones end.
    fn reshard(&self, owner: &Owner, start: &LastStart) -> Storing<'_, ()>;

    /// Stores what changed, all or nothing, and that the sessions of `alive` still live.
    fn save(&self, save: Arc<Save>) -> Storing<'_, ()>;

    /// The same here and now, without a runtime: for the end.
    fn save_now(&self, save: &Save) -> Result<(), String>;

    /// The identifies of the last 24 hours, as far as this is who counts them.
    fn history(&self, owner: &Owner) -> Storing<'_, History>;

    /// An identify goes out.
    fn note_identify(&self, owner: &Owner, shard_id: u32) -> Storing<'_, ()>;

    /// An identify led to READY.
    fn note_answered(&self, owner: &Owner) -> Storing<'_, ()>;

    /// Discord said how many session starts are left.
    fn note_limit(&self, owner: &Owner, said: SaidLimit) -> Storing<'_, ()>;
}

/// A file.
#[derive(Debug)]
pub(crate) struct FileStore(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    /// Locked for as long as a disk takes, and so only where that may be.
    file: Mutex<Option<SessionFile>>,
    /// What a file that takes the place of the first has to be told: what this process started with, and which bot.
    start: Mutex<Option<(String, LastStart)>>,
    was_replaced: AtomicBool,
}

impl FileStore {
    /// A file that is not open yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        let (file, start, was_replaced) = Default::default();
        Self(Arc::new(Kept { path, file, start, was_replaced }))
    }

    /// Asks the file.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&SessionFile) -> rusqlite::Result<T> + Send + 'static,
    ) -> Storing<'_, T> {
        let kept = Arc::clone(&self.0);
        Box::pin(blocking(move || kept.ask(question)))
    }

    /// What this process starts with.
    fn begin(&self, owner: &Owner, start: &LastStart) {
        *lock(&self.0.start) = Some((owner.bot.clone(), start.clone()));
    }
}

impl Kept {
    /// Asks the file, where it may take its time. One that was removed or replaced is opened anew.
    fn ask<T>(
        &self,
        question: impl FnOnce(&SessionFile) -> rusqlite::Result<T>,
    ) -> Result<T, String> {
        let mut file = lock(&self.file);
        *file = file.take().and_then(SessionFile::if_current);
        let file = if let Some(file) = &mut *file {
            file
        } else {
            let opened = SessionFile::open(&self.path);
            let opened = opened.map_err(|error| format!("cannot be opened: {error}"))?;
            let start = lock(&self.start).clone();
            if let Some((bot, start)) = start {
                opened.note_start(&bot, &start).map_err(|error| error.to_string())?;
                self.was_replaced.store(true, Ordering::Relaxed);
            }
            file.insert(opened)
        };
        question(file).map_err(|error| error.to_string())
    }
}

/// A panic of another thread leaves a transaction that was rolled back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SessionStore for FileStore {
    fn name(&self) -> String {
        self.0.path.display().to_string()
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.0.path)
    }

    fn open(&self) -> Storing<'_, ()> {
        let kept = Arc::clone(&self.0);
        Box::pin(within(OPEN_PATIENCE, move || kept.ask(|_| Ok(()))))
    }

    fn was_replaced(&self) -> bool {
        self.0.was_replaced.swap(false, Ordering::Relaxed)
    }

    fn last_start(&self, owner: &Owner) -> Storing<'_, Option<(LastStart, BTreeSet<u32>)>> {
        let owner = owner.clone();
        self.ask(move |file| {
            let Some(start) = file.last_start(&owner.bot)? else { return Ok(None) };
            let shards = file.resumable(&owner, start.shard_total, wall_ms())?;
            Ok(Some((start, shards)))
        })
    }

    fn load(&self, owner: &Owner, start: &LastStart) -> Storing<'_, Vec<Stored>> {
        self.begin(owner, start);
        let (owner, start) = (owner.clone(), start.clone());
        self.ask(move |file| {
            file.note_start(&owner.bot, &start)?;
            file.load(&owner, start.shard_total, wall_ms())
        })
    }

    fn take_over(
        &self,
        owner: &Owner,
        start: &LastStart,
        leases: &[(u32, u64)],
    ) -> Storing<'_, Vec<TakenOver>> {
        self.begin(owner, start);
        let (owner, start, leases) = (owner.clone(), start.clone(), leases.to_vec());
        self.ask(move |file| {
            file.note_start(&owner.bot, &start)?;
            file.take_over(&owner, start.shard_total, &leases, wall_ms())
        })
    }

    fn reshard(&self, owner: &Owner, start: &LastStart) -> Storing<'_, ()> {
        self.begin(owner, start);
        let (bot, start) = (owner.bot.clone(), start.clone());
        self.ask(move |file| {
            file.note_start(&bot, &start)?;
            file.forget_others(&bot, start.shard_total)
        })
    }

    fn save(&self, save: Arc<Save>) -> Storing<'_, ()> {
        self.ask(move |file| write(file, &save))
    }

    fn save_now(&self, save: &Save) -> Result<(), String> {
        self.0.ask(|file| write(file, save))
    }

    fn history(&self, owner: &Owner) -> Storing<'_, History> {
        let (bot, now_ms) = (owner.bot.clone(), wall_ms());
        self.ask(move |file| file.history(&bot, now_ms))
    }

    fn note_identify(&self, owner: &Owner, shard_id: u32) -> Storing<'_, ()> {
        let (bot, now_ms) = (owner.bot.clone(), wall_ms());
        self.ask(move |file| file.note_identify(&bot, shard_id, now_ms))
    }

    fn note_answered(&self, owner: &Owner) -> Storing<'_, ()> {
        let bot = owner.bot.clone();
        self.ask(move |file| file.note_answered(&bot))
    }

    fn note_limit(&self, owner: &Owner, said: SaidLimit) -> Storing<'_, ()> {
        let bot = owner.bot.clone();
        self.ask(move |file| file.note_limit(&bot, said))
    }
}

/// Writes it into the file.
fn write(file: &SessionFile, save: &Save) -> rusqlite::Result<()> {
    file.save(save, wall_ms())
}

/// Does something that may block, in a thread that may wait; a disk that hangs holds up nobody for long.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    within(DISK_PATIENCE, work).await
}

/// The same with as much patience as it says. In a simulation a disk takes no time.
async fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if simulation::is_here() {
        return work();
    }
    match timeout(patience, spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("it met a bug in the engine".to_owned()),
        Err(_) => Err(format!("it takes longer than {} s", patience.as_secs())),
    }
}
