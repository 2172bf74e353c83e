//! The gateway: connections, sessions, and the rules between them.
//!
//! <https://docs.discord.com/developers/events/gateway>
//!
//! Everything here happens under the simulator's lock and without IO; the tasks that own sockets
//! ask ([`State::take`], [`State::receive`]) and carry out.

mod close;
mod commands;
pub(crate) mod compression;
mod conn;
pub(crate) mod connection;
pub(crate) mod dispatch;
pub(crate) mod frame;
pub(crate) mod handshake;
mod heartbeat;
mod identify;
mod receive;
mod resume;
pub(crate) mod session;
mod starts;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub(crate) use conn::{Conn, Gate, Link, Out};

use self::close::Close;
use self::conn::OutDispatch;
use self::dispatch::{Body, Event, Scope, control_text};
use self::session::{SessionKey, Sessions};
use self::starts::Starts;
use crate::control::{AcceptPlan, ConnectPlan, Ending, Plans, Ready, Stage};
use crate::intents::MESSAGE_CONTENT;
use crate::ledger::{By, Closed, DispatchRecord};
use crate::options::Options;
use crate::state::State;
use crate::wire::Cut;
use crate::world::snowflake::Snowflake;

/// Dispatches handed to a connection at once.
const BATCH: usize = 64;

/// Bytes of dispatches handed to a connection at once, roughly.
const BATCH_BYTES: usize = 256 * 1024;

/// What a `GUILD_CREATE` counts as in a batch.
const MADE_BYTES: usize = 64 * 1024;

/// Connections and sessions.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) connections: BTreeMap<u64, Conn>,
    next_connection: u64,
    pub(crate) sessions: Sessions,
    pub(crate) starts: Starts,
    /// When a full member list of each guild was last requested.
    full_requests: BTreeMap<u32, Duration>,
    /// What is to go wrong with streams to come.
    pub(crate) accepts: Plans<AcceptPlan>,
    /// What is to go wrong with gateway connections to come.
    pub(crate) plans: Plans<ConnectPlan>,
    /// When IDENTIFY is answered: of one shard, or of all that have no rule of their own.
    ready_rules: BTreeMap<Option<u32>, Ready>,
}

impl Gateway {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            connections: BTreeMap::new(),
            next_connection: 0,
            sessions: Sessions::default(),
            starts: Starts::new(&options.session_starts),
            full_requests: BTreeMap::new(),
            accepts: Plans::default(),
            plans: Plans::default(),
            ready_rules: BTreeMap::new(),
        }
    }

    /// Forgets every plan and rule.
    pub(crate) fn clear_plans(&mut self) {
        self.accepts.clear();
        self.plans.clear();
        self.ready_rules.clear();
    }

    /// The session a connection carries.
    fn session_of(&self, id: u64) -> Option<SessionKey> {
        self.connections.get(&id)?.session
    }
}

/// What a connection's writer does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Write these.
    Send(Vec<Out>),
    /// Wait to be woken, at most until then.
    Wait(Option<Duration>),
    /// Stop: the connection has ended.
    End,
}

impl State {
    /// The shard a connection has identified or resumed as.
    pub(crate) fn shard_of(&self, id: u64) -> Option<[u32; 2]> {
        let session = self.gateway.sessions.get(self.gateway.session_of(id)?)?;
        Some([session.shard, session.total])
    }

