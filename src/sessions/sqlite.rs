//! Sessions and identifies in one SQLite file.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::{FRESH, Owner, Save, TakenOver};
use crate::protocol::GatewayUrl;
use crate::shard::Session;
use crate::sqlite::{self, Link};

/// What the tables look like, version by version.
const VERSIONS: [&str; 3] = [TABLES, LIMIT, FENCE];

/// The first version.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS session (
        bot TEXT NOT NULL, shard_total INTEGER NOT NULL, shard_id INTEGER NOT NULL,
        token BLOB NOT NULL, identify BLOB NOT NULL,
        session_id TEXT NOT NULL, resume_url TEXT, seq INTEGER NOT NULL, guilds BLOB,
        alive_at_ms INTEGER NOT NULL,
        PRIMARY KEY (bot, shard_total, shard_id)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS identify (
        bot TEXT NOT NULL, at_ms INTEGER NOT NULL, shard_id INTEGER NOT NULL,
        answered INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS identify_of_bot ON identify (bot, at_ms);
    CREATE TABLE IF NOT EXISTS gateway (
        bot TEXT PRIMARY KEY, url TEXT NOT NULL, shard_total INTEGER NOT NULL,
        starts_per_day INTEGER NOT NULL, max_concurrency INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// The second one knows what Discord said of the day's session starts.
const LIMIT: &str = "CREATE TABLE session_start_limit (
        bot TEXT PRIMARY KEY, remaining INTEGER NOT NULL,
        resets_at_ms INTEGER NOT NULL, asked_at_ms INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// The third one knows the newest token of each shard that is leased.
const FENCE: &str = "CREATE TABLE fence (
        bot TEXT NOT NULL, shard_total INTEGER NOT NULL, shard_id INTEGER NOT NULL,
        token INTEGER NOT NULL,
        PRIMARY KEY (bot, shard_total, shard_id)
    ) WITHOUT ROWID;";

/// Patience with another process that writes. Nothing here takes longer than a few milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The same as the file is opened: without it all shards would identify.
pub(super) const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// Discord counts identifies over this long.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is worth a try: whose it is, and since when it must have been alive.
const RESUMABLE: &str = "FROM session WHERE bot = ?1 AND shard_total = ?2 AND token = ?3
    AND identify = ?4 AND alive_at_ms >= ?5 ORDER BY shard_id";

/// A file that outlives the process. All of it blocks, for milliseconds as a rule.
#[derive(Debug)]
pub(crate) struct SessionFile(Link);

/// A session that can be resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its shard.
    pub(crate) shard_id: u32,
    /// The session, with the sequence number that was stored.
    pub(crate) session: Session,
    /// Its guilds, as `Guilds::to_bytes` gave them; in a write `None` leaves them as they are.
    pub(crate) guilds: Option<Vec<u8>>,
}

/// A change to what is stored of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// Its session, and how far that has come.
    Keep(Stored),
    /// It has no session any more.
    Forget(u32),
}

impl Write {
    /// The shard.
    pub(crate) fn shard_id(&self) -> u32 {
        match self {
            Self::Keep(Stored { shard_id, .. }) | Self::Forget(shard_id) => *shard_id,
        }
    }
}

/// What a bot started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastStart {
    /// Where it connected.
    pub(crate) gateway: GatewayUrl,
    /// With how many shards.
    pub(crate) shard_total: u32,
    /// Session starts per day.
    pub(crate) starts_per_day: u32,
    /// Identifies per 5 s.
    pub(crate) max_concurrency: u32,
}

/// What Discord said of the day's session starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SaidLimit {
    /// Session starts left.
    pub(crate) remaining: u32,
    /// Milliseconds since 1970 when all are there again.
    pub(crate) resets_at_ms: i64,
    /// Milliseconds since 1970 when that was asked.
    pub(crate) asked_at_ms: i64,
}

/// The identifies of a bot, over all processes that share the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Milliseconds since 1970 of each of the last 24 hours, ascending, and its shard.
    pub(crate) identifies: Vec<(i64, u32)>,
    /// Those at the end of it that no READY followed.
    pub(crate) unanswered: u32,
    /// What Discord said last, if that is of today.
    pub(crate) said: Option<SaidLimit>,
}

