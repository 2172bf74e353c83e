//! The host takes a dispatch.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use shardwright::queue::{Event, FLAG_REPLAYED};

use crate::came::{Came, SessionLog};
use crate::host::Host;
use crate::trouble::UNNUMBERED;

/// How long what a half-dead session holds back may belong to a reshard that is over.
const AFTERMATH: Duration = Duration::from_secs(10 * 60);

impl Host<'_> {
    /// A dispatch: the next of its session, and nothing else.
    pub(crate) fn dispatch(&mut self, event: &Event) {
        #[derive(Deserialize)]
        struct Shows<'a> {
            session_id: Option<&'a str>,
            nonce: Option<Value>,
        }
        let (shard_id, seq) = (event.shard_id, event.seq);
        let name = String::from_utf8_lossy(event.name()).into_owned();
        let shows = match name.as_str() {
            // Its nonce is that of the request.
            "GUILD_MEMBERS_CHUNK" => Ok(Shows { session_id: None, nonce: None }),
            _ if self.world.reshards.is_some() => serde_json::from_slice(event.data()),
            "READY" | "MESSAGE_CREATE" => serde_json::from_slice::<Shows<'_>>(event.data()),
            _ => serde_json::from_slice::<IgnoredAny>(event.data())
                .map(|_| Shows { session_id: None, nonce: None }),
        };
        let Ok(shows) = shows else {
            self.problem(&format!("shard {shard_id}: {name} {seq} is not the JSON that was sent"));
            return;
        };
        let number = shows.nonce.and_then(|nonce| nonce.as_str()?.parse().ok());
        let problem = if self.world.reshards.is_some() {
            self.numbered(event, number)
        } else {
            if name == "READY" {
                self.session_began(shard_id, shows.session_id.unwrap_or_default());
            }
            self.sequenced(event, Came { seq, name: name.clone(), number })
        };
        if let Err(problem) = problem {
            self.problem(&format!("shard {shard_id}: {name} {seq} {problem}"));
        }
    }

    /// READY of a new session.
    fn session_began(&mut self, shard_id: u32, id: &str) {
        self.shards.entry(shard_id).or_default().session = Some(id.to_owned());
        let log = SessionLog::new(shard_id, self.simulator.now());
        if self.sessions.insert(id.to_owned(), log).is_some() {
            self.problem(&format!("shard {shard_id}: a session had two READYs"));
        }
    }

    /// A dispatch is the next of its session.
    fn sequenced(&mut self, event: &Event, came: Came) -> Result<(), String> {
        let is_first = self.shards.get(&event.shard_id).is_none_or(|view| view.session.is_none());
        if is_first && self.disk.is_some() {
            self.session_goes_on(event.shard_id);
        }
        let view = self.shards.entry(event.shard_id).or_default();
        let log = view.session.as_ref().and_then(|id| self.sessions.get_mut(id));
        match log {
            // A queue that drops may drop a READY too.
            None if self.world.drops_oldest() => Ok(()),
            None => Err("came before READY".to_owned()),
            // Sent by a trouble, and no part of a session.
            Some(_) if came.seq == 0 && came.name == UNNUMBERED => Ok(()),
            Some(log)
                if came.seq <= log.last && came.name != "READY" && self.world.drops_oldest() =>
            {
                // The READY of another session was dropped.
                view.session = None;
                Ok(())
            }
            Some(log) => log.add(came, is_replayed(event), self.world.keeps.unwrap_or_default()),
        }
    }

    /// The first event of a shard after a restart is none of a new session: it goes on with that which
    /// was resumed first.
    fn session_goes_on(&mut self, shard_id: u32) {
        let since = self.restarts.last().copied().unwrap_or_default();
        let resumed = self.simulator.look(|seen| {
            let later = seen.resumes.iter().rev().take_while(|resume| resume.at >= since);
            let its = later.filter(|resume| {
                resume.outcome.is_accepted() && resume.shard.map(|of| of[0]) == Some(shard_id)
            });
            its.last().map(|first| first.session.clone())
        });
        let Some(id) = resumed else { return };
        let now = self.simulator.now();
        // One whose READY died with the host is new.
        self.sessions.entry(id.clone()).or_insert_with(|| SessionLog::new(shard_id, now));
        self.shards.entry(shard_id).or_default().session = Some(id);
    }

    /// A dispatch of whichever session: one of the world's events is new, and the next of its guild.
    fn numbered(&mut self, event: &Event, number: Option<u64>) -> Result<(), String> {
        let Some(number) = number else { return Ok(()) };
        let life = (self.restarts.len(), self.world.keeps.unwrap_or_default());
        // It answers heartbeats, so that nobody can know what it holds back.
        let now = self.simulator.now();
        let switched = self.switches.last().is_some_and(|(at, _)| now < *at + AFTERMATH);
        let is_resharded = switched || !self.resharding.is_empty();
        let is_half_dead = is_resharded && self.world.stalls(now);
        self.numbers.add(number, event.guild_id, is_replayed(event), life, is_half_dead)
    }
}

/// Whether it is said to have been sent before.
fn is_replayed(event: &Event) -> bool {
    event.flags & FLAG_REPLAYED != 0
}
