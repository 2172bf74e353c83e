//! Whose turn it is to identify, in a file. The clock is this machine's.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::Sqlite;
use crate::backplane::{SharedClaim, Trouble, Verdict};
use crate::identify::Claim;
use crate::sessions::wall_ms;

/// Discord counts session starts over this long.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

impl Sqlite {
    /// Judges a claim, and notes it if it is granted: all or nothing.
    pub(super) async fn write_identify(&self, claim: &SharedClaim) -> Result<Verdict, Trouble> {
        let (bot, claim, now_ms) = (self.bot.clone(), claim.clone(), wall_ms());
        self.ask(move |connection| judge(connection, &bot, &claim, now_ms)).await
    }

    /// An identify led to READY: whatever went wrong before is over.
    pub(super) async fn write_answered(&self) -> Result<(), Trouble> {
        let bot = self.bot.clone();
        self.ask(move |connection| {
            let update = "UPDATE identify SET answered = TRUE WHERE bot = ?1 AND NOT answered";
            connection.execute(update, params![bot]).map(drop)
        })
        .await
    }
}

/// See `redis/identify.lua`, which does the same.
fn judge(
    connection: &mut Connection,
    bot: &str,
    shared: &SharedClaim,
    now_ms: i64,
) -> rusqlite::Result<Verdict> {
    let SharedClaim { claim, id, withdrawn, slack, .. } = shared;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let delete = "DELETE FROM identify WHERE bot = ?1 AND at_ms <= ?2";
    transaction.execute(delete, params![bot, now_ms - DAY_MS])?;
    for id in withdrawn {
        let delete = "DELETE FROM identify WHERE bot = ?1 AND claim = ?2";
        transaction.execute(delete, params![bot, id])?;
    }
    let verdict = judge_in(&transaction, bot, shared, now_ms)?;
    if let Verdict::Granted { .. } = verdict {
        let insert = "INSERT INTO identify (bot, at_ms, shard_id, claim, answered)
                      VALUES (?1, ?2, ?3, ?4, FALSE)";
        transaction.execute(insert, params![bot, now_ms + millis(*slack), claim.shard_id, id])?;
    }
    transaction.commit()?;
    Ok(verdict)
}

/// The verdict, without its consequences.
fn judge_in(
    transaction: &Transaction<'_>,
    bot: &str,
    shared: &SharedClaim,
    now_ms: i64,
) -> rusqlite::Result<Verdict> {
    const SINCE: &str = "SELECT COUNT(*) FROM identify WHERE bot = ?1 AND at_ms > ?2";
    const UNANSWERED: &str =
        "SELECT COUNT(*) FROM identify WHERE bot = ?1 AND at_ms > ?2 AND NOT answered";
    let SharedClaim { claim, slack, left, .. } = shared;
    let Claim { shard_id, max_concurrency, window, unanswered, day_began_ago, most_today } = claim;
    let count = |select: &str, since_ms: i64| -> rusqlite::Result<u32> {
        transaction.prepare_cached(select)?.query_row(params![bot, since_ms], |row| row.get(0))
    };
    let used_today = count(SINCE, now_ms - millis(*day_began_ago))?;
    let unanswered_by_all = count(UNANSWERED, 0)?;

    if unanswered_by_all > *unanswered {
        return Ok(Verdict::TooHasty { unanswered: unanswered_by_all });
    }
    let last = "SELECT MAX(at_ms) FROM identify WHERE bot = ?1 AND shard_id % ?2 = ?3";
    let bucket = *shard_id % *max_concurrency;
    let last: Option<i64> =
        transaction.query_row(last, params![bot, max_concurrency, bucket], |row| row.get(0))?;
    // A clock that was set back must not close a bucket for longer than a window.
    let opens_ms = last.map_or(0, |last| last.min(now_ms + millis(*slack)) + millis(*window));
    if opens_ms > now_ms {
        return Ok(Verdict::Wait(Duration::from_millis((opens_ms - now_ms).unsigned_abs())));
    }
    let is_spent = match left {
        Some((left, ago)) => count(SINCE, now_ms - millis(*ago))? >= *left,
        None => false,
    };
    if used_today >= *most_today || is_spent {
        return Ok(Verdict::Spent);
    }
    Ok(Verdict::Granted { used_today: used_today + 1, unanswered: unanswered_by_all + 1 })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
