//! RESUME: taking up a session where its last connection left it.
//!
//! <https://docs.discord.com/developers/events/gateway#resuming>

use serde_json::{Value, json};

use super::close::Close;
use super::dispatch::Body;
use super::session::SessionKey;
use crate::ledger::{Outcome, ResumeRecord, Rule};
use crate::options::RefusedResume;
use crate::state::State;

/// The `d` of RESUMED.
const RESUMED: &str = r#"{"_trace":["[\"gateway-sim-1\",{\"micros\":0}]"]}"#;

/// Why a RESUME is not granted.
enum Refusal {
    Close(Close),
    /// There is no such session (any more), in words.
    Gone(String),
}

impl From<Close> for Refusal {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl State {
    /// Takes in an op 6.
    pub(super) fn resume(&mut self, id: u64, d: &Value) -> Result<(), Close> {
        self.seen.counts.resumes += 1;
        let (Some(token), Some(session), Some(seq)) =
            (d["token"].as_str(), d["session_id"].as_str(), d["seq"].as_u64())
        else {
            return Err(Close::DECODE_ERROR.because("RESUME needs token, session_id and seq."));
        };
        self.forget_expired();
        let shard = self.gateway.sessions.key(session).and_then(|key| {
            let session = self.gateway.sessions.get(key)?;
            Some([session.shard, session.total])
        });
        let result = self.try_resume(id, token, session, seq);
        let outcome = match &result {
            Ok(replayed) => Outcome::Accepted { session: session.to_owned(), replayed: *replayed },
            Err(Refusal::Close(close)) => {
                Outcome::Closed { code: close.code, why: close.reason.clone().into_owned() }
            }
            Err(Refusal::Gone(why)) => match self.options.refused_resume {
                RefusedResume::InvalidSession => Outcome::InvalidSession { why: why.clone() },
                RefusedResume::Close4009 => Outcome::Closed { code: 4009, why: why.clone() },
            },
        };
        self.seen.resume(ResumeRecord {
            at: self.clock.now(),
            connection: id,
            session: session.to_owned(),
            shard,
            seq,
            outcome,
        });
        match result {
            Ok(_) => {
                self.seen.counts.resumed += 1;
                Ok(())
            }
            Err(Refusal::Close(close)) => Err(close),
            // That a session has run out is not the client's fault, so it breaks no rule.
            Err(Refusal::Gone(why)) => {
                match self.options.refused_resume {
                    RefusedResume::InvalidSession => self.send_control(id, 9, &json!(false)),
                    RefusedResume::Close4009 => {
                        self.begin_close(id, Some(4009), &format!("Session timed out: {why}."));
                    }
                }
                Ok(())
            }
        }
    }

    fn try_resume(
        &mut self,
        id: u64,
        token: &str,
        session_id: &str,
        seq: u64,
    ) -> Result<u64, Refusal> {
        if self.gateway.session_of(id).is_some() {
            return Err(Close::ALREADY_AUTHENTICATED.into());
        }
        if !self.is_token(token) {
            return Err(Close::AUTHENTICATION_FAILED.into());
        }
        let gone = |why: &str| Refusal::Gone(why.to_owned());
        let key = self.gateway.sessions.key(session_id).ok_or_else(|| gone("unknown session"))?;
        let Some(session) = self.gateway.sessions.get_mut(key) else {
            return Err(gone("unknown session"));
        };
        if seq > session.log.last() {
            let reason = format!("Invalid seq: {seq} of a session at {}.", session.log.last());
            return Err(Close::INVALID_SEQ.because(reason).into());
        }
        if !session.log.reaches_back_to(seq) {
            self.gateway.sessions.remove(key);
            return Err(gone("the replay buffer no longer reaches back to it"));
        }
        self.check_parameters(id, key);
        self.take_over(id, key);
        self.attach(id, key, seq);
        let Some(session) = self.gateway.sessions.get_mut(key) else {
            return Err(gone("unknown session"));
        };
        session.log.forget_resumed();
        let (last, shard) = (session.log.last(), session.shard);
        let replayed = session.log.after(seq).count() as u64;
        let plan = self.gateway.connections.get(&id).map(|conn| conn.ready_plan);
        let gate = self.first_gate(shard, plan.unwrap_or_default());
        if let Some(conn) = self.gateway.connections.get_mut(&id) {
            conn.replay_until = last;
            conn.gate = gate;
        }
        self.append(key, "RESUMED".into(), Body::Fixed(RESUMED), None);
        Ok(replayed)
    }

    /// The documentation asks for the parameters of the first connection.
    fn check_parameters(&mut self, id: u64, key: SessionKey) {
        let (Some(conn), Some(session)) =
            (self.gateway.connections.get(&id), self.gateway.sessions.get(key))
        else {
            return;
        };
        let now = (conn.version, conn.transport);
        let first = (session.version, session.transport);
        if now != first {
            let detail = format!(
                "resumed with v={} and compression {}, began with v={} and {}",
                now.0,
                now.1.name(),
                first.0,
                first.1.name()
            );
            self.violation(Some(id), Rule::ResumeParameters, detail);
        }
    }

    /// Takes a session away from the connection it is still on.
    fn take_over(&mut self, id: u64, key: SessionKey) {
        let old = self.gateway.sessions.get(key).and_then(|session| session.connection);
        if let Some(old) = old.filter(|old| *old != id) {
            self.begin_close(old, Some(4000), "The session was resumed on another connection.");
            if let Some(conn) = self.gateway.connections.get_mut(&old) {
                conn.session = None;
            }
        }
    }

    /// Ends a session with op 9, or asks with it for a RESUME.
    pub(crate) fn invalidate(&mut self, id: u64, resumable: bool) {
        self.send_control(id, 9, &json!(resumable));
        if !resumable
            && let Some(conn) = self.gateway.connections.get_mut(&id)
            && let Some(key) = conn.session.take()
        {
            conn.ready = None;
            self.gateway.sessions.remove(key);
        }
    }
}
