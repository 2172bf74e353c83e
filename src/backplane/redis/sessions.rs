//! Sessions in Redis: any machine can go on with any shard.
//!
//! Three hashes for each number of shards, by shard: the sessions, when each was last alive, and the
//! guilds, which are large and change less often. One more key has what the bot started with, and one what
//! Discord said of its session starts.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, ScriptInvocation};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Redis, said};
use crate::backplane::{PATIENCE, Trouble};
use crate::protocol::GatewayUrl;
use crate::sessions::{
    FRESH, History, LastStart, Owner, SaidLimit, Save, SessionStore, Stored, Storing, TakenOver,
    Write, wall_ms,
};
use crate::shard::Session;

static SESSIONS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sessions.lua")));

/// Patience when nothing else is left to do.
const LAST_PATIENCE: Duration = PATIENCE;

/// What a bot started with is worth knowing for as long as sessions may live, and some more.
const START_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// A session as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// As in [`Owner`]: what has to agree.
    token: String,
    identify: String,
    session_id: String,
    resume_url: Option<String>,
    seq: u64,
}

/// What a bot started with, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    url: String,
    shard_total: u32,
    starts_per_day: u32,
    max_concurrency: u32,
}

impl Entry {
    fn new(owner: &Owner, session: &Session) -> Self {
        Self {
            token: STANDARD_NO_PAD.encode(owner.token),
            identify: STANDARD_NO_PAD.encode(owner.identify),
            session_id: session.id.clone(),
            resume_url: session.resume_url.as_ref().map(ToString::to_string),
            seq: session.seq,
        }
    }

    /// The session, if it is this owner's.
    fn of(self, owner: &Owner) -> Option<Session> {
        let is_theirs = self.token == STANDARD_NO_PAD.encode(owner.token)
            && self.identify == STANDARD_NO_PAD.encode(owner.identify);
        is_theirs.then(|| Session {
            id: self.session_id,
            resume_url: self.resume_url.and_then(|url| GatewayUrl::parse(&url).ok()),
            seq: self.seq,
        })
    }
}

impl Redis {
    /// The keys of so many shards: sessions, when they were alive, guilds.
    fn session_keys(&self, shard_total: u32) -> [String; 3] {
        ["", ":alive", ":guilds"].map(|part| self.key(&format!("sessions:{shard_total}{part}")))
    }

    /// The sessions of this owner that were alive lately.
    async fn sessions_of(
        &self,
        owner: &Owner,
        shard_total: u32,
    ) -> Result<Vec<(u32, Session)>, Trouble> {
        let [sessions, alive, _] = self.session_keys(shard_total);
        let mut ask = redis::pipe();
        ask.atomic().cmd("HGETALL").arg(sessions).cmd("HGETALL").arg(alive);
        let (sessions, alive): (HashMap<u32, String>, HashMap<u32, i64>) = self
            .with(async |mut link: MultiplexedConnection| ask.query_async(&mut link).await)
            .await?;
        let since = wall_ms() - FRESH.as_millis() as i64;
        let is_fresh = |shard_id: &u32| alive.get(shard_id).is_some_and(|at| *at >= since);
        let mut found: Vec<(u32, Session)> = sessions
            .into_iter()
            .filter(|(shard_id, _)| is_fresh(shard_id))
            .filter_map(|(shard_id, text)| {
                let entry: Entry = serde_json::from_str(&text).ok()?;
                Some((shard_id, entry.of(owner)?))
            })
            .collect();
        found.sort_unstable_by_key(|(shard_id, _)| *shard_id);
        Ok(found)
    }

