//! Leases in a file. The clock is this machine's.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::Sqlite;
use crate::backplane::Doing;
use crate::backplane::leases::{Answer, Ask, Held, Leases, Standing, TakenBy, Wants, fair_share};
use crate::sessions::wall_ms;

/// A row of the table.
#[derive(Debug, Clone)]
struct Row {
    worker: String,
    token: u64,
    until_ms: i64,
}

impl Leases for Sqlite {
    fn lease_hold<'a>(&'a self, ask: &'a Ask) -> Doing<'a, Answer> {
        let (bot, ask) = (self.bot.clone(), ask.clone());
        Box::pin(self.ask(move |connection| hold(connection, &bot, &ask, wall_ms())))
    }

    fn lease_release<'a>(
        &'a self,
        worker: &'a str,
        shard_total: u32,
        held: &'a [Held],
        leaves: bool,
    ) -> Doing<'a, ()> {
        let (bot, worker, held) = (self.bot.clone(), worker.to_owned(), held.to_vec());
        Box::pin(self.ask(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let update = "UPDATE lease SET worker = '', until_ms = 0 WHERE bot = ?1
                AND shard_total = ?2 AND shard_id = ?3 AND worker = ?4 AND token = ?5";
            for Held { shard_id, token } in held {
                let lease = params![bot, shard_total, shard_id, worker, number(token)];
                transaction.prepare_cached(update)?.execute(lease)?;
            }
            if leaves {
                let delete = "DELETE FROM lease_worker WHERE bot = ?1 AND worker = ?2";
                transaction.execute(delete, params![bot, worker])?;
            }
            transaction.commit()
        }))
    }
}

/// See `redis/leases.lua`, which does the same.
fn hold(
    connection: &mut Connection,
    bot: &str,
    ask: &Ask,
    now_ms: i64,
) -> rusqlite::Result<Answer> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let total = ask.shard_total;
    let forget = "DELETE FROM lease_worker WHERE bot = ?1 AND until_ms <= ?2";
    transaction.prepare_cached(forget)?.execute(params![bot, now_ms])?;
    let shares = matches!(ask.wants, Wants::Share { .. });
    if shares {
        let other = "SELECT shard_total FROM lease_worker
            WHERE bot = ?1 AND shares AND worker <> ?2 AND shard_total <> ?3 LIMIT 1";
        let other = transaction
            .query_row(other, params![bot, ask.worker, total], |row| row.get(0))
            .optional()?;
        if let Some(other) = other {
            transaction.commit()?;
            return Ok(Answer::OtherTotal(other));
        }
    }
    let until_ms = now_ms + i64::try_from(ask.ttl.as_millis()).unwrap_or(i64::MAX / 4);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO lease_worker VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![bot, ask.worker, total, shares, ask.whereabouts, until_ms])?;

    let mut book = Book { bot, ask, now_ms, until_ms, rows: rows(&transaction, bot, total)? };
    let mut standing = Standing { held: book.renew(&transaction)?, ..Standing::default() };
    match &ask.wants {
        Wants::Share { takes } => {
            let sharers = sharers(&transaction, bot)?;
            standing.workers = u32::try_from(sharers.len()).unwrap_or(u32::MAX);
            standing.share = book.share(sharers, &standing.held);
            let held = u32::try_from(standing.held.len()).unwrap_or(u32::MAX);
            let room = if *takes { standing.share.saturating_sub(held) } else { 0 };
            let free = (0..total).filter(|shard_id| book.is_free(*shard_id, &standing.held));
            let free: Vec<u32> = free.take(room as usize).collect();
            book.grant(&transaction, &free, &mut standing.held)?;
        }
        Wants::These { shards, gone } => {
            let is_held = |shard_id: u32| standing.held.iter().any(|it| it.shard_id == shard_id);
            let mut free = Vec::new();
            for &shard_id in shards.iter().filter(|shard_id| !is_held(**shard_id)) {
                let row = book.rows.get(&shard_id);
                let is_gone = row.is_some_and(|row| gone.contains(&row.worker));
                if is_gone || book.is_free(shard_id, &standing.held) {
                    free.push(shard_id);
                } else if let Some(row) = row {
                    let worker = row.worker.clone();
                    let whereabouts = whereabouts(&transaction, bot, &worker)?;
                    standing.taken.push(TakenBy { shard_id, worker, whereabouts });
                }
            }
            if standing.taken.is_empty() || !standing.held.is_empty() {
                book.grant(&transaction, &free, &mut standing.held)?;
            }
        }
    }
    standing.held.sort_unstable();
    let others = book.rows.values().filter(|row| row.worker != ask.worker);
    let ends = others.map(|row| row.until_ms - now_ms).filter(|left_ms| *left_ms > 0).min();
    standing.next_end = Duration::from_millis(ends.map_or(0, i64::unsigned_abs));
    transaction.commit()?;
    Ok(Answer::Standing(standing))
}

