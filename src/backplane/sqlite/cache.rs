//! The cache in a file: one table, of which what has ended is deleted now and then.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::Sqlite;
use crate::backplane::Doing;
use crate::backplane::cache::{Cache, Cached, Changed, Increment, Set};
use crate::sessions::wall_ms;
use crate::simulation;

/// Values that have ended and are deleted with one that is set.
const CLEANED: i64 = 10;

/// Picks one value.
const PLACE: &str = "bot = ?1 AND key = ?2 AND (until_ms IS NULL OR until_ms > ?3)";

impl Cache for Sqlite {
    fn cache_get<'a>(&'a self, key: &'a str) -> Doing<'a, Option<Cached>> {
        let (bot, key, now_ms) = (self.bot.clone(), key.to_owned(), wall_ms());
        Box::pin(self.ask(move |connection| find(connection, &bot, &key, now_ms)))
    }

    fn cache_set<'a>(&'a self, set: &'a Set) -> Doing<'a, Changed> {
        let (bot, key, now_ms) = (self.bot.clone(), set.key.clone(), wall_ms());
        let (value, expected) = (set.value.get().to_owned(), set.expected_version);
        let until_ms = until(set.ttl_ms, now_ms);
        Box::pin(self.ask(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let last = find(&transaction, &bot, &key, now_ms)?.map_or(0, |found| found.version);
            if expected.is_some_and(|expected| expected != last) {
                return Ok(Changed::Conflict(last));
            }
            let version = write(&transaction, &bot, &key, &value, until_ms, now_ms)?;
            transaction.commit()?;
            Ok(Changed::Done { version, value: 0 })
        }))
    }

    fn cache_delete<'a>(&'a self, key: &'a str) -> Doing<'a, bool> {
        let (bot, key, now_ms) = (self.bot.clone(), key.to_owned(), wall_ms());
        Box::pin(self.ask(move |connection| {
            let delete = format!("DELETE FROM cache WHERE {PLACE}");
            Ok(connection.execute(&delete, params![bot, key, now_ms])? > 0)
        }))
    }

    fn cache_increment<'a>(&'a self, increment: &'a Increment) -> Doing<'a, Changed> {
        let (bot, key, now_ms) = (self.bot.clone(), increment.key.clone(), wall_ms());
        let (by, ttl_ms) = (increment.by, increment.ttl_ms);
        Box::pin(self.ask(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let last = find(&transaction, &bot, &key, now_ms)?;
            let until_ms = match &last {
                Some(last) => last.ttl_ms.map(|ttl_ms| now_ms + ttl_ms),
                None => until(ttl_ms, now_ms),
            };
            let number = last.map_or(Some(0), |last| last.value.parse::<i64>().ok());
            let Some(value) = number.and_then(|number| number.checked_add(by)) else {
                return Ok(Changed::NoNumber);
            };
            let version = write(&transaction, &bot, &key, &value.to_string(), until_ms, now_ms)?;
            transaction.commit()?;
            Ok(Changed::Done { version, value })
        }))
    }
}

/// When a value ends.
fn until(ttl_ms: Option<u64>, now_ms: i64) -> Option<i64> {
    ttl_ms.map(|ttl_ms| now_ms.saturating_add(i64::try_from(ttl_ms).unwrap_or(i64::MAX)))
}

/// A value that has not ended.
fn find(
    connection: &Connection,
    bot: &str,
    key: &str,
    now_ms: i64,
) -> rusqlite::Result<Option<Cached>> {
    let select = format!("SELECT value, version, until_ms FROM cache WHERE {PLACE}");
    let mut select = connection.prepare_cached(&select)?;
    let found = select.query_row(params![bot, key, now_ms], |row| {
        let until_ms: Option<i64> = row.get(2)?;
        let ttl_ms = until_ms.map(|until_ms| until_ms - now_ms);
        Ok(Cached { value: row.get(0)?, version: row.get(1)?, ttl_ms })
    });
    found.optional()
}

/// Writes a value, and deletes some that have ended. Returns its version.
fn write(
    connection: &Connection,
    bot: &str,
    key: &str,
    value: &str,
    until_ms: Option<i64>,
    now_ms: i64,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "DELETE FROM cache WHERE rowid IN
                 (SELECT rowid FROM cache WHERE until_ms <= ?1 ORDER BY until_ms LIMIT ?2)",
        )?
        .execute(params![now_ms, CLEANED])?;
    // Grows over deletes as well.
    let now_us = i64::try_from(simulation::since_1970().as_micros()).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT INTO cache (bot, key, value, version, until_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET value = ?3, version = MAX(?4, version + 1), until_ms = ?5
             RETURNING version",
        )?
        .query_row(params![bot, key, value, now_us, until_ms], |row| row.get(0))
}
