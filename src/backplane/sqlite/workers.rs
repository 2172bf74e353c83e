//! Who is there, in a file.

use rusqlite::params;

use super::Sqlite;
use crate::backplane::{Trouble, WORKER_KEPT};
use crate::sessions::wall_ms;

impl Sqlite {
    /// Writes that a worker is there, and forgets those that have not been for long.
    pub(super) async fn write_worker(&self, worker: &str, record: &str) -> Result<(), Trouble> {
        let (bot, worker, record) = (self.bot.clone(), worker.to_owned(), record.to_owned());
        let now_ms = wall_ms();
        self.ask(move |connection| {
            let transaction = connection.transaction()?;
            let insert = "INSERT OR REPLACE INTO worker (bot, worker, alive_at_ms, record)
                          VALUES (?1, ?2, ?3, ?4)";
            transaction.prepare_cached(insert)?.execute(params![bot, worker, now_ms, record])?;
            let delete = "DELETE FROM worker WHERE bot = ?1 AND alive_at_ms < ?2";
            transaction.prepare_cached(delete)?.execute(params![bot, oldest(now_ms)])?;
            transaction.commit()
        })
        .await
    }

    /// A worker is gone.
    pub(super) async fn delete_worker(&self, worker: &str) -> Result<(), Trouble> {
        let (bot, worker) = (self.bot.clone(), worker.to_owned());
        self.ask(move |connection| {
            let delete = "DELETE FROM worker WHERE bot = ?1 AND worker = ?2";
            connection.execute(delete, params![bot, worker]).map(drop)
        })
        .await
    }

    /// The records of those that are there.
    pub(super) async fn read_workers(&self) -> Result<Vec<String>, Trouble> {
        let (bot, now_ms) = (self.bot.clone(), wall_ms());
        self.ask(move |connection| {
            let select = "SELECT record FROM worker WHERE bot = ?1 AND alive_at_ms >= ?2";
            let mut select = connection.prepare_cached(select)?;
            select.query_map(params![bot, oldest(now_ms)], |row| row.get(0))?.collect()
        })
        .await
    }
}

/// Since when a worker must have been heard of to be there.
fn oldest(now_ms: i64) -> i64 {
    now_ms - WORKER_KEPT.as_millis() as i64
}