/// The leases of one number of shards, as one worker finds them.
struct Book<'a> {
    bot: &'a str,
    ask: &'a Ask,
    now_ms: i64,
    until_ms: i64,
    rows: BTreeMap<u32, Row>,
}

impl Book<'_> {
    /// What the worker still holds, from now on for longer.
    fn renew(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Held>> {
        let mut renewed = Vec::new();
        for &held in &self.ask.held {
            let is_theirs = match self.rows.get(&held.shard_id) {
                Some(row) => row.worker == self.ask.worker && row.token == held.token,
                // The file is another one by now, and nobody was faster.
                None => held.shard_id < self.ask.shard_total,
            };
            if is_theirs {
                self.write(transaction, held)?;
                renewed.push(held);
            }
        }
        Ok(renewed)
    }

    /// How many the worker should hold. What those hold who do not share is not shared out.
    fn share(&self, mut sharers: Vec<(String, u32)>, held: &[Held]) -> u32 {
        let mut pool = self.ask.shard_total;
        for (shard_id, row) in &self.rows {
            let sharer = sharers.iter_mut().find(|(worker, _)| *worker == row.worker);
            match sharer {
                Some((worker, _)) if *worker == self.ask.worker => {}
                Some((_, count)) if row.until_ms > self.now_ms => *count += 1,
                None if row.until_ms > self.now_ms && *shard_id < self.ask.shard_total => pool -= 1,
                _ => {}
            }
        }
        let own = sharers.iter_mut().find(|(worker, _)| *worker == self.ask.worker);
        if let Some((_, count)) = own {
            *count = u32::try_from(held.len()).unwrap_or(u32::MAX);
        }
        fair_share(pool, &sharers, &self.ask.worker)
    }

    /// Whether nobody holds it. What the worker does not know that it holds was granted in an answer that it
    /// has not heard.
    fn is_free(&self, shard_id: u32, held: &[Held]) -> bool {
        self.rows.get(&shard_id).is_none_or(|row| {
            row.until_ms <= self.now_ms
                || (row.worker == self.ask.worker && !held.iter().any(|it| it.shard_id == shard_id))
        })
    }

    /// Grants these.
    fn grant(
        &mut self,
        transaction: &Transaction<'_>,
        shards: &[u32],
        held: &mut Vec<Held>,
    ) -> rusqlite::Result<()> {
        if shards.is_empty() {
            return Ok(());
        }
        let last = "SELECT COALESCE(MAX(token), 0) FROM lease WHERE bot = ?1";
        let last: i64 = transaction.query_row(last, params![self.bot], |row| row.get(0))?;
        let last = u64::try_from(last.max(self.now_ms * 1_000)).unwrap_or(0);
        for (token, &shard_id) in (last + 1..).zip(shards) {
            let lease = Held { shard_id, token };
            self.write(transaction, lease)?;
            held.push(lease);
        }
        Ok(())
    }

    /// Notes that the worker holds it.
    fn write(&mut self, transaction: &Transaction<'_>, held: Held) -> rusqlite::Result<()> {
        let Held { shard_id, token } = held;
        let (total, worker) = (self.ask.shard_total, self.ask.worker.clone());
        let insert = "INSERT OR REPLACE INTO lease VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let row = params![self.bot, total, shard_id, worker, number(token), self.until_ms];
        transaction.prepare_cached(insert)?.execute(row)?;
        self.rows.insert(shard_id, Row { worker, token, until_ms: self.until_ms });
        Ok(())
    }
}

/// All leases of so many shards.
fn rows(
    transaction: &Transaction<'_>,
    bot: &str,
    shard_total: u32,
) -> rusqlite::Result<BTreeMap<u32, Row>> {
    let select = "SELECT shard_id, worker, token, until_ms FROM lease
        WHERE bot = ?1 AND shard_total = ?2";
    let mut select = transaction.prepare_cached(select)?;
    let rows = select.query_map(params![bot, shard_total], |row| {
        let token: i64 = row.get(2)?;
        let token = u64::try_from(token).unwrap_or(0);
        Ok((row.get(0)?, Row { worker: row.get(1)?, token, until_ms: row.get(3)? }))
    })?;
    rows.collect()
}

/// Those who share, with nothing counted yet.
fn sharers(transaction: &Transaction<'_>, bot: &str) -> rusqlite::Result<Vec<(String, u32)>> {
    let select = "SELECT worker FROM lease_worker WHERE bot = ?1 AND shares";
    let mut select = transaction.prepare_cached(select)?;
    select.query_map(params![bot], |row| Ok((row.get(0)?, 0)))?.collect()
}

/// Where a worker is.
fn whereabouts(transaction: &Transaction<'_>, bot: &str, worker: &str) -> rusqlite::Result<String> {
    let select = "SELECT whereabouts FROM lease_worker WHERE bot = ?1 AND worker = ?2";
    let found = transaction.query_row(select, params![bot, worker], |row| row.get(0)).optional();
    found.map(Option::unwrap_or_default)
}

