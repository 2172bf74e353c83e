//! Messages through a file: a table that everybody reads on from where he was.

use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::time::{Instant, sleep};

use super::Sqlite;
use crate::backplane::{Deliver, Message, Trouble};
use crate::sessions::wall_ms;

/// Time between two looks. With the time that a look and a write take, a message is there within 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Time between two looks at a file that cannot be read.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Messages older than this are gone, read or not.
const KEPT: Duration = Duration::from_secs(60);

/// Time between two looks for those.
const CLEAN_EVERY: Duration = Duration::from_secs(5);

/// Messages taken in one look; the next follows at once.
const BATCH: u32 = 256;

/// Where the reader is.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The newest message that it has seen; `None` before the first look.
    id: Option<i64>,
    /// SQLite's number of the file's state at the last look. Another process changes it by writing.
    data_version: Option<i64>,
    /// When old messages were last deleted.
    cleaned_at: Option<Instant>,
}

/// What a look found.
struct Found {
    messages: Vec<Message>,
    /// The newest message of all.
    id: i64,
    data_version: i64,
    has_more: bool,
}

impl Sqlite {
    /// Writes a message, and now and then deletes old ones.
    pub(super) async fn write_message(&self, channel: &str, body: &str) -> Result<(), Trouble> {
        let (bot, channel, body) = (self.bot.clone(), channel.to_owned(), body.to_owned());
        let now_ms = wall_ms();
        let clean = {
            let mut position = self.position();
            let is_due = position.cleaned_at.is_none_or(|at| at.elapsed() >= CLEAN_EVERY);
            if is_due {
                position.cleaned_at = Some(Instant::now());
            }
            is_due
        };
        self.ask(move |connection| {
            let transaction = connection.transaction()?;
            let insert = "INSERT INTO message (bot, at_ms, channel, body) VALUES (?1, ?2, ?3, ?4)";
            transaction.prepare_cached(insert)?.execute(params![bot, now_ms, channel, body])?;
            if clean {
                let oldest = now_ms - KEPT.as_millis() as i64;
                let delete = "DELETE FROM message WHERE bot = ?1 AND at_ms < ?2";
                transaction.execute(delete, params![bot, oldest])?;
            }
            transaction.commit()
        })
        .await?;
        self.news.notify_one();
        Ok(())
    }

    /// Reads messages for ever.
    pub(super) async fn look_for_messages(&self, deliver: Deliver) {
        loop {
            let (id, data_version) = {
                let position = self.position();
                (position.id, position.data_version)
            };
            let bot = self.bot.clone();
            let look = move |connection: &mut Connection| look(connection, &bot, id, data_version);
            let wait = match self.through(&self.reader, look).await {
                Err(_) => {
                    // Another connection may count otherwise.
                    self.position().data_version = None;
                    LOOK_AGAIN
                }
                Ok(None) => LOOK_EVERY,
                Ok(Some(found)) => {
                    {
                        let mut position = self.position();
                        position.id = Some(found.id);
                        position.data_version = (!found.has_more).then_some(found.data_version);
                    }
                    for message in found.messages {
                        if self.channels().contains(&message.channel) {
                            deliver(message);
                        }
                    }
                    if id.is_none() {
                        self.connections.send_modify(|count| *count += 1);
                    }
                    if found.has_more { Duration::ZERO } else { LOOK_EVERY }
                }
            };
            tokio::select! {
                biased;
                () = self.news.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    fn position(&self) -> std::sync::MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look; `None` when nobody has written since the last one.
fn look(
    connection: &mut Connection,
    bot: &str,
    id: Option<i64>,
    data_version: Option<i64>,
) -> rusqlite::Result<Option<Found>> {
    let now = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
    if data_version == Some(now) {
        return Ok(None);
    }
    // One state of the file for both questions.
    let transaction = connection.transaction()?;
    // Of all ids ever given, not of those still there: a reader that finds none left must not begin at zero.
    let newest = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'message'";
    let newest: i64 = transaction.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    // The file may be another one by now, which counts from the beginning.
    let after = id.map_or(newest, |id| id.min(newest));
    let mut select = transaction.prepare_cached(
        "SELECT id, channel, body FROM message WHERE id > ?1 AND bot = ?2 ORDER BY id LIMIT ?3",
    )?;
    let rows = select.query_map(params![after, bot, BATCH], |row| {
        Ok((row.get::<_, i64>(0)?, Message { channel: row.get(1)?, body: row.get(2)? }))
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let has_more = rows.len() == BATCH as usize;
    let last = rows.last().map_or(newest, |(id, _)| *id);
    let id = if has_more { last } else { newest };
    let messages = rows.into_iter().map(|(_, message)| message).collect();
    Ok(Some(Found { messages, id, data_version: now, has_more }))
}
