//! The store of a fleet: a PostgreSQL server, from version 13 on.
//!
//! One connection, on which commands follow each other without waiting for answers. Each command is one
//! statement, not prepared under a name, so that poolers such as PgBouncer may stand in between. When the
//! connection is lost, commands wait for the next one and are sent again. That is safe: a write carries a
//! number of its own, by which it finds out that it has been carried out already.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::command::{Delete, Get, List, Put};
use super::postgres_url::PostgresUrl;
use super::tls::Connector;
use super::trouble::Trouble;
use super::{Answer, Backend, Document, Page, SCHEMA_VERSION, Written, end_of_prefix};
use crate::config::MAX_STORE_PAGE_BYTES;
use crate::error::{Error, ErrorKind};

/// How long a connection may take until it is ready for commands.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long one attempt at a command may take before the connection counts as dead.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(5);

/// Connections on which a statement is tried that servers refuse because of what they are.
const REFUSALS: u32 = 5;

/// The longest first wait between two attempts to connect.
const RETRY: Duration = Duration::from_millis(200);

/// The longest wait of all.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The number of the lock under which tables are made: the bytes of "shardwri".
const MIGRATION_LOCK: i64 = 0x7368_6172_6477_7269;

/// The tables, and what changed them: entry `n` leads to version `n + 1`. Never edited, only added to.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    // Keys are ordered by their bytes, in whatever language the database is.
    r#"CREATE TABLE shardwright_document (
        bot text COLLATE "C" NOT NULL, collection text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
        value text NOT NULL, version bigint NOT NULL, write_id bigint NOT NULL, updated_at_ms bigint NOT NULL,
        PRIMARY KEY (bot, collection, key)
    );
    CREATE SEQUENCE shardwright_version;"#,
];

/// In texts of errors that no other attempt would mend.
const FINAL_TEXTS: [&str; 3] =
    ["server does not support TLS", "invalid configuration", "authentication error"];

/// The server's clock.
const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Picks one document.
const PLACE: &str = "bot = $1 AND collection = $2 AND key = $3";

/// The store of one bot on a server.
pub(super) struct Postgres {
    config: tokio_postgres::Config,
    tls: Connector,
    bot: String,
    trouble: Arc<Trouble>,
    state: Mutex<State>,
}

/// How it stands with the connection.
#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Attempts to connect since the last that succeeded.
    failures: u32,
    /// When the next one may be made.
    retry_at: Option<Instant>,
    /// What the server said, where another attempt is no use until a person has changed something.
    refusal: Option<Error>,
}

/// A connection that is ready for commands.
struct Link {
    client: Client,
    task: AbortHandle,
    /// Closed when the connection has ended.
    ended: watch::Receiver<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A failed attempt to connect.
struct Refusal {
    why: String,
    /// Another attempt is no use until a person has changed something.
    is_final: bool,
}

/// What an error of a statement means for it.
enum Remedy {
    /// It fails.
    None,
    /// The server did not carry it out because of others, and would now.
    Again,
    /// Another connection is needed.
    Reconnect,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("bot", &self.bot).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Connects to nothing yet.
    pub(super) fn new(
        url: &PostgresUrl,
        tls: Connector,
        bot: String,
        trouble: Arc<Trouble>,
    ) -> Self {
        Self { config: url.config().clone(), tls, bot, trouble, state: Mutex::default() }
    }

    /// Sends a statement until it is answered. Says too whether it was sent more than once.
    async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<(Vec<Row>, bool), Error> {
        let mut repeats = 0;
        loop {
            let link = self.link().await?;
            let why =
                match timeout(ATTEMPT_PATIENCE, link.client.query_typed(sql, parameters)).await {
                    Ok(Ok(rows)) => {
                        self.trouble.end();
                        return Ok((rows, repeats > 0));
                    }
                    Ok(Err(error)) => match remedy(&error) {
                        Remedy::Again => continue,
                        Remedy::Reconnect if error.code().is_none() || repeats < REFUSALS => {
                            text_of(&error)
                        }
                        Remedy::None | Remedy::Reconnect => {
                            let text = format!("the store failed: {}", text_of(&error));
                            return Err(Error::new(ErrorKind::Io, text));
                        }
                    },
                    Err(_) => format!("no answer within {} s", ATTEMPT_PATIENCE.as_secs()),
                };
            self.trouble.begin(&why);
            self.discard(&link).await;
            // A server that takes connections and then no statements is not asked without a pause.
            if repeats > 0 {
                sleep(backoff(repeats)).await;
            }
            repeats += 1;
        }
    }

