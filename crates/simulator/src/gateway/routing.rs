//! Which sessions get an event.

use std::borrow::Cow;
use std::time::Duration;

use super::dispatch::{Body, Event, Scope};
use super::session::SessionKey;
use crate::intents::{self, MESSAGE_CONTENT};
use crate::ledger::DispatchRecord;
use crate::state::State;
use crate::world::snowflake::Snowflake;

impl State {
    /// Whether any session would be sent event `t` of this guild.
    pub(crate) fn is_wanted(&self, t: &str, guild: Snowflake) -> bool {
        let needed = intents::needed(t, true);
        self.sessions_of(Scope::Guild(guild)).into_iter().any(|key| {
            let session = self.gateway.sessions.get(key);
            session.is_some_and(|session| {
                needed.is_none_or(|needed| needed & session.viewer.intents != 0)
            })
        })
    }

    /// The sessions that events of this scope go to.
    fn sessions_of(&self, scope: Scope) -> Vec<SessionKey> {
        self.gateway.sessions.on_shard(|total| match scope {
            Scope::Guild(guild) => guild.shard(total),
            Scope::Direct => 0,
        })
    }

    /// Whether one of the sessions of a scope may not see what people write.
    pub(crate) fn has_blind_session(&self, scope: Scope) -> bool {
        self.sessions_of(scope).into_iter().any(|key| {
            let session = self.gateway.sessions.get(key);
            session.is_some_and(|session| session.viewer.intents & MESSAGE_CONTENT == 0)
        })
    }

    /// Sends an event to every session it concerns. Returns how many.
    pub(crate) fn dispatch(&mut self, event: &Event) -> usize {
        self.forget_expired();
        let keys = self.sessions_of(event.scope);
        let mut sent = 0;
        for key in keys {
            sent += usize::from(self.dispatch_to(key, event));
        }
        sent
    }

    /// Sends an event to one session, if its intents let it pass.
    pub(crate) fn dispatch_to(&mut self, key: SessionKey, event: &Event) -> bool {
        let Some(session) = self.gateway.sessions.get(key) else { return false };
        let Some(d) = event.for_intents(session.viewer.intents) else { return false };
        let body = Body::Json(d.clone());
        self.append(key, event.t.clone(), body, event.number);
        true
    }

    /// Appends a dispatch to a session's log and wakes its connection.
    pub(crate) fn append(
        &mut self,
        key: SessionKey,
        t: Cow<'static, str>,
        body: Body,
        number: Option<u64>,
    ) {
        let Some(session) = self.gateway.sessions.get_mut(key) else { return };
        let conn = session.connection.and_then(|id| self.gateway.connections.get(&id));
        let s = session.log.append(t.clone(), body, conn.map(|conn| conn.cursor));
        if let Some(conn) = conn {
            conn.link.notify.notify_one();
        }
        self.seen.counts.dispatches += 1;
        self.seen.dispatch(DispatchRecord {
            at: self.clock.now(),
            session: session.id.clone(),
            shard: [session.shard, session.total],
            s,
            t: t.into_owned(),
            number,
        });
    }

    /// Removes sessions that nobody came back for.
    pub(crate) fn forget_expired(&mut self) {
        let window = Duration::from_millis(self.options.resume_window_ms);
        let Some(oldest) = self.clock.now().checked_sub(window) else { return };
        for key in self.gateway.sessions.expired(oldest) {
            self.gateway.sessions.remove(key);
        }
    }
}