impl SessionFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Says why it cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = Self::prepare(sqlite::open(path, OPEN_PATIENCE)?)?;
        file.0.busy_timeout(BUSY_TIMEOUT).map_err(|error| error.to_string())?;
        Ok(file)
    }

    /// Makes the tables, unless the file is from a later version.
    fn prepare(mut link: Link) -> Result<Self, String> {
        sqlite::migrate(&mut link, &VERSIONS)?;
        Ok(Self(link))
    }

    /// The file, if it is still the one at its path.
    pub(crate) fn if_current(self) -> Option<Self> {
        self.0.if_current().map(Self)
    }

    // -- sessions -----------------------------------------------------------------------------

    /// The sessions of this owner and number of shards that are worth a try.
    pub(crate) fn load(
        &self,
        owner: &Owner,
        shard_total: u32,
        now_ms: i64,
    ) -> rusqlite::Result<Vec<Stored>> {
        load(&self.0, owner, shard_total, None, now_ms)
    }

    /// The shards of those sessions.
    pub(crate) fn resumable(
        &self,
        owner: &Owner,
        shard_total: u32,
        now_ms: i64,
    ) -> rusqlite::Result<BTreeSet<u32>> {
        let connection = &self.0;
        let mut select = connection.prepare(&format!("SELECT shard_id {RESUMABLE}"))?;
        let since = now_ms - FRESH.as_millis() as i64;
        let Owner { bot, token, identify } = owner;
        let found = params![bot, shard_total, token, identify, since];
        select.query_map(found, |row| row.get(0))?.collect()
    }

    /// Takes over shards with these tokens: what is stored of them, and who had them last.
    pub(crate) fn take_over(
        &self,
        owner: &Owner,
        shard_total: u32,
        leases: &[(u32, u64)],
        now_ms: i64,
    ) -> rusqlite::Result<Vec<TakenOver>> {
        let transaction = self.transaction()?;
        let mut taken = Vec::new();
        for &(shard_id, token) in leases {
            let token_before = newest_token(&transaction, &owner.bot, shard_total, shard_id)?;
            raise_token(&transaction, &owner.bot, shard_total, shard_id, token)?;
            taken.push(TakenOver { shard_id, token_before, stored: None });
        }
        // Only now: from here on nobody else changes them.
        let ids: Vec<u32> = leases.iter().map(|(shard_id, _)| *shard_id).collect();
        for stored in load(&transaction, owner, shard_total, Some(&ids), now_ms)? {
            if let Some(taken) = taken.iter_mut().find(|it| it.shard_id == stored.shard_id) {
                taken.stored = Some(stored);
            }
        }
        transaction.commit()?;
        Ok(taken)
    }

    /// Stores what changed, all or nothing, and that the sessions of `alive` still live; but for shards that
    /// somebody else has taken over.
    pub(crate) fn save(&self, save: &Save, now_ms: i64) -> rusqlite::Result<()> {
        let Save { owner, shard_total, writes, alive, tokens } = save;
        let shard_total = *shard_total;
        let transaction = self.transaction()?;
        let mut lost = BTreeSet::new();
        for (&shard_id, &token) in tokens {
            let newest = newest_token(&transaction, &owner.bot, shard_total, shard_id)?;
            if newest > token {
                lost.insert(shard_id);
            } else if newest < token {
                raise_token(&transaction, &owner.bot, shard_total, shard_id, token)?;
            }
        }
        for write in writes.iter().filter(|write| !lost.contains(&write.shard_id())) {
            write_one(&transaction, owner, shard_total, write, now_ms)?;
        }
        let mut touch = transaction.prepare_cached(
            "UPDATE session SET alive_at_ms = ?4
             WHERE bot = ?1 AND shard_total = ?2 AND shard_id = ?3",
        )?;
        for shard_id in alive.iter().filter(|shard_id| !lost.contains(shard_id)) {
            touch.execute(params![owner.bot, shard_total, shard_id, now_ms])?;
        }
        drop(touch);
        transaction.commit()
    }

    /// Ends what is stored of a bot with another number of shards.
    pub(crate) fn forget_others(&self, bot: &str, shard_total: u32) -> rusqlite::Result<()> {
        let delete = "DELETE FROM session WHERE bot = ?1 AND shard_total <> ?2";
        self.0.execute(delete, params![bot, shard_total]).map(drop)
    }

    // -- identifies ---------------------------------------------------------------------------

    /// The identifies of the last 24 hours.
    pub(crate) fn history(&self, bot: &str, now_ms: i64) -> rusqlite::Result<History> {
        let connection = &self.0;
        let mut select = connection.prepare(
            "SELECT at_ms, shard_id, answered FROM identify
             WHERE bot = ?1 AND at_ms > ?2 AND at_ms <= ?3 ORDER BY at_ms",
        )?;
        // What a clock that was wrong dates into the future says nothing.
        let rows = select.query_map(params![bot, now_ms - DAY_MS, now_ms], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, bool>(2)?))
        })?;
        let mut history = History { said: said(connection, bot, now_ms)?, ..History::default() };
        for row in rows {
            let (at_ms, shard_id, answered) = row?;
            history.identifies.push((at_ms, shard_id));
            history.unanswered = if answered { 0 } else { history.unanswered + 1 };
        }
        Ok(history)
    }

    /// An identify goes out.
    pub(crate) fn note_identify(
        &self,
        bot: &str,
        shard_id: u32,
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        let transaction = self.transaction()?;
        transaction.execute(
            "DELETE FROM identify WHERE bot = ?1 AND at_ms <= ?2",
            params![bot, now_ms - DAY_MS],
        )?;
        transaction.execute(
            "INSERT INTO identify (bot, at_ms, shard_id, answered) VALUES (?1, ?2, ?3, FALSE)",
            params![bot, now_ms, shard_id],
        )?;
        transaction.commit()
    }

    /// Discord said how many session starts are left.
    pub(crate) fn note_limit(&self, bot: &str, said: SaidLimit) -> rusqlite::Result<()> {
        let insert = "INSERT OR REPLACE INTO session_start_limit VALUES (?1, ?2, ?3, ?4)";
        let SaidLimit { remaining, resets_at_ms, asked_at_ms } = said;
        self.0.execute(insert, params![bot, remaining, resets_at_ms, asked_at_ms]).map(drop)
    }

    /// An identify led to READY: whatever went wrong before is over.
    pub(crate) fn note_answered(&self, bot: &str) -> rusqlite::Result<()> {
        let update = "UPDATE identify SET answered = TRUE WHERE bot = ?1 AND NOT answered";
        self.0.execute(update, params![bot]).map(drop)
    }

    // -- the gateway --------------------------------------------------------------------------

    /// Remembers what the bot starts with.
    pub(crate) fn note_start(&self, bot: &str, start: &LastStart) -> rusqlite::Result<()> {
        let insert = "INSERT OR REPLACE INTO gateway VALUES (?1, ?2, ?3, ?4, ?5)";
        let LastStart { gateway, shard_total, starts_per_day, max_concurrency } = start;
        let url = gateway.to_string();
        let row = params![bot, url, shard_total, starts_per_day, max_concurrency];
        self.0.execute(insert, row).map(drop)
    }

    /// What was remembered.
    pub(crate) fn last_start(&self, bot: &str) -> rusqlite::Result<Option<LastStart>> {
        let select = "SELECT url, shard_total, starts_per_day, max_concurrency FROM gateway
                      WHERE bot = ?1";
        let found = self.0.query_row(select, params![bot], |row| {
            let url: String = row.get(0)?;
            let (shard_total, starts_per_day, max_concurrency) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(GatewayUrl::parse(&url).ok().map(|gateway| LastStart {
                gateway,
                shard_total,
                starts_per_day,
                max_concurrency,
            }))
        });
        Ok(found.optional()?.flatten())
    }

    /// What comes is written all or nothing.
    fn transaction(&self) -> rusqlite::Result<Transaction<'_>> {
        Transaction::new_unchecked(&self.0, TransactionBehavior::Immediate)
    }
}