/// A token as SQLite has numbers.
fn number(token: u64) -> i64 {
    i64::try_from(token).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::sqlite::MIGRATIONS;

    const NOW: i64 = 1_800_000_000_000;
    const TTL_MS: i64 = 15_000;

    struct File(Connection);

    impl File {
        fn new() -> Self {
            let mut memory = Connection::open_in_memory().expect("memory");
            crate::sqlite::migrate(&mut memory, MIGRATIONS).expect("tables");
            Self(memory)
        }

        fn ask(&mut self, worker: &str, held: &[Held], wants: Wants, now_ms: i64) -> Standing {
            match self.answer(worker, 8, held, wants, now_ms) {
                Answer::Standing(standing) => standing,
                other @ Answer::OtherTotal(_) => panic!("{other:?}"),
            }
        }

        fn answer(
            &mut self,
            worker: &str,
            shard_total: u32,
            held: &[Held],
            wants: Wants,
            now_ms: i64,
        ) -> Answer {
            let (whereabouts, ttl) = (format!("at {worker}"), Duration::from_millis(TTL_MS as u64));
            let (worker, held) = (worker.to_owned(), held.to_vec());
            let ask = Ask { worker, whereabouts, shard_total, ttl, held, wants };
            hold(&mut self.0, "1", &ask, now_ms).expect("memory")
        }

        fn share(&mut self, worker: &str, held: &[Held], now_ms: i64) -> Standing {
            self.ask(worker, held, Wants::Share { takes: true }, now_ms)
        }

        fn these(&mut self, worker: &str, shards: &[u32], gone: &[&str], now_ms: i64) -> Standing {
            let gone = gone.iter().map(ToString::to_string).collect();
            self.ask(worker, &[], Wants::These { shards: shards.to_vec(), gone }, now_ms)
        }
    }

    fn ids(standing: &Standing) -> Vec<u32> {
        standing.held.iter().map(|held| held.shard_id).collect()
    }

    #[test]
    fn shards_are_taken_kept_and_taken_over_with_a_greater_token() {
        let mut file = File::new();
        let first = file.share("a", &[], NOW);
        assert_eq!(ids(&first), (0..8).collect::<Vec<_>>());
        let joined = file.ask("b", &[], Wants::Share { takes: false }, NOW);
        assert_eq!((joined.share, joined.workers, joined.held), (4, 2, Vec::new()));
        let again = file.share("a", &first.held, NOW + 10_000);
        assert_eq!((&again.held, again.share), (&first.held, 4), "it is for `a` to give up four");

        // `b` was heard of last at NOW, and `a` ten seconds later; neither is heard of any more.
        let later = NOW + 10_000 + TTL_MS;
        let early = file.share("c", &[], later - 1);
        assert_eq!((early.held, early.next_end), (Vec::new(), Duration::from_millis(1)));
        let over = file.share("c", &[], later);
        assert_eq!(ids(&over), ids(&first));
        let is_greater = |(new, old): (&Held, &Held)| new.token > old.token;
        assert!(over.held.iter().zip(&first.held).all(is_greater));
        let late = file.share("a", &first.held, later + 1);
        assert_eq!((late.held, late.share), (Vec::new(), 4), "who comes back late has nothing");
    }

    #[test]
    fn what_an_answer_granted_that_was_lost_is_granted_again() {
        let mut file = File::new();
        let lost = file.share("a", &[], NOW);
        let again = file.share("a", &[], NOW + 1);
        assert_eq!(ids(&again), ids(&lost));
        assert!(again.held.iter().zip(&lost.held).all(|(new, old)| new.token > old.token));
        assert_eq!(file.share("a", &lost.held, NOW + 2).held.len(), 8);
    }

    #[test]
    fn one_number_of_shards_for_all_who_share() {
        let mut file = File::new();
        file.share("a", &[], NOW);
        let share = || Wants::Share { takes: true };
        assert_eq!(file.answer("b", 16, &[], share(), NOW), Answer::OtherTotal(8));
        let later = file.answer("b", 16, &[], share(), NOW + TTL_MS);
        assert!(matches!(later, Answer::Standing(it) if it.held.len() == 16), "`a` is gone");
    }

    #[test]
    fn shards_of_somebody_s_own_are_claimed_as_a_whole() {
        let mut file = File::new();
        assert_eq!(ids(&file.these("a", &[2, 3], &[], NOW)), [2, 3]);
        let refused = file.these("b", &[3, 4], &[], NOW);
        assert_eq!(refused.held, [], "not even what is free");
        let (worker, whereabouts) = ("a".to_owned(), "at a".to_owned());
        assert_eq!(refused.taken, [TakenBy { shard_id: 3, worker, whereabouts }]);
        assert_eq!(ids(&file.these("b", &[3, 4], &["a"], NOW)), [3, 4], "`a` is known to be gone");
        // The rest is for those who share.
        let shared = file.share("c", &[], NOW);
        assert_eq!((ids(&shared), shared.share), (vec![0, 1, 5, 6, 7], 5));
    }
}