    /// A connection, as soon as there is one.
    async fn link(&self) -> Result<Arc<Link>, Error> {
        // Held while connecting: one attempt at a time, and the others wait for what comes of it.
        let mut state = self.state.lock().await;
        loop {
            if let Some(link) = &state.link {
                if !link.client.is_closed() {
                    return Ok(Arc::clone(link));
                }
                state.link = None;
            }
            if let Some(at) = state.retry_at.filter(|at| *at > Instant::now()) {
                if let Some(refusal) = &state.refusal {
                    return Err(refusal.clone());
                }
                sleep_until(at).await;
            }
            // Set before: an attempt that is given up counts as well.
            state.retry_at = Some(Instant::now() + backoff(state.failures));
            state.failures = state.failures.saturating_add(1);
            state.refusal = None;
            match timeout(CONNECT_PATIENCE, self.connect()).await {
                Ok(Ok(link)) => {
                    let link = Arc::new(link);
                    *state = State { link: Some(Arc::clone(&link)), ..State::default() };
                    self.trouble.end();
                    return Ok(link);
                }
                Ok(Err(Refusal { why, is_final })) => {
                    let text = self.trouble.begin(&why);
                    if is_final {
                        // Asked again at the slowest rate, whoever asks.
                        state.retry_at = Some(Instant::now() + RETRY_MAX);
                        let error = Error::new(ErrorKind::Io, format!("the store refused: {text}"));
                        state.refusal = Some(error.clone());
                        return Err(error);
                    }
                }
                Err(_) => {
                    let why = format!("no connection within {} s", CONNECT_PATIENCE.as_secs());
                    self.trouble.begin(&why);
                }
            }
        }
    }

    /// Makes a connection, and the tables if they are not there.
    async fn connect(&self) -> Result<Link, Refusal> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let (alive, ended) = watch::channel(());
        let task = tokio::spawn(async move {
            // Whoever used it sees how it ended.
            let _ = connection.await;
            drop(alive);
        });
        let mut link = Link { client, task: task.abort_handle(), ended };
        let version = migrate(&mut link.client).await?;
        if version > SCHEMA_VERSION {
            let why = format!(
                "its tables are those of a later version of Shardwright ({version}; this one knows \
                 {SCHEMA_VERSION}); they are left alone"
            );
            return Err(Refusal { why, is_final: true });
        }
        Ok(link)
    }

