//! Whom an action is for.

use serde::{Deserialize, Serialize};

use crate::state::State;
use crate::world::snowflake::Snowflake;

/// Which connections or sessions an action is for. In JSON: `"all"`, `{"shard": 3}`,
/// `{"shard_of": [3, 16]}`, `{"session": "…"}`, `{"connection": 7}`, `{"guild": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every one.
    #[default]
    All,
    /// Those of this shard id, whatever their total.
    Shard(u32),
    /// Those of this shard id and total.
    ShardOf(u32, u32),
    /// The one with this session id.
    Session(String),
    /// The one with this connection number.
    Connection(u64),
    /// Those that get the events of this guild.
    Guild(Snowflake),
}

impl Target {
    /// Whether a session (or a connection with or without one) is meant.
    fn means(
        &self,
        connection: Option<u64>,
        shard: Option<[u32; 2]>,
        session: Option<&str>,
    ) -> bool {
        match self {
            Self::All => true,
            Self::Shard(id) => shard.is_some_and(|shard| shard[0] == *id),
            Self::ShardOf(id, total) => shard == Some([*id, *total]),
            Self::Session(id) => session == Some(id),
            Self::Connection(id) => connection == Some(*id),
            Self::Guild(guild) => shard.is_some_and(|[id, total]| guild.shard(total) == id),
        }
    }
}

impl State {
    /// The open connections an action is for, oldest first.
    pub(crate) fn target_connections(&self, target: &Target) -> Vec<u64> {
        let open = self.gateway.connections.iter().filter(|(_, conn)| !conn.closing);
        let meant = open.filter(|(id, conn)| {
            let session = conn.session.and_then(|key| self.gateway.sessions.get(key));
            let shard = session.map(|session| [session.shard, session.total]);
            target.means(Some(**id), shard, session.map(|session| session.id.as_str()))
        });
        meant.map(|(id, _)| *id).collect()
    }

    /// The sessions an action is for, oldest first.
    pub(crate) fn target_sessions(&self, target: &Target) -> Vec<u64> {
        let meant = self.gateway.sessions.iter().filter(|(_, session)| {
            let shard = Some([session.shard, session.total]);
            target.means(session.connection, shard, Some(&session.id))
        });
        meant.map(|(key, _)| key).collect()
    }
}
