//! Jobs in a file: one table.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::Sqlite;
use crate::backplane::Doing;
use crate::backplane::jobs::{
    DUE_AT_ONCE, Due, End, Job, JobCounts, JobList, JobState, Jobs, LOST, Lease, Listed, Push,
    Pushed, RawValueText, Schedule, Scheduled, Taken,
};
use crate::config::{MAX_DEAD_JOBS, MAX_SCHEDULES};
use crate::sessions::wall_ms;

/// Picks what a lease is of.
const LEASED: &str = "id = ?1 AND state = 1 AND worker = ?2 AND attempt = ?3";

impl Jobs for Sqlite {
    fn job_push<'a>(&'a self, push: &'a Push) -> Doing<'a, Pushed> {
        let (bot, queue, dedupe) = (self.bot.clone(), push.queue.clone(), push.dedupe.clone());
        let (payload, delay_ms) = (push.payload.get().to_owned(), push.delay_ms);
        let (priority, max_attempts) = (push.priority, push.max_attempts);
        Box::pin(self.ask(move |connection| {
            let transaction = begin(connection)?;
            let new = New { payload, priority, max_attempts, dedupe };
            let pushed = add(&transaction, &bot, &queue, &new, delay_ms)?;
            transaction.commit()?;
            Ok(pushed)
        }))
    }