    /// Ends a connection that is no use, with all that waits for it.
    async fn discard(&self, link: &Arc<Link>) {
        link.task.abort();
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            state.link = None;
        }
    }

    /// The version and the writer of a document, if it is there.
    async fn version(
        &self,
        place: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<(i64, i64)>, Error> {
        let select = format!("SELECT version, write_id FROM shardwright_document WHERE {PLACE}");
        let (rows, _) = self.query(&select, place).await?;
        rows.first().map(|row| Ok((column(row, 0)?, column(row, 1)?))).transpose()
    }

    /// See [`Backend::put`].
    async fn put(&self, put: &Put) -> Result<Written, Error> {
        // Tells this write from all others, when it is sent again.
        let write_id = fastrand::i64(..);
        let expected = put.expected_version.unwrap_or_default();
        let value = put.value.get();
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&self.bot, Type::TEXT),
            (&put.collection, Type::TEXT),
            (&put.key, Type::TEXT),
            (&value, Type::TEXT),
            (&write_id, Type::INT8),
            (&expected, Type::INT8),
        ];
        let insert = format!(
            "INSERT INTO shardwright_document AS stored
                 (bot, collection, key, value, version, write_id, updated_at_ms)
             VALUES ($1, $2, $3, $4, nextval('shardwright_version'), $5, {NOW_MS})
             ON CONFLICT (bot, collection, key)"
        );
        let set = format!(
            "SET value = $4, version = nextval('shardwright_version'), write_id = $5,
                 updated_at_ms = {NOW_MS}"
        );
        let (sql, used) = match put.expected_version {
            None => {
                let sql = format!(
                    "{insert} DO UPDATE {set} WHERE stored.write_id <> $5 RETURNING version"
                );
                (sql, 5)
            }
            Some(0) => (format!("{insert} DO NOTHING RETURNING version"), 5),
            Some(_) => {
                let sql = format!(
                    "UPDATE shardwright_document {set} WHERE {PLACE} AND version = $6 RETURNING version"
                );
                (sql, 6)
            }
        };
        loop {
            let (rows, is_repeated) = self.query(&sql, &parameters[..used]).await?;
            if let Some(row) = rows.first() {
                return Ok(Written::Done(column(row, 0)?));
            }
            let current = self.version(&parameters[..3]).await?;
            match (current, put.expected_version) {
                (Some((version, writer)), _) if writer == write_id => {
                    return Ok(Written::Done(version));
                }
                (Some((current, _)), Some(_)) => {
                    return Ok(Written::Conflict { current, is_repeated });
                }
                (None, Some(1..)) => return Ok(Written::Conflict { current: 0, is_repeated }),
                // Somebody else wrote or deleted it between the two questions.
                (_, None | Some(_)) => {}
            }
        }
    }

    /// See [`Backend::get`].
    async fn get(&self, get: &Get) -> Result<Option<Document>, Error> {
        let select =
            format!("SELECT value, version, updated_at_ms FROM shardwright_document WHERE {PLACE}");
        let place: [(&(dyn ToSql + Sync), Type); 3] =
            [(&self.bot, Type::TEXT), (&get.collection, Type::TEXT), (&get.key, Type::TEXT)];
        let (rows, _) = self.query(&select, &place).await?;
        rows.first().map(|row| document(row, 0)).transpose()
    }

    /// See [`Backend::delete`].
    async fn delete(&self, delete: &Delete) -> Result<Written, Error> {
        let expected = delete.expected_version.unwrap_or_default();
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.bot, Type::TEXT),
            (&delete.collection, Type::TEXT),
            (&delete.key, Type::TEXT),
            (&expected, Type::INT8),
        ];
        let sql = format!(
            "DELETE FROM shardwright_document WHERE {PLACE} AND $4 IN (0, version) RETURNING version"
        );
        let (rows, is_repeated) = self.query(&sql, &parameters).await?;
        if let Some(row) = rows.first() {
            return Ok(Written::Done(column(row, 0)?));
        }
        if delete.expected_version.is_none() {
            // What is sent again may have deleted it the first time.
            return Ok(Written::Done(if is_repeated { -1 } else { 0 }));
        }
        match self.version(&parameters[..3]).await? {
            None if is_repeated => Ok(Written::Done(expected)),
            found => {
                let current = found.map_or(0, |(version, _)| version);
                Ok(Written::Conflict { current, is_repeated })
            }
        }
    }

    /// See [`Backend::list`].
    async fn list(&self, list: &List) -> Result<Page, Error> {
        let end = end_of_prefix(&list.prefix);
        let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
        let bytes = i64::try_from(MAX_STORE_PAGE_BYTES).unwrap_or(i64::MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
            (&self.bot, Type::TEXT),
            (&list.collection, Type::TEXT),
            (&list.prefix, Type::TEXT),
            (&list.after, Type::TEXT),
            (&end, Type::TEXT),
            (&limit, Type::INT8),
            (&bytes, Type::INT8),
        ];
        // The server does not even send what would make the page too large.
        let sql = "SELECT key, value, version, updated_at_ms, found FROM (
                SELECT *, count(*) OVER () AS found, row_number() OVER (ORDER BY key) AS place,
                    sum(octet_length(value)) OVER (ORDER BY key) - octet_length(value) AS before
                FROM (
                    SELECT key, value, version, updated_at_ms FROM shardwright_document
                    WHERE bot = $1 AND collection = $2 AND key >= $3 AND key > $4
                        AND ($5::text IS NULL OR key < $5)
                    ORDER BY key LIMIT $6 + 1
                ) AS listed
            ) AS measured
            WHERE place <= $6 AND before < $7 ORDER BY key";
        let (rows, _) = self.query(sql, &parameters).await?;
        let found: i64 = rows.first().map_or(Ok(0), |row| column(row, 4))?;
        let has_more = i64::try_from(rows.len()).is_ok_and(|sent| sent < found);
        let documents = rows.iter().map(|row| Ok((column(row, 0)?, document(row, 1)?)));
        Ok(Page { documents: documents.collect::<Result<_, Error>>()?, has_more })
    }

    /// See [`Backend::trim`].
    async fn trim(&self, collection: &str, before: &str, most: usize) -> Result<(), Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.bot, Type::TEXT),
            (&collection, Type::TEXT),
            (&before, Type::TEXT),
            (&most, Type::INT8),
        ];
        let sql = "DELETE FROM shardwright_document
            WHERE bot = $1 AND collection = $2 AND (key < $3 OR key <= (
                SELECT key FROM shardwright_document WHERE bot = $1 AND collection = $2
                ORDER BY key DESC LIMIT 1 OFFSET $4))";
        self.query(sql, &parameters).await.map(drop)
    }
}