    /// Takes what is to be written next: first what stands outside the log, then the log.
    pub(crate) fn take(&mut self, id: u64) -> Turn {
        let now = self.clock.now();
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return Turn::End };
        conn.release(now);
        let mut out: Vec<Out> = conn.waiting.drain(..).collect();
        if let Some(end) = out.iter().position(|out| matches!(out, Out::Close { .. } | Out::End(_)))
        {
            out.truncate(end + 1);
            return Turn::Send(out);
        }
        if conn.closing {
            return match out.is_empty() {
                true if conn.abandoned => Turn::Wait(None),
                true => Turn::End,
                false => Turn::Send(out),
            };
        }
        if conn.gate == Gate::Open
            && !conn.halted
            && let Some(key) = conn.session
            && let Some(session) = self.gateway.sessions.get(key)
        {
            if !session.log.reaches_back_to(conn.cursor) {
                self.too_slow(id, key);
                return self.take(id);
            }
            let mut bytes = 0;
            for entry in session.log.after(conn.cursor).take(BATCH) {
                conn.cursor = entry.seq;
                conn.dispatched += 1;
                match &*entry.t {
                    "READY" => {
                        conn.ready = true;
                        self.seen.counts.readies += 1;
                        self.seen.changed = true;
                    }
                    "RESUMED" => {
                        conn.ready = true;
                        self.seen.changed = true;
                    }
                    _ if entry.seq <= conn.replay_until => self.seen.counts.replayed += 1,
                    _ => {}
                }
                let corrupt = conn.corrupt > 0;
                conn.corrupt = conn.corrupt.saturating_sub(1);
                bytes += match entry.body.kept_bytes() {
                    0 => MADE_BYTES,
                    kept => kept,
                };
                let guild = entry.body.guild();
                out.push(Out::Dispatch(Box::new(OutDispatch {
                    t: entry.t.clone(),
                    seq: entry.seq,
                    body: entry.body.clone(),
                    live: guild.map(|guild| self.live.guild(guild)).unwrap_or_default(),
                    viewer: session.viewer,
                    payload_compression: session.payload_compression,
                    corrupt,
                    split: conn.split.take(),
                })));
                if let Some(end) = &conn.end
                    && end.stage == Stage::AfterDispatches(conn.dispatched)
                {
                    out.push(Out::End(end.how.clone()));
                    conn.halted = true;
                    break;
                }
                if bytes >= BATCH_BYTES {
                    break;
                }
            }
        }
        if out.is_empty() { Turn::Wait(conn.next_due()) } else { Turn::Send(out) }
    }

    /// A client that does not read until its session's log has run over loses the session.
    fn too_slow(&mut self, id: u64, key: SessionKey) {
        self.begin_close(id, Some(4000), "Too slow: the backlog has run over.");
        self.gateway.sessions.remove(key);
    }

    /// Sends a payload outside the session's log.
    pub(crate) fn send_control(&mut self, id: u64, op: u64, d: &Value) {
        self.push(id, Out::Payload(control_text(op, d)));
    }

    /// Queues something for a connection.
    pub(crate) fn push(&mut self, id: u64, out: Out) {
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return };
        if !conn.closing && !conn.push(out) {
            conn.waiting.clear();
            self.begin_close(id, Some(4000), "Too slow: too many unread payloads.");
        }
    }

    /// Closes a connection for a broken rule.
    fn refuse(&mut self, id: u64, close: &Close) {
        self.violation(Some(id), close.rule, close.reason.clone());
        self.begin_close(id, Some(close.code), &close.reason);
    }

    /// Sends a close frame as the last thing, and lets the session go.
    pub(crate) fn begin_close(&mut self, id: u64, code: Option<u16>, reason: &str) {
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return };
        if conn.closing {
            return;
        }
        conn.closing = true;
        conn.waiting.push_back(Out::Close { code, reason: reason.to_owned() });
        self.connection_closed(id, By::Server, code, reason);
    }

    /// Answers the client's close frame with the same code, unless a fault forbids it.
    pub(crate) fn peer_closed(&mut self, id: u64, code: Option<u16>, reason: &str) -> bool {
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return false };
        if conn.closing {
            return true;
        }
        conn.closing = true;
        let echo = !conn.ignore_close;
        conn.abandoned = conn.ignore_close;
        if echo {
            conn.waiting.push_back(Out::Close { code, reason: String::new() });
        }
        if close::ends_session(code)
            && let Some(key) = conn.session
        {
            self.gateway.sessions.remove(key);
        }
        self.connection_closed(id, By::Client, code, reason);
        echo
    }

    /// Notes the end of a connection; its session begins to wait for a RESUME.
    pub(crate) fn connection_closed(
        &mut self,
        id: u64,
        by: By,
        code: Option<u16>,
        reason: impl Into<String>,
    ) {
        let now = self.clock.now();
        let Some(conn) = self.gateway.connections.get_mut(&id) else { return };
        conn.closing = true;
        conn.link.notify.notify_one();
        if let Some(key) = conn.session {
            self.gateway.sessions.detach(key, id, now);
        }
        let closed = Closed { at: now, by, code, reason: reason.into() };
        let mut first = false;
        self.seen.update(id, |record| {
            if record.closed.is_none() {
                first = true;
                record.closed = Some(closed);
            }
        });
        self.seen.counts.closed += u64::from(first);
    }

    /// Forgets a connection whose task has ended.
    pub(crate) fn forget_connection(&mut self, id: u64) {
        self.connection_closed(id, By::Server, None, "the simulator stopped");
        self.gateway.connections.remove(&id);
    }

    /// Drops a connection's socket. Silence leaves the connection open as far as the gateway
    /// knows; the heartbeats will tell.
    pub(crate) fn drop_socket(&mut self, id: u64, how: Cut) {
        let Some(conn) = self.gateway.connections.get(&id) else { return };
        conn.link.wire.drop_stream(how);
        let reason = match how {
            Cut::Fin => "dropped with FIN",
            Cut::Reset => "dropped with RST",
            Cut::Silence => return,
        };
        self.connection_closed(id, By::Server, None, reason);
    }

    /// Carries out a planned end.
    pub(crate) fn end_connection(&mut self, id: u64, how: &Ending) {
        match how {
            Ending::Drop(how) => self.drop_socket(id, *how),
            Ending::Close { code, reason } => self.begin_close(id, *code, reason),
        }
    }

    /// Whether any session would be sent event `t` of this guild.
    pub(crate) fn is_wanted(&self, t: &str, guild: Snowflake) -> bool {
        let needed = crate::intents::needed(t, true);
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

    /// Sets when IDENTIFYs are answered, and lets waiting ones pass where that is now allowed.
    pub(crate) fn set_ready(&mut self, shard: Option<u32>, ready: Ready) -> usize {
        if shard.is_none() {
            self.gateway.ready_rules.clear();
        }
        self.gateway.ready_rules.insert(shard, ready);
        let waiting: Vec<u64> = self
            .gateway
            .connections
            .iter()
            .filter(|(_, conn)| conn.gate != Gate::Open)
            .map(|(id, _)| *id)
            .filter(|id| {
                shard.is_none_or(|shard| self.shard_of(*id).is_some_and(|of| of[0] == shard))
            })
            .collect();
        let gate = self.gate(ready);
        for id in &waiting {
            if let Some(conn) = self.gateway.connections.get_mut(id) {
                conn.gate = gate;
                conn.link.notify.notify_one();
            }
        }
        waiting.len()
    }

    /// The gate that a connection of this shard begins with.
    fn first_gate(&self, shard: u32, plan: Ready) -> Gate {
        let rules = &self.gateway.ready_rules;
        let rule = rules.get(&Some(shard)).or_else(|| rules.get(&None)).copied();
        self.gate(match plan {
            Ready::AtOnce => rule.unwrap_or_default(),
            planned => planned,
        })
    }

    fn gate(&self, ready: Ready) -> Gate {
        match ready {
            Ready::AtOnce => Gate::Open,
            Ready::AfterMs(ms) => Gate::Until(self.clock.now() + Duration::from_millis(ms)),
            Ready::Never => Gate::Shut,
        }
    }

    /// The text of the URL that clients are told to resume at.
    pub(crate) fn resume_url(&self, host: Option<&str>) -> String {
        self.options.resume_url.clone().unwrap_or_else(|| self.gateway_url(host))
    }

    /// The gateway's URL as a client that asked for `host` is told it.
    pub(crate) fn gateway_url(&self, host: Option<&str>) -> String {
        let scheme = if self.options.tls { "wss" } else { "ws" };
        format!("{scheme}://{}", self.host(host))
    }

    /// The host that URLs name.
    pub(crate) fn host(&self, asked: Option<&str>) -> String {
        let listening = || self.address.map(|address| address.to_string());
        self.options
            .public_host
            .clone()
            .or_else(|| asked.map(str::to_owned))
            .or_else(listening)
            .unwrap_or_else(|| "localhost".to_owned())
    }
}

/// A link for a connection on this wire.
pub(crate) fn new_link(wire: Arc<crate::wire::WireControl>) -> Arc<Link> {
    Arc::new(Link { notify: tokio::sync::Notify::new(), wire })
}
