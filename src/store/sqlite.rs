//! The store of one machine: a SQLite file that all processes of the bot open.
//!
//! One connection, used by one thread at a time. Whoever waits for it waits asynchronously, so that a
//! disk that hangs holds up one thread that may wait, and no more.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::command::{Delete, Get, List, Put};
use super::trouble::Trouble;
use super::{Answer, Backend, Document, Page, SCHEMA_VERSION, Written, end_of_prefix};
use crate::config::{MAX_STORE_PAGE_BYTES, check_directory};
use crate::error::{Error, ErrorKind};
use crate::sessions::wall_ms;
use crate::simulation;
use crate::sqlite::{self, Link};

/// Time between two attempts to open a file that nobody asks for.
const OPEN_EVERY: Duration = Duration::from_secs(5);

/// How long one attempt waits for another process that writes.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// The tables, and what changed them: entry `n` leads to version `n + 1`. Never edited, only added to.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    // Keys are ordered by their bytes, which is the default here.
    "CREATE TABLE shardwright_document (
        bot TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
        value TEXT NOT NULL, version INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,
        PRIMARY KEY (bot, collection, key)
    );
    CREATE TABLE shardwright_version (last INTEGER NOT NULL);
    INSERT INTO shardwright_version VALUES (0);",
];

/// Picks one document.
const PLACE: &str = "bot = ?1 AND collection = ?2 AND key = ?3";

/// The store of one bot in a file.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    bot: String,
    trouble: Arc<Trouble>,
    /// Opened when it is first needed, and anew when it is broken.
    connection: Arc<Mutex<Option<Link>>>,
}

/// Why a file could not be used.
enum Failure {
    /// Another process holds a lock for long.
    Busy(String),
    /// Anything else.
    Broken(String),
}

impl Sqlite {
    /// Opens nothing yet.
    ///
    /// # Errors
    /// `InvalidConfig` when the file could never be made.
    pub(super) fn new(path: &Path, bot: String, trouble: Arc<Trouble>) -> Result<Self, Error> {
        check_directory("store", path)?;
        Ok(Self { path: path.to_owned(), bot, trouble, connection: Arc::default() })
    }

    /// Works with the file, in its turn, until it is not locked by another process.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection) -> rusqlite::Result<T> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let work = Arc::new(work);
        loop {
            let connection = Arc::clone(&self.connection).lock_owned().await;
            let (path, work) = (self.path.clone(), Arc::clone(&work));
            match blocking(move || attempt(connection, &path, &*work)).await {
                Ok(result) => {
                    self.trouble.end();
                    return Ok(result);
                }
                Err(Failure::Busy(why)) => {
                    self.trouble.begin(&why);
                }
                Err(Failure::Broken(why)) => {
                    let text = self.trouble.begin(&why);
                    return Err(Error::new(ErrorKind::Io, format!("the store failed: {text}")));
                }
            }
        }
    }
}

impl Backend for Sqlite {
    fn put<'a>(&'a self, put: &'a Put) -> Answer<'a, Written> {
        let (bot, collection, key) = (self.bot.clone(), put.collection.clone(), put.key.clone());
        let (value, expected) = (put.value.get().to_owned(), put.expected_version);
        Box::pin(self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let current = version(&transaction, &bot, &collection, &key)?;
            if expected.is_some_and(|expected| expected != current) {
                return Ok(Written::Conflict { current, is_repeated: false });
            }
            let next = "UPDATE shardwright_version SET last = last + 1 RETURNING last";
            let version: i64 = transaction.prepare_cached(next)?.query_row([], |row| row.get(0))?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO shardwright_document VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET value = ?4, version = ?5, updated_at_ms = ?6",
            )?;
            insert.execute(params![bot, collection, key, value, version, wall_ms()])?;
            drop(insert);
            transaction.commit()?;
            Ok(Written::Done(version))
        }))
    }

    fn get<'a>(&'a self, get: &'a Get) -> Answer<'a, Option<Document>> {
        let (bot, collection, key) = (self.bot.clone(), get.collection.clone(), get.key.clone());
        Box::pin(self.run(move |connection| {
            let select = format!(
                "SELECT value, version, updated_at_ms FROM shardwright_document WHERE {PLACE}"
            );
            let mut select = connection.prepare_cached(&select)?;
            let found = select.query_row(params![bot, collection, key], |row| {
                Ok(Document {
                    value: row.get(0)?,
                    version: row.get(1)?,
                    updated_at_ms: row.get(2)?,
                })
            });
            found.optional()
        }))
    }

    fn delete<'a>(&'a self, delete: &'a Delete) -> Answer<'a, Written> {
        let Delete { collection, key, expected_version: expected, .. } = delete;
        let (bot, collection, key) = (self.bot.clone(), collection.clone(), key.clone());
        let expected = *expected;
        Box::pin(self.run(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let current = version(&transaction, &bot, &collection, &key)?;
            if expected.is_some_and(|expected| expected != current) {
                return Ok(Written::Conflict { current, is_repeated: false });
            }
            let delete = format!("DELETE FROM shardwright_document WHERE {PLACE}");
            transaction.prepare_cached(&delete)?.execute(params![bot, collection, key])?;
            transaction.commit()?;
            Ok(Written::Done(current))
        }))
    }

    fn list<'a>(&'a self, list: &'a List) -> Answer<'a, Page> {
        let List { collection, prefix, after, limit, .. } = list;
        let (bot, collection, limit) = (self.bot.clone(), collection.clone(), *limit);
        let (prefix, after, end) = (prefix.clone(), after.clone(), end_of_prefix(prefix));
        Box::pin(self.run(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT key, value, version, updated_at_ms FROM shardwright_document
                 WHERE bot = ?1 AND collection = ?2 AND key >= ?3 AND key > ?4
                     AND (?5 IS NULL OR key < ?5)
                 ORDER BY key",
            )?;
            let mut rows = select.query(params![bot, collection, prefix, after, end])?;
            let (mut page, mut bytes) = (Page::default(), 0);
            while let Some(row) = rows.next()? {
                if page.documents.len() == limit || bytes >= MAX_STORE_PAGE_BYTES {
                    page.has_more = true;
                    break;
                }
                let value: String = row.get(1)?;
                bytes += value.len();
                let (version, updated_at_ms) = (row.get(2)?, row.get(3)?);
                page.documents.push((row.get(0)?, Document { value, version, updated_at_ms }));
            }
            Ok(page)
        }))
    }

    fn trim<'a>(&'a self, collection: &'a str, before: &'a str, most: usize) -> Answer<'a, ()> {
        let (bot, collection, before) =
            (self.bot.clone(), collection.to_owned(), before.to_owned());
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Box::pin(self.run(move |connection| {
            let delete = "DELETE FROM shardwright_document
                 WHERE bot = ?1 AND collection = ?2 AND (key < ?3 OR key <= (
                     SELECT key FROM shardwright_document WHERE bot = ?1 AND collection = ?2
                     ORDER BY key DESC LIMIT 1 OFFSET ?4))";
            connection.prepare_cached(delete)?.execute(params![bot, collection, before, most])?;
            Ok(())
        }))
    }

    fn mind(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // What goes wrong later is found by the commands.
            while self.run(|_| Ok(())).await.is_err() {
                sleep(OPEN_EVERY).await;
            }
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // One that a thread still waits with is closed by that thread, when the client is freed.
            let Ok(mut connection) = Arc::clone(&self.connection).try_lock_owned() else { return };
            // The last process to close a file writes what stands beside it into it.
            let close = move || {
                drop(connection.take());
                Ok(())
            };
            let _: Result<(), Failure> = blocking(close).await;
        })
    }
}