impl Backend for Postgres {
    fn put<'a>(&'a self, put: &'a Put) -> Answer<'a, Written> {
        Box::pin(self.put(put))
    }

    fn get<'a>(&'a self, get: &'a Get) -> Answer<'a, Option<Document>> {
        Box::pin(self.get(get))
    }

    fn delete<'a>(&'a self, delete: &'a Delete) -> Answer<'a, Written> {
        Box::pin(self.delete(delete))
    }

    fn list<'a>(&'a self, list: &'a List) -> Answer<'a, Page> {
        Box::pin(self.list(list))
    }

    fn trim<'a>(&'a self, collection: &'a str, before: &'a str, most: usize) -> Answer<'a, ()> {
        Box::pin(self.trim(collection, before, most))
    }

    fn mind(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            loop {
                match self.link().await {
                    Ok(link) => {
                        let mut ended = link.ended.clone();
                        drop(link);
                        while ended.changed().await.is_ok() {}
                    }
                    Err(_) => sleep(RETRY_MAX).await,
                }
            }
        })
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async { self.state.lock().await.link = None })
    }
}

/// A wait with full jitter, as of the shards: what fell together does not come back together.
fn backoff(failures: u32) -> Duration {
    RETRY.saturating_mul(1 << failures.min(16)).min(RETRY_MAX).mul_f64(fastrand::f64())
}

/// Brings the tables up to date, one process after another. Returns their version.
async fn migrate(client: &mut Client) -> Result<i32, tokio_postgres::Error> {
    // A standby, or a user who may not make tables, can go on with those that are there.
    let version = schema_version(client).await?;
    if version >= SCHEMA_VERSION {
        return Ok(version);
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS shardwright_schema (part text PRIMARY KEY, version integer NOT NULL)",
        )
        .await?;
    let version = schema_version(transaction.client()).await?;
    if version >= SCHEMA_VERSION {
        return Ok(version);
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    let note = format!(
        "INSERT INTO shardwright_schema VALUES ('store', {SCHEMA_VERSION})
         ON CONFLICT (part) DO UPDATE SET version = EXCLUDED.version"
    );
    transaction.batch_execute(&note).await?;
    transaction.commit().await?;
    Ok(SCHEMA_VERSION)
}

/// The version of the tables; 0 if there are none.
async fn schema_version(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let is_there = "SELECT to_regclass('shardwright_schema') IS NOT NULL";
    let rows = client.query_typed(is_there, &[]).await?;
    if !rows.first().map_or(Ok(false), |row| row.try_get(0))? {
        return Ok(0);
    }
    let select = "SELECT version FROM shardwright_schema WHERE part = 'store'";
    let rows = client.query_typed(select, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0))
}

/// One column of a row.
fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T, Error> {
    row.try_get(index).map_err(|error| Error::new(ErrorKind::Io, text_of(&error)))
}

/// The three columns of a document.
fn document(row: &Row, from: usize) -> Result<Document, Error> {
    Ok(Document {
        value: column(row, from)?,
        version: column(row, from + 1)?,
        updated_at_ms: column(row, from + 2)?,
    })
}

/// What an error of a statement means for it.
fn remedy(error: &tokio_postgres::Error) -> Remedy {
    let Some(code) = error.code() else {
        // The connection's, or that of a server that is none.
        return Remedy::Reconnect;
    };
    match *code {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Remedy::Again,
        // A server that was, and one that is not yet or no longer the primary; tables that were dropped.
        SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::CANNOT_CONNECT_NOW
        | SqlState::IDLE_SESSION_TIMEOUT
        | SqlState::READ_ONLY_SQL_TRANSACTION
        | SqlState::UNDEFINED_TABLE => Remedy::Reconnect,
        _ => Remedy::None,
    }
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = text_of(&error);
        let is_final = match error.code() {
            // Credentials, databases and rights.
            Some(code) => matches!(code.code().get(..2), Some("28" | "3D" | "3F" | "42")),
            // What this side does not accept has no code, and shows its kind in its text only.
            None => {
                is_wrong_certificate(&error) || FINAL_TEXTS.iter().any(|text| why.contains(text))
            }
        };
        Self { why, is_final }
    }
}

/// Whether the server showed a certificate that is not trusted.
fn is_wrong_certificate(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let cause = cause.and_then(|cause| cause.get_ref()).and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// An error with its causes, as people read it. What the server says of details is left out: it may
/// repeat keys and values.
fn text_of(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
