//! Sessions: what outlives a socket. Each keeps a log of its newest dispatches, from which both
//! the live connection and a RESUME are served.
//!
//! A connection holds no queue of its own, only the number of the last dispatch it took from the
//! log. So a replay is nothing special: the connection starts further back, and what happens
//! meanwhile stands after `RESUMED` in the same log.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::compression::Transport;
use super::dispatch::Body;
use crate::world::guild::Viewer;

/// Key of a session inside the simulator.
pub(crate) type SessionKey = u64;

/// Dispatches that a live connection may be behind, whatever a replay may hold.
const BACKLOG_EVENTS: usize = 100_000;

/// Bytes of dispatches that a live connection may be behind.
const BACKLOG_BYTES: usize = 256 * 1024 * 1024;

/// One dispatch in a log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) t: Cow<'static, str>,
    pub(crate) body: Body,
}

/// The newest dispatches of a session.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    last: u64,
    /// The highest number that has been forgotten.
    lost: u64,
    counted: usize,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

impl Log {
    fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            last: 0,
            lost: 0,
            counted: 0,
            bytes: 0,
            max_events,
            max_bytes,
        }
    }

    /// Number of the newest dispatch.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether everything after `seq` is still here.
    pub(crate) fn reaches_back_to(&self, seq: u64) -> bool {
        seq >= self.lost
    }

    /// Adds a dispatch and returns its number. What a live connection has not taken yet (after
    /// `taken`) stays longer than what only a replay would need.
    pub(crate) fn append(&mut self, t: Cow<'static, str>, body: Body, taken: Option<u64>) -> u64 {
        self.last += 1;
        self.bytes += body.kept_bytes();
        self.counted += usize::from(body.kept_bytes() > 0);
        self.entries.push_back(Entry { seq: self.last, t, body });
        while let Some(oldest) = self.entries.front() {
            let waits = taken.is_some_and(|taken| oldest.seq > taken);
            let (events, bytes) = if waits {
                (self.max_events.max(BACKLOG_EVENTS), self.max_bytes.max(BACKLOG_BYTES))
            } else {
                (self.max_events, self.max_bytes)
            };
            if self.counted <= events && self.bytes <= bytes {
                break;
            }
            self.drop_oldest();
        }
        self.last
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.lost = entry.seq;
            self.bytes -= entry.body.kept_bytes();
            self.counted -= usize::from(entry.body.kept_bytes() > 0);
        }
    }

    /// Forgets everything up to `seq`.
    pub(crate) fn trim(&mut self, seq: u64) {
        while self.entries.front().is_some_and(|entry| entry.seq <= seq) {
            self.drop_oldest();
        }
    }

    /// Takes out the `RESUMED` of earlier replays: the next one ends with its own.
    pub(crate) fn forget_resumed(&mut self) {
        let counted = &mut self.counted;
        let bytes = &mut self.bytes;
        self.entries.retain(|entry| {
            let stays = entry.t != "RESUMED";
            if !stays {
                *counted -= usize::from(entry.body.kept_bytes() > 0);
                *bytes -= entry.body.kept_bytes();
            }
            stays
        });
    }

    /// The dispatches after `seq`, oldest first.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.seq <= seq);
        self.entries.range(from..)
    }
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) shard: u32,
    pub(crate) total: u32,
    pub(crate) viewer: Viewer,
    pub(crate) version: u8,
    pub(crate) transport: Transport,
    pub(crate) payload_compression: bool,
    pub(crate) presence: Option<Value>,
    pub(crate) log: Log,
    /// The connection it is on.
    pub(crate) connection: Option<u64>,
    /// Since when it has none.
    pub(crate) detached: Option<Duration>,
    /// When its presence was updated in the last 20 s.
    pub(crate) updated_presence: VecDeque<Duration>,
}

/// What a new session is to be.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) id: String,
    pub(crate) shard: [u32; 2],
    pub(crate) viewer: Viewer,
    pub(crate) version: u8,
    pub(crate) transport: Transport,
    pub(crate) payload_compression: bool,
    pub(crate) presence: Option<Value>,
    pub(crate) max_events: usize,
    pub(crate) max_bytes: usize,
}

/// All sessions, found by key, id or shard.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: BTreeMap<SessionKey, Session>,
    by_id: BTreeMap<String, SessionKey>,
    /// Sessions of each total and shard id.
    by_shard: BTreeMap<(u32, u32), Vec<SessionKey>>,
    /// Sessions without a connection, by the time they lost it.
    detached: BTreeSet<(Duration, SessionKey)>,
    next: SessionKey,
}