    fn job_take<'a>(
        &'a self,
        queue: &'a str,
        worker: &'a str,
        visibility: Duration,
        count: usize,
    ) -> Doing<'a, Taken> {
        let (bot, queue, worker) = (self.bot.clone(), queue.to_owned(), worker.to_owned());
        Box::pin(self.ask(move |connection| {
            let transaction = begin(connection)?;
            let now_ms = wall_ms();
            revive(&transaction, &bot, &queue, now_ms)?;
            let mut next = transaction.prepare_cached(
                "SELECT id FROM job WHERE bot = ?1 AND queue = ?2 AND state = 0 AND at_ms <= ?3
                 ORDER BY priority DESC, id LIMIT ?4",
            )?;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let ids = next.query_map(params![bot, queue, now_ms, count], |row| row.get(0))?;
            let ids = ids.collect::<rusqlite::Result<Vec<i64>>>()?;
            drop(next);
            let mut take = transaction.prepare_cached(
                "UPDATE job SET state = 1, attempt = attempt + 1, worker = ?2, at_ms = ?3 WHERE id = ?1
                 RETURNING attempt, payload",
            )?;
            let mut taken = Taken::default();
            for id in ids {
                taken.jobs.push(take.query_row(params![id, worker, now_ms + millis(visibility)], |row| {
                    Ok(Job { id, attempt: row.get(0)?, payload: row.get(1)? })
                })?);
            }
            drop(take);
            let mut soonest = transaction
                .prepare_cached("SELECT MIN(at_ms) FROM job WHERE bot = ?1 AND queue = ?2 AND state = ?3")?;
            for state in [0, 1] {
                let at_ms: Option<i64> =
                    soonest.query_row(params![bot, queue, state], |row| row.get(0))?;
                let wait = at_ms.map(|at_ms| u64::try_from(at_ms - now_ms).unwrap_or(0));
                taken.wait = taken.wait.into_iter().chain(wait.map(Duration::from_millis)).min();
            }
            drop(soonest);
            look_at_schedules(&transaction, &bot, &queue, now_ms, &mut taken)?;
            transaction.commit()?;
            Ok(taken)
        }))
    }

    fn job_extend<'a>(&'a self, visibility: Duration, leases: &'a [Lease]) -> Doing<'a, Vec<i64>> {
        let leases = leases.to_vec();
        Box::pin(self.ask(move |connection| {
            let transaction = begin(connection)?;
            let until_ms = wall_ms() + millis(visibility);
            let update = format!("UPDATE job SET at_ms = ?4 WHERE {LEASED}");
            let mut update = transaction.prepare_cached(&update)?;
            let mut extended = Vec::new();
            for Lease { worker, id, attempt, .. } in leases {
                if update.execute(params![id, worker, attempt, until_ms])? > 0 {
                    extended.push(id);
                }
            }
            drop(update);
            transaction.commit()?;
            Ok(extended)
        }))
    }

    fn job_end<'a>(&'a self, lease: &'a Lease, end: &'a End) -> Doing<'a, bool> {
        let (bot, lease, end) = (self.bot.clone(), lease.clone(), end.clone());
        Box::pin(self.ask(move |connection| {
            let Lease { queue, worker, id, attempt } = lease;
            let transaction = begin(connection)?;
            let count = match end {
                End::Done => {
                    let delete = format!("DELETE FROM job WHERE {LEASED}");
                    transaction.prepare_cached(&delete)?.execute(params![id, worker, attempt])?
                }
                End::Again(delay, error) => {
                    let update = format!(
                        "UPDATE job SET state = IIF(attempt < max_attempts, 0, 2), at_ms = ?4, error = ?5
                         WHERE {LEASED}"
                    );
                    let at_ms = wall_ms() + millis(delay);
                    let changed = params![id, worker, attempt, at_ms, error];
                    transaction.prepare_cached(&update)?.execute(changed)?
                }
                End::Dead(error) => {
                    let update = format!("UPDATE job SET state = 2, error = ?4 WHERE {LEASED}");
                    transaction.prepare_cached(&update)?.execute(params![id, worker, attempt, error])?
                }
            };
            forget_oldest_dead(&transaction, &bot, &queue)?;
            transaction.commit()?;
            Ok(count > 0)
        }))
    }

    fn job_list<'a>(&'a self, list: &'a JobList) -> Doing<'a, Vec<Listed>> {
        let (bot, queue, after) = (self.bot.clone(), list.queue.clone(), list.after);
        let limit = i64::try_from(list.limit).unwrap_or(i64::MAX) + 1;
        let state = match list.state {
            JobState::Waiting => 0,
            JobState::Running => 1,
            JobState::Dead => 2,
        };
        Box::pin(self.ask(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT id, payload, attempt, max_attempts, priority, error FROM job
                 WHERE bot = ?1 AND queue = ?2 AND state = ?3 AND id > ?4 ORDER BY id LIMIT ?5",
            )?;
            let rows = select.query_map(params![bot, queue, state, after, limit], |row| {
                Ok(Listed {
                    job_id: row.get(0)?,
                    payload: RawValueText(row.get(1)?),
                    attempt: row.get(2)?,
                    max_attempts: row.get(3)?,
                    priority: row.get(4)?,
                    error: row.get(5)?,
                })
            })?;
            rows.collect()
        }))
    }

    fn job_count<'a>(&'a self, queue: &'a str) -> Doing<'a, JobCounts> {
        let (bot, queue) = (self.bot.clone(), queue.to_owned());
        Box::pin(self.ask(move |connection| {
            let mut count = connection.prepare_cached(
                "SELECT count(*) FROM job WHERE bot = ?1 AND queue = ?2 AND state = ?3",
            )?;
            let mut count = |state: i64| {
                let count = count.query_row(params![bot, queue, state], |row| row.get::<_, i64>(0));
                count.map(i64::unsigned_abs)
            };
            Ok(JobCounts { waiting: count(0)?, running: count(1)?, dead: count(2)? })
        }))
    }

    fn job_retry<'a>(&'a self, queue: &'a str, id: i64) -> Doing<'a, bool> {
        let (bot, queue) = (self.bot.clone(), queue.to_owned());
        Box::pin(self.ask(move |connection| {
            // Another one with its dedupe key may wait by now; then there are two, and this one has none.
            let update = "UPDATE job SET state = 0, attempt = 0, at_ms = ?4, dedupe = NULL
                WHERE bot = ?1 AND queue = ?2 AND id = ?3 AND state = 2";
            Ok(connection.execute(update, params![bot, queue, id, wall_ms()])? > 0)
        }))
    }

    fn job_clock(&self) -> Doing<'_, i64> {
        Box::pin(async { Ok(wall_ms()) })
    }

    fn job_schedule<'a>(&'a self, push: &'a Push, due: &'a Due) -> Doing<'a, Scheduled> {
        let (bot, queue, due) = (self.bot.clone(), push.queue.clone(), due.clone());
        let (payload, dedupe) = (push.payload.get().to_owned(), push.dedupe.clone());
        let (priority, max_attempts) = (push.priority, push.max_attempts);
        Box::pin(self.ask(move |connection| {
            let Due { name, rhythm, at_ms } = due;
            let transaction = begin(connection)?;
            let known =
                "SELECT rhythm, at_ms FROM schedule WHERE bot = ?1 AND queue = ?2 AND name = ?3";
            let known: Option<(String, i64)> = transaction
                .query_row(known, params![bot, queue, name], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if known.is_none() {
                let count = "SELECT COUNT(*) FROM schedule WHERE bot = ?1 AND queue = ?2";
                let count: u32 =
                    transaction.query_row(count, params![bot, queue], |row| row.get(0))?;
                if count as usize >= MAX_SCHEDULES {
                    return Ok(Scheduled::TooMany);
                }
            }
            let is_known = known.is_some();
            let goes_on = known.filter(|(its, _)| *its == rhythm).map(|(_, at_ms)| at_ms);
            let at_ms = goes_on.unwrap_or(at_ms);
            transaction.execute(
                "INSERT OR REPLACE INTO schedule
                     (bot, queue, name, rhythm, at_ms, payload, priority, max_attempts, dedupe)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![bot, queue, name, rhythm, at_ms, payload, priority, max_attempts, dedupe],
            )?;
            transaction.commit()?;
            Ok(if is_known { Scheduled::Replaced(at_ms) } else { Scheduled::New })
        }))
    }

    fn job_fire<'a>(
        &'a self,
        queue: &'a str,
        due: &'a Due,
        next_ms: i64,
    ) -> Doing<'a, Option<Pushed>> {
        let (bot, queue, due) = (self.bot.clone(), queue.to_owned(), due.clone());
        Box::pin(self.ask(move |connection| {
            let Due { name, rhythm, at_ms } = due;
            let transaction = begin(connection)?;
            let update = "UPDATE schedule SET at_ms = ?6
                 WHERE bot = ?1 AND queue = ?2 AND name = ?3 AND rhythm = ?4 AND at_ms = ?5
                 RETURNING payload, priority, max_attempts, dedupe";
            let new = transaction
                .prepare_cached(update)?
                .query_row(params![bot, queue, name, rhythm, at_ms, next_ms], |row| {
                    let (payload, priority) = (row.get(0)?, row.get(1)?);
                    Ok(New { payload, priority, max_attempts: row.get(2)?, dedupe: row.get(3)? })
                })
                .optional()?;
            let Some(new) = new else { return Ok(None) };
            let pushed = add(&transaction, &bot, &queue, &new, 0)?;
            transaction.commit()?;
            Ok(Some(pushed))
        }))
    }

    fn job_schedules<'a>(&'a self, queue: &'a str) -> Doing<'a, Vec<Schedule>> {
        let (bot, queue) = (self.bot.clone(), queue.to_owned());
        Box::pin(self.ask(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT name, rhythm, at_ms, payload, priority, max_attempts, dedupe FROM schedule
                 WHERE bot = ?1 AND queue = ?2 ORDER BY name",
            )?;
            let rows = select.query_map(params![bot, queue], |row| {
                Ok(Schedule {
                    due: Due { name: row.get(0)?, rhythm: row.get(1)?, at_ms: row.get(2)? },
                    payload: RawValueText(row.get(3)?),
                    priority: row.get(4)?,
                    max_attempts: row.get(5)?,
                    dedupe: row.get(6)?,
                })
            })?;
            rows.collect()
        }))
    }

    fn job_unschedule<'a>(&'a self, queue: &'a str, name: &'a str) -> Doing<'a, bool> {
        let (bot, queue, name) = (self.bot.clone(), queue.to_owned(), name.to_owned());
        Box::pin(self.ask(move |connection| {
            let delete = "DELETE FROM schedule WHERE bot = ?1 AND queue = ?2 AND name = ?3";
            Ok(connection.execute(delete, params![bot, queue, name])? > 0)
        }))
    }
}