    /// The script for so many shards, what all is kept for said already.
    fn sessions_script(&self, shard_total: u32, what: &str) -> ScriptInvocation<'static> {
        let mut call = SESSIONS.prepare_invoke();
        for key in self.session_keys(shard_total) {
            call.key(key);
        }
        call.key(self.key(&format!("sessions:{shard_total}:tokens")));
        call.arg(what).arg(FRESH.as_millis() as i64);
        call
    }

    /// What stores the sessions of leased shards, all or nothing, but for those that somebody else has by now.
    fn fenced_save(&self, save: &Save) -> ScriptInvocation<'static> {
        let Save { owner, shard_total, writes, alive, tokens } = save;
        let token = |shard_id: &u32| tokens.get(shard_id).copied().unwrap_or(0);
        let mut call = self.sessions_script(*shard_total, "save");
        call.arg(wall_ms());
        for write in writes {
            match write {
                Write::Keep(Stored { shard_id, session, guilds }) => {
                    // Text and numbers can always be written.
                    let entry =
                        serde_json::to_string(&Entry::new(owner, session)).unwrap_or_default();
                    call.arg("keep").arg(shard_id).arg(token(shard_id)).arg(entry);
                    let bytes = guilds.as_deref().unwrap_or_default();
                    call.arg(u8::from(guilds.is_some())).arg(bytes);
                }
                Write::Forget(shard_id) => {
                    call.arg("forget").arg(shard_id).arg(token(shard_id)).arg("").arg(0).arg("");
                }
            }
        }
        for shard_id in alive {
            call.arg("alive").arg(shard_id).arg(token(shard_id)).arg("").arg(0).arg("");
        }
        call
    }

    /// Stores it over a connection.
    async fn save_over(&self, save: &Save, link: &mut MultiplexedConnection) -> RedisResult<()> {
        if save.tokens.is_empty() {
            self.save_command(save).query_async(link).await
        } else {
            self.fenced_save(save).invoke_async::<redis::Value>(link).await.map(drop)
        }
    }

    /// What stores it, all or nothing.
    fn save_command(&self, save: &Save) -> redis::Pipeline {
        let Save { owner, shard_total, writes, alive, .. } = save;
        let [sessions, alive_at, guilds_of] = self.session_keys(*shard_total);
        let now_ms = wall_ms();
        let mut pipe = redis::pipe();
        pipe.atomic();
        for write in writes {
            match write {
                Write::Keep(Stored { shard_id, session, guilds }) => {
                    // Text and numbers can always be written.
                    let entry =
                        serde_json::to_string(&Entry::new(owner, session)).unwrap_or_default();
                    pipe.cmd("HSET").arg(&sessions).arg(shard_id).arg(entry).ignore();
                    pipe.cmd("HSET").arg(&alive_at).arg(shard_id).arg(now_ms).ignore();
                    if let Some(guilds) = guilds {
                        pipe.cmd("HSET").arg(&guilds_of).arg(shard_id).arg(&guilds[..]).ignore();
                    }
                }
                Write::Forget(shard_id) => {
                    for key in [&sessions, &alive_at, &guilds_of] {
                        pipe.cmd("HDEL").arg(key).arg(shard_id).ignore();
                    }
                }
            }
        }
        for shard_id in alive {
            pipe.cmd("HSET").arg(&alive_at).arg(shard_id).arg(now_ms).ignore();
        }
        for key in [&sessions, &alive_at, &guilds_of] {
            pipe.cmd("PEXPIRE").arg(key).arg(FRESH.as_millis() as i64).ignore();
        }
        pipe
    }

    /// Remembers what the bot starts with.
    fn start_command(&self, start: &LastStart) -> redis::Cmd {
        let LastStart { gateway, shard_total, starts_per_day, max_concurrency } = start.clone();
        let start =
            Start { url: gateway.to_string(), shard_total, starts_per_day, max_concurrency };
        let mut set = redis::cmd("SET");
        set.arg(self.key("sessions:start"));
        set.arg(serde_json::to_string(&start).unwrap_or_default()).arg("PX").arg(START_KEPT_MS);
        set
    }
}

/// What the script found of a shard.
fn taken_over(owner: &Owner, shard_id: u32, found: &[Vec<u8>]) -> TakenOver {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
    let [before, entry, alive_at, guilds] = found else {
        return TakenOver { shard_id, token_before: 0, stored: None };
    };
    let token_before = number(before).and_then(|token| u64::try_from(token).ok()).unwrap_or(0);
    let is_fresh = number(alive_at).unwrap_or(0) >= wall_ms() - FRESH.as_millis() as i64;
    let entry = serde_json::from_slice::<Entry>(entry).ok().filter(|_| is_fresh);
    let guilds = Some(guilds.clone()).filter(|guilds| !guilds.is_empty());
    let stored = entry.and_then(|entry| entry.of(owner));
    let stored = stored.map(|session| Stored { shard_id, session, guilds });
    TakenOver { shard_id, token_before, stored }
}

impl SessionStore for Redis {
    fn name(&self) -> String {
        self.url.to_string()
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn open(&self) -> Storing<'_, ()> {
        // It connects by itself, now or later.
        Box::pin(async { Ok(()) })
    }

    fn was_replaced(&self) -> bool {
        // That shows in its connections.
        false
    }

