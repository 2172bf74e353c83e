//! The backplane of one machine: a SQLite file that all processes open.
//!
//! Two connections: one writes, one looks for messages. Each is used by one thread at a time, and who waits
//! for it waits in a task, so that a locked file ties up two threads and no more. A connection that failed
//! in a way that a new one may mend is opened anew.

mod cache;
mod identifies;
mod jobs;
mod leases;
mod messages;
mod workers;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Mutex as Turn, Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::messages::Position;
use super::condition::Condition;
use super::{Backplane, Deliver, Doing, PATIENCE, SharedClaim, Trouble, Verdict};
use crate::sessions::{FileStore, SessionStore};
use crate::simulation;
use crate::sqlite::{self, Link};

/// What the tables look like, step by step. A released step never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("1_messages.sql"),
    include_str!("2_workers.sql"),
    include_str!("3_identifies.sql"),
    include_str!("4_cache.sql"),
    include_str!("5_jobs.sql"),
    include_str!("6_schedules.sql"),
    include_str!("7_leases.sql"),
];

/// Patience with another process that writes; some less than with the whole call.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The file.
pub(super) struct Sqlite {
    path: PathBuf,
    bot: String,
    /// What writes, and reads for answers.
    writer: Door,
    /// What looks for messages. A file that cannot be written can often be read all the same.
    reader: Door,
    /// Where the reader is.
    position: Mutex<Position>,
    channels: Mutex<BTreeSet<String>>,
    /// There may be a message of our own.
    news: Notify,
    connections: watch::Sender<u64>,
}

/// A connection, for one thread at a time, and how it is doing.
struct Door {
    turn: Arc<Turn<Option<Link>>>,
    condition: Condition,
}

impl Door {
    fn new(path: &Path) -> Self {
        Self { turn: Arc::default(), condition: Condition::new(path.display().to_string()) }
    }
}

impl Sqlite {
    /// A file that is not open yet.
    pub(super) fn new(path: PathBuf, bot: String) -> Self {
        Self {
            writer: Door::new(&path),
            reader: Door::new(&path),
            path,
            bot,
            position: Mutex::default(),
            channels: Mutex::default(),
            news: Notify::new(),
            connections: watch::Sender::new(0),
        }
    }

    /// Does something with the file where that may take its time.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.through(&self.writer, work).await
    }

    /// The same with one of the connections.
    async fn through<T: Send + 'static>(
        &self,
        door: &Door,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (path, connections) = (self.path.clone(), self.connections.clone());
        let answer = async {
            let mut turn = Arc::clone(&door.turn).lock_owned().await;
            let work = move || {
                let before = turn.take();
                let was_open = before.is_some();
                let mut connection = if let Some(link) = before.and_then(Link::if_current) {
                    link
                } else {
                    if was_open {
                        // Another file knows nothing of what was said before.
                        connections.send_modify(|count| *count += 1);
                    }
                    open(&path)?
                };
                let result = work(&mut connection);
                // A locked file or a full disk says nothing against the connection.
                let is_sound = result.as_ref().err().is_none_or(|error| {
                    matches!(
                        error.sqlite_error_code(),
                        Some(
                            ErrorCode::DatabaseBusy
                                | ErrorCode::DatabaseLocked
                                | ErrorCode::DiskFull
                        )
                    )
                });
                *turn = is_sound.then_some(connection);
                result.map_err(|error| Trouble::Refused(error.to_string()))
            };
            if simulation::is_here() {
                return work();
            }
            let bug = |_| Trouble::Unclear("it met a bug in the engine".to_owned());
            spawn_blocking(work).await.map_err(bug)?
        };
        let answer = timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            let text =
                format!("{} takes longer than {} s", self.path.display(), PATIENCE.as_secs());
            Err(Trouble::Unclear(text))
        });
        match &answer {
            Ok(_) => door.condition.mend(),
            Err(Trouble::Away(why) | Trouble::Unclear(why) | Trouble::Refused(why)) => {
                door.condition.worsen(why);
            }
        }
        answer
    }

    /// The channels that are listened to.
    fn channels(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens the file with all its tables.
fn open(path: &Path) -> Result<Link, Trouble> {
    let opened = sqlite::open(path, BUSY_TIMEOUT).and_then(|mut connection| {
        sqlite::migrate(&mut connection, MIGRATIONS)?;
        Ok(connection)
    });
    opened.map_err(|why| Trouble::Away(format!("it cannot be opened: {why}")))
}

impl Backplane for Sqlite {
    fn run<'a>(&'a self, deliver: Deliver) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.look_for_messages(deliver))
    }

    fn trouble(&self) -> Option<String> {
        self.writer.condition.trouble().or_else(|| self.reader.condition.trouble())
    }

    fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    fn publish<'a>(&'a self, channel: &'a str, body: &'a str) -> Doing<'a, ()> {
        Box::pin(self.write_message(channel, body))
    }

    fn listen<'a>(&'a self, channels: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async {
            self.channels().extend(channels.iter().cloned());
            // From when the reader knows where it is, nothing is missed.
            let mut connections = self.connections.subscribe();
            match timeout(PATIENCE, connections.wait_for(|count| *count > 0)).await {
                Ok(Ok(_)) => Ok(()),
                _ => Err(Trouble::Away(
                    self.trouble().unwrap_or_else(|| "it is not open yet".into()),
                )),
            }
        })
    }

    fn ignore<'a>(&'a self, channels: &'a [String]) -> Doing<'a, ()> {
        Box::pin(async {
            self.channels().retain(|known| !channels.contains(known));
            Ok(())
        })
    }

    fn register<'a>(&'a self, worker: &'a str, record: &'a str) -> Doing<'a, ()> {
        Box::pin(self.write_worker(worker, record))
    }

    fn unregister<'a>(&'a self, worker: &'a str) -> Doing<'a, ()> {
        Box::pin(self.delete_worker(worker))
    }

    fn workers(&self) -> Doing<'_, Vec<String>> {
        Box::pin(self.read_workers())
    }

    fn claim<'a>(&'a self, claim: &'a SharedClaim) -> Doing<'a, Verdict> {
        Box::pin(self.write_identify(claim))
    }

    fn answered(&self) -> Doing<'_, ()> {
        Box::pin(self.write_answered())
    }

    /// Beside it: the same file as without a backplane, with its own tables and its own locks.
    fn sessions(self: Arc<Self>) -> Arc<dyn SessionStore> {
        let mut path = self.path.clone().into_os_string();
        path.push("-sessions");
        Arc::new(FileStore::new(path.into()))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}