/// A job that is to be added.
struct New {
    payload: String,
    priority: i64,
    max_attempts: i64,
    dedupe: Option<String>,
}

/// Adds a job, unless there is one with its dedupe key.
fn add(
    transaction: &Transaction<'_>,
    bot: &str,
    queue: &str,
    new: &New,
    delay_ms: u64,
) -> rusqlite::Result<Pushed> {
    let New { payload, priority, max_attempts, dedupe } = new;
    let known = "SELECT id FROM job WHERE bot = ?1 AND queue = ?2 AND dedupe = ?3 AND state < 2";
    let known: Option<i64> = transaction
        .prepare_cached(known)?
        .query_row(params![bot, queue, dedupe], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(Pushed { id, is_new: false, wakes: false });
    }
    let now_ms = wall_ms();
    let is_busy = "SELECT EXISTS (SELECT 1 FROM job
         WHERE bot = ?1 AND queue = ?2 AND state = 0 AND at_ms <= ?3)";
    let is_busy: bool = transaction
        .prepare_cached(is_busy)?
        .query_row(params![bot, queue, now_ms], |row| row.get(0))?;
    let at_ms = now_ms + i64::try_from(delay_ms).unwrap_or(0);
    transaction
        .prepare_cached(
            "INSERT INTO job (bot, queue, payload, priority, attempt, max_attempts, dedupe, state, at_ms)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, 0, ?7)",
        )?
        .execute(params![bot, queue, payload, priority, max_attempts, dedupe, at_ms])?;
    let id = transaction.last_insert_rowid();
    Ok(Pushed { id, is_new: true, wakes: delay_ms > 0 || !is_busy })
}

