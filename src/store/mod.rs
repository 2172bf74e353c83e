//! The store: documents that outlive every process of a bot, and that all of its shards can reach.
//!
//! A collection holds JSON documents, each under a key and with a version. A [`Backend`] keeps them:
//! [`Sqlite`] in a file for the processes of one machine, [`Postgres`] on a server for a fleet. What a
//! host says is read in `command`; [`Store`] gives each command a time limit and knows what is wrong
//! with the backend at the moment. Nothing of it is on the way of events, and no shard waits for it.
//!
//! It is not for what may be lost with a machine (that is the cache), nor for sessions.

mod command;
mod postgres;
mod postgres_url;
mod sqlite;
mod tls;
mod trouble;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, timeout};

use self::command::Reply;
pub use self::command::{Delete, Get, List, Put, Request};
use self::postgres::Postgres;
pub use self::postgres_url::PostgresUrl;
use self::sqlite::Sqlite;
use self::trouble::Trouble;
use crate::config::{Config, STORE_PATIENCE, StoreUrl};
use crate::error::{Error, ErrorKind};
use crate::sessions::Owner;
use crate::usage::{Usage, Used};

/// What the tables look like. A backend that finds a later number leaves them alone.
const SCHEMA_VERSION: i32 = 1;

/// What a backend will have answered.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What keeps the documents of one bot.
trait Backend: fmt::Debug + Send + Sync {
    /// Stores a document; with an expected version only over that one.
    fn put<'a>(&'a self, put: &'a Put) -> Answer<'a, Written>;

    /// Finds a document.
    fn get<'a>(&'a self, get: &'a Get) -> Answer<'a, Option<Document>>;

    /// Deletes a document; with an expected version only that one. It had the version 0 if there was none.
    fn delete<'a>(&'a self, delete: &'a Delete) -> Answer<'a, Written>;

    /// Some documents of a collection, by key.
    fn list<'a>(&'a self, list: &'a List) -> Answer<'a, Page>;

    /// Deletes the documents of a collection before a key, and all but so many of its last ones.
    fn trim<'a>(&'a self, collection: &'a str, before: &'a str, most: usize) -> Answer<'a, ()>;

    /// Sees to it that it can be used, and is found out when not, for ever.
    fn mind(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Lets go of the file or the connection. Nobody uses it any more.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    /// JSON, as it was written.
    value: String,
    /// No other write of this store has this number.
    version: i64,
    /// Milliseconds since 1970, by the clock of the database.
    updated_at_ms: i64,
}

/// Some documents, by key.
#[derive(Debug, Default)]
struct Page {
    /// The documents with their keys.
    documents: Vec<(String, Document)>,
    /// Whether there are more behind them.
    has_more: bool,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Done: what is stored now, or was deleted, has this version.
    Done(i64),
    /// Another version was expected.
    Conflict {
        /// The one that is there; 0 for none.
        current: i64,
        /// The connection was lost on the way: it may be this very write that changed it.
        is_repeated: bool,
    },
}

/// The store of one client.
#[derive(Debug)]
pub(crate) struct Store {
    backend: Box<dyn Backend>,
    trouble: Arc<Trouble>,
    usage: Usage,
}

impl Store {
    /// The store that the config asks for, if any. Opens nothing.
    ///
    /// # Errors
    /// `InvalidConfig` when it could never be used.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let bot = Owner::new(config).bot;
        let (backend, trouble): (Box<dyn Backend>, _) = match &config.store {
            None => return Ok(None),
            Some(StoreUrl::Sqlite(path)) => {
                let trouble = Arc::new(Trouble::new(path.display().to_string()));
                (Box::new(Sqlite::new(path, bot, Arc::clone(&trouble))?), trouble)
            }
            Some(StoreUrl::Postgres(url)) => {
                let trouble = Arc::new(Trouble::new(url.name().to_owned()));
                let tls = tls::Connector::new(url, config.ca_file.as_deref())?;
                (Box::new(Postgres::new(url, tls, bot, Arc::clone(&trouble))), trouble)
            }
        };
        Ok(Some(Self { backend, trouble, usage: Usage::new() }))
    }

    /// Carries out a command: the status and the data of its reply.
    ///
    /// # Errors
    /// `Io` when the store cannot be used, `Timeout` when it does not answer in time.
    pub(crate) async fn run(&self, request: &Request) -> Result<Reply, Error> {
        let since = Instant::now();
        let reply = self.carry_out(request).await;
        self.usage.note(&reply, Some(since.elapsed()));
        reply
    }

    /// The same, not counted: the engine's own.
    async fn carry_out(&self, request: &Request) -> Result<Reply, Error> {
        let work = async {
            match request {
                Request::Put(put) => self.backend.put(put).await.map(|written| put.reply(written)),
                Request::Get(get) => self.backend.get(get).await.and_then(Get::reply),
                Request::Delete(delete) => {
                    self.backend.delete(delete).await.map(|written| delete.reply(written))
                }
                Request::List(list) => {
                    self.backend.list(list).await.and_then(|page| List::reply(&page))
                }
            }
        };
        let reply = timeout(STORE_PATIENCE, work).await;
        reply.unwrap_or_else(|_| Err(self.is_late(request)))
    }

    /// What came of commands so far.
    pub(crate) fn used(&self) -> Used {
        self.usage.get()
    }

    /// Writes down something of the engine's own.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub(crate) async fn note(&self, collection: &str, key: &str, value: &str) -> Result<(), Error> {
        let put = Put::own(collection, key, value)?;
        let done = self.carry_out(&Request::Put(put)).await;
        done.map(drop)
    }

    /// Deletes what is before a key in a collection of the engine's own, and all but so many of the last.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub(crate) async fn trim(
        &self,
        collection: &str,
        before: &str,
        most: usize,
    ) -> Result<(), Error> {
        let work = self.backend.trim(collection, before, most);
        let late = || Error::new(ErrorKind::Timeout, "the store has not answered in time");
        timeout(STORE_PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Keeps it usable, and its trouble known, for ever.
    pub(crate) async fn mind(&self) {
        self.backend.mind().await;
    }

    /// Lets go of it, when nobody uses it any more.
    pub(crate) async fn close(&self) {
        self.backend.close().await;
    }

    /// Why it cannot be used at the moment.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.get()
    }

    /// It did not answer in time.
    fn is_late(&self, request: &Request) -> Error {
        let why = self.trouble().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let doubt = match request {
            Request::Put(_) | Request::Delete(_) => "; it may be carried out all the same",
            Request::Get(_) | Request::List(_) => "",
        };
        let seconds = STORE_PATIENCE.as_secs();
        let text = format!("the store has not answered within {seconds} s{why}{doubt}");
        Error::new(ErrorKind::Timeout, text)
    }
}

/// The error of commands that need a store.
pub(crate) fn missing() -> Error {
    let text = "the config has no `store`, which documents are kept in: set it to \"sqlite:PATH\" or \
                \"postgres://user:password@host/database\"";
    Error::new(ErrorKind::Unsupported, text)
}

/// A key after all that begin with this prefix, and none before; `None` when there is no end.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Keys are ordered by bytes, which for UTF-8 is the order of characters.
        let next =
            if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_others_begin() {
        for (prefix, end) in [
            ("a", Some("b")),
            ("user:", Some("user;")),
            ("é%_", Some("é%`")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(end_of_prefix(prefix).as_deref(), end, "{prefix:?}");
            if let Some(end) = end {
                assert!(prefix < end && format!("{prefix}\u{10ffff}").as_str() < end);
            }
        }
    }
}