/// What Discord said of this day.
fn said(connection: &Connection, bot: &str, now_ms: i64) -> rusqlite::Result<Option<SaidLimit>> {
    let select = "SELECT remaining, resets_at_ms, asked_at_ms FROM session_start_limit
                  WHERE bot = ?1 AND resets_at_ms > ?2 AND asked_at_ms <= ?2";
    let said = connection.query_row(select, params![bot, now_ms], |row| {
        let (remaining, resets_at_ms, asked_at_ms) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(SaidLimit { remaining, resets_at_ms, asked_at_ms })
    });
    said.optional()
}

/// The sessions of this owner that are worth a try; only of these shards, if any are named.
fn load(
    connection: &Connection,
    owner: &Owner,
    shard_total: u32,
    shards: Option<&[u32]>,
    now_ms: i64,
) -> rusqlite::Result<Vec<Stored>> {
    let select = format!("SELECT shard_id, session_id, resume_url, seq, guilds {RESUMABLE}");
    let mut select = connection.prepare(&select)?;
    let since = now_ms - FRESH.as_millis() as i64;
    let Owner { bot, token, identify } = owner;
    let mut rows = select.query(params![bot, shard_total, token, identify, since])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let shard_id = row.get(0)?;
        if shards.is_some_and(|shards| !shards.contains(&shard_id)) {
            continue;
        }
        let resume_url: Option<String> = row.get(2)?;
        found.push(Stored {
            shard_id,
            session: Session {
                id: row.get(1)?,
                resume_url: resume_url.and_then(|url| GatewayUrl::parse(&url).ok()),
                seq: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
            },
            guilds: row.get(4)?,
        });
    }
    Ok(found)
}