impl Sessions {
    /// Adds a session.
    pub(crate) fn add(&mut self, new: NewSession) -> SessionKey {
        self.next += 1;
        let key = self.next;
        let [shard, total] = new.shard;
        self.by_id.insert(new.id.clone(), key);
        self.by_shard.entry((total, shard)).or_default().push(key);
        self.all.insert(
            key,
            Session {
                id: new.id,
                shard,
                total,
                viewer: new.viewer,
                version: new.version,
                transport: new.transport,
                payload_compression: new.payload_compression,
                presence: new.presence,
                log: Log::new(new.max_events, new.max_bytes),
                connection: None,
                detached: None,
                updated_presence: VecDeque::new(),
            },
        );
        key
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.all.remove(&key)?;
        if let Some(at) = session.detached {
            self.detached.remove(&(at, key));
        }
        self.by_id.remove(&session.id);
        let place = (session.total, session.shard);
        if let Some(keys) = self.by_shard.get_mut(&place) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_shard.remove(&place);
            }
        }
        Some(session)
    }

    /// A session by key.
    pub(crate) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.all.get(&key)
    }

    /// A session by key, to change.
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.all.get_mut(&key)
    }

    /// The key of a session id.
    pub(crate) fn key(&self, id: &str) -> Option<SessionKey> {
        self.by_id.get(id).copied()
    }

    /// All sessions, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.all.iter().map(|(key, session)| (*key, session))
    }

    /// Sessions that get an event: those on `shard(total)` for each total there is.
    pub(crate) fn on_shard(&self, shard: impl Fn(u32) -> u32) -> Vec<SessionKey> {
        let mut found = Vec::new();
        let mut next = self.by_shard.keys().next();
        while let Some(&(total, _)) = next {
            found.extend(self.by_shard.get(&(total, shard(total))).into_iter().flatten());
            next = self.by_shard.range((total + 1, 0)..).next().map(|(place, _)| place);
        }
        found
    }

    /// Puts a session on a connection.
    pub(crate) fn attach(&mut self, key: SessionKey, connection: u64) {
        if let Some(session) = self.all.get_mut(&key) {
            session.connection = Some(connection);
            if let Some(at) = session.detached.take() {
                self.detached.remove(&(at, key));
            }
        }
    }

    /// Takes a session off this connection, if it is still on it: it begins to wait.
    pub(crate) fn detach(&mut self, key: SessionKey, connection: u64, now: Duration) {
        if let Some(session) = self.all.get_mut(&key)
            && session.connection == Some(connection)
        {
            session.connection = None;
            session.detached = Some(now);
            self.detached.insert((now, key));
        }
    }

    /// Sessions that have waited for a RESUME since before `oldest`.
    pub(crate) fn expired(&self, oldest: Duration) -> Vec<SessionKey> {
        self.detached.range(..(oldest, 0)).map(|(_, key)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: usize) -> Body {
        Body::Json("x".repeat(bytes).into())
    }

    #[test]
    fn a_full_log_forgets_the_oldest() {
        let mut log = Log::new(3, 1000);
        for _ in 0..5 {
            log.append("X".into(), body(10), None);
        }
        assert!(!log.reaches_back_to(1));
        assert!(log.reaches_back_to(2));
        let seqs: Vec<u64> = log.after(3).map(|entry| entry.seq).collect();
        assert_eq!(seqs, [4, 5]);
        log.append("X".into(), body(990), None);
        assert!(!log.reaches_back_to(3), "the bytes count too");
    }

    #[test]
    fn what_a_connection_waits_for_is_kept_longer() {
        let mut log = Log::new(3, 1000);
        for _ in 0..10 {
            log.append("X".into(), body(10), Some(4));
        }
        assert!(log.reaches_back_to(4), "5 to 10 wait");
        assert!(!log.reaches_back_to(3));
        log.append("X".into(), body(10), None);
        assert!(!log.reaches_back_to(7));
    }

    #[test]
    fn made_bodies_do_not_count() {
        let mut log = Log::new(2, 100);
        for guild in 0..50 {
            log.append("GUILD_CREATE".into(), Body::GuildCreate(guild), None);
        }
        assert!(log.reaches_back_to(0));
    }

    #[test]
    fn earlier_ends_of_replay_are_taken_out() {
        let mut log = Log::new(10, 1000);
        log.append("A".into(), body(1), None);
        log.append("RESUMED".into(), body(2), None);
        log.append("B".into(), body(3), None);
        log.forget_resumed();
        let left: Vec<(u64, &str)> = log.after(0).map(|entry| (entry.seq, &*entry.t)).collect();
        assert_eq!(left, [(1, "A"), (3, "B")]);
        assert_eq!((log.counted, log.bytes), (2, 4));
    }

    #[test]
    fn events_find_the_sessions_of_every_total() {
        let mut sessions = Sessions::default();
        let viewer = Viewer { intents: 0, large_threshold: 50 };
        let mut add = |id: &str, shard| {
            sessions.add(NewSession {
                id: id.to_owned(),
                shard,
                viewer,
                version: 10,
                transport: Transport::None,
                payload_compression: false,
                presence: None,
                max_events: 1,
                max_bytes: 1,
            })
        };
        let a = add("a", [1, 2]);
        let _ = add("b", [0, 2]);
        let c = add("c", [3, 4]);
        let d = add("d", [1, 2]);
        let e = add("e", [0, 1]);
        let mut found = sessions.on_shard(|total| 7 % total);
        found.sort_unstable();
        assert_eq!(found, [a, c, d, e]);
        let at = Duration::from_secs;
        sessions.attach(a, 1);
        sessions.detach(a, 1, at(5));
        sessions.detach(c, 99, at(5));
        assert!(sessions.expired(at(5)).is_empty());
        assert_eq!(sessions.expired(at(6)), [a], "c was on no such connection");
        sessions.attach(a, 2);
        assert!(sessions.expired(at(6)).is_empty());
        sessions.remove(d);
        assert_eq!(sessions.on_shard(|total| 7 % total).len(), 3);
        assert!(sessions.key("d").is_none());
    }
}
