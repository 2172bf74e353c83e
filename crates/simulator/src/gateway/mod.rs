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
mod outbox;
mod playback;
mod receive;
pub(crate) mod recording;
mod resume;
mod routing;
pub(crate) mod session;
mod starts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use conn::{Conn, Gate, Link, Out};
pub(crate) use outbox::Turn;

use self::session::{SessionKey, Sessions};
use self::starts::Starts;
use crate::control::{AcceptPlan, Chunks, ConnectPlan, Plans, Ready};
use crate::options::Options;
use crate::state::State;

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
    /// How requests for members are answered.
    pub(crate) chunks: Chunks,
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
            chunks: Chunks::default(),
        }
    }

    /// Forgets every plan and rule.
    pub(crate) fn clear_plans(&mut self) {
        self.accepts.clear();
        self.plans.clear();
        self.ready_rules.clear();
        self.chunks = Chunks::default();
    }

    /// The session a connection carries.
    fn session_of(&self, id: u64) -> Option<SessionKey> {
        self.connections.get(&id)?.session
    }
}

impl State {
    /// The shard a connection has identified or resumed as.
    pub(crate) fn shard_of(&self, id: u64) -> Option<[u32; 2]> {
        let session = self.gateway.sessions.get(self.gateway.session_of(id)?)?;
        Some([session.shard, session.total])
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