/// Notes which schedules are due, and when the next one is.
fn look_at_schedules(
    transaction: &Transaction<'_>,
    bot: &str,
    queue: &str,
    now_ms: i64,
    taken: &mut Taken,
) -> rusqlite::Result<()> {
    taken.now_ms = now_ms;
    let mut select = transaction.prepare_cached(
        "SELECT name, rhythm, at_ms FROM schedule WHERE bot = ?1 AND queue = ?2
         ORDER BY at_ms LIMIT ?3",
    )?;
    let first = select.query_map(params![bot, queue, DUE_AT_ONCE], |row| {
        Ok(Due { name: row.get(0)?, rhythm: row.get(1)?, at_ms: row.get(2)? })
    })?;
    for due in first {
        let due = due?;
        if taken.next_due.is_none() {
            let wait_ms = u64::try_from(due.at_ms - now_ms).unwrap_or(0);
            taken.next_due = Some(Duration::from_millis(wait_ms));
        }
        if due.at_ms > now_ms {
            break;
        }
        taken.due.push(due);
    }
    Ok(())
}

/// Nobody else writes until it ends.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Jobs whose lease has ended wait again, or are dead.
fn revive(
    transaction: &Transaction<'_>,
    bot: &str,
    queue: &str,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let revived = transaction
        .prepare_cached(
            "UPDATE job SET state = IIF(attempt < max_attempts, 0, 2), error = ?4
             WHERE bot = ?1 AND queue = ?2 AND state = 1 AND at_ms <= ?3",
        )?
        .execute(params![bot, queue, now_ms, LOST])?;
    if revived > 0 { forget_oldest_dead(transaction, bot, queue) } else { Ok(()) }
}

/// Keeps the bound of those that are kept.
fn forget_oldest_dead(
    transaction: &Transaction<'_>,
    bot: &str,
    queue: &str,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM job WHERE id IN (
                 SELECT id FROM job WHERE bot = ?1 AND queue = ?2 AND state = 2
                 ORDER BY id DESC LIMIT -1 OFFSET ?3)",
        )?
        .execute(params![bot, queue, MAX_DEAD_JOBS])
        .map(drop)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