/// The newest token of a leased shard, or 0.
fn newest_token(
    connection: &Connection,
    bot: &str,
    shard_total: u32,
    shard_id: u32,
) -> rusqlite::Result<u64> {
    let select = "SELECT token FROM fence WHERE bot = ?1 AND shard_total = ?2 AND shard_id = ?3";
    let mut select = connection.prepare_cached(select)?;
    let token: Option<i64> =
        select.query_row(params![bot, shard_total, shard_id], |row| row.get(0)).optional()?;
    Ok(token.and_then(|token| u64::try_from(token).ok()).unwrap_or(0))
}

/// There is a newer token.
fn raise_token(
    connection: &Connection,
    bot: &str,
    shard_total: u32,
    shard_id: u32,
    token: u64,
) -> rusqlite::Result<()> {
    let insert = "INSERT INTO fence VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO UPDATE SET token = MAX(token, ?4)";
    let token = i64::try_from(token).unwrap_or(i64::MAX);
    connection.prepare_cached(insert)?.execute(params![bot, shard_total, shard_id, token]).map(drop)
}

/// One change.
fn write_one(
    transaction: &Transaction<'_>,
    owner: &Owner,
    shard_total: u32,
    write: &Write,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let Owner { bot, token, identify } = owner;
    match write {
        Write::Forget(shard_id) => {
            let mut delete = transaction.prepare_cached(
                "DELETE FROM session WHERE bot = ?1 AND shard_total = ?2 AND shard_id = ?3",
            )?;
            delete.execute(params![bot, shard_total, shard_id])?;
        }
        Write::Keep(Stored { shard_id, session, guilds }) => {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO session (bot, shard_total, shard_id, token, identify,
                     session_id, resume_url, seq, alive_at_ms, guilds)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT DO UPDATE SET token = ?4, identify = ?5, session_id = ?6,
                     resume_url = ?7, seq = ?8, alive_at_ms = ?9, guilds = COALESCE(?10, guilds)",
            )?;
            insert.execute(params![
                bot,
                shard_total,
                shard_id,
                token,
                identify,
                session.id,
                session.resume_url.as_ref().map(ToString::to_string),
                i64::try_from(session.seq).unwrap_or(i64::MAX),
                now_ms,
                guilds,
            ])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const MINUTE: i64 = 60_000;

    fn file() -> SessionFile {
        let memory = Connection::open_in_memory().expect("memory");
        SessionFile::prepare(memory.into()).expect("tables")
    }

    fn owner() -> Owner {
        Owner { bot: "1".into(), token: [1; 16], identify: [2; 16] }
    }

    fn save(
        file: &SessionFile,
        writes: &[Write],
        alive: &[u32],
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        file.save(&saving(writes, alive, BTreeMap::new()), now_ms)
    }

    fn saving(writes: &[Write], alive: &[u32], tokens: BTreeMap<u32, u64>) -> Save {
        let (writes, alive) = (writes.to_vec(), alive.to_vec());
        Save { owner: owner(), shard_total: 2, writes, alive, tokens }
    }

    fn stored(shard_id: u32, seq: u64) -> Stored {
        let resume_url = GatewayUrl::parse("wss://resume.example").ok();
        let session = Session { id: format!("s{shard_id}"), seq, resume_url };
        Stored { shard_id, session, guilds: Some(vec![7]) }
    }

    /// Scenario 40: what is not ours in every respect, or too old, is not resumed.
    #[test]
    fn only_fresh_sessions_of_ours_come_back() {
        let file = file();
        let writes = [Write::Keep(stored(0, 5)), Write::Keep(stored(1, 7))];
        save(&file, &writes, &[], NOW).expect("saved");
        let load = |owner: &Owner, total, now| file.load(owner, total, now).expect("read");
        assert_eq!(load(&owner(), 2, NOW + MINUTE), [stored(0, 5), stored(1, 7)]);
        assert_eq!(file.resumable(&owner(), 2, NOW + MINUTE), Ok(BTreeSet::from([0, 1])));

        assert_eq!(load(&owner(), 4, NOW), [], "another number of shards");
        assert_eq!(load(&Owner { bot: "2".into(), ..owner() }, 2, NOW), [], "another bot");
        assert_eq!(load(&Owner { token: [3; 16], ..owner() }, 2, NOW), [], "another token");
        assert_eq!(load(&Owner { identify: [3; 16], ..owner() }, 2, NOW), [], "other intents");

        save(&file, &[], &[1], NOW + 10 * MINUTE).expect("saved");
        assert_eq!(load(&owner(), 2, NOW + 20 * MINUTE), [stored(1, 7)], "shard 0 is stale");
        let kept = Stored { guilds: None, ..stored(0, 5) };
        save(&file, &[Write::Keep(kept)], &[], NOW + 19 * MINUTE).expect("saved");
        save(&file, &[Write::Forget(1)], &[0], NOW + 20 * MINUTE).expect("saved");
        assert_eq!(load(&owner(), 2, NOW + 20 * MINUTE), [stored(0, 5)]);
    }

    /// Who has lost a shard changes nothing of it any more, whatever it still has to say.
    #[test]
    fn a_late_writer_is_fenced_off() {
        let file = file();
        let write = |seq| [Write::Keep(stored(0, seq)), Write::Keep(stored(1, seq))];
        let tokens = |first, second| BTreeMap::from([(0, first), (1, second)]);
        let take = |leases: &[(u32, u64)]| {
            let taken = file.take_over(&owner(), 2, leases, NOW).expect("taken");
            let seen =
                |it: TakenOver| (it.token_before, it.stored.map(|stored| stored.session.seq));
            taken.into_iter().map(seen).collect::<Vec<_>>()
        };
        assert_eq!(take(&[(0, 7), (1, 8)]), [(0, None), (0, None)]);
        file.save(&saving(&write(5), &[], tokens(7, 8)), NOW).expect("saved");
        assert_eq!(take(&[(0, 9)]), [(7, Some(5))]);

        file.save(&saving(&write(6), &[], tokens(7, 8)), NOW)
            .expect("saved as far as it is theirs");
        let seqs = |now| {
            let found = file.load(&owner(), 2, now).expect("read");
            found.into_iter().map(|it| (it.shard_id, it.session.seq)).collect::<Vec<_>>()
        };
        assert_eq!(seqs(NOW), [(0, 5), (1, 6)]);
        file.save(&saving(&[Write::Forget(0)], &[], tokens(7, 8)), NOW).expect("not theirs");
        let later = NOW + 10 * MINUTE;
        file.save(&saving(&[], &[0, 1], tokens(7, 8)), later).expect("not theirs");
        assert_eq!(seqs(NOW), [(0, 5), (1, 6)]);
        assert_eq!(seqs(NOW + 20 * MINUTE), [(1, 6)], "who lost it does not keep it alive");
        file.save(&saving(&write(7), &[], tokens(9, 8)), later).expect("saved");
        assert_eq!(seqs(later), [(0, 7), (1, 7)]);
        assert_eq!(take(&[(0, 3)]), [(9, Some(7))], "an old token raises nothing");
        assert_eq!(take(&[(0, 10)]), [(9, Some(7))]);
    }

    #[test]
    fn identifies_are_counted_for_a_day() {
        let file = file();
        for (minutes, shard_id) in [(0, 0), (1, 1), (2, 0)] {
            file.note_identify("1", shard_id, NOW + minutes * MINUTE).expect("noted");
        }
        file.note_identify("2", 0, NOW).expect("noted");
        let history = |now| file.history("1", now).expect("read");
        assert_eq!(history(NOW + 3 * MINUTE).identifies.len(), 3);
        assert_eq!(history(NOW + 3 * MINUTE).unanswered, 3);
        assert_eq!(history(NOW + DAY_MS + MINUTE).identifies, [(NOW + 2 * MINUTE, 0)]);
        file.note_answered("1").expect("noted");
        file.note_identify("1", 1, NOW + 4 * MINUTE).expect("noted");
        assert_eq!(history(NOW + 5 * MINUTE).unanswered, 1);
        assert_eq!(history(NOW).identifies.len(), 1, "the future says nothing");
    }

    #[test]
    fn the_last_start_is_remembered() {
        let file = file();
        assert_eq!(file.last_start("1"), Ok(None));
        let gateway = GatewayUrl::parse("wss://gateway.example").expect("a URL");
        let mut start =
            LastStart { gateway, shard_total: 4, starts_per_day: 1_000, max_concurrency: 1 };
        file.note_start("1", &start).expect("noted");
        start.shard_total = 8;
        file.note_start("1", &start).expect("noted");
        assert_eq!(file.last_start("1"), Ok(Some(start)));
    }

    #[test]
    fn what_discord_said_of_the_day_is_remembered_until_its_reset() {
        let file = file();
        let said =
            |remaining| SaidLimit { remaining, resets_at_ms: NOW + DAY_MS / 2, asked_at_ms: NOW };
        file.note_limit("1", said(300)).expect("noted");
        file.note_limit("1", said(200)).expect("noted");
        let history = |bot, now| file.history(bot, now).expect("read").said;
        assert_eq!(history("1", NOW + MINUTE), Some(said(200)));
        assert_eq!(history("1", NOW + DAY_MS), None, "a new day");
        assert_eq!(history("1", NOW - MINUTE), None, "the future says nothing");
        assert_eq!(history("2", NOW + MINUTE), None);
    }

    #[test]
    fn a_file_of_the_first_version_is_brought_up_to_date() {
        let memory = Connection::open_in_memory().expect("memory");
        memory.execute_batch(TABLES).expect("tables");
        memory.pragma_update(None, "user_version", 1).expect("set");
        let file = SessionFile::prepare(memory.into()).expect("brought up to date");
        assert_eq!(file.history("1", NOW), Ok(History::default()));
    }

    #[test]
    fn a_later_versions_file_is_left_alone() {
        let memory = Connection::open_in_memory().expect("memory");
        memory.pragma_update(None, "user_version", VERSIONS.len() as u32 + 1).expect("set");
        let refused = SessionFile::prepare(memory.into());
        assert!(refused.expect_err("too new").contains("later version"));
    }
}