    fn last_start(&self, owner: &Owner) -> Storing<'_, Option<(LastStart, BTreeSet<u32>)>> {
        let owner = owner.clone();
        Box::pin(async move {
            let mut get = redis::cmd("GET");
            get.arg(self.key("sessions:start"));
            let found: Option<String> = self.ask(get).await.map_err(String::from)?;
            let start = found.and_then(|text| serde_json::from_str::<Start>(&text).ok());
            let Some(Start { url, shard_total, starts_per_day, max_concurrency }) = start else {
                return Ok(None);
            };
            let Ok(gateway) = GatewayUrl::parse(&url) else { return Ok(None) };
            let sessions = self.sessions_of(&owner, shard_total).await.map_err(String::from)?;
            let start = LastStart { gateway, shard_total, starts_per_day, max_concurrency };
            Ok(Some((start, sessions.into_iter().map(|(shard_id, _)| shard_id).collect())))
        })
    }

    fn load(&self, owner: &Owner, start: &LastStart) -> Storing<'_, Vec<Stored>> {
        let (owner, start) = (owner.clone(), start.clone());
        Box::pin(async move {
            self.ask::<()>(self.start_command(&start)).await.map_err(String::from)?;
            let sessions =
                self.sessions_of(&owner, start.shard_total).await.map_err(String::from)?;
            let mut get = redis::cmd("HGETALL");
            get.arg(&self.session_keys(start.shard_total)[2]);
            let mut guilds: HashMap<u32, Vec<u8>> = self.ask(get).await.map_err(String::from)?;
            let stored = |(shard_id, session)| {
                let guilds = guilds.remove(&shard_id);
                Stored { shard_id, session, guilds }
            };
            Ok(sessions.into_iter().map(stored).collect())
        })
    }

    fn take_over(
        &self,
        owner: &Owner,
        start: &LastStart,
        leases: &[(u32, u64)],
    ) -> Storing<'_, Vec<TakenOver>> {
        let (owner, start, leases) = (owner.clone(), start.clone(), leases.to_vec());
        Box::pin(async move {
            self.ask::<()>(self.start_command(&start)).await.map_err(String::from)?;
            let mut call = self.sessions_script(start.shard_total, "take");
            for (shard_id, token) in &leases {
                call.arg(shard_id).arg(token);
            }
            let answer: Vec<Vec<u8>> = self
                .with(async |mut link: MultiplexedConnection| call.invoke_async(&mut link).await)
                .await
                .map_err(String::from)?;
            let taken = leases.iter().zip(answer.chunks_exact(4));
            Ok(taken.map(|((shard_id, _), found)| taken_over(&owner, *shard_id, found)).collect())
        })
    }

    fn reshard(&self, _owner: &Owner, start: &LastStart) -> Storing<'_, ()> {
        let set = self.start_command(start);
        // The sessions of another number of shards end by themselves, and nobody takes them for these.
        Box::pin(async move { self.ask::<()>(set).await.map_err(String::from) })
    }

    fn save(&self, save: Arc<Save>) -> Storing<'_, ()> {
        Box::pin(async move {
            let saved = self.with(async |mut link: MultiplexedConnection| {
                self.save_over(&save, &mut link).await
            });
            saved.await.map_err(String::from)
        })
    }

    /// With a connection of its own: that of the client is closed by then, and so is its runtime.
    fn save_now(&self, save: &Save) -> Result<(), String> {
        let work = async {
            let (mut link, driver) = self.connect(Arc::new(drop)).await?;
            tokio::select! {
                () = driver => Err("the connection was lost".to_owned()),
                saved = self.save_over(save, &mut link) => saved.map_err(|error| said(&error)),
            }
        };
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(async {
                timeout(LAST_PATIENCE, work)
                    .await
                    .unwrap_or_else(|_| Err("it does not answer".to_owned()))
            })
        };
        // A thread that belongs to a runtime may not have another one.
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|_| Err("it met a bug in the engine".to_owned()))
    }

    fn history(&self, _owner: &Owner) -> Storing<'_, History> {
        // Whoever has this has the backplane's gate, which counts the identifies of all.
        Box::pin(async move {
            let mut get = redis::cmd("GET");
            get.arg(self.key("sessions:limit"));
            let found: Option<String> = self.ask(get).await.map_err(String::from)?;
            let said = found.and_then(|text| serde_json::from_str::<SaidLimit>(&text).ok());
            let now_ms = wall_ms();
            let is_of_today =
                |said: &SaidLimit| said.asked_at_ms <= now_ms && now_ms < said.resets_at_ms;
            Ok(History { said: said.filter(is_of_today), ..History::default() })
        })
    }

    fn note_identify(&self, _owner: &Owner, _shard_id: u32) -> Storing<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn note_answered(&self, _owner: &Owner) -> Storing<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn note_limit(&self, _owner: &Owner, said: SaidLimit) -> Storing<'_, ()> {
        let mut set = redis::cmd("SET");
        set.arg(self.key("sessions:limit"));
        set.arg(serde_json::to_string(&said).unwrap_or_default()).arg("PX").arg(START_KEPT_MS);
        Box::pin(async move { self.ask::<()>(set).await.map_err(String::from) })
    }
}