/// Works once with the connection, which is opened if need be, anew for a file that was replaced, and closed if it
/// is broken.
fn attempt<T>(
    mut connection: OwnedMutexGuard<Option<Link>>,
    path: &Path,
    work: &impl Fn(&mut Connection) -> rusqlite::Result<T>,
) -> Result<T, Failure> {
    *connection = connection.take().and_then(Link::if_current);
    let open = match &mut *connection {
        Some(open) => open,
        None => connection.insert(open(path)?),
    };
    let result = work(open).map_err(|error| Failure::from(&error));
    if let Err(Failure::Broken(_)) = result {
        // A file that was replaced, or an error of the disk: the next one looks at it with new eyes.
        *connection = None;
    }
    result
}

/// Opens the file and brings its tables up to date, unless it is from a later version.
fn open(path: &Path) -> Result<Link, Failure> {
    let mut connection = sqlite::open(path, BUSY_PATIENCE).map_err(Failure::Broken)?;
    let version = migrate(&mut connection).map_err(|error| Failure::from(&error))?;
    if version > SCHEMA_VERSION {
        let why = format!(
            "its tables are those of a later version of Shardwright ({version}; this one knows \
             {SCHEMA_VERSION}); they are left alone"
        );
        return Err(Failure::Broken(why));
    }
    Ok(connection)
}

/// Brings the tables up to date. Returns their version.
fn migrate(connection: &mut Connection) -> rusqlite::Result<i32> {
    // What was answered survives a loss of power.
    connection.pragma_update(None, "synchronous", "full")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS shardwright_schema (part TEXT PRIMARY KEY, version INTEGER NOT NULL)",
    )?;
    let select = "SELECT version FROM shardwright_schema WHERE part = 'store'";
    let version: Option<i32> = transaction.query_row(select, [], |row| row.get(0)).optional()?;
    let version = version.unwrap_or(0);
    if version >= SCHEMA_VERSION {
        return Ok(version);
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.execute(
        "INSERT OR REPLACE INTO shardwright_schema VALUES ('store', ?1)",
        params![SCHEMA_VERSION],
    )?;
    transaction.commit()?;
    Ok(SCHEMA_VERSION)
}

/// The version of a document, 0 if there is none.
fn version(
    connection: &Connection,
    bot: &str,
    collection: &str,
    key: &str,
) -> rusqlite::Result<i64> {
    let select = format!("SELECT version FROM shardwright_document WHERE {PLACE}");
    let mut select = connection.prepare_cached(&select)?;
    let version = select.query_row(params![bot, collection, key], |row| row.get(0));
    version.optional().map(Option::unwrap_or_default)
}

impl From<&rusqlite::Error> for Failure {
    fn from(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Busy(error.to_string()),
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// Does something that may block, in a thread that may wait. In a simulation a disk takes no time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if simulation::is_here() {
        return work();
    }
    let result = spawn_blocking(work).await;
    result.unwrap_or_else(|_| Err(Failure::Broken("it met a bug in the engine".to_owned())))
}
